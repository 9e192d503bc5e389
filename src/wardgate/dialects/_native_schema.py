"""
The keys of the native format above its rules: listeners, providers, upstreams, session, the file.

As in `_native_schema_rules`: what may be written, and nothing about what becomes of it. The JSON Schema that the
package publishes (`wardgate.schema.json`) and the reference of keys are made from these.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, WithJsonSchema

from wardgate.dialects import _native_values as values
from wardgate.dialects._native_schema_rules import (
    Accepted,
    CorsForm,
    Credentials,
    Host,
    IdentityHeaders,
    Keys,
    Pairs,
    Route,
    by_shape,
    shape,
)
from wardgate.dialects._native_types import (
    Audience,
    CookieDomain,
    CookieName,
    CookiePath,
    Count,
    Duration,
    EmailDomains,
    ExactHosts,
    Filled,
    Filleds,
    Flag,
    Jwks,
    Keepalive,
    Listen,
    Networks,
    OwnAddress,
    OwnPath,
    Prefix,
    RedirectHosts,
    Schema,
    Segment,
    Size,
    StoreAddress,
    Targets,
    Text,
    Texts,
    TlsVersion,
    Url,
    one_of,
    read_by,
)
from wardgate.policy import ClientAuthentication, Errors, Introspection, Outage, SameSite, UpstreamProtocol

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


AskedPath = Annotated[
    str | None, *read_by(values.asked_path, {"type": "string", "examples": ["/auth", "/", "none"]})
]


class ForwardAuth(Keys):
    """Other proxies ask here whether a request may pass: Traefik and Caddy, nginx, HAProxy, other Envoys."""

    path: AskedPath = "/auth"
    """
    Where they ask; `/` is every path that is not below the endpoints' prefix. The word `none`: only at
    `/oauth/authorize` and `/oauth2/auth`, where the headers of a trusted proxy tell a question from a login.
    """

    only: Flag | None = None
    """Nothing is proxied: so it is unless given where the file has no upstream."""


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

    forward_auth: ForwardAuth | None = None
    """Answer other proxies that ask whether a request may pass."""

    hosts: tuple[Host, ...] | None = None
    """Hosts of this listener only."""

    routes: tuple[Route, ...] | None = None
    """Routes of this listener only, for every host name."""

    cors: CorsForm | None = None
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


Asked = Annotated[Introspection, *read_by(values.introspection, {"enum": [*Introspection, False]})]


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

    client_authentication: Annotated[ClientAuthentication, *one_of(ClientAuthentication)] | None = None
    """How our client proves itself: `basic` (default), `post`, or `private-key-jwt` with a key instead of a secret."""

    client_key: Filled | None = None
    """The private key for `private-key-jwt`: a file in PEM."""

    pushed_authorization: Flag = False
    """Whether a login's parameters go to the issuer directly and not through the browser (RFC 9126)."""

    acr_values: Filled | None = None
    """How strongly people must have proven themselves: authentication contexts that a login asks for. A rule on the claim `acr` sees to it."""

    max_age: Duration | None = None
    """How long ago a person may have signed in at the issuer; `0s` asks again at every login. No limit unless given."""

    authorization_parameters: Pairs | None = None
    """What every login sends to the issuer besides, such as `ui_locales: de`."""

    title: Filled | None = None
    """What a person reads who has to choose between providers; the provider's name unless given."""

    email_domains: EmailDomains | None = None
    """People with these e-mail domains are sent here without choosing."""

    hosts: ExactHosts | None = None
    """On these hosts people are sent here without choosing."""

    introspection: Asked | None = None
    """Which bearer tokens the issuer is asked about (RFC 7662): none (`off`, default), those that are no JWT (`opaque`), or every one and those of sessions, too (`always`), so that a login that ended there is noticed, after twice `remembered` at the latest. While the issuer does not answer, what it is asked about is 503."""

    introspection_url: Url | None = None
    """Where it is asked; as the discovery document says unless given."""

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

    name: CookieName | None = None
    """`wardgate-session` unless given; browsers know it with `__Host-` before it where it is secure, for one host and for every path."""

    domain: CookieDomain | None = None
    """The domain that it is sent to; the host alone unless given."""

    path: CookiePath | None = None
    """The path that it is sent below; `/` unless given."""

    secure: Flag = True
    """Sent over https only."""

    same_site: Annotated[SameSite, *one_of(SameSite)] | None = None
    """`strict`, `lax` (default) or `none`."""

    persistent: Flag = False
    """Whether it outlives the browser."""


class Store(Keys):
    """Where sessions are kept."""

    url: StoreAddress | None = None
    """`redis://…`, `rediss://…`, `local` (on this machine, default) or `cookie` (in the browser, encrypted)."""

    cluster: Flag = False
    """Whether it is a Redis Cluster."""

    tls: ClientTls | None = None
    """How we speak TLS to it."""


_StoreForm = Annotated[
    Annotated[StoreAddress, Tag("<text>")] | Annotated[Store, Tag("<keys>")],
    by_shape("local, cookie, the address of a Redis, or keys"),
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
    by_shape("the name of a parameter, or keys"),
]


