"""
Credentials in every state: as a client sends them, and as `wardgate.verify` finds them.

The two ways must not meet: what is sent goes to Envoy as bytes; what is found comes from the same bytes by the
SDK, so the verification in Python is compared with Envoy's along with the decision.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from tests.verify.issuer import OTHER_RSA, P256, RSA, jwk, keys, sign
from wardgate.policy import Audiences, Introspection, Kind, Policy, Provider
from wardgate.principal import Anonymous, Credential, Principal, Rejected
from wardgate.problems import TokenError
from wardgate.verify import (
    Expectation,
    KeySet,
    TokenKeyUnknown,
    UnsafeAnyAudience,
    read_unverified,
    verify,
)

AUDIENCE = "app"
ISSUERS = {name: f"https://id.test/realms/{name}" for name in ("main", "other")}
KEYS: Mapping[str, KeySet] = {"main": keys(jwk(P256)), "other": keys(jwk(RSA))}
"""What each provider signs with: `main` ES256, `other` RS256."""

NEW_KEY = jwk(OTHER_RSA, kid="new")
"""Of both providers: the service has it, Envoy not yet."""

_SIGNERS = {
    "main": (P256, {"alg": "ES256", "kid": "p256", "typ": "JWT"}),
    "other": (RSA, {"alg": "RS256", "kid": "rsa", "typ": "JWT"}),
}

HOUR = 3600
STATES = (
    *("anonymous", "valid", "expired", "not-yet-valid", "too-long", "no-expiry"),
    *("wrong-audience", "audience-alias", "no-audience", "unknown-issuer", "wrong-signature", "tampered"),
    *("unknown-key", "id-token", "refresh-token", "bound", "critical", "malformed", "other-scheme"),
    *("lower-case-scheme", "two-headers"),
    *("inactive", "new-key", "opaque", "opaque-inactive"),
)
"""Every way in which a request can present a credential, or not."""


def headers(
    state: str, provider: str, claims: Mapping[str, Any], now: datetime
) -> tuple[tuple[str, str], ...]:
    """The Authorization lines of a request in this state; `claims` are added to those of an access token."""
    match state:
        case "anonymous":
            return ()
        case "malformed":
            return (("Authorization", "Bearer abc.def"),)
        case "other-scheme":
            return (("Authorization", "Basic dTpw"),)
        case "lower-case-scheme":
            return (("authorization", f"bearer {token('valid', provider, claims, now)}"),)
        case "two-headers":
            line = ("Authorization", f"Bearer {token('valid', provider, claims, now)}")
            return (line, line)
        case "opaque" | "opaque-inactive":
            return (("Authorization", f"Bearer {secrets.token_urlsafe(24)}"),)
        case _:
            return (("Authorization", f"Bearer {token(state, provider, claims, now)}"),)


def token(state: str, provider: str, claims: Mapping[str, Any], now: datetime) -> str:
    """A JWT in this state, as its issuer (or somebody else) would sign it."""
    key, header = _SIGNERS[provider]
    at = int(now.timestamp())
    payload: dict[str, Any] = {
        "iss": ISSUERS[provider],
        "aud": AUDIENCE,
        "sub": "ann",
        "typ": "Bearer",
        "iat": at - 10,
        "exp": at + HOUR,
        **claims,
    }
    match state:
        case "expired":
            payload["exp"] = at - HOUR
        case "not-yet-valid":
            payload["nbf"] = at + HOUR
        case "too-long":
            payload["exp"] = at + 48 * HOUR
        case "no-expiry":
            del payload["exp"]
        case "wrong-audience":
            payload["aud"] = ["elsewhere"]
        case "audience-alias":  # Envoy takes it for the audience: it strips scheme and last slash
            payload["aud"] = f"https://{AUDIENCE}/"
        case "no-audience":
            del payload["aud"]
        case "unknown-issuer":
            payload["iss"] = "https://id.test/realms/unknown"
        case "id-token":
            payload["typ"] = "ID"
        case "refresh-token":
            payload["typ"] = "Refresh"
        case "bound":
            payload["cnf"] = {"jkt": "x"}
        case "critical":
            header = {**header, "crit": ["exp"]}
        case "new-key":
            key, header = OTHER_RSA, {"alg": "RS256", "kid": "new", "typ": "JWT"}
        case "unknown-key":
            header = {**header, "kid": "nobody"}
        case "wrong-signature":
            key, header = (OTHER_RSA, {**header, "alg": "RS256"}) if provider == "other" else (P256, header)
    # as UTF-8: the guard refuses names of claims that are written with escapes
    signed = sign(json.dumps(payload, ensure_ascii=False).encode(), header, key, header["alg"])
    if state == "tampered" or (state == "wrong-signature" and provider == "main"):
        first, second, third = signed.split(".")
        return ".".join((first, second, third[::-1] if state == "wrong-signature" else "A" * 80 + third[80:]))
    return signed


_BEARER = re.compile(r"Bearer ([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")
_OPAQUE = re.compile(r"Bearer ([A-Za-z0-9._~+/-]+=*)")

Active = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By provider, the tokens that it calls active, and what it says of them."""


