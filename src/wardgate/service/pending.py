"""
Logins on their way: what was asked of the issuer, kept in the browser until it comes back.

Each has a small sealed cookie of its own, named after its state, so that tabs which start together do not overwrite each
other; it opens for that state only. At most five are kept, each for ten minutes: a start removes the oldest, a callback
its own, and nothing piles up until requests are refused (envoyproxy/gateway #9632). Always SameSite=Lax: the way back
from the issuer is a navigation from another site.

And the loop breaker: a cookie that says when logins were completed lately. Who has just completed two and comes for a
third has a browser that does not keep, or does not send, the session.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from wardgate.policy import SameSite, Session
from wardgate.service.cookies import expire, pairs, set_cookie
from wardgate.service.sealing import LOGIN_COOKIE, SealBroken, Sealer

MANY: Final = 5
LIFE_S: Final = 600.0

LOOP_S: Final = 30.0
LOOP_MANY: Final = 2

_PREFIX: Final = "wardgate-login-"
_COMPLETED: Final = "wardgate-logins"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLogin:
    """
    `landing` is where it ends, an absolute URL. `verifier` None: without PKCE. `started`: seconds since 1970.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str | None = field(repr=False)
    provider: str
    landing: str
    redirect_uri: str
    started: float


class PendingLogins:
    """The cookies of one policy. `now`: seconds since 1970."""

    def __init__(self, sealer: Sealer, session: Session, now: Callable[[], float] = time.time) -> None:
        self._sealer = sealer
        self._secure = session.secure
        self._host = "__Host-" if session.secure else ""
        self._now = now

    # --- a login

    def start(self, raw: bytes, login: PendingLogin) -> list[str]:
        """Set-Cookie values: this login's, and the removal of the oldest beyond five."""
        kept = sorted(self._starts(raw), reverse=True)
        gone = [name for started, name in kept if self._now() - started > LIFE_S]
        alive = [name for started, name in kept if self._now() - started <= LIFE_S]
        gone += alive[MANY - 1 :]
        value = f"{int(login.started)}.{self._seal(json.dumps(asdict(login)), login.state)}"
        return [self._set(self._name(login.state), value, LIFE_S), *map(self._expire, gone)]

    def of_state(self, raw: bytes, state: str) -> PendingLogin | None:
        """
        The login that this browser started with this state; None when it did not, or it is too long ago.

        """
        name = self._name(state)
        found = [value for cookie, value in pairs(raw) if cookie == name]
        if len(found) != 1:
            return None  # none, or one that was planted beside it
        try:
            content: dict[str, Any] = json.loads(
                self._sealer.open_text(LOGIN_COOKIE, found[0].partition(".")[2], state)
            )
            login = PendingLogin(**content)
        except (SealBroken, ValueError, TypeError):
            return None
        age = self._now() - login.started
        return login if login.state == state and -60 <= age <= LIFE_S else None

    def finish(self, state: str) -> str:
        """The Set-Cookie value that removes a login's cookie: it is used once."""
        return self._expire(self._name(state))

    def any(self, raw: bytes) -> bool:
        """Whether this browser has sent the cookie of any login."""
        return bool(self._starts(raw))

    # --- the loop breaker

    def completed(self, raw: bytes) -> str:
        """The Set-Cookie value that says that a login has been completed now."""
        times = [*self._completions(raw), self._now()][-LOOP_MANY:]
        return self._set(self._host + _COMPLETED, self._seal(json.dumps(times), _COMPLETED), LOOP_S)

    def loops(self, raw: bytes) -> bool:
        """Whether a login that starts now would be the third within a short time, in a browser with no session."""
        return len(self._completions(raw)) >= LOOP_MANY

    def forget_completed(self) -> str:
        return self._expire(self._host + _COMPLETED)

    # --- cookies

    def _completions(self, raw: bytes) -> list[float]:
        found = [value for name, value in pairs(raw) if name == self._host + _COMPLETED]
        if len(found) != 1:
            return []
        try:
            times = json.loads(self._sealer.open_text(LOGIN_COOKIE, found[0], _COMPLETED))
        except (SealBroken, ValueError):
            return []
        return [float(one) for one in times if 0 <= self._now() - one <= LOOP_S]

    def _starts(self, raw: bytes) -> list[tuple[float, str]]:
        """When the pending logins of this browser started, unverified, and their cookies' names."""
        found = []
        for name, value in pairs(raw):
            if name.startswith(self._host + _PREFIX):
                digits = value.partition(".")[0]
                found.append((float(digits) if digits.isascii() and digits.isdecimal() else 0.0, name))
        return found

    def _name(self, state: str) -> str:
        return f"{self._host}{_PREFIX}{state[:16]}"

    def _seal(self, plain: str, context: str) -> str:
        return self._sealer.seal_text(LOGIN_COOKIE, plain.encode(), context)

    def _set(self, name: str, value: str, seconds: float) -> str:
        return set_cookie(name, value, secure=self._secure, same_site=SameSite.LAX, max_age_s=seconds)

    def _expire(self, name: str) -> str:
        return expire(name, secure=self._secure)
