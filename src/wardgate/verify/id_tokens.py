"""
ID tokens: what a login ends with (OpenID Connect Core 1.0, 2 and 3.1.3.7).

Pure, as all of `verify`. An ID token says who logged in, to the client that asked; it is never a credential for a
request. Not here: the e-mail address and whatever else a gateway asks of a person.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from wardgate.problems import shown
from wardgate.verify.claims import SignedClaims, audiences_of, require_claims
from wardgate.verify.compact import encode_base64url, json_object, read_jws
from wardgate.verify.errors import (
    TokenAudienceWrong,
    TokenHashWrong,
    TokenMalformed,
    TokenNonceWrong,
    TokenTypeRefused,
)
from wardgate.verify.expectation import DEFAULT_LEEWAY, OTHER_TOKEN_TYPES, Expectation
from wardgate.verify.keys import KeySet
from wardgate.verify.tokens import signed_payload

OTHER_THAN_ID = (OTHER_TOKEN_TYPES - {"id"}) | {"bearer", "at+jwt", "logout+jwt"}
"""Payload `typ`, folded, of what an issuer signs with the same key and is no ID token."""

MAX_LIFETIME = timedelta(days=366)
"""An ID token is looked at once, when it comes; only an `exp` in milliseconds is to be noticed."""

MAX_SUBJECT = 255
"""Section 2: ASCII characters. Others are forgiven, length is not: it becomes a name in stores and headers."""

_HASHES = {"256": "sha256", "384": "sha384", "512": "sha512"}


def verify_id_token(
    token: str,
    *,
    keys: KeySet,
    issuer: str,
    client_id: str,
    algorithms: frozenset[str],
    now: datetime,
    leeway: timedelta = DEFAULT_LEEWAY,
    nonce: str | None = None,
    max_age: timedelta | None = None,
    access_token: str | None = None,
) -> SignedClaims:
    """
    The claims of an ID token that this issuer made for this client. Raises a TokenError for any other.

    `nonce` None: none was sent, and none is looked for (a refresh, a password). `max_age` asks for a login that recent.
    `access_token` is the one that came with it, whose hash the token may hold.
    """
    expect = Expectation(
        issuer=issuer,
        audiences=(client_id,),
        algorithms=algorithms,
        leeway=leeway,
        max_lifetime=MAX_LIFETIME,
        max_auth_age=max_age,
        auth_time_required=True,
        header_types=frozenset({"jwt"}),
        refused_types=OTHER_THAN_ID,
        refused_claims=frozenset({"events"}),
        kind="an ID token",
    )
    signed = signed_payload(token, keys=keys, expect=expect)
    claims = require_claims(
        json_object(signed.payload, "payload"), expect=expect, key_id=signed.key.kid, now=now
    )
    _require_presenter(claims.claims, client_id)
    _require_subject(claims.claims)
    _require_nonce(claims.claims, nonce)
    if access_token is not None:
        _require_hash(claims.claims, access_token, str(read_jws(token).header["alg"]))
    return claims


def _require_presenter(claims: Mapping[str, Any], client_id: str) -> None:
    """`azp`: there when the token has several audiences, and then us (3.1.3.7, 4 and 5)."""
    if len(audiences_of(claims)) > 1 and "azp" not in claims:
        raise TokenAudienceWrong("it has several audiences and does not say whose it is (azp)")
    if claims.get("azp", client_id) != client_id:
        raise TokenAudienceWrong(
            f"it belongs to the client {shown(claims['azp'])}, expected {shown(client_id)}"
        )


def _require_subject(claims: Mapping[str, Any]) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise TokenMalformed(f"an ID token has a sub of 1 to {MAX_SUBJECT} characters, got {shown(subject)}")
    if "iat" not in claims:
        raise TokenMalformed("an ID token says when it was made, this one does not (iat)")


def _require_nonce(claims: Mapping[str, Any], nonce: str | None) -> None:
    if nonce is None:
        return
    found = claims.get("nonce")
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise TokenNonceWrong("its nonce is not the one of this login")


def _require_hash(claims: Mapping[str, Any], access_token: str, algorithm: str) -> None:
    if "at_hash" not in claims:
        return
    # Ed25519 hashes with SHA-512 (RFC 8032), and so do the issuers that sign ID tokens by it
    digest = hashlib.new(_HASHES.get(algorithm[2:], "sha512"), access_token.encode()).digest()
    wanted = encode_base64url(digest[: len(digest) // 2])
    found = claims["at_hash"]
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), wanted.encode()):
        raise TokenHashWrong("it was not made for the access token beside it (at_hash)")


def require_same_login(claims: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """
    An ID token of a refresh speaks of the person and the client that the one before spoke of (12.2).

    Not compared: `auth_time` and `nonce`, which Keycloak changes when the person logs in again in another tab.
    Raises TokenError.
    """
    for name in ("iss", "sub"):
        if claims.get(name) != before.get(name):
            raise TokenTypeRefused(f"its {name} is not the one of the login that was refreshed")
    if not set(audiences_of(before)) <= set(audiences_of(claims)):
        raise TokenAudienceWrong("its audience is not the one of the login that was refreshed")
