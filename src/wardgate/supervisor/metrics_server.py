"""
The admin listener: `/metrics`, and nothing else.

It runs in the supervisor, so that it answers while the service is stopped and while Envoy is away. One request a
connection, a few seconds and a few kilobytes for each; Envoy's own admin interface is asked for a chosen list of
figures and never passed through.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import CollectorRegistry

from wardgate import __version__, metrics
from wardgate.events import complain
from wardgate.policy import Address
from wardgate.supervisor.admin import Admin
from wardgate.supervisor.figures import PATTERN, from_envoy, simple
from wardgate.supervisor.keeper import Keeper
from wardgate.supervisor.local_http import NoAnswer
from wardgate.supervisor.service import Service
from wardgate.supervisor.source import Source

HEAD_BYTES = 16 * 1024
REQUEST_S = 5.0
CONNECTIONS = 64


class Counters:
    """What the supervisor itself counts."""

    def __init__(self) -> None:
        self.reloads: Counter[str] = Counter(
            dict.fromkeys(("applied", "unchanged", "refused", "rejected"), 0)
        )
        self.generation = 0
        self.applied_at = 0.0
        self.took_s = 0.0

    def reloaded(self, result: str, took_s: float | None) -> None:
        self.reloads[result] += 1
        if took_s is not None:
            self.took_s = took_s

    def applied(self, generation: int) -> None:
        self.generation, self.applied_at = generation, time.time()


class MetricsServer:
    """Serves figures at one address, which may change while it runs."""

    def __init__(
        self, admin: Admin, service: Service, counters: Counters, keepers: list[Keeper], source: Source
    ) -> None:
        self._admin = admin
        self._service = service
        self._counters = counters
        self._keepers = keepers
        self._source = source
        self._said: dict[str, Any] = {
            "providers": [],
            "logins": {"succeeded": 0, "failed": {}},
            "resolved": [],
            "agents": None,
        }
        self._address: Address | None = None
        self._server: asyncio.Server | None = None
        self._open = 0

    async def listen(self, address: Address | None) -> None:
        """Serve there from now on; None: nowhere. An address that cannot be had is said, and served nowhere."""
        if address == self._address:
            return
        await self.close()
        self._address = address
        if address is None:
            return
        try:
            self._server = await asyncio.start_server(
                self._serve, address.host, address.port, limit=HEAD_BYTES
            )
        except OSError as error:
            self._address = None
            complain("the metrics cannot be served", address=str(address), error=str(error))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()  # who is connected has REQUEST_S; nobody waits for them
        self._server, self._address = None, None

    async def text(self) -> bytes:
        """Every figure, now."""
        envoy = await self._envoy()
        status = await self._service.status()
        if status is not None:
            self._said = status
        up = {"envoy": envoy is not None, "service": status is not None, "supervisor": True}
        families = [*(from_envoy(envoy) if envoy is not None else ()), *self._own(up)]
        registry = CollectorRegistry()
        registry.register(_Ready(families))
        return generate_latest(registry)

    async def _envoy(self) -> str | None:
        try:
            return await self._admin.prometheus(PATTERN)
        except NoAnswer:
            return None

    def _own(self, up: dict[str, bool]) -> Iterator[Family]:
        counters = self._counters
        pids = {keeper.name: keeper.pid for keeper in self._keepers} | {"supervisor": os.getpid()}
        memory = {(name,): _resident_bytes(pid) for name, pid in pids.items() if pid is not None}
        logins = self._said["logins"]
        yield simple(metrics.LOGIN_SUCCESS, {(): logins["succeeded"]})
        yield simple(metrics.LOGIN_FAILURES, {(): sum(logins["failed"].values())})
        yield simple(metrics.LOGIN_REASONS, {(str(why),): float(n) for why, n in logins["failed"].items()})
        yield simple(metrics.RESOLVED, {(str(k), str(how)): float(n) for k, how, n in self._said["resolved"]})
        yield from self._agents()
        yield simple(metrics.BUILD, {(__version__,): 1})
        yield simple(metrics.PROCESS_UP, {(name,): float(is_up) for name, is_up in up.items()})
        yield simple(metrics.PROCESS_RESTARTS, {(one.name,): one.restarts for one in self._keepers})
        yield simple(metrics.PROCESS_MEMORY, memory)
        yield simple(metrics.RELOADS, {(result,): count for result, count in counters.reloads.items()})
        yield simple(metrics.RELOAD_DURATION, {(): counters.took_s})
        yield simple(metrics.CONFIG_TIME, {(): counters.applied_at})
        yield simple(metrics.CONFIG_GENERATION, {(): counters.generation})
        for metric, samples in self._source.figures().items():
            yield simple(metric, samples)
        yield from self._issuers()

    def _agents(self) -> Iterator[Family]:
        """Nothing where there are no requests of agents. What waits is not said while the store is away."""
        said = self._said["agents"]
        if said is None:
            return
        yield simple(metrics.AGENT_EVENTS, {(str(event),): float(n) for event, n in said["events"].items()})
        if said["pending"] is not None:
            yield simple(metrics.AGENT_PENDING, {(): said["pending"]})
            yield simple(metrics.AGENT_TELLING, {(): said["telling"]})

    def _issuers(self) -> Iterator[Family]:
        """As the service said last: its figures stay when it is stopped, and their age shows."""
        fetches = {
            (str(one["provider"]), str(result)): float(count)
            for one in self._said["providers"]
            for result, count in one["results"].items()
        }
        times = {
            (str(one["provider"]),): float(one["fetched"])
            for one in self._said["providers"]
            if one["fetched"]
        }
        yield simple(
            metrics.KEYS, {(str(one["provider"]),): len(one["kids"]) for one in self._said["providers"]}
        )
        yield simple(metrics.KEYS_TIME, times)
        yield simple(metrics.KEY_FETCHES, fetches)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS:
                async with asyncio.timeout(REQUEST_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await self._answer(head))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(400, b"Bad Request\n")
        method, target = words[0], words[1].partition(b"?")[0]
        if target != b"/metrics":
            return _response(404, b"Not Found\n")
        if method not in (b"GET", b"HEAD"):
            return _response(405, b"Method Not Allowed\n")
        body = await self.text()
        return _response(200, body, CONTENT_TYPE_LATEST, with_body=method == b"GET")


class _Ready:
    """A collector of families that are there already."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families


_TITLES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


def _response(status: int, body: bytes, kind: str = "text/plain", *, with_body: bool = True) -> bytes:
    allow = "allow: GET, HEAD\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {_TITLES[status]}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{allow}"
        "cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + (body if with_body else b"")


def _resident_bytes(pid: int) -> float:
    """From /proc; 0 where there is none."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
