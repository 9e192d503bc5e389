"""
The desk of the settings in force: its store is opened when it is first needed, and again when it was away; what nobody
decided in time expires.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from wardgate.approvals.desk import Desk
from wardgate.approvals.store import Store, StoreAway, file_url
from wardgate.events import complain, say
from wardgate.policy import AGENTS_GUARDED, AGENTS_OPEN, CONSOLE_PATH, Approvals, is_below
from wardgate.problems import Unavailable
from wardgate.service.agents import FILE
from wardgate.service.agents.grant_keys import GrantKeys
from wardgate.service.agents.telling import Telling
from wardgate.service.agents.watching import Watching

PATHS = (*AGENTS_GUARDED, *AGENTS_OPEN)
SWEEP_S = 5.0
FIGURES_S = 0.5
"""Who asks for figures asks for others, too, and does not wait for a store that is slow."""


class Agents:
    """One for the life of the service. `watching` wakes those who wait for a change."""

    def __init__(self) -> None:
        self._terms: Approvals | None = None
        self._url = ""
        self._store: Store | None = None
        self._opening = asyncio.Lock()
        self._sweeping: asyncio.Task[None] | None = None
        self._console = ""
        self._telling = Telling(self._desk_of_webhook, self._page)
        self._telling_task: asyncio.Task[None] | None = None
        self.watching = Watching(self._head)
        self._grant_keys: GrantKeys | None = None

    def serves(self, path: str) -> bool:
        """Whether it is a path of the API or of the console, and there are any."""
        return self._terms is not None and any(is_below(path, one) for one in (*PATHS, CONSOLE_PATH))

    @property
    def terms(self) -> Approvals | None:
        """None: no requests of agents are served."""
        return self._terms

    def follow(self, terms: Approvals | None, state: Path, console: str = "") -> None:
        """
        Put settings in force. A store that is another one now is opened at the next request. `console` is its address for
        people, empty where it is not known.
        """
        self._terms = terms
        self._console = console
        if self._grant_keys is None:
            self._grant_keys = GrantKeys(state)
        if terms is None:
            self._url = ""
        else:
            self._url = terms.store.reveal() if terms.store is not None else file_url(state / FILE)
        if terms is not None and self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
            self._telling_task = asyncio.create_task(self._telling.run())

    @property
    def grant_keys(self) -> GrantKeys:
        assert self._grant_keys is not None, "follow() comes before anything is asked"
        return self._grant_keys

    async def desk(self) -> Desk:
        """Raises StoreAway."""
        assert self._terms is not None, "asked for only where there is one"
        return Desk(await self._opened(), self._terms)

    async def _opened(self) -> Store:
        async with self._opening:
            if self._store is not None and self._store.url != self._url:
                before, self._store = self._store, None
                await before.close()
            if self._store is None:
                self._store = await Store.open(self._url)
                say("requests of agents are kept", store=self._url.partition("://")[0])
            return self._store

    async def figures(self) -> dict[str, Any]:
        """`events`: how often each came about here; `pending` and `telling`: what waits, None while nobody can tell."""
        store, pending, telling = self._store, None, None
        if store is None:
            return {"events": {}, "pending": pending, "telling": telling}
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(FIGURES_S):
                pending, telling = await store.waiting()
        return {"events": dict(store.noted), "pending": pending, "telling": telling}

    async def _desk_of_webhook(self) -> Desk | None:
        return await self.desk() if self._terms is not None and self._terms.webhook is not None else None

    def _page(self, name: str) -> str | None:
        return f"{self._console}/requests/{name}" if self._console else None

    async def _head(self) -> int:
        return (await (await self._opened()).head())[0]

    async def _sweep(self) -> None:
        """At once, too: the store is open, and brought up to date, before the first request comes."""
        while True:
            try:
                if self._terms is not None:
                    await (await self.desk()).expire()
            except StoreAway:
                pass  # whoever asks hears of it
            except Exception as error:
                complain("a fault of the gateway itself while requests expire", error=repr(error))
            await asyncio.sleep(SWEEP_S)

    async def close(self) -> None:
        for task in (self._sweeping, self._telling_task):
            if task is not None:
                task.cancel()
        await self._telling.close()
        await self.watching.close()
        if self._store is not None:
            with contextlib.suppress(Unavailable):
                await self._store.close()
