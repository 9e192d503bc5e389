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
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from wardgate.events import complain
from wardgate.keystore import KeyStore
from wardgate.service.app import control_app, public_app
from wardgate.service.in_force import InForce
from wardgate.service.keys import Refreshers
from wardgate.service.settings import ServiceSettings

BACKLOG = 1024
GRACE_S = 2


async def serve(settings_file: Path) -> None:
    """Until a signal ends it. Raises ValueError and OSError when it cannot begin."""
    settings = ServiceSettings.from_json(settings_file.read_text("utf-8"))
    store = KeyStore(Path(settings.keys))
    store.prepare()
    refreshers = Refreshers(store)
    refreshers.follow(settings.sources)
    in_force = InForce()
    servers = [
        _server(public_app(), settings.public_socket),
        _server(control_app(refreshers, in_force, _not_yet), settings.control_socket),
    ]
    _on_signals(servers, refreshers, settings_file)
    try:
        await asyncio.gather(*(server.serve(sockets=[listening]) for server, listening in servers))
    finally:
        await refreshers.stop()


async def _not_yet(_: Request) -> Response:
    return Response(status_code=503)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: two servers share this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Starlette, path: str) -> tuple[_Server, socket.socket]:
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
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


def _on_signals(
    servers: list[tuple[_Server, socket.socket]], refreshers: Refreshers, settings_file: Path
) -> None:
    def end() -> None:
        for server, _ in servers:
            server.should_exit = True

    def again() -> None:
        try:
            settings = ServiceSettings.from_json(settings_file.read_text("utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            complain("the service cannot read its settings again", error=repr(error))
            return
        refreshers.follow(settings.sources)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, end)
    loop.add_signal_handler(signal.SIGHUP, again)
