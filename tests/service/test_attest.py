"""Attested tokens, read as Envoy reads them."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wardgate.authn.attested import ISSUER
from wardgate.service.attest import Attested, Signer
from wardgate.verify.compact import read_jws


def test_an_attested_token_is_a_jwt_of_the_signers_key() -> None:
    """What is signed verifies with the public key and says what was attested, nothing more."""
    signer = Signer(b"s" * 32)
    attested = Attested(
        via="session:kc",
        subject="u-1",
        ends=1030,
        claims={"roles": ["a"]},
        session="n" * 32,
        id_claims={"email": "e"},
    )
    token = read_jws(signer.sign(attested, 1000.9))
    key = base64.urlsafe_b64decode(signer.public_jwk()["x"] + "=")
    Ed25519PublicKey.from_public_bytes(key).verify(token.signature, token.signing_input)
    assert token.header == {"alg": "EdDSA", "kid": signer.kid, "typ": "JWT"}
    assert json.loads(token.payload) == {
        "iss": ISSUER,
        "iat": 1000,
        "exp": 1030,
        "via": "session:kc",
        "sub": "u-1",
        "sid": "n" * 32,
        "claims": {"roles": ["a"]},
        "id": {"email": "e"},
    }


def test_a_secret_and_a_number_are_a_key() -> None:
    """Secret and number make a key, and nothing else does; what prints shows no claims."""
    first = Signer(b"1" * 32).public_jwk()
    assert first == Signer(b"1" * 32, 0).public_jwk()
    for other in (Signer(b"1" * 32, 1).public_jwk(), Signer(b"2" * 32).public_jwk()):
        assert (first["x"], first["kid"]) != (other["x"], other["kid"])
        assert first["x"] != other["x"]
    assert "secret" not in repr(Attested(via="v", subject=None, ends=1, claims={"a": "secret"}))
