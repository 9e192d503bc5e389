"""
The service as the supervisor sees it: a child, its settings file, and what it says about keys.

Never waited for in earnest: it may be stopped or dead, and traffic goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wardgate.events import warn
from wardgate.keystore import KeySource
from wardgate.policy import Policy
from wardgate.service.settings import ServiceSettings, of_policy
from wardgate.supervisor.child import spawn, tell
from wardgate.supervisor.home import Home
from wardgate.supervisor.local_http import NoAnswer, request
from wardgate.supervisor.xds import write_private

STATUS_S = 0.3


async def waiting() -> asyncio.subprocess.Process:
    """A service that has everything but its settings: what it needs first is read while the supervisor reads its own."""
    return await spawn([sys.executable, "-m", "wardgate.service"], listens=True)


class Service:
    """The service process of one gateway. `first`: one that waits already."""

    def __init__(self, home: Home, first: asyncio.subprocess.Process | None = None) -> None:
        self._home = home
        self._waiting = first
        self._said: str | None = None
        self._secret = secrets.token_bytes(32)
        self.key_number = 0
        """Of the key in force, of those that it makes of the secret: one that is started again goes on with it."""

    async def start(self) -> asyncio.subprocess.Process:
        child, self._waiting = self._waiting, None
        if child is None or child.returncode is not None:
            child = await waiting()
        tell(child, f"{self._home.service_settings}\n{self._secret.hex()}\n{self.key_number}\n")
        return child

    def tell(self, policy: Policy, sources: Iterable[KeySource], pid: int | None) -> None:
        """What it is there for, and whose keys to keep: written to its file, and said to it when it runs."""
        place = self._home.place
        settings = ServiceSettings(
            public_socket=place.service_socket,
            control_socket=place.control_socket,
            keys=str(self._home.keys),
            state=str(self._home.state),
            sources=tuple(sources),
            **of_policy(policy),
        ).as_json()
        if settings == self._said:
            return
        try:
            _replace(self._home.service_settings, settings)
        except OSError as error:
            warn("the service cannot be told about the new providers", error=str(error))
            return
        self._said = settings
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)

    async def sessions(self, told: Mapping[str, Any], wait_s: float) -> dict[str, Any] | None:
        """
        What it says of attested tokens and ended sessions (`service/in_force.py`), as soon as that differs from what is
        in force, or after a while; None when it does not answer.
        """
        body = json.dumps({**told, "wait_s": wait_s}).encode()
        socket = self._home.place.control_socket
        try:
            status, answer = await request(
                socket, "POST", "/sessions", body=body, timeout_s=wait_s + STATUS_S
            )
            return json.loads(answer) if status == 200 else None
        except (NoAnswer, ValueError):
            return None

    async def status(self) -> dict[str, Any] | None:
        """
        `providers`: every provider's keys as the service knows them. `logins`, `resolved` and `agents`: what it counted. None when
        it does not answer soon.
        """
        try:
            status, body = await request(
                self._home.place.control_socket, "GET", "/status", timeout_s=STATUS_S
            )
            found = json.loads(body) if status == 200 else None
        except (NoAnswer, ValueError):
            return None
        return found if isinstance(found, dict) and isinstance(found.get("providers"), list) else None


def _replace(path: Path, content: str) -> None:
    temporary = path.with_suffix(".new")
    write_private(temporary, content)
    temporary.replace(path)
