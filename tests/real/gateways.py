"""
Gateways that browsers log in at: `wardgate run` on a native file, with a client of its own at real Keycloak.

    with one(folder, shop, application) as gateway:                     one gateway
    with two(folder, shop, application, store=redis.url) as gateway:    two, behind nginx in turn, on one Redis

`gateway.url` is where browsers go. What a test says beside that goes into the file as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.holding.running import Running
from tests.parts.loopback import free_port
from tests.parts.nginx import Balancer
from tests.real.application import Application
from tests.real.shop import Client, Shop

Keys = Mapping[str, Any]

SECRETS: Final = {"SESSION_KEY": "0123456789abcdef0123456789abcdef"}

ROUTES: Final = (
    {"path": "/open/**", "public": True},
    {"path": "/admin/**", "roles": ["admin"]},
    {"path": "/**", "roles": ["user"]},
)


@contextmanager
def _telling(*replicas: Running) -> Iterator[None]:
    """A test that fails shows what they have said."""
    try:
        yield
    except BaseException:
        for replica in replicas:
            print(f"--- said by {replica.folder.name}\n{replica.errors()[-6000:]}")
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """`url` ends without a slash; `replicas` are the processes; `client` is what it is at Keycloak."""

    url: str
    replicas: tuple[Running, ...]
    client: Client
    shop: Shop

    @property
    def cookie_names(self) -> set[str]:
        """What its session cookie may be called."""
        return {"wardgate-session", "__Host-wardgate-session"}

    def events(self) -> list[dict[str, Any]]:
        """What the replicas have said, one after the other."""
        return [event for replica in self.replicas for event in replica.events()]

    def redirects(self) -> list[dict[str, Any]]:
        """The login redirects that were logged: S0 greps for `redirect`."""
        return [event for event in self.events() if "redirect" in event["event"]]

    def everything_said(self) -> str:
        """All of its output, to be searched for what must never be there."""
        return "\n".join(replica.errors() + str(replica.log()) for replica in self.replicas)


def content(shop: Shop, client: Client, application: Application, given: Keys) -> dict[str, Any]:
    """The file; `provider`, `session` in `given` are added to ours, every other key replaces ours."""
    own = {} if "providers" in given else {"provider": provider(shop, client) | given.get("provider", {})}
    return {
        "upstream": application.url,
        "identity-headers": {"X-Auth-User": "preferred_username", "X-Auth-Subject": "sub"},
        "routes": list(ROUTES),
        **given,
        **own,
        "session": {"encryption-key": "${SESSION_KEY}", **given.get("session", {})},
    }


def provider(shop: Shop, client: Client, secret: str = "CLIENT_SECRET") -> dict[str, Any]:
    """The keys of a provider; `secret` is the variable that holds the client's."""
    return {
        "issuer": shop.issuer,
        "audience": client.id,
        "client-id": client.id,
        "client-secret": f"${{{secret}}}",
    }


@contextmanager
def one(
    folder: Path,
    shop: Shop,
    application: Application,
    *,
    access_seconds: int | None = None,
    scheme: str = "http",
    host: str = "127.0.0.1",
    **given: Any,
) -> Iterator[Gateway]:
    """One gateway that browsers reach at `scheme`://`host`; its client's access tokens live for so long."""
    port = free_port()
    url = f"{scheme}://{host}:{port}"
    client = shop.client(url, access_seconds=access_seconds)
    if host != "127.0.0.1" and "hosts" not in given:  # it has to know the name that logins come back to
        given["session"] = {"redirection-url": url, **given.get("session", {})}
    file = content(shop, client, application, given)
    folder.mkdir(parents=True, exist_ok=True)
    with Running(folder, file, env=_env(client), port=port) as running, _telling(running):
        yield _told(shop, client, url, running)


@contextmanager
def two(
    folder: Path,
    shop: Shop,
    application: Application,
    *,
    store: str,
    access_seconds: int | None = None,
    **given: Any,
) -> Iterator[Gateway]:
    """Two gateways behind nginx, which asks them in turn; sessions are in the Redis at `store`."""
    ports = (free_port(), free_port())
    with ExitStack() as stack:
        balancer = Balancer(ports)
        client = shop.client(balancer.url, access_seconds=access_seconds)
        session = {"store": store, **given.pop("session", {})}
        told = {"trusted-proxies": ["127.0.0.1/32"], "session": session, **given}
        file = content(shop, client, application, told)
        replicas = [_replica(folder / f"replica-{port}", file, client, port) for port in ports]
        for replica in replicas:
            stack.callback(replica.stop)
        for replica in replicas:
            replica.ready()
        stack.enter_context(balancer)
        yield _told(shop, client, balancer.url, *replicas)


def _replica(folder: Path, file: Keys, client: Client, port: int) -> Running:
    folder.mkdir(parents=True)
    return Running(folder, file, env=_env(client), port=port)


def _env(client: Client) -> dict[str, str]:
    return {**SECRETS, "CLIENT_SECRET": client.secret}


def _told(shop: Shop, client: Client, url: str, *replicas: Running) -> Gateway:
    reached = re.sub(r"//[a-z.]+:", "//127.0.0.1:", url)  # Keycloak knows no names below .test
    shop.change_client(client, backchannel__logout__url=f"{reached}/oauth/backchannel_logout")
    return Gateway(url=url, replicas=replicas, client=client, shop=shop)


@contextmanager
def of_two_shops(folder: Path, near: Shop, far: Shop, application: Application) -> Iterator[Gateway]:
    """One gateway where a person chooses between two issuers, titled `Near shop` and `Far shop`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    clients = (near.client(url), far.client(url))
    providers = {
        "near": {**provider(near, clients[0], "NEAR_SECRET"), "title": "Near shop"},
        "far": {**provider(far, clients[1], "FAR_SECRET"), "title": "Far shop"},
    }
    file = content(near, clients[0], application, {"providers": providers})
    env = {**SECRETS, "NEAR_SECRET": clients[0].secret, "FAR_SECRET": clients[1].secret}
    with Running(folder, file, env=env, port=port) as running, _telling(running):
        yield _told(near, clients[0], url, running)
