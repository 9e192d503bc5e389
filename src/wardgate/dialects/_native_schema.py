"""
The keys of the native format, as pydantic models: what may be written, and nothing about what becomes of it.

The JSON Schema that the package publishes (`wardgate.schema.json`) and the reference of keys are made from these; the
text under an attribute is its description there. Short forms are unions told apart by the kind of value, so an error
is about the form that was meant. A key without a value (null) is refused before these are asked.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from wardgate.dialects._native_values import (
    TEXT,
    Audience,
    ClaimPath,
    Count,
    Duration,
    Filled,
    Flag,
    HostNames,
    Jwks,
    Keepalive,
    Listen,
    Methods,
    Networks,
    Prefix,
    RoutePath,
    Schema,
    Segment,
    Size,
    Targets,
    Text,
    Texts,
    TlsVersion,
    claim_value,
    one_of,
    read_by,
    refused,
    several,
)
from wardgate.policy import Errors, Kind, Mode, SameSite, UpstreamProtocol


def _alias(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


class Keys(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=_alias, use_attribute_docstrings=True
    )


def shape(value: object) -> str:
    """What kind of value stands there; no key can have these names, so they never look like a place."""
    match value:
        case bool():
            return "<flag>"
        case str():
            return "<text>"
        case dict():
            return "<keys>"
        case list():
            return "<list>"
        case _:
            return "<other>"


def _by_shape(takes: str) -> Discriminator:
    return Discriminator(shape, custom_error_type="value-type", custom_error_message=f"takes {takes}")


# --- Conditions ---------------------------------------------------------------------------------------------------


class ClientRole(Keys):
    """Keycloak's `resource_access.<client>.roles`."""

    client: Filled
    """The client whose role it is."""

    role: Text
    """The role's name."""


def _claim_values(value: object) -> tuple[str | int | bool, ...]:
    values = tuple(claim_value(item) for item in (value if isinstance(value, list) else [value]))
    if not values:
        raise refused("list-empty", "is an empty list: nobody could pass")
    return values


_VALUE: Final[Schema] = {"type": ["string", "integer", "boolean"]}
ClaimValues = Annotated[
    tuple[str | int | bool, ...],
    *read_by(_claim_values, {"anyOf": [_VALUE, {"type": "array", "items": _VALUE, "minItems": 1}]}),
]

HEADS: Final = ("role", "client-role", "group", "scope", "claim", "header", "not", "all", "any")
"""The keys that name a condition; exactly one stands in each."""

_TAKES: Final = {"claim": ("is", "matches"), "header": ("is",)}
_EXAMPLES: Final = {"claim": "{claim: tenant, is: acme}", "header": "{header: X-Env, is: [prod]}"}


