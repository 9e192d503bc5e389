"""
Kubernetes manifests: Gateways, HTTPRoutes and GRPCRoutes (Gateway API v1) with SecurityPolicy (Envoy Gateway) or AgentgatewayPolicy.

Every Gateway is served, whatever its class. What is wrong with one object closes that object's routes (500), and is told in its
conditions; the others go on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic_core import PydanticCustomError

from wardgate import policy as model
from wardgate.dialects import Options, Reading, Status
from wardgate.dialects import _native_values as values
from wardgate.dialects._gateway_api_attaching import POLICIES, Attached, attach
from wardgate.dialects._gateway_api_backend_tls import KIND as BACKEND_TLS
from wardgate.dialects._gateway_api_backend_tls import BackendTls
from wardgate.dialects._gateway_api_filters import joined, of_match
from wardgate.dialects._gateway_api_gateways import Section, every_section
from wardgate.dialects._gateway_api_objects import GATEWAY, ROUTE_KINDS, Object, objects
from wardgate.dialects._gateway_api_policies import GATES, Issuer, Terms
from wardgate.dialects._gateway_api_routes import (
    RouteRule,
    hosts,
    rules,
)
from wardgate.dialects._gateway_api_world import World
from wardgate.document import Document
from wardgate.problems import ConfigError, Problem, Severity, Where, shown

CODES: Final[Mapping[str, str]] = {
    "backend-grant": "A backend is in another namespace, and no ReferenceGrant there allows it.",
    "backend-kind": "A backend is no Service.",
    "backend-missing": "A backend names a Service that is not among the manifests.",
    "backend-protocol": "Of the backends of one rule some speak HTTP/2 and others do not.",
    "backend-tls": "A Service cannot be spoken to as its BackendTLSPolicy says.",
    "backend-tls-authorities": "A BackendTLSPolicy names certificates of authorities that are not there.",
    "backend-weight": "A backend's weight is none.",
    "gateway-conflict": "Two listeners of a Gateway have the same port and hostname, or two protocols on one port.",
    "gateway-missing": "The manifests hold no Gateway that can be served.",
    "gateway-namespaces": "Which namespaces may attach routes is said in a way that is not read.",
    "gateway-port": "A listener of a Gateway has no port.",
    "gateway-protocol": "A listener of a Gateway is of a protocol that is not served.",
    "gateway-tls": "The certificate of an HTTPS listener is not there, or cannot be used.",
    "manifest-duration": "A value that should be a duration (GEP-2257) is none.",
    "manifest-kind": "A manifest of a kind that is not read here: what it asks for does not happen.",
    "manifest-selector": "A label selector that is none.",
    "manifest-setting": "--set names what manifests do not have, or gives it a wrong value.",
    "manifest-store": "The environment names no place for sessions, or no key for them.",
    "manifest-type": "A field of a manifest holds another type than it should.",
    "manifest-unsupported": "A field of a manifest that is not enforced here.",
    "policy-action": "A rule's action is neither Allow nor Deny.",
    "policy-cel": "A CEL expression is none, or cannot be asked of Envoy.",
    "policy-claim": "A rule asks for a claim and names no value of it.",
    "policy-client": "An OIDC policy names no client, or no secret of it.",
    "policy-conflict": "Two fields of a policy exclude each other.",
    "policy-cookie": "What an OIDC policy says of cookies is nothing that a cookie can be.",
    "policy-empty": "A policy says nothing that is read here.",
    "policy-endpoint": "An endpoint of an issuer is no address.",
    "policy-gate": "Keys, passwords, origins or limits of a policy cannot be enforced as they are written.",
    "policy-header": "A claim cannot be told in this header.",
    "policy-internal": "A policy of a cluster names an issuer or keys at a loopback, link-local or metadata address.",
    "policy-issuer": "A provider names no issuer, or one that is not where it should be.",
    "policy-jwks": "A provider does not say where its keys are, or says it twice.",
    "policy-merge": "A policy is to be merged in a way, or with another one, that it cannot be merged.",
    "policy-mode": "A JWT policy's mode is none.",
    "policy-provider": "A JWT policy names no provider.",
    "policy-path": "People are to come back, or to log out, at a path that none can have.",
    "policy-redirect": "An OIDC policy's redirectURL is no URL.",
    "policy-rule": "A rule of a policy asks for nothing, or for what cannot be asked.",
    "policy-secret": "An OIDC policy's Secret is not there, or lacks the key.",
    "policy-target": "A policy is attached to something that it cannot be attached to here.",
    "policy-target-missing": "A policy is attached to something that is not among the manifests.",
    "route-case": "Two routes of one host are for paths that differ in letter case only.",
    "route-cors": "Cross-origin rules that cannot be followed: an origin that is none, or any origin together with credentials.",
    "route-filter": "A filter of a route is written in a way that cannot be followed.",
    "route-match": "What a route asks of a header cannot be read.",
    "route-parent": "A route names a Gateway that is not among the manifests.",
    "route-path": "A route's path is one that no request can have.",
    "several-listeners": "A route is served by two listeners of one port and name, with different policies.",
    "several-products": "Policies of two products are attached to one route: nobody could tell which holds.",
}
"""What can be wrong with manifests."""

PREFIX: Final = "/.wardgate"
"""The gateway's own endpoints: applications behind a Gateway may well have /oauth themselves."""

