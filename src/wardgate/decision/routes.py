"""
Which host and which route a request is for, by the semantics in the docstrings of `policy.Host` and `policy.PathKind`.

Not who may: access and credentials are judged in `wardgate.decision`. Linear in the number of routes, on purpose:
this is the plain reading that Envoy's matcher trees are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from wardgate import patterns
from wardgate.decision.browser import scheme
from wardgate.decision.conditions import compares
from wardgate.decision.model import Request
from wardgate.policy import (
    HeaderIs,
    Host,
    Listener,
    Match,
    NewPath,
    Path,
    PathKind,
    Public,
    QueryIs,
    Redirect,
    Route,
)

_RANK: Final = {
    PathKind.EXACT: (2, 0),
    PathKind.MATCHES: (1, 0),
    PathKind.UNDER: (0, 2),
    PathKind.PREFIX: (0, 1),
    PathKind.TEXT: (0, 0),
}
"""The higher wins; of one first number the longer text, then the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The routes of one path: they are told apart by method only."""

    path: Path
    routes: tuple[Route, ...]

    @property
    def specificity(self) -> tuple[int, int, int]:
        first, last = _RANK[self.path.kind]
        return first, len(self.path.text), last

    @property
    def protects(self) -> bool:
        return any(not isinstance(route.access, Public) for route in self.routes)

    def matches(self, path: str) -> bool:
        return path_matches(self.path.kind, self.path.text, path) or self._with_slash(self.path.text, path)

    def matches_but_for_case(self, path: str) -> bool:
        """Whether only letter case keeps the path from this group."""
        if self.path.kind is PathKind.MATCHES:
            return patterns.matches(f"(?i:{self.path.text})", path) and not self.matches(path)
        text, folded = self.path.text.lower(), path.lower()
        alike = path_matches(self.path.kind, text, folded) or self._with_slash(text, folded)
        return alike and not self.matches(path)

    def route_for(self, request: Request) -> Route | None:
        return next((route for route in self.routes if _is_for(route, request)), None)

    def _with_slash(self, text: str, path: str) -> bool:
        return self.path.kind is PathKind.EXACT and self.protects and path == text + "/"


def _is_for(route: Route, request: Request) -> bool:
    return route.allows_method(request.method) and all(_holds(match, request) for match in route.matches)


def _holds(match: Match, request: Request) -> bool:
    match match:
        case HeaderIs(name, value, how):
            found = request.value(name)
            return found is not None and compares(found, how, value)
        case QueryIs(name, value, how):
            written = request.target.partition("?")[2].split("&") if "?" in request.target else []
            values = [one.removeprefix(f"{name}=") for one in written if one.startswith(f"{name}=")]
            values += [""] if name in written else []
            return any(compares(one, how, value) for one in values)
        case _:
            assert_never(match)


def path_matches(kind: PathKind, text: str, path: str) -> bool:
    """Whether `path` (normalized, without query) is one of those that `kind` and `text` mean."""
    below = text.rstrip("/") + "/"
    match kind:
        case PathKind.EXACT:
            return path == text
        case PathKind.PREFIX:
            return path == text or path.startswith(below)
        case PathKind.UNDER:
            return path.startswith(below)
        case PathKind.TEXT:
            return path.startswith(text)
        case PathKind.MATCHES:
            return patterns.matches(text, path)
        case _:
            assert_never(kind)


def groups(host: Host) -> tuple[Group, ...]:
    """The routes of a host by path, most specific first."""
    by_path: dict[tuple[PathKind, str], list[Route]] = {}
    for route in host.routes:
        by_path.setdefault((route.path.kind, route.path.text), []).append(route)
    found = [Group(path=routes[0].path, routes=tuple(routes)) for routes in by_path.values()]
    return tuple(sorted(found, key=lambda group: group.specificity, reverse=True))


def redirected(to: Redirect, request: Request, target: str) -> str:
    """Where a route sends the request: what the redirect does not say stays, the port of the host, too."""
    path, mark, query = target.partition("?")
    if to.path is not None:
        path = _replaced(to.path, path)
    host = to.host or (without_port(request.host) if to.port is not None else request.host)
    port = f":{to.port}" if to.port is not None else ""
    return f"{to.scheme or scheme(request)}://{host}{port}{path}{mark}{query}"


def _replaced(new: NewPath, path: str) -> str:
    if new.prefix is None:
        return new.text
    rest = path.removeprefix(new.prefix.rstrip("/"))
    if not new.text.rstrip("/"):
        return "/" + rest.removeprefix("/")
    return new.text.rstrip("/") + rest


def host_for(listener: Listener, name: str) -> Host | None:
    """
    The host of a request's `Host`: exact, then the longest `*.suffix`, then `*`; letter case and port aside.

    As in Envoy, `*.example.com` is for names at any depth below, and not for `example.com`.
    """
    bare = without_port(name).lower()
    best: tuple[int, Host] | None = None
    for host in listener.hosts:
        for pattern in host.names:
            rank = _host_rank(pattern.lower(), bare)
            if rank and (best is None or rank > best[0]):
                best = rank, host
    return best[1] if best else None


def _host_rank(pattern: str, name: str) -> int:
    """0 for no match, else the higher the more specific."""
    if pattern == name:
        return 1_000_000
    if pattern == "*":
        return 1
    if pattern.startswith("*.") and name.endswith(pattern[1:]) and len(name) > len(pattern) - 1:
        return len(pattern)
    return 0


def without_port(host: str) -> str:
    """A `Host` value without what follows its last colon, unless that is inside an IPv6 address."""
    colon = host.rfind(":")
    return host[:colon] if colon > host.rfind("]") else host