class Condition(Keys):
    """One condition: exactly one of role, client-role, group, scope, claim, header, not, all, any."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [head]} for head in HEADS]},
    )

    role: Text | None = None
    """The caller has this realm role (`realm_access.roles`)."""

    client_role: ClientRole | None = None
    """The caller has this role of a client."""

    group: Text | None = None
    """`groups` holds this name, as it is: `/team` and `team` differ."""

    scope: Text | None = None
    """`scope` holds this name."""

    claim: ClaimPath | None = None
    """A claim, by its path; dots go inward. With `is` or `matches`."""

    header: Filled | None = None
    """A request header, with `is`: one of these values, letter case aside."""

    is_: ClaimValues | None = None
    """The value, or several of which one is enough; text, numbers and booleans differ."""

    matches: Text | None = None
    """An RE2 pattern that matches the claim's whole text."""

    not_: ConditionForm | None = None
    """The condition does not hold."""

    all_: Annotated[tuple[ConditionForm, ...], Field(min_length=1)] | None = None
    """Every one of these holds."""

    any_: Annotated[tuple[ConditionForm, ...], Field(min_length=1)] | None = None
    """At least one of these holds."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Condition:
        given = {_alias(name) for name in self.model_fields_set}
        heads = [head for head in HEADS if head in given]
        if len(heads) != 1:
            found = " and ".join(heads) or "none"
            hint = f"exactly one of {', '.join(HEADS)}; join several with all or any"
            raise refused(
                "condition-form", f"is not one condition: it has {found} of the keys that make one", hint
            )
        takes = _TAKES.get(heads[0], ())
        values = given & {"is", "matches"}
        if len(values) != min(len(takes), 1) or not values <= set(takes):
            wants = f"takes {' or '.join(takes)} beside it" if takes else "takes no other key"
            raise refused("condition-form", f"a condition on {heads[0]} {wants}", _EXAMPLES.get(heads[0], ""))
        return self

    @property
    def head(self) -> str:
        return next(_alias(name) for name in self.model_fields_set if _alias(name) in HEADS)


ConditionForm = Annotated[
    Annotated[Literal["authenticated"], Tag("<text>")] | Annotated[Condition, Tag("<keys>")],
    _by_shape("the word authenticated, or a condition such as {role: admin}"),
]


# --- Routes ---------------------------------------------------------------------------------------------------------


class IdentityValue(Keys):
    """Where an identity header's value comes from: exactly one of claim and token."""

    claim: ClaimPath | None = None
    """The claim, by its path."""

    separator: Text = ","
    """What joins the values of a list."""

    token: Flag = False
    """The bearer token itself."""

    @model_validator(mode="after")
    def _exactly_one(self) -> IdentityValue:
        if (self.claim is None) != self.token or (self.token and "separator" in self.model_fields_set):
            hint = "write {claim: groups, separator: '|'}, or {token: true}"
            raise refused("identity-form", "takes either a claim or the token", hint)
        return self


class NamedIdentityValue(IdentityValue):
    """An identity header in a list: for a name that is given twice."""

    name: Filled
    """The header's name."""


_IdentityForm = Annotated[
    Annotated[ClaimPath, Tag("<text>")] | Annotated[IdentityValue, Tag("<keys>")],
    _by_shape("the path of a claim, or {claim: …, separator: …}, or {token: true}"),
]

IdentityForms = dict[str, ClaimPath | IdentityValue] | tuple[NamedIdentityValue, ...]
"""What `IdentityHeaders` is when it has been read."""

IdentityHeaders = Annotated[
    Annotated[dict[str, _IdentityForm], Tag("<keys>")]
    | Annotated[tuple[NamedIdentityValue, ...], Tag("<list>")],
    _by_shape("header names, each with a claim"),
]


class Pair(Keys):
    """One entry of a list of names and values: for a name that is given twice."""

    name: Filled
    """The name."""

    value: Text
    """Its value."""


Pairs = Annotated[
    Annotated[dict[str, Text], Tag("<keys>")] | Annotated[tuple[Pair, ...], Tag("<list>")],
    _by_shape("names, each with its value"),
]


class Accepted(Keys):
    """Which credentials are accepted, where a route says nothing else."""

    kinds: Annotated[tuple[Annotated[Kind, *one_of(Kind)], ...], *several({"enum": list(Kind)})] | None = None
    """`bearer` (Authorization), `session` (our cookie). Both, unless given."""

    providers: Texts | None = None
    """The providers whose tokens are accepted. All, unless given."""


class Credentials(Accepted):
    """What a route does about credentials."""

    mode: Annotated[Mode, *one_of(Mode)] | None = None
    """`required`, or, on public routes: `ignored` (default), `optional` (a bad one is 401), `permissive`."""


_CredentialsForm = Annotated[
    Annotated[Annotated[Mode, *one_of(Mode)], Tag("<text>")] | Annotated[Credentials, Tag("<keys>")],
    _by_shape("a mode, or keys"),
]

ACCESS: Final = ("public", "allow", "deny")
LISTS: Final = ("roles", "client-roles", "groups", "scopes")
"""Short for `allow`: any of each list, and all of the lists that are given. The order is theirs in the condition."""

_NonEmptyTexts = Annotated[tuple[Text, ...], *several(TEXT), Field(min_length=1)]


