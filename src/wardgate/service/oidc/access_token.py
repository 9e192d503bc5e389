"""
Access tokens as Python judges them: as Envoy and its guard do (`envoy/lua/gate.lua`, `authn/jwt.py`), no more and no less.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wardgate.policy import Audiences, Provider
from wardgate.verify import (
    Expectation,
    KeySet,
    TokenTypeRefused,
    UnsafeAnyAudience,
    verify,
)


def expectation(provider: Provider, **changes: Any) -> Expectation:
    """What an access token of this provider must be."""
    audience = provider.audience
    asked: dict[str, Any] = {
        "issuer": provider.issuer,
        "audiences": audience.any_of if isinstance(audience, Audiences) else UnsafeAnyAudience(),
        "algorithms": frozenset(provider.algorithms),
        "leeway": provider.leeway,
        "max_lifetime": provider.max_lifetime,
    }
    return Expectation(**{**asked, **changes})


def verified(token: str, keys: KeySet, expect: Expectation, now: datetime) -> Mapping[str, Any]:
    """The claims of a JWT that is an access token. Raises a TokenError for any other."""
    claims = verify(token, keys=keys, expect=expect, now=now).claims
    require_no_login(claims)
    return claims


def require_no_login(claims: Mapping[str, Any]) -> None:
    """A `nonce` is an ID token's; old Keycloaks add it to access tokens, which say that they are (`typ` Bearer)."""
    if "nonce" in claims and claims.get("typ") != "Bearer":
        raise TokenTypeRefused("it is not an access token: its payload holds nonce")
