"""
HTTPRoutes and GRPCRoutes (Gateway API v1): which route serves which requests, and where they go.

Not who may: that is said by policies (`_gateway_api_security.py`, `_gateway_api_agent.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from wardgate import policy as model
from wardgate.dialects import _native_values as values
from wardgate.dialects._gateway_api_filters import Filters, of_million, read
from wardgate.dialects._gateway_api_gateways import Section
from wardgate.dialects._gateway_api_objects import CORE, GRPC, Fields, Name, Object, parent_of
from wardgate.dialects._gateway_api_world import ACCEPTED, RESOLVED, World
from wardgate.patterns import escape
from wardgate.problems import ConfigError


@dataclass(slots=True, kw_only=True, eq=False)
class RouteRule:
    """
    One rule of a route: what it is for, by precedence, and where it goes. `wrong`: why it answers 500; `lost`: why it goes on
    without a mirror.
    """

    route: Object
    name: str
    index: int
    matches: tuple[tuple[model.Path, frozenset[str], tuple[model.Match, ...]], ...]
    upstream: model.Upstream | None
    timeout: timedelta | None
    attempt_timeout: timedelta | None
    filters: Filters
    wrong: str | None
    mirrors: tuple[tuple[model.Upstream, int], ...] = ()
    lost: str | None = None
    hostnames: tuple[str, ...] = ()
    called: str = ""
    sections: list[Section] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What its routes are called: an HTTPRoute and a GRPCRoute may have one name."""
        of_grpc = "grpc:" if self.route.name.kind == GRPC else ""
        return f"{of_grpc}{self.route.name}/{self.called}"

    @property
    def title(self) -> str:
        return f"{self.route.name.kind} {self.route.name}/{self.called}"


OF_RULES: Final = ("route-parent", "backend-grant", "backend-kind", "backend-missing", "backend-tls")
"""Problems of one rule, or of one parent: the rest of the route goes on."""


def rules(world: World, route: Object, everywhere: Sequence[Section]) -> list[RouteRule]:
    """The rules of a route that is attached somewhere, each with the listeners that serve it."""
    spec = route.spec
    parents = _attached(world, route, spec, everywhere)
    attached = list(dict.fromkeys(section for found in parents.values() for section in found))
    hostnames = spec.texts("hostnames")
    found = [_rule(world, route, index, fields) for index, fields in enumerate(spec.many("rules"))]
    spec.finish()
    wrong = route.said(*OF_RULES)
    names = [rule.name for rule in found]
    for rule in found:
        # a name that could be another rule's, or its number, is none
        own = rule.name and not rule.name.isdigit() and names.count(rule.name) == 1
        rule.called = rule.name if own else str(rule.index)
        rule.hostnames = hostnames
        rule.sections = [section for section in attached if hosts(section, hostnames)]
        rule.wrong = rule.wrong or wrong or None
    for parent, of_parent in parents.items():
        if not any(hosts(section, hostnames) for section in of_parent):
            message = "No hostname of the route is one of the listener's."
            route.say(ACCEPTED, False, "NoMatchingListenerHostname", message, parent)
        elif wrong:
            route.say(ACCEPTED, False, "UnsupportedValue", wrong, parent)
        else:
            route.say(ACCEPTED, True, "Accepted", "Route is accepted", parent)
        _say_resolved(route, found, parent)
    return found if attached else []


def _say_resolved(route: Object, found: Sequence[RouteRule], parent: str) -> None:
    missing = [
        rule.wrong for rule in found if rule.wrong and rule.upstream is None and rule.filters.redirect is None
    ]
    missing += [rule.lost for rule in found if rule.lost]
    reason = "RefNotPermitted" if any("not permitted" in one for one in missing) else "BackendNotFound"
    if missing:
        route.say(RESOLVED, False, reason, "; ".join(missing), parent)
    else:
        route.say(RESOLVED, True, "ResolvedRefs", "Resolved all the Object references for the Route", parent)