SETTINGS: Final = ("admin", "listen-host", "access-log")

STORE, KEY = "WARDGATE_SESSION_STORE", "WARDGATE_SESSION_KEY"
"""Where sessions of an OIDC policy are kept, and the key that seals them: the same for every replica."""

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  a Gateway's ports are those of its Service

_IDLE: Final = model.Listener(name="idle", address=model.Address(host="127.0.0.1", port=0), hosts=())
"""What a gateway without Gateways has: nobody reaches it."""


class GatewayApi:
    """Manifests of the Gateway API."""

    name = "gateway_api"
    title = "Gateway API manifests (S3, S4)"

    def recognizes(self, document: Document) -> bool:
        data = document.data
        version = str(data.get("apiVersion", "")) if isinstance(data, Mapping) else ""
        groups = (GATEWAY, *(group for group, _, _ in POLICIES))
        return version.partition("/")[0] in groups

    def read(self, documents: Sequence[Document], options: Options) -> Reading:
        return _Reader(World(objects(documents), options.resolve, options.controller), options).reading()


DIALECT = GatewayApi()


class _Reader:
    """One reading: the objects, and what was made of them."""

    def __init__(self, world: World, options: Options) -> None:
        self.world = world
        self.options = options
        self.problems: list[Problem] = []
        self.sections: list[Section] = []
        self.rules: list[RouteRule] = []
        self.attached = Attached()
        self.providers: dict[Issuer, model.Provider] = {}
        self.said_again: dict[str, list[Terms]] = {}

    def reading(self) -> Reading:
        self._say_unread()
        self.sections = every_section(self.world)
        speaking = BackendTls(self.world)
        self.world.tls_of = speaking.of
        for route in (one for kind in ROUTE_KINDS for one in self.world.of(GATEWAY, kind)):
            ruled = rules(self.world, route, self.sections)
            self.rules += ruled
            if not ruled and not route.conditions and self._in_cluster:
                route.problems.clear()  # of another controller
        self.attached = attach(self.world, self.options, self.sections, self.rules)
        self._name_ancestors(speaking)
        self._close()
        whole = self._whole()
        found = [problem for one in self.world.objects for problem in one.problems] + self.problems
        return Reading(
            policy=whole,
            problems=tuple(found),
            notes=tuple(self._notes()),
            statuses=tuple(self._statuses()),
            sought=frozenset(self.world.sought),
        )

    def _name_ancestors(self, speaking: BackendTls) -> None:
        """A BackendTLSPolicy tells the Gateways whose requests it holds for."""
        for policy, users in speaking.used.items():
            ancestors = self.attached.ancestors.setdefault(policy, {})
            for user in users:
                ancestors.update(self.attached.ancestors.get(user, {}))
            for rule in self.rules:
                if rule.route in users:
                    ancestors.update(dict.fromkeys(section.gateway.name for section in rule.sections))

    def _notes(self) -> Iterator[str]:
        for one in self.world.objects:
            yield from (f"{one.name.kind} {one.name}: {note}" for note in one.notes)
        for rule in self.rules:
            found = [self.attached.terms.get((rule, section)) for section in rule.sections]
            if rule.wrong is not None:
                continue
            if None in found:
                yield f"{rule.title} has no policy: it is open to everyone"
            elif any(terms.asks_nothing for terms in found if terms):
                yield f"{rule.title} has a policy that lets in callers without a token"

    def _statuses(self) -> Iterator[Status]:
        for one in self.world.objects:
            if one.conditions or one.problems:
                yield Status(
                    name=one.name,
                    where=one.where(),
                    conditions=tuple(one.conditions),
                    problems=tuple(one.problems),
                    ancestors=tuple(self.attached.ancestors.get(one, ())),
                    attached=tuple(self._counted(one)),
                )

    def _counted(self, gateway: Object) -> Iterator[tuple[str, int]]:
        for section in self.sections:
            if section.gateway is gateway:
                yield section.name, len({rule.route for rule in self.rules if section in rule.sections})

    def _say_unread(self) -> None:
        """Of the products' own kinds; other manifests of a folder (Deployments, Ingresses) are not ours to speak of."""
        policies = (kind for _, kind, _ in POLICIES)
        read = {"Gateway", "GatewayClass", *ROUTE_KINDS, "ReferenceGrant", BACKEND_TLS, *policies}
        for one in self.world.objects:
            ours = one.name.group in (GATEWAY, *(group for group, _, _ in POLICIES))
            if ours and one.name.kind not in read:
                hint = "what it routes is not served; what it protects needs another policy"
                one.complain(
                    "manifest-kind", "is of a kind that is not read", ("kind",), got=one.name.kind, hint=hint
                )

    @property
    def _in_cluster(self) -> bool:
        return self.options.controller is not None

    def _close(self) -> None:
        """In a cluster no object stops the others: what could be open without it is closed instead."""
        fatal = [one for one in self.world.objects if one.fatal] if self._in_cluster else []
        for one in fatal:
            one.problems = [replace(problem, severity=Severity.WARNING) for problem in one.problems]
            why = f"the routes of its namespace are closed while {one.name.kind} {one.name} cannot be read"
            for rule in self.rules:
                namespaces = {rule.route.name.namespace}
                if one.name.kind not in ROUTE_KINDS:
                    namespaces |= {section.gateway.name.namespace for section in rule.sections}
                if one.name.namespace in namespaces:
                    rule.wrong = rule.wrong or why
                    _say_refused(rule, why)

    # --- the policy

    def _whole(self) -> model.Policy | None:
        upstreams = [rule.upstream for rule in self.rules if rule.upstream is not None]
        upstreams += [upstream for rule in self.rules for upstream, _ in rule.mirrors]
        asked = [terms.external_upstream for terms in self.attached.terms.values() if terms.external_upstream]
        upstreams += {upstream.name: upstream for upstream in asked}.values()
        try:
            self._check_settings()
            listeners = tuple(self._listeners())
            if not listeners and self._in_cluster:
                listeners = (_IDLE,)
            if not listeners:
                hint = "a Gateway with an HTTP listener, and HTTPRoutes that name it in parentRefs"
                raise ConfigError(
                    [Problem(code="gateway-missing", message="no Gateway is served", hint=hint)]
                )
            kept = self._kept()
            return model.Policy(
                dialect=GatewayApi.name,
                listeners=listeners,
                providers=tuple(self._providers(kept)),
                upstreams=tuple(upstreams),
                admin=self._admin(),
                trusted_proxies=self.options.trusted_proxies or (),
                endpoints=model.Endpoints(prefix=PREFIX),
                access_log=self._setting("access-log") != "false",
                session=None if kept is None else self._longest(kept),
            )
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _setting(self, key: str) -> str | None:
        return dict(self.options.settings).get(key)

    def _admin(self) -> model.Address | None:
        given = self._setting("admin")
        if given is None:
            return None
        where = Where(file="--set", path="admin")
        try:
            host, port = values.host_port(given)
        except PydanticCustomError as error:
            hint = "an address and a port, such as 127.0.0.1:8081"
            raise model.refuse("manifest-setting", "is no address and port", where, given, hint) from error
        return model.Address(host=host, port=port, where=where)

    def _check_settings(self) -> None:
        """Raises ConfigError for one that is not here."""
        problems = [
            Problem(
                code="manifest-setting",
                message="is not a setting here, or not with this value",
                where=Where(file="--set", path=key),
                got=shown(value),
                hint="admin=HOST:PORT, listen-host=ADDRESS, access-log=true or false; the rest is said in manifests",
            )
            for key, value in self.options.settings
            if key not in SETTINGS or (key == "access-log" and value not in ("true", "false"))
        ]
        if problems:
            raise ConfigError(problems)

    def _kept(self) -> dict[str, Any] | None:
        """Where sessions are kept, and under which key, is no matter of a policy: the environment says it. None: there are none."""
        if not any(issuer.login for issuer in self.providers):
            return None
        url, key = (self.options.environ.get(name) for name in (STORE, KEY))
        found: dict[str, Any] = {}
        try:
            place = values.store(url or "local")
        except PydanticCustomError as error:
            hint = (error.context or {})["hint"]
            raise model.refuse("manifest-store", error.message(), _in_environment(STORE), "", hint) from error
        if place == "cookie":
            found["in_cookies"] = True
        elif place != "local":
            found["store_url"] = model.Secret(place, STORE)
        if key:
            if not values.is_key(key):
                raise model.refuse(
                    "manifest-store", values.KEY_FORM, _in_environment(KEY), "", values.KEY_HINT
                )
            found["encryption_key"] = model.Secret(key, KEY)
        return found

    def _longest(self, kept: Mapping[str, Any]) -> model.Session:
        """What the sessions of all clients share: no store forgets one before its own terms do."""
        each = [issuer.login.session for issuer in self.providers if issuer.login]
        longest = {name: max(getattr(one, name) for one in each) for name in ("idle", "lifetime")}
        return model.Session(**longest, **kept)

    def _providers(self, kept: Mapping[str, Any] | None) -> Iterator[model.Provider]:
        for issuer, made in self.providers.items():
            yield made if issuer.login is None else issuer.login.provider(made, **kept or {})

    def _listeners(self) -> Iterator[model.Listener]:
        """One a port: Gateways that share a port share the listener."""
        by_port: dict[int, list[Section]] = {}
        for section in self.sections:
            if section.usable:
                by_port.setdefault(section.port, []).append(section)
        offset = self.options.listen_offset
        host = self._setting("listen-host") or EVERYWHERE
        for port, found in by_port.items():
            agents = any(section.gateway in self.attached.agents for section in found)
            yield model.Listener(
                name=f"port-{port}",
                address=model.Address(host=host, port=port + offset if port < 1024 else port),
                hosts=tuple(self._hosts(found)),
                tls=_tls(found),
                errors=model.Errors.AGENTGATEWAY if agents else None,
                tells_hops=not agents,
                where=found[0].gateway.where(),
            )

    def _hosts(self, found: list[Section]) -> Iterator[model.Host]:
        names: dict[str, dict[RouteRule, Terms | None]] = {}
        for rule in self.rules:
            for section in found:
                if section in rule.sections:
                    for name in hosts(section, rule.hostnames):
                        of_host = names.setdefault(name.lower(), {})
                        of_host[rule] = self._joined(rule, section, of_host)
        for name, of_host in names.items():
            yield model.Host(names=(name,), routes=tuple(self._routes(of_host)), not_found=True)

    def _joined(
        self, rule: RouteRule, section: Section, of_host: Mapping[RouteRule, Terms | None]
    ) -> Terms | None:
        """What holds for a rule on a listener; where two listeners of one port and name say two things, it is closed."""
        terms = self.attached.terms.get((rule, section))
        by_pattern = any(path.kind is model.PathKind.MATCHES for path, _, _ in rule.matches)
        if terms is not None and _is_resource(terms) and by_pattern:
            message = (
                f"{rule.label} is for paths that match a pattern, and a resource is described by its path"
            )
            hint = "one HTTPRoute with a PathPrefix for each MCP server"
            terms.policy.complain("policy-gate", message, ("spec", "targetRefs"), hint=hint)
            terms = replace(terms, broken=message)
        if rule not in of_host or of_host[rule] == terms:
            return terms
        one = terms or of_host[rule]
        assert one is not None, "the two differ"
        message = f"{rule.label} is served by two listeners of one port and name, with different policies: it is closed"
        one.policy.complain(
            "several-listeners", message, ("spec", "targetRefs"), hint="attach it to both, or part the two"
        )
        return replace(one, broken=message)

    def _routes(self, of_host: Mapping[RouteRule, Terms | None]) -> Iterator[model.Route]:
        """
        By Gateway API's precedence among those of one path; of two that are for the same requests the first holds. What
        differs from a route in letter case only is refused everywhere, so a route for that is none.
        """
        found = [(rule, index, match) for rule in of_host for index, match in enumerate(rule.matches)]
        found.sort(key=lambda one: _precedence(one[0], one[2]))
        taken: dict[tuple[object, ...], str] = {}
        described: dict[str, model.Route] = {}
        logins = [terms.login for terms in of_host.values() if terms and terms.login and not terms.broken]
        own = {path for login in logins for path in (login.callback, login.logout)}
        own |= {_described_at(path) for rule, _, (path, _, _) in found if _is_resource(of_host[rule])}
        for rule, index, (path, methods, matches) in found:
            key = (path.kind, path.folded, methods, matches)
            if taken.get(key, path.text) != path.text:
                message = f"{path.text} and {taken[key]} differ in letter case only"
                hint = "an application could serve one for the other: keep one of them"
                rule.route.complain("route-case", message, ("spec", "rules", rule.index), hint=hint)
                _say_refused(rule, message)
            if key in taken or self._is_ours(rule, path, own):
                continue
            taken[key] = path.text
            terms = of_host[rule]
            route = self._route(rule, terms, f"{rule.label}/{index}", path, methods, matches)
            if route.login_redirect and terms is not None:
                for number, header in enumerate(terms.unsent):
                    name = f"{route.name}/unsent-{number}"
                    yield replace(route, name=name, matches=(*matches, header), login_redirect=False)
            if terms is not None and route.described_at is not None:
                described.setdefault(route.described_at, _description(route, terms.resource or {}))
            yield route
        yield from described.values()

    def _is_ours(self, rule: RouteRule, path: model.Path, own: set[str]) -> bool:
        """The gateway's own endpoints win, of which some are on this host alone; the route is told so."""
        if path.kind is model.PathKind.MATCHES:
            return False  # they are asked for first
        exact = path.kind is model.PathKind.EXACT and path.text in own
        if not exact and path.text != PREFIX and not path.text.startswith(PREFIX + "/"):
            return False
        message = f"the gateway itself answers {path.text}"
        rule.route.complain("route-path", message, ("spec", "rules", rule.index), hint="move the route")
        _say_refused(rule, message)
        return True

    def _route(
        self,
        rule: RouteRule,
        terms: Terms | None,
        name: str,
        path: model.Path,
        methods: frozenset[str],
        matches: tuple[model.Match, ...],
    ) -> model.Route:
        access, credentials = self._judged(rule, terms)
        unseen = credentials.mode is model.Mode.IGNORED
        gates: dict[str, Any] = {}
        if terms is not None and not isinstance(access, model.Broken):
            gates = {name: found for name in GATES if (found := getattr(terms, name)) is not None}
        return model.Route(
            name=name,
            path=path,
            methods=methods,
            matches=matches,
            access=access,
            credentials=credentials,
            upstream=rule.upstream.name if rule.upstream else "",
            identity=() if unseen or terms is None else terms.identity,
            timeout=rule.timeout or (terms.timeout if terms else None),
            attempt_timeout=rule.attempt_timeout,
            login_redirect=terms is not None and terms.login is not None,
            forward_authorization=terms.forward if terms and terms.login else None,
            hide_credential=terms is not None and terms.hide,
            request_headers=_joined(_request_headers(terms, unseen), rule.filters.request),
            response_headers=_joined(terms.response_headers if terms else None, rule.filters.response),
            rewrite=_with_path(rule.filters.rewrite, path),
            redirect=_with_path(rule.filters.redirect, path),
            cors=rule.filters.cors or (terms.cors if terms else None),
            described_at=_described_at(path) if _is_resource(terms) else None,
            chosen_again=self._chosen_again(terms) if terms and terms.again and not terms.broken else None,
            mirrors=tuple(model.Mirror(upstream=one.name, of_million=parts) for one, parts in rule.mirrors),
            **gates,
            where=rule.route.where("spec", "rules", rule.index),
        )

    def _judged(self, rule: RouteRule, terms: Terms | None) -> tuple[model.Access, model.Credentials]:
        """A rule without a policy is open; of one that answers 500 to everyone no credential is looked at."""
        unseen = model.Credentials(mode=model.Mode.IGNORED)
        if rule.wrong is not None:
            return model.Broken(because=rule.wrong), unseen
        if terms is None:
            return model.Public(), unseen
        if terms.broken is not None:
            return terms.access, unseen
        providers = tuple(self._provider(issuer, terms) for issuer in terms.issuers)
        places = terms.places if terms.places_of is None else self._places(terms, terms.places_of)
        return terms.access, model.Credentials(
            mode=terms.mode, kinds=terms.kinds, providers=providers, places=places
        )

    def _places(
        self, terms: Terms, issuers: Mapping[model.TokenPlace, tuple[str, ...]]
    ) -> tuple[model.TokenPlace, ...]:
        """Each with the providers whose tokens may be there."""
        named = {
            place: [one for one in terms.issuers if one.issuer in issuers[place]] for place in terms.places
        }
        return tuple(
            replace(place, providers=tuple(self._provider(one, terms) for one in found))
            for place, found in named.items()
            if found
        )

    def _chosen_again(self, terms: Terms) -> str:
        """One name for routes on which the policy says the same: merged with others, it may say several things."""
        policy = str(terms.policy.name)
        said = self.said_again.setdefault(policy, [])
        if terms not in said:
            said.append(terms)
        return f"{policy}.{said.index(terms)}"

    def _provider(self, issuer: Issuer, terms: Terms) -> str:
        """Its name stays when other policies come and go: sessions are of a provider by name."""
        if issuer not in self.providers:
            policy = f"{terms.policy.name.namespace}.{terms.policy.name.name}."
            before = sum(made.name.startswith(policy) for made in self.providers.values())
            self.providers[issuer] = issuer.provider(f"{policy}{before}", terms.policy.where("spec"))
        return self.providers[issuer].name


