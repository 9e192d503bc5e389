"""
Envoy's admin interface, over its unix socket: figures, readiness, and the two commands that drain.

Plain asyncio and HTTP/1.1 with one request a connection: all that is asked for is on this machine, and the
supervisor stays small. Whatever goes wrong here means "Envoy cannot be asked now": `AdminAway`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from wardgate.problems import Unavailable

TIMEOUT_S = 5.0
"""Envoy's main thread answers in milliseconds, except while it loads a very large configuration."""


class AdminAway(Unavailable):
    """Envoy's admin interface does not answer: not started yet, dying, or stopped."""


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
    """The client of one admin socket."""

    socket: str

    async def stats(self, pattern: str) -> Stats:
        """The statistics whose names match `pattern` (RE2, anywhere in the name)."""
        return _stats(await self._get(f"/stats?filter={quote(pattern, safe='')}"))

    async def prometheus(self, pattern: str) -> str:
        """The same in Prometheus' text format, with Envoy's own names."""
        return await self._get(f"/stats/prometheus?filter={quote(pattern, safe='')}")

    async def ready(self) -> bool:
        """Whether Envoy calls itself live. It says so even when no listener could be set up."""
        try:
            return (await self.request("GET", "/ready"))[0] == 200
        except AdminAway:
            return False

    async def drain(self) -> None:
        """Tell clients to go (`connection: close` on every answer), and listeners to close after the drain time."""
        await self.request("POST", "/healthcheck/fail")
        await self.request("POST", "/drain_listeners?graceful")

    async def request(self, method: str, target: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._exchange(method, target)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            raise AdminAway(f"Envoy's admin interface does not answer: {error!r}") from error

    async def _get(self, target: str) -> str:
        status, body = await self.request("GET", target)
        if status != 200:
            raise AdminAway(f"Envoy's admin interface answers {status} to {target}")
        return body.decode("utf-8", "replace")

    async def _exchange(self, method: str, target: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            head = (
                f"{method} {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            writer.write(head.encode("ascii"))
            await writer.drain()
            answer = await reader.read(-1)
        finally:
            writer.close()
        return _parsed(answer)


def _parsed(answer: bytes) -> tuple[int, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.1 ") else 0
    if not status:
        raise ValueError("not an HTTP answer")
    chunked = b"transfer-encoding: chunked" in head.lower()
    return status, _dechunked(body) if chunked else body


def _dechunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    start = 0
    while True:
        end = body.index(b"\r\n", start)
        size = int(body[start:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        start = end + 2 + size + 2


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
