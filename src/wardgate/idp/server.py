"""
Serving the development identity provider: in the foreground (`wardgate idp`), or beside a test.

    with IdpServer(realm) as idp:
        idp.issuer                                  # http://127.0.0.1:PORT/realms/R
        idp.token("user")                           # an access token, as the password grant gives
        idp.mint(idp.claims("user") | {"exp": 1})   # anything, signed by the realm's key

Loopback only: it is a provider whose passwords are in a file and whose secrets are known.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette

from wardgate.idp.app import create_app
from wardgate.idp.claims import OPENID
from wardgate.idp.controls import Traffic
from wardgate.idp.keys import Keys
from wardgate.idp.provider import Clock, Provider, system_clock
from wardgate.idp.reading import default_realm, read_realm
from wardgate.idp.realm import Client, Realm
from wardgate.idp.signing_out import SigningOut
from wardgate.problems import ConfigError, Problem, shown
from wardgate.verify.compact import read_unverified

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 9081
START_SECONDS = 10.0


class IdpServer:
    """
    A provider that serves from a thread between `start` and `stop` (or as a context, `async with` too).

    `realm`: a Realm, the path of a realm file, or None for the built-in one. Port 0 asks the kernel; the port
    then stays, so the server can be stopped and started again with the same issuer, keys and sessions.
    """

    def __init__(
        self,
        realm: Realm | Path | None = None,
        *,
        host: str = DEFAULT_HOST,
        port: int = 0,
        base_path: str = "",
        clock: Clock = system_clock,
    ) -> None:
        self.realm = realm_from(realm)
        self.host = loopback(host)
        self.port = port
        self.base_path = _clean_base_path(base_path)
        self._clock = clock
        self._keys = Keys()
        self._provider: Provider | None = None
        self._signing_out: SigningOut | None = None
        self._traffic = Traffic()
        self._running: tuple[_Server, threading.Thread] | None = None

    # -- start and stop

    def start(self) -> Self:
        """Listen and serve. Raises ConfigError when the port is taken."""
        listener = self._listen()
        server = _Server(self._app())
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])),
            name=f"idp-{self.realm.name}",
            daemon=True,
        )
        thread.start()
        if not server.ready.wait(START_SECONDS):
            raise TimeoutError("the identity provider did not start")
        self._running = (server, thread)
        return self

    def stop(self) -> None:
        """Stop serving; `start` may follow."""
        if self._running is not None:
            server, thread = self._running
            self._running = None
            server.should_exit = True
            thread.join(START_SECONDS)

    def serve_forever(self, on_ready: Callable[[IdpServer], None]) -> None:
        """Serve in this thread until SIGINT or SIGTERM; `on_ready` is called once the port is open."""
        listener = self._listen()
        server = _Server(self._app())
        asyncio.run(_until_signal(server, listener, lambda: on_ready(self)))

    def _listen(self) -> socket.socket:
        listener = bind(self.host, self.port)
        self.port = listener.getsockname()[1]
        if self._provider is None:
            self._provider = Provider(self.realm, self.issuer, keys=self._keys, clock=self._clock)
            self._signing_out = SigningOut(self._provider)
        return listener

    def _app(self) -> Starlette:
        assert self._signing_out is not None
        return create_app(self.provider, self._traffic, self._signing_out, self.base_path)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # -- what is served

    @property
    def provider(self) -> Provider:
        if self._provider is None:
            raise RuntimeError("the identity provider has no address yet: start it first")
        return self._provider

    @property
    def base_url(self) -> str:
        """The address before `/realms`: `http://127.0.0.1:9081`, with the base path if there is one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.base_path}"

    @property
    def issuer(self) -> str:
        return f"{self.base_url}/realms/{self.realm.name}"

    # -- tokens without HTTP

    def tokens(
        self, username: str | None = None, *, client_id: str | None = None, scope: str = OPENID
    ) -> dict[str, Any]:
        """
        The answer of the token endpoint: a user's by the password grant, or (None) the client's own.

        No password or secret is needed; the client is the first of the realm file unless named.
        """
        client = self._client(client_id)
        scopes = tuple(scope.split())
        if username is None:
            return self.provider.act_alone(client, scopes)
        user = self.realm.user(username)
        if user is None:
            raise KeyError(f"the realm {self.realm.name} has no user {username}")
        return self.provider.log_in(client, user, scopes)

    def token(self, username: str | None = None, *, client_id: str | None = None, scope: str = OPENID) -> str:
        """An access token of a user, or (None) of the client itself."""
        return str(self.tokens(username, client_id=client_id, scope=scope)["access_token"])

    def claims(
        self, username: str | None = None, *, client_id: str | None = None, scope: str = OPENID
    ) -> dict[str, Any]:
        """The claims of such an access token, to be changed and minted."""
        return dict(read_unverified(self.token(username, client_id=client_id, scope=scope)).claims)

    def mint(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        """
        Exactly these claims, signed with the realm's active key: expired, for others, or nonsense.

        `header` members are set over `alg`, `typ` and `kid`; a member set to `...` is removed.
        """
        return self.provider.signed(claims, header)

    # -- what tests count and turn

    def counts(self) -> dict[str, int | dict[str, int]]:
        """How often each endpoint was asked since the first start; `token` by grant type."""
        return self._traffic.counts()

    def slow(self, endpoint: str, seconds: float) -> None:
        """Let an endpoint (`token`, `certs`, …) answer so much later; 0: at once again. Raises ValueError."""
        self._traffic.slow(endpoint, seconds)

    def end_sessions(self, username: str | None = None) -> int:
        """End the sessions of everybody, or of one user, and tell their clients. How many there were."""
        if self._signing_out is None:
            return 0
        return self._signing_out.end_all(username)

    def rotate(self) -> str:
        """Sign with a new key; the old one stays published until `retire`. Returns the new kid."""
        return self.provider.keys.rotate()

    def retire(self) -> None:
        """Publish only the active key."""
        self.provider.keys.retire()

    def _client(self, client_id: str | None) -> Client:
        if client_id is not None:
            return self.realm.clients[client_id]
        return next(client for client in self.realm.clients.values() if not client.bearer_only)


def realm_from(realm: Realm | Path | None) -> Realm:
    """A realm as the server takes it. Raises ConfigError."""
    if realm is None:
        return default_realm()
    return realm if isinstance(realm, Realm) else read_realm(realm)


def loopback(host: str) -> str:
    """The host, if only this machine can reach it. Raises ConfigError."""
    if host == "localhost":
        return host
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    problem = Problem(
        code="idp-host",
        message="the development identity provider listens on loopback addresses only",
        got=shown(host),
        hint="use --host 127.0.0.1; for other machines use a real identity provider",
    )
    raise ConfigError([problem])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError naming the port when it cannot be had."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # With the protocol named, asyncio sets TCP_NODELAY; without it every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        problem = Problem(
            code="port-in-use",
            message=f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="choose another with --port, or find what holds it: ss -ltnp",
        )
        raise ConfigError([problem]) from error
    return listener


def _clean_base_path(base_path: str) -> str:
    stripped = base_path.strip("/")
    return f"/{stripped}" if stripped else ""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with an event that says when it serves."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _until_signal(server: _Server, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    def end() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await asyncio.to_thread(server.ready.wait, START_SECONDS)
    on_ready()
    await serving
