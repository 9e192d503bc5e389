"""
The target of a request: a URI with a scheme and an authority, in one spelling.

What two readers could take for two targets is refused, not mended: dot segments, encoded slashes and dots, empty segments,
backslashes, user names, control characters (RFC 3986, 6.2; design 6).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

MOST: Final = 2048

_WHOLE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\\#@<>\"{}|^`\x00-\x1f\x7f]+")
_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})|%(?:2[fFeE5]|5[cC]|[01][0-9A-Fa-f]|7[fF])")


class NoTarget(ValueError):
    """Why it is no target."""


def normalized(text: str) -> str:
    """The same with scheme and host in small letters and escapes in capitals. Raises NoTarget."""
    if len(text) > MOST:
        raise NoTarget(f"has more than {MOST} characters")
    if not text.isascii():
        raise NoTarget("holds characters beyond ASCII: percent-encode them")
    if not _WHOLE.fullmatch(text):
        raise NoTarget("is no URI such as k8s://prod/default/deployment/payment-api")
    if _ENCODED.search(text):
        raise NoTarget("holds an encoded slash, dot, percent sign, backslash or control character")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises for what is none
    except ValueError as error:
        raise NoTarget("has no host and port that can be read") from error
    if not parts.netloc:
        raise NoTarget("names no authority after ://")
    segments = parts.path.split("/")[1:]
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        raise NoTarget("holds a dot segment or an empty one")
    try:
        unquote_to_bytes(parts.path + parts.query).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoTarget("holds an escape that is no UTF-8") from error
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}" + re.sub(
        r"%[0-9a-fA-F]{2}", lambda found: found[0].upper(), parts.path + query
    )
