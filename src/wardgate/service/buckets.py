"""
How often somebody may get it wrong: a token bucket for each address, and no more of them than fit.

Only failures are counted by those who use it, so that an issuer that ends ten thousand sessions is never told to wait.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MANY = 10_000


class Buckets:
    """`burst` failures at once, then `rate` a second, for each key. `clock` is monotonic, in seconds."""

    def __init__(self, *, burst: int, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def full(self, key: str) -> bool:
        """Whether it failed so often that it is not to be listened to now."""
        return self._level(key) > self._burst - 1

    def failed(self, key: str) -> None:
        level = self._level(key) + 1
        self._failures[key] = (level, self._clock())
        self._failures.move_to_end(key)
        while len(self._failures) > MANY:
            self._failures.popitem(last=False)

    def _level(self, key: str) -> float:
        level, when = self._failures.get(key, (0.0, self._clock()))
        return max(0.0, level - (self._clock() - when) * self._rate)
