"""
HTTP/2 by hand: a header block with any bytes in it, frame by frame (cleartext, prior knowledge).

Only what attacks need: literal HPACK fields out; status, headers (`hpack.py`), body, resets and GOAWAY in. Our SETTINGS
forbid the peer a dynamic table, so that an answer is readable without state.

Source: RFC 9113 sections 3.4, 4.1 and 6; RFC 7541 sections 5.1, 6.1, 6.2.2 and appendices A and B.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from .hpack import fields_of
from .http1 import PATIENCE_SECONDS, Answer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
CANCEL = 8
MAX_FRAME_BYTES = 16384

_OUR_SETTINGS = struct.pack(">HIHI", 0x1, 0, 0x2, 0)  # HEADER_TABLE_SIZE 0, ENABLE_PUSH 0
_INDEXED_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
_HUFFMAN_DIGITS = {
    "00000": "0",
    "00001": "1",
    "00010": "2",
    "011001": "3",
    "011010": "4",
    "011011": "5",
    "011100": "6",
    "011101": "7",
    "011110": "8",
    "011111": "9",
}


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame, header and payload."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _integer(value: int, prefix_bits: int) -> bytes:
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([value])
    encoded, value = bytes([limit]), value - limit
    while value >= 128:
        encoded, value = encoded + bytes([value % 128 + 128]), value // 128
    return encoded + bytes([value])


def header_block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Literal fields without indexing and without Huffman: names and values go out exactly as given."""
    parts = []
    for name, value in fields:
        texts = name.encode("latin-1"), value.encode("latin-1")
        parts.append(b"\x00" + b"".join(_integer(len(text), 7) + text for text in texts))
    return b"".join(parts)


def headers_frames(stream: int, fields: Sequence[tuple[str, str]], *, end_stream: bool) -> bytes:
    """HEADERS, and as many CONTINUATION frames as the block needs."""
    block = header_block(fields)
    pieces = [block[at : at + MAX_FRAME_BYTES] for at in range(0, len(block), MAX_FRAME_BYTES)] or [b""]
    frames = b""
    for number, piece in enumerate(pieces):
        flags = END_HEADERS if number == len(pieces) - 1 else 0
        flags |= END_STREAM if number == 0 and end_stream else 0
        frames += frame(CONTINUATION if number else HEADERS, flags, stream, piece)
    return frames


def status_of(block: bytes) -> int:
    """The `:status` that a response header block starts with."""
    at = 0
    while block[at] & 0xE0 == 0x20:  # dynamic table size update: ours is 0
        at += 1
    if block[at] & 0x80:
        return _INDEXED_STATUS[block[at] & 0x7F]
    index = block[at] & (0x3F if block[at] & 0x40 else 0x0F)
    if not 8 <= index <= 14:
        raise ValueError(f"the answer does not start with :status: {block[:20].hex()}")
    length, text = block[at + 1] & 0x7F, block[at + 2 :]
    if not block[at + 1] & 0x80:
        return int(text[:length])
    return int(_unhuffed("".join(f"{octet:08b}" for octet in text[:length])))


def _unhuffed(bits: str) -> str:
    digits, at = "", 0
    while len(digits) < 3:
        width = 5 if bits[at : at + 5] in _HUFFMAN_DIGITS else 6
        digits, at = digits + _HUFFMAN_DIGITS[bits[at : at + width]], at + width
    return digits


@dataclass(slots=True)
class _Stream:
    """What is known of one stream so far."""

    block: bytes = b""
    body: bytes = b""
    headers_end: bool = False
    ended: bool = False
    reset: bool = False


@dataclass(slots=True, kw_only=True)
class Http2Connection:
    """One HTTP/2 connection; streams are used one after the other."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    open: bool = True
    goaway: bool = False
    _next_stream: int = 1
    _streams: dict[int, _Stream] = field(default_factory=dict)

    @classmethod
    async def to(cls, port: int, source: str) -> Http2Connection:
        """Connect and send the preface."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        writer.write(PREFACE + frame(SETTINGS, 0, 0, _OUR_SETTINGS))
        return cls(reader=reader, writer=writer)

    async def close(self) -> None:
        """Close our side and wait until the kernel has it."""
        self.open = False
        self.writer.close()
        with suppress(ConnectionError):  # the gateway was faster
            await self.writer.wait_closed()

    async def exchange(self, fields: Sequence[tuple[str, str]], *, data: bytes | None = None) -> Answer:
        """One request with these header fields (and this DATA, on one frame), and what became of it."""
        stream = self._new_stream()
        frames = headers_frames(stream, fields, end_stream=data is None)
        if data is not None:
            frames += frame(DATA, END_STREAM, stream, data)
        await self._send(frames)
        return await self._outcome(stream)

    async def rapid_reset(self, fields: Sequence[tuple[str, str]], pairs: int) -> Answer:
        """`pairs` times HEADERS and RST_STREAM at once; a PING then shows whether the connection lives."""
        frames = b""
        for _ in range(pairs):
            stream = self._new_stream()
            frames += headers_frames(stream, fields, end_stream=True)
            frames += frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))
        await self._send(frames + frame(PING, 0, 0, b"are you?"))
        return await self._outcome(0)

    def _new_stream(self) -> int:
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._streams[stream] = _Stream()
        return stream

    async def _send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            self.open = False

    async def _outcome(self, stream: int) -> Answer:
        """Read frames until `stream` has ended (stream 0: until our PING is answered)."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not self._over(stream):
                    if await self._read_frame(stream):
                        return Answer(outcome="alive")
        except TimeoutError:
            self.open = False
            return Answer(outcome="no answer", closed=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.open = False
            return Answer(outcome="GOAWAY" if self.goaway else "connection closed", closed=True)
        state = self._streams[stream]
        if state.headers_end:
            headers = tuple(pair for pair in fields_of(state.block) if not pair[0].startswith(":"))
            status = status_of(state.block)
            return Answer(status=status, headers=headers, body=state.body, closed=not self.open)
        return Answer(outcome="RST_STREAM" if state.reset else "GOAWAY", closed=not self.open)

    def _over(self, stream: int) -> bool:
        state = self._streams.get(stream, _Stream())
        return state.ended or state.reset

    async def _read_frame(self, waiting_for: int) -> bool:
        """Take in one frame; true when it answers the PING that stream 0 waits for."""
        head = await self.reader.readexactly(9)
        length, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], int.from_bytes(head[5:])
        payload = await self.reader.readexactly(length)
        state = self._streams.get(stream, _Stream())
        match kind:
            case 1 | 9:
                self._take_headers(state, kind, flags, payload)
            case 0:
                state.body += _unpadded(payload, flags)
                state.ended |= bool(flags & END_STREAM)
                if length:
                    update = struct.pack(">I", length)
                    await self._send(frame(WINDOW_UPDATE, 0, 0, update))
            case 3:
                state.reset = True
            case 4 if not flags & ACK:
                await self._send(frame(SETTINGS, ACK, 0, b""))
            case 6 if not flags & ACK:
                await self._send(frame(PING, ACK, 0, payload))
            case 6:
                return waiting_for == 0
            case 7:
                self.goaway, self.open = True, False
        return False

    @staticmethod
    def _take_headers(state: _Stream, kind: int, flags: int, payload: bytes) -> None:
        if kind == HEADERS:
            payload = _unpadded(payload, flags)
            payload = payload[5:] if flags & PRIORITY else payload
            state.ended |= bool(flags & END_STREAM)
        if not state.headers_end:
            state.block += payload
        state.headers_end |= bool(flags & END_HEADERS)


def _unpadded(payload: bytes, flags: int) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