class Session(Keys):
    """Browser sessions."""

    cookie: Cookie | None = None
    """The cookie that names the session."""

    idle: Duration | None = None
    """The session ends when it is unused for so long; 30m unless given."""

    lifetime: Duration | None = None
    """The session ends after so long; 12h unless given."""

    remembered: Duration | None = None
    """How long a session is remembered before the store is asked again, 2s to 5m; 30s unless given."""

    websocket_limit: Duration | None = None
    """How long a WebSocket that a session opened may be open; 1h unless given."""

    store: _StoreForm | None = None
    """Where sessions are kept: `local` (default), `cookie`, the address of a Redis, or keys."""

    encryption_key: Filled | None = None
    """16, 24 or 32 bytes, in base64 or as they are: `${NAME}` from the environment."""

    old_encryption_keys: Filleds | None = None
    """Keys that were used before: what they sealed can still be read, and nothing is sealed with them."""

    redirection_url: OwnAddress | None = None
    """Our own address as browsers see it; the host that was asked for unless given."""

    redirect_hosts: RedirectHosts | None = None
    """Other hosts where a login may end, by their exact names, each with its port where it is not the usual one."""

    redirect_http: Flag = False
    """Whether a login may end at an http address of another host."""

    post_login_path: OwnPath | None = None
    """Where a browser goes after login; where it came from unless given."""

    post_logout_url: Url | None = None
    """Where a browser goes after logout."""

    scopes: Texts | None = None
    """The scopes that login asks for; openid, email and profile unless given."""

    pkce: Flag = True
    """Whether login uses PKCE."""

    refresh: Flag = True
    """Whether tokens are refreshed while the session lives."""

    on_issuer_outage: Annotated[Outage, *one_of(Outage)] | None = None
    """A session whose tokens cannot be refreshed, because the issuer is away: goes on (`continue`, default) or gets 503 (`fail`)."""

    verified_email: Flag = False
    """Whether only people log in whose e-mail address the issuer has verified."""

    password_login: Flag = False
    """Whether the gateway itself takes names and passwords (the password grant)."""

    login_parameters: tuple[_LoginParameterForm, ...] = ()
    """Query parameters that a login passes on to the issuer, each a name or keys."""

    logout_by_get: Flag = False
    """Whether GET logs out too, where the browser says that the site itself asks."""

    logout_at_issuer: Flag = True
    """Whether logout ends the session at the issuer too."""

    revocation_url: Url | None = None
    """Where a token is revoked at logout; as the discovery document says unless given."""

    forward_authorization: Flag = True
    """Whether the upstream gets the session's access token as `Authorization: Bearer`."""

    pages: Pairs | None = None
    """Templates of our pages: `sign-in`, `forbidden`, `error`, each a file."""

    page_values: Pairs | None = None
    """What the templates may print."""


SafetyPolicies = Annotated[
    tuple[Any, ...], WithJsonSchema({"type": "array", "items": {"type": "object"}, "minItems": 1})
]
"""As in a file of their own (`_aip_policies`), which reads them."""


class Members(Keys):
    """Who has a role."""

    subjects: Texts = ()
    """Identities, or subjects of people, letter by letter."""

    groups: Texts = ()
    """Groups whose members have it."""


class Webhook(Keys):
    """Who is told of requests that wait for people."""

    url: Url
    """Where it is sent by POST."""

    secret: Filled
    """What signs it: the receiver knows it, too."""


class Approvals(Keys):
    """Requests of agents: who may ask, who decides, and what is decided without people."""

    listen: Listen
    """Where agents and those who decide reach the gateway."""

    tls: ServerTls | None = None
    """Speak TLS there."""

    provider: Filled | None = None
    """Whose tokens they bring; the only provider unless given."""

    identity_claim: Filled | None = None
    """The claim that says who calls; azp unless given."""

    groups_claim: Filled | None = None
    """The claim that holds groups; groups unless given."""

    agents: Members | None = None
    """Who may ask."""

    reviewers: Members | None = None
    """Who decides."""

    admins: Members | None = None
    """Who decides, too."""

    owners: Pairs | None = None
    """By agent, a person who answers for it (subject or e-mail), and so cannot approve what it asks for."""

    store: Filled | None = None
    """postgresql://USER:PASSWORD@HOST/DATABASE; a file in the state directory unless given."""

    pending_for: Duration | None = None
    """When an undecided request expires; 24h unless given."""

    dedup_window: Duration | None = None
    """How long a dedupKey means the same request; 24h unless given."""

    grants_for: Duration | None = None
    """How long a grant can be spent; 5m unless given."""

    webhook: Webhook | None = None
    """Who is told of requests that wait for people."""

    safety_policies: SafetyPolicies | None = None
    """What is allowed, denied, or decided by people; without any all is approved as it comes."""


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

    forward_auth: ForwardAuth | None = None
    """Answer other proxies that ask whether a request may pass."""

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

    cors: CorsForm | None = None
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

    approvals: Approvals | None = None
    """Requests of agents, which safety policies and people decide."""


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
