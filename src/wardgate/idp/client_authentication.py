"""
Which client is asking: by secret, by a signed JWT (RFC 7523, `private_key_jwt`), or, for a public one, by its name.

Statuses and words are those of Keycloak 26.7.3. A signed JWT is taken once.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from wardgate.idp.realm import Client, Realm
from wardgate.idp.refusals import BAD_CLIENT, OAuthRefusal
from wardgate.problems import TokenError
from wardgate.verify.compact import UnverifiedToken, read_unverified

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
MAX_LIFESPAN_SECONDS = 60
"""How far ahead `exp` may be when the JWT does not say when it was issued."""
CLOCK_SKEW_SECONDS = 15
MAX_SEEN = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a request shows of its client; "" and None for what it does not."""

    client_id: str = ""
    secret: str | None = field(default=None, repr=False)
    assertion: str | None = field(default=None, repr=False)
    assertion_type: str = ""


class ClientAuthentication:
    """The clients of a realm; `audiences` are what a signed JWT may be meant for: the issuer, or an endpoint."""

    def __init__(self, realm: Realm, audiences: frozenset[str]) -> None:
        self._realm = realm
        self._audiences = audiences
        self._seen: dict[str, float] = {}

    def client(self, given: Credentials, now: datetime) -> Client:
        """The client that a request authenticates as. Raises OAuthRefusal."""
        if given.assertion is not None and given.assertion_type == JWT_BEARER:
            return self._signed(given, given.assertion, now.timestamp())
        client = self._known(given.client_id)
        if client.keys is not None:
            raise OAuthRefusal(400, "invalid_client", "Parameter client_assertion_type is missing")
        if client.secret is not None and not _same(client.secret, given.secret or ""):
            raise OAuthRefusal(401, "unauthorized_client", BAD_CLIENT)
        return client

    def _known(self, client_id: str) -> Client:
        client = self._realm.clients.get(client_id)
        if client is None or not client.enabled:
            raise OAuthRefusal(401, "invalid_client", BAD_CLIENT)
        if client.bearer_only:
            raise OAuthRefusal(400, "invalid_client", "Bearer-only not allowed")
        return client

    def _signed(self, given: Credentials, assertion: str, now: float) -> Client:
        try:
            token = read_unverified(assertion)
        except TokenError as error:
            raise OAuthRefusal(401, "invalid_client", BAD_CLIENT) from error
        subject = token.claims.get("sub")
        if not isinstance(subject, str) or token.claims.get("iss") != subject:
            raise OAuthRefusal(401, "invalid_client", BAD_CLIENT)
        client = self._known(subject)
        if client.keys is None:
            raise OAuthRefusal(401, "invalid_client", BAD_CLIENT)
        if given.client_id not in ("", subject):
            raise OAuthRefusal(401, "unauthorized_client", BAD_CLIENT)
        _verify(assertion, _key(client.keys, token.header.get("kid")))
        self._judge(token, now)
        return client

    def _judge(self, token: UnverifiedToken, now: float) -> None:
        """The claims of a JWT whose signature is good. Raises OAuthRefusal."""
        claims = token.claims
        for complaint in _complaints(claims, self._audiences, now):
            raise OAuthRefusal(400, "invalid_client", complaint)
        identity, expires = f"{claims['sub']} {claims['jti']}", float(claims["exp"])
        self._seen = {name: until for name, until in self._seen.items() if until > now}
        if identity in self._seen or len(self._seen) >= MAX_SEEN:
            raise OAuthRefusal(400, "invalid_client", "Token reuse detected")
        self._seen[identity] = expires + CLOCK_SKEW_SECONDS


def _complaints(claims: Mapping[str, Any], audiences: frozenset[str], now: float) -> list[str]:
    """What is wrong with the claims, in Keycloak's words; the first one is answered."""
    audience = claims.get("aud")
    audience = [audience] if isinstance(audience, str) else audience
    expires, issued, begins = (_number(claims.get(name)) for name in ("exp", "iat", "nbf"))
    found = {
        "Multiple audiences not allowed": isinstance(audience, list) and len(audience) > 1,
        "Invalid token audience": not isinstance(audience, list)
        or not audiences.issuperset(audience)
        or not audience,
        "Token exp claim is required": expires is None,
        "Token is not active": (expires or 0) + CLOCK_SKEW_SECONDS < now
        or (begins or 0) > now + CLOCK_SKEW_SECONDS,
        "Token was issued in the future": (issued or 0) > now + CLOCK_SKEW_SECONDS,
        "Token expiration is too far in the future and iat claim not present in token": (
            issued is None and (expires or 0) > now + MAX_LIFESPAN_SECONDS
        ),
        "Token jti claim is required": not isinstance(claims.get("jti"), str),
    }
    return [words for words, wrong in found.items() if wrong]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _key(keys: Any, kid: object) -> Key:
    """The key that a JWT names, or the only one when it names none."""
    found = [key for key in keys if key.get("kid") == kid] if kid is not None else list(keys)
    if len(found) != 1:
        raise OAuthRefusal(400, "invalid_client", "Unable to load public key")
    key: Key = JWKRegistry.import_key(dict(found[0]))
    return key


def _verify(assertion: str, key: Key) -> None:
    try:
        jws.deserialize_compact(assertion, key, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError) as error:
        words = "Client authentication with signed JWT failed: Signature on JWT token failed validation"
        raise OAuthRefusal(400, "invalid_client", words) from error


def _same(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode(), second.encode())