def _attached(
    world: World, route: Object, spec: Fields, everywhere: Sequence[Section]
) -> dict[str, list[Section]]:
    """By parent, those that can be attached to."""
    attached: dict[str, list[Section]] = {}
    for fields in spec.many("parentRefs"):
        fields.text("group")
        fields.text("kind")
        name = fields.text("name", "") or ""
        namespace = fields.text("namespace", route.name.namespace)
        section, port = fields.text("sectionName"), fields.number("port")
        parent = parent_of(fields.data, route.name.namespace)
        of_gateway = [one for one in everywhere if str(one.gateway.name) == f"{namespace}/{name}"]
        if not of_gateway and world.controller is not None:
            continue  # another controller's, or not there yet
        if not of_gateway:
            fields.complain("route-parent", "names no Gateway that is here", "name", got=name)
            continue
        fitting = [
            one
            for one in of_gateway
            if section in (None, one.name) and port in (None, one.port) and one.usable
        ]
        if not fitting:
            route.say(
                ACCEPTED,
                False,
                "NoMatchingParent",
                "No listener of the Gateway has this name or port.",
                parent,
            )
        allowed = [one for one in fitting if one.takes(route.name.namespace)]
        if fitting and not allowed:
            message = "Namespace is not allowed by the listener."
            route.say(ACCEPTED, False, "NotAllowedByListeners", message, parent)
        if allowed:
            attached[parent] = allowed
    return attached


def hosts(section: Section, hostnames: Sequence[str]) -> list[str]:
    """The host names that a route has on a listener: what both allow (Gateway API, HTTPRouteSpec.hostnames)."""
    own = section.hostname
    if not hostnames:
        return [own or "*"]
    if own is None:
        return list(hostnames)
    found = []
    for name in hostnames:
        if name == own or _covers(own, name):
            found.append(name)
        elif _covers(name, own):
            found.append(own)
    return found


def _covers(pattern: str, name: str) -> bool:
    return pattern.startswith("*.") and name.endswith(pattern[1:]) and name != pattern[1:]


def _rule(world: World, route: Object, index: int, fields: Fields) -> RouteRule:
    read_match = _grpc_match if route.name.kind == GRPC else _match
    matches = [read_match(each) for each in fields.many("matches")] or [_EVERYTHING]
    filters = read(fields)
    if filters.replaces_prefix and any(one and one[0].kind is model.PathKind.MATCHES for one in matches):
        hint = "ReplaceFullPath, or a match of type PathPrefix"
        message = "replace a prefix, which a RegularExpression has not"
        fields.complain("route-filter", message, "filters", hint=hint, fatal=True)
    upstream, wrong = None, None
    if filters.redirect is None:
        upstream, wrong = _upstream(world, route, fields, index)
    mirrors = [_mirror(world, route, f"{index}.mirror-{n}", each) for n, each in enumerate(filters.mirrors)]
    timeouts = fields.one("timeouts")
    timeout, attempt = (
        (duration(timeouts, each) if timeouts else None) for each in ("request", "backendRequest")
    )
    return RouteRule(
        route=route,
        name=fields.text("name", "") or "",
        index=index,
        matches=tuple(each for each in matches if each is not None),
        upstream=upstream,
        timeout=timeout,
        attempt_timeout=attempt,
        filters=filters,
        wrong=wrong,
        mirrors=tuple(each for each, _ in mirrors if each is not None and upstream is not None),
        lost=next((why for _, why in mirrors if why is not None), None),
    )


def _mirror(
    world: World, route: Object, name: str, fields: Fields
) -> tuple[tuple[model.Upstream, int] | None, str | None]:
    """Or why there is none: the requests themselves go on without (Gateway API, HTTPRequestMirrorFilter)."""
    named, parts = fields.one("backendRef"), of_million(fields)
    if named is None:
        fields.complain("route-filter", "names no backend", "backendRef")
        return None, None
    found, why = backend(world, route, named)
    if found is None:
        return None, why
    upstream = model.Upstream(
        name=_upstream_name(route, name),
        endpoints=found.endpoints,
        protocol=_protocol(world, route, [named]),
        tls=found.tls,
        where=route.where(*fields.path),
    )
    return (upstream, parts), None


