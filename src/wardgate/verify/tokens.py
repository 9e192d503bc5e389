"""
`verify`: the one way from text to believed claims.

Order: grammar, header, key, signature, claims. A payload is not even parsed before its signature is proven, so an
error about a claim can only come from a token that the issuer did sign.
Source: RFC 8725 (JWT best current practices), each rule named where it is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry

from wardgate.problems import TokenError, shown
from wardgate.verify.claims import SignedClaims, claim_errors, require_claims
from wardgate.verify.compact import Jws, UnverifiedToken, json_object, read_jws
from wardgate.verify.errors import (
    TokenAlgorithmRefused,
    TokenBringsKey,
    TokenCritical,
    TokenKeyUnknown,
    TokenMalformed,
    TokenSignatureWrong,
    TokenTypeRefused,
)
from wardgate.verify.expectation import ALGORITHMS, Expectation
from wardgate.verify.keys import KeySet, SigningKey

_MODELS: Mapping[str, JWSAlgModel] = {name: JWSRegistry.algorithms[name] for name in ALGORITHMS}

_EXTENSIONS = ("crit", "b64", "zip")
_BROUGHT_KEYS = ("jwk", "jku", "x5u", "x5c")


def verify(token: str, *, keys: KeySet, expect: Expectation, now: datetime) -> SignedClaims:
    """
    The claims of an access token that is exactly what `expect` asks for, at the time `now` (aware, any zone).

    Raises a TokenError (see `wardgate.verify.errors`) for every other token; it never answers yes or no.
    """
    signed = signed_payload(token, keys=keys, expect=expect)
    claims = json_object(signed.payload, "payload")
    return require_claims(claims, expect=expect, key_id=signed.key.kid, now=now)


def diagnose(token: UnverifiedToken, *, expect: Expectation, now: datetime) -> tuple[TokenError, ...]:
    """Everything for which `verify` would refuse a token, its signature aside: it may still be forged."""
    found: list[TokenError] = []
    for check in (_accepted_algorithm, _require_plain_header, _require_access_type):
        try:
            check(token.header, expect)
        except TokenError as error:
            found.append(error)
    return (*found, *claim_errors(token.claims, expect=expect, now=now))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedPayload:
    """Bytes that the issuer did sign, and with which key; what they say is still to be judged."""

    payload: bytes
    key: SigningKey


def signed_payload(token: str, *, keys: KeySet, expect: Expectation) -> SignedPayload:
    """The payload of a token whose header and signature are right. Raises a TokenError for any other."""
    jws = read_jws(token)
    algorithm = _accepted_algorithm(jws.header, expect)
    _require_plain_header(jws.header, expect)
    _require_access_type(jws.header, expect)
    key = _key_for(jws.header, keys, algorithm)
    _require_signature(jws, key)
    return SignedPayload(payload=jws.payload, key=key)


def _accepted_algorithm(header: Mapping[str, Any], expect: Expectation) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in expect.algorithms:
        allowed = ", ".join(sorted(expect.algorithms))
        raise TokenAlgorithmRefused(f"the algorithm is {shown(algorithm)}, expected one of {allowed}")
    return algorithm


def _require_plain_header(header: Mapping[str, Any], _: Expectation) -> None:
    extensions = [name for name in _EXTENSIONS if name in header]
    if extensions:
        raise TokenCritical(f"the header holds {', '.join(extensions)}, which is not understood here")
    brought = [name for name in _BROUGHT_KEYS if name in header]
    if brought:
        raise TokenBringsKey(f"the header brings a key of its own ({', '.join(brought)})")


def _require_access_type(header: Mapping[str, Any], expect: Expectation) -> None:
    if "typ" in header:
        kind = header["typ"]
        # RFC 7515 4.1.9: a media type, so without letter case, and `application/` may be left out.
        folded = kind.lower().removeprefix("application/") if isinstance(kind, str) else None
        if folded not in expect.header_types:
            raise TokenTypeRefused(f"it is not {expect.kind}: its header says typ {shown(kind)}")


def _key_for(header: Mapping[str, Any], keys: KeySet, algorithm: str) -> SigningKey:
    """
    The key that the token names, which must be meant for the token's algorithm.

    Without a `kid` the algorithm must leave exactly one key: trying several would make "who signed" a guess.
    """
    kid = header.get("kid")
    if "kid" in header and (not isinstance(kid, str) or not kid):
        raise TokenMalformed(f"kid must be text, got {shown(kid)}")
    named = keys.find(kid)
    if not named:
        raise TokenKeyUnknown(f"the issuer has no key {shown(kid)}")
    fitting = [key for key in named if key.alg == algorithm]
    if not fitting:
        meant = ", ".join(sorted({key.alg for key in named}))
        raise TokenAlgorithmRefused(f"the algorithm is {algorithm}, but the key is for {meant}")
    if len(fitting) > 1:
        raise TokenKeyUnknown(f"the token names no key (kid), and {len(fitting)} keys could have signed it")
    return fitting[0]


def _require_signature(jws: Jws, key: SigningKey) -> None:
    model = _MODELS[key.alg]
    try:
        model.check_key(key.key)
        proven = model.verify(jws.signing_input, jws.signature, key.key)
    except (JoseError, ValueError) as error:
        raise TokenSignatureWrong("the signature cannot be checked with the issuer's key") from error
    if not proven:
        raise TokenSignatureWrong("the signature is not the issuer's")
