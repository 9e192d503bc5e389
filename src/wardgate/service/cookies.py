"""
Cookies, read and written as bytes that nobody else has interpreted.

Not Starlette's parser: it trims bytes such as 0x85 and 0x1F around a name, so that a look-alike becomes ours, and of two
cookies with one name it takes the last. Here a name stands at a cookie's boundary, only blanks and tabs are trimmed, and
two with one name are refused. Source: RFC 6265bis, 4 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from wardgate.policy import TOKEN, SameSite, Session

_VALUE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
"""RFC 6265bis, 4.1.1: what a cookie's value may hold."""

EPOCH: Final = "Thu, 01 Jan 1970 00:00:00 GMT"

CHUNKS: Final = 10
"""A session that is kept in cookies has at most so many: NAME and NAME-1 to NAME-9 (`cut` in `envoy/lua/gate.lua`)."""

CHUNK_BYTES: Final = 3900
"""Of one of them with its name and attributes. Browsers keep 4 096 (RFC 6265bis, 5.6)."""

MANY: Final = 4
"""Readings of cookies that are there twice; a request with thousands of them has no more."""


class SeveralCookies(ValueError):
    """Two cookies with one name: one of them was planted, and nobody can tell which."""


def pairs(raw: bytes | Iterable[bytes]) -> list[tuple[str, str]]:
    """Every cookie of one or more Cookie headers, in order, as latin-1 text. What has no name is left out."""
    whole = raw if isinstance(raw, bytes) else b"; ".join(raw)
    found = []
    for part in whole.split(b";"):
        name, equals, value = part.strip(b" \t").partition(b"=")
        if equals and name:
            found.append((name.decode("latin-1"), value.decode("latin-1")))
    return found


def values(raw: bytes | Iterable[bytes], name: str) -> list[str]:
    """The values of all cookies of exactly this name, letter case and all."""
    return [value for found, value in pairs(raw) if found == name]


def one(raw: bytes | Iterable[bytes], name: str) -> str | None:
    """The value of the only cookie of this name; None when there is none. Raises SeveralCookies, for equal ones, too."""
    found = values(raw, name)
    if len(found) > 1:
        raise SeveralCookies(name)
    return found[0] if found else None


def set_cookie(
    name: str,
    value: str,
    *,
    path: str = "/",
    domain: str | None = None,
    secure: bool = True,
    http_only: bool = True,
    same_site: SameSite = SameSite.LAX,
    max_age_s: float | None = None,
    now: datetime | None = None,
) -> str:
    """
    A Set-Cookie header's value. `max_age_s` None: it ends with the browser.

    Raises ValueError for a name or a value that no cookie can have: a browser would cut it, or drop it.
    """
    if not TOKEN.fullmatch(name):
        raise ValueError("not a cookie's name")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"not a cookie's value: {name}")
    parts = [f"{name}={value}", f"Path={path}"]
    if domain is not None:
        parts.append(f"Domain={domain.lstrip('.')}")
    if max_age_s is not None:
        seconds = max(0, int(max_age_s))
        parts.append(f"Max-Age={seconds}")
        at = datetime.fromtimestamp((now or datetime.now(UTC)).timestamp() + seconds, UTC)
        parts.append("Expires=" + (EPOCH if seconds == 0 else format_datetime(at, usegmt=True)))
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    parts.append(f"SameSite={same_site.value.capitalize()}")
    return "; ".join(parts)


def expire(name: str, *, path: str = "/", domain: str | None = None, secure: bool = True) -> str:
    """A Set-Cookie header's value that removes it."""
    return set_cookie(name, "", path=path, domain=domain, secure=secure, max_age_s=0)


def session_cookie(session: Session, value: str, *, ends_in_s: float, number: int = 0) -> str:
    """
    The session's cookie with the attributes that the policy gives; persistent ones end with the session. `number`: of a
    session that is kept in cookies, which of them.
    """
    return set_cookie(
        _numbered(session, number),
        value,
        path=session.cookie_path,
        domain=session.cookie_domain,
        secure=session.secure,
        same_site=session.same_site,
        max_age_s=ends_in_s if session.persistent else None,
    )


def session_chunks(session: Session, value: str, *, ends_in_s: float) -> list[str]:
    """Set-Cookie values that keep a whole session: NAME, NAME-1, NAME-2, ..., as the guard puts them together."""
    room = max(1, CHUNK_BYTES - len(session_cookie(session, "", ends_in_s=ends_in_s, number=CHUNKS - 1)))
    pieces = [value[at : at + room] for at in range(0, len(value), room)]
    return [session_cookie(session, one, ends_in_s=ends_in_s, number=n) for n, one in enumerate(pieces)]


def session_values(raw: bytes | Iterable[bytes], session: Session) -> list[str]:
    """What the session's cookies hold, put together as the guard does; several when one of them is there twice."""
    found = values(raw, session.cookie)
    for number in range(1, CHUNKS if session.in_cookies else 1):
        pieces = values(raw, _numbered(session, number))
        if not pieces:
            break
        found = [whole + piece for whole in found for piece in pieces][:MANY]
    return found


def expire_session(session: Session, *, after: int = 0, until: int = CHUNKS) -> list[str]:
    """Removes the session's cookies; of several the first `after` stay, and those from `until` on."""
    path, domain = session.cookie_path, session.cookie_domain
    names = [_numbered(session, number) for number in range(after, until if session.in_cookies else 1)]
    return [expire(name, path=path, domain=domain, secure=session.secure) for name in names]


def _numbered(session: Session, number: int) -> str:
    return f"{session.cookie}-{number}" if number else session.cookie
