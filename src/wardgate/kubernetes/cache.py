"""
The objects of a cluster, kept here: listed once, then watched.

What the API server said last stays when it goes away, or when it says that a kind does not exist any more: a policy that
cannot be seen is not a policy that was taken back.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from wardgate.dialects import Name
from wardgate.events import say, warn
from wardgate.kubernetes.client import ApiError, Away, Client, Object, Resource

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0
ABSENT_WAIT_S: Final = 20.0
"""How often a kind is asked for that has no CRD."""

RELIST_S: Final = 1800.0
"""After that long, what was watched is listed again: an event that was lost does not matter for ever."""


@dataclass(slots=True)
class Cache:
    """All objects by name. `changed` hears of every one that is another than before, in what it asks for."""

    changed: Callable[[Name], None]
    touched: Callable[[Name], None]
    objects: dict[Name, Object] = field(default_factory=dict)
    _gone: dict[Name, int] = field(default_factory=dict)
    """What a watch said that is gone, and in which version: a list of before may still have it."""

    def put(self, name: Name, found: Object) -> None:
        before = self.objects.get(name)
        if before is not None and _number(found) < _number(before):
            return  # a watch that lags behind a list
        if _number(found) < self._gone.get(name, 0):
            return  # a list that lags behind a watch
        self._gone.pop(name, None)
        found["metadata"].pop("managedFields", None)
        self.objects[name] = found
        if before is None or _asked(before) != _asked(found):
            self.changed(name)
        self.touched(name)

    def remove(self, name: Name, version: int = 0) -> None:
        """`version`: in which it went, as a watch says."""
        if version:
            self._gone[name] = version
        if self.objects.pop(name, None) is not None:
            self.changed(name)

    def of(self, resource: Resource, namespace: str | None = None) -> Iterator[tuple[Name, Object]]:
        for name, found in self.objects.items():
            if _is_of(name, resource, namespace):
                yield name, found

    def replace(
        self, resource: Resource, namespace: str | None, found: list[Object], since: int | None = None
    ) -> None:
        """
        What there is of a kind, by a list of version `since`; None: all that happened after it is still to be watched. Beside a
        watch that goes on, what came after the list stays: nobody would say it again.
        """
        listed = {name_of(resource, one): one for one in found}
        missing = [(name, one) for name, one in self.of(resource, namespace) if name not in listed]
        for name, one in missing:
            if since is None or _number(one) <= since:
                self.remove(name)
        for name in [name for name in self._gone if _is_of(name, resource, namespace)]:
            if since is None or self._gone[name] <= since:
                del self._gone[name]
        for name, one in listed.items():
            self.put(name, one)


def _is_of(name: Name, resource: Resource, namespace: str | None) -> bool:
    return (name.group, name.kind) == (resource.group, resource.kind) and namespace in (None, name.namespace)


def name_of(resource: Resource, found: Object) -> Name:
    metadata = found["metadata"]
    return Name(resource.group, resource.kind, metadata.get("namespace") or "default", metadata["name"])


def _number(found: Object) -> int:
    """resourceVersions of one API server can be compared (Kubernetes 1.35, KEP-5504), and always could be in practice."""
    text = str(found["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def _asked(found: Object) -> Object:
    """An object without what a controller says of it, and without what every write changes."""
    metadata = {
        key: value
        for key, value in found["metadata"].items()
        if key not in ("resourceVersion", "managedFields", "generation")
    }
    return {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}


@dataclass(slots=True, kw_only=True)
class Reflector:
    """
    Keeps one kind, of one namespace or of all. `synced` is set once it was listed, or is known not to exist: a list that is
    refused is no empty list.
    """

    client: Client
    cache: Cache
    resource: Resource
    namespace: str | None
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    healthy: bool = False
    errors: Counter[str] = field(default_factory=Counter)
    _version: str = ""
    _wait_s: float = FIRST_WAIT_S
    _said: bool = False

    @property
    def label(self) -> str:
        inside = f" in {self.namespace}" if self.namespace else ""
        return f"{self.resource.plural}.{self.resource.group}".rstrip(".") + inside

    async def run(self) -> None:
        """For ever: list, watch, and again after whatever went wrong."""
        while True:
            try:
                since = await self.relist()
                await self._follow(since)
            except ApiError as error:
                if error.status == 410:
                    continue
                if error.status == 404:
                    await self._absent()
                    continue
                await self._wait(f"http-{error.status}", str(error))
            except Away as error:
                await self._wait("away", str(error))

    async def relist(self, *, beside: bool = False) -> str:
        """Ask for all of them, `beside` the watch that goes on; the resourceVersion of that. Raises Away or ApiError."""
        found, since = await self._list()
        version = (int(since) if since.isdigit() else 0) if beside else None
        self.cache.replace(self.resource, self.namespace, found, version)
        self._is_well()
        self.synced.set()
        return since

    async def _list(self) -> tuple[list[Object], str]:
        """In the version that is known to be there, else in the newest that is."""
        versions = (self._version,) if self._version else self.resource.versions
        for version in versions:
            try:
                found = await self.client.list(self.resource, version, self.namespace)
            except ApiError as error:
                if error.status != 404 or version == versions[-1]:
                    raise
            else:
                self._version = version
                return found
        raise AssertionError("every kind has a version")

    @property
    def version(self) -> str:
        return self._version or self.resource.versions[0]

    async def _follow(self, since: str) -> None:
        """Watch, as often as the API server ends one, until it is time to list again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + RELIST_S * random.uniform(0.8, 1.2)  # noqa: S311
        while loop.time() < until:
            began = loop.time()
            async for change in self.client.watch(self.resource, self.version, self.namespace, since):
                since = str(change.object["metadata"]["resourceVersion"])
                if change.type == "DELETED":
                    self.cache.remove(name_of(self.resource, change.object), _number(change.object))
                elif change.type != "BOOKMARK":
                    self.cache.put(name_of(self.resource, change.object), change.object)
                self._is_well()
            if loop.time() - began < 1.0:
                await asyncio.sleep(1.0)

    def _is_well(self) -> None:
        if self._said:
            say("watched again", kind=self.label)
        self.healthy, self._said = True, False
        self._wait_s = FIRST_WAIT_S

    async def _absent(self) -> None:
        """No such kind. What was seen of it before stays: it is more likely that something is wrong with the API server."""
        self.errors["absent"] += 1
        self.healthy = False
        if not self.synced.is_set():
            say("a kind does not exist in this cluster; it is asked for again and again", kind=self.label)
            self.synced.set()
        self._version = ""
        await asyncio.sleep(ABSENT_WAIT_S * random.uniform(0.8, 1.2))  # noqa: S311

    async def _wait(self, why: str, message: str) -> None:
        self.errors[why] += 1
        if not self._said:
            warn("cannot be watched; what was seen last stays in force", kind=self.label, error=message)
        self.healthy, self._said = False, True
        await asyncio.sleep(self._wait_s * random.uniform(0.8, 1.2))  # noqa: S311
        self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)
