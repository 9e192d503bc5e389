"""
Where a configuration comes from: files here, a Kubernetes API in `wardgate.kubernetes`.

A source is read whenever it says that it changed, and hears what became of each reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from wardgate.dialects import Reading
from wardgate.metrics import Metric
from wardgate.supervisor.watch import POLL_S, Watch

Load = Callable[[], Reading]
Figures = Mapping[Metric, Mapping[tuple[str, ...], float]]
"""Values by their labels."""


class Source(Protocol):
    """One place that configurations come from."""

    async def read(self) -> Reading:
        """The configuration as it is now; every problem is in the reading."""

    async def changed(self) -> str:
        """Return when it is another one than was read last, with what changed."""

    def told(self, reading: Reading, in_force: bool | None) -> None:
        """
        Hear whether what was read is in force now; else what was before it still is. None: it is the first one, on its way,
        and nobody is served until it is in force.
        """

    async def run(self) -> None:
        """What it does beside, as long as the gateway runs."""

    def figures(self) -> Figures:
        """What it counts."""


class Files:
    """Files, which are looked at twice a second. `files` gives those of now: a folder may have got another one."""

    def __init__(self, load: Load, files: Callable[[], Iterable[Path]]) -> None:
        self._load = load
        # before the first reading: what is changed while it is read is then noticed
        self._watch = Watch(files)

    async def read(self) -> Reading:
        await asyncio.to_thread(self._watch.read)
        return await asyncio.to_thread(self._load)

    async def changed(self) -> str:
        while True:
            await asyncio.sleep(POLL_S)
            if await asyncio.to_thread(self._watch.changed):
                return "file"

    def told(self, reading: Reading, in_force: bool | None) -> None:
        """Nobody beside those who read the events wants to know."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def figures(self) -> Figures:
        return {}
