"""
A WebSocket that sends every message back (RFC 6455): what the application of the tests answers below /ws.

Not a complete server: frames of up to 1 MiB, no extensions, fragments are sent back as they come.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
FRAME_LIMIT_BYTES = 1 << 20
CLOSE, PING, PONG = 0x8, 0x9, 0xA


def accept_value(key: str) -> str:
    """What Sec-WebSocket-Accept answers to Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest()).decode()


async def serve(key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the handshake, then every frame, until the client closes."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Accept: {accept_value(key)}", "", ""]
    writer.write("\r\n".join(lines).encode())
    opcode = 0
    while opcode != CLOSE:
        first, payload = await _frame(reader)
        opcode = first & 0x0F
        if opcode != PONG:
            writer.write(frame(first - opcode + (PONG if opcode == PING else opcode), payload))
            await writer.drain()


def frame(first: int, payload: bytes, mask: bytes = b"") -> bytes:
    """One frame: `first` is its first byte (FIN and opcode); a client masks with four bytes."""
    size = len(payload)
    masked = 0x80 if mask else 0
    if size < 126:
        head = bytes([first, masked | size])
    elif size < 1 << 16:
        head = bytes([first, masked | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, masked | 127]) + size.to_bytes(8, "big")
    return head + mask + (_masked(payload, mask) if mask else payload)


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    if size > FRAME_LIMIT_BYTES:
        raise EOFError("a frame over the limit")
    mask = await reader.readexactly(4) if second & 0x80 else b""
    payload = await reader.readexactly(size)
    return first, _masked(payload, mask) if mask else payload


def _masked(payload: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
