"""
Many compiled policies in one Envoy, each with listeners of its own: restarting it for each would take all day.

What would come to a listener by files of its own (filters, routes) is put into it: each file costs Envoy an inotify
instance, of which a user has 128. The upstream is a listener of the same Envoy that answers with the headers that
reached it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from tests.differential.running_envoy import RunningEnvoy
from tests.differential.service import Service
from tests.parts.loopback import free_port
from wardgate import compiler
from wardgate.envoy import bootstrap as envoy_bootstrap
from wardgate.envoy import names
from wardgate.policy import Address, Endpoint, Limits, Policy
from wardgate.supervisor.files import response
from wardgate.verify import KeySet

EXTENSIONS = "type.googleapis.com/envoy.extensions.filters."
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ECHO = """
function envoy_on_request(handle)
  local lines = {}
  for name, value in pairs(handle:headers()) do lines[#lines + 1] = name .. ": " .. value end
  handle:respond({ [":status"] = "200", ["x-echo"] = "yes" }, table.concat(lines, "\\n"))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforced:
    """A policy in force: the port of each of its listeners by the listener's name in the policy."""

    ports: Mapping[str, int]


class Refused(AssertionError):
    """Envoy did not take what was compiled."""


class PortTaken(Exception):
    """Somebody else took a port between our look and Envoy's."""


class Fleet:
    """`with Fleet(directory) as fleet:`; `put` replaces everything that is in force."""

    def __init__(self, directory: Path, compile_with: ModuleType = compiler) -> None:
        self._directory = directory
        self._compiler = compile_with
        self._version = 0
        self.service = Service(directory)
        self._envoy = RunningEnvoy(directory, self._bootstrap())

    def __enter__(self) -> Self:
        self._write("cds.json", "[]")
        self._write("lds.json", "[]")
        self.service.__enter__()
        self._envoy.__enter__()
        self._echo_port = self._envoy.ports()["echo"]
        return self

    def __exit__(self, *_: object) -> None:
        self._envoy.__exit__()
        self.service.__exit__()

    def put(self, policies: Sequence[tuple[Policy, Mapping[str, KeySet]]]) -> list[Enforced]:
        """Put these policies in force, with the keys that are there for each; returns where they listen."""
        for _ in range(5):
            with contextlib.suppress(PortTaken):
                return self._put(policies)
        raise Refused("no free ports")

    def _put(self, policies: Sequence[tuple[Policy, Mapping[str, KeySet]]]) -> list[Enforced]:
        self._version += 1
        refusals = self._refusals()
        listeners: list[Any] = []
        clusters: dict[str, Any] = {}
        # not port 0: Envoy gives every such listener the socket of one that is just being removed
        ports = _free_ports([policy for policy, _ in policies])
        for index, (policy, keys) in enumerate(policies):
            compiled = self._compiled(policy, keys, index, ports[index])
            listeners += [_inlined(listener, compiled) for listener in compiled.listeners.values()]
            clusters |= compiled.clusters
        self._write("cds.json", _resources(CLUSTER, clusters.values()))
        self._wait("cluster_manager.cds.version_text", refusals)
        self._write("lds.json", _resources(LISTENER, listeners))
        self._wait("listener_manager.lds.version_text", refusals)
        self._wait_until(
            lambda: (
                self._numbers("listener_manager.total_listeners").get(
                    "listener_manager.total_listeners_warming"
                )
                == 0
            ),
            refusals,
        )
        return [Enforced(ports=each) for each in ports]

    def log_lines(self, requests: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The access log lines of these request ids; Envoy writes them a moment after the answers."""
        found: dict[str, dict[str, Any]] = {}
        missing = set(requests)

        def complete() -> bool:
            while self._envoy.lines:
                line = json.loads(self._envoy.lines.popleft())
                found[line["request_id"]] = line
                missing.discard(line["request_id"])
            return not missing

        self._envoy.wait(complete, "requests are missing in the access log")
        return found

    def _compiled(
        self, policy: Policy, keys: Mapping[str, KeySet], index: int, ports: Mapping[str, int]
    ) -> compiler.Compiled:
        place = compiler.Place(
            directory="",
            admin_socket="",
            service_socket=self.service.public_socket,
            control_socket=self.service.control_socket,
        )
        ready = replace(
            policy,
            access_log=True,
            listeners=tuple(
                replace(
                    listener,
                    name=f"p{self._version}-{index}-{listener.name}",
                    address=Address(host="127.0.0.1", port=ports[listener.name]),
                )
                for listener in policy.listeners
            ),
            upstreams=tuple(
                replace(upstream, endpoints=(Endpoint(host="127.0.0.1", port=self._echo_port),))
                for upstream in policy.upstreams
            ),
        )
        jwks = {name: found.as_json() for name, found in keys.items()}
        compiled: compiler.Compiled = self._compiler.compile(
            ready, jwks, place, attested_keys=self.service.attested_keys
        )
        return compiled

    def _write(self, file: str, resources: str) -> None:
        path = self._directory / file
        written = path.with_name(f".{path.name}.new")
        written.write_text(response(resources, str(self._version)), encoding="utf-8")
        written.replace(path)

    def _wait(self, version: str, refusals: int) -> None:
        wanted = f'{version}: "{self._version}"'
        self._wait_until(lambda: wanted in self._envoy.get(f"/stats?filter={version}"), refusals)

    def _wait_until(self, done: Callable[[], bool], refusals: int) -> None:
        def settled() -> bool:
            if self._refusals() != refusals:
                said = self._envoy.messages()
                raise (
                    PortTaken
                    if f"'p{self._version}-" in said and "Address already in use" in said
                    else Refused(said)
                )
            return done()

        self._envoy.wait(settled, "the configuration is not in force")
        settled()

    def _refusals(self) -> int:
        return sum(self._numbers(r"(update_rejected|config_fail|config_conflict|update_failure)$").values())

    def _numbers(self, pattern: str) -> dict[str, int]:
        lines = self._envoy.get(f"/stats?filter={pattern}").splitlines()
        found = (re.fullmatch(r"(.*): (\d+)", line) for line in lines)
        return {match[1]: int(match[2]) for match in found if match}

    def _bootstrap(self) -> dict[str, Any]:
        base = envoy_bootstrap.bootstrap(
            lds=str(self._directory / "lds.json"),
            cds=str(self._directory / "cds.json"),
            admin_socket="",
            limits=Limits(),
        )
        return {**base, "static_resources": {"listeners": [_echo_listener()]}}


def _free_ports(policies: Iterable[Policy]) -> list[dict[str, int]]:
    """A port for each listener of each policy, no two the same."""
    taken: set[int] = set()

    def another() -> int:
        while (port := free_port()) in taken:
            pass
        taken.add(port)
        return port

    return [{listener.name: another() for listener in policy.listeners} for policy in policies]


def _resources(kind: str, contents: Iterable[dict[str, Any]]) -> str:
    return json.dumps([{"@type": kind, **content} for content in contents])


def _inlined(listener: dict[str, Any], compiled: compiler.Compiled) -> dict[str, Any]:
    """The listener with its filters and routes inside."""
    changed: dict[str, Any] = copy.deepcopy(listener)
    filters = {names.REVOKED: compiler.deny_list((), 0), **compiled.filters}
    changed["enable_reuse_port"] = False  # a port that is taken is then an error, not shared
    for chain in changed["filter_chains"]:
        manager = chain["filters"][0]["typed_config"]
        routes = dict(compiled.routes[manager.pop("rds")["route_config_name"]])
        routes.pop("@type")
        manager["route_config"] = routes
        for entry in manager["http_filters"]:
            if entry.pop("config_discovery", None):
                entry["typed_config"] = filters[entry["name"]]["typed_config"]
    return changed


def _echo_listener() -> dict[str, Any]:
    manager = {
        "@type": EXTENSIONS + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "echo",
        "upgrade_configs": [{"upgrade_type": "websocket", "enabled": True}],
        "http_filters": [
            {
                "name": "echo",
                "typed_config": {
                    "@type": EXTENSIONS + "http.lua.v3.Lua",
                    "default_source_code": {"inline_string": ECHO},
                },
            },
            {"name": "router", "typed_config": {"@type": EXTENSIONS + "http.router.v3.Router"}},
        ],
        "route_config": {"virtual_hosts": []},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": "echo", "address": address, "filter_chains": [chain]}
