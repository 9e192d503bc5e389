"""
The model: what every dialect is read into, and all that the compiler, `decide` and `show` know.

Frozen data, no I/O. Every value checks itself when it is built and raises ConfigError; every value that a person
wrote remembers its place (`where`), which never takes part in equality: read(write(policy)) == policy.

Nothing here means two things: public is `Public()`, not an absent rule; "no audience check" is
`UncheckedAudience()`, not an empty list; any method is `ANY_METHOD`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from wardgate import patterns
from wardgate.problems import NOWHERE, ConfigError, Problem, Where, shown
from wardgate.safety import SafetyPolicy

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header or method name (RFC 9110, 5.6.2)."""

ANY_METHOD: Final = frozenset({"*"})
STANDARD_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What ANY_METHOD stands for. CONNECT and TRACE never reach an upstream; others only where a route lists them."""

REFUSED_METHODS: Final = frozenset({"CONNECT", "TRACE", "TRACK"})


def refuse(code: str, message: str, where: Where, got: object = "", hint: str = "") -> ConfigError:
    """The error of one value that checks itself."""
    text = shown(got) if got != "" else ""
    return ConfigError([Problem(code=code, message=message, where=where, got=text, hint=hint)])


CODES: Final[Mapping[str, str]] = {
    "api-keys": "Keys of clients cannot be told apart, or it is not said where they are.",
    "basic-users": "Names and passwords are written in a way that cannot be compared.",
    "algorithm": "A provider is to accept a signature algorithm that is never accepted.",
    "audience-empty": "A provider has an empty list of audiences: it would accept no token.",
    "body-limit": "A body limit is negative.",
    "cors-any-origin": "CORS allows any origin together with credentials; browsers refuse the two together.",
    "client-network": "A range of client addresses is none.",
    "credentials-mode": "A route's mode does not fit its access: a public route requires no credential.",
    "forward-auth-path": "Where other proxies are to ask is not a path, or not one that can be told from what is proxied.",
    "endpoint-clash": "A route's path belongs to the gateway's own endpoints, which win over every route.",
    "header-name": "A name that no header can have.",
    "header-reserved": "A header that the gateway itself governs: framing, or its internal prefix.",
    "host-duplicate": "Two hosts of one listener have one name.",
    "host-names": "A host has no name; `*` is every name.",
    "identity-ignored": "Identity headers on a route that does not look at credentials.",
    "issuer-duplicate": "Two providers have one issuer: nobody could tell whose token it is.",
    "login-cookie": "The session cookie of a client that shares the gateway with others has a name that is not kept from applications.",
    "login-several": "One route is for logins of two clients that have sessions of their own.",
    "issuer-form": "An issuer is not an http(s) URL without query and fragment.",
    "listen-address": "Not an IP address to listen on.",
    "listener-missing": "There is nothing to listen on.",
    "listener-name": "Two listeners have one name.",
    "method-name": "Not the name of a method, or one that is never routed (CONNECT, TRACE, TRACK).",
    "approvals-members": "Requests of agents are served, and nobody has a role.",
    "safety-name": "Two safety policies have one name.",
    "methods-empty": "A route lists no method: it would never match.",
    "path-form": "A route's path is not written as one, or is one that no request can have.",
    "port": "A port is not a number from 0 to 65535.",
    "provider-name": "Two providers have one name.",
    "provider-unknown": "A route accepts tokens of a provider that is not defined.",
    "route-duplicate": "Two routes of one host are for one path and one method: nobody could tell which of them holds.",
    "route-name": "Two routes of one host have one name.",
    "request-empty": "A part of a request is compared with nothing.",
    "request-pattern": "A pattern on a request cannot be read, or is on its path.",
    "rule-empty": "A rule has an empty list of conditions: it would let everyone or no one in.",
    "trusted-proxies": "Not a network; write 10.0.0.0/8, and one address as 10.0.0.7/32.",
    "client-key": "A provider authenticates its client by a key, and has none.",
    "introspection-client": "A provider is to introspect tokens and has no client to ask with.",
    "session-attested": "A session is remembered for less than two seconds or for more than five minutes.",
    "session-store": "Sessions are to be kept in two places.",
    "token-place": "Bearer tokens are to be looked for where none can be.",
    "token-source": "A header is to hold userinfo as a token; it is an answer and has no text of its own.",
    "upstream-empty": "An upstream has no endpoint.",
    "upstream-name": "Two upstreams have one name.",
    "upstream-unknown": "A route names an upstream that is not defined.",
    "grant-approvals": "A route requires a grant, and there is no `approvals` that could give one.",
    "grant-credentials": "A route requires a grant and no credential: nobody could hold one.",
    "webhook-url": "Where requests that wait for people are to be told is not an http(s) URL.",
}
"""What values of the model refuse about themselves, whichever format they were written in."""


def _place() -> Where:
    return field(default=NOWHERE, compare=False, repr=False)


class Secret:
    """
    A value that never prints. `reference` is how `show` and `compile` write it: `${NAME}`, or where it came from.

    Equality is by reference when both have one, so that a policy read back from `show` equals the first.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str) -> None:
        self._value = value
        self.reference = reference

    def reveal(self) -> str:
        return self._value

    def unknown(self) -> Secret:
        """What stands in its place where it must not be shown."""
        return Secret(f"not shown: {self.reference}", self.reference)

    def __repr__(self) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)