def _is_resource(terms: Terms | None) -> bool:
    return terms is not None and terms.resource is not None and terms.broken is None


def _described_at(path: model.Path) -> str:
    """Where the description of a resource is that has this path (RFC 9728, 3.1)."""
    return model.RESOURCES + path.text.rstrip("/")


def _description(route: model.Route, resource: Mapping[str, Any]) -> model.Route:
    """Anyone may read it: it says where tokens are to be had."""
    document = {"resource": model.ORIGIN + route.path.text.rstrip("/"), **resource}
    return model.Route(
        name=f"{route.name}/description",
        path=model.Path(kind=model.PathKind.EXACT, text=_described_at(route.path)),
        methods=frozenset({"GET", "HEAD"}),
        access=model.Public(),
        credentials=model.Credentials(mode=model.Mode.IGNORED),
        direct=model.DirectAnswer(
            status=200, body=json.dumps(document, default=str), kind="application/json", tells_origin=True
        ),
        where=route.where,
    )


def _request_headers(terms: Terms | None, unseen: bool) -> model.HeaderEdits | None:
    """Where nobody looks at tokens, a header that would tell a claim tells nothing."""
    if terms is None or not unseen or not terms.identity:
        return terms.request_headers if terms else None
    untold = model.HeaderEdits(remove=tuple(one.name for one in terms.identity))
    return untold if terms.request_headers is None else joined(untold, terms.request_headers)


