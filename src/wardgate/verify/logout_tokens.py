"""
Logout tokens: an issuer tells that a login is over (OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6).

Pure, as all of `verify`: it does not remember the `jti`. Whoever acts on the token does, after it was found right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wardgate.problems import shown
from wardgate.verify.claims import require_claims, time_of
from wardgate.verify.compact import json_object
from wardgate.verify.errors import TokenMalformed, TokenTypeRefused
from wardgate.verify.expectation import DEFAULT_LEEWAY, OTHER_TOKEN_TYPES, Expectation
from wardgate.verify.keys import KeySet
from wardgate.verify.tokens import signed_payload

EVENT = "http://schemas.openid.net/event/backchannel-logout"

MAX_AGE = timedelta(minutes=2)
"""Section 2.4: an `exp` at most two minutes after it was made. Those without one (Keycloak before 26) end as soon."""

OTHER_THAN_LOGOUT = (OTHER_TOKEN_TYPES - {"logout"}) | {"bearer", "at+jwt"}

MAX_TEXT = 255
"""Characters of a `jti`, `sub` or `sid`: they become names in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutToken:
    """
    A login that ended: `issuer_session` (`sid`), or, where that is None, every login of `subject`.

    At least one of the two is there. `jti` must not be seen twice until `expires`, after which the token is refused.
    """

    issuer: str
    subject: str | None
    issuer_session: str | None
    jti: str
    expires: datetime


def verify_logout_token(
    token: str,
    *,
    keys: KeySet,
    issuer: str,
    client_id: str,
    algorithms: frozenset[str],
    now: datetime,
    leeway: timedelta = DEFAULT_LEEWAY,
) -> LogoutToken:
    """What a logout token of this issuer for this client says. Raises a TokenError for any other."""
    expect = Expectation(
        issuer=issuer,
        audiences=(client_id,),
        algorithms=algorithms,
        leeway=leeway,
        header_types=frozenset({"jwt", "logout+jwt"}),
        refused_types=OTHER_THAN_LOGOUT,
        refused_claims=frozenset({"nonce", "at_hash", "c_hash"}),
        kind="a logout token",
    )
    signed = signed_payload(token, keys=keys, expect=expect)
    claims = json_object(signed.payload, "payload")
    ends = _end(claims)
    # `exp` may be absent (2.4 had none until its last draft); its end is then what MAX_AGE says
    require_claims({**claims, "exp": ends.timestamp()}, expect=expect, key_id=signed.key.kid, now=now)
    _require_event(claims)
    subject, issuer_session = _text(claims, "sub"), _text(claims, "sid")
    if subject is None and issuer_session is None:
        raise TokenMalformed("a logout token names a subject or a session; this one has neither sub nor sid")
    jti = _text(claims, "jti")
    if jti is None:
        raise TokenMalformed("a logout token has a jti, so that it works once; this one has none")
    return LogoutToken(
        issuer=issuer, subject=subject, issuer_session=issuer_session, jti=jti, expires=ends + leeway
    )


def _end(claims: Mapping[str, Any]) -> datetime:
    """The earlier of its `exp` and two minutes after it was made."""
    made = time_of(claims, "iat")
    if made is None:
        raise TokenMalformed("a logout token says when it was made, this one does not (iat)")
    youngest = made + MAX_AGE
    said = time_of(claims, "exp")
    return min(said, youngest) if said is not None else youngest


def _require_event(claims: Mapping[str, Any]) -> None:
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping):
        raise TokenTypeRefused(f"it is not a logout token: its events are {shown(events)}")


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    found = claims.get(name)
    if found is None and name not in claims:
        return None
    if not isinstance(found, str) or not 0 < len(found) <= MAX_TEXT:
        raise TokenMalformed(f"{name} must be a text of 1 to {MAX_TEXT} characters, got {shown(found)}")
    return found
