"""`clean_jwks`: which keys may ever verify a token, and why a set is refused whole."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey

from wardgate.problems import Unavailable
from wardgate.verify import JwksRejected, clean_jwks
from wardgate.verify.compact import decode_base64url, encode_base64url
from wardgate.verify.roca import _PRIMES

from .issuer import ED25519, OTHER_RSA, P256, P384, P521, RSA, jwk, keys


def rejected(document: object) -> str:
    """Why the set is refused."""
    with pytest.raises(JwksRejected) as caught:
        clean_jwks(document)
    return caught.value.reason


def test_a_keycloak_set_keeps_its_signing_key() -> None:
    """Keycloak publishes an encryption key too: it is dropped, with its reason, and the other stays."""
    encryption = jwk(OTHER_RSA, use="enc", alg="RSA-OAEP", x5c=["MII"])
    cleaned = keys(jwk(RSA, x5c=["MII"], x5t="abc"), encryption)
    assert [(key.kid, key.alg) for key in cleaned.keys] == [("rsa", "RS256")]
    assert cleaned.dropped == ("key 'rsa-2': its use is 'enc'",)


@pytest.mark.parametrize(
    ("entry", "alg"),
    [
        (jwk(RSA, alg=...), "RS256"),
        (jwk(RSA, use=...), "RS256"),
        (jwk(RSA, alg="PS512"), "PS512"),
        (jwk(RSA, key_ops=["verify"], use=...), "RS256"),
        (jwk(P256), "ES256"),
        (jwk(P384), "ES384"),
        (jwk(P521), "ES512"),
        (jwk(P521, alg="ES512"), "ES512"),
        (jwk(ED25519), "EdDSA"),
        (jwk(ED25519, alg="Ed25519"), "EdDSA"),
    ],
)
def test_every_key_has_one_algorithm(entry: dict[str, Any], alg: str) -> None:
    """The algorithm of a key is what it says, or what its kind means; never open."""
    assert [key.alg for key in keys(entry).keys] == [alg]


def weak_rsa() -> dict[str, Any]:
    """About 1024 bits: any odd number of that length will do, for it is never used."""
    return jwk(RSA, n=encode_base64url(decode_base64url(jwk(RSA)["n"])[128:]))


def roca_rsa() -> dict[str, Any]:
    """A modulus of 2048 bits that is a power of 65537 modulo every small prime, as a flawed chip makes it."""
    primorial = math.prod(_PRIMES)
    steps = (1 << 2047) // primorial + 1
    modulus = pow(65537, 99, primorial) + primorial * steps
    modulus += primorial if modulus % 2 == 0 else 0
    return jwk(RSA, n=encode_base64url(modulus.to_bytes(256, "big")))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (jwk(RSA, use="enc"), "use is 'enc'"),
        (jwk(RSA, alg="RSA-OAEP", use=...), "RSA-OAEP"),
        (jwk(RSA, alg="RS1"), "RS1"),
        (jwk(RSA, alg="none"), "none"),
        (jwk(RSA, alg="ES256"), "ES256"),
        (jwk(RSA, key_ops=["encrypt"]), "key_ops"),
        (jwk(RSA, key_ops="verify-all"), "key_ops"),
        (weak_rsa(), "bits; 2048"),
        (jwk(RSA, n=encode_base64url(b"\xff" * 1100)), "8800 bits"),
        (jwk(RSA, e="AQ"), "exponent"),
        (jwk(RSA, e="Aw"), "exponent"),
        (jwk(RSA, e="AQAA"), "exponent"),
        (roca_rsa(), "ROCA"),
        (jwk(RSA, n="not base64!"), "not a key"),
        (jwk(RSA, n=5), "not a key"),
        (jwk(RSA, n=...), "not a key"),
        (jwk(P256, alg="ES384"), "ES384"),
        (jwk(P256, crv="secp256k1"), "secp256k1"),
        (jwk(P256, crv="P-384"), "not a key"),
        (jwk(P256, x=jwk(P256)["y"]), "not a key"),
        (jwk(P256, y=...), "not a key"),
        (jwk(ECKey.generate_key("P-256"), kty="RSA"), "not a key"),
        (jwk(OKPKey.generate_key("X25519"), kid="x"), "X25519"),
        (jwk(ED25519, alg="ES256"), "ES256"),
        (jwk(ED25519, x="AAAA"), "not a key"),
        ({"kty": "AKP", "kid": "pq"}, "AKP"),
    ],
)
def test_a_key_that_cannot_be_used_is_left_out(entry: dict[str, Any], why: str) -> None:
    """A key for another purpose, or a weak or broken one, is dropped with its reason; alone, it refuses the set."""
    cleaned = keys(jwk(P521), entry)
    assert [key.kid for key in cleaned.keys] == ["p521"]
    assert why in cleaned.dropped[0]
    assert why in rejected({"keys": [entry]})


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"<!DOCTYPE html><html>", "HTML"),
        ("  \n<html>", "HTML"),
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b'{"keys":[],"keys":[]}', "key twice"),
        (b"\xff\xfe", "UTF-8"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", 'no list "keys"'),
        (b'{"keys":{}}', 'no list "keys"'),
        (b'{"keys":[]}', '"keys" is empty'),
        (b'{"keys":["x"]}', "not a JSON object"),
        (b'{"keys":[{"kid":"x"}]}', "no kty"),
        (b" " * (1024 * 1024 + 1), "at most 1048576"),
        (None, "not a JSON object"),
        ({"keys": [jwk(RSA)] * 101}, "101 keys"),
        ({"keys": [jwk(RSA, kid=5)]}, "kid of a key must be text"),
        ({"keys": [jwk(RSA, kid="")]}, "kid of a key must be text"),
        ({"keys": [jwk(RSA, alg=["RS256"])]}, "alg of a key must be text"),
        ({"keys": [jwk(RSA, use=None)]}, "use of a key must be text"),
        ({"keys": [jwk(RSA), jwk(RSA)]}, "two keys have the kid 'rsa'"),
        ({"keys": [jwk(RSA), jwk(P256, kid="rsa")]}, "two keys have the kid 'rsa'"),
        ({"keys": [jwk(RSA), jwk(P256, kid=...)]}, "without kid stands among others"),
    ],
)
def test_a_set_that_shows_a_broken_publisher(document: object, why: str) -> None:
    """What is not a key set, or leaves open which key signed, is refused whole with a clear reason."""
    assert why in rejected(document)


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi"])
def test_private_parts(member: str) -> None:
    """A set with any private part, even of an encryption key, is refused whole."""
    entry = jwk(OTHER_RSA, use="enc", **{member: "AQ"})
    assert "private parts" in rejected({"keys": [jwk(RSA), entry]})


def test_a_private_key_is_never_repeated() -> None:
    """The reason names the members that are private and not their values."""
    private = dict(RSA.as_dict(private=True))
    reason = rejected({"keys": [private]})
    assert str(private["d"]) not in reason


def test_symmetric_keys() -> None:
    """A set with a symmetric key is refused whole."""
    secret = OctKey.generate_key(256, {"kid": "hmac"}).as_dict(private=True)
    assert "symmetric" in rejected({"keys": [jwk(RSA), secret]})


def test_a_refused_set_is_not_the_callers_fault() -> None:
    """A refused set is an Unavailable: the caller's token cannot be judged, which is 503."""
    assert issubclass(JwksRejected, Unavailable)


