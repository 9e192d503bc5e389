"""
An issuer's keys, cleaned: what comes out is all that may ever verify a token (RFC 7517, RFC 8725 3.1, 3.5).

Not a client: the document comes in as bytes or as parsed JSON. A set is refused whole when it shows that its
publisher is broken or attacked (private parts, symmetric keys, one kid twice); keys that are merely not ours to
use (encryption, other curves, too weak) are dropped, each with its reason. Every kept key has exactly one
algorithm. `KeySet.as_json` is canonical: equal key sets give equal text, so it can be compared and hashed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from wardgate.problems import Unavailable, shown
from wardgate.verify.compact import decode_base64url
from wardgate.verify.roca import has_roca_fingerprint
from wardgate.verify.strict_json import NotStrictJson, parse

MAX_BYTES = 1024 * 1024
"""A JWKS above this is not one: the largest in the field (dozens of keys with certificates) has some 100 KB."""

MAX_KEYS = 100

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
"""RFC 7518 3.3 sets the lower bound; above the upper one a verification costs milliseconds."""

MIN_RSA_EXPONENT = 65537
"""FIPS 186-5 5.1; 1 makes every signature valid, 3 has a history of forgeries."""

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVE_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class JwksRejected(Unavailable):
    """
    A key set that cannot be used: no token can be judged by it, so this is 503 and never 401.

    `reason` is one sentence for people. Whoever holds an older good set keeps it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the key set is refused: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One public key and the only algorithm it is used with. `kid` None: the set has this one key only."""

    kid: str | None
    alg: str
    jwk: Mapping[str, str]
    key: Key = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """At least one key, at most one per kid; `dropped` says which keys of the document were left out, and why."""

    keys: tuple[SigningKey, ...]
    dropped: tuple[str, ...] = field(default=(), compare=False)

    def find(self, kid: str | None) -> tuple[SigningKey, ...]:
        """
        The keys that a token with this `kid` may mean: at most one, unless the token names none.

        A key without a kid (it is then the only one) answers to every name.
        """
        if kid is None:
            return self.keys
        return tuple(key for key in self.keys if key.kid in (kid, None))

    def as_json(self) -> str:
        """The set as canonical JWKS text: sorted, public members only, no spaces, no line break."""
        document = {"keys": [dict(key.jwk) for key in self.keys]}
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def clean_jwks(document: object) -> KeySet:
    """
    Read a JWKS: bytes or text as fetched (at most 1 MiB), or the parsed document.

    Raises JwksRejected. RSA keys without `alg` are RS256; an EC key's algorithm is its curve's.
    """
    jwks = [_key_object(entry) for entry in _entries(document)]
    for jwk in jwks:
        _refuse_secrets(jwk)
    kept: list[SigningKey] = []
    dropped: list[str] = []
    for jwk in jwks:
        try:
            kept.append(_signing_key(jwk))
        except _NotUsable as reason:
            dropped.append(f"{_name(jwk)}: {reason}")
    _refuse_ambiguous(kept, dropped)
    return KeySet(keys=tuple(sorted(kept, key=lambda key: key.kid or "")), dropped=tuple(dropped))


class _NotUsable(Exception):
    """This key is left out; the rest of the set may be used."""


def _entries(document: object) -> list[object]:
    if isinstance(document, bytes | str):
        document = _parsed(document)
    if not isinstance(document, Mapping):
        raise JwksRejected(f"it is not a JSON object, got {shown(document)}")
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise JwksRejected('it has no list "keys"')
    if not entries:
        raise JwksRejected('"keys" is empty')
    if len(entries) > MAX_KEYS:
        raise JwksRejected(f"it has {len(entries)} keys; at most {MAX_KEYS} are read")
    return entries


def _parsed(text: bytes | str) -> object:
    if len(text) > MAX_BYTES:
        raise JwksRejected(f"it has {len(text)} bytes; at most {MAX_BYTES} are read")
    if text[:64].lstrip()[:1] in (b"<", "<"):
        raise JwksRejected("it is HTML or XML, not JSON: is the address right, and is the issuer well?")
    try:
        return parse(text)
    except NotStrictJson as error:
        raise JwksRejected(f"it cannot be read: {error}") from error


def _key_object(entry: object) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise JwksRejected(f"a key is not a JSON object, got {shown(type(entry).__name__)}")
    for member in ("kty", "kid", "use", "alg", "crv"):
        if member in entry and (not isinstance(entry[member], str) or not entry[member]):
            raise JwksRejected(f"the {member} of a key must be text, got {shown(entry[member])}")
    if "kty" not in entry:
        raise JwksRejected(f"{_name(entry)} has no kty")
    return entry


def _refuse_secrets(jwk: Mapping[str, Any]) -> None:
    """A published secret makes the whole set worthless: whoever read it can sign (or knows the MAC key)."""
    if jwk["kty"] == "oct":
        raise JwksRejected(f"{_name(jwk)} is symmetric (kty oct): whoever reads the set could sign")
    found = sorted(_PRIVATE_MEMBERS & set(jwk))
    if found:
        raise JwksRejected(f"{_name(jwk)} holds private parts ({', '.join(found)}): the key is public now")


def _refuse_ambiguous(kept: list[SigningKey], dropped: list[str]) -> None:
    if not kept:
        raise JwksRejected(f"no key can verify signatures ({'; '.join(dropped[:5])})")
    kids = [key.kid for key in kept]
    twice = sorted({kid for kid in kids if kid is not None and kids.count(kid) > 1})
    if twice:
        raise JwksRejected(f"two keys have the kid {shown(twice[0])}: which of them signed is a guess")
    if None in kids and len(kids) > 1:
        raise JwksRejected("a key without kid stands among others: which of them signed is a guess")


def _signing_key(jwk: Mapping[str, Any]) -> SigningKey:
    if jwk.get("use", "sig") != "sig":
        raise _NotUsable(f"its use is {shown(jwk['use'])}")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _NotUsable("its key_ops do not hold verify")
    match jwk["kty"]:
        case "RSA":
            return _built(jwk, RSAKey, ("n", "e"), _rsa_algorithm(jwk))
        case "EC":
            return _built(jwk, ECKey, ("crv", "x", "y"), _curve_algorithm(jwk))
        case "OKP":
            return _built(jwk, OKPKey, ("crv", "x"), _edwards_algorithm(jwk))
        case other:
            raise _NotUsable(f"its kty {shown(other)} is unknown")


def _rsa_algorithm(jwk: Mapping[str, Any]) -> str:
    alg = str(jwk.get("alg", "RS256"))
    if alg not in _RSA_ALGORITHMS:
        raise _NotUsable(f"its alg {shown(alg)} is no RSA signature that is accepted")
    return alg


def _curve_algorithm(jwk: Mapping[str, Any]) -> str:
    alg = _CURVE_ALGORITHMS.get(jwk.get("crv", ""))
    if alg is None:
        raise _NotUsable(f"its curve {shown(jwk.get('crv'))} is not accepted")
    if jwk.get("alg", alg) != alg:
        raise _NotUsable(f"its alg {shown(jwk['alg'])} does not fit its curve {jwk['crv']}")
    return alg


def _edwards_algorithm(jwk: Mapping[str, Any]) -> str:
    if jwk.get("crv") != "Ed25519":
        raise _NotUsable(f"its curve {shown(jwk.get('crv'))} is not accepted")
    if jwk.get("alg", "EdDSA") not in ("EdDSA", "Ed25519"):  # RFC 8037's name, and RFC 9864's
        raise _NotUsable(f"its alg {shown(jwk['alg'])} does not fit its curve Ed25519")
    return "EdDSA"


def _built(
    jwk: Mapping[str, Any], kind: type[RSAKey | ECKey | OKPKey], members: tuple[str, ...], alg: str
) -> SigningKey:
    """Import the public numbers only, and write them out again: one spelling per key, whatever came in."""
    public = {"kty": jwk["kty"], **{name: jwk.get(name) for name in members}}
    try:
        if jwk["kty"] == "RSA":
            _check_rsa(public)
        key = kind.import_key(kind.import_key(public).as_der())
        numbers = {name: str(value) for name, value in key.as_dict(private=False).items()}
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
        raise _NotUsable("its numbers are not a key of its kind") from error
    named = {"kid": str(jwk["kid"])} if "kid" in jwk else {}
    kid = named.get("kid")
    return SigningKey(kid=kid, alg=alg, jwk={**numbers, **named, "alg": alg, "use": "sig"}, key=key)


def _check_rsa(public: Mapping[str, Any]) -> None:
    """Judge the numbers before a library sees them, so that weak keys cost nothing."""
    modulus, exponent = _number(public["n"]), _number(public["e"])
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise _NotUsable(f"it has {modulus.bit_length()} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")
    if exponent < MIN_RSA_EXPONENT or exponent % 2 == 0 or exponent.bit_length() > 256:
        raise _NotUsable("its public exponent is not accepted: odd, and at least 65537")
    if has_roca_fingerprint(modulus):
        raise _NotUsable("it was made by a chip with the ROCA flaw (CVE-2017-15361): it can be factored")


def _number(text: object) -> int:
    """A Base64urlUInt (RFC 7518 2). Leading zero bytes are forgiven: old Java libraries write them."""
    if not isinstance(text, str):
        raise ValueError("not text")
    return int.from_bytes(decode_base64url(text), "big")


def _name(jwk: Mapping[str, Any]) -> str:
    return f"key {shown(jwk['kid'])}" if "kid" in jwk else "a key without kid"
