"""
When an issuer that does not answer is asked again: soon, then more seldom, and by one session at a time.

Without it each request of each session would wait for the issuer's timeout. One session whose renewal fails for reasons
of its own holds up nobody: only when several fail, and none succeeds in between, is the issuer taken to be away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from wardgate.events import say, warn

FIRST_S: Final = 1.0
LAST_S: Final = 10.0
"""Between two attempts. So long after the issuer is back, sessions are renewed again."""

SEVERAL: Final = 3
"""Sessions that failed with no success in between: it is the issuer, not they."""

REMEMBERED: Final = 20_000
"""Sessions whose last renewal failed."""


@dataclass(slots=True)
class _Pause:
    again: float = 0.0
    delay: float = 0.0

    def longer(self, now: float) -> None:
        self.delay = min(self.delay * 2 or FIRST_S, LAST_S)
        self.again = now + self.delay


@dataclass(slots=True)
class _Issuer:
    failing: set[str] = field(default_factory=set)
    pause: _Pause = field(default_factory=_Pause)

    @property
    def away(self) -> bool:
        return len(self.failing) >= SEVERAL


class Outages:
    """Of every provider. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, _Pause] = {}
        self._issuers: dict[str, _Issuer] = {}

    def may_ask(self, provider: str, session: str) -> bool:
        """Whether this session may ask now. While the issuer is away, a yes lets the others wait."""
        now = self._clock()
        pause, issuer = self._sessions.get(session), self._issuers.get(provider)
        if pause is not None and now < pause.again:
            return False
        if issuer is None or not issuer.away:
            return True
        if now < issuer.pause.again:
            return False
        issuer.pause.again = now + LAST_S
        return True

    def failing(self, provider: str, session: str) -> bool:
        """Whether the last attempt for this session failed, or the issuer is taken to be away."""
        issuer = self._issuers.get(provider)
        return session in self._sessions or (issuer is not None and issuer.away)

    def failed(self, provider: str, session: str, problem: str) -> None:
        now = self._clock()
        if len(self._sessions) >= REMEMBERED:
            self._sessions = {name: one for name, one in self._sessions.items() if now < one.again}
        self._sessions.setdefault(session, _Pause()).longer(now)
        issuer = self._issuers.setdefault(provider, _Issuer())
        if not issuer.failing:
            warn(
                "a session could not be renewed: the issuer does not answer",
                provider=provider,
                problem=problem,
            )
        if not issuer.away:
            issuer.failing.add(session)
        issuer.pause.longer(now)

    def answered(self, provider: str, session: str) -> None:
        self._sessions.pop(session, None)
        if self._issuers.pop(provider, None) is not None:
            say("the issuer answers again: sessions are renewed", provider=provider)
