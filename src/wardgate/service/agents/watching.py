"""
Those who wait for something to change: one look at the end of the record serves them all, whichever replica changed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from wardgate.problems import Unavailable

LOOK_S = 0.5
HEARTBEAT_S = 15.0
WATCHED_S = 300.0
"""Then a watcher has to come again, with a token or a session that still holds."""

HEARTBEAT = b": still here\n\n"
"""What keeps a stream open that has nothing to say."""

MOST = 400
"""Who watch at once; more are sent away, so that the others are still answered."""


def event(kind: str, data: Any) -> bytes:
    """A server-sent event (HTML, 9.2)."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


class TooMany(Exception):
    """As many watch already as can."""


class Watching:
    """`head` gives a number that grows with each change. For one event loop."""

    def __init__(self, head: Callable[[], Awaitable[int]]) -> None:
        self._head = head
        self._watchers = 0
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def watcher(self) -> AsyncIterator[None]:
        """Raises TooMany."""
        if self._watchers >= MOST:
            raise TooMany
        self._watchers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def change(self, at_most_s: float) -> bool:
        """Wait for a change of anything; False: there was none for so long."""
        try:
            await asyncio.wait_for(self._changed.wait(), at_most_s)
        except TimeoutError:
            return False
        return True

    def changed(self) -> None:
        """Something changed here."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _look(self) -> None:
        seen: int | None = None
        while True:
            try:
                head = await self._head()
            except Unavailable:
                head = seen or 0
            if seen is not None and head != seen:
                self.changed()
            seen = head
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
