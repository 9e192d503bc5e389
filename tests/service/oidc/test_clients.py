"""The clients of all providers, through a change of the settings."""

from __future__ import annotations

import asyncio

from tests.service.oidc.issuer import OidcIssuer
from wardgate.keystore import KeyStore, source_of
from wardgate.policy import Secret, Session
from wardgate.service.keys import Refreshers
from wardgate.service.oidc import OidcClients


def test_a_client_stays_while_its_provider_does(issuer: OidcIssuer, store: KeyStore) -> None:
    """A change of another provider keeps it; another value of a secret of the same name makes a new one."""

    async def scenario() -> None:
        refreshers = Refreshers(store)
        clients = OidcClients(store, refreshers)
        one = issuer.provider(name="one")
        two = issuer.provider(name="two", issuer="https://two.example", client_id=None)
        clients.follow([one], Session(), userinfo=False)
        first = clients["one"]
        clients.follow([one, two], Session(), userinfo=False)
        assert clients["one"] is first
        assert list(clients) == ["one", "two"]
        assert clients.by_issuer("https://two.example") is clients["two"]
        assert clients.by_issuer("https://other.example") is None
        clients.follow([one], Session(scopes=("a",)), userinfo=False)
        second = clients["one"]
        assert second is not first
        assert "two" not in clients
        clients.follow(
            [issuer.provider(name="one", client_secret=Secret("new", "${SECRET}"))],
            Session(scopes=("a",)),
            userinfo=False,
        )
        assert clients["one"] is not second
        await clients.close()

    asyncio.run(scenario())


def test_a_client_that_is_replaced_ends_its_exchange_first(issuer: OidcIssuer, store: KeyStore) -> None:
    """A reload in the midst of a question takes the answer away from nobody."""

    async def scenario() -> None:
        refreshers = Refreshers(store)
        refreshers.follow([source_of(issuer.provider())])
        clients = OidcClients(store, refreshers)
        clients.follow([issuer.provider()], Session(), userinfo=False)
        asking = asyncio.create_task(clients["own"].introspect("t"))
        await asyncio.sleep(0)
        clients.follow([], None, userinfo=False)
        assert await asking is None
        await clients.close()
        await refreshers.stop()

    asyncio.run(scenario())
