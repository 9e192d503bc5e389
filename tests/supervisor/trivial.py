"""
A compiler small enough to read: one listener, one filter, one route configuration, one upstream.

What a test changes is the `mark`, which both the routes and the filter put into every answer.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wardgate.compiler import Compiled, Place, deny_list
from wardgate.envoy import names
from wardgate.envoy.rbac import REVOKED_TYPE
from wardgate.envoy.replies import Page
from wardgate.policy import (
    Address,
    Credentials,
    Endpoint,
    Host,
    Listener,
    Mode,
    Path,
    PathKind,
    Policy,
    Public,
    Route,
    Upstream,
)

EXTENSIONS = "type.googleapis.com/envoy.extensions."
MARKER = EXTENSIONS + "filters.http.header_mutation.v3.HeaderMutation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a trivial configuration shows to its clients."""

    directory: str
    admin_socket: str
    address: tuple[str, int]
    upstream: tuple[str, int]
    mark: str = "one"
    keys: str = ""
    broken: str = ""


def compiled(wish: Wish) -> Compiled:
    cluster = f"up-{wish.upstream[1]}"
    return Compiled(
        bootstrap=bootstrap(wish),
        listeners={"main": listener(wish)},
        clusters={cluster: static_cluster(cluster, wish.upstream)},
        routes={"main": routes(cluster, wish)},
        filters={"test.mark": marker("x-filter", wish), "test.router": router()},
    )


def bootstrap(wish: Wish) -> dict[str, Any]:
    def source(file: str) -> dict[str, Any]:
        return config_source(f"{wish.directory}/xds/{file}.json")

    return {
        "node": {"id": "test", "cluster": "test"},
        "dynamic_resources": {"lds_config": source("lds"), "cds_config": source("cds")},
        "admin": {"address": {"pipe": {"path": wish.admin_socket, "mode": 0o600}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": EXTENSIONS
                        + "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 1000,
                    },
                }
            ]
        },
    }


def config_source(path: str) -> dict[str, Any]:
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}


def listener(wish: Wish) -> dict[str, Any]:
    def discovered(name: str, kind: str) -> dict[str, Any]:
        source = config_source(f"{wish.directory}/xds/ecds-{name}.json")
        return {"name": name, "config_discovery": {"config_source": source, "type_urls": [kind]}}

    manager = {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gate",
        "rds": {
            "route_config_name": "main",
            "config_source": config_source(f"{wish.directory}/xds/rds-main.json"),
        },
        "http_filters": [
            discovered("test.mark", MARKER),
            discovered(names.REVOKED, REVOKED_TYPE),
            discovered("test.router", EXTENSIONS + "filters.http.router.v3.Router"),
        ],
    }
    host, port = wish.address
    return {
        "name": "main",
        "address": {"socket_address": {"address": host, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def marker(header: str, wish: Wish) -> dict[str, Any]:
    key = "" if wish.broken == "filter" else header  # a header without a name is refused
    append = {"header": {"key": key, "value": wish.mark}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    config = {"@type": MARKER, "mutations": {"response_mutations": [{"append": append}]}}
    return {"name": "test.mark", "typed_config": config}


def router() -> dict[str, Any]:
    return {
        "name": "test.router",
        "typed_config": {"@type": EXTENSIONS + "filters.http.router.v3.Router"},
    }


def routes(cluster: str, wish: Wish) -> dict[str, Any]:
    if wish.broken == "routes":
        match: dict[str, Any] = {"safe_regex": {"regex": "("}}
    else:
        match = {"prefix": "/"}
    keys = [{"header": {"key": "x-keys", "value": wish.keys}}] if wish.keys else []
    return {
        "name": "main",
        "response_headers_to_add": [{"header": {"key": "x-route", "value": wish.mark}}, *keys],
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": match, "route": {"cluster": cluster, "timeout": "60s"}}],
            }
        ],
    }


def static_cluster(name: str, address: tuple[str, int]) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": address[0], "port_value": address[1]}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }


class Trivial:
    """The compiler of these tests; `wish` says how a policy looks."""

    def compile(
        self,
        policy: Policy,
        keys: Mapping[str, str],
        place: Place,
        *,
        slots: Mapping[int, int] | None = None,
        forbidden: Page | None = None,
    ) -> Compiled:
        address = policy.listeners[0].address
        upstream = policy.upstreams[0].endpoints[0]
        marks = dict(policy.response_headers)
        wish = Wish(
            directory=place.directory,
            admin_socket=place.admin_socket,
            address=(address.host, address.port),
            upstream=(upstream.host, upstream.port),
            mark=marks.get("mark", "one"),
            broken=marks.get("broken", ""),
            keys=",".join(sorted(keys)),
        )
        return compiled(wish)

    def rekeyed(self, result: Compiled, attested_keys: str) -> Compiled:
        return result

    def deny_list(self, sessions: Iterable[str], generation: int) -> dict[str, Any]:
        """The real one: sessions are told by the header that the guard would set."""
        return deny_list(sessions, generation)

    def union(self, old: Compiled, new: Compiled) -> Compiled:
        return replace(old, clusters={**old.clusters, **new.clusters})

    def stamped(self, result: Compiled, generation: int) -> Compiled:
        """A route configuration carries its generation in an answer header of no meaning."""
        routes = copy.deepcopy(dict(result.routes))
        for content in routes.values():
            stamp = {"header": {"key": "x-generation", "value": str(generation)}}
            content["response_headers_to_add"].append(stamp)
        return replace(result, routes=routes)


def policy(port: int, upstream: int, **marks: str) -> Policy:
    """A policy with one public route to `upstream`; marks become response headers that `Trivial` reads."""
    route = Route(
        name="all",
        path=Path(kind=PathKind.PREFIX, text="/"),
        access=Public(),
        credentials=Credentials(mode=Mode.IGNORED),
        upstream="app",
    )
    return Policy(
        dialect="test",
        listeners=(
            Listener(
                name="main", address=Address(host="127.0.0.1", port=port), hosts=(Host(routes=(route,)),)
            ),
        ),
        upstreams=(Upstream(name="app", endpoints=(Endpoint(host="127.0.0.1", port=upstream),)),),
        response_headers=tuple(marks.items()),
    )


class Application:
    """An upstream in this process: `/slow` answers when `release` is set, every other path at once."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.slow_started = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Application:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.release.set()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /slow"):
                    self.slow_started.set()
                    await self.release.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


async def get(port: int, path: str = "/", session: str = "") -> Answer:
    """One request on a connection of its own; `session` as the guard would name it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        named = f"{names.SESSION}: {session}\r\n" if session else ""
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n{named}connection: close\r\n\r\n".encode())
        return await read_answer(reader)
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:]:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(status=int(head[0].split(" ")[1]), headers=headers, body=body)
