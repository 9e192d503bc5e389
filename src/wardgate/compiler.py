"""
Policy -> Envoy configuration. Pure: keys and places come in as arguments, nothing is read or written.

This file knows order: which filter settings a route carries, which condition is asked first, which key stands
before which. Shapes are in `wardgate.envoy`, the same questions answered in plain Python in `wardgate.decision`;
a differential test holds the two against each other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Final, assert_never

from wardgate.authn import attested, jwt
from wardgate.envoy import (
    CONFIG,
    DISABLED,
    EXTENSIONS,
    Json,
    claims,
    forward_auth,
    gates,
    grants,
    headers,
    matching,
    names,
    rbac,
    replies,
    resolve,
    role_mapping,
    routes,
    typed,
)
from wardgate.envoy import bootstrap as envoy_bootstrap
from wardgate.envoy import cluster as envoy_cluster
from wardgate.envoy import listener as envoy_listener
from wardgate.policy import (
    AGENTS,
    ALIASES,
    ANY_METHOD,
    CONSOLE,
    MOST_BODY,
    STANDARD_METHODS,
    Audiences,
    Authenticated,
    Broken,
    Cors,
    Credentials,
    Denied,
    Errors,
    ForwardAuth,
    Host,
    Introspection,
    Kind,
    Listener,
    Mode,
    Path,
    PathKind,
    Policy,
    Provider,
    Public,
    Route,
    Rule,
    Session,
    Upstream,
)
from wardgate.problems import ConfigError, Problem

CODES: Final[Mapping[str, str]] = {
    "body-limits": "The routes have more different body limits than can be enforced at once: use one limit for several.",
}
"""What cannot be compiled though it can be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a running gateway keeps its files and sockets; absolute paths."""

    directory: str
    admin_socket: str
    service_socket: str
    control_socket: str
    concurrency: int | None = None
    system_ca: str = envoy_cluster.SYSTEM_CAS[0]

    def xds(self, name: str) -> str:
        return f"{self.directory}/xds/{name}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """
    What Envoy is given. `slots`: body limit in bytes to the number of its filter; it is handed to the next
    compilation, so that a limit keeps its filter while routes still name it.
    """

    bootstrap: Json
    listeners: Mapping[str, Json]
    clusters: Mapping[str, Json]
    routes: Mapping[str, Json]
    filters: Mapping[str, Json]
    secrets: Mapping[str, Json] = field(default_factory=dict)
    slots: Mapping[int, int] = field(default_factory=dict)


def compile(
    policy: Policy,
    keys: Mapping[str, str],
    place: Place,
    *,
    slots: Mapping[int, int] | None = None,
    attested_keys: str | None = None,
    forbidden: replies.Page | None = None,
) -> Compiled:
    """
    `keys`: provider name to JWKS text, already cleaned (`verify.keys`); a provider that has none yet is absent.
    `attested_keys`: JWKS text of the service's own keys; None: it has not said any yet, and nothing is attested.
    `forbidden`: the page for people who may not do something; None: a plain one.

    Raises ConfigError when the policy asks for more different body limits than there are slots.
    """
    compiler = _Compiler(policy, keys, place, slots or {}, attested_keys, forbidden)
    return compiler.compiled()


def stamped(compiled: Compiled, generation: int) -> Compiled:
    """
    The same with a generation inside every filter's content that can be refused.

    Envoy counts a refused content that is sent again as accepted, though the old filter still runs (1.40).
    """
    filters = dict(compiled.filters)
    filters[names.JWT] = _merged_jwt(_jwt_filter([], {}, {}, None, generation), filters[names.JWT])
    return replace(compiled, filters=filters)


def union(old: Compiled, new: Compiled) -> Compiled:
    """
    Both at once, with the routes and listeners of `old`: what is in force while the routes change over.

    Every provider, requirement, cluster and body limit that either side names is there.
    """
    filters = {**old.filters, **new.filters}
    filters[names.JWT] = _merged_jwt(old.filters[names.JWT], new.filters[names.JWT])
    for size, index in old.slots.items():
        if index not in new.slots.values():
            filters[names.body_slot(index)] = _body_filter(index, size)
    clusters = {**old.clusters, **new.clusters}
    return replace(old, filters=filters, clusters=clusters, slots={**old.slots, **new.slots})


def rekeyed(compiled: Compiled, attested_keys: str) -> Compiled:
    """The same with other keys for attested tokens; nothing else depends on them."""
    jwt_filter = compiled.filters[names.JWT]
    config = attested.rekeyed(jwt_filter["typed_config"], attested_keys)
    return replace(compiled, filters={**compiled.filters, names.JWT: {**jwt_filter, "typed_config": config}})


def deny_list(sessions: Iterable[str], generation: int) -> Json:
    """The filter that refuses sessions by name, as the ECDS resource that carries it. It depends on no policy."""
    return _named(names.REVOKED, rbac.revoked(sessions, generation))


def _merged_jwt(one: Json, other: Json) -> Json:
    config: Json = dict(one["typed_config"])
    for block in ("providers", "requirement_map"):
        config[block] = {**one["typed_config"][block], **other["typed_config"][block]}
    return {**one, "typed_config": config}


def _named(name: str, config: Json) -> Json:
    """A filter as the ECDS resource that carries it."""
    return typed(CONFIG + "core.v3.TypedExtensionConfig", name=name, typed_config=config)


def _jwt_filter(
    wanted: Iterable[jwt.Want],
    providers: Mapping[str, Provider],
    keys: Mapping[str, str],
    attested_keys: str | None,
    generation: int = 0,
) -> Json:
    return _named(names.JWT, jwt.filter_config(wanted, providers, keys, attested_keys, generation))


def _body_filter(index: int, size: int) -> Json:
    kind = EXTENSIONS + "filters.http.body_size_limit.v3.BodySizeLimit"
    return _named(names.body_slot(index), typed(kind, max_request_bytes=size))


@dataclass(frozen=True, slots=True)
class _Group:
    """All routes of one path, in order."""

    path: Path
    routes: tuple[Route, ...]

    @property
    def protecting(self) -> bool:
        return any(not isinstance(route.access, Public) for route in self.routes)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Smaller is more specific: by kind, then longer text first (`policy.Host`)."""
        first, last = _KIND_ORDER[self.path.kind]
        return first, -len(self.path.text), last


