"""
The service's resolver as it is, on a control socket of its own: over the sessions and tokens that a test says there are.

Envoy asks it as it asks the real service. Beside it, on a second socket, what stands for the gateway's own endpoints.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import uvicorn
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from wardgate.policy import Credentials, Policy, Provider
from wardgate.service.in_force import InForce
from wardgate.service.oidc import Introspected, IssuerAway
from wardgate.service.resolve import Resolver
from wardgate.service.serve import KEEP_ALIVE_S
from wardgate.service.session import Session, Tokens, name_of
from wardgate.service.sessions import Sessions
from wardgate.service.settings import ServiceSettings, of_policy
from wardgate.service.stores import StoreAway

Endpoint = Callable[[Request], Awaitable[Response]]
Bearer = Callable[[str], Mapping[str, Any]]
"""The claims of a JWT; raises a TokenError."""

LOGIN = "https://id.test/login"
DEADLINE_S = 10.0


@dataclass(slots=True, kw_only=True)
class Known:
    """
    What the service of one policy knows. `sessions` by what a cookie holds; None: the store does not answer for it.

    `active` are the tokens that each provider calls active, with what it says of them. `bearer` judges JWTs by provider.
    """

    policy: Policy
    sessions: Mapping[str, Session | None] = field(default_factory=dict)
    active: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    tokens: frozenset[str] = frozenset()
    bearer: Mapping[str, Bearer] = field(default_factory=dict)


class Service:
    """`with Service(directory) as service:`; `know` replaces all that is known."""

    def __init__(self, directory: Path) -> None:
        self.control_socket = str(directory / "control.sock")
        self.public_socket = str(directory / "public.sock")
        self._in_force = InForce(b"s" * 32)
        self._owners: dict[str, Resolver] = {}
        self._anyone: Resolver | None = None
        self._servers = [
            _server(self._resolve, self.control_socket),
            _server(_own_endpoint, self.public_socket),
        ]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.attested_keys = ""
        """JWKS text: what Envoy is to verify attested tokens with."""

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + DEADLINE_S
        while not all(server.started for server in self._servers):
            assert time.monotonic() < deadline, "the service does not start"
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.should_exit = True
        self._thread.join(DEADLINE_S)

    def know(self, found: Sequence[Known], kids: Mapping[str, Sequence[str]]) -> None:
        """`kids`: the keys that Envoy has, by provider."""
        told = {"keys": {name: list(each) for name, each in kids.items()}}
        self._call(self._in_force.wait_for_news({**self._told, **told}))
        self._owners = {}
        for known in found:
            resolver = Resolver(_always(_runtime(known)), self._in_force)
            self._owners |= dict.fromkeys([*known.sessions, *known.tokens], resolver)
            if self._anyone is None or known.policy.session is not None:
                self._anyone = resolver

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        news = await self._in_force.wait_for_news({})
        self._told = {"life": news["life"], "version": news["version"]}
        await self._in_force.wait_for_news(self._told)
        self.attested_keys = json.dumps({"keys": [news["key"]]})
        await asyncio.gather(*(server.serve() for server in self._servers))

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    async def _resolve(self, request: Request) -> Response:
        resolver = self._owners.get(request.headers.get("x-wardgate-asked", ""), self._anyone)
        assert resolver is not None, "a request came before anything was known"
        return await resolver(request)


async def _own_endpoint(_: Request) -> Response:
    return Response(status_code=200, headers={"x-service": "yes"})


def _server(endpoint: Endpoint, socket: str) -> uvicorn.Server:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (await endpoint(Request(scope, receive)))(scope, receive, send)

    config = uvicorn.Config(
        app,
        uds=socket,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return uvicorn.Server(config)


def _always(runtime: Any) -> Callable[[], Any]:
    return lambda: runtime


def _runtime(known: Known) -> Any:
    """What the resolver asks of the runtime, and no more of it."""
    policy = known.policy
    clients = {provider.name: _Client(provider, known) for provider in policy.providers}
    login = {provider.name: clients[provider.name] for provider in policy.login_providers()}
    store: Any = _Store(known.sessions)

    def browsers_of(provider: str | None) -> Any:
        terms = policy.session_of(Credentials(providers=(provider,))) if provider else None
        terms = terms or policy.session
        assert terms is not None, "only where browsers log in anything is asked about them"
        kind: Any = _SessionsInCookies if terms.in_cookies else Sessions
        return SimpleNamespace(terms=terms, sessions=kind(store, terms, login), login=_Login())

    settings = ServiceSettings(public_socket="", control_socket="", keys="", state="", **of_policy(policy))
    return SimpleNamespace(
        settings=settings, session=policy.session, browsers_of=browsers_of, clients=clients
    )


class _Store:
    """Sessions by name: what `Sessions` reads, and nothing is written."""

    def __init__(self, by_cookie: Mapping[str, Session | None]) -> None:
        self._sessions = {name_of(cookie): session for cookie, session in by_cookie.items()}

    async def read(self, name: str) -> Session | None:
        session = self._sessions.get(name)
        if session is None and name in self._sessions:
            raise StoreAway("no answer")
        return session

    async def touch(self, name: str, *, used: float, expires: float) -> None:
        pass

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        return True

    async def release(self, name: str, owner: str) -> None:
        pass

    async def end(self, name: str, *, now: float, deny_until: float) -> Session | None:
        return None


class _SessionsInCookies(Sessions):
    """Whose cookie holds more than an id, and is taken whole."""

    def name_in_cookie(self, value: str) -> str | None:
        return name_of(value) if value.isascii() and len(value) > 43 else None


class _Client:
    """An issuer that answers about bearer tokens, and renews no session."""

    def __init__(self, provider: Provider, known: Known) -> None:
        self.provider = provider
        self._bearer = known.bearer[provider.name]
        self._active = known.active.get(provider.name, {})
        alive = [session for session in known.sessions.values() if session is not None]
        self._of_sessions = {session.tokens.access_token for session in alive}

    async def bearer(self, token: str) -> Mapping[str, Any]:
        return self._bearer(token)

    async def refresh(self, _: Tokens) -> Tokens:
        raise IssuerAway("issuer-unreachable", "no answer")

    async def introspect(self, token: str) -> Introspected | None:
        if token in self._of_sessions:  # the issuer has ended none of them
            return Introspected(claims={}, expires=None)
        found = self._active.get(token)
        return None if found is None else Introspected(claims=found, expires=None)


class _Login:
    async def begin(self, *_: object, **__: object) -> Response:
        return RedirectResponse(LOGIN, 302)

    def elsewhere(self, *_: object) -> Response:
        return RedirectResponse(LOGIN, 302)
