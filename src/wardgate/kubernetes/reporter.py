"""
Writes what became of objects: their statuses, and an Event for what is wrong with one. Only what differs is written, and never
over another's change: a conflict is tried again from what is there then.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from wardgate.dialects import Name
from wardgate.events import warn
from wardgate.kubernetes.cache import Cache
from wardgate.kubernetes.client import ApiError, Away, Client, Object, Resource
from wardgate.kubernetes.statuses import Desired, is_ours, status_of

AT_ONCE: Final = 8
AGAIN_S: Final = 2.0
NOTE_CHARACTERS: Final = 1000


@dataclass(slots=True, kw_only=True)
class Reporter:
    """`place` gives the resource that an object is one of, and the version that it is written in."""

    client: Client
    cache: Cache
    controller: str
    instance: str
    leads: Callable[[], bool]
    place: Callable[[Name], tuple[Resource, str] | None]
    results: Counter[str] = field(default_factory=Counter)
    _desired: Mapping[Name, Desired] = field(default_factory=dict)
    _pending: dict[Name, None] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _noted: set[str] = field(default_factory=set)
    _warned: set[tuple[str, str, int]] = field(default_factory=set)

    @property
    def waiting(self) -> int:
        """Statuses that may have to be written."""
        return len(self._pending)

    def want(self, desired: Mapping[Name, Desired], *, starting: bool = False) -> None:
        """What is to stand in all statuses from now on. `starting`: in those of Gateways not yet."""
        self._desired = {
            name: one for name, one in desired.items() if not (starting and name.kind == "Gateway")
        }
        gone = [
            name
            for name, found in self.cache.objects.items()
            if name not in desired and is_ours(found, self.controller)
        ]
        self._pending.update(dict.fromkeys((*self._desired, *gone)))
        self._wake.set()

    def touched(self, name: Name) -> None:
        """An object changed here: by us, or by another that may have written over ours."""
        if name in self._desired:
            self._pending[name] = None
            self._wake.set()

    async def run(self) -> None:
        """For ever: write what waits. Who does not lead keeps it, to write it when it does."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self.leads():
                await asyncio.sleep(1.0)
                self._wake.set()
                continue
            names = list(self._pending)
            self._pending.clear()
            limit = asyncio.Semaphore(AT_ONCE)
            results = await asyncio.gather(*(self._one(name, limit) for name in names))
            if "failed" in results:
                await asyncio.sleep(AGAIN_S)

    async def _one(self, name: Name, limit: asyncio.Semaphore) -> str:
        async with limit:
            result = await self._write(name)
        if result != "same":
            self.results[result] += 1
        if result in ("failed", "conflict"):
            self._pending[name] = None
            self._wake.set()
        return result

    async def _write(self, name: Name) -> str:
        found, desired, place = self.cache.objects.get(name), self._desired.get(name), self.place(name)
        if found is None or place is None:
            return "same"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = status_of(found, desired, self.controller, now)
        if desired is not None:
            await self._note(name, found, desired)
        if status is None:
            return "same"
        resource, version = place
        path = f"{resource.path(version, name.namespace)}/{name.name}/status"
        version_now = found["metadata"]["resourceVersion"]
        try:
            written = await self.client.patch(
                path, {"metadata": {"resourceVersion": version_now}, "status": status}
            )
        except ApiError as error:
            return await self._refused(name, error)
        except Away:
            return "failed"
        self.cache.put(name, written)
        return "written"

    async def _refused(self, name: Name, error: ApiError) -> str:
        if error.status == 404:
            return "same"  # it was deleted
        if error.status != 409:
            self._warn("a status cannot be written", name, error)
            return "refused" if error.status == 422 else "failed"
        await asyncio.sleep(0.05)  # until the watch has brought what is there
        return "conflict"

    def _warn(self, what: str, name: Name, error: ApiError) -> None:
        """Once for each kind of trouble: it is tried again and again."""
        if (what, name.kind, error.status) not in self._warned:
            self._warned.add((what, name.kind, error.status))
            warn(what, kind=name.kind, name=str(name), error=str(error))

    # --- events

    async def _note(self, name: Name, found: Object, desired: Desired) -> None:
        """One Event for each condition that says no, once for each reason and message."""
        for said in desired.status.conditions:
            if said.status:
                continue
            key = (
                f"{name.kind} {name} {found['metadata'].get('uid')} {said.type} {said.reason} {said.message}"
            )
            digest = hashlib.sha256(key.encode()).hexdigest()[:16]
            if digest in self._noted:
                continue
            self._noted.add(digest)
            try:
                await self._post(name, found, digest, said.reason, f"{said.type} is False: {said.message}")
            except ApiError as error:
                if error.status != 409:  # 409: it is there, from an earlier run
                    self._warn("an event cannot be written", name, error)
            except Away:
                self._noted.discard(digest)

    async def _post(self, name: Name, found: Object, digest: str, reason: str, note: str) -> None:
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{name.name[:200]}.{digest}", "namespace": name.namespace},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": self.controller,
            "reportingInstance": self.instance[:128],
            "action": "Reading",
            "reason": reason[:128],
            "type": "Warning",
            "note": note[:NOTE_CHARACTERS],
            "regarding": {
                "apiVersion": found["apiVersion"],
                "kind": name.kind,
                "namespace": name.namespace,
                "name": name.name,
                "uid": found["metadata"].get("uid"),
            },
        }
        path = f"/apis/events.k8s.io/v1/namespaces/{name.namespace}/events"
        await self.client.ask("POST", path, json=event)
