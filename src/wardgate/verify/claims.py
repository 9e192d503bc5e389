"""
What the claims of a signed token must say (RFC 7519 4.1, RFC 8725 3.8 to 3.11, RFC 9068 4).

Not about signatures: `require_claims` is called when the signature has been proven, and the order of its checks
is the order in which people can act on them: whose token, for whom, what kind, and only then when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from wardgate.problems import TokenError, shown
from wardgate.verify.errors import (
    TokenAudienceWrong,
    TokenBound,
    TokenExpired,
    TokenIssuerWrong,
    TokenLifetimeTooLong,
    TokenMalformed,
    TokenNeverExpires,
    TokenNotYetValid,
    TokenTooOld,
    TokenTypeRefused,
)
from wardgate.verify.expectation import Expectation, UnsafeAnyAudience

_LATEST = 253_370_764_800
"""9999-01-01, the last year that Python's (and RFC 3339's) calendar knows, with room for a leeway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedClaims:
    """
    The claims of a token whose signature, issuer, audience, kind and times were all found right.

    `claims` is everything the token says, as parsed; the fields beside it are the registered claims, typed.
    `audiences` is empty when the token has none (only possible with `UnsafeAnyAudience`).
    """

    issuer: str
    audiences: tuple[str, ...]
    subject: str | None
    expires_at: datetime
    key_id: str | None
    claims: Mapping[str, Any] = field(repr=False)


def require_claims(
    claims: Mapping[str, Any], *, expect: Expectation, key_id: str | None, now: datetime
) -> SignedClaims:
    """Check every claim against the expectation; raises the TokenError of the first that is wrong."""
    for check in _CHECKS:
        check(claims, expect, now)
    expires_at = time_of(claims, "exp")
    assert expires_at is not None  # _require_time_left
    return SignedClaims(
        issuer=claims["iss"],
        audiences=audiences_of(claims),
        subject=claims.get("sub"),
        expires_at=expires_at,
        key_id=key_id,
        claims=MappingProxyType(dict(claims)),
    )


def claim_errors(claims: Mapping[str, Any], *, expect: Expectation, now: datetime) -> tuple[TokenError, ...]:
    """Everything that `require_claims` would refuse, not only the first: for people, who fix all at once."""
    found: list[TokenError] = []
    for check in _CHECKS:
        try:
            check(claims, expect, now)
        except TokenError as error:
            found.append(error)
    return tuple(found)


def audiences_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """
    `aud` as a tuple: one string, a list of strings, or absent (empty); RFC 7519 4.1.3.

    A string with spaces is one audience. Raises TokenMalformed.
    """
    if "aud" not in claims:
        return ()
    found = claims["aud"]
    audiences = found if isinstance(found, list) else [found]
    if not all(isinstance(audience, str) for audience in audiences):
        raise TokenMalformed(f"aud must be text or a list of texts, got {shown(found)}")
    return tuple(audiences)


def time_of(claims: Mapping[str, Any], name: str) -> datetime | None:
    """A NumericDate (RFC 7519 2; fractions allowed) as a time in UTC; None when absent. Raises TokenMalformed."""
    if name not in claims:
        return None
    seconds = claims[name]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TokenMalformed(f"{name} must be a number of seconds, got {shown(seconds)}")
    if seconds < 0:
        raise TokenMalformed(f"{name} must not be negative, got {shown(seconds)}")
    # What lies beyond the calendar still has to be judged (as too far away), not to fail here.
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC)


def _require_issuer(claims: Mapping[str, Any], expect: Expectation, _: datetime) -> None:
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer != expect.issuer:
        raise TokenIssuerWrong(f"the issuer is {shown(issuer)}, expected {shown(expect.issuer)}")


def _require_audience(claims: Mapping[str, Any], expect: Expectation, _: datetime) -> None:
    audiences = audiences_of(claims)
    if isinstance(expect.audiences, UnsafeAnyAudience):
        return
    if not set(audiences) & set(expect.audiences):
        wanted = " or ".join(shown(audience) for audience in expect.audiences)
        found = ", ".join(shown(audience) for audience in audiences) or "absent"
        raise TokenAudienceWrong(f"the audience is {found}, expected {wanted}")


def _require_kind(claims: Mapping[str, Any], expect: Expectation, _: datetime) -> None:
    """An access token, and one that a bearer may use; Keycloak signs all its kinds with one key."""
    if "typ" in claims:
        kind = claims["typ"]
        if not isinstance(kind, str) or kind.lower() in expect.refused_types:
            raise TokenTypeRefused(f"it is not {expect.kind}: its payload says typ {shown(kind)}")
    found = sorted(expect.refused_claims & set(claims))
    if found:
        raise TokenTypeRefused(f"it is not {expect.kind}: its payload holds {', '.join(found)}")
    if "cnf" in claims:
        raise TokenBound("it is bound to a key of its sender (cnf), so it cannot be used as a bearer token")


def _require_subject(claims: Mapping[str, Any], _: Expectation, __: datetime) -> None:
    """Absent is fine: Keycloak leaves it out of lightweight tokens."""
    subject = claims.get("sub", "")
    if not isinstance(subject, str):
        raise TokenMalformed(f"sub must be text, got {shown(subject)}")


def _require_time_left(claims: Mapping[str, Any], expect: Expectation, now: datetime) -> None:
    expires_at = time_of(claims, "exp")
    if expires_at is None:
        raise TokenNeverExpires("it has no exp: a token that never ends is not accepted")
    if now >= expires_at + expect.leeway:
        raise TokenExpired(f"it expired at {expires_at:%Y-%m-%dT%H:%M:%SZ}, {_span(now - expires_at)} ago")
    if expires_at - now > expect.max_lifetime + expect.leeway:
        limit = _span(expect.max_lifetime)
        raise TokenLifetimeTooLong(f"it is valid until {expires_at:%Y-%m-%d}; at most {limit} are accepted")


def _require_begun(claims: Mapping[str, Any], expect: Expectation, now: datetime) -> None:
    for name, meaning in (("nbf", "valid from"), ("iat", "issued at")):
        begins = time_of(claims, name)
        if begins is not None and begins > now + expect.leeway:
            raise TokenNotYetValid(
                f"it is {meaning} {begins:%Y-%m-%dT%H:%M:%SZ}, which is still to come ({name})"
            )


def _require_recent_login(claims: Mapping[str, Any], expect: Expectation, now: datetime) -> None:
    """Source: S0's validator ("Validate token freshness"), which skips tokens without `auth_time`."""
    login = time_of(claims, "auth_time")
    if expect.max_auth_age is None:
        return
    if login is None:
        if expect.auth_time_required:
            raise TokenTooOld("it has no auth_time: how long ago the login was cannot be told")
        return
    if now - login > expect.max_auth_age + expect.leeway:
        limit = _span(expect.max_auth_age)
        raise TokenTooOld(f"the login was {_span(now - login)} ago; at most {limit} are accepted")


_CHECKS: tuple[Callable[[Mapping[str, Any], Expectation, datetime], None], ...] = (
    _require_issuer,
    _require_audience,
    _require_kind,
    _require_subject,
    _require_time_left,
    _require_begun,
    _require_recent_login,
)


def _span(length: timedelta) -> str:
    """A length of time without fractions, as people read it: `1 day, 2:00:05`."""
    return str(timedelta(seconds=int(length.total_seconds())))
