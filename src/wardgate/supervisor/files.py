"""
What stands in Envoy's configuration files, and in which order they change. Pure: nothing is written here.

One file per route configuration and per HTTP filter, one for all listeners, one for all clusters; each is the
`resources` of a DiscoveryResponse. A change is made before the old is broken: first every filter and cluster that
the old or the new routes need, then the routes, then the listeners, and last the filters and clusters of the new
configuration alone. So each request meets routes and filters that fit together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from wardgate.envoy.replies import Page
from wardgate.policy import Policy

if TYPE_CHECKING:
    from wardgate.compiler import Compiled, Place

Texts = Mapping[str, str]
"""File name -> the JSON text of its resources."""


class Compiler(Protocol):
    """What the supervisor asks of `wardgate.compiler`; a module can be one."""

    def compile(
        self,
        policy: Policy,
        keys: Mapping[str, str],
        place: Place,
        *,
        slots: Mapping[int, int] | None = None,
        forbidden: Page | None = None,
    ) -> Compiled: ...

    def rekeyed(self, compiled: Compiled, attested_keys: str) -> Compiled: ...

    def deny_list(self, sessions: Iterable[str], generation: int) -> dict[str, Any]: ...

    def union(self, old: Compiled, new: Compiled) -> Compiled: ...

    def stamped(self, compiled: Compiled, generation: int) -> Compiled: ...


class Group(StrEnum):
    """Kinds of files: what each is called, and the type of its resources."""

    LISTENERS = "lds"
    CLUSTERS = "cds"
    ROUTES = "rds"
    FILTERS = "ecds"
    SECRETS = "sds"


_TYPES: Mapping[Group, str] = {
    Group.LISTENERS: "type.googleapis.com/envoy.config.listener.v3.Listener",
    Group.CLUSTERS: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    Group.ROUTES: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    Group.FILTERS: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
    Group.SECRETS: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Files that are replaced together; the next phase waits until Envoy uses them."""

    name: str
    texts: Texts


def texts(compiled: Compiled, known: dict[int, str] | None = None) -> dict[str, str]:
    """
    Every file of a configuration. Raises ValueError for one without a listener: Envoy would stop listening.

    `known` keeps the text of each content by identity, for configurations that share contents: large route tables
    are then written out once. It is good for as long as these contents live.
    """
    if not compiled.listeners:
        raise ValueError("a configuration without listeners is never written")
    known = {} if known is None else known
    found = {
        "lds.json": _resources(Group.LISTENERS, list(compiled.listeners.values()), known),
        "cds.json": _resources(Group.CLUSTERS, list(compiled.clusters.values()), known),
    }
    for group, named in (
        (Group.ROUTES, compiled.routes),
        (Group.FILTERS, compiled.filters),
        (Group.SECRETS, compiled.secrets),
    ):
        for name, content in named.items():
            found[file_name(group, name)] = _resources(group, [content], known)
    return found


def filter_text(compiled: Compiled, name: str) -> dict[str, str]:
    """The file of one filter alone."""
    return {file_name(Group.FILTERS, name): _resources(Group.FILTERS, [compiled.filters[name]], {})}


def file_name(group: Group, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ValueError(f"no file can be called {name!r}")
    return f"{group}-{name}.json"


def group_of(file: str) -> Group:
    return Group(file.partition(".")[0].partition("-")[0])


def name_of(file: str) -> str:
    """The name of the one resource in a file; empty for files that hold many."""
    return file.removesuffix(".json").partition("-")[2]


def response(text: str, version: str) -> str:
    """The file's whole content: Envoy names `version` when it uses it."""
    return f'{{"version_info":{json.dumps(version)},"resources":{text}}}'


def phases(old: Texts, new: Texts, both: Texts, final: Texts) -> Iterator[Phase]:
    """
    The steps from one configuration to another, without empty ones.

    `old` and `new` say what differs; `both` and `final` (the new one) are what is written, with their generation.
    """
    changed = {file for file in new if old.get(file) != new[file]}
    needed = (Group.FILTERS, Group.CLUSTERS, Group.SECRETS)
    adds = {file: both.get(file, final[file]) for file in changed if group_of(file) in needed}
    steps = {
        "add": adds,
        "routes": {file: final[file] for file in changed if group_of(file) is Group.ROUTES},
        "listeners": {file: final[file] for file in changed if group_of(file) is Group.LISTENERS},
        "remove": {file: final[file] for file, text in adds.items() if final[file] != text},
    }
    for name, step in steps.items():
        if step:
            yield Phase(name=name, texts=step)


def _resources(group: Group, contents: list[dict[str, Any]], known: dict[int, str]) -> str:
    for content in contents:
        if id(content) not in known:
            known[id(content)] = json.dumps({"@type": _TYPES[group], **content}, separators=(",", ":"))
    return f"[{','.join(known[id(content)] for content in contents)}]"