def test_canonical_text() -> None:
    """Equal sets give equal text whatever their order and spelling; it holds public members only."""
    leading_zero = encode_base64url(b"\0" + decode_base64url(jwk(RSA)["n"]))
    first = keys(jwk(RSA, x5c=["MII"], alg=..., use=...), jwk(P256))
    second = keys(jwk(P256, use="sig"), jwk(RSA, n=leading_zero), jwk(OTHER_RSA, use="enc"))
    assert first.as_json() == second.as_json()
    assert first == second
    document = json.loads(first.as_json())
    assert [entry["kid"] for entry in document["keys"]] == ["p256", "rsa"]
    assert document["keys"][1] == jwk(RSA, alg="RS256", use="sig")
    assert set(document["keys"][0]) == {"alg", "crv", "kid", "kty", "use", "x", "y"}


def test_canonical_text_is_a_fixed_point() -> None:
    """Reading canonical text gives the same set again, and it is one line of ASCII."""
    text = keys(jwk(RSA), jwk(P256, kid="clé"), jwk(P384), jwk(P521), jwk(ED25519)).as_json()
    assert clean_jwks(text).as_json() == text
    assert clean_jwks(text.encode()).as_json() == text
    assert text.isascii()
    assert "\n" not in text


def test_ec_coordinates_have_their_full_length() -> None:
    """A coordinate that lost its leading zeros is written with all its bytes (RFC 7518 6.2.1.2)."""
    for _ in range(20_000):
        key = ECKey.generate_key("P-256", {"kid": "short"})
        x = decode_base64url(str(key["x"]))
        if x[0] == 0:
            break
    else:
        pytest.fail("no key with a leading zero in 20 000")
    shortened = jwk(key, x=encode_base64url(x[1:]))
    assert keys(shortened).keys[0].jwk["x"] == key["x"]
