"""An HTTP/1.1 client that sends exactly the bytes it is told to, and keeps its connection where it may."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` by lower-case name; of several lines the last."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection to a port of 127.0.0.1, from an address of this machine; made anew when it was closed."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._port = port
        self._source = source
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def ask(self, head: bytes, method: str = "GET") -> Answer:
        """`head` is the request up to and with the empty line; `method` only says whether a body may come back."""
        async with asyncio.timeout(20):
            reused = self._streams is not None
            try:
                return await self._exchange(head, method)
            except (OSError, EOFError):
                self.close()
                if not reused:
                    raise
                return await self._exchange(head, method)  # it was closed while nobody looked

    async def _exchange(self, head: bytes, method: str) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._port, local_addr=(self._source, 0)
            )
        reader, writer = self._streams
        writer.write(head)
        first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = b"" if method == "HEAD" or status in (204, 304) else await _body(reader, headers)
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


def head(method: str, target: str, host: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A request without a body. The target is Latin-1, so any byte can be sent; headers are UTF-8."""
    lines = [f"{name}: {value}".encode() for name, value in (("Host", host), *headers)]
    if method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: 0")
    first = f"{method} {target} HTTP/1.1".encode("latin-1")
    return b"\r\n".join([first, *lines, b"", b""])