def _upstream_name(route: Object, name: str) -> str:
    of_grpc = "grpc:" if route.name.kind == GRPC else ""
    return f"{of_grpc}{route.name.namespace}.{route.name.name}.{name}"


_EVERYTHING: Final = (model.Path(kind=model.PathKind.PREFIX, text="/"), model.ANY_METHOD, ())

_KINDS: Final = {
    "PathPrefix": model.PathKind.PREFIX,
    "Exact": model.PathKind.EXACT,
    "RegularExpression": model.PathKind.MATCHES,
}


Match = tuple[model.Path, frozenset[str], tuple[model.Match, ...]]


def _grpc_match(fields: Fields) -> Match | None:
    """A method of a service is a path (GRPCRouteMatch; gRPC over HTTP/2, Requests)."""
    method, headers = fields.one("method"), [header_match(each) for each in fields.many("headers")]
    kind = (method.text("type", "Exact") if method else "Exact") or "Exact"
    service, name = (method.text("service") or "", method.text("method") or "") if method else ("", "")
    if method and kind not in ("Exact", "RegularExpression"):
        hint = "Exact or RegularExpression: which requests the route is for could not be told"
        method.complain("manifest-unsupported", "is not enforced here", got=kind, hint=hint, fatal=True)
        return None
    if None in headers:
        return None
    form, text = _of_method(service, name, kind == "Exact")
    try:
        path = model.Path(kind=form, text=text, where=fields.owner.where(*fields.path))
    except ConfigError as error:
        got = service or name
        fields.complain("route-path", error.problems[0].message, "method", got=got, fatal=True)
        return None
    return path, model.ANY_METHOD, tuple(one for one in headers if one is not None)


def _of_method(service: str, name: str, exact: bool) -> tuple[model.PathKind, str]:
    """The paths of a service, of a method, or of both; as texts or as patterns."""
    if exact and (service or not name):
        return (
            (model.PathKind.EXACT, f"/{service}/{name}") if name else (model.PathKind.PREFIX, f"/{service}")
        )
    if exact:
        name = escape(name)
    return model.PathKind.MATCHES, f"/(?:{service or '[^/]+'})/(?:{name or '[^/]+'})"


def _match(fields: Fields) -> Match | None:
    path = fields.one("path")
    kind = (path.text("type", "PathPrefix") if path else "PathPrefix") or "PathPrefix"
    text = (path.text("value", "/") if path else "/") or "/"
    if kind not in _KINDS:
        hint = "PathPrefix, Exact or RegularExpression: which requests the route is for could not be told"
        fields.complain(
            "manifest-unsupported", "is not enforced here", "path", "type", got=kind, hint=hint, fatal=True
        )
        return None
    if kind == "PathPrefix" and text != "/":
        text = text.rstrip("/") or "/"
    method = fields.text("method")
    try:
        found = model.Path(kind=_KINDS[kind], text=text, where=fields.owner.where(*fields.path))
    except ConfigError as error:
        fields.complain("route-path", error.problems[0].message, "path", "value", got=text, fatal=True)
        return None
    headers = [header_match(each) for each in fields.many("headers")]
    query = [_query_match(each) for each in fields.many("queryParams")]
    if None in headers or None in query:
        return None
    matches = tuple(one for one in (*headers, *query) if one is not None)
    return found, frozenset({method}) if method else model.ANY_METHOD, matches


HOWS: Final = {
    "Exact": model.How.EXACT,
    "RegularExpression": model.How.MATCHES,
    "Prefix": model.How.PREFIX,
    "Suffix": model.How.SUFFIX,
}


