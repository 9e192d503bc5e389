"""
The application behind the gateway: answers with what it received, and counts what arrived.

HTTP/1.1 with keep-alive. A request's answer is JSON:

    {"method": "POST", "path": "/api?x=1", "headers": [["Host", "a.test"], ...], "body_length": 3}

with the header names in the letters that came, in their order, each duplicate. A body is read as it streams in
and only its length is kept, so it may be of any size. A path that ends in /ws answers a WebSocket handshake
and then sends every message back. Arrivals are counted by the request header X-Case-Id, as soon as their head
is read: an upload that the gateway cuts off has arrived too, with the length that came.

`python -m tests.echo PORT` runs it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from tests import echo_websocket

CASE_HEADER = "x-case-id"
HEAD_LIMIT_BYTES = 1 << 20
PIECE_BYTES = 1 << 18


@dataclass(slots=True, kw_only=True)
class Arrival:
    """One request as it reached the application; `body_length` grows until `complete`."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body_length: int = 0
    complete: bool = False

    def values(self, name: str) -> list[str]:
        """The values of every header line of that name, whatever its letter case."""
        return [value for header, value in self.headers if header.lower() == name.lower()]

    def json(self) -> bytes:
        """The answer to it."""
        told = {
            "method": self.method,
            "path": self.path,
            "headers": [list(pair) for pair in self.headers],
            "body_length": self.body_length,
        }
        return json.dumps(told).encode()


class Echo:
    """The server, in a thread of its own: `with Echo() as echo:`. `port` is known from then on."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._arrivals: list[tuple[str, Arrival]] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="echo", daemon=True)
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def arrivals(self, case: str | None = None) -> list[Arrival]:
        """What arrived with that X-Case-Id ("" for none), or all of it, in the order of arrival."""
        return [arrival for label, arrival in tuple(self._arrivals) if case is None or label == case]

    def answer(self, arrival: Arrival) -> tuple[dict[str, str], bytes]:
        """Headers and body of the answer; another application may answer otherwise."""
        return {"Content-Type": "application/json"}, arrival.json()

    def status(self, arrival: Arrival) -> int:
        return 200

    def start(self) -> Self:
        """Listen; return when `port` is bound."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        """Close the listener and every connection."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._listen())

    async def _listen(self) -> None:
        try:
            server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=HEAD_LIMIT_BYTES)
            self.port = server.sockets[0].getsockname()[1]
        except OSError as problem:
            self._failure = problem
            return
        finally:
            self._started.set()
        await self._stop.wait()
        server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the other side, or the end of the test, closed it
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. True when the connection stays open for another."""
        try:
            arrival = _parsed(await reader.readuntil(b"\r\n\r\n"))
        except ValueError:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        self._arrivals.append((next(iter(arrival.values(CASE_HEADER)), ""), arrival))
        if arrival.path.partition("?")[0].endswith("/ws") and arrival.values("sec-websocket-key"):
            await echo_websocket.serve(arrival.values("sec-websocket-key")[0], reader, writer)
            return False
        if "100-continue" in arrival.values("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for piece_bytes in _pieces(arrival, reader):
            arrival.body_length += piece_bytes
        arrival.complete = True
        headers, body = self.answer(arrival)
        lines = [
            f"HTTP/1.1 {(status := HTTPStatus(self.status(arrival))).value} {status.phrase}",
            f"Content-Length: {len(body)}",
            *(f"{n}: {v}" for n, v in headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if arrival.method == "HEAD" else body))
        await writer.drain()
        return "close" not in [value.lower() for value in arrival.values("connection")]


def _parsed(head: bytes) -> Arrival:
    """Raises `ValueError` for what is not the head of a request."""
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(line)
        headers.append((name, value.strip(" \t")))
    return Arrival(method=method, path=path, headers=tuple(headers))


async def _pieces(arrival: Arrival, reader: asyncio.StreamReader) -> AsyncIterator[int]:
    """The lengths of the pieces of the body as they come. Raises `EOFError` when it ends too early."""
    if arrival.values("transfer-encoding"):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            async for piece_bytes in _exactly(size, reader):
                yield piece_bytes
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")  # no trailers are sent here
        return
    async for piece_bytes in _exactly(int(next(iter(arrival.values("content-length")), "0")), reader):
        yield piece_bytes


async def _exactly(size: int, reader: asyncio.StreamReader) -> AsyncIterator[int]:
    while size:
        piece = await reader.read(min(size, PIECE_BYTES))
        if not piece:
            raise EOFError
        size -= len(piece)
        yield len(piece)


if __name__ == "__main__":
    with Echo(int(sys.argv[1])) as alone:
        print(f"echo: {alone.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
