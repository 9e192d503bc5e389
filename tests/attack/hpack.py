"""
Header blocks of HTTP/2 answers, read: indexed names, literals, Huffman text. No dynamic table: ours is 0 bytes.

Source: RFC 7541 sections 5 and 6, appendices A and B. The code of appendix B is canonical (codes of one length follow
each other in the order of their letters), so the lengths of the letters say it all.
"""

from __future__ import annotations

from collections.abc import Iterator

_STATIC = """
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
"""
STATIC = tuple(
    (name, value) for name, _, value in (line.partition(" ") for line in _STATIC.split("\n")[1:-1])
)

# Bits of the code of each letter from the blank (32) to the tilde (126); others do not occur in what we read.
_LENGTHS = (
    *(6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6),
    *(5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10),
    *(13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7),
    *(7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6),
    *(15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5),
    *(6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13),
)


def _codes() -> dict[str, str]:
    letters = {chr(32 + at): length for at, length in enumerate(_LENGTHS)} | {"\0": 13}
    codes, code, before = {}, 0, 0
    for letter, length in sorted(letters.items(), key=lambda pair: (pair[1], pair[0])):
        code <<= length - before
        codes[f"{code:0{length}b}"] = letter
        code, before = code + 1, length
    return codes


_LETTERS = _codes()


def unhuffed(data: bytes) -> str:
    """The text of a Huffman-coded string. Raises ValueError for a letter outside of printable ASCII."""
    text, code = "", ""
    for bit in "".join(f"{octet:08b}" for octet in data):
        code += bit
        if code in _LETTERS:
            text, code = text + _LETTERS[code], ""
    if len(code) > 7 or "0" in code:
        raise ValueError(f"no code of a letter: {code}")
    return text


def fields_of(block: bytes) -> Iterator[tuple[str, str]]:
    """Name and value of each field of a block that was encoded without a dynamic table."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:  # 6.1: indexed
            index, at = _integer(block, at, 7)
            yield STATIC[index - 1]
        elif first & 0xE0 == 0x20:  # 6.3: the size of the dynamic table
            _, at = _integer(block, at, 5)
        else:  # 6.2: a literal
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            name, at = _string(block, at) if index == 0 else (STATIC[index - 1][0], at)
            value, at = _string(block, at)
            yield name, value


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    value, at, shift = block[at] & limit, at + 1, 0
    if value < limit:
        return value, at
    while True:
        octet, at = block[at], at + 1
        value += (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            return value, at


def _string(block: bytes, at: int) -> tuple[str, int]:
    coded = block[at] & 0x80
    length, at = _integer(block, at, 7)
    data = block[at : at + length]
    return (unhuffed(data) if coded else data.decode("latin-1")), at + length
