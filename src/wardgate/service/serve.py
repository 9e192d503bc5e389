"""
Runs the service: two unix sockets, the key tasks, and three signals.

SIGHUP reads the settings file again; SIGTERM and SIGINT end it. Stopped or dead, it takes nothing away from traffic
that Envoy already knows how to judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from wardgate.events import complain
from wardgate.keystore import KeyStore
from wardgate.policy import CONSOLE_PATH, is_below
from wardgate.service.app import Endpoint, control_app, public_app
from wardgate.service.choosing import origin_of
from wardgate.service.in_force import InForce
from wardgate.service.keys import Refreshers
from wardgate.service.resolve import Resolver
from wardgate.service.revocations import Revocations
from wardgate.service.runtime import Runtime
from wardgate.service.settings import ServiceSettings
from wardgate.service.stores import SessionStore

if TYPE_CHECKING:
    from wardgate.service.agents.keeping import Agents

BACKLOG = 1024
GRACE_S = 2
KEEP_ALIVE_S = 60


async def serve(settings_file: Path, in_force: InForce) -> None:
    """Until a signal ends it. Raises ValueError and OSError when it cannot begin."""
    settings = ServiceSettings.from_json(settings_file.read_text("utf-8"))
    store = KeyStore(Path(settings.keys))
    store.prepare()
    running = Running(Refreshers(store), in_force)
    running.follow(settings)
    servers = [
        _server(public_app(running.current, running.of_agents), settings.public_socket),
        _server(control_app(running), settings.control_socket),
    ]
    _on_signals(servers, running, settings_file)
    try:
        await asyncio.gather(*(server.serve(sockets=[listening]) for server, listening in servers))
    finally:
        await running.stop()


class Running:
    """The service's state: what the settings in force are made into, and what outlives a change of them."""

    def __init__(self, refreshers: Refreshers, in_force: InForce) -> None:
        self.refreshers = refreshers
        self.in_force = in_force
        self.resolver = Resolver(self.current, self.in_force)
        self._runtime: Runtime | None = None
        self._revocations: Revocations | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._agents: Agents | None = None
        self._programs: ASGIApp | None = None
        self._console: ASGIApp | None = None
        self._granting: Endpoint | None = None

    def current(self) -> Runtime:
        assert self._runtime is not None, "follow() comes before anything is asked"
        return self._runtime

    def follow(self, settings: ServiceSettings) -> None:
        """Put settings in force. Raises OSError and ValueError, and then those before stay."""
        previous = self._runtime
        found = Runtime.build(settings, previous, refreshers=self.refreshers, refused=self._refused)
        self._runtime = found
        self.refreshers.follow(settings.sources)
        self._watch(found.store)
        self._follow_agents(settings)
        if previous is not None:
            self._later(previous.close(found))

    def _follow_agents(self, settings: ServiceSettings) -> None:
        if settings.approvals is not None and self._agents is None:
            # databases take a third of a second, which those who keep no requests of agents do not wait
            from wardgate.service.agents.api import api
            from wardgate.service.agents.console import console
            from wardgate.service.agents.granting import Granting
            from wardgate.service.agents.keeping import Agents

            self._agents = Agents()
            self._programs = api(self._agents, self.current)
            self._console = console(self._agents, self.current)
            self._granting = Granting(self._agents)
        if self._agents is not None:
            self._agents.follow(settings.approvals, Path(settings.state), _console_of(settings))

    def of_agents(self, path: str) -> ASGIApp | None:
        """Who serves this path, if it is for agents and those who decide, and there are any."""
        if self._agents is None or not self._agents.serves(path):
            return None
        return self._console if is_below(path, CONSOLE_PATH) else self._programs

    async def figures_of_agents(self) -> dict[str, Any] | None:
        """What `Agents.figures` says; None without requests of agents."""
        return None if self._agents is None else await self._agents.figures()

    async def grants(self, request: Request) -> Response:
        """Envoy's question about a grant. Without requests of agents there are none."""
        return Response(status_code=503) if self._granting is None else await self._granting(request)

    def _refused(self, store: SessionStore) -> Callable[[], Awaitable[bool]]:
        if self._revocations is None or self._revocations.store is not store:
            self._revocations = Revocations(store, self.in_force)
        return self._revocations.refresh

    def _watch(self, store: SessionStore | None) -> None:
        """Each store has its watcher; without a store nothing is denied."""
        watched = self._watching.get_name() if self._watching is not None else None
        if watched == str(id(store)):
            return
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if store is None or self._revocations is None:
            self._later(self.in_force.deny_nothing())
        else:
            self._watching = asyncio.create_task(self._revocations.run(), name=str(id(store)))

    def _later(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        await self.refreshers.stop()
        if self._agents is not None:
            await self._agents.close()
        if self._watching is not None:
            self._watching.cancel()
        if self._runtime is not None:
            await self._runtime.close()


def _console_of(settings: ServiceSettings) -> str:
    """Its address for people, where the settings say one."""
    session = settings.session
    if session is None or session.redirection_url is None or not settings.login_providers:
        return ""
    return origin_of(session.redirection_url) + CONSOLE_PATH


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: two servers share this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: ASGIApp, path: str) -> tuple[_Server, socket.socket]:
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        # Envoy lets go first (after 30 s, envoy/resolve.py): a question on a connection that we just closed is a 503
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return _Server(config), private_socket(path)


def private_socket(path: str) -> socket.socket:
    """A listening unix socket that only this user can reach; a left-over file in its place is removed."""
    Path(path).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)  # in a folder of mode 0700: nobody is in time before the next line
    Path(path).chmod(0o600)
    listening.listen(BACKLOG)
    return listening


def _on_signals(servers: list[tuple[_Server, socket.socket]], running: Running, settings_file: Path) -> None:
    def end() -> None:
        for server, _ in servers:
            server.should_exit = True

    def again() -> None:
        try:
            running.follow(ServiceSettings.from_json(settings_file.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            complain("the service cannot take its settings; those before stay in force", error=repr(error))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, end)
    loop.add_signal_handler(signal.SIGHUP, again)
