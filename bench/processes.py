"""
Processes of a measurement: started on a core of their own, asked until they answer, measured, and ended.

Nothing here knows what is measured: a part is a command and a URL. Linux only (/proc, taskset).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

READY_S = 60.0
STOP_S = 30.0
POLL_S = 0.005
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Where the measured part runs, and where everything that only serves the measurement does."""

    measured: int
    load: int
    upstream: int

    @classmethod
    def of_this_machine(cls) -> Self:
        """Raises RuntimeError on a machine with one core: nothing could be told there."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise RuntimeError("a benchmark needs two cores: one for what is measured, one for the load")
        return cls(measured=cores[0], load=cores[1], upstream=cores[2] if len(cores) > 2 else cores[1])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


@dataclass(slots=True, kw_only=True)
class Part:
    """
    A running command with all its children. `url` is where the load goes, `headers` what each request has; `credential` is
    the header that says who asks, and what stands before who.
    """

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    headers: Mapping[str, str] = field(default_factory=dict)
    credential: tuple[str, str] = ("Authorization", "Bearer ")
    started_in_s: float = 0.0

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        url: str,
        log: Path,
        *,
        headers: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """Return when `url`, with `headers`, answers 200; what it says on its standard output is thrown away."""
        begin = time.monotonic()
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        part = cls(name=name, url=url, process=process, log=log, headers=headers or {})
        try:
            part._wait()
        except BaseException:
            part.stop()
            raise
        part.started_in_s = time.monotonic() - begin
        return part

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while (status := self._status()) != 200:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self._said()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} answers {status}, not 200, at {self.url}:\n{self._said()}")
            time.sleep(POLL_S)

    def _status(self) -> int:
        """Of one request; 0 when nobody listens."""
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.url, headers=dict(self.headers))
            ) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def asked_by(self, name: str, credential: tuple[str, str], who: str) -> Self:
        """The same process, asked in another way. To be stopped once."""
        others = {k: v for k, v in self.headers.items() if k != self.credential[0]}
        headers = {**others, credential[0]: credential[1] + who}
        return replace(self, name=name, headers=headers, credential=credential)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: nobody else is in the group
            self.process.wait()

    def cpu_s(self) -> float:
        """Processor time that it and its children have used."""
        return sum(_cpu_s(pid) for pid in family(self.process.pid))

    def memory(self) -> dict[str, int]:
        """Resident KiB of each of its processes, by name and id. Pages that two of them share count twice."""
        return {f"{_name(pid)} {pid}": _resident_kib(pid) for pid in family(self.process.pid)}


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def _cpu_s(pid: int) -> float:
    """Summed over threads, to the nanosecond; a thread that has ended is missing."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _resident_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