def header_match(
    fields: Fields, hows: Collection[str] = ("Exact", "RegularExpression"), *, chooses: bool = True
) -> model.HeaderIs | None:
    """
    None for one that cannot be read. `chooses`: it says which requests a route is for, and without it that could not be told.
    """
    kind = fields.text("type", "Exact") or "Exact"
    name, value = fields.text("name", "") or "", fields.text("value", "") or ""
    if kind not in hows:
        message, hint = "is not enforced here", f"one of {', '.join(hows)}"
        fields.complain("manifest-unsupported", message, "type", got=kind, hint=hint, fatal=chooses)
        return None
    try:
        return model.HeaderIs(name, value, HOWS[kind])
    except ConfigError as error:
        fields.complain("route-match", error.problems[0].message, "value", got=value, fatal=chooses)
        return None


def _query_match(fields: Fields) -> model.QueryIs | None:
    kind = fields.text("type", "Exact")
    name, value = fields.text("name", "") or "", fields.text("value", "") or ""
    if kind not in ("Exact", "RegularExpression"):
        hint = "Exact or RegularExpression: which requests the route is for could not be told"
        fields.complain(
            "manifest-unsupported", "is not enforced here", "type", got=kind, hint=hint, fatal=True
        )
        return None
    try:
        return model.QueryIs(name, value, HOWS[kind])
    except ConfigError as error:
        fields.complain("route-match", error.problems[0].message, "value", got=value, fatal=True)
        return None


def _upstream(
    world: World, route: Object, fields: Fields, index: int
) -> tuple[model.Upstream | None, str | None]:
    backends = fields.many("backendRefs")
    shares = [_weight(backend) for backend in backends]
    if not backends:
        return None, "the rule names no backend"
    used: list[tuple[Backend, int]] = []
    wrong = None
    for named, share in zip(backends, shares, strict=True):
        found, why = backend(world, route, named)
        if share:
            wrong = wrong or why
        if share and found is not None:
            used.append((found, share))
    if wrong or not used:
        return None, wrong or "no backend has a weight"
    ways = {found.tls for found, _ in used}
    if len(ways) > 1:
        hint = "one rule for those of each BackendTLSPolicy"
        backends[0].complain("backend-tls", "is spoken to in another way than the others", hint=hint)
        return None, "backends of one rule are spoken to in several ways"
    upstream = model.Upstream(
        name=_upstream_name(route, str(index)),
        endpoints=tuple(_weighed(used)),
        protocol=_protocol(world, route, backends),
        tls=ways.pop(),
        where=route.where(*fields.path),
    )
    return upstream, None


PARTS: Final = 1000
"""Of a share, where Services have several addresses."""

MOST_WEIGHT: Final = 2**30
"""Of all together; Envoy adds them up in 32 bits."""


