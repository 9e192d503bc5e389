"""
Two gateways on one Redis, and sessions that are simply there: what the tests of faults and load are about.

The issuer is `wardgate idp` as a process of its own, so that it can be counted, slowed, killed and started again; logins
are not clicked through but put into the store as the service would (`Replicas.people`).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.gateway import COMMAND
from tests.holding.load import Client, Outcome, Request, request
from tests.holding.running import Running
from tests.login_page import demo_realm
from tests.parts.loopback import answers, free_port
from tests.parts.redis import wait_until
from wardgate.policy import Secret
from wardgate.policy import Session as Terms
from wardgate.service.sealing import Sealer, key_bytes
from wardgate.service.session import Session, Tokens, name_of, new_id
from wardgate.service.stores.redis import RedisStore
from wardgate.verify import read_unverified

KEY = "0123456789abcdef0123456789abcdef"
COOKIE = "wardgate-session"


class IssuerProcess:
    """`wardgate idp` on a realm like the demo's, with access tokens that live for so many seconds."""

    def __init__(self, folder: Path, *, access_seconds: int) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}/realms/demo"
        self._file = folder / "realm.json"
        self._log = folder / "idp.log"
        realm = demo_realm()
        realm["accessTokenLifespan"] = access_seconds
        self._file.write_text(json.dumps(realm), "utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(COMMAND), "idp", "--realm", str(self._file), "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        address = f"{self.issuer}/.well-known/openid-configuration"
        wait_until(lambda: answers(address), "the issuer answers", lambda: self._log.read_text("utf-8"))

    def pause(self) -> None:
        """It accepts and answers nothing; its sessions stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def control(self, what: str, **fields: object) -> Any:
        """`-/counts`, `-/slow`, `-/rotate`, ... of the development identity provider."""
        body = urllib.parse.urlencode(fields).encode() if fields or what in ("rotate", "retire") else None
        asked = urllib.request.Request(f"{self.issuer}/-/{what}", data=body)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)

    def refreshes(self) -> int:
        return int(self.control("counts")["token"].get("refresh_token", 0))

    def fetches(self) -> int:
        """Of the key set."""
        return int(self.control("counts").get("certs", 0))

    def tokens(self) -> dict[str, Any]:
        """A login of `user`: the answer of the token endpoint."""
        fields = {
            "grant_type": "password",
            "client_id": "demo-gateway",
            "client_secret": "demo-secret",
            "username": "user",
            "password": "user-password",
            "scope": "openid",
        }
        body = urllib.parse.urlencode(fields).encode()
        address = f"{self.issuer}/protocol/openid-connect/token"
        with urllib.request.urlopen(address, data=body, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who is logged in: what their cookie holds, and the session's name."""

    id: str
    name: str

    @property
    def cookie(self) -> tuple[str, str]:
        return "Cookie", f"{COOKIE}={self.id}"

    def request(self, target: str = "/x", kind: str = "session") -> Request:
        return request(kind, target, headers=[self.cookie])


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """`gateways` share the Redis at `redis_url`; `issuer` is theirs."""

    gateways: tuple[Running, ...]
    redis_url: str
    issuer: IssuerProcess

    @property
    def ports(self) -> list[int]:
        return [gateway.port for gateway in self.gateways]

    def store(self) -> RedisStore:
        """As the replicas' own; of one event loop, to be closed."""
        return RedisStore(Terms(store_url=Secret(self.redis_url, "url")), Sealer([key_bytes(KEY)]))

    def people(self, count: int, *, expired: bool = False) -> list[Person]:
        """So many sessions, each a login of its own at the issuer; `expired`: their access tokens just have."""

        async def make() -> list[Person]:
            store = self.store()
            found = [await self._person(store, expired) for _ in range(count)]
            await store.close()
            return found

        return asyncio.run(make())

    async def _person(self, store: RedisStore, expired: bool) -> Person:
        answer, now = self.issuer.tokens(), time.time()
        claims, about = (
            read_unverified(answer["access_token"]).claims,
            read_unverified(answer["id_token"]).claims,
        )
        session_id = new_id()
        tokens = Tokens(
            access_token=answer["access_token"],
            access_expires=now - 1 if expired else float(claims["exp"]),
            refresh_token=answer["refresh_token"],
            id_token=answer["id_token"],
            claims=dict(claims),
            id_claims=dict(about),
        )
        session = Session(
            name=name_of(session_id),
            provider="default",
            issuer=self.issuer.issuer,
            subject=str(claims["sub"]),
            issuer_session=str(about["sid"]),
            created=now,
            used=now,
            ends=now + 3600,
            tokens=tokens,
        )
        await store.create(session, expires=now + 1800)
        return Person(id=session_id, name=session.name)

    def resolved(self, kind: str, outcome: str) -> float:
        """How often the services answered so, all replicas together."""
        name = f'wardgate_resolved_total{{kind="{kind}",outcome="{outcome}"}}'
        return sum(gateway.metrics().get(name, 0.0) for gateway in self.gateways)


@contextmanager
def replicas(
    folder: Path,
    redis_url: str,
    upstream: str,
    *,
    count: int = 2,
    access_seconds: int = 300,
    remembered: str = "5s",
    **given: Any,
) -> Iterator[Replicas]:
    """`count` gateways; `given` goes into their file."""
    with ExitStack() as stack:
        issuer = stack.enter_context(IssuerProcess(folder, access_seconds=access_seconds))
        provider = {
            "issuer": issuer.issuer,
            "audience": "demo-gateway",
            "client-id": "demo-gateway",
            "client-secret": "demo-secret",
            "timeout": "5s",
            **given.pop("provider", {}),
        }
        session = {
            "cookie": {"secure": False},
            "store": redis_url,
            "encryption-key": KEY,
            "remembered": remembered,
            "redirection-url": "http://127.0.0.1:3000",
            **given.pop("session", {}),
        }
        routes = [{"path": "/open/**", "public": True}, {"path": "/**", "roles": ["user"]}]
        content = {"provider": provider, "session": session, "upstream": upstream, "routes": routes, **given}
        started = [Running(_made(folder / f"replica-{number}"), content) for number in range(count)]
        for gateway in started:
            stack.callback(gateway.stop)
        for gateway in started:
            gateway.ready()
        yield Replicas(gateways=tuple(started), redis_url=redis_url, issuer=issuer)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def at_once(ports: Sequence[int], requests: Sequence[Request]) -> list[Outcome]:
    """All of them at the same time, each on a connection of its own, to the ports in turn."""

    async def run() -> list[Outcome]:
        clients = [Client(ports[number % len(ports)]) for number in range(len(requests))]
        asked = zip(clients, requests, strict=True)
        try:
            return list(await asyncio.gather(*(client.ask(wanted) for client, wanted in asked)))
        finally:
            for client in clients:
                client.close()

    return asyncio.run(run())


def statuses(outcomes: Sequence[Outcome]) -> Counter[int]:
    return Counter(outcome.status for outcome in outcomes)


def workers(gateway: Running) -> int:
    """How many worker threads its Envoy has."""
    tasks = Path(f"/proc/{gateway.child('envoy')}/task").iterdir()
    names = [(task / "comm").read_text().strip() for task in tasks]
    return len([name for name in names if re.match(r"wrk:", name)]) or (os.cpu_count() or 1)