_KIND_ORDER = {
    PathKind.EXACT: (0, 0),
    PathKind.MATCHES: (1, 0),
    PathKind.UNDER: (2, 0),
    PathKind.PREFIX: (2, 1),
    PathKind.TEXT: (2, 2),
}


class _Compiler:
    """One compilation: look-ups that every route needs, and the credentials that routes were found to want."""

    def __init__(
        self,
        policy: Policy,
        keys: Mapping[str, str],
        place: Place,
        slots: Mapping[int, int],
        attested_keys: str | None,
        forbidden: replies.Page | None,
    ) -> None:
        self.policy = policy
        self.deciding = False
        self.spends = any(route.require_grant for _, _, route in policy.routes())
        identity = {header.name for _, _, route in policy.routes() for header in route.identity}
        identity |= {name for _, _, route in policy.routes() for name in route.told()}
        asked = any(listener.forward_auth is not None for listener in policy.listeners)
        self.strip = headers.strip(identity, asked=asked)
        # by the host's identity: every route of a host asks, and a host may have thousands
        again = [(id(host), route) for _, host, route in policy.routes() if route.chosen_again is not None]
        self.choosing_hosts = {host for host, _ in again}
        self.with_payload = {(host, route.chosen_again) for host, route in again if _needs_payload(route)}
        self.forbidden = forbidden
        self.attested_keys = attested_keys
        self.login_providers = {provider.name for provider in policy.login_providers()}
        self.own_cookies = policy.own_cookies
        self.client_of = {p.login.session: p.name for p in policy.login_providers() if p.login is not None}
        self.sessions: dict[Credentials, Session | None] = {}
        self.place = place
        self.keys = keys
        self.providers = {provider.name: provider for provider in policy.providers}
        self.upstreams = {upstream.name: upstream for upstream in policy.upstreams}
        self.slots = _slots(policy, slots)
        self.wanted: dict[jwt.Want, Json] = {}
        self.credential_checks: dict[Credentials, list[Json]] = {}
        self.clusters = {
            name: envoy_cluster.cluster_name(upstream, place.system_ca)
            for name, upstream in self.upstreams.items()
        }

    def compiled(self) -> Compiled:
        tables = {listener.name: self.route_table(listener) for listener in self.policy.listeners}
        return Compiled(
            bootstrap=envoy_bootstrap.bootstrap(
                lds=self.place.xds("lds"),
                cds=self.place.xds("cds"),
                admin_socket=self.place.admin_socket,
                limits=self.policy.limits,
            ),
            listeners={listener.name: self.listener(listener) for listener in self.policy.listeners},
            clusters={
                **resolve.clusters(
                    self.place.service_socket,
                    self.place.control_socket,
                    agents=self.policy.approvals is not None,
                ),
                **{
                    self.cluster_name(u): envoy_cluster.cluster(u, self.place.system_ca)
                    for u in self.policy.upstreams
                },
            },
            routes=tables,
            filters=self.filters(),
            secrets={
                name: secret
                for listener in self.policy.listeners
                for name, secret in envoy_listener.secrets(listener).items()
            },
            slots=self.slots,
        )

    # --- the edges

    def listener(self, spec: Listener) -> Json:
        sign_in = f"{self.policy.endpoints.prefix}/start" if self.login_providers else None
        errors = spec.errors or self.policy.errors
        local = replies.local_reply_config(
            jwt.REASONS,
            self.policy.expose_reasons,
            sign_in,
            self.forbidden,
            errors,
            described=any(route.described_at for host in spec.hosts for route in host.routes),
        )
        message = envoy_listener.listener(
            spec,
            trusted_proxies=self.policy.trusted_proxies,
            own=self.own,
            limits=self.policy.limits,
            access_log=self.policy.access_log,
            local_replies=local,
            rds=lambda name: self.place.xds(f"rds-{name}"),
            ecds=lambda name: self.place.xds(f"ecds-{name}"),
            sds=lambda name: self.place.xds(f"sds-{name}"),
        )
        return typed(CONFIG + "listener.v3.Listener", **message)

    def cluster_name(self, upstream: Upstream) -> str:
        return self.clusters[upstream.name]

    def filters(self) -> dict[str, Json]:
        """What comes by ECDS. Unused body slots stand with a limit of nothing: no route enables them."""
        by_slot = {index: size for size, index in self.slots.items()}
        bodies = {names.body_slot(i): _body_filter(i, by_slot.get(i, 1)) for i in range(names.BODY_SLOTS)}
        return {
            names.JWT: _jwt_filter(self.wanted, self.providers, self.keys, self.attested_keys),
            **bodies,
        }

    # --- routes

    def route_table(self, listener: Listener) -> Json:
        policy = self.policy
        upstream_headers = [headers.literal(name, value) for name, value in policy.upstream_headers]
        if policy.request_id.header.lower() != "x-request-id":
            upstream_headers.append(headers.added(policy.request_id.header, "%REQ(X-REQUEST-ID)%"))
        return typed(
            CONFIG + "route.v3.RouteConfiguration",
            name=listener.name,
            ignore_port_in_host_matching=True,
            max_direct_response_body_size_bytes=MOST_BODY,
            virtual_hosts=self.virtual_hosts(listener),
            request_headers_to_add=upstream_headers,
            request_headers_to_remove=[
                "x-envoy-external-address",
                *(() if listener.tells_hops else routes.HOPS),
            ],
            response_headers_to_add=[headers.literal(name, value) for name, value in policy.response_headers],
            # of what answers by itself (`own_answer`), or is for the service: a table of many hosts has thousands of those
            typed_per_filter_config={
                **self.open_filters(),
                **headers.without_ours(),
                **self.strip,
            },
        )

    def decisions(self) -> _Compiler:
        """The same for requests that another proxy asks about: what may pass is answered with 200."""
        decider = copy(self)
        decider.deciding = True
        return decider

    def action(self, name: str, what: Json, filters: Json, **more: object) -> Json:
        if missing := {names.GUARD, names.IDENTITY, names.JWT, names.RBAC} - filters.keys():
            raise ValueError(f"the route {name} would take {missing} from its table, which are open")
        return routes.action(
            name, what, {**filters, **(forward_auth.cors() if self.deciding else {})}, **more
        )

    @property
    def own(self) -> forward_auth.Own:
        aliases = ALIASES if self.login_providers else ()
        return forward_auth.Own(prefix=self.policy.endpoints.prefix, paths=aliases)

    @property
    def as_mapping(self) -> bool:
        return self.policy.errors is Errors.ROLE_MAPPING

    @property
    def no_jwt(self) -> Json:
        """Whether a filter is disabled is settled by the first route that a request has, which may not be the last."""
        return forward_auth.NO_REQUIREMENT if self.deciding or self.choosing_hosts else DISABLED

    def virtual_hosts(self, listener: Listener) -> list[Json]:
        found = [self.virtual_host(listener, host, index) for index, host in enumerate(listener.hosts)]
        if not any("*" in host.names for host in listener.hosts):
            matcher = self.no_host()
            if listener.forward_auth is not None:
                asked = matching.choice(forward_auth.is_asked(), matching.nested(self.decisions().no_host()))
                rest = self.questions(listener.forward_auth, matching.nested(matcher))
                matcher = matching.matcher_list([asked], rest)
            found.append({"name": "no-host", "domains": ["*"], "matcher": matcher})
        return found

    def no_host(self) -> Json:
        """A host that nobody named: without a route the filters would answer, and say 401."""
        nothing = self.own_answer("no-host", 404)
        unclear = matching.choice(
            matching.negated(routes.plain_authority()), self.own_answer("guard:host", 400)
        )
        if self.deciding:
            return matching.matcher_list([unclear], nothing)
        # whoever asks for health (a probe by the pod's address) names no host of ours
        found_health = routes.keys(Path(kind=PathKind.EXACT, text=self.policy.endpoints.health_path), False)
        ready = self.own_answer("endpoint:health", 200, "OK\n")
        health = [matching.choice(condition, ready) for _, condition in found_health if condition is not None]
        return matching.matcher_list([unclear, *health], nothing)

    def virtual_host(self, listener: Listener, host: Host, index: int) -> Json:
        settings = {
            # without rules of its own a host allows no other origin, and still answers preflights itself
            **routes.cors(host.cors or Cors(origins=())),
            **(routes.compression() if self.policy.compression else {}),
        }
        domains = [name.lower() for name in host.names]
        return {
            "name": f"host-{index}",
            "domains": domains,
            "matcher": self.host_matcher(listener, host),
            "typed_per_filter_config": settings,
        }

    def host_matcher(self, listener: Listener, host: Host) -> Json:
        """What another proxy asks about; then its questions that came to nothing; then requests to ourselves."""
        own = self.requests(listener, host)
        if listener.forward_auth is None:
            return own
        decided = self.decisions().requests(listener, host)
        asked = matching.choice(forward_auth.is_asked(), matching.nested(decided))
        return matching.matcher_list([asked], self.questions(listener.forward_auth, matching.nested(own)))

    def questions(self, asked: ForwardAuth, others: Json) -> Json:
        """
        Where a question comes in, before all `others`. Whoever is trusted never gets an answer from here: the filter of originals
        has matched the request anew by then. No filter that decides is disabled, as that holds for good.
        """
        question = self.question()
        if asked.path == "/":
            told = matching.choice(matching.negated(forward_auth.is_ours(self.own)), question)
            others = matching.nested(matching.matcher_list([told], others))
        entries = {
            key: matching.nested(matching.matcher_list([matching.choice(one, question) for one in found]))
            for key, found in forward_auth.questions(asked).items()
        }
        return matching.nested(matching.prefix_tree(":path", entries, others)) if entries else others

    def question(self) -> Json:
        judge = matching.matcher_list([], rbac.deny("not-trusted"))
        filters = {
            **claims.unseen(None),
            **forward_auth.cors(),
            names.JWT: forward_auth.NO_REQUIREMENT,
            names.RBAC: rbac.per_route(judge),
            **(rbac.looked_at() if self.login_providers else {}),
            **forward_auth.ask(),
        }
        return self.action("forward-auth", routes.closed(), filters)

    def requests(self, listener: Listener, host: Host) -> Json:
        """What is asked before any path, in this order; then the tree of paths."""
        known = STANDARD_METHODS.union(*(route.methods for route in host.routes)) - ANY_METHOD
        health = self.policy.endpoints.health_path
        first = [
            matching.choice(matching.negated(routes.plain_authority()), self.own_answer("guard:host", 400)),
            # a proxy that asks takes no 405 for an answer
            matching.choice(
                matching.negated(routes.methods(known)),
                self.own_answer("guard:method", 403 if self.deciding else 405),
            ),
        ]
        if listener.redirect_to_https:
            is_health = routes.keys(Path(kind=PathKind.EXACT, text=health), False)
            not_health = [matching.negated(condition) for _, condition in is_health if condition is not None]
            condition = matching.all_of([routes.scheme_is_http(), *not_health])
            redirect = self.action("redirect:https", routes.to_https(), self.open_filters())
            first.append(matching.choice(condition, redirect))
        if listener.proxies or self.deciding:
            return matching.matcher_list(first, matching.nested(self.tree(host, known - STANDARD_METHODS)))
        nothing = self.own_answer("no-route", 404)
        tree = matching.prefix_tree(":path", self.own_endpoints(host), nothing)
        return matching.matcher_list(first, matching.nested(tree))

    def own_answer(self, name: str, status: int, body: str = "") -> Json:
        """Nothing is behind it that could be open: it has the table's filter settings, which nothing else takes."""
        answer = routes.answer(status, body)
        return (
            self.action(name, answer, self.open_filters())
            if self.deciding
            else routes.action(name, answer, {})
        )

    def open_filters(
        self,
        body_slot: int | None = None,
        extra: Json | None = None,
        cookie: str | None = None,
        route: Route | None = None,
        again: Sequence[Json] = (),
    ) -> Json:
        """
        Filter settings where no credential is looked at: the guard's mark is still asked for. `cookie`: ours, which
        an upstream does not see. `route`: what it asks of a request beside.
        """
        beside = {} if route is None else self.beside(route)
        slot = routes.body_slot(body_slot) if body_slot is not None else {}
        judge = matching.matcher_list([rbac.unguarded(), *again], extra or rbac.allow("open"))
        return {
            **claims.unseen(cookie, own_cookies=self.own_cookies, **beside),
            names.JWT: self.no_jwt,
            names.RBAC: rbac.per_route(judge),
            **slot,
        }

    @property
    def cookie(self) -> str | None:
        """The policy's session cookie, where there are sessions."""
        return self.policy.session.cookie if self.policy.session and self.login_providers else None

    def session_of(self, credentials: Credentials) -> Session | None:
        """What counts as the session on routes with these; None where none is accepted."""
        if credentials not in self.sessions:
            self.sessions[credentials] = self.policy.session_of(credentials)
        return self.sessions[credentials]

    def tree(self, host: Host, custom_methods: frozenset[str]) -> Json:
        """The gateway's own and exact paths, then patterns, then all others; without patterns one map of all."""
        groups = _groups(host.routes)
        nested_below = _Descendants(groups)
        found = [(g, self.group(host, g, nested_below.of(g), custom_methods)) for g in groups]
        patterns = [one for one in found if one[0].path.kind is PathKind.MATCHES]
        ahead = {PathKind.MATCHES, PathKind.EXACT} if patterns else set()
        first = [one for one in found if one[0].path.kind in ahead - {PathKind.MATCHES}]
        last = [one for one in found if one[0].path.kind not in ahead]
        if host.not_found:
            nothing = self.own_answer("no-route", 404)
        else:
            nothing = self.denied(host, "fallback", host.fallback)
        if not patterns:
            return matching.prefix_tree(":path", self.by_key(host, last) | self.own_endpoints(host), nothing)
        rest = matching.prefix_tree(":path", self.by_key(host, last), nothing) if last else None
        choices = self.by_pattern(host, sorted(patterns, key=lambda one: one[0].rank))
        middle = matching.matcher_list(choices, nothing if rest is None else matching.nested(rest))
        entries = self.by_key(host, first) | self.own_endpoints(host)
        return matching.prefix_tree(":path", entries, matching.nested(middle))

    def by_key(self, host: Host, groups: Iterable[tuple[_Group, Json]]) -> dict[str, Json]:
        entries: dict[str, list[_Item]] = {}
        for group, then in groups:
            for key, condition in routes.keys(group.path, group.protecting):
                entries.setdefault(key, []).append((group.rank, condition, then))
        return {key: _ordered(items, host.not_found) for key, items in entries.items()}

    def by_pattern(self, host: Host, groups: Iterable[tuple[_Group, Json]]) -> list[Json]:
        """What one that protects is for, but for letter case, belongs to no route behind it."""
        found = []
        for group, then in groups:
            condition, almost = routes.by_pattern(group.path)
            found.append(matching.choice(condition, then))
            if group.protecting:
                found.append(matching.choice(almost, self.denied(host, "letter-case", _UNSEEN)))
        return found

    def own_endpoints(self, host: Host) -> dict[str, Json]:
        """The gateway's own paths win over every route (the policy has refused clashes)."""
        prefix = self.policy.endpoints.prefix
        if self.deciding:  # they are to be asked for here, not behind the proxy that asks
            closed = self.denied(host, "endpoint", host.fallback)
            below = routes.keys(Path(kind=PathKind.PREFIX, text=prefix), True)
            return {key: _ordered([((0, 0, 0), condition, closed)]) for key, condition in below}
        served = self.own_answer("endpoint", 404)
        entries: dict[str, Json] = {}
        if self.login_providers:
            owners = [provider.name for provider in self.policy.own_logins(host)]
            # with the table's own settings: hosts are many, and each has several of these
            served = routes.action("endpoint", routes.to_service(), {}, **routes.owned(owners))
            for path in (*self.policy.aliases(host), *sorted(self.policy.own_paths(host))):
                for key, condition in routes.keys(Path(kind=PathKind.EXACT, text=path), False):
                    entries[key] = _ordered([((0, 0, 0), condition, served)])
        for key, condition in routes.keys(Path(kind=PathKind.PREFIX, text=prefix), False):
            entries[key] = _ordered([((0, 0, 0), condition, served)])
        health = Path(kind=PathKind.EXACT, text=self.policy.endpoints.health_path)
        for key, condition in routes.keys(health, False):
            ready = self.own_answer("endpoint:health", 200, "OK\n")
            entries[key] = _ordered([((0, 0, 0), condition, ready)])
        return entries

    def group(
        self, host: Host, group: _Group, below: tuple[Path, ...], custom_methods: frozenset[str]
    ) -> Json:
        """The routes of one path by method; a method that none of them lists is denied."""
        only = group.routes[0]
        if only.methods == ANY_METHOD and not custom_methods and not only.matches:
            return self.route(host, only, below)
        choices = []
        for route in group.routes:
            wanted = STANDARD_METHODS if route.methods == ANY_METHOD else route.methods
            condition = matching.all_of([routes.methods(wanted), *map(routes.matches, route.matches)])
            choices.append(matching.choice(condition, self.route(host, route, below)))
        if host.not_found:
            return matching.nested(matching.matcher_list(choices))
        requiring = [route.credentials for route in group.routes if route.credentials.mode is Mode.REQUIRED]
        otherwise = self.denied(host, "method-not-listed", requiring[0] if requiring else host.fallback)
        return matching.nested(matching.matcher_list(choices, otherwise))

    def route(self, host: Host, route: Route, below: tuple[Path, ...]) -> Json:
        if isinstance(route.access, Broken):
            return self.own_answer(route.name, 500)
        to, more, slot = self.onward(route)
        beside = {} if route.cors is None or self.deciding else routes.cors(route.cors)
        if not self.deciding:
            beside |= gates.per_route(route, self.clusters)
            beside |= routes.onward(route, self.accepts_session(route.credentials))
        if route.credentials.mode is Mode.IGNORED:
            rule = self.rule(route)
            again = self.again(host, route)
            if below or not isinstance(route.judged(self.deciding), Public) or gates.marked(route):
                judged = matching.nested(self.cased(host, below, rule) if below else rule)
            else:
                judged = rbac.allow(route.name)
            hidden = None if route.upstream == CONSOLE else self.cookie
            filters = {**self.open_filters(slot, judged, hidden, route, again), **beside}
            return self.action(route.name, to, filters, **more)
        if self.keyless(route.credentials):
            return self.action(route.name, routes.closed(), {**self.open_filters(), **beside})
        filters = {**self.judged_filters(host, route, below), **beside}
        if slot is not None:
            filters.update(routes.body_slot(slot))
        if route.require_grant and not self.deciding:
            filters.update(grants.per_route(self.policy.body_limit(route)))
        onward = self.action(route.name, to, filters, **more)
        session = self.session_of(route.credentials)
        leads_nowhere = route.redirect is not None or route.direct is not None
        if self.deciding or leads_nowhere or session is None or not route.websockets:
            return onward
        bounded = self.action(route.name, routes.bounded(to, session.websockets), filters, **more)
        upgrade = matching.choice(routes.upgrade_by_cookie(session.cookie), bounded)
        return matching.nested(matching.matcher_list([upgrade], onward))

    def onward(self, route: Route) -> tuple[Json, Json, int | None]:
        """What becomes of a request that may pass: an action, what else its route has, the slot of its body limit."""
        if self.deciding:
            body = role_mapping.passes(route) if self.as_mapping else {}
            more = role_mapping.required(route) if self.as_mapping else {}
            return (
                forward_auth.let_pass(body),
                {
                    **forward_auth.told(
                        route.identity, bool(self.cookie), self.accepts_session(route.credentials)
                    ),
                    **more,
                },
                None,
            )
        edited = routes.edited(route, spends=self.spends)
        if route.redirect is not None:
            return routes.redirected(route.redirect), edited, None
        if route.direct is not None:
            return routes.answered(route.direct), edited, None
        limit = self.policy.body_limit(route)
        slot = None if limit is None else self.slots[limit]
        if route.upstream in (AGENTS, CONSOLE):
            return routes.to_agents(), edited, slot
        upstream = self.upstreams[route.upstream]
        mirrors = [self.clusters[mirror.upstream] for mirror in route.mirrors]
        forward = routes.forward(route, upstream, self.cluster_name(upstream), mirrors)
        return forward, edited, slot

    def denied(self, host: Host, name: str, credentials: Credentials) -> Json:
        """Closed: 401 without a credential that is accepted here, 403 with one."""
        filters = {
            **self.credential_filters(self.terms(host, credentials), credentials),
            names.RBAC: rbac.per_route(self.judge(credentials, matching.matcher_list([], rbac.deny(name)))),
        }
        if credentials.mode is Mode.REQUIRED and self.keyless(credentials):
            filters = self.open_filters()
        return self.action(name, routes.closed(), filters)

    def keyless(self, credentials: Credentials) -> bool:
        """No provider that the route accepts has keys yet: it cannot tell, so it answers 503."""
        return self.accepts_any(credentials) and not any(name in self.keys for name in credentials.providers)

    def accepts_session(self, credentials: Credentials) -> bool:
        return self.session_of(credentials) is not None

    def accepts_any(self, credentials: Credentials) -> bool:
        return jwt.accepts_bearer(credentials) or self.accepts_session(credentials)

    # --- judgement

    def judged_filters(self, host: Host, route: Route, below: tuple[Path, ...]) -> Json:
        rule = self.rule(route)
        payload = _needs_payload(route) or (id(host), route.chosen_again) in self.with_payload
        judged = self.judge(
            route.credentials, self.cased(host, below, rule) if below else rule, self.again(host, route)
        )
        terms = replace(
            self.terms(host, route.credentials, route.cors),
            identity=route.identity,
            payload=payload,
            login=self.logins(route),
            answer=self.roles_of(route) if self.deciding and self.as_mapping else None,
            hide=route.hides_places,
            again=None if self.deciding else route.chosen_again,
            forward=self.forwards(route),
            **self.beside(route),
        )
        return {
            **self.credential_filters(terms, route.credentials),
            names.RBAC: rbac.per_route(judged),
        }

    def beside(self, route: Route) -> dict[str, Any]:
        """What the guard looks at beside who calls."""
        return {"pages": gates.pages(route), "keys": None if self.deciding else route.api_keys}

    def terms(self, host: Host, credentials: Credentials, cors: Cors | None = None) -> claims.Terms:
        """What the guard has to know, but for what a single route adds."""
        session = self.session_of(credentials)
        readers = cors or host.cors
        origins = readers.origins if readers and session else ()
        return claims.Terms(
            bearer=jwt.bearer_terms(credentials, self.providers),
            places=credentials.places,
            cookie=session.cookie if session else self.cookie,
            own_cookies=self.own_cookies,
            client=self.client_of.get(session) if session else None,
            sessions=session is not None,
            chunks=session is not None and session.in_cookies,
            introspect=credentials.introspect,
            optional=credentials.mode is Mode.OPTIONAL,
            permissive=credentials.mode is Mode.PERMISSIVE,
            vias=tuple(self.vias(credentials)),
            origins=tuple(origin for origin in origins if "*" not in origin),
            log=self.policy.access_log,
        )

    def roles_of(self, route: Route) -> str:
        """The client whose roles count beside those of the realm: the audience."""
        for name in route.credentials.providers:
            audience = self.providers[name].audience
            if isinstance(audience, Audiences):
                return audience.any_of[0]
        return ""

    def logins(self, route: Route) -> tuple[str, ...] | None:
        """Where an anonymous navigation may log in; None where it gets 401."""
        credentials = route.credentials
        sent = (
            route.login_redirect and credentials.mode is Mode.REQUIRED and self.accepts_session(credentials)
        )
        return tuple(name for name in credentials.providers if name in self.login_providers) if sent else None

    def forwards(self, route: Route) -> bool:
        session = self.session_of(route.credentials)
        if session is None:
            return False
        own = route.forward_authorization
        return session.forward_authorization if own is None else own

    def credential_filters(self, terms: claims.Terms, credentials: Credentials) -> Json:
        if not self.accepts_any(credentials):
            unseen = claims.unseen(
                self.cookie, own_cookies=self.own_cookies, pages=terms.pages, keys=terms.keys
            )
            return {**unseen, names.JWT: self.no_jwt}
        want = jwt.want(credentials, self.providers, terms.payload)
        if want not in self.wanted:
            self.wanted[want] = jwt.per_route(want, self.providers)
        ended = rbac.looked_at() if terms.sessions else {}
        return {**claims.per_route(terms), **ended, names.JWT: self.wanted[want]}

    def again(self, host: Host, route: Route) -> list[Json]:
        """On hosts where the route of a request is chosen again, who may come to this one."""
        chosen = id(host) in self.choosing_hosts and not self.deciding
        return [rbac.chosen(route.chosen_again)] if chosen else []

    def judge(self, credentials: Credentials, rule: Json, again: Sequence[Json] = ()) -> Json:
        """The guard's mark first, then what a credential must be, then the rule."""
        required = credentials.mode is Mode.REQUIRED and self.accepts_any(credentials)
        choices = [rbac.unguarded(verified=required), *again]
        if not self.accepts_any(credentials):
            refused = rbac.deny(rbac.REJECT + "credential-kind")
            if credentials.mode is Mode.REQUIRED:
                return matching.matcher_list(choices, refused)
            presented = matching.header("authorization", matching.regex(".*"))
            if credentials.mode is Mode.OPTIONAL:
                choices.append(matching.choice(presented, refused))
        else:
            if credentials not in self.credential_checks:
                self.credential_checks[credentials] = self.credential_judges(credentials)
            choices += self.credential_checks[credentials]
        return matching.matcher_list(choices, matching.nested(rule))

    def credential_judges(self, credentials: Credentials) -> list[Json]:
        """A credential of a kind or provider that the route does not take; a token for somebody else."""
        found = [rbac.not_from([claims.via(how) for how in self.vias(credentials)])]
        issuers = {name: provider.issuer for name, provider in self.providers.items()}
        found += [
            matching.choice(misplaced, rbac.deny(rbac.REJECT + "token-place"))
            for misplaced in claims.misplaced(credentials.places, issuers)
        ]
        wrong = jwt.wrong_audience(credentials, self.providers) if jwt.accepts_bearer(credentials) else None
        if wrong is not None:
            # of what the service attests, it has judged the audience: a session's tokens are made for our client
            natively = matching.all_of([matching.negated(claims.is_attested()), wrong])
            found.append(matching.choice(natively, rbac.deny(rbac.REJECT + "token-audience")))
        return found

    def vias(self, credentials: Credentials) -> list[str]:
        """How, and by which providers, a caller may come whom the service attests."""
        found = []
        bearer = jwt.bearer_terms(credentials, self.providers)
        for name in credentials.providers:
            if Kind.SESSION in credentials.kinds and name in self.login_providers:
                found.append(f"session:{name}")
            if bearer is not None:
                found.append(f"checked:{name}")
            always = credentials.introspect or self.providers[name].introspection is Introspection.ALWAYS
            if bearer is not None and not always:
                found.append(f"bearer:{name}")
        return found

    def cased(self, host: Host, below: tuple[Path, ...], rule: Json) -> Json:
        """
        A path that, but for its letter case, belongs to a more specific protecting route is denied.

        The guard folds only paths with capitals; a path in small letters is compared as it is, with those routes
        that are written with capitals.
        """
        capital = [path for path in below if path.text != path.text.lower()]
        if capital:
            rule = matching.prefix_tree(
                ":path", routes.folded_entries(capital, ":path", host.not_found), matching.nested(rule)
            )
        entries = routes.folded_entries(below, passing=host.not_found)
        return matching.prefix_tree(names.FOLDED, entries, matching.nested(rule))

    def rule(self, route: Route) -> Json:
        marks = gates.marked(route)
        if not marks or self.deciding:
            return self.rule_of(route)
        unmarked = matching.choice(matching.negated(matching.all_of(marks)), rbac.deny("guard"))
        return matching.matcher_list([unmarked], matching.nested(self.rule_of(route)))

    def rule_of(self, route: Route) -> Json:
        allowed = rbac.allow(route.name)
        access = route.judged(self.deciding)
        match access:
            case Public():
                return matching.matcher_list([], allowed)
            case Denied() | Broken():
                return matching.matcher_list([], rbac.deny(route.name))
            case Rule(when=when):
                if when == Authenticated() and route.credentials.mode is Mode.REQUIRED:
                    return matching.matcher_list([], allowed)  # nobody else comes here
                condition = matching.choice(rbac.predicate(when), allowed)
                return matching.matcher_list([condition], rbac.deny(route.name))
            case _:
                assert_never(access)


