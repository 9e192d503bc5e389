"""The whole policy: everything together, and what has to fit."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from wardgate.policy.access import Broken, Credentials, Kind
from wardgate.policy.approvals import AGENTS, CONSOLE, Approvals
from wardgate.policy.base import place_field, require_unique
from wardgate.policy.listeners import Address, Errors, Listener
from wardgate.policy.paths import PathKind
from wardgate.policy.providers import Provider
from wardgate.policy.routes import Host, Route
from wardgate.policy.session import Session
from wardgate.policy.upstreams import Upstream
from wardgate.problems import ConfigError, Problem, Where, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The gateway's own paths: `<prefix>/health` and what login adds. They win over every route."""

    prefix: str = "/oauth"
    health: str = "health"

    @property
    def health_path(self) -> str:
        return f"{self.prefix}/{self.health}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes or KiB as the name says; `body_bytes` None: no limit."""

    header_kib: int = 64
    headers_count: int = 100
    connections: int = 20_000
    body_bytes: int | None = None
    headers_timeout: timedelta = timedelta(seconds=10)
    idle_timeout: timedelta = timedelta(seconds=120)
    drain: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestId:
    """The header that carries the request's id; a client's own value is kept only when it comes from a trusted proxy."""

    header: str = "X-Request-ID"


ALIASES: Final = tuple(f"/oauth2/{name}" for name in ("start", "sign_in", "auth", "sign_out", "userinfo"))
"""The endpoints that oauth2-proxy's users know, beside ours."""


