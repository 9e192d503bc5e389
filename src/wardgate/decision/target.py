"""
A request's target as the gateway judges and forwards it.

What Envoy 1.40 makes of it with `normalize_path`, `merge_slashes` and `REJECT_REQUEST` for escaped slashes (found
by asking it, `tests/differential/test_normalization.py`), then our guard: what a second reader could still read
as another path is refused (design 6). Nothing here knows a route.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from wardgate.policy import UNSAFE_PATH

_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""RFC 3986, 2.3: what means the same encoded and not."""

_CONTROL_OR_RAW: Final = re.compile(r"[^\x21-\x7e]")
_ESCAPED_SLASH: Final = re.compile(r"%2f|%5c", re.IGNORECASE)
_DOTS_WITH_PARAMETER: Final = re.compile(r"(/\.{1,2});[^/]*")
_ESCAPE: Final = re.compile(r"%([0-9a-fA-F]{2})?")
_QUOTED: Final = re.compile(r'["<>^`{|}]')
"""Characters that no target may have (RFC 3986, 2) and that Envoy percent-encodes instead of refusing."""


@dataclass(frozen=True, slots=True)
class Unsafe:
    """A target that is refused, and why: `reason` is a stable code."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A normalized target: `path`, and `query` with its question mark or empty."""

    path: str
    query: str

    def __str__(self) -> str:
        return self.path + self.query


def normalize(raw: str) -> Target | Unsafe:
    """The target that is judged, from an origin-form target as it was sent."""
    if _CONTROL_OR_RAW.search(raw):
        return Unsafe("target-bytes")
    if "#" in raw:
        return Unsafe("target-fragment")
    path, mark, query = raw.partition("?")
    if not path.startswith("/"):
        return Unsafe("target-form")
    if _ESCAPED_SLASH.search(path):
        return Unsafe("path-escaped-slash")
    # `/..;x/` is `/../` to Envoy, as it is to Tomcat; its encoded spelling is not, and meets the guard.
    path = _DOTS_WITH_PARAMETER.sub(r"\1", path)
    if "%00" in path:
        return Unsafe("path-nul")
    path = _ESCAPE.sub(_unescaped, path).replace("\\", "/")
    path = _merged(_resolved(_QUOTED.sub(lambda match: f"%{ord(match[0]):02X}", path)))
    if UNSAFE_PATH.search(path):
        return Unsafe("path-ambiguous")
    return Target(path=path, query=mark + query)


def is_target(raw: str) -> bool:
    """A target at all: what is none, Envoy refuses before anything else (RFC 9112, 3.2)."""
    return raw.startswith("/") and "#" not in raw and not _CONTROL_OR_RAW.search(raw)


def unchanged(raw: str) -> Target | Unsafe:
    """The same where nothing is normalized: a listener that proxies nothing (`envoy/listener.py`)."""
    if _CONTROL_OR_RAW.search(raw):
        return Unsafe("target-bytes")
    if "#" in raw:
        return Unsafe("target-fragment")
    path, mark, query = raw.partition("?")
    if not path.startswith("/"):
        return Unsafe("target-form")
    if UNSAFE_PATH.search(path):
        return Unsafe("path-ambiguous")
    return Target(path=path, query=mark + query)


def _unescaped(match: re.Match[str]) -> str:
    # A % that begins no escape: Envoy mostly leaves it; written as %25 it cannot join what follows. Both are unsafe.
    if match[1] is None:
        return "%25"
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0]


def _resolved(path: str) -> str:
    """Without dot segments; above the root is the root (RFC 3986, 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _merged(path: str) -> str:
    """Without empty segments. A path of slashes only stays `//`, which the guard refuses, as in Envoy."""
    if "//" not in path:
        return path
    last = "/" if path.endswith("/") else ""
    return "/" + "/".join(segment for segment in path.split("/") if segment) + last
