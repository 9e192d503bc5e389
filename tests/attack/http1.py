"""
HTTP/1.1 by hand: exact bytes out, and what came back.

No client library may stand between a case and the gateway: it would refuse or repair what has to be sent.
Nothing is retried here; the runner decides what a closed connection means.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field

PATIENCE_SECONDS = 10.0
QUIET_SECONDS = 0.15  # a raw exchange has ended when nothing came for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What came back for one request: a status, or for HTTP/2 an outcome without one.

    `outcome` is empty when there is a status; `rest` is what a raw connection sent after the first answer.
    """

    status: int = 0
    outcome: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    rest: bytes = b""
    closed: bool = False

    @property
    def said(self) -> int | str:
        """The status or the outcome, as a case's `expected` names it."""
        return self.status or self.outcome

    def values(self, name: str) -> list[str]:
        """Every value of one response header."""
        return [value for header, value in self.headers if header.lower() == name.lower()]

    def contains(self, text: str) -> bool:
        """Whether `text` stands anywhere in the answer."""
        inside = [value for pair in self.headers for value in pair]
        return any(text in value for value in inside) or text.encode() in self.body + self.rest


@dataclass(slots=True, kw_only=True)
class Connection:
    """One connection to the gateway, from a chosen loopback address; `open` says whether it still works."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    open: bool = field(default=True)

    @classmethod
    async def to(cls, port: int, source: str) -> Connection:
        """Connect to the gateway's port; the kernel picks the port on our side."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(source, 0), limit=4 * 1024 * 1024
        )
        return cls(reader=reader, writer=writer)

    async def close(self) -> None:
        """Close our side and wait until the kernel has it."""
        self.open = False
        self.writer.close()
        with suppress(ConnectionError):  # the gateway was faster
            await self.writer.wait_closed()

    async def exchange(self, request: bytes, *, method: str) -> Answer:
        """Send one request and read its final answer (informational ones are passed over)."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                self.writer.write(request)
                await self._flush()
                while True:
                    answer = await self._answer(method)
                    if answer.status == 101 or answer.status >= 200 or not answer.status:
                        break
        except TimeoutError:
            self.open = False
            return Answer(outcome="no answer", closed=True)
        self.open = not answer.closed
        return answer

    async def exchange_raw(self, data: bytes) -> Answer:
        """Send bytes as they are; everything until the connection closes or falls quiet is the answer."""
        self.writer.write(data)
        await self._flush()
        received, closed, patience = b"", False, PATIENCE_SECONDS
        while not closed:
            try:
                part = await asyncio.wait_for(self.reader.read(65536), patience)
            except TimeoutError:
                break
            except ConnectionError:
                part = b""
            closed, patience = not part, QUIET_SECONDS
            received += part
        self.open = False
        return _first_answer(received, closed=closed)

    async def _flush(self) -> None:
        with suppress(
            ConnectionError
        ):  # refused while we were sending: the answer may still be in the buffer
            await self.writer.drain()

    async def _answer(self, method: str) -> Answer:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, headers = _head(head)
            answer = Answer(status=status, headers=headers)
            bodiless = method == "HEAD" or status in (204, 304) or status < 200
            body, ended = (b"", False) if bodiless else await self._body(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return Answer(outcome="connection closed", closed=True)
        closed = ended or status == 101 or "close" in ",".join(answer.values("connection")).lower()
        return Answer(status=status, headers=headers, body=body, closed=closed)

    async def _body(self, answer: Answer) -> tuple[bytes, bool]:
        if "chunked" in ",".join(answer.values("transfer-encoding")).lower():
            return await self._chunks(), False
        if lengths := answer.values("content-length"):
            return await self.reader.readexactly(int(lengths[0])), False
        return await self.reader.read(), True

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        while await self.reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers
        return body


def _head(head: bytes) -> tuple[int, tuple[tuple[str, str], ...]]:
    start, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return int(start.split(" ")[1]), headers


def _first_answer(received: bytes, *, closed: bool) -> Answer:
    """The first answer of a raw exchange; whatever follows its head is kept as `rest`."""
    head, found, rest = received.partition(b"\r\n\r\n")
    if not found or not re.match(rb"HTTP/1\.1 \d{3}", head):
        return Answer(outcome="connection closed" if closed else "no answer", rest=received, closed=True)
    status, headers = _head(head + found)
    return Answer(status=status, headers=headers, rest=rest, closed=closed)
