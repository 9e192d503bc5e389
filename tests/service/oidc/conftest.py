"""An issuer of one's own, and clients of it whose keys are fetched by the real key tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.service.oidc.issuer import OidcIssuer
from wardgate.keystore import KeyStore, source_of
from wardgate.policy import Provider, Session
from wardgate.service.keys import Refreshers
from wardgate.service.oidc import OidcClient


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with OidcIssuer() as serving:
        yield serving


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    found = KeyStore(tmp_path / "keys")
    found.prepare()
    return found


@asynccontextmanager
async def client_of(
    provider: Provider, store: KeyStore, session: Session | None = None, **fields: Any
) -> AsyncIterator[OidcClient]:
    """A client of the provider, beside key tasks that fetch its keys."""
    refreshers = Refreshers(store)
    refreshers.follow([source_of(provider)])
    client = OidcClient(
        provider,
        session or Session(),
        store=store,
        refetch=partial(refreshers.refetch, provider.name),
        **fields,
    )
    try:
        yield client
    finally:
        await client.close()
        await refreshers.stop()
