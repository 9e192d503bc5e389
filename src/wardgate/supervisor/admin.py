"""
Envoy's admin interface, over its unix socket: figures, readiness, and the commands that drain.

Nothing of it is ever reachable from outside; `metrics_server.py` passes on a chosen part of the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from wardgate.supervisor.local_http import NoAnswer, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counters and gauges, and the texts that Envoy prints in quotes (`version_text`)."""

    numbers: Mapping[str, int] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def total(self, suffix: str) -> int:
        """The sum of every figure whose name ends so."""
        return sum(value for name, value in self.numbers.items() if name.endswith(suffix))


@dataclass(frozen=True, slots=True)
class Admin:
    """The client of one admin socket. Every method may raise NoAnswer."""

    socket: str

    async def stats(self, pattern: str) -> Stats:
        """The statistics whose names match `pattern` (RE2, anywhere in the name)."""
        return _stats(await self._get(f"/stats?filter={quote(pattern, safe='')}"))

    async def prometheus(self, pattern: str) -> str:
        """The same in Prometheus' text format, with Envoy's own names."""
        return await self._get(f"/stats/prometheus?filter={quote(pattern, safe='')}")

    async def drain(self) -> None:
        """
        Tell clients to go (`connection: close` on every answer), and listeners to close after the drain time.

        Requests that run are not touched, and until the listeners close new ones are served.
        """
        await request(self.socket, "POST", "/healthcheck/fail")
        await request(self.socket, "POST", "/drain_listeners?graceful")

    async def _get(self, target: str) -> str:
        status, body = await request(self.socket, "GET", target)
        if status != 200:
            raise NoAnswer(f"Envoy's admin interface answers {status} to {target}")
        return body.decode("utf-8", "replace")


def _stats(text: str) -> Stats:
    numbers: dict[str, int] = {}
    texts: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        if value.startswith('"'):
            texts[name] = value.strip('"')
        elif value.isdigit():
            numbers[name] = int(value)
    return Stats(numbers=numbers, texts=texts)
