"""
One HTTP request over a unix socket of this machine: Envoy's admin interface, and the service's control socket.

Plain asyncio and HTTP/1.1 with one request a connection: the supervisor stays small, and whatever goes wrong means
one thing, `NoAnswer`.
"""

from __future__ import annotations

import asyncio

from wardgate.problems import Unavailable

TIMEOUT_S = 5.0
"""Envoy's main thread answers in milliseconds, except while it loads a very large configuration."""


class NoAnswer(Unavailable):
    """Nobody answers at the socket: not started yet, dying, or stopped."""


async def request(
    socket: str, method: str, target: str, *, body: bytes = b"", timeout_s: float = TIMEOUT_S
) -> tuple[int, bytes]:
    """Status and body. Raises NoAnswer."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(socket, method, target, body)
    except (OSError, TimeoutError, ValueError) as error:
        raise NoAnswer(f"no answer at {socket}: {error!r}") from error


async def _exchange(socket: str, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        head = f"{method} {target} HTTP/1.1\r\nhost: local\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode("ascii") + body)
        await writer.drain()
        answer = await reader.read(-1)
    finally:
        writer.close()
    return _parsed(answer)


def _parsed(answer: bytes) -> tuple[int, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        raise ValueError("not an HTTP answer")
    status = int(head.split(b" ", 2)[1])
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
