"""
Keeps every issuer's keys fresh: one task per source, one fetch at a time, for as long as the service runs.

A good set is written to the key store, where the supervisor finds it; whatever else comes leaves the last good
copy alone, is said once, and is counted. Not here: how keys are fetched (`fetch.py`) and enforced (the supervisor).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wardgate.events import say, warn
from wardgate.keystore import KeyCopy, KeySource, KeyStore
from wardgate.service.fetch import Fetched, fetch
from wardgate.service.issuer_http import IssuerAway

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 8.0
"""After a failure. With the longest timeout (10 s) keys are here 18 s after the issuer is back, or sooner."""

REMIND_S = 60.0
"""A failure that lasts is said again this often."""

CODES: Mapping[str, str] = {
    "keys-disk": "Keys were fetched and cannot be written to the state directory.",
    "keys-fault": "A fault of the gateway itself while keys were fetched; they are fetched again.",
}
"""What can go wrong with keys beside the fetch itself (`fetch.CODES`, `issuer_http.CODES`)."""

Fetch = Callable[[KeySource], Awaitable[Fetched]]


@dataclass(slots=True, kw_only=True)
class Status:
    """What is known about one source's keys; `problem` is None after a fetch that worked."""

    source: KeySource
    attempts: int = 0
    fetched: float | None = None
    address: str = ""
    kids: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    problem: IssuerAway | None = None
    results: Counter[str] = field(default_factory=Counter)

    def as_data(self) -> dict[str, Any]:
        problem = None
        if self.problem is not None:
            problem = {"code": self.problem.code, "message": self.problem.message, "hint": self.problem.hint}
        return {
            "provider": self.source.provider,
            "issuer": self.source.issuer,
            "address": self.address,
            "attempts": self.attempts,
            "fetched": self.fetched,
            "kids": list(self.kids),
            "dropped": list(self.dropped),
            "problem": problem,
            "results": dict(self.results),
        }


class Refresher:
    """The task of one source."""

    def __init__(self, source: KeySource, store: KeyStore, fetcher: Fetch = fetch) -> None:
        self.status = Status(source=source)
        self._source = source
        self._store = store
        self._fetch = fetcher
        self._said: tuple[str, float] = ("", 0.0)
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """For ever: fetch, then wait for the refresh or, after a failure, less."""
        retry_s = FIRST_RETRY_S
        while True:
            started = time.monotonic()
            if await self.refresh():
                retry_s = FIRST_RETRY_S
                took_s = time.monotonic() - started
                await asyncio.sleep(max(FIRST_RETRY_S, self._source.refresh_s - took_s))
            else:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, LAST_RETRY_S)

    async def refresh(self) -> bool:
        """One fetch, begun after this call and never beside another. False when the keys of before stay."""
        async with self._one:
            return await self._refresh()

    async def _refresh(self) -> bool:
        started = time.time()
        try:
            fetched = await self._fetch(self._source)
            self._keep(fetched, started)
        except IssuerAway as error:
            self._failed(error)
            return False
        except OSError as error:
            self._failed(
                IssuerAway("keys-disk", f"the keys cannot be written to the state directory: {error}")
            )
            return False
        except Exception as error:  # a fault of ours must not end the refreshing for good
            self._failed(IssuerAway("keys-fault", f"a fault of the gateway itself ({type(error).__name__})"))
            return False
        finally:
            self.status.attempts += 1
        return True

    def _keep(self, fetched: Fetched, started: float) -> None:
        copy = KeyCopy(
            issuer=self._source.issuer,
            address=fetched.address,
            fetched=started,
            jwks=fetched.keys.as_json(),
        )
        self._store.write(self._source, copy, now=time.time())
        kids = tuple(key.kid or "" for key in fetched.keys.keys)
        if kids != self.status.kids or self.status.problem is not None:
            dropped = list(fetched.keys.dropped)
            say("keys fetched", provider=self._source.provider, kids=list(kids), dropped=dropped)
        status = self.status
        status.fetched, status.address, status.kids = started, fetched.address, kids
        status.dropped, status.problem = fetched.keys.dropped, None
        status.results["ok"] += 1
        self._said = ("", 0.0)

    def _failed(self, error: IssuerAway) -> None:
        self.status.problem = error
        self.status.results[error.code] += 1
        before, when = self._said
        if before == error.message and time.monotonic() - when < REMIND_S:
            return
        self._said = (error.message, time.monotonic())
        data = {"provider": self._source.provider, "code": error.code, "hint": error.hint}
        warn("keys not fetched; those of before stay in force", problem=error.message, **data)


class Refreshers:
    """All of them; a source that stays the same keeps its task, and its time table, when others change."""

    def __init__(self, store: KeyStore, fetcher: Fetch = fetch) -> None:
        self._store = store
        self._fetch = fetcher
        self._running: dict[KeySource, tuple[Refresher, asyncio.Task[None]]] = {}

    def follow(self, wanted: Iterable[KeySource]) -> None:
        """Start what is new, stop what is gone."""
        sources = set(wanted)
        for gone in self._running.keys() - sources:
            self._running.pop(gone)[1].cancel()
        for source in sources - self._running.keys():
            refresher = Refresher(source, self._store, self._fetch)
            task = asyncio.create_task(refresher.run(), name=f"keys of {source.provider}")
            self._running[source] = (refresher, task)

    async def refetch(self, provider: str) -> bool:
        """
        Fetch a provider's keys now. False when those of before stay, or when they come from nowhere (no source).

        How often is the caller's business (`oidc.keys`).
        """
        found = [refresher for source, (refresher, _) in self._running.items() if source.provider == provider]
        return all([await refresher.refresh() for refresher in found]) if found else False

    def status(self) -> list[Status]:
        found = [refresher.status for refresher, _ in self._running.values()]
        return sorted(found, key=lambda status: status.source.provider)

    async def stop(self) -> None:
        tasks = [task for _, task in self._running.values()]
        self.follow(())
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