class Route(Keys):
    """
    Requests for a path, and who may make them.

    Exactly one of public, allow (or its short forms roles, client-roles, groups, scopes) and deny.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["public"], "properties": {"public": {"not": {"const": False}}}},
                {"required": ["allow"]},
                {"required": ["deny"]},
                {"anyOf": [{"required": [key]} for key in LISTS]},
            ]
        }
    )

    path: RoutePath
    """`/x` that path, `/x/**` it and everything below, `/x/*` only below, `/x*` whatever starts so."""

    name: Filled | None = None
    """What decisions, logs and metrics call it; the methods and the path unless given."""

    methods: Methods | None = None
    """The methods that the route speaks for; every usual one unless given. Others are denied."""

    public: Flag = False
    """Open: no credential is asked for."""

    allow: ConditionForm | None = None
    """Open to those for whom the condition holds; `authenticated`: anyone with a valid credential."""

    roles: _NonEmptyTexts | None = None
    """Any of these realm roles."""

    client_roles: dict[str, _NonEmptyTexts] | None = None
    """Any of these roles, listed by client."""

    groups: _NonEmptyTexts | None = None
    """Any of these groups."""

    scopes: _NonEmptyTexts | None = None
    """Any of these scopes."""

    deny: Text | None = None
    """Closed to everyone; the text says why, for people."""

    upstream: Filled | None = None
    """The name of the upstream; the host's, or the only one, unless given."""

    credentials: _CredentialsForm | None = None
    """A mode (`optional`, `permissive`), or which kinds and providers are accepted here."""

    identity_headers: IdentityHeaders | None = None
    """Instead of the file's own `identity-headers`; `{}` is none."""

    body_limit: Size | None = None
    """A request body above this is 413; `limits.body` unless given."""

    websockets: Flag = True
    """Whether the connection may become a WebSocket."""

    timeout: Duration | None = None
    """How long the whole answer may take; no limit but the upstream's own unless given."""

    login_redirect: Flag | None = None
    """Whether a browser without a session is sent to the login, or gets 401; as the file says unless given."""


class Cors(Keys):
    """Cross-origin rules (Fetch standard)."""

    origins: Texts
    """Origins such as `https://app.example.com`, or `*`."""

    methods: Texts = ()
    """Methods that a preflight allows."""

    headers: Texts = ()
    """Request headers that a preflight allows."""

    exposed: Texts = ()
    """Response headers that scripts may read."""

    max_age: Duration | None = None
    """How long a browser may remember a preflight."""

    credentials: Flag = False
    """Whether cookies and authorization may be sent; never together with the origin `*`."""


def _off(value: object) -> Literal[False]:
    if value is False:
        return False
    raise refused("value-type", "takes keys, or false")


_CorsForm = Annotated[
    Annotated[Literal[False], *read_by(_off, {"const": False}), Tag("<flag>")]
    | Annotated[Cors, Tag("<keys>")],
    _by_shape("keys, or false"),
]


class Served(Keys):
    """What host names get."""

    routes: tuple[Route, ...] | None = None
    """The rules. The most specific path decides; what no route lists is denied."""

    upstream: Filled | None = None
    """The name of the upstream of every route that names none."""

    cors: _CorsForm | None = None
    """Cross-origin rules."""

    fallback: Credentials | None = None
    """Which credentials make an unlisted path 403 instead of 401."""


class Host(Served):
    """The routes of some host names."""

    names: HostNames = ("*",)
    """`api.example.com`, `*.example.com`, or `*` (every name, unless given)."""

    routes: tuple[Route, ...]
    """The rules. The most specific path decides; what no route lists is denied."""


# --- The edges --------------------------------------------------------------------------------------------------------


class ServerTls(Keys):
    """TLS that we offer; files in PEM."""

    certificate: Filled
    """The certificate and its chain."""

    key: Filled
    """Its private key."""

    minimum: TlsVersion = "1.3"
    """The oldest version that is offered: 1.2 or 1.3."""

    client_ca: Filled | None = None
    """Ask clients for a certificate of these authorities."""


