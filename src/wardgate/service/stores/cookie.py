"""
Sessions in the browser: the whole session, sealed, is what its cookies hold. Nothing is kept here but what a process has
to remember for a while: what it has just renewed, who logged out, and what was used once.

So there is no list, and no end from elsewhere: another replica, or this one after a restart, takes a copy of the cookies
until the session's own limits. What was renewed is remembered until the browser has brought it back: several tabs bring
the old cookies at once, and issuers take a refresh token only once. Another replica does not know: without sticky
sessions two may renew one session, and an issuer that rotates refresh tokens then ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wardgate.events import warn
from wardgate.policy import Session as Terms
from wardgate.service.cookies import session_chunks
from wardgate.service.sealing import SESSION_COOKIE, SealBroken, Sealer
from wardgate.service.session import Session
from wardgate.service.stores import StoreAway, Summary

MAX_BYTES: Final = 12 * 1024
"""Of all cookies of a session with names and attributes. Servers behind and before us take 8 to 64 KB of headers."""

MAX_PLAIN: Final = 256 * 1024
"""Of a session that is opened: a few kilobytes can be made to unpack to gigabytes."""

REMEMBERED_S: Final = 30.0
"""After a session was last brought. Requests that left the browser before its new cookies came are answered by then."""

REMEMBERED_BYTES: Final = 32 * 1024 * 1024
"""Of sealed sessions; beyond, those are forgotten that were brought longest ago."""

ENDED: Final = 20_000
SEEN: Final = 100_000
"""Ends, and values that were used, that are remembered; the oldest give way. A code is good once at the issuer, too."""

WRITTEN: Final = 20
"""That it is used is written into the cookies at most so many times within the idle limit: it ends early by a 20th."""

_PLAIN, _PACKED = b"p", b"z"


class SessionTooLarge(Exception):
    """Its cookies would be larger than browsers and servers take. `bytes`: how large."""

    def __init__(self, found: int) -> None:
        self.bytes = found
        super().__init__(f"the session would take {found} bytes of cookies, and {MAX_BYTES} fit")


class KeptByBrowsers(StoreAway):
    """What can be asked of a store only."""

    def __init__(self) -> None:
        super().__init__(
            "sessions are kept in the browsers (session.store: cookie): here nobody knows them, or can end them"
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """A session's newest state, and what its cookies are to hold; `until` is when it is forgotten."""

    session: Session
    value: str
    until: float


@dataclass(frozen=True, slots=True)
class _Ended:
    """`deny_until`: attested tokens of it may be out. `until`: its cookies would be good."""

    deny_until: float
    until: float


