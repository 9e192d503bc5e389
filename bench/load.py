"""
Load: wrk for how much, a paced client (`paced.py`) for how long; rounds of several parts take turns.

Source of the method: parts are only compared within a run, one after the other in each round, and medians of rounds
are what is printed: a machine's mood changes within minutes by more than the differences that matter here.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from processes import Part, pinned

HERE = Path(__file__).parent
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`failed` counts answers that were not 2xx or 3xx and errors of sockets: a figure with any is worthless."""

    per_s: float
    cpu_us: float
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Of an open-loop client: from the moment a request was due, so that waiting in line counts."""

    p50_us: float
    p99_us: float
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How hard, and from which core."""

    core: int
    connections: int
    seconds: int

    def rate(self, part: Part, many: Path | None = None) -> Rate:
        """As many requests as are answered. `many`: a file of the part's credentials, one used after the other."""
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{self.seconds}s"]
        command += _header_options(part.headers, but=part.credential[0] if many else "")
        rotate = ["-s", str(HERE / "rotate.lua"), part.url, "--", str(many), *part.credential]
        command += rotate if many else [part.url]
        before = part.cpu_s()
        said = subprocess.run(pinned(self.core, command), capture_output=True, text=True, check=True).stdout
        used = part.cpu_s() - before
        return _rate(said, used)

    def delay(self, part: Part, per_s: int) -> Delay:
        command = [sys.executable, str(HERE / "paced.py"), part.url, str(per_s), str(self.seconds)]
        command += [f"{name}: {value}" for name, value in part.headers.items()]
        said = subprocess.run(pinned(self.core, command), capture_output=True, text=True, check=True).stdout
        return Delay(**json.loads(said))


def _header_options(headers: Mapping[str, str], but: str) -> list[str]:
    return [word for name, value in headers.items() if name != but for word in ("-H", f"{name}: {value}")]


def _rate(said: str, cpu_s: float) -> Rate:
    """From wrk's own report."""
    requests = _figure(r"(\d+) requests in", said)
    failed = _figure(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed += sum(map(int, errors.groups())) if errors else 0
    per_s = _figure(r"Requests/sec:\s+([\d.]+)", said)
    return Rate(per_s=per_s, cpu_us=cpu_s / requests * 1e6, failed=int(failed))


def _figure(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    return float(found[1]) if found else 0.0


def take_turns(
    parts: Sequence[Part], rounds: int, measure: Callable[[Part], Result]
) -> dict[str, list[Result]]:
    """Each part once per round, in turn. A first request of each is made by whoever started it."""
    results: dict[str, list[Result]] = {part.name: [] for part in parts}
    for number in range(rounds):
        for part in parts if number % 2 == 0 else reversed(parts):
            results[part.name].append(measure(part))
    return results


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