class Listener(Keys):
    """An address that is listened on."""

    listen: Listen
    """Address and port: `0.0.0.0:3000`."""

    tls: ServerTls | None = None
    """Serve https."""

    redirect_to_https: Flag = False
    """Redirect requests whose scheme is http, the health endpoint aside."""

    proxy_protocol: Flag = False
    """Expect the PROXY protocol from the balancer in front."""

    hosts: tuple[Host, ...] | None = None
    """Hosts of this listener only."""

    routes: tuple[Route, ...] | None = None
    """Routes of this listener only, for every host name."""

    cors: _CorsForm | None = None
    """Cross-origin rules of hosts that give none."""

    fallback: Credentials | None = None
    """The fallback of hosts that give none."""


class ClientTls(Keys):
    """TLS that we speak to another server; files in PEM."""

    ca: Filled | None = None
    """The authorities that are trusted; the system's unless given."""

    certificate: Filled | None = None
    """Our own certificate."""

    key: Filled | None = None
    """Its private key."""

    server_name: Filled | None = None
    """The name that the certificate must have and that is asked for; the host's unless given."""

    verify: Flag = True
    """False accepts any certificate: refused without --allow-insecure."""


class ProviderKeys(Keys):
    """A source of tokens."""

    issuer: Filled
    """The `iss` of its tokens, letter by letter."""

    audience: Audience
    """The `aud` that tokens must hold, one of them; or the word `unchecked`, alone: any is accepted."""

    discovery_url: Filled | None = None
    """The discovery document; below the issuer unless given."""

    jwks_url: Filled | None = None
    """Where the keys are; skips discovery."""

    jwks: Jwks | None = None
    """The keys themselves."""

    algorithms: Texts | None = None
    """Signature algorithms that are accepted; RS256, PS256 and ES256 unless given."""

    leeway: Duration | None = None
    """How far clocks may differ; 30s unless given."""

    max_lifetime: Duration | None = None
    """The longest life of a token that is accepted; 24h unless given."""

    keys_refresh: Duration | None = None
    """How often the keys are fetched; 1m unless given."""

    timeout: Duration | None = None
    """How long the provider may take to answer; 10s unless given."""

    client_id: Filled | None = None
    """Our client, for the login."""

    client_secret: Filled | None = None
    """Its secret: `${NAME}` from the environment."""

    tls: ClientTls | None = None
    """How we speak TLS to it."""

    headers: Pairs | None = None
    """Headers that are sent with every request to it."""

    proxy: Filled | None = None
    """A forward proxy to reach it by."""


class Provider(ProviderKeys):
    """The only source of tokens."""

    name: Filled = "default"
    """What routes, logs and metrics call it."""


Addresses = Annotated[Targets, Field(min_length=1)]


class UpstreamKeys(Keys):
    """A service behind the gateway."""

    endpoints: Addresses
    """`http://app:8080`, or several that are used in turn; https speaks TLS."""

    protocol: Annotated[UpstreamProtocol, *one_of(UpstreamProtocol)] | None = None
    """`http1` (default) or `http2` (gRPC needs it)."""

    connect_timeout: Duration | None = None
    """How long a connection may take to open; 10s unless given."""

    response_timeout: Duration | None = None
    """How long it may be silent before the answer's head; 1m unless given."""

    keep_alive: Keepalive = Field(default=None)
    """How long an idle connection is kept, or `off`; 1m unless given."""

    preserve_host: Flag = True
    """Whether it sees the caller's Host header."""

    tls: ClientTls | None = None
    """How we speak TLS to it; for https endpoints."""


class Upstream(UpstreamKeys):
    """The upstream of every route that names no other."""

    name: Filled = "default"
    """What routes, logs and metrics call it."""


def _upstream_shape(value: object) -> str:
    return "<text>" if isinstance(value, list) else shape(value)


