"""The clients of every provider, kept through a change of the others: their connections, metadata and memories stay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from wardgate.keystore import KeyStore
from wardgate.policy import Provider, Session
from wardgate.service.keys import Refreshers
from wardgate.service.oidc.client import OidcClient
from wardgate.service.settings import encode


class OidcClients(Mapping[str, OidcClient]):
    """By the provider's name; what it holds changes with `follow`."""

    def __init__(self, store: KeyStore, refreshers: Refreshers) -> None:
        self._store = store
        self._refreshers = refreshers
        self._clients: dict[str, tuple[str, OidcClient]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, providers: Iterable[Provider], session: Session | None, *, userinfo: bool) -> None:
        """Make the clients that are new or changed; those that are gone end when their last exchange does."""
        wanted = {provider.name: provider for provider in providers}
        for name in self._clients.keys() - wanted.keys():
            self._end(name)
        for name, provider in wanted.items():
            terms = provider.login.session if provider.login is not None else session
            content = _content(provider, terms, userinfo)
            if name in self._clients and self._clients[name][0] == content:
                continue
            self._end(name)
            client = OidcClient(
                provider,
                terms,
                store=self._store,
                refetch=partial(self._refreshers.refetch, name),
                userinfo=userinfo,
            )
            self._clients[name] = (content, client)

    def __getitem__(self, provider: str) -> OidcClient:
        return self._clients[provider][1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    def by_issuer(self, issuer: str) -> OidcClient | None:
        found = (client for _, client in self._clients.values() if client.provider.issuer == issuer)
        return next(found, None)

    async def close(self) -> None:
        self.follow((), None, userinfo=False)
        await asyncio.gather(*self._closing)

    def _end(self, name: str) -> None:
        before = self._clients.pop(name, None)
        if before is not None:
            task = asyncio.create_task(before[1].close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _content(*parts: Any) -> str:
    """Everything a client is made of, secrets too: two secrets of one reference are equal and may differ."""
    return json.dumps([encode(part) for part in parts])