def check_header_name(name: str, where: Where) -> None:
    """Refuse what is no header name, what would break the request's framing, and our internal prefix."""
    if not TOKEN.fullmatch(name):
        raise refuse("header-name", "is not a header name", where, name)
    if name.lower() in FRAMING_HEADERS or name.lower().startswith(INTERNAL_PREFIX):
        raise refuse("header-reserved", "a header that the gateway itself governs", where, name)


INTERNAL_PREFIX: Final = "x-wardgate-"
FRAMING_HEADERS: Final = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
    }
)


# --- Paths ------------------------------------------------------------------------------------------------------


class PathKind(StrEnum):
    """
    How a route's path is compared with a request's.

    EXACT `/x`: that path. PREFIX `/x` with everything below: `/x`, `/x/`, `/x/y`, never `/xy`.
    UNDER: only below: `/x/`, `/x/y`, not `/x`. TEXT: any path that starts with these characters: `/x`, `/xy`.
    """

    EXACT = "exact"
    PREFIX = "prefix"
    UNDER = "under"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """`text` starts with `/` and, except for the root, does not end with one (PREFIX and UNDER)."""

    kind: PathKind
    text: str
    where: Where = _place()

    def __post_init__(self) -> None:
        if not self.text.startswith("/"):
            raise refuse("path-form", "a path starts with /", self.where, self.text)
        if UNSAFE_PATH.search(self.text):
            hint = (
                "write the path as the application sees it: no encoded characters, no ; and no dot segments"
            )
            raise refuse("path-form", "a path that no request can have", self.where, self.text, hint)
        if self.kind in (PathKind.PREFIX, PathKind.UNDER) and self.text != "/" and self.text.endswith("/"):
            raise refuse("path-form", "a prefix is written without its last /", self.where, self.text)

    def __str__(self) -> str:
        match self.kind:
            case PathKind.EXACT:
                return self.text
            case PathKind.TEXT:
                return self.text + "*"
            case PathKind.PREFIX | PathKind.UNDER:
                return self.text.rstrip("/") + ("/**" if self.kind is PathKind.PREFIX else "/*")


UNSAFE_PATH: Final = re.compile(
    r"[;\\\x00-\x20\x7f?#]|%(?:2[eEfF35]|5[cC]|3[bBfF]|7[fF]|[01][0-9a-fA-F]|(?![0-9a-fA-F]{2}))"
    # spaces and dots that some servers drop from the end of a name, and UTF-8 that has a shorter spelling
    r"|/%20|%20(?:/|$)|//|\.(?:/|$)|%(?:[cC][01]|[fF][5-9a-fA-F]|[eE]0%[89]|[fF]0%8)"
)
"""What is refused in a path after normalization (design 6): a second reader could see another path there."""


# --- Who may --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Any caller whose credential is valid."""


@dataclass(frozen=True, slots=True)
class RealmRole:
    """Keycloak: `realm_access.roles` holds the role."""

    role: str


@dataclass(frozen=True, slots=True)
class ClientRole:
    """Keycloak: `resource_access.<client>.roles` holds the role."""

    client: str
    role: str


@dataclass(frozen=True, slots=True)
class Group:
    """`groups` holds the name, compared as it is: `/team` and `team` differ."""

    name: str


@dataclass(frozen=True, slots=True)
class Scope:
    """`scope` (space-separated, or a list) holds the name (RFC 9068)."""

    name: str


@dataclass(frozen=True, slots=True)
class ClaimIs:
    """The claim at `path` is `value`, or is a list that holds it. Types matter: `1`, `"1"` and `true` differ."""

    path: tuple[str, ...]
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class ClaimMatches:
    """The claim at `path` is a string that `pattern` (RE2) matches whole, or a list that holds such a string."""

    path: tuple[str, ...]
    pattern: str

    def __post_init__(self) -> None:
        _require_pattern("claim-pattern", self.pattern)


