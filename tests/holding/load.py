"""
Load from one thread: requests on connections that are kept open, at a steady rate or as fast as they are answered.

It speaks just enough HTTP/1.1 to notice what a reload must not do: a connection that is reset, or closed without
`connection: close` having been said before, makes its request a failed one. Not a benchmark.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

ANSWER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent, and the `kind` that the test judges its answer by."""

    kind: str
    head: bytes
    body: bytes = b""

    @property
    def method(self) -> bytes:
        return self.head.partition(b" ")[0]


def request(
    kind: str,
    target: str,
    token: str = "",
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Request:
    lines = [("Host", "app.test"), *headers]
    if token:
        lines.append(("Authorization", f"Bearer {token}"))
    if body:
        lines.append(("Content-Length", str(len(body))))
    text = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines)
    return Request(kind=kind, head=f"{text}\r\n".encode("latin-1"), body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to one request; `status` 0 and `failure` when there was none. `connection` counts connections."""

    request: Request
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: str = ""
    connection: int = 0
    seconds: float = 0.0

    def json(self) -> Any:
        return json.loads(self.body)

    def received(self) -> dict[str, str]:
        """The headers that the application received, by lower-case name (its answer says them)."""
        return {name.lower(): value for name, value in self.json()["headers"]}


class Client:
    """One connection at a time; opened again when the gateway has said that it closes."""

    _numbers = itertools.count(1)

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._number = 0

    async def ask(self, wanted: Request) -> Outcome:
        started = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await self._connection()
                writer.write(wanted.head + wanted.body)
                status, headers, body = await _answer(reader, wanted.method)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            return Outcome(request=wanted, failure=repr(error), connection=self._number)
        if headers.get("connection") == "close":
            self.close()
        return Outcome(
            request=wanted,
            status=status,
            headers=headers,
            body=body,
            connection=self._number,
            seconds=time.monotonic() - started,
        )

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
        self._open = None

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._open is None:
            self._open = await asyncio.open_connection("127.0.0.1", self._port)
            self._number = next(self._numbers)
        return self._open


async def _answer(reader: asyncio.StreamReader, method: bytes) -> tuple[int, dict[str, str], bytes]:
    """Raises EOFError when the connection ends before the answer does."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if method == b"HEAD" or status in (204, 304):
        return status, headers, b""
    if headers.get("transfer-encoding") == "chunked":
        return status, headers, await _chunks(reader)
    return status, headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


async def in_turn(port: int, requests: Iterable[Request]) -> list[Outcome]:
    """One after the other."""
    client = Client(port)
    try:
        return [await client.ask(wanted) for wanted in requests]
    finally:
        client.close()


async def all_of(port: int, requests: Iterable[Request], connections: int = 16) -> list[Outcome]:
    """As fast as they are answered; the order of the answers is not that of the requests."""
    left = iter(requests)
    outcomes: list[Outcome] = []

    async def work() -> None:
        client = Client(port)
        for wanted in left:
            outcomes.append(await client.ask(wanted))
        client.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return outcomes


class Steady:
    """
    Requests at a steady rate, from entering the context until leaving it; then `outcomes` are complete.

    Each connection keeps its own time table and does not wait for the others; an answer that comes late delays the
    next request of its connection only.
    """

    def __init__(self, port: int, requests: Iterable[Request], *, rps: float, connections: int = 16) -> None:
        self.outcomes: list[Outcome] = []
        self._port = port
        self._requests: Iterator[Request] = itertools.cycle(list(requests))
        self._pause_s = connections / rps
        self._connections = connections
        self._stop = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.failure]

    def statuses(self) -> Counter[int]:
        return Counter(outcome.status for outcome in self.outcomes)

    async def _run(self) -> None:
        share = self._pause_s / self._connections
        await asyncio.gather(*(self._work(index * share) for index in range(self._connections)))

    async def _work(self, delay_s: float) -> None:
        client = Client(self._port)
        due = time.monotonic() + delay_s
        with contextlib.closing(client):
            while not self._stop:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self.outcomes.append(await client.ask(next(self._requests)))
                due = max(due + self._pause_s, time.monotonic() - self._pause_s)
