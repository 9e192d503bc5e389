"""
Keeps one child alive: starts it again when it dies, soon at first, then less often.

Knows nothing of what the child does. 0.1 s after the first death, doubling to 1 s while it keeps dying: each must be
back within 3 s, however often it is killed. A child that lived for a while starts from the beginning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from wardgate.events import complain
from wardgate.supervisor.child import kill, stop

FIRST_DELAY_S, LAST_DELAY_S = 0.1, 1.0
SETTLED_S = 10.0
"""A child that lived this long was well: its next death is a new one."""


class Keeper:
    """
    `start` gives the running child. `pid` and `restarts` are for whoever watches.

    Leaves the decision how to end a child to `end`; `run` is the task that keeps it.
    """

    def __init__(self, name: str, start: Callable[[], Awaitable[asyncio.subprocess.Process]]) -> None:
        self.name = name
        self.restarts = 0
        self.child: asyncio.subprocess.Process | None = None
        self._start = start
        self._ending = False
        self._delay_s = FIRST_DELAY_S

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child is not None and self.child.returncode is None else None

    async def launch(self) -> None:
        """Start the child for the first time; what goes wrong is raised."""
        self.child = await self._start()

    async def run(self) -> None:
        """Until `end` is called: wait for the child's death and start it again. `launch` comes first."""
        while not self._ending:
            await self._life()
            if not self._ending:
                await asyncio.sleep(self._delay_s)
                self._delay_s = min(self._delay_s * 2, LAST_DELAY_S)
                await self._relaunch()

    async def end(self, *, patience_s: float) -> None:
        """End the child for good. No patience: kill it."""
        self._ending = True
        if self.child is None:
            return
        if patience_s <= 0:
            kill(self.child)
            await self.child.wait()
        else:
            await stop(self.child, patience_s=patience_s)

    async def _life(self) -> None:
        if self.child is None:
            return
        born = time.monotonic()
        code = await self.child.wait()
        if time.monotonic() - born > SETTLED_S:
            self._delay_s = FIRST_DELAY_S
        if not self._ending:
            complain("a process died and is started again", process=self.name, exit=code, in_s=self._delay_s)

    async def _relaunch(self) -> None:
        if self._ending:
            return
        self.restarts += 1
        try:
            self.child = await self._start()
        except Exception as error:  # whatever it is: the next try may work, and nothing else is ours to do
            self.child = None
            complain("a process cannot be started", process=self.name, error=str(error))
            return
        if self._ending:  # it was asked to end while it was being born
            kill(self.child)