def _needs_payload(route: Route) -> bool:
    return isinstance(route.access, Rule) and rbac.needs_payload(route.access.when)


def _groups(found: Iterable[Route]) -> list[_Group]:
    by_path: dict[Path, list[Route]] = {}
    for route in found:
        by_path.setdefault(Path(kind=route.path.kind, text=route.path.text), []).append(route)
    return [_Group(path, tuple(members)) for path, members in by_path.items()]


_Item = tuple[tuple[int, int, int], Json | None, Json]
"""What stands at a key of a map: how specific it is, on which condition, and what happens then."""

_UNSEEN: Final = Credentials(mode=Mode.IGNORED)


def _ordered(items: list[_Item], passing: bool = False) -> Json:
    """
    What stands at one key of the map, the most specific first; without a match, shorter keys are tried. `passing`: what
    stands first may be for no request of its path (a matcher, not an action), then the next is tried.
    """
    choices: list[Json] = []
    for _, condition, then in sorted(items, key=lambda item: item[0]):
        if condition is None and passing and "matcher" in then:
            condition = matching.header(":path", {"prefix": "/"})
        if condition is None:
            return then if not choices else matching.nested(matching.matcher_list(choices, then))
        choices.append(matching.choice(condition, then))
    return matching.nested(matching.matcher_list(choices))


