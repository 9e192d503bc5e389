"""
One question at a time: whoever asks the same while it is being answered waits for that answer.

An asker who gives up does not stop the others' question. Nothing is remembered when it has been answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

GRACE_S: Final = 2.0

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")


class Flights(Generic[Key, T]):
    """Questions by their key. For one event loop."""

    def __init__(self) -> None:
        self._flying: dict[Key, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def __contains__(self, key: Key) -> bool:
        task = self._flying.get(key)
        return task is not None and not task.done()

    async def join(self, key: Key, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to the question that is on its way, or to `ask` now. Raises what `ask` raises."""
        return await asyncio.shield(self.start(key, ask))

    def start(self, key: Key, ask: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """As `join`, for one who does not wait."""
        task = self._flying.get(key)
        # one that is done stays here until the loop's next turn: who joined it in a loop would never give that turn
        if task is None or task.done():
            task = asyncio.create_task(_asked(ask))
            self._flying[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    async def close(self) -> None:
        """Wait for what is on its way, a moment; break off the rest."""
        tasks = tuple(self._flying.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE_S)
            for task in late:
                task.cancel()

    def _landed(self, key: Key, task: asyncio.Task[T]) -> None:
        if self._flying.get(key) is task:
            del self._flying[key]
        if not task.cancelled():
            task.exception()  # when every asker has given up, nobody else looks at it


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