_BY_UPSTREAM_SHAPE = Discriminator(
    _upstream_shape,
    custom_error_type="value-type",
    custom_error_message="takes http://HOST:PORT, several of them, or keys",
)
_UpstreamForm = Annotated[
    Annotated[Addresses, Tag("<text>")] | Annotated[Upstream, Tag("<keys>")], _BY_UPSTREAM_SHAPE
]
_NamedUpstreamForm = Annotated[
    Annotated[Addresses, Tag("<text>")] | Annotated[UpstreamKeys, Tag("<keys>")], _BY_UPSTREAM_SHAPE
]


# --- The whole ----------------------------------------------------------------------------------------------------------


class Cookie(Keys):
    """The session cookie."""

    name: Filled | None = None
    """`wardgate-session` unless given."""

    domain: Filled | None = None
    """The domain that it is sent to; the host alone unless given."""

    path: Filled | None = None
    """The path that it is sent below; `/` unless given."""

    secure: Flag = True
    """Sent over https only."""

    same_site: Annotated[SameSite, *one_of(SameSite)] | None = None
    """`strict`, `lax` (default) or `none`."""

    persistent: Flag = False
    """Whether it outlives the browser."""


class Store(Keys):
    """Where sessions are kept."""

    url: Filled | None = None
    """`redis://…` or `rediss://…`; on this machine unless given."""

    cluster: Flag = False
    """Whether it is a Redis Cluster."""

    tls: ClientTls | None = None
    """How we speak TLS to it."""


_StoreForm = Annotated[
    Annotated[Filled, Tag("<text>")] | Annotated[Store, Tag("<keys>")],
    _by_shape("the address of a store, or keys"),
]


class LoginParameter(Keys):
    """A query parameter that a login passes on to the issuer."""

    name: Filled
    """Its name."""

    only: Text | None = None
    """The only value that is passed on; any unless given."""

    default: Text | None = None
    """The value when the request has none."""


_LoginParameterForm = Annotated[
    Annotated[Filled, Tag("<text>")] | Annotated[LoginParameter, Tag("<keys>")],
    _by_shape("the name of a parameter, or keys"),
]


class Session(Keys):
    """Browser sessions."""

    cookie: Cookie | None = None
    """The cookie that names the session."""

    idle: Duration | None = None
    """The session ends when it is unused for so long; 30m unless given."""

    lifetime: Duration | None = None
    """The session ends after so long; 12h unless given."""

    store: _StoreForm | None = None
    """Where sessions are kept: the address of a Redis, or keys; on this machine unless given."""

    encryption_key: Filled | None = None
    """16, 24 or 32 bytes, in base64 or as they are: `${NAME}` from the environment."""

    redirection_url: Filled | None = None
    """Our own address as browsers see it."""

    post_login_path: Filled | None = None
    """Where a browser goes after login; where it came from unless given."""

    post_logout_url: Filled | None = None
    """Where a browser goes after logout."""

    scopes: Texts | None = None
    """The scopes that login asks for; openid, email and profile unless given."""

    pkce: Flag = True
    """Whether login uses PKCE."""

    refresh: Flag = True
    """Whether tokens are refreshed while the session lives."""

    password_login: Flag = False
    """Whether the gateway itself takes names and passwords (the password grant)."""

    login_parameters: tuple[_LoginParameterForm, ...] = ()
    """Query parameters that a login passes on to the issuer, each a name or keys."""

    logout_at_issuer: Flag = True
    """Whether logout ends the session at the issuer too."""

    revocation_url: Filled | None = None
    """Where a token is revoked at logout; as the discovery document says unless given."""

    forward_authorization: Flag = True
    """Whether the upstream gets the session's access token as `Authorization: Bearer`."""

    pages: Pairs | None = None
    """Templates of our pages: `sign-in`, `forbidden`, `error`, each a file."""

    page_values: Pairs | None = None
    """What the templates may print."""


class Endpoints(Keys):
    """The gateway's own paths."""

    prefix: Prefix | None = None
    """Where they are; `/oauth` unless given."""

    health: Segment | None = None
    """The name of the health endpoint below the prefix; `health` unless given."""