def _require_pattern(code: str, pattern: str) -> None:
    """Raises ConfigError."""
    hint = "RE2 syntax: no look-around, no back references; an empty pattern would match nothing"
    if not pattern:
        raise refuse(code, "an empty pattern", NOWHERE, pattern, hint)
    try:
        patterns.require(pattern)
    except patterns.NoPattern as error:
        raise refuse(code, f"not a pattern: {error}", NOWHERE, pattern, hint) from error


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """A request header is present with one of these values, letter case aside (gatekeeper `resources[].headers`)."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClaimPresent:
    """
    The claim at `path` is there, and says something: a text, a number, a boolean, a list that holds one, an object that has
    such a claim. What is null or empty says nothing.
    """

    path: tuple[str, ...]


class Part(StrEnum):
    """A part of a request that a condition looks at."""

    METHOD = "method"
    PATH = "path"
    HEADER = "header"


class How(StrEnum):
    """How a text is compared; letter case counts. MATCHES: a pattern (RE2) for the whole text."""

    EXACT = "is"
    PREFIX = "begins with"
    SUFFIX = "ends with"
    CONTAINS = "contains"
    MATCHES = "matches"


@dataclass(frozen=True, slots=True)
class RequestText:
    """
    A part of the request compares so with `value`: the path as it is routed, without its query; several lines of the header
    `name` as one, joined by commas.
    """

    part: Part
    how: How
    value: str
    name: str = ""

    def __post_init__(self) -> None:
        if self.how is How.MATCHES and self.part is Part.PATH:
            hint = "a pattern could match what is in the query, too: compare with a text"
            raise refuse("request-pattern", "a path is matched by no pattern", NOWHERE, self.value, hint)
        _require_comparable(self.how, self.value)


def _require_comparable(how: How, value: str) -> None:
    """Raises ConfigError."""
    if how is How.MATCHES:
        _require_pattern("request-pattern", value)
    elif not value and how is not How.EXACT:
        raise refuse("request-empty", f"everything {how} nothing", NOWHERE)


@dataclass(frozen=True, slots=True)
class ClientIn:
    """The client's address is in one of these networks: the peer's, or what a trusted proxy says."""

    networks: tuple[str, ...]

    def __post_init__(self) -> None:
        for text in self.networks:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise refuse(
                    "client-network", "no range of addresses", NOWHERE, text, "10.0.0.0/8"
                ) from error


@dataclass(frozen=True, slots=True)
class Not:
    condition: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _not_empty(self.conditions)


@dataclass(frozen=True, slots=True)
class AnyOf:
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _not_empty(self.conditions)


Condition = (
    Authenticated
    | RealmRole
    | ClientRole
    | Group
    | Scope
    | ClaimIs
    | ClaimMatches
    | ClaimPresent
    | RequestHeader
    | RequestText
    | ClientIn
    | Not
    | AllOf
    | AnyOf
)


def _not_empty(conditions: tuple[Condition, ...]) -> None:
    if not conditions:
        raise refuse("rule-empty", "an empty list of conditions would let everyone or no one in", NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """Open: no credential is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Open to those for whom `when` holds."""

    when: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """Closed to everyone; `because` is for people."""

    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Closed to everyone with 500, since what would protect it cannot be enforced (Gateway API); `because` is for people."""

    because: str


Access = Public | Rule | Denied | Broken


class Kind(StrEnum):
    """How a credential arrives: `Authorization: Bearer`, or our session cookie."""

    BEARER = "bearer"
    SESSION = "session"


class Mode(StrEnum):
    """
    What a route does about credentials.

    IGNORED: they are not looked at. REQUIRED: 401 without a valid one. OPTIONAL: anonymous passes, a bad one is 401.
    PERMISSIVE: anonymous and bad ones pass, without identity.
    """

    IGNORED = "ignored"
    REQUIRED = "required"
    OPTIONAL = "optional"
    PERMISSIVE = "permissive"


