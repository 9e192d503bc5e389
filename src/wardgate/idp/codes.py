"""Authorization codes: each good once, for a short time, for what was asked."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from wardgate.idp.authorization import Asked

MAX_CODES = 10_000


@dataclass(slots=True, kw_only=True)
class Code:
    """What a code stands for. `acr` is how the user was authenticated for it."""

    asked: Asked
    sid: str
    acr: str
    until: datetime
    used: bool = False


class Codes:
    """The codes that were given; a used one is remembered, so that a second use can be told."""

    def __init__(self, lifespan: timedelta, clock: Callable[[], datetime]) -> None:
        self._lifespan = lifespan
        self._clock = clock
        self._given: dict[str, Code] = {}

    def give(self, asked: Asked, sid: str, acr: str) -> str:
        """A new code, in Keycloak's shape: random, session, client."""
        while len(self._given) >= MAX_CODES:
            self._given.pop(next(iter(self._given)))
        text = f"{uuid.uuid4()}.{sid}.{uuid.uuid5(uuid.NAMESPACE_URL, asked.client.id)}"
        self._given[text] = Code(asked=asked, sid=sid, acr=acr, until=self._clock() + self._lifespan)
        return text

    def take(self, text: str) -> tuple[Code | None, bool]:
        """The code, and whether it was taken before. None when it never was one of ours, or is too old."""
        code = self._given.get(text)
        if code is None or (not code.used and self._clock() >= code.until):
            return None, False
        again, code.used = code.used, True
        return code, again