class _Descendants:
    """Protecting paths below a path, letter case aside, by a sorted list: 10 000 routes are no 10 000² steps."""

    def __init__(self, groups: list[_Group]) -> None:
        self._sorted = sorted(
            (
                (g.path.text.lower(), g)
                for g in groups
                if g.protecting and g.path.kind is not PathKind.MATCHES
            ),
            key=lambda pair: pair[0],
        )
        self._texts = [text for text, _ in self._sorted]

    def of(self, group: _Group) -> tuple[Path, ...]:
        if group.path.kind is PathKind.MATCHES:  # which of them it could be for, nobody knows
            return tuple(other.path for _, other in self._sorted if other.path.kind is PathKind.EXACT)
        text = group.path.text.lower()
        if group.path.kind is PathKind.EXACT:
            text += "/"  # the one other path that it holds for, where it protects
        found = []
        for index in range(bisect_left(self._texts, text), len(self._texts)):
            if not self._texts[index].startswith(text):
                break
            other = self._sorted[index][1]
            if other.rank < group.rank and other.path.text != group.path.text:
                found.append(other.path)
        return tuple(found)


def _slots(policy: Policy, before: Mapping[int, int]) -> dict[int, int]:
    """Body limits to filters: a limit that was there keeps its filter, new ones take what is free."""
    wanted: dict[int, Any] = {}
    for listener, _, route in policy.routes():
        if not listener.proxies:
            continue
        limit = policy.body_limit(route)
        if limit is not None:
            wanted.setdefault(limit, route.where)
    slots = {size: index for size, index in before.items() if size in wanted}
    free = [i for i in range(names.BODY_SLOTS) if i not in before.values()]
    free += [index for size, index in before.items() if size not in wanted]
    new = [size for size in wanted if size not in slots]
    if len(new) > len(free):
        message = f"more than {names.BODY_SLOTS} different body limits"
        hint = "use the same limit for several routes"
        problem = Problem(
            code="body-limits", message=message, where=wanted[new[-1]], got=str(len(wanted)), hint=hint
        )
        raise ConfigError([problem])
    return {**slots, **dict(zip(new, free, strict=False))}
