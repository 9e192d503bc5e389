"""
Between the service and Envoy: the key that attested tokens are signed with, and the sessions that ended.

The service says both, this carries them into Envoy's configuration and says back what is in force: until then the
service signs nothing with a new key and answers no logout. A service that is started again gets the key of the one before:
what that has signed holds, and so does what it signs for requests that Envoy took in meanwhile, which keep the filters,
and so the keys, of that moment (run on 1.40).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from wardgate.events import warn
from wardgate.problems import Unavailable
from wardgate.supervisor.service import Service
from wardgate.supervisor.xds import Enforcement, SessionState

WAIT_S = 20.0
FIRST_S = 5.0
RETRY_S = 0.1

WORKERS_S, WORKERS_KEYS_S = 0.02, 0.25
"""
Envoy acknowledges when its main thread has a configuration; its workers have it a moment later (run on 1.40, on a machine
with more to do than it can). Nothing is signed with a key, no logout is answered, before that.
"""


class Attestation:
    """One gateway's. `next` is run again and again."""

    def __init__(self, service: Service, enforcement: Enforcement) -> None:
        self._service = service
        self._enforcement = enforcement
        self._applied: dict[str, Any] = {"life": "", "version": 0}
        self._key: dict[str, Any] | None = None
        self._denied: tuple[str, ...] = ()
        self._kids: dict[str, list[str]] = {}
        self._hurry = asyncio.Event()
        self._number = 0

    def judged_by(self, keys: Mapping[str, str]) -> None:
        """Envoy has these keys of the issuers now (provider name to JWKS): the service need not attest their tokens."""
        self._kids = {name: _kids(text) for name, text in keys.items()}
        self._hurry.set()

    async def first(self) -> None:
        """Before the first configuration: what the service says already, so that Envoy starts with it, and the service knows."""
        deadline = time.monotonic() + FIRST_S
        while time.monotonic() < deadline:
            said = await self._service.sessions(self._told(), 0.0)
            if said is not None:
                await self._put_in_force(said)
                await self._service.sessions(self._told(), 0.0)
                return
            await asyncio.sleep(RETRY_S)

    async def next(self) -> None:
        """Wait for what the service says next, and put it in force."""
        self._hurry.clear()
        asked = asyncio.create_task(self._service.sessions(self._told(), WAIT_S))
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({asked, hurry}, return_when=asyncio.FIRST_COMPLETED)
            said = asked.result() if asked.done() else None
        finally:
            for task in (asked, hurry):
                task.cancel()
        if said is None:
            if not self._hurry.is_set():
                await asyncio.sleep(RETRY_S)
            return
        try:
            await self._put_in_force(said)
        except (Unavailable, OSError) as error:
            warn(
                "Envoy did not take the key of attested tokens or the deny list; offered again",
                error=str(error),
            )
            await asyncio.sleep(RETRY_S)

    def _told(self) -> dict[str, Any]:
        return {**self._applied, "keys": self._kids}

    async def _put_in_force(self, said: Mapping[str, Any]) -> None:
        key = said["key"]
        denied = self._denied if said["denied"] is None else tuple(said["denied"])
        if (key, denied) != (self._key, self._denied):
            self._number += 1
            jwks = json.dumps({"keys": [key]})
            await self._enforcement.attest(SessionState(jwks=jwks, denied=denied, number=self._number))
            await asyncio.sleep(WORKERS_S if key == self._key else WORKERS_KEYS_S)
        self._key, self._denied, self._service.key_number = key, denied, int(said["number"])
        self._applied = {"life": said["life"], "version": said["version"]}


def _kids(jwks: str) -> list[str]:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return [str(key["kid"]) for key in json.loads(jwks)["keys"] if "kid" in key]
    return []
