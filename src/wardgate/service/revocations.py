"""
Keeps Envoy's deny list as the store has it, on every replica.

A revocation is in the store first. Each replica hears of it at once (a hint, which may get lost) and asks the store each
second all the same. A store that does not answer changes nothing: what is denied stays denied, attested tokens end by
themselves. A store that comes back with another epoch was emptied, its revocations too: all attested tokens end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from wardgate.events import complain, say, warn
from wardgate.service.in_force import InForce
from wardgate.service.stores import SessionStore, StoreAway

POLL_S = 1.0
REMIND_S = 60.0


class Revocations:
    """One store's. `run` goes on until it is cancelled."""

    def __init__(self, store: SessionStore, in_force: InForce, now: Callable[[], float] = time.time) -> None:
        self.store = store
        self._in_force = in_force
        self._now = now
        self._epoch: str | None = None
        self._hint = asyncio.Event()
        self._said_at = float("-inf")
        self._away = False

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen(), name="revocations: hints")
        try:
            while True:
                await self._refreshed()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._hint.wait()
                self._hint.clear()
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _refreshed(self) -> None:
        try:
            await self.refresh()
        except Exception as error:  # whatever it is: a list that is not kept any more is worse
            complain("a fault of the gateway itself while ended sessions were looked up", error=repr(error))

    async def refresh(self) -> bool:
        """Make Envoy's list the store's. True when it is in force."""
        try:
            await self._same_epoch()
            denied = await self.store.revoked(now=self._now())
        except StoreAway as error:
            self._tell_away(error)
            return False
        if self._away:
            self._away = False
            say("the session store answers again")
        return await self._in_force.deny(denied)

    async def _same_epoch(self) -> None:
        epoch = await self.store.epoch()
        if self._epoch is not None and epoch != self._epoch:
            warn("the session store was emptied: all sessions of before are looked up again")
            await self._in_force.end_all()
        self._epoch = epoch

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(StoreAway):
                async for _ in self.store.changes():
                    self._hint.set()
            await asyncio.sleep(POLL_S)

    def _tell_away(self, error: StoreAway) -> None:
        self._away = True
        if time.monotonic() - self._said_at >= REMIND_S:
            self._said_at = time.monotonic()
            warn(
                "the session store does not answer; sessions that are known go on for a while",
                problem=str(error),
            )
