"""
What a token must be, decided by whoever asks, before any token is seen.

Not read from a token or from a key set: the algorithms, the issuer and the audiences come from configuration
(RFC 8725 3.1, 3.8, 3.9). Defaults are written out even where they are obvious.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Everything that can be allowed: asymmetric signatures only. Never `none`, never HMAC with a public key."""

DEFAULT_ALGORITHMS = ALGORITHMS - {"EdDSA"}

DEFAULT_LEEWAY = timedelta(seconds=30)
"""Clocks of issuers and gateways differ; more than this is a broken clock (design 6; Envoy's own default is 60)."""

DEFAULT_MAX_LIFETIME = timedelta(hours=24)
"""Longest remaining life of an access token. Also catches `exp` in milliseconds."""

ACCESS_HEADER_TYPES = frozenset({"jwt", "at+jwt"})
"""Header `typ`, folded, without `application/`: RFC 7519 5.1, RFC 9068 2.1. An absent `typ` is accepted."""

OTHER_TOKEN_TYPES = frozenset(
    {"id", "refresh", "logout", "offline", "dpop", "registrationaccesstoken", "initialaccesstoken"}
)
"""Payload `typ`, folded: Keycloak signs most of these with the key of its access tokens."""

OTHER_TOKEN_CLAIMS = frozenset({"at_hash", "c_hash", "events"})
"""
Claims that only other kinds of token have: ID tokens (OpenID Connect Core 3.1.3.6, 3.3.2.11) and logout tokens
(Back-Channel Logout 2.4). `nonce` is not here: Keycloak before 24 put it into access tokens too.
"""


@dataclass(frozen=True, slots=True)
class UnsafeAnyAudience:
    """Accept a token that was issued for anybody (RFC 8725 3.9 says why not); never a default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """
    What is asked of a token.

    `audiences`: any one of them must be in `aud`; exact, case-sensitive. To check no audience, say so:
    `UnsafeAnyAudience()`. `max_auth_age`: refuse when `auth_time` is longer ago; a token without `auth_time`
    (a service account never logged in) passes unless `auth_time_required`. `kind` is how messages name what is asked
    for; what makes a token one of that kind are the three fields before it.
    Raises ValueError when it asks for nothing or for what cannot be checked.
    """

    issuer: str
    audiences: tuple[str, ...] | UnsafeAnyAudience
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    leeway: timedelta = DEFAULT_LEEWAY
    max_lifetime: timedelta = DEFAULT_MAX_LIFETIME
    max_auth_age: timedelta | None = None
    auth_time_required: bool = False
    header_types: frozenset[str] = ACCESS_HEADER_TYPES
    refused_types: frozenset[str] = OTHER_TOKEN_TYPES
    refused_claims: frozenset[str] = OTHER_TOKEN_CLAIMS
    kind: str = "an access token"

    def __post_init__(self) -> None:
        if not self.issuer:
            raise ValueError("an expectation needs an issuer")
        self._check_audiences()
        unknown = self.algorithms - ALGORITHMS
        if unknown or not self.algorithms:
            allowed = ", ".join(sorted(ALGORITHMS))
            raise ValueError(f"algorithms must be some of {allowed}, got {sorted(self.algorithms)}")
        if self.leeway < timedelta(0) or self.max_lifetime <= timedelta(0):
            raise ValueError("leeway must not be negative, and max_lifetime must be positive")

    def _check_audiences(self) -> None:
        if isinstance(self.audiences, UnsafeAnyAudience):
            return
        if isinstance(self.audiences, str):
            raise ValueError("audiences is a tuple of strings, not one string")
        if not self.audiences or not all(self.audiences):
            raise ValueError("name an audience; to accept any, say UnsafeAnyAudience()")
