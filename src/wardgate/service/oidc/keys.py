"""
The keys that Python judges an issuer's tokens by: those of the configuration, or of the key store.

They are fetched by the key tasks (`service/keys.py`); here is only when one fetch more is worth it. A token that names
a key which nobody knows is the first sign of a rotation, and the cheapest flood: so there is one such fetch at a time,
and after one that worked none for a second. Who asks within that second waits for its end: in the midst of a flood,
too, a token of a new key is judged by keys that were fetched after it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

from wardgate.keystore import KeyStore, source_of
from wardgate.policy import Provider
from wardgate.service.issuer_http import IssuerAway
from wardgate.service.oidc.flights import Flights
from wardgate.verify import JwksRejected, KeySet, TokenKeyUnknown, clean_jwks

T = TypeVar("T")

COOL_DOWN: Final = timedelta(seconds=1)

FAILED_PAUSE: Final = timedelta(milliseconds=200)
"""After a fetch that failed: an issuer in trouble is not asked as fast as tokens come, nor left alone for long."""

MAX_WAITING: Final = 1000
"""Tokens that wait for a fetch, each at most about a cool-down and the fetch itself."""

MAX_AGE_S: Final = 24 * 3600.0
"""Of a copy from before this start; its keys may have been withdrawn since (design 4)."""

Refetch = Callable[[], Awaitable[bool]]
"""Fetch the provider's keys now; False when those of before stay."""


class Keys:
    """One provider's. `clock` is monotonic and `now` since 1970, in seconds."""

    def __init__(
        self,
        provider: Provider,
        store: KeyStore,
        refetch: Refetch,
        *,
        cool_down: timedelta = COOL_DOWN,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._source = source_of(provider)
        self._store = store
        self._refetch = refetch
        self._cool_down_s = cool_down.total_seconds()
        self._clock = clock
        self._now = now
        self._known: KeySet | None = _inline(provider)
        self._mark: tuple[tuple[int, int], ...] = ()
        self._waiting = 0
        self._began = float("-inf")
        self._quiet_until = float("-inf")
        self._worked = True
        self._flights: Flights[None, None] = Flights()

    async def judged(self, judge: Callable[[KeySet], T], *, refetch: bool = True) -> T:
        """
        What `judge` says by the keys, and says again by newer ones when it raised TokenKeyUnknown.

        `refetch` False: by the keys that are here. Raises what `judge` raises; IssuerAway when there are no keys, or
        when the one that is unknown might be new and could not be fetched.
        """
        keys = self._current()
        if keys is not None:
            try:
                return judge(keys)
            except TokenKeyUnknown:
                if not refetch or self._provider.jwks is not None:
                    raise
        await self._fetched()
        keys = self._current()
        if keys is None:
            message = f"the keys of the provider {self._provider.name} have not come yet"
            raise IssuerAway("issuer-keys-missing", message)
        try:
            return judge(keys)
        except TokenKeyUnknown as error:
            if self._worked:
                raise
            message = "a token names a key that is not known, and newer keys could not be fetched"
            raise IssuerAway("issuer-keys-missing", message) from error

    async def close(self) -> None:
        await self._flights.close()

    async def _fetched(self) -> None:
        """Return when a fetch is over that began after this call."""
        if self._waiting >= MAX_WAITING:
            raise IssuerAway("issuer-busy", "too many tokens wait for newer keys")
        asked = self._clock()
        self._waiting += 1
        try:
            while self._began < asked:
                await self._next_fetch()
        finally:
            self._waiting -= 1

    async def _next_fetch(self) -> None:
        quiet_s = self._quiet_until - self._clock()
        if quiet_s > 0 and None not in self._flights:
            await asyncio.sleep(quiet_s)
        else:
            await self._flights.join(None, self._fetch)

    async def _fetch(self) -> None:
        began = self._clock()
        self._worked = await self._refetch()
        pause_s = self._cool_down_s if self._worked else FAILED_PAUSE.total_seconds()
        self._began, self._quiet_until = began, self._clock() + pause_s

    def _current(self) -> KeySet | None:
        """The newest keys that are known, read again when the copy on disk changed."""
        if self._provider.jwks is not None:
            return self._known
        mark = self._store.state((self._source,))
        if mark != self._mark:
            self._mark = mark
            self._known = self._read() or self._known
        return self._known

    def _read(self) -> KeySet | None:
        copy = self._store.read(self._source)
        if copy is None or (self._known is None and not 0 <= self._now() - copy.fetched <= MAX_AGE_S):
            return None
        try:
            return clean_jwks(copy.jwks)
        except JwksRejected:
            return None


def _inline(provider: Provider) -> KeySet | None:
    """Raises JwksRejected; the supervisor has refused such a policy before."""
    return clean_jwks(provider.jwks) if provider.jwks is not None else None