def asked_by_headers(endpoints: Endpoints) -> tuple[str, ...]:
    """Where proxies ask whose users know these paths from a gatekeeper, or from oauth2-proxy."""
    return (f"{endpoints.prefix}/authorize", "/oauth2/auth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    Everything that is in force. `trusted_proxies` are CIDRs, judged on the socket's peer; empty means nobody.

    `dialect` is where it came from, and like `where` never takes part in equality.
    """

    dialect: str = field(compare=False)
    listeners: tuple[Listener, ...]
    providers: tuple[Provider, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    admin: Address | None = None
    trusted_proxies: tuple[str, ...] = ()
    endpoints: Endpoints = field(default_factory=Endpoints)
    limits: Limits = field(default_factory=Limits)
    request_id: RequestId = field(default_factory=RequestId)
    upstream_headers: tuple[tuple[str, str], ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()
    compression: bool = False
    access_log: bool = True
    expose_reasons: bool = False
    errors: Errors = Errors.PROBLEM
    session: Session | None = None
    approvals: Approvals | None = None
    where: Where = place_field()

    def __post_init__(self) -> None:
        require_unique(
            "provider-name", "two providers with one name", [(p.name, p.where) for p in self.providers]
        )
        require_unique(
            "upstream-name", "two upstreams with one name", [(u.name, u.where) for u in self.upstreams]
        )
        require_unique(
            "listener-name", "two listeners with one name", [(x.name, x.where) for x in self.listeners]
        )
        self._distinct_issuers(p for p in self.login_providers() if p.login is None)
        for providers in {route.credentials.providers for _, _, route in self.routes()}:
            self._distinct_issuers(p for p in self.providers if p.name in providers)
        problems = [*self._dangling(), *self._clashes(), *self._networks()]
        if not self.listeners:
            problems.append(
                Problem(code="listener-missing", message="nothing to listen on", where=self.where)
            )
        if problems:
            raise ConfigError(problems)

    def routes(self) -> Iterator[tuple[Listener, Host, Route]]:
        for listener in self.listeners:
            for host in listener.hosts:
                for route in host.routes:
                    yield listener, host, route

    def body_limit(self, route: Route) -> int | None:
        """In bytes; None: there is none."""
        return self.limits.body_bytes if route.body_limit is None else route.body_limit

    def provider(self, name: str) -> Provider:
        return next(provider for provider in self.providers if provider.name == name)

    def aliases(self, host: Host) -> tuple[str, ...]:
        """Paths of the endpoints as oauth2-proxy has them; none where the host has routes of its own there."""
        taken = any(route.path.text.lower().startswith("/oauth2") for route in host.routes)
        return () if taken or not self.login_providers() else ALIASES

    def login_providers(self) -> tuple[Provider, ...]:
        """Where browsers can log in; none without a `session`."""
        return tuple(p for p in self.providers if p.client_id is not None) if self.session else ()

    def logins_of(self, credentials: Credentials) -> tuple[Provider, ...]:
        """Where browsers can log in for routes with these; none where no session is accepted."""
        if Kind.SESSION not in credentials.kinds:
            return ()
        return tuple(p for p in self.login_providers() if p.name in credentials.providers)

    def session_of(self, credentials: Credentials) -> Session | None:
        """The session that counts on routes with these; None where none is accepted."""
        found = self.logins_of(credentials)
        return found[0].login.session if found and found[0].login else self.session if found else None

    @property
    def own_cookies(self) -> bool:
        """Whether there are sessions that are not the policy's one."""
        return any(provider.login is not None for provider in self.login_providers())

    def own_logins(self, host: Host) -> tuple[Provider, ...]:
        """Those at which browsers log in on this host and whose session is their own."""
        terms = dict.fromkeys(route.credentials for route in host.routes)
        named = {one.name: one for each in terms for one in self.logins_of(each) if one.login is not None}
        return tuple(named.values())

    def own_paths(self, host: Host) -> frozenset[str]:
        """Where the callbacks and logouts of `own_logins` are."""
        own = [provider.login for provider in self.own_logins(host) if provider.login is not None]
        return frozenset(path for login in own for path in (login.callback, login.logout))

    def _distinct_issuers(self, together: Iterable[Provider]) -> None:
        """Of providers that one request may come by: nobody could tell whose token it is."""
        named = [(provider.issuer, provider.where) for provider in together]
        require_unique("issuer-duplicate", "two providers with one issuer", named)

    def _dangling(self) -> Iterator[Problem]:
        upstreams = {upstream.name for upstream in self.upstreams} | (
            {AGENTS, CONSOLE} if self.approvals else set()
        )
        providers, own = {provider.name for provider in self.providers}, self.own_cookies
        for listener, _, route in self.routes():
            if route.require_grant and self.approvals is None:
                message, hint = "a route requires a grant, and nobody gives any", "add approvals"
                yield Problem(code="grant-approvals", message=message, where=route.where, hint=hint)
            named = {route.upstream, *(mirror.upstream for mirror in route.mirrors)}
            if route.external is not None and route.external.upstream not in upstreams:
                message, got = "an upstream that is not defined", shown(route.external.upstream)
                yield Problem(code="upstream-unknown", message=message, where=route.where, got=got)
            answered = route.redirect or route.direct or isinstance(route.access, Broken)
            leads_on = listener.proxies and not answered
            if leads_on and not named <= upstreams:
                message, got = "an upstream that is not defined", shown(route.upstream)
                yield Problem(code="upstream-unknown", message=message, where=route.where, got=got)
            for name in route.credentials.providers:
                if name not in providers:
                    message = "a provider that is not defined"
                    yield Problem(
                        code="provider-unknown", message=message, where=route.where, got=shown(name)
                    )
                elif route.credentials.introspect and self.provider(name).client_id is None:
                    message = (
                        "a route asks the issuer about tokens, and its provider has no client to ask with"
                    )
                    hint = "set the provider's client-id and client-secret"
                    yield Problem(
                        code="introspection-client",
                        message=message,
                        where=route.where,
                        got=shown(name),
                        hint=hint,
                    )
            if (
                own
                and len({one.login and one.login.session for one in self.logins_of(route.credentials)}) > 1
            ):
                message = "logins of two clients that have sessions of their own"
                yield Problem(code="login-several", message=message, where=route.where)

    def _clashes(self) -> Iterator[Problem]:
        prefix = self.endpoints.prefix.lower()
        for listener in self.listeners:
            asked = listener.forward_auth
            if asked and asked.path and asked.below and asked.below.lower().startswith(prefix + "/"):
                hint = "move forward-auth.path or the endpoints (endpoints.prefix)"
                message = f"the gateway answers {prefix} itself"
                yield Problem(
                    code="endpoint-clash",
                    message=message,
                    where=asked.where,
                    got=shown(asked.path),
                    hint=hint,
                )
        own = {id(host): self.own_paths(host) for listener in self.listeners for host in listener.hosts}
        for listener, host, route in self.routes():
            if route.path.kind is PathKind.MATCHES:
                continue  # ours are asked for first
            text = route.path.text.lower()
            asked = listener.forward_auth if listener.proxies else None
            if asked and asked.below and (text + "/").startswith(asked.below.lower()):
                yield Problem(
                    code="endpoint-clash",
                    message=f"other proxies ask at {asked.path}",
                    where=route.where,
                    got=shown(str(route.path)),
                    hint="move forward-auth.path or the route",
                )
            exact = route.path.kind is PathKind.EXACT and route.path.text in own[id(host)]
            if exact or text == prefix or text.startswith(prefix + "/"):
                hint = "move the gateway's endpoints (oauth-uri, endpoints.prefix) or the route"
                message = f"the gateway answers {text if exact else prefix} itself"
                got = shown(str(route.path))
                yield Problem(code="endpoint-clash", message=message, where=route.where, got=got, hint=hint)

    def _networks(self) -> Iterator[Problem]:
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                hint = "write a network as 10.0.0.0/8, one address as 10.0.0.7/32"
                yield Problem(
                    code="trusted-proxies",
                    message=str(error),
                    where=self.where,
                    got=shown(network),
                    hint=hint,
                )
