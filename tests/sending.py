"""
One HTTP/1.1 request over its own connection, with a body that is made while it is sent.

The answer may come before the body is through (401, 413): sending stops there, and what was sent is said.
Not a client to follow redirects or decode anything: what came is what is returned.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse

PIECE = b"x" * (1 << 16)
TIMEOUT_SECONDS = 60.0

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """
    `size_bytes` of body, declared by Content-Length, or in chunks without one.

    Withheld: the head declares it, and no byte of it is ever sent.
    """

    size_bytes: int
    chunked: bool = False
    withheld: bool = False

    def header(self) -> tuple[str, str]:
        """How the head announces it."""
        return ("Transfer-Encoding", "chunked") if self.chunked else ("Content-Length", str(self.size_bytes))

    def pieces(self) -> Iterator[bytes]:
        """What goes over the wire, chunk framing included."""
        if self.withheld:
            return
        for start in range(0, self.size_bytes, len(PIECE)):
            piece = PIECE[: self.size_bytes - start]
            yield b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece
        if self.chunked:
            yield b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; `sent_bytes` counts the body (and its framing) that was handed to the connection."""

    status: int
    headers: Headers
    body: bytes
    sent_bytes: int

    def header(self, name: str) -> str | None:
        """The value of a header that comes once, None when it does not come. Raises `ValueError` for more."""
        values = [value for header, value in self.headers if header.lower() == name.lower()]
        if len(values) > 1:
            raise ValueError(f"{name} came {len(values)} times: {values}")
        return values[0] if values else None


def send(
    port: int,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    body: Body | None = None,
    source: str = "127.0.0.1",
) -> Answer:
    """
    Send to 127.0.0.1:`port` exactly these headers, and what announces the body; return the answer.

    `source` is the address that it comes from: all of 127.0.0.0/8 is ours.
    """
    lines = [*headers, *([body.header()] if body else [])]
    head = (
        f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    )
    peer = ("127.0.0.1", port)
    with socket.create_connection(peer, timeout=TIMEOUT_SECONDS, source_address=(source, 0)) as connection:
        connection.sendall(head.encode("latin-1"))
        sender = _Sender(connection, body or Body(size_bytes=0))
        sender.start()
        try:
            with contextlib.closing(HTTPResponse(connection, method=method)) as response:
                response.begin()
                sender.stopped = True
                content = response.read()
        finally:
            sender.stopped = True
            with contextlib.suppress(OSError):  # the other side may have closed already
                connection.shutdown(socket.SHUT_RDWR)
            sender.join()
    return Answer(
        status=response.status,
        headers=tuple(response.getheaders()),
        body=content,
        sent_bytes=sender.sent_bytes,
    )


class _Sender(threading.Thread):
    """Sends the body while the answer is waited for."""

    def __init__(self, connection: socket.socket, body: Body) -> None:
        super().__init__(name="body")
        self.stopped = False
        self.sent_bytes = 0
        self._connection = connection
        self._pieces = body.pieces()

    def run(self) -> None:
        for piece in self._pieces:
            if self.stopped:
                return
            try:
                self._connection.sendall(piece)
            except OSError:  # refused in the middle: the answer says why
                return
            self.sent_bytes += len(piece)