def _weighed(used: Sequence[tuple[Backend, int]]) -> Iterator[model.Endpoint]:
    """Every address, so that those of one Service have its share together."""
    whole = PARTS if any(len(found.endpoints) > 1 for found, _ in used) and len(used) > 1 else 1
    whole = min(whole, MOST_WEIGHT // sum(share for _, share in used)) or 1
    for found, share in used:
        weight = max(1, round(share * whole / len(found.endpoints))) if whole > 1 else share
        yield from (replace(endpoint, weight=weight) for endpoint in found.endpoints)


H2C: Final = "kubernetes.io/h2c"


def _protocol(world: World, route: Object, backends: Sequence[Fields]) -> model.UpstreamProtocol:
    """HTTP/2 for gRPC, and where the Services say so of their ports (KEP-3726); one rule's backends speak one of the two."""
    if route.name.kind == GRPC:
        return model.UpstreamProtocol.HTTP2
    said = set()
    for named in backends:
        namespace = named.text("namespace", route.name.namespace) or route.name.namespace
        found = world.find(Name(CORE, "Service", namespace, named.text("name", "") or ""))
        ports = found.spec.many("ports") if found else []
        number = named.number("port")
        said.add(any(one.number("port") == number and one.text("appProtocol") == H2C for one in ports))
    if len(said) > 1:
        hint = "one rule for those of each protocol"
        backends[0].complain("backend-protocol", "speaks another protocol than the others", hint=hint)
    return model.UpstreamProtocol.HTTP2 if said == {True} else model.UpstreamProtocol.HTTP1


def _weight(named: Fields) -> int:
    """From 0 to 1 000 000 (Gateway API, BackendRef)."""
    found = named.number("weight")
    if found is not None and not 0 <= found <= 1_000_000:
        named.complain("backend-weight", "is no weight", "weight", got=found, hint="from 0 to 1000000")
        return 0
    return 1 if found is None else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A port of a Service, where it is, and how it is spoken to (`tls` None: in the clear)."""

    service: Name
    port: int
    endpoints: tuple[model.Endpoint, ...]
    tls: model.ClientTls | None

    def url(self, path: str) -> str:
        """Of a path at its first address."""
        place, scheme = self.endpoints[0], "http" if self.tls is None else "https"
        host = f"[{place.host}]" if ":" in place.host else place.host
        return f"{scheme}://{host}:{place.port}/{path.removeprefix('/')}"


def backend(
    world: World, owner: Object, fields: Fields, granted: bool = False, called: str = ""
) -> tuple[Backend | None, str | None]:
    """
    What a reference names, or why it cannot be used. `granted`: no ReferenceGrant is asked for. `called`: what the product says
    before that a Service is missing.
    """
    service, port, why = _service(world, owner, fields, granted, called)
    if service is None or why is not None:
        return None, why
    tls, why = world.tls_of(owner, service, port)
    if why is not None:
        fields.complain("backend-tls", f"is not spoken to: {why}", "name", got=str(service))
        return None, why
    endpoints = tuple(model.Endpoint(host=host, port=number) for host, number in world.places(service, port))
    if not endpoints:
        hint = "an EndpointSlice with an address that is ready, for a port of this name"
        fields.complain("backend-missing", "has no address", "name", got=str(service), hint=hint)
        return None, f"service {service} has no address."
    return Backend(service=service, port=port, endpoints=endpoints, tls=tls), None


def _service(
    world: World, owner: Object, fields: Fields, granted: bool, called: str
) -> tuple[Name | None, int, str | None]:
    group, kind = fields.text("group", CORE) or CORE, fields.text("kind", "Service")
    name = fields.text("name", "") or ""
    namespace = fields.text("namespace", owner.name.namespace) or owner.name.namespace
    port = fields.number("port") or 0
    if (group, kind) != (CORE, "Service"):
        fields.complain("backend-kind", "is no Service", "kind", got=kind)
        return None, port, f"{kind} {namespace}/{name} is no Service"
    service = Name(CORE, "Service", namespace, name)
    if not granted and not world.permitted(owner.name, service):
        hint = "a ReferenceGrant in the Service's namespace allows it"
        fields.complain(
            "backend-grant",
            "is in another namespace, and nothing grants it",
            "name",
            got=str(service),
            hint=hint,
        )
        return None, port, f"Backend ref to Service {service} not permitted by any ReferenceGrant."
    known = f"{service}:{port}" in world.resolve
    if world.find(service) is None and not known:
        hint = f"add the Service, or say where it is: --resolve {service}:{port}=HOST:PORT"
        fields.complain(
            "backend-missing",
            f"{called}service {service} not found." if called else "names no Service that is here",
            "name",
            got=str(service),
            hint=hint,
        )
        return None, port, f"service {service} not found."
    if not port:
        fields.complain("backend-missing", "names no port", "port")
        return None, port, f"no port of service {service} is named."
    return service, port, None


def duration(fields: Fields, key: str) -> timedelta | None:
    """GEP-2257: `1h30m`, `10s`, `500ms`; None when there is none, and for 0, which is no limit."""
    text = fields.text(key)
    if text is None:
        return None
    if not re.fullmatch(r"(?:[0-9]{1,5}(?:h|ms|m|s)){1,4}", text):
        fields.complain("manifest-duration", "is no duration", key, got=text, hint="such as 10s or 1m30s")
        return None
    return values.duration(text) or None
