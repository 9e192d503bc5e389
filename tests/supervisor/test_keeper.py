"""Keeping a child alive."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from wardgate.supervisor import keeper
from wardgate.supervisor.child import spawn
from wardgate.supervisor.keeper import Keeper

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)",
]


def started(args: list[str]) -> Callable[[], Awaitable[asyncio.subprocess.Process]]:
    return lambda: spawn(args, read_stderr=False)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_child_that_dies_is_started_again_and_ended_for_good() -> None:
    """After its death there is another one; after `end` there is none."""

    async def scenario() -> None:
        kept = Keeper("sleeper", started(SLEEPER))
        await kept.launch()
        running = asyncio.create_task(kept.run())
        first = kept.pid
        assert kept.child is not None
        kept.child.kill()
        await until(lambda: kept.pid not in (first, None))
        await kept.end(patience_s=5)
        await running
        assert (kept.pid, kept.restarts) == (None, 1)

    asyncio.run(scenario())


def test_the_delay_grows_while_it_keeps_dying(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that dies at once, or cannot be started, is tried less and less often, up to every five seconds."""
    delays: list[float] = []
    real = asyncio.sleep

    async def no_sleep(seconds: float) -> None:
        delays.append(seconds)
        await real(0)

    async def scenario() -> None:
        kept = Keeper("absent", absent)
        running = asyncio.create_task(kept.run())
        await until(lambda: len(delays) >= 9)
        await kept.end(patience_s=0)
        await running

    async def absent() -> asyncio.subprocess.Process:
        raise OSError("no such program")

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():
            await real(0.001)

    monkeypatch.setattr("wardgate.supervisor.keeper.asyncio.sleep", no_sleep)
    asyncio.run(scenario())
    assert delays[:8] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]
    assert keeper.LAST_DELAY_S == 1.0


def test_a_child_that_does_not_go_is_killed() -> None:
    """One that ignores SIGTERM has its patience and no more."""

    async def scenario() -> None:
        kept = Keeper("stubborn", started(STUBBORN))
        await kept.launch()
        async with asyncio.timeout(10):
            await kept.end(patience_s=0.2)
        assert kept.pid is None

    asyncio.run(scenario())
