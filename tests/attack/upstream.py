"""
The application behind the gateway: writes down exactly what arrived, and answers little.

It keeps every request as bytes: the target, the header names in the letters that came, each duplicate. It
never repeats anything of a request in its answer, so that a token in an answer is the gateway's doing.
It parses strictly: bytes that are not one plain HTTP/1.1 request are kept as a malformed arrival.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

CASE_HEADER = "x-case-id"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([!-~]+) ([!-~\x80-\xff]+) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_HEAD_LIMIT = 1024 * 1024


class Malformed(Exception):
    """What arrived is not one plain request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """
    One request as it reached the application. `problem` is empty for a well-formed one.

    `whole` is false when the connection ended inside its body: the gateway gave it up.
    """

    case: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    problem: str = ""
    whole: bool = True

    def values(self, name: str) -> list[str]:
        """The values of every header that an application could read as `name` (see `folded`)."""
        return [value for header, value in self.headers if folded(header) == folded(name)]


def folded(name: str) -> str:
    """A header name as CGI, WSGI or PHP would fold it: letter case and punctuation make no difference."""
    return re.sub(r"[^a-z0-9]", "-", name.lower())


class Upstream:
    """The recording application; `port` is known once it has started."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.answers: dict[
            str, Sequence[tuple[str, str]]
        ] = {}  # headers of the answer to a case, by its label
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen on a port of the kernel's choice and return it."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close the listener and every connection."""
        assert self._server is not None
        self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def of(self, case: str) -> list[Arrival]:
        """What arrived under one case label."""
        return [arrival for arrival in self.arrivals if arrival.case == case]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the gateway, or the end of the run, closed it
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as short:
                if short.partial:
                    self.arrivals.append(_malformed(short.partial, "the connection ended inside a head"))
                return
            try:
                arrival = await _with_body(parsed(head), reader)
            except Malformed as problem:
                self.arrivals.append(_malformed(head, str(problem)))
                writer.write(REFUSAL)
                return
            except (asyncio.IncompleteReadError, ConnectionError):
                self.arrivals.append(replace(parsed(head), whole=False))
                return
            self.arrivals.append(arrival)
            writer.write(_answer(arrival, self.answers.get(arrival.case, ())))
            await writer.drain()


def _answer(arrival: Arrival, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers)
    return ANSWER + lines + b"\r\n" + (b"" if arrival.method == "HEAD" else b"ok\n")


def parsed(head: bytes) -> Arrival:
    """The arrival in `head` (which ends with an empty line), without its body. Raises `Malformed`."""
    lines = head[:-4].split(b"\r\n")
    start = _REQUEST_LINE.fullmatch(lines[0])
    if start is None:
        raise Malformed(f"not a request line: {lines[0][:80]!r}")
    headers = []
    for line in lines[1:]:
        found = _FIELD.fullmatch(line)
        if found is None or re.search(rb"[\r\n\0]", found[2]):
            raise Malformed(f"not a header line: {line[:80]!r}")
        headers.append((found[1].decode("latin-1"), found[2].decode("latin-1")))
    label = [value for name, value in headers if name.lower() == CASE_HEADER]
    return Arrival(
        case=label[0] if label else "",
        method=start[1].decode("latin-1"),
        target=start[2].decode("latin-1"),
        headers=tuple(headers),
    )


def _malformed(data: bytes, problem: str) -> Arrival:
    label = re.search(rb"(?im)^x-case-id:[ \t]*([^\r\n]*)", data)
    method, _, rest = data.partition(b" ")
    return Arrival(
        case=label[1].decode("latin-1").strip() if label else "",
        method=method[:20].decode("latin-1"),
        target=rest.partition(b" ")[0].decode("latin-1"),
        headers=(),
        problem=problem,
    )


async def _with_body(arrival: Arrival, reader: asyncio.StreamReader) -> Arrival:
    lengths = [value for name, value in arrival.headers if name.lower() == "content-length"]
    codings = [value for name, value in arrival.headers if name.lower() == "transfer-encoding"]
    if codings and lengths:
        raise Malformed("Content-Length beside Transfer-Encoding")
    if len(lengths) > 1 or (lengths and not re.fullmatch(r"\d+", lengths[0])):
        raise Malformed(f"Content-Length {lengths}")
    if codings and codings != ["chunked"]:
        raise Malformed(f"Transfer-Encoding {codings}")
    body = await _chunks(reader) if codings else await reader.readexactly(int(lengths[0]) if lengths else 0)
    return replace(arrival, body=body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}\r\n", size):
            raise Malformed(f"chunk size {size[:20]!r}")
        chunk = await reader.readexactly(int(size, 16) + 2)
        if chunk[-2:] != b"\r\n":
            raise Malformed("a chunk without its line end")
        if len(chunk) == 2:
            return body
        body += chunk[:-2]
