"""
Logins on their way: what was asked of the issuer, kept in the browser until it comes back.

Each has a small sealed cookie of its own, named after its state, so that tabs which start together do not overwrite each
other; it opens for that state only. At most five are kept, each for ten minutes as a rule, and no more than 6 000 bytes of them: a
start removes the oldest, a callback its own, and nothing piles up until requests are refused (envoyproxy/gateway #9632).
Always SameSite=Lax: the way back from the issuer is a navigation from another site.

And the loop breaker: a cookie that says when logins were completed lately. Who has just completed two and comes for a
third has a browser that does not keep, or does not send, the session.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from wardgate.policy import OWN_COOKIES, SameSite, Session
from wardgate.service.cookies import expire, pairs, set_cookie, values
from wardgate.service.sealing import LOGIN_COOKIE, SealBroken, Sealer

MANY: Final = 5
SKEW_S: Final = 60.0
"""How far the clock of the replica that began a login may be ahead of ours."""

MAX_BYTES: Final = 4000
"""Of one cookie, name and value. Browsers keep 4 096 (RFC 6265bis, 5.6)."""

TOTAL_BYTES: Final = 6000
"""Of all of them. nginx, say, takes no header line of more than 8 192 bytes; the application has cookies, too."""

REMOVED_MANY: Final = 20
"""Cookies that one answer removes. Envoy takes 100 headers of a response; the next start goes on with the rest."""

LOOP_S: Final = 30.0
LOOP_MANY: Final = 2

_PREFIX: Final = "wardgate-login-"
_STATE_CHARACTERS: Final = 16
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{16}")
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


@dataclass(frozen=True, slots=True)
class _Kept:
    """The cookie of a pending login as the browser sends it, not opened: `started` is what it says about itself."""

    name: str
    started: float
    size: int


class PendingLogins:
    """The cookies of one policy. `now`: seconds since 1970."""

    def __init__(self, sealer: Sealer, session: Session, now: Callable[[], float] = time.time) -> None:
        self._sealer = sealer
        self._secure = session.secure
        self._life_s = session.login_patience.total_seconds()
        self._host = "__Host-" if session.secure else ""
        # sessions of their own have their own circles
        _, own, whose = session.cookie_name.partition(OWN_COOKIES)
        self._circle = f"{self._host}{_COMPLETED}{'-' if own else ''}{whose}"
        self._now = now

    # --- a login

    def start(self, raw: bytes, login: PendingLogin) -> list[str]:
        """
        Set-Cookie values: this login's, and the removal of the oldest beyond five or TOTAL_BYTES.

        A landing that no cookie holds is cut: to its path, or to the root of its host.
        """
        name, value = self._name(login.state), self._fitting(login)
        size, kept, gone = len(name) + len(value), 1, []
        for one in sorted(self._others(raw, name), key=lambda one: one.started, reverse=True):
            alive = -SKEW_S <= self._now() - one.started <= self._life_s
            if alive and kept < MANY and size + one.size <= TOTAL_BYTES:
                kept, size = kept + 1, size + one.size
            else:
                gone.append(one.name)
        return [self._set(name, value, self._life_s), *map(self._expire, gone[-REMOVED_MANY:])]

    def of_state(self, raw: bytes, state: str) -> PendingLogin | None:
        """
        The login that this browser started with this state; None when it did not, or it is too long ago.

        The address of a callback is what others can write: it is compared, never used as a name.
        """
        name = self._name(state)
        found = values(raw, name)
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
        return login if -SKEW_S <= age <= self._life_s else None

    def finish(self, state: str) -> str:
        """The Set-Cookie value that removes a login's cookie: it is used once."""
        return self._expire(self._name(state))

    def any(self, raw: bytes) -> bool:
        """Whether this browser has sent the cookie of any login."""
        return any(True for _ in self._kept(raw))

    # --- the loop breaker

    def completed(self, raw: bytes) -> str:
        """The Set-Cookie value that says that a login has been completed now."""
        times = [*self._completions(raw), self._now()][-LOOP_MANY:]
        return self._set(self._circle, self._seal(json.dumps(times), _COMPLETED), LOOP_S)

    def loops(self, raw: bytes) -> bool:
        """Whether a login that starts now would be the third within a short time, in a browser with no session."""
        return len(self._completions(raw)) >= LOOP_MANY

    def forget_completed(self) -> str:
        return self._expire(self._circle)

    # --- cookies

    def _completions(self, raw: bytes) -> list[float]:
        """Of every cookie of this name that opens: one that was planted beside ours turns nothing off."""
        times: list[float] = []
        for value in values(raw, self._circle):
            with suppress(SealBroken, ValueError):
                times += json.loads(self._sealer.open_text(LOGIN_COOKIE, value, _COMPLETED))
        # times of another replica may be a little ahead of ours
        return sorted(one for one in times if abs(self._now() - one) <= LOOP_S)

    def _others(self, raw: bytes, own: str) -> Iterable[_Kept]:
        """Those beside one's own, each name once: a removal says no more than the name."""
        return {one.name: one for one in self._kept(raw) if one.name != own}.values()

    def _kept(self, raw: bytes) -> Iterator[_Kept]:
        for name, value in pairs(raw):
            prefix, state = name[:-_STATE_CHARACTERS], name[-_STATE_CHARACTERS:]
            # only names that we give: whatever is sent is written back in a removal
            if prefix == self._host + _PREFIX and _STATE.fullmatch(state):
                digits = value.partition(".")[0]
                started = float(digits) if re.fullmatch(r"[0-9]{1,12}", digits) else 0.0
                yield _Kept(name, started, len(name) + len(value))

    def _fitting(self, login: PendingLogin) -> str:
        """The cookie's value, with a landing that fits. Raises ValueError when even the shortest does not."""
        parts = urlsplit(login.landing)
        root = f"{parts.scheme}://{parts.netloc}"
        for landing in (login.landing, root + parts.path, root + "/"):
            plain = json.dumps(asdict(replace(login, landing=landing)), separators=(",", ":"))
            value = f"{int(login.started)}.{self._seal(plain, login.state)}"
            if len(self._name(login.state)) + len(value) <= MAX_BYTES:
                return value
        raise ValueError("a login that no cookie holds")

    def _name(self, state: str) -> str:
        return f"{self._host}{_PREFIX}{state[:_STATE_CHARACTERS]}"

    def _seal(self, plain: str, context: str) -> str:
        return self._sealer.seal_text(LOGIN_COOKIE, plain.encode(), context)

    def _set(self, name: str, value: str, seconds: float) -> str:
        return set_cookie(name, value, secure=self._secure, same_site=SameSite.LAX, max_age_s=seconds)

    def _expire(self, name: str) -> str:
        return expire(name, secure=self._secure)