def found(
    policy: Policy,
    sent: tuple[tuple[str, str], ...],
    available: Mapping[str, KeySet],
    now: datetime,
    active: Active | None = None,
) -> Credential:
    """The credential that these headers hold, verified with the keys that are there, or by what its issuer says."""
    values = [value for name, value in sent if name.lower() == "authorization"]
    if not values:
        return Anonymous()
    bearer = _BEARER.fullmatch(values[0])
    if len(values) > 1:
        return Rejected("credential-malformed")
    if bearer is None:
        token = _OPAQUE.fullmatch(values[0])
        return _opaque(policy, token[1], active or {}) if token else Rejected("credential-malformed")
    issuer = _issuer(bearer[1])
    provider = next((each for each in policy.providers if each.issuer == issuer), None)
    if provider is None:
        return Rejected("token-issuer")
    try:
        claims = bearer_claims(provider, available, now)(bearer[1])
    except TokenError as error:
        return Rejected(error.code)
    called_active = active is None or bearer[1] in active.get(provider.name, {})
    return Principal(
        provider=provider.name, kind=Kind.BEARER, claims=claims, token=bearer[1], active=called_active
    )


def _issuer(token: str) -> object:
    try:
        return read_unverified(token).claims.get("iss")
    except TokenError:
        return None


def _opaque(policy: Policy, token: str, active: Active) -> Principal | Rejected:
    for provider in policy.providers:
        said = active.get(provider.name, {}).get(token)
        if said is not None and provider.introspection is not Introspection.OFF:
            return Principal(provider=provider.name, kind=Kind.BEARER, claims=said, token=token, opaque=True)
    return Rejected("token-inactive")


def bearer_claims(
    provider: Provider, available: Mapping[str, KeySet], now: datetime
) -> Callable[[str], Mapping[str, Any]]:
    """How the SDK judges a token of this provider: the claims, or a TokenError."""

    def judge(token: str) -> Mapping[str, Any]:
        if provider.name not in available:
            raise TokenKeyUnknown("no keys yet")
        keys = with_new_key(provider.name) if kid_of(token) == "new" else available[provider.name]
        return verify(token, keys=keys, expect=expectation(provider), now=now).claims

    return judge


def kid_of(token: str) -> object:
    return read_unverified(token).header.get("kid")


@cache
def with_new_key(provider: str) -> KeySet:
    """The provider's keys as the service has them."""
    return keys(*json.loads(KEYS[provider].as_json())["keys"], NEW_KEY)


def expectation(provider: Provider) -> Expectation:
    """What a provider's settings ask of a token."""
    audience = provider.audience
    return Expectation(
        issuer=provider.issuer,
        audiences=audience.any_of if isinstance(audience, Audiences) else UnsafeAnyAudience(),
        algorithms=frozenset(provider.algorithms),
        leeway=provider.leeway,
        max_lifetime=provider.max_lifetime,
    )