class Limits(Keys):
    """Protections of the gateway itself."""

    header_size: Size | None = None
    """All headers of a request, in whole KiB; 64KiB unless given."""

    header_count: Count | None = None
    """How many headers a request may have; 100 unless given."""

    connections: Count | None = None
    """How many connections are open at once; 20000 unless given."""

    body: Size | None = None
    """The largest request body; no limit unless given."""

    header_timeout: Duration | None = None
    """How long a request's head may take to arrive; 10s unless given."""

    idle_timeout: Duration | None = None
    """How long a connection may be idle; 2m unless given."""

    drain: Duration | None = None
    """How long requests may go on when the gateway stops; 10s unless given."""


class File(Keys):
    """wardgate.yaml: one application, or many, and who may do what there."""

    listen: Listen | None = None
    """The address of the only listener: `0.0.0.0:3000`."""

    tls: ServerTls | None = None
    """Serve https on it."""

    redirect_to_https: Flag = False
    """Redirect requests whose scheme is http, the health endpoint aside."""

    proxy_protocol: Flag = False
    """Expect the PROXY protocol from the balancer in front."""

    listeners: dict[str, Listener] | None = None
    """Several listeners, by name, instead of the keys above."""

    admin: Listen | None = None
    """The address that serves /metrics: `127.0.0.1:9090`."""

    provider: Provider | None = None
    """The source of tokens."""

    providers: dict[str, ProviderKeys] | None = None
    """Several, by name."""

    upstream: _UpstreamForm | None = None
    """The service behind the gateway: `http://app:8080`."""

    upstreams: dict[str, _NamedUpstreamForm] | None = None
    """Several, by name."""

    trusted_proxies: Networks = ()
    """Networks whose X-Forwarded-* headers are believed; nobody's unless given."""

    credentials: Accepted | None = None
    """Which credentials are accepted by every route that says nothing else."""

    login_redirect: Flag = True
    """Whether a browser without a session is sent to the login, or gets 401."""

    identity_headers: IdentityHeaders | None = None
    """Headers that tell the upstream who is calling, on every route that looks at credentials."""

    routes: tuple[Route, ...] | None = None
    """The rules, for every host name. The most specific path decides; what no route lists is denied."""

    hosts: tuple[Host, ...] | None = None
    """Rules by host name, instead of routes."""

    cors: _CorsForm | None = None
    """Cross-origin rules of hosts that give none."""

    fallback: Credentials | None = None
    """Which credentials make an unlisted path 403 instead of 401."""

    upstream_headers: Pairs | None = None
    """Headers that are added to every request on its way to an upstream."""

    response_headers: Pairs | None = None
    """Headers that are added to every response."""

    compression: Flag = False
    """Compress responses for clients that accept it."""

    request_id: Filled | None = None
    """The header that carries the request's id; X-Request-ID unless given."""

    limits: Limits | None = None
    """Protections of the gateway itself."""

    access_log: Flag = True
    """One line for each request."""

    expose_reasons: Flag = False
    """Whether a 403 names the rule that denied."""

    errors: Annotated[Errors, *one_of(Errors)] | None = None
    """The form of error bodies."""

    endpoints: Endpoints | None = None
    """The gateway's own paths."""

    session: Session | None = None
    """Browser sessions."""


# --- For editors ----------------------------------------------------------------------------------------------------


@cache
def json_schema() -> Schema:
    """The JSON Schema of the format (draft 2020-12): what the package publishes as `wardgate.schema.json`."""
    made = _tidy(File.model_json_schema())
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "wardgate.yaml"}
    assert isinstance(made, dict)
    return {**head, **made}


def _tidy(node: Any) -> Any:
    """Without null, which is never written, and without the titles that only repeat names."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    options = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
    kept = {
        key: {name: _tidy(inner) for name, inner in value.items()}
        if key in ("properties", "$defs")
        else _tidy(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }
    if len(options) == 1 and "anyOf" in kept:
        del kept["anyOf"]
        return {**_tidy(options[0]), **kept}
    return {**kept, "anyOf": _tidy(options)} if options else kept
