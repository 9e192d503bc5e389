"""
Which redirect URIs a client may be answered at, as Keycloak 26.7.3 decides it (`tests/idp_login_table.py`).

    http://127.0.0.1/callback        exactly, and on loopback (http, 127.0.0.1, localhost, [::1]) at any port
    https://app.example/deep/*       that path and what is below it; a query or fragment does not matter then
    https://app.example*             this host, and paths on it

A `*` elsewhere is a letter like any other, and so is one in a pattern with a query. Nothing is decoded to make it
fit: what is not already in its plainest form matches no pattern.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from urllib.parse import SplitResult, quote, unquote, urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
NEVER = ("javascript", "data", "vbscript", "about")
MAX_DECODINGS = 5

# RFC 3986: what may stand in a URI, and letters beyond ASCII, which Java's parser lets pass.
_URI = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2}|[^\x00-\x7f\s])+")


def allows(patterns: Iterable[str], uri: str) -> bool:
    """Whether one of a client's patterns lets it be answered at `uri`."""
    parts = _split(uri)
    if parts is None:
        return False
    candidates = [uri, *_without_port(parts)]
    return any(_matches(pattern, parts, candidate) for pattern in patterns for candidate in candidates)


def _split(uri: str) -> SplitResult | None:
    """The parts of an absolute URI whose port, if any, is a number; None for anything else."""
    if not _URI.fullmatch(uri):
        return None
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme else None


def _without_port(parts: SplitResult) -> list[str]:
    """An http URI of a loopback address without its port (RFC 8252 7.3)."""
    if parts.scheme != "http" or parts.hostname not in LOOPBACK or parts.port is None or "@" in parts.netloc:
        return []
    return [parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()]


def _matches(pattern: str, parts: SplitResult, uri: str) -> bool:
    if pattern == "*":
        return parts.scheme in ("http", "https")
    if not pattern.endswith("*") or "?" in pattern:
        return pattern == uri and parts.scheme not in NEVER
    if "@" in parts.netloc or parts.scheme in NEVER or not _is_plain(parts.path):
        return False
    before = re.split(r"[?#]", uri, maxsplit=1)[0]
    stem = pattern.removesuffix("*")
    if stem.count("/") < 3 and "://" in stem:  # the star would be in the host: no other host may begin so
        return before == stem or before.startswith(f"{stem}/")
    return before.startswith(stem) or before == stem.removesuffix("/")


def _is_plain(path: str) -> bool:
    """Whether a path stays where it says, however often somebody decodes it."""
    for _ in range(MAX_DECODINGS):
        if "\\" in path or posixpath.normpath(path or "/") not in (path.rstrip("/") or "/", path or "/"):
            return False
        if (decoded := unquote(path)) == path:
            return True
        path = decoded
    return False


def with_parameters(uri: str, parameters: Iterable[tuple[str, str]], *, fragment: bool = False) -> str:
    """The URI with parameters added to its query (or as its fragment); what it has already stays as written."""
    text = "&".join(f"{name}={quote(value, safe='-._*').replace('%20', '+')}" for name, value in parameters)
    base, mark, kept = uri.partition("#")
    if fragment:
        return f"{base}#{text}"
    if not text:
        return uri
    return f"{base}{'&' if '?' in base else '?'}{text}{mark}{kept}"
