"""Routes and the hosts that they are of: which requests each is for, what it changes of them, and where they go."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from wardgate import patterns
from wardgate.policy.access import Access, Broken, Carrier, Credentials, Denied, Kind, Mode, Public
from wardgate.policy.base import (
    ANY_METHOD,
    REFUSED_METHODS,
    STANDARD_METHODS,
    TOKEN,
    check_header_name,
    check_header_value,
    place_field,
    refuse,
    require_unique,
)
from wardgate.policy.conditions import How, require_comparable
from wardgate.policy.cors import Cors
from wardgate.policy.gates import ApiKeys, BasicUsers, CrossSite, DirectAnswer, ExternalAuth, RateLimit
from wardgate.policy.identity import IdentityHeader
from wardgate.policy.paths import Path
from wardgate.problems import NOWHERE, ConfigError, Problem, Where, shown


@dataclass(frozen=True, slots=True)
class HeaderIs:
    """A request is for a route only with this header; letter case counts (Gateway API, HTTPHeaderMatch)."""

    name: str
    value: str
    how: How = How.EXACT

    def __post_init__(self) -> None:
        require_comparable(self.how, self.value)


@dataclass(frozen=True, slots=True)
class QueryIs:
    """A request is for a route only with this query parameter, compared as it is written (HTTPQueryParamMatch). `how`: EXACT or MATCHES."""

    name: str
    value: str
    how: How = How.EXACT

    def __post_init__(self) -> None:
        if self.how is not How.MATCHES:
            return
        try:
            patterns.without(self.value, "&")
        except patterns.NoPattern as error:
            raise refuse(
                "query-pattern", f"not a pattern for a parameter: {error}", NOWHERE, self.value
            ) from error


Match = HeaderIs | QueryIs


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEdits:
    """Headers of a request or an answer that a route changes: removed, then set (whatever was there), then added."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    where: Where = place_field()

    def __post_init__(self) -> None:
        for name in (*(name for name, _ in (*self.set, *self.add)), *self.remove):
            check_header_name(name, self.where)
        for _, value in (*self.set, *self.add):
            check_header_value(value, self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPath:
    """Another path: `text` in the place of `prefix` and what it stands for, or of the whole path (None). The query stays."""

    text: str
    prefix: str | None = None

    def __post_init__(self) -> None:
        if re.search(r"[\x00-\x20\x7f?#]", self.text):
            raise refuse("new-path", "is no path", NOWHERE, self.text)


def _require_host(host: str | None) -> None:
    if host is not None and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", host):
        raise refuse("new-host", "is no name of a host", NOWHERE, host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """What the upstream is asked for instead of what the client asked for."""

    host: str | None = None
    path: NewPath | None = None

    def __post_init__(self) -> None:
        _require_host(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where a request that may pass is sent instead of an upstream; what is None stays as it is. `status`: one of `REDIRECTS`."""

    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: NewPath | None = None
    status: int = 302

    def __post_init__(self) -> None:
        _require_host(self.host)
        if self.status not in REDIRECTS:
            raise refuse("redirect-status", "is not a status that it redirects with", NOWHERE, self.status)
        if self.port is not None and not 0 < self.port < 65536:
            raise refuse("port", "is no port", NOWHERE, self.port)


REDIRECTS: Final = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A second upstream that gets copies of requests, so many of a million; its answers are thrown away."""

    upstream: str
    of_million: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    One rule: requests for `path` with one of `methods`, for which all `matches` hold, and who may make them.

    `name` is what decisions, logs and metrics call it: unique in its host. `body_limit` in bytes, None: the
    policy's own. `timeout` is for the whole answer, `attempt_timeout` for the head of it (None: as the upstream says). `upstream` is a name; it is not looked at where a listener only answers other proxies. Routes of one path are tried in order, by method and `matches`. `hide_credential`: the upstream does not get the token that was
    verified. `redirect`: it goes nowhere, and no upstream is named, as on one that is Broken. `cors` None: as its host says. `login_redirect`: an
    anonymous navigation is sent to the login, else it is 401. `forward_authorization` None: as the session says. `require_grant`: each
    request must bring a grant for itself, which is spent by it (`Approvals`). `api_keys`, `basic_users` and `cross_site` are asked
    before anybody looks at the caller, `external` and `rate_limits` afterwards. `described_at`: the path of the route's description as
    a protected resource (RFC 9728), which who is refused is told. `chosen_again`: when it is known who calls, the route is
    chosen once more, as the identity headers say, among the routes of this name, which have one policy; any other is denied.
    """

    name: str
    path: Path
    methods: frozenset[str] = ANY_METHOD
    matches: tuple[Match, ...] = ()
    access: Access
    credentials: Credentials = field(default_factory=Credentials)
    upstream: str = ""
    identity: tuple[IdentityHeader, ...] = ()
    body_limit: int | None = None
    websockets: bool = True
    timeout: timedelta | None = None
    attempt_timeout: timedelta | None = None
    login_redirect: bool = True
    forward_authorization: bool | None = None
    hide_credential: bool = False
    request_headers: HeaderEdits = field(default_factory=HeaderEdits)
    response_headers: HeaderEdits = field(default_factory=HeaderEdits)
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None
    cors: Cors | None = None
    mirrors: tuple[Mirror, ...] = ()
    require_grant: bool = False
    api_keys: ApiKeys | None = None
    basic_users: BasicUsers | None = None
    cross_site: CrossSite | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    external: ExternalAuth | None = None
    direct: DirectAnswer | None = None
    described_at: str | None = None
    chosen_again: str | None = None
    where: Where = place_field()

    def __post_init__(self) -> None:
        if not self.methods:
            raise refuse("methods-empty", "a route without methods would never match", self.where)
        for method in sorted(self.methods - ANY_METHOD):
            if not TOKEN.fullmatch(method) or method in REFUSED_METHODS:
                raise refuse("method-name", "not a method that can be routed", self.where, method)
        if self.body_limit is not None and self.body_limit < 0:
            raise refuse("body-limit", "a body limit is a number of bytes", self.where, self.body_limit)
        mode = self.credentials.mode
        if isinstance(self.access, Broken):
            return
        if isinstance(self.access, Public) and mode is Mode.REQUIRED:
            raise refuse("credentials-mode", "a public route requires no credential", self.where, mode)
        bearer_only = self.credentials.kinds == {Kind.BEARER} and self.credentials.providers
        if self.chosen_again is not None and (not bearer_only or mode is Mode.IGNORED):
            raise refuse(
                "route-again", "only a route that takes bearer tokens alone is chosen again", self.where
            )
        if self.require_grant and mode is not Mode.REQUIRED:
            raise refuse(
                "grant-credentials", "a grant has a holder: the route must require a credential", self.where
            )
        if mode is Mode.IGNORED and self.identity:
            raise refuse(
                "identity-ignored", "identity headers need a credential that is looked at", self.where
            )

    def judged(self, asked: bool) -> Access:
        """
        Who may. `asked`: another proxy asks: of the request there is no body to hold a grant against, nobody knows how often that
        proxy sends it, and keys, passwords and pages are looked at only in what passes here.
        """
        if asked and self.require_grant:
            return Denied(because="a grant is spent by a request that passes here, not by a question")
        gates = (self.api_keys, self.basic_users, self.cross_site, self.external)
        if asked and (self.rate_limits or any(gate is not None for gate in gates)):
            return Denied(
                because="keys, passwords, pages and limits are for what passes here, not for a question"
            )
        return self.access

    @property
    def hidden_headers(self) -> tuple[str, ...]:
        """What the upstream does not get: a header with the token where that is hidden, Authorization where nobody looks at it."""
        terms = self.credentials
        names = {place.name.lower() for place in terms.places if place.carrier is Carrier.HEADER}
        unseen = terms.mode is not Mode.IGNORED and "authorization" not in names
        hidden = {"authorization"} if unseen or self.hide_credential else set()
        return tuple(sorted(hidden | names if self.hide_credential else hidden))

    @property
    def hides_places(self) -> bool:
        """Whether tokens are taken out of cookies and query parameters, which the upstream would see."""
        return self.hide_credential and any(
            place.carrier is not Carrier.HEADER for place in self.credentials.places
        )

    def told(self) -> tuple[str, ...]:
        """Headers by which the upstream is told whose key or password a request brought, and what another service said of it."""
        gates = (self.api_keys, self.basic_users)
        found = [gate.told for gate in gates if gate is not None and gate.told is not None]
        if self.external is not None:
            found += [name for name in self.external.taken if name not in self.external.told]
        return tuple(found)

    def allows_method(self, method: str) -> bool:
        """Whether this route speaks for the method at all."""
        if self.methods == ANY_METHOD:
            return method in STANDARD_METHODS
        return method in self.methods


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """
    The routes of some host names; `names` are exact (`api.example.com`), `*.example.com`, or `*`.

    The most specific path decides: an EXACT one, then what MATCHES (the longer pattern first), then the longest text, and of one
    text UNDER, PREFIX, TEXT in this order.
    A method that none of its routes lists is denied, and so is a path that no route matches: 401 without a
    credential that `fallback` accepts, else 403.

    Where a route protects (is not public), spelling does not open it: an EXACT path holds for the same path with
    a `/` at its end, and a request whose path would reach a more specific protecting route but for its letter
    case is denied.

    `not_found`: a request that no route is for is 404, and one that a path's routes are not for is tried with the next
    specific path (Gateway API).
    """

    names: tuple[str, ...] = ("*",)
    routes: tuple[Route, ...]
    fallback: Credentials = field(default_factory=Credentials)
    not_found: bool = False
    cors: Cors | None = None
    where: Where = place_field()

    def __post_init__(self) -> None:
        if not self.names:
            raise refuse("host-names", "a host needs a name; * is every name", self.where)
        require_unique(
            "route-name", "two routes with one name", [(route.name, route.where) for route in self.routes]
        )
        _no_overlap(self.routes)


def _no_overlap(routes: tuple[Route, ...]) -> None:
    """Two routes for one path and one method: nobody can tell which holds, so neither does."""
    seen: dict[tuple[str, str, str, tuple[Match, ...]], Route] = {}
    problems = []
    for route in routes:
        clashes = []
        for method in sorted(route.methods):
            key = (route.path.kind.value, route.path.folded, method, route.matches)
            if key in seen:
                clashes.append(seen[key])
            seen.setdefault(key, route)
        if clashes:
            first = clashes[0]
            hint = f"the first is at {first.where}: merge the two" if str(first.where) else "merge the two"
            message = "two rules for one path and method"
            got = shown(str(route.path))
            problems.append(
                Problem(code="route-duplicate", message=message, where=route.where, got=got, hint=hint)
            )
    if problems:
        raise ConfigError(problems)