class Carrier(StrEnum):
    """What of a request carries a bearer token."""

    HEADER = "header"
    COOKIE = "cookie"
    PARAM = "param"


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where a bearer token is: the header, cookie or query parameter `name`; in a header behind `prefix`."""

    carrier: Carrier
    name: str
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.carrier is Carrier.HEADER:
            check_header_name(self.name, NOWHERE)
        elif not TOKEN.fullmatch(self.name):
            raise refuse("token-place", "not the name of a cookie or a parameter", NOWHERE, self.name)


AUTHORIZATION: Final = TokenPlace(Carrier.HEADER, "authorization", "Bearer ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """
    `providers` are names. No kinds or no providers: nothing is accepted, a REQUIRED route is 401 to everyone.

    `introspect`: the issuer is asked about every bearer token (RFC 7662), whatever its provider says. `places`: where bearer tokens
    are looked for; tokens in two of them are two credentials. Authorization is not looked at where it is none of them, and never
    gets to the upstream there.
    """

    mode: Mode = Mode.REQUIRED
    kinds: frozenset[Kind] = frozenset({Kind.BEARER, Kind.SESSION})
    providers: tuple[str, ...] = ()
    introspect: bool = False
    places: tuple[TokenPlace, ...] = (AUTHORIZATION,)


# --- Identity headers -------------------------------------------------------------------------------------------


class Source(StrEnum):
    """Which of a session's tokens a value is read from. A bearer token is its own access token and has no other."""

    ACCESS = "access"
    ID = "id"
    USERINFO = "userinfo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimValue:
    """
    A claim as text: strings as they are, numbers in full, lists joined by `separator`; absent means no header.

    CR, LF and NUL, and the separator inside a list's value, are percent-encoded.
    """

    path: tuple[str, ...]
    separator: str = ","
    source: Source = Source.ACCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class RawToken:
    """The token itself, without a scheme: the bearer token, or the session's access or ID token."""

    source: Source = Source.ACCESS

    def __post_init__(self) -> None:
        if self.source is Source.USERINFO:
            raise refuse("token-source", "userinfo is an answer, not a token", NOWHERE, self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityHeader:
    """A request header that the upstream may trust: a client's own copy never survives."""

    name: str
    value: ClaimValue | RawToken
    where: Where = _place()

    def __post_init__(self) -> None:
        check_header_name(self.name, self.where)


# --- Routes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeaderIs:
    """A request is for a route only with this header; letter case counts (Gateway API, HTTPHeaderMatch)."""

    name: str
    value: str
    how: How = How.EXACT

    def __post_init__(self) -> None:
        _require_comparable(self.how, self.value)


@dataclass(frozen=True, slots=True)
class QueryIs:
    """A request is for a route only with this query parameter, compared as it is written (HTTPQueryParamMatch)."""

    name: str
    value: str


Match = HeaderIs | QueryIs


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEdits:
    """Headers of a request or an answer that a route changes: removed, then set (whatever was there), then added."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    where: Where = _place()

    def __post_init__(self) -> None:
        for name in (*(name for name, _ in (*self.set, *self.add)), *self.remove):
            check_header_name(name, self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPath:
    """Another path: `text` in the place of `prefix` and what it stands for, or of the whole path (None). The query stays."""

    text: str
    prefix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """What the upstream is asked for instead of what the client asked for."""

    host: str | None = None
    path: NewPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where a request that may pass is sent instead of an upstream; what is None stays as it is. `status`: 301 or 302."""

    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: NewPath | None = None
    status: int = 302


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A second upstream that gets copies of requests, so many of a million; its answers are thrown away."""

    upstream: str
    of_million: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeys:
    """
    A request must bring one of these keys; each stands beside the client whose it is. They are looked for in `headers` (behind
    `Bearer`, too), query parameters (`params`) and `cookies`, in this order, and the first that is there counts. `strip`: the
    upstream does not see it; `told`: the header by which it is told the client.
    """

    keys: tuple[tuple[str, Secret], ...]
    headers: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    strip: bool = False
    told: str | None = None

    def __post_init__(self) -> None:
        values = [key.reveal() for _, key in self.keys]
        if not all(values) or len(set(values)) < len(values):
            raise refuse("api-keys", "a key is empty, or there twice", NOWHERE)
        if not (self.headers or self.params or self.cookies):
            raise refuse("api-keys", "nothing says where a key is looked for", NOWHERE)
        for name in (*self.headers, *([self.told] if self.told else [])):
            check_header_name(name, NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicUsers:
    """
    A request must bring the name and the password of one of these (RFC 7617). Each name stands beside the SHA-1 of its password in
    base64 (what Envoy can compare). `told`: the header by which the upstream is told the name.
    """

    users: tuple[tuple[str, Secret], ...]
    told: str | None = None

    def __post_init__(self) -> None:
        names = [name for name, _ in self.users]
        wrong = [name for name in names if not name or ":" in name or "\n" in name]
        if wrong or len(set(names)) < len(names):
            raise refuse("basic-users", "a name is none, or there twice", NOWHERE)
        if self.told is not None:
            check_header_name(self.told, NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossSite:
    """
    A request that changes something must come from a page of its own host, or of one of these origins.

    Usually (Envoy Gateway) that is POST, PUT, PATCH and DELETE; origins may have `*` for what it is of any name; browsers say where
    a page is by Origin, or Referer, of which the scheme does not count, and who says neither is refused. `by_metadata`
    (agentgateway): it is any method but GET, HEAD and OPTIONS; Sec-Fetch-Site counts before Origin, and who says neither is no
    browser and may pass.
    """

    origins: tuple[str, ...] = ()
    by_metadata: bool = False

    def patterns(self) -> tuple[str, ...]:
        """RE2 of these origins without their schemes."""
        return tuple(origin_pattern(origin.partition("://")[2] or origin) for origin in self.origins)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAuth:
    """
    Another service is asked whether a request may pass, after its credential was verified and before rules are judged (Envoy's
    ext_authz): by gRPC, or in HTTP with the request's method and its path behind `path`.

    By HTTP it is told the headers `told` beside Host, Content-Length and Authorization, and the upstream gets the headers `taken`
    of its answer; a client's own copies of those never arrive, unless they are `told`. By gRPC it is told all headers, and
    `context`. `body_bytes`: so much of the body (larger ones are 413); None: nothing of it. Without an answer in time it is 403, or,
    `fail_open`, the request passes.
    """

    upstream: str
    grpc: bool = False
    path: str = ""
    told: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    body_bytes: int | None = None
    timeout: timedelta = timedelta(seconds=10)
    fail_open: bool = False
    context: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.told, *self.taken):
            check_header_name(name, NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `burst` requests at once, and `requests` more in each time `per`, of all callers together in one gateway: 429."""

    requests: int
    per: timedelta
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectAnswer:
    """
    What a request that may pass is answered with, instead of an upstream. `kind` is the body's media type. Where the answer
    `tells_origin`, ORIGIN in its body is the origin that was asked.
    """

    status: int
    body: str = ""
    kind: str = "text/plain"
    tells_origin: bool = False


ORIGIN: Final = "{origin}"
RESOURCES: Final = "/.well-known/oauth-protected-resource"
"""Below it are the descriptions of protected resources (RFC 9728, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    One rule: requests for `path` with one of `methods`, for which all `matches` hold, and who may make them.

    `name` is what decisions, logs and metrics call it: unique in its host. `body_limit` in bytes, None: the
    policy's own. `upstream` is a name; it is not looked at where a listener only answers other proxies. Routes of one path are tried in order, by method and `matches`. `hide_credential`: the upstream does not get the token that was
    verified. `redirect`: it goes nowhere, and no upstream is named, as on one that is Broken. `cors` None: as its host says. `login_redirect`: an
    anonymous navigation is sent to the login, else it is 401. `forward_authorization` None: as the session says. `require_grant`: each
    request must bring a grant for itself, which is spent by it (`Approvals`). `api_keys`, `basic_users` and `cross_site` are asked
    before anybody looks at the caller, `external` and `rate_limit` afterwards. `described_at`: the path of the route's description as
    a protected resource (RFC 9728), which who is refused is told.
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
    rate_limit: RateLimit | None = None
    external: ExternalAuth | None = None
    direct: DirectAnswer | None = None
    described_at: str | None = None
    where: Where = _place()

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
        gates = (self.api_keys, self.basic_users, self.cross_site, self.rate_limit, self.external)
        if asked and any(gate is not None for gate in gates):
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
class Cors:
    """
    Cross-origin rules (Fetch standard). An origin is exact, or has `*` for what it is of any name (`https://*.example.com`: at
    any depth below), or is `*` for all.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age: timedelta | None = None
    credentials: bool = False
    where: Where = _place()

    def __post_init__(self) -> None:
        if self.credentials and "*" in self.origins:
            hint = "list the origins; browsers refuse * together with credentials"
            raise refuse("cors-any-origin", "any origin together with credentials", self.where, hint=hint)

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may read answers."""
        return any(re.fullmatch(origin_pattern(each), origin) for each in self.origins)


def origin_pattern(origin: str) -> str:
    """RE2 of the origins that one of `Cors.origins` means."""
    if origin == "*":
        return ".*"
    return "[^/?#@]+".join(map(patterns.escape, origin.split("*")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """
    The routes of some host names; `names` are exact (`api.example.com`), `*.example.com`, or `*`.

    The most specific path decides: the longest text, and of one text EXACT, UNDER, PREFIX, TEXT in this order.
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
    where: Where = _place()

    def __post_init__(self) -> None:
        if not self.names:
            raise refuse("host-names", "a host needs a name; * is every name", self.where)
        _unique(
            "route-name", "two routes with one name", [(route.name, route.where) for route in self.routes]
        )
        _no_overlap(self.routes)


def _unique(code: str, message: str, named: Iterable[tuple[str, Where]]) -> None:
    seen: dict[str, Where] = {}
    problems = []
    for name, where in named:
        if name in seen:
            hint = f"the first is at {seen[name]}" if str(seen[name]) else ""
            problems.append(Problem(code=code, message=message, where=where, got=shown(name), hint=hint))
        seen.setdefault(name, where)
    if problems:
        raise ConfigError(problems)


def _no_overlap(routes: tuple[Route, ...]) -> None:
    """Two routes for one path and one method: nobody can tell which holds, so neither does."""
    seen: dict[tuple[str, str, str, tuple[Match, ...]], Route] = {}
    problems = []
    for route in routes:
        clashes = []
        for method in sorted(route.methods):
            key = (route.path.kind.value, route.path.text.lower(), method, route.matches)
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


# --- The edges: listeners, providers, upstreams -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An IP address and a port; port 0 asks the kernel."""

    host: str
    port: int
    where: Where = _place()

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            hint = "write an IP address: 127.0.0.1, 0.0.0.0 or [::]"
            raise refuse(
                "listen-address", "not an address to listen on", self.where, self.host, hint
            ) from None
        if not 0 <= self.port <= 65535:
            raise refuse("port", "a port is 0 to 65535", self.where, self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """Files in PEM; `minimum` is `1.2` or `1.3`; `client_ca` asks clients for a certificate."""

    certificate: str
    key: str
    minimum: str = "1.3"
    client_ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A chain of certificates and its key: the texts themselves, in PEM."""

    certificate: str
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTls:
    """
    Certificates that are part of the policy. Who asks for a name (SNI) is shown the one that is made for it, who asks for no
    name, or for one that none is made for, the first.
    """

    pairs: tuple[KeyPair, ...]
    minimum: str = "1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardAuth:
    """
    Where other proxies ask whether a request may pass (forward-auth, auth_request, ext_authz): `path`, and below it.

    `path` `/` is every path that is not ours, None only those of `by_headers`: there a question is told from a person's request
    by the headers that name the original one. `only`: the listener proxies nothing, and its routes name no upstream.
    """

    path: str | None = "/auth"
    by_headers: tuple[str, ...] = ()
    only: bool = True
    where: Where = _place()

    def __post_init__(self) -> None:
        for path in filter(None, (self.path, *self.by_headers)):
            if not re.fullmatch(r"/|(?:/[0-9A-Za-z_.~-]+)+", path) or "/." in path:
                hint = "a path of letters, digits and - . _ ~ between slashes: /auth"
                raise refuse(
                    "forward-auth-path", "not a path that proxies can ask at", self.where, path, hint
                )

        if self.path == "/" and not self.only:
            hint = "name a path where proxies ask, such as /auth"
            message = "every path cannot be asked at on a listener that proxies"
            raise refuse("forward-auth-path", message, self.where, self.path, hint)

    @property
    def below(self) -> str | None:
        """What the path of a request begins with that has its original behind it."""
        return None if self.path is None else self.path.rstrip("/") + "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """
    `redirect_to_https`: a request whose scheme is http is redirected, the health endpoint aside. `errors` None: as the
    policy says. `tells_hops`: an upstream gets X-Request-ID and X-Forwarded-*, which say how the request came.
    """

    name: str
    address: Address
    hosts: tuple[Host, ...]
    tls: ServerTls | HeldTls | None = None
    redirect_to_https: bool = False
    proxy_protocol: bool = False
    forward_auth: ForwardAuth | None = None
    errors: Errors | None = None
    tells_hops: bool = True
    where: Where = _place()

    @property
    def proxies(self) -> bool:
        """Whether requests go on to upstreams from here."""
        return self.forward_auth is None or not self.forward_auth.only

    def __post_init__(self) -> None:
        names = [(name.lower(), host.where) for host in self.hosts for name in host.names]
        _unique("host-duplicate", "two hosts with one name", names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audiences:
    """The token's `aud` holds one of these."""

    any_of: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.any_of:
            raise refuse("audience-empty", "an empty list of audiences accepts no token", NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedAudience:
    """Whatever `aud` says is accepted: a token made for another application opens this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """
    How we speak TLS to another server; files in PEM. `ca_pem`: authorities as they are, without a file. `verify` False is unsafe
    and is said at start.
    """

    ca: str | None = None
    ca_pem: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None
    verify: bool = True


ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class ClientAuthentication(StrEnum):
    """How we prove to the issuer that we are our client (OpenID Connect Core 1.0, 9)."""

    BASIC = "basic"
    POST = "post"
    PRIVATE_KEY_JWT = "private-key-jwt"


class Introspection(StrEnum):
    """
    Which bearer tokens the issuer is asked about (RFC 7662).

    OPAQUE: those that are no JWT. ALWAYS: every one, and the access tokens of sessions, so that a login that ended at
    the issuer is noticed.
    """

    OFF = "off"
    OPAQUE = "opaque"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """
    One configured source of tokens: the `iss` that they carry, and where its keys are.

    `discovery_url` defaults to the issuer's own; `jwks_url` skips discovery; `jwks` are keys in the file itself.
    With a `client_id` browsers can log in here (where the policy has a `session`). `client_key` is a file in PEM, for
    `private-key-jwt`. `title` is what a person reads who has to choose between providers; `email_domains` and `hosts`
    choose without asking. `authorization_parameters` are sent with every login (`ui_locales`, `prompt`, ...). `endpoints` are
    addresses by their names in a discovery document (`token_endpoint`, ...), and stand over what that says. `login`: its
    logins have a session of their own; None: the policy's.
    """

    name: str
    issuer: str
    audience: Audiences | UncheckedAudience
    discovery_url: str | None = None
    jwks_url: str | None = None
    jwks: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256")
    leeway: timedelta = timedelta(seconds=30)
    max_lifetime: timedelta = timedelta(hours=24)
    keys_refresh: timedelta = timedelta(seconds=60)
    timeout: timedelta = timedelta(seconds=10)
    client_id: str | None = None
    client_secret: Secret | None = None
    client_authentication: ClientAuthentication = ClientAuthentication.BASIC
    client_key: str | None = None
    pushed_authorization: bool = False
    acr_values: str | None = None
    max_age: timedelta | None = None
    authorization_parameters: tuple[tuple[str, str], ...] = ()
    endpoints: tuple[tuple[str, str], ...] = ()
    title: str | None = None
    email_domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    introspection: Introspection = Introspection.OFF
    introspection_url: str | None = None
    tls: ClientTls = field(default_factory=ClientTls)
    headers: tuple[tuple[str, str], ...] = ()
    proxy: str | None = None
    login: Login | None = None
    where: Where = _place()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^\s?#]+", self.issuer):
            hint = "the iss of the tokens, as in the discovery document: https://HOST/realms/REALM"
            raise refuse("issuer-form", "an issuer is an http(s) URL", self.where, self.issuer, hint)
        for algorithm in self.algorithms:
            if algorithm not in ALGORITHMS:
                hint = f"one of {', '.join(ALGORITHMS)}"
                raise refuse("algorithm", "an algorithm that is not accepted", self.where, algorithm, hint)
        by_key = self.client_authentication is ClientAuthentication.PRIVATE_KEY_JWT
        if by_key and self.client_key is None:
            hint = "name the file with our private key (client-key)"
            raise refuse("client-key", "private-key-jwt needs a key", self.where, self.name, hint)
        if self.introspection is not Introspection.OFF and self.client_id is None:
            hint = "set client-id and client-secret: the issuer answers its own clients only"
            raise refuse("introspection-client", "introspection needs a client", self.where, self.name, hint)

    def discovery(self) -> str:
        """Where the discovery document is (OpenID Connect Discovery 1.0, 4)."""
        return self.discovery_url or self.issuer.rstrip("/") + "/.well-known/openid-configuration"


class UpstreamProtocol(StrEnum):
    HTTP1 = "http1"
    HTTP2 = "http2"
    """Cleartext with prior knowledge, or ALPN h2 over TLS: gRPC needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of an upstream. `weight`: its share of the requests, beside those of the others."""

    host: str
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A service behind the gateway; several endpoints are used in turn. `keepalive` None: one request a connection."""

    name: str
    endpoints: tuple[Endpoint, ...]
    tls: ClientTls | None = None
    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1
    connect_timeout: timedelta = timedelta(seconds=10)
    response_timeout: timedelta = timedelta(seconds=60)
    keepalive: timedelta | None = timedelta(seconds=60)
    preserve_host: bool = True
    where: Where = _place()

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise refuse("upstream-empty", "an upstream needs an endpoint", self.where, self.name)


# --- The session ------------------------------------------------------------------------------------------------


class SameSite(StrEnum):
    STRICT = "strict"
    LAX = "lax"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginParameter:
    """A query parameter that a login passes on to the issuer: any value, or `only` this one; `default` when absent."""

    name: str
    only: str | None = None
    default: str | None = None


class Outage(StrEnum):
    """What happens to a session whose tokens cannot be refreshed because the issuer does not answer."""

    CONTINUE = "continue"
    """It goes on with its last verified claims, until its own limits."""

    FAIL = "fail"
    """503 until the issuer is back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """
    Browser sessions: the cookie, the store, the login, the logout.

    They are kept on this machine, in the Redis at `store_url`, or, `in_cookies`, in the browser itself, encrypted.
    `attested` is how long a session is remembered before the store is asked again. `forward_authorization`: the
    session's access token goes to the upstream as `Authorization: Bearer`. `redirect_hosts` are the other hosts where a
    login may end (`rd`), exact names; those below `cookie_domain` may too. `login_patience`: how long a person may take at the
    issuer. `token_lifetime`: of access tokens of which nobody says it. `logout_by_get`: GET ends a session, too,
    when the browser says that its own site asks. `pages` are (`sign-in` | `forbidden` | `error`, file) pairs,
    `page_values` what their templates may print. `websockets` bounds how long one that a session opened outlives it.
    """

    cookie_name: str = "wardgate-session"
    cookie_domain: str | None = None
    cookie_path: str = "/"
    secure: bool = True
    same_site: SameSite = SameSite.LAX
    persistent: bool = False
    idle: timedelta = timedelta(minutes=30)
    lifetime: timedelta = timedelta(hours=12)
    attested: timedelta = timedelta(seconds=30)
    websockets: timedelta = timedelta(hours=1)
    store_url: Secret | None = None
    in_cookies: bool = False
    encryption_key: Secret | None = None
    old_encryption_keys: tuple[Secret, ...] = ()
    redirection_url: str | None = None
    redirect_hosts: tuple[str, ...] = ()
    redirect_http: bool = False
    post_logout_url: str | None = None
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    pkce: bool = True
    login_patience: timedelta = timedelta(minutes=10)
    token_lifetime: timedelta | None = None
    refresh: bool = True
    on_issuer_outage: Outage = Outage.CONTINUE
    password_login: bool = False
    login_parameters: tuple[LoginParameter, ...] = ()
    post_login_path: str | None = None
    logout_by_get: bool = False
    logout_at_issuer: bool = True
    revocation_url: str | None = None
    verified_email: bool = False
    forward_authorization: bool = True
    store_tls: ClientTls | None = None
    store_cluster: bool = False
    pages: tuple[tuple[str, str], ...] = ()
    page_values: tuple[tuple[str, str], ...] = ()
    where: Where = _place()

    def __post_init__(self) -> None:
        if self.in_cookies and self.store_url is not None:
            hint = "remove one of the two"
            raise refuse(
                "session-store", "sessions are kept in one place", self.where, "cookie and a Redis", hint
            )
        if not timedelta(seconds=2) <= self.attested <= timedelta(minutes=5):
            hint = "from 2s to 5m; a session that ended elsewhere is noticed at the latest after so long"
            raise refuse("session-attested", "too short or too long", self.where, self.attested, hint)

    @property
    def cookie(self) -> str:
        """The cookie's name as browsers see it: `__Host-` where they can hold it to that (RFC 6265bis, 4.1.3.2)."""
        fits = self.secure and self.cookie_domain is None and self.cookie_path == "/"
        return (
            f"__Host-{self.cookie_name}"
            if fits and not self.cookie_name.startswith("__")
            else self.cookie_name
        )


OWN_COOKIES: Final = "wardgate-session-"
"""The cookie names of sessions that are not the policy's one begin so: no application sees any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """
    Logins by a client that shares the gateway with others (Gateway API, `SecurityPolicy.oidc`): its `session` is not theirs, and
    has another cookie. On the hosts of its routes browsers come back to the path `callback`, and log out at the path `logout`.
    """

    session: Session
    callback: str
    logout: str

    def __post_init__(self) -> None:
        if not self.session.cookie_name.startswith(OWN_COOKIES):
            raise refuse(
                "login-cookie", f"does not begin with {OWN_COOKIES}", NOWHERE, self.session.cookie_name
            )


# --- The whole ------------------------------------------------------------------------------------------------------


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
class Members:
    """Who has a role: identities or subjects, letter by letter, or members of groups."""

    subjects: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Who is told of requests that wait for people: a URL, and the secret that signs what is sent (Standard Webhooks)."""

    url: str
    secret: Secret
    where: Where = _place()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^\s/?#]+[^\s#]*", self.url):
            raise refuse("webhook-url", "not an http(s) URL", self.where, self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """
    Requests of agents, and who decides them (S2). Tokens come from `provider`. `store` is a URL of Postgres; None: a file in
    the state directory. `owners` are pairs of an agent's identity and a person who answers for it, and so cannot approve what
    it asks for. A request that is pending for `pending_for` expires; one that is asked for again within `dedup_window` with
    the same `dedupKey` is the first one. A grant (`Route.require_grant`) can be spent for `grants_for`.
    """

    provider: str
    identity_claim: str = "azp"
    groups_claim: str = "groups"
    agents: Members = Members()
    reviewers: Members = Members()
    admins: Members = Members()
    owners: tuple[tuple[str, str], ...] = ()
    store: Secret | None = None
    pending_for: timedelta = timedelta(hours=24)
    dedup_window: timedelta = timedelta(hours=24)
    grants_for: timedelta = timedelta(minutes=5)
    webhook: Webhook | None = None
    safety: tuple[SafetyPolicy, ...] = ()
    where: Where = _place()

    def __post_init__(self) -> None:
        members = (self.agents, self.reviewers, self.admins)
        if not any(each.subjects or each.groups for each in members):
            message = "nobody may ask for anything: no subject or group has a role"
            hint = (
                "name some: --agent-subjects, --reviewer-subjects, --admin-subjects, or --agent-groups and the like; "
                "in wardgate.yaml approvals.agents.subjects"
            )
            raise ConfigError(
                [Problem(code="approvals-members", message=message, where=self.where, hint=hint)]
            )
        _unique("safety-name", "two safety policies with one name", [(p.name, p.where) for p in self.safety])


AGENTS: Final = "wardgate:approvals"
"""The upstream of routes that lead to the requests of agents, which the gateway serves itself."""

CONSOLE: Final = "wardgate:console"
"""The upstream of the route to the reviewers' console. The service looks at the session itself, in the store, at each request:
what Envoy was told of it half a minute ago is not enough to approve by."""

CONSOLE_PATH: Final = "/console"


def is_below(path: str, place: str) -> bool:
    """Whether a path is this place, or below it."""
    return path == place or path.startswith(place + "/")


AGENTS_GUARDED: Final = ("/agent-requests", "/audit-records", "/whoami")
AGENTS_OPEN: Final = ("/openapi.json", "/healthz", "/readyz", "/.well-known/jwks.json")
"""Where they are: with a token, and for everybody."""

AGENTS_BODY_BYTES: Final = 256 * 1024
"""What may be sent there."""


class Errors(StrEnum):
    """Whose error bodies: our problem documents, or those of a product that is replaced."""

    PROBLEM = "problem"
    ROLE_MAPPING = "role-mapping"
    """`{"detail": …}`, and of what is allowed who calls (S1)."""

    AGENTGATEWAY = "agentgateway"
    """`authentication failure: …` as plain text, without a challenge (S4)."""

    AIP = "aip"
    """`{"error": …}`, in the words of the AIP gateway (S2)."""


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
    where: Where = _place()

    def __post_init__(self) -> None:
        _unique("provider-name", "two providers with one name", [(p.name, p.where) for p in self.providers])
        _unique("upstream-name", "two upstreams with one name", [(u.name, u.where) for u in self.upstreams])
        _unique("listener-name", "two listeners with one name", [(x.name, x.where) for x in self.listeners])
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
        _unique("issuer-duplicate", "two providers with one issuer", named)

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