def _joined(of_policy: model.HeaderEdits | None, of_rule: model.HeaderEdits) -> model.HeaderEdits:
    return of_rule if of_policy is None else joined(of_policy, of_rule)


def _tls(found: Sequence[Section]) -> model.HeldTls | None:
    """Each certificate once, whichever listeners of the port name it."""
    pairs = dict.fromkeys(pair for section in found for pair in section.pairs)
    return model.HeldTls(pairs=tuple(pairs)) if pairs else None


def _in_environment(name: str) -> Where:
    return Where(file="the environment", path=name)


def _say_refused(rule: RouteRule, why: str) -> None:
    """Tell its route, by all who had accepted it."""
    for said in list(rule.route.conditions):
        if said.type == "Accepted" and said.status:
            rule.route.say("Accepted", False, "UnsupportedValue", why, said.parent)


Changing = TypeVar("Changing", model.Rewrite, model.Redirect)


def _with_path(found: Changing | None, path: model.Path) -> Changing | None:
    return None if found is None else replace(found, path=of_match(found.path, path))


def _precedence(
    rule: RouteRule, match: tuple[model.Path, frozenset[str], tuple[model.Match, ...]]
) -> tuple[object, ...]:
    """Gateway API v1, HTTPRouteRule.matches: method, then headers, then query parameters, then the oldest route."""
    _, methods, matches = match
    headers = sum(isinstance(one, model.HeaderIs) for one in matches)
    return methods == model.ANY_METHOD, -headers, headers - len(matches), rule.route.age, rule.index