class CookieStore:
    """
    The promises of `SessionStore` that can be kept: of sessions that were brought (`brought`) within seconds, in this
    process. `before` is the store of the settings before: what ended or was used stays so. `now`: seconds since 1970.
    """

    def __init__(
        self,
        terms: Terms,
        sealer: Sealer,
        now: Callable[[], float] = time.time,
        before: CookieStore | None = None,
    ) -> None:
        self._terms = terms
        self._sealer = sealer
        self._now = now
        self._idle_s = terms.idle.total_seconds()
        self._lifetime_s = terms.lifetime.total_seconds()
        self._kept: dict[str, Kept] = {}
        self._bytes = 0
        self._ended: dict[str, _Ended] = before._ended if before is not None else {}
        self._seen: dict[str, float] = before._seen if before is not None else {}
        self._leases: dict[str, tuple[str, float]] = {}
        self._epoch = secrets.token_urlsafe(16)
        self._changed = asyncio.Condition()

    # --- what browsers hold

    def brought(self, value: str) -> str | None:
        """The name of the session in a request's cookies; None when they hold none, or one that has ended here."""
        session = self._opened(value)
        if session is None or session.name in self._ended:
            return None
        kept = self._kept.get(session.name)
        if kept is None or kept.value == value or _age(kept.session) < _age(session):
            self._keep(Kept(session, value, self._now() + REMEMBERED_S))
        return session.name

    def newest(self, name: str) -> Kept | None:
        """The state of a session that was just begun, or brought."""
        return self._kept.get(name)

    # --- a store's promises

    async def create(self, session: Session, *, expires: float) -> None:
        """Raises SessionTooLarge."""
        self._keep(Kept(session, self._sealed(session), expires))

    async def read(self, name: str) -> Session | None:
        kept = self._kept.get(name)
        return kept.session if kept is not None else None

    async def replace(self, session: Session, *, expires: float) -> bool:
        """One that has grown too large has ended."""
        kept, now = self._kept.get(session.name), self._now()
        if kept is None or kept.session.generation != session.generation - 1:
            return False
        try:
            self._keep(Kept(session, self._sealed(session), expires))
        except SessionTooLarge as error:
            warn(
                "a session ended: its new tokens do not fit into cookies",
                session=session.name,
                problem=str(error),
            )
            await self.end(session.name, now=now, deny_until=now)
            return False
        return True

    async def touch(self, name: str, *, used: float, expires: float) -> None:  # noqa: ARG002 - the session has its limits
        kept = self._kept.get(name)
        if kept is None or used - kept.session.used < self._idle_s / WRITTEN:
            return
        session = replace(kept.session, used=used)
        with contextlib.suppress(SessionTooLarge):  # by a byte: then it is as it was
            self._keep(Kept(session, self._sealed(session), max(kept.until, self._now() + REMEMBERED_S)))

    async def end(self, name: str, *, now: float, deny_until: float) -> Session | None:
        kept = self._forget(name)
        self._ended.pop(name, None)
        self._ended[name] = _Ended(deny_until, max(deny_until, now + self._lifetime_s))
        if len(self._ended) > ENDED:
            del self._ended[next(iter(self._ended))]
        async with self._changed:
            self._changed.notify_all()
        return kept.session if kept is not None and now < kept.session.expires(self._idle_s) else None

    async def of_login(
        self,
        issuer: str,  # noqa: ARG002 - it is not known
        *,
        subject: str | None,  # noqa: ARG002
        issuer_session: str | None,  # noqa: ARG002
    ) -> list[str]:
        raise KeptByBrowsers

    def list(self) -> AsyncIterator[Summary]:
        raise KeptByBrowsers

    async def revoked(self, *, now: float) -> Mapping[str, float]:
        for name in [name for name, one in self._ended.items() if one.until <= now]:
            del self._ended[name]
        for name in [name for name, one in self._kept.items() if one.until <= now]:
            self._forget(name)
        return {name: one.deny_until for name, one in self._ended.items() if one.deny_until > now}

    async def changes(self) -> AsyncIterator[None]:
        while True:
            async with self._changed:
                await self._changed.wait()
            yield None

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        now = self._now()
        holder, until = self._leases.get(name, (owner, 0.0))
        if holder != owner and until > now:
            return False
        self._leases[name] = owner, now + seconds
        return True

    async def release(self, name: str, owner: str) -> None:
        if self._leases.get(name, ("", 0.0))[0] == owner:
            del self._leases[name]

    async def first_time(self, kind: str, value: str, *, seconds: float) -> bool:
        key, now = f"{kind} {value}", self._now()
        if self._seen.get(key, 0.0) > now:
            return False
        self._seen.pop(key, None)
        self._seen[key] = now + seconds
        while len(self._seen) > SEEN or self._seen[next(iter(self._seen))] <= now:
            del self._seen[next(iter(self._seen))]
        return True

    async def epoch(self) -> str:
        return self._epoch

    async def close(self) -> None:
        self._kept.clear()

    # --- what is remembered

    def _keep(self, kept: Kept) -> None:
        self._forget(kept.session.name)
        self._kept[kept.session.name] = kept
        self._bytes += len(kept.value)
        while self._bytes > REMEMBERED_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, name: str) -> Kept | None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._bytes -= len(kept.value)
        return kept

    # --- sealed

    def _sealed(self, session: Session) -> str:
        """Raises SessionTooLarge."""
        plain = session.as_json()
        if len(plain) > MAX_PLAIN:
            raise SessionTooLarge(len(plain))
        packed = min(_PLAIN + plain, _PACKED + zlib.compress(plain, 9), key=len)
        value = self._sealer.seal_text(SESSION_COOKIE, packed, self._terms.cookie)
        size = sum(map(len, session_chunks(self._terms, value, ends_in_s=self._lifetime_s)))
        if size > MAX_BYTES:
            raise SessionTooLarge(size)
        return value

    def _opened(self, value: str) -> Session | None:
        try:
            text = self._sealer.open_text(SESSION_COOKIE, value, self._terms.cookie)
            return Session.from_json(_unpacked(text))
        except (ValueError, KeyError, TypeError):  # SealBroken is a ValueError
            return None


def _age(session: Session) -> tuple[int, float]:
    return session.generation, session.used


def _unpacked(text: bytes) -> bytes:
    """Raises SealBroken."""
    kind, rest = text[:1], text[1:]
    if kind == _PLAIN:
        return rest
    if kind != _PACKED:
        raise SealBroken("in another form")
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(rest, MAX_PLAIN)
    except zlib.error as error:
        raise SealBroken("it does not unpack") from error
    if not unpacking.eof:
        raise SealBroken("cut off, or too large")
    return plain
