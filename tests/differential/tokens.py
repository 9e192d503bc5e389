"""
Credentials in every state: as a client sends them, and as `wardgate.verify` finds them.

The two ways must not meet: what is sent goes to Envoy as bytes; what is found comes from the same bytes by the
SDK, so the verification in Python is compared with Envoy's along with the decision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.verify.issuer import OTHER_RSA, P256, RSA, jwk, keys, sign
from wardgate.policy import Audiences, Kind, Policy, Provider
from wardgate.principal import Anonymous, Credential, Principal, Rejected
from wardgate.problems import TokenError
from wardgate.verify import Expectation, KeySet, UnsafeAnyAudience, read_unverified, verify

AUDIENCE = "app"
ISSUERS = {name: f"https://id.test/realms/{name}" for name in ("main", "other")}
KEYS: Mapping[str, KeySet] = {"main": keys(jwk(P256)), "other": keys(jwk(RSA))}
"""What each provider signs with: `main` ES256, `other` RS256."""

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


def found(
    policy: Policy, sent: tuple[tuple[str, str], ...], available: Mapping[str, KeySet], now: datetime
) -> Credential:
    """The credential that these headers hold, verified with the keys that are there."""
    values = [value for name, value in sent if name.lower() == "authorization"]
    if not values:
        return Anonymous()
    bearer = _BEARER.fullmatch(values[0])
    if bearer is None or len(values) > 1:
        return Rejected("credential-malformed")
    try:
        issuer = read_unverified(bearer[1]).claims.get("iss")
        provider = next((each for each in policy.providers if each.issuer == issuer), None)
        if provider is None or provider.name not in available:
            return Rejected("token-issuer")
        verified = verify(bearer[1], keys=available[provider.name], expect=expectation(provider), now=now)
    except TokenError as error:
        return Rejected(error.code)
    return Principal(provider=provider.name, kind=Kind.BEARER, claims=verified.claims, token=bearer[1])


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
