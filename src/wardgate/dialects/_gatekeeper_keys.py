"""
Every key that a gatekeeper configuration can have, and what becomes of it here.

A table, not code: `gatekeeper` reads files by it and `docs/reference` is printed from it. It holds the keys of
gogatekeeper 4.11, those of older versions back to keycloak-proxy, those that only S0 uses, and the fields of one
resource. Defaults are 4.11's.

Source: gogatekeeper 4.11.0, pkg/keycloak/config and pkg/config/core; S0, "Configuring Keycloak Gatekeeper".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final


class KeyType(StrEnum):
    """What a key takes. FILE is a path, SECRET text that is never printed, PAIRS a mapping of text to text."""

    TEXT = "text"
    FILE = "file"
    SECRET = "secret"  # noqa: S105 - the name of a type
    FLAG = "boolean"
    NUMBER = "number"
    DURATION = "duration"
    TEXTS = "list"
    PAIRS = "mapping"
    RESOURCES = "resources"


class Status(StrEnum):
    """HONOURED: does what gatekeeper does. DIFFERS: does something else, safer. UNSUPPORTED: has no effect."""

    HONOURED = "honoured"
    DIFFERS = "differs"
    UNSUPPORTED = "unsupported"


class Say(StrEnum):
    """How a key that is not honoured is reported: ERROR where leaving it out would leave a check off."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class GatekeeperReading(StrEnum):
    """PRODUCT: keys mean what gogatekeeper's source says. S0: what S0's text says."""

    PRODUCT = "product"
    S0 = "s0"


Value = bool | int | str | timedelta | tuple[str, ...] | tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """
    One key. `hint` says what differs, or what to do instead; `silent` are values that need no word (the default
    always does not, unless `loud`). `until` names the last version that had an older key, `instead` today's key.
    """

    name: str
    type: KeyType
    default: Value
    since: str
    meaning: str
    status: Status = Status.HONOURED
    hint: str = ""
    say: Say = Say.WARNING
    silent: tuple[Value, ...] = ()
    loud: bool = False
    until: str = ""
    instead: str = ""
    reading: GatekeeperReading | None = None

    def needs_no_word(self, value: Value) -> bool:
        return value in self.silent or (value == self.default and not self.loud)


_DEFAULTS: Final[dict[KeyType, Value]] = {
    KeyType.TEXT: "",
    KeyType.FILE: "",
    KeyType.SECRET: "",
    KeyType.FLAG: False,
    KeyType.NUMBER: 0,
    KeyType.DURATION: timedelta(0),
    KeyType.TEXTS: (),
    KeyType.PAIRS: (),
    KeyType.RESOURCES: (),
}


def _key(name: str, kind: KeyType, since: str, meaning: str, default: Value | None = None) -> Key:
    value = _DEFAULTS[kind] if default is None else default
    return Key(name=name, type=kind, default=value, since=since, meaning=meaning)


def _not_as_there(
    name: str,
    kind: KeyType,
    since: str,
    meaning: str,
    hint: str,
    *,
    status: Status = Status.UNSUPPORTED,
    say: Say = Say.WARNING,
    default: Value | None = None,
    silent: tuple[Value, ...] = (),
    loud: bool = False,
    reading: GatekeeperReading | None = None,
) -> Key:
    return Key(
        name=name,
        type=kind,
        default=_DEFAULTS[kind] if default is None else default,
        since=since,
        meaning=meaning,
        status=status,
        hint=hint,
        say=say,
        silent=silent,
        loud=loud,
        reading=reading,
    )


def _old(name: str, kind: KeyType, lived: tuple[str, str], meaning: str, instead: str, hint: str = "") -> Key:
    """A key of an older version: `instead` is today's key, or empty when the key has no effect any more."""
    return Key(
        name=name,
        type=kind,
        default=_DEFAULTS[kind],
        since=lived[0],
        until=lived[1],
        meaning=meaning,
        status=Status.HONOURED if instead else Status.UNSUPPORTED,
        instead=instead,
        hint=hint or (f"write {instead}" if instead else "remove the key: it has no effect"),
    )


_TEXT, _FILE, _SECRET, _FLAG = KeyType.TEXT, KeyType.FILE, KeyType.SECRET, KeyType.FLAG
_NUMBER, _DURATION, _TEXTS, _PAIRS = KeyType.NUMBER, KeyType.DURATION, KeyType.TEXTS, KeyType.PAIRS
_SECONDS_10, _SECONDS_30 = timedelta(seconds=10), timedelta(seconds=30)
_NO_FORWARDING = "a forward proxy that signs outgoing requests is another program: run it beside this one"
_NO_UMA = "put the decision into resources (roles, groups, match-claims)"
_ONE_COOKIE = (
    "the browser holds one small cookie, cookie-access-name; everything else stays in the session store"
)
_NO_COOKIE = (
    "the session cookie never reaches the upstream; the token reaches it in a header (enable-authorization-header, "
    "enable-token-header)"
)
_ONE_SOURCE = (
    "a header has one source: add-claims are read from userinfo where enable-user-info-claims is on, else from the ID "
    "token, and nowhere else; bearer tokens have neither. For claims that the access token holds leave the key out"
)
_TEMPLATE = "templates are Jinja's, not Go's: write {{ title }} for {{ .title }}; one that fails gives way to our own page"
_OWN_CERTIFICATE = (
    "get the certificate outside (cert-manager, certbot) and name it in tls-cert and tls-private-key"
)
_TUNED = "remove the key: connections to the upstream are pooled without a fixed number"

_REACHING: Final = (
    _key(
        "listen", _TEXT, "1.0", "Address and port of the main listener, `0.0.0.0:3000` or `:3000`. Required."
    ),
    _key(
        "listen-http",
        _TEXT,
        "1.0",
        "A second listener, always in plain HTTP, with the same resources; useful with "
        "`enable-https-redirection`.",
    ),
    _not_as_there(
        "listen-admin",
        _TEXT,
        "1.3.0",
        "Address and port that serve the metrics. With `enable-metrics` and without this key: port 9090.",
        "it serves exactly /metrics; /oauth/health stays on the main listener, /debug is not served",
        status=Status.DIFFERS,
    ),
    _not_as_there(
        "listen-admin-scheme",
        _TEXT,
        "1.3.0",
        "Scheme of the admin listener, `http` or `https`.",
        "metrics are served in plain HTTP: let only the monitoring network reach the port, and write http",
        silent=("http",),
    ),
    _key("tls-cert", _FILE, "1.0", "Certificate chain (PEM) of the main listener."),
    _key("tls-private-key", _FILE, "1.0", "Private key (PEM) of the main listener."),
    _key(
        "tls-min-version",
        _TEXT,
        "1.3.9",
        "Lowest TLS version on the main listener: `tlsv1.2` or `tlsv1.3`.",
        "tlsv1.3",
    ),
    _key(
        "tls-client-ca-certificate",
        _FILE,
        "3.6.0",
        "Clients of the main listener must show a certificate that this CA signed.",
    ),
    _not_as_there(
        "tls-admin-cert",
        _FILE,
        "1.3.0",
        "Certificate of the admin listener.",
        "metrics are served in plain HTTP: let only the monitoring network reach the port",
    ),
    _not_as_there(
        "tls-admin-private-key",
        _FILE,
        "1.3.0",
        "Private key of the admin listener.",
        "metrics are served in plain HTTP: let only the monitoring network reach the port",
    ),
    _not_as_there(
        "tls-admin-client-certificate",
        _FILE,
        "1.3.0",
        "CA that signs the certificates of admin clients; also written `tls-admin-client-ca-certificate`.",
        "metrics would be served to clients without a certificate: bind listen-admin to 127.0.0.1 and remove it",
        say=Say.ERROR,
    ),
    _key("enabled-proxy-protocol", _FLAG, "1.0", "Connections begin with the PROXY protocol (v1 or v2)."),
    _key(
        "enable-https-redirection",
        _FLAG,
        "1.0",
        "A request that came over http is redirected to https; the scheme is the connection's, or "
        "X-Forwarded-Proto of a trusted proxy. Never for the health endpoint. Needs `enable-security-filter`.",
    ),
    _key("hostnames", _TEXTS, "1.0", "Host names that are served; any other is refused. Empty: all."),
    _not_as_there(
        "enable-x-forwarded-headers",
        _FLAG,
        "4.2.0",
        "X-Forwarded-Host and X-Forwarded-Proto say what the browser's address is.",
        "only trusted proxies are believed, whatever this key says: name them with --trusted-proxies CIDR",
        status=Status.DIFFERS,
    ),
    _not_as_there(
        "use-letsencrypt",
        _FLAG,
        "1.0",
        "Certificates by ACME.",
        _OWN_CERTIFICATE + "; without one this listener would speak plain HTTP",
        say=Say.ERROR,
    ),
    _not_as_there(
        "letsencrypt-cache-dir",
        _TEXT,
        "1.0",
        "Where ACME certificates are kept.",
        _OWN_CERTIFICATE,
        default="./cache",
    ),
    _not_as_there(
        "enable-self-signed-tls",
        _FLAG,
        "1.0",
        "Serve with a certificate that is made at start.",
        "name a certificate in tls-cert and tls-private-key; without one this listener would speak plain HTTP",
        say=Say.ERROR,
    ),
    _not_as_there(
        "self-signed-tls-expiration",
        _DURATION,
        "1.0",
        "How long a self-made certificate lives.",
        _OWN_CERTIFICATE,
        default=timedelta(hours=3),
    ),
    _not_as_there(
        "self-signed-tls-hostnames", _TEXTS, "1.0", "Names on a self-made certificate.", _OWN_CERTIFICATE
    ),
    _key(
        "base-uri",
        _TEXT,
        "1.0",
        "Put before `oauth-uri`: where the gateway's own endpoints are.",
    ),
    _key("oauth-uri", _TEXT, "1.0", "Prefix of the gateway's own endpoints (`/oauth/health`).", "/oauth"),
    _not_as_there(
        "config",
        _FILE,
        "1.0",
        "A configuration file to read.",
        "name every file on the command line: -c FILE -c FILE",
    ),
    _not_as_there(
        "file-root",
        _FILE,
        "4.11.0",
        "Folder that every file named in the configuration is in.",
        "names are taken as relative to it and may not leave it by ..; a symbolic link inside is followed",
        status=Status.DIFFERS,
        say=Say.NOTE,
    ),
)

_ISSUER: Final = (
    _key(
        "discovery-url",
        _TEXT,
        "1.0",
        "The issuer's URL, with or without `/.well-known/openid-configuration`. Any OpenID Connect issuer under "
        "any path. Required.",
    ),
    _key(
        "client-id",
        _TEXT,
        "1.0",
        "The client at the issuer; also the audience that tokens must have. Required.",
    ),
    _key("client-secret", _SECRET, "1.0", "The client's secret."),
    _key(
        "openid-provider-timeout",
        _DURATION,
        "1.0",
        "How long one request to the issuer may take.",
        _SECONDS_30,
    ),
    _key("openid-provider-headers", _PAIRS, "2.6.0", "Headers on requests to the issuer."),
    _key("openid-provider-proxy", _TEXT, "1.0", "HTTP proxy on the way to the issuer."),
    _not_as_there(
        "openid-provider-retry-count",
        _NUMBER,
        "2.5.0",
        "How often discovery is tried at start.",
        "the issuer is asked again until it answers; meanwhile public resources are served, others are 503",
        status=Status.DIFFERS,
        say=Say.NOTE,
        default=3,
    ),
    _key("tls-openid-provider-ca-certificate", _FILE, "3.6.0", "CA that signs the issuer's certificate."),
    _key("tls-openid-provider-client-certificate", _FILE, "3.6.0", "Our certificate towards the issuer."),
    _key("tls-openid-provider-client-private-key", _FILE, "3.6.0", "The key of our certificate."),
    _key(
        "skip-openid-provider-tls-verify",
        _FLAG,
        "1.0",
        "Do not check the issuer's certificate. Refused without `--allow-insecure`.",
    ),
    _not_as_there(
        "skip-access-token-issuer-check",
        _FLAG,
        "1.2.0",
        "Do not compare `iss`. True is refused without `--allow-insecure`, and `iss` is compared even then.",
        "a token of another issuer is signed with other keys: there is nothing to gain. Write false",
        status=Status.DIFFERS,
        default=True,
        silent=(False,),  # true, the default, is judged by check_insecure
    ),
    _key(
        "skip-access-token-clientid-check",
        _FLAG,
        "1.2.0",
        "Do not ask for `client-id` in `aud`: tokens of other applications pass. True is refused without "
        "`--allow-insecure`. Differs: when the key is absent, `aud` is checked.",
        True,
    ),
    _key(
        "skip-authorization-header-identity",
        _FLAG,
        "1.3.2",
        "Tokens in the Authorization header are not looked at: only browser sessions count.",
    ),
    _not_as_there(
        "enable-idp-session-check",
        _FLAG,
        "2.7.1",
        "Ask the issuer, for every token and every session, whether its login still exists.",
        "the issuer is asked by introspection, with client-id and client-secret; a login that ended there is noticed "
        "after a minute at the latest, and an issuer that is away is 503",
        status=Status.DIFFERS,
        say=Say.NOTE,
    ),
    _not_as_there(
        "max-token-size",
        _NUMBER,
        "4.9.0",
        "Refuse longer tokens (bytes).",
        "max-header-size bounds the whole request header, and so the token",
    ),
    Key(
        name="token-validation-leeway",
        type=_DURATION,
        default=_SECONDS_30,
        since="S0",
        meaning="How far clocks may differ when `exp` and `nbf` are judged. Only S0 has this key.",
    ),
)

_RULES: Final = (
    Key(
        name="resources",
        type=KeyType.RESOURCES,
        default=(),
        since="1.0",
        meaning="The rules: which path is public, which asks for which roles. The fields are listed below. "
        "Differs: a method that a protected resource does not list is denied, not handed to the next match.",
    ),
    _key(
        "enable-default-deny",
        _FLAG,
        "1.0",
        "Whatever no resource names needs a valid token. False: it is public.",
        True,
    ),
    _key(
        "enable-default-deny-strict",
        _FLAG,
        "1.6.0",
        "Whatever no resource names is denied to everyone.",
    ),
    _key(
        "match-claims",
        _PAIRS,
        "1.0",
        "Claims that a token must have on every protected path: a regular expression (RE2) that is searched in "
        "the claim's text or in one of its list's; a leading `!` negates.",
    ),
    _key("custom-http-methods", _TEXTS, "1.4.0", "Further methods that resources may list."),
    _key(
        "no-redirects",
        _FLAG,
        "1.0",
        "Browsers get 401 instead of a redirect to the login, which is still at /oauth/authorize.",
    ),
    _not_as_there(
        "enable-loa",
        _FLAG,
        "3.0.0",
        "The `acr` lists of resources count.",
        "a level that is missing is 403, and nobody is sent to the issuer for it: let the application link to "
        "/oauth/start?rd=PATH&acr_values=LEVEL, with acr_values in allowed-query-params",
        status=Status.DIFFERS,
    ),
    _not_as_there(
        "no-proxy",
        _FLAG,
        "1.7.0",
        "Answer other proxies only (forward-auth): no upstream, and any path that is not ours is a question.",
        "only proxies of --trusted-proxies may ask; the identity headers stand in the answer, X-Auth-Request-User, "
        "-Email and -Groups with them",
        status=Status.DIFFERS,
    ),
    _not_as_there("enable-uma", _FLAG, "1.5.0", "Decisions by Keycloak's UMA.", _NO_UMA, say=Say.ERROR),
    _not_as_there("enable-uma-method-scope", _FLAG, "2.7.0", "Send the method as UMA scope.", _NO_UMA),
    _not_as_there("cookie-uma-name", _TEXT, "2.7.0", "Cookie of the UMA token.", _NO_UMA),
    _not_as_there("pat-retry-count", _NUMBER, "1.5.0", "Tries to get UMA's own token.", _NO_UMA, default=5),
    _not_as_there(
        "pat-retry-interval", _DURATION, "1.5.0", "Wait between these tries.", _NO_UMA, default=_SECONDS_10
    ),
    _not_as_there(
        "enable-opa",
        _FLAG,
        "1.8.0",
        "Decisions by an Open Policy Agent.",
        "put the decision into resources (roles, groups, match-claims); requests would pass without OPA's word",
        say=Say.ERROR,
    ),
    _not_as_there("opa-authz-uri", _TEXT, "1.8.0", "URL of the agent's decision.", "see enable-opa"),
    _not_as_there(
        "opa-timeout",
        _DURATION,
        "1.8.0",
        "How long the agent may take.",
        "see enable-opa",
        default=_SECONDS_10,
    ),
    _not_as_there(
        "enable-hmac",
        _FLAG,
        "4.0.1",
        "Refuse requests that another gatekeeper has not signed (X-HMAC-SHA256).",
        "unsigned requests would pass: ask for client certificates instead (tls-client-ca-certificate)",
        say=Say.ERROR,
    ),
    _key("max-body-size", _NUMBER, "4.9.0", "Refuse larger request bodies (bytes): 413. 0: no limit."),
    _key(
        "max-header-size",
        _NUMBER,
        "4.10.0",
        "Refuse larger request headers (bytes): 431. When the key is absent: 64 KiB.",
        1048576,
    ),
)

_IDENTITY: Final = (
    _key(
        "headers",
        _PAIRS,
        "1.0",
        "Headers that every request to the upstream gets. Under the s0 reading: headers that every response gets.",
    ),
    _key(
        "response-headers",
        _PAIRS,
        "1.0",
        "Headers that every response gets. Under the s0 reading: identity headers for the upstream, each with the "
        "claim that fills it (`realm_access.roles`; `audience` is `aud`, `access_token` the token itself).",
    ),
    _key(
        "add-claims",
        _TEXTS,
        "1.0",
        "Further claims as headers: `given_name` as X-Auth-Given-Name, `given_name|X-Name` under that name. Lists "
        "are joined by commas, numbers written in full.",
    ),
    _key(
        "exclude-claims",
        _TEXTS,
        "4.9.0",
        "Identity headers to leave out: audience, email, expiresin, groups, roles, subject, userid, username.",
    ),
    _key("enable-token-header", _FLAG, "1.0", "The upstream gets the token as X-Auth-Token.", True),
    _key(
        "enable-authorization-header",
        _FLAG,
        "1.0",
        "The upstream gets the session's access token as Authorization: Bearer. What a client sends there itself goes "
        "on either way, except beside a session.",
        True,
    ),
    _not_as_there(
        "enable-authorization-cookies",
        _FLAG,
        "1.0",
        "The upstream sees the cookies that hold the tokens.",
        _NO_COOKIE,
        status=Status.DIFFERS,
        default=True,
        silent=(False,),
        loud=True,
    ),
    _not_as_there(
        "enable-authorization-cookie",
        _FLAG,
        "S0",
        "S0's spelling of `enable-authorization-cookies`.",
        _NO_COOKIE,
        status=Status.DIFFERS,
        silent=(False,),
        loud=True,
    ),
    _not_as_there(
        "enable-header-encoding",
        _FLAG,
        "3.6.0",
        "Identity headers are written as RFC 2047 words.",
        "values are UTF-8; what would break a header or a list is percent-encoded",
    ),
    _not_as_there(
        "enable-id-token-claims",
        _FLAG,
        "4.6.0",
        "add-claims also looks into the ID token.",
        _ONE_SOURCE,
        status=Status.DIFFERS,
    ),
    _not_as_there(
        "enable-user-info-claims",
        _FLAG,
        "4.6.0",
        "add-claims also looks into the issuer's userinfo.",
        _ONE_SOURCE,
        status=Status.DIFFERS,
    ),
    _not_as_there(
        "enable-signing",
        _FLAG,
        "4.0.1",
        "Requests to the upstream carry a token of the gateway's own.",
        "the upstream gets the caller's token; give it a token of its own by another way, or wait",
    ),
    _not_as_there(
        "enable-signing-hmac",
        _FLAG,
        "4.0.1",
        "Requests to the upstream carry X-HMAC-SHA256.",
        "use a client certificate towards the upstream (tls-client-certificate)",
    ),
)

_UPSTREAM: Final = (
    _key("upstream-url", _TEXT, "1.0", "The application: `http://HOST:PORT` or `https://HOST`. Required."),
    _key("upstream-ca", _FILE, "1.0", "CA that signs the upstream's certificate."),
    _key(
        "skip-upstream-tls-verify",
        _FLAG,
        "1.0",
        "Do not check the upstream's certificate. Refused without `--allow-insecure`.",
    ),
    _key("tls-client-certificate", _FILE, "1.0", "Our certificate towards the upstream."),
    _key("tls-client-private-key", _FILE, "3.6.0", "The key of our certificate."),
    _key("upstream-timeout", _DURATION, "1.0", "How long connecting to the upstream may take.", _SECONDS_10),
    _not_as_there(
        "upstream-tls-handshake-timeout",
        _DURATION,
        "1.0",
        "How long the TLS handshake with the upstream may take.",
        "connecting and handshake share upstream-timeout",
        status=Status.DIFFERS,
        say=Say.NOTE,
        default=_SECONDS_10,
    ),
    _key(
        "upstream-response-header-timeout",
        _DURATION,
        "1.0",
        "How long the upstream may take to answer.",
        _SECONDS_10,
    ),
    _not_as_there(
        "upstream-expect-continue-timeout",
        _DURATION,
        "1.0",
        "How long to wait for the upstream's 100 (Continue).",
        "remove the key: the gateway answers 100 itself and streams the body",
        default=_SECONDS_10,
    ),
    _key("upstream-keepalives", _FLAG, "1.0", "Connections to the upstream are used again.", True),
    _key("upstream-keepalive-timeout", _DURATION, "1.0", "How long an idle one is kept.", _SECONDS_10),
    _not_as_there("max-idle-connections", _NUMBER, "1.0", "Idle connections in all.", _TUNED, default=100),
    _not_as_there(
        "max-idle-connections-per-host", _NUMBER, "1.0", "Idle connections to one host.", _TUNED, default=50
    ),
    _key("preserve-host", _FLAG, "1.0", "The upstream sees the Host that the client sent."),
    _not_as_there(
        "upstream-proxy",
        _TEXT,
        "2.10.0",
        "HTTP proxy on the way to the upstream.",
        "the upstream is reached directly: allow that in the network, or name the proxy as upstream-url",
    ),
    _not_as_there(
        "upstream-no-proxy", _TEXT, "2.10.0", "Upstreams that need no proxy.", "see upstream-proxy"
    ),
    _key(
        "enable-accept-encoding-header",
        _FLAG,
        "4.3.0",
        "The client's Accept-Encoding reaches the upstream. It always does here.",
    ),
    _key(
        "enable-request-upstream-compression",
        _FLAG,
        "4.2.0",
        "The upstream is asked for gzip. Here it sees what the client asked for, and answers pass as they are.",
        True,
    ),
)

_BROWSER: Final = (
    _key("cors-origins", _TEXTS, "1.0", "Origins whose scripts may call (Access-Control-Allow-Origin)."),
    _key("cors-methods", _TEXTS, "1.0", "Methods that they may use. Empty: GET, HEAD, POST."),
    _key(
        "cors-headers",
        _TEXTS,
        "1.0",
        "Headers that they may send. Empty: Accept, Content-Type, X-Requested-With.",
    ),
    _key("cors-exposed-headers", _TEXTS, "1.0", "Response headers that they may read."),
    _key("cors-credentials", _FLAG, "1.0", "They may send cookies; not together with the origin `*`."),
    _key("cors-max-age", _DURATION, "1.0", "How long browsers may remember the permission."),
    _key(
        "enable-security-filter", _FLAG, "1.0", "Switches the keys below, hostnames and https redirection on."
    ),
    _key("filter-browser-xss", _FLAG, "1.0", "Responses get X-XSS-Protection: 1; mode=block."),
    _key("filter-content-nosniff", _FLAG, "1.0", "Responses get X-Content-Type-Options: nosniff."),
    _key("filter-frame-deny", _FLAG, "1.0", "Responses get X-Frame-Options: DENY."),
    _key("content-security-policy", _TEXT, "1.0", "Responses get this Content-Security-Policy."),
    _not_as_there(
        "override-destination-headers",
        _FLAG,
        "4.7.0",
        "The upstream's response headers win over those set here.",
        "response headers that the configuration sets win; leave out of it what the upstream sets itself",
    ),
    _key("enable-compression", _FLAG, "1.0", "Responses are compressed with gzip for clients that take it."),
)

_SESSION: Final = (
    _key("redirection-url", _TEXT, "1.0", "The address under which browsers know the gateway."),
    _key(
        "scopes",
        _TEXTS,
        "1.0",
        "Scopes that a login asks for; openid is always among them.",
        ("email", "profile"),
    ),
    _key("enable-pkce", _FLAG, "2.2.0", "Logins use PKCE (S256).", True),
    _key(
        "enable-refresh-tokens",
        _FLAG,
        "1.0",
        "Tokens are refreshed while the session lives; else it ends with its access token. Under the s0 reading they are "
        "when the key is absent.",
    ),
    _key(
        "cookie-access-name",
        _TEXT,
        "1.0",
        "Name of the session cookie. Browsers know it with `__Host-` before it where it is secure, for one host, and for "
        "every path.",
        "kc-access",
    ),
    _key("cookie-domain", _TEXT, "1.0", "Domain of the session cookie. Empty: the host that was asked."),
    _key("cookie-path", _TEXT, "3.3.0", "Path of the session cookie."),
    _key("secure-cookie", _FLAG, "1.0", "The session cookie travels over https only.", True),
    _key(
        "same-site-cookie",
        _TEXT,
        "1.0",
        "SameSite of the session cookie: Strict, Lax or None, in any case.",
        "Lax",
    ),
    _key("enable-session-cookies", _FLAG, "1.0", "The session ends with the browser.", True),
    _not_as_there(
        "http-only-cookie",
        _FLAG,
        "1.0",
        "Scripts cannot read the session cookie.",
        "the session cookie is always HttpOnly",
        status=Status.DIFFERS,
        default=True,
    ),
    _not_as_there(
        "cookie-refresh-name",
        _TEXT,
        "1.0",
        "Name of the cookie that holds the refresh token.",
        _ONE_COOKIE,
        status=Status.DIFFERS,
        say=Say.NOTE,
        default="kc-state",
    ),
    _not_as_there(
        "cookie-id-token-name",
        _TEXT,
        "2.3.0",
        "Name of the cookie that holds the ID token.",
        _ONE_COOKIE,
        status=Status.DIFFERS,
        say=Say.NOTE,
        default="id_token",
    ),
    _not_as_there(
        "enable-id-token-cookie",
        _FLAG,
        "2.9.0",
        "The ID token is kept in a cookie, for the logout.",
        "the ID token is kept in the session store, always",
        status=Status.DIFFERS,
        say=Say.NOTE,
    ),
    _not_as_there(
        "cookie-oauth-state-name",
        _TEXT,
        "1.3.3",
        "Name of the cookie of a login that has begun.",
        "each login that has begun has a small encrypted cookie of its own, named after it",
        status=Status.DIFFERS,
        say=Say.NOTE,
        default="OAuth_Token_Request_State",
    ),
    _not_as_there(
        "cookie-pkce-name",
        _TEXT,
        "2.2.0",
        "Name of the cookie of the PKCE verifier.",
        "each login that has begun has a small encrypted cookie of its own, named after it",
        status=Status.DIFFERS,
        say=Say.NOTE,
        default="pkce",
    ),
    _not_as_there(
        "cookie-request-uri-name",
        _TEXT,
        "1.3.3",
        "Name of the cookie of the address to return to.",
        "each login that has begun has a small encrypted cookie of its own, named after it",
        status=Status.DIFFERS,
        say=Say.NOTE,
        default="request_uri",
    ),
    _key(
        "encryption-key",
        _SECRET,
        "1.0",
        "Key of what is stored encrypted: base64 of 16, 24 or 32 bytes, or as many characters.",
    ),
    _not_as_there(
        "enable-encrypted-token",
        _FLAG,
        "1.0",
        "Tokens that clients hold are encrypted.",
        "browsers hold an opaque session id and no token at all; plain bearer tokens stay accepted",
        status=Status.DIFFERS,
        say=Say.NOTE,
        default=True,
        silent=(False,),
        loud=True,
    ),
    _key(
        "force-encrypted-cookie",
        _FLAG,
        "1.0",
        "Tokens in cookies are always encrypted. Here no cookie holds a token.",
    ),
    _not_as_there(
        "enable-optional-encryption",
        _FLAG,
        "4.2.0",
        "Encrypted and plain tokens are both accepted.",
        "plain bearer tokens are accepted; tokens that a gatekeeper encrypted are not: log in again",
        status=Status.DIFFERS,
    ),
    _not_as_there(
        "enable-compress-token",
        _FLAG,
        "4.5.0",
        "Tokens in cookies are compressed.",
        "remove the key: no cookie holds a token",
    ),
    _not_as_there(
        "compress-token-only-auth-scheme",
        _TEXT,
        "4.8.0",
        "Which tokens are compressed.",
        "remove the key: no cookie holds a token",
    ),
    _key("store-url", _SECRET, "1.0", "Where sessions are kept: `redis://` or `rediss://`."),
    _key("enable-store-ha", _FLAG, "3.6.0", "The store is a Redis Cluster."),
    _key("tls-store-ca-certificate", _FILE, "3.6.0", "CA that signs the store's certificate."),
    _key("tls-store-client-certificate", _FILE, "3.6.0", "Our certificate towards the store."),
    _key("tls-store-client-private-key", _FILE, "3.6.0", "The key of our certificate."),
    _key("post-login-redirect-path", _TEXT, "2.8.0", "Where a login that began at `/` ends."),
    _key("post-logout-redirect-uri", _TEXT, "2.3.0", "Where a logout ends."),
    Key(
        name="post-logout-redirect-url",
        type=_TEXT,
        default="",
        since="S0",
        meaning="S0's spelling of `post-logout-redirect-uri`.",
    ),
    _key(
        "enable-logout-redirect",
        _FLAG,
        "1.0",
        "A logout also ends the session at the issuer. Under the s0 reading it does when the key is absent and the file "
        "says where a logout ends.",
    ),
    _not_as_there(
        "enable-logout-auth",
        _FLAG,
        "4.2.0",
        "Only someone who is logged in can log out.",
        "a logout without a session is answered, and changes nothing here",
        status=Status.DIFFERS,
        say=Say.NOTE,
        default=True,
        silent=(False,),
        loud=True,
    ),
    _key("revocation-url", _TEXT, "1.0", "Where refresh tokens are revoked, if discovery does not say."),
    _key("allowed-query-params", _PAIRS, "2.11.0", "Query parameters that a login passes to the issuer."),
    _key("default-allowed-query-params", _PAIRS, "2.12.0", "Their values when a request does not give them."),
    _not_as_there(
        "enable-login-handler",
        _FLAG,
        "1.0",
        "POST /oauth/login takes user name and password.",
        "the answer is a session cookie and who it is, no tokens: programs that want tokens ask the issuer for them",
        status=Status.DIFFERS,
    ),
    _not_as_there(
        "enable-register-handler",
        _FLAG,
        "3.2.0",
        "/oauth/register leads to the issuer's registration.",
        "link to the issuer's registration page",
    ),
    _not_as_there(
        "register-page", _FILE, "3.2.0", "Template of the registration.", "link to the issuer's page"
    ),
    _not_as_there(
        "sign-in-page",
        _FILE,
        "1.0",
        "Template of the page before the login.",
        "people are sent to the issuer at once: the page is for those who have to choose between providers, and here is "
        "one. " + _TEMPLATE,
        status=Status.DIFFERS,
    ),
    _not_as_there(
        "forbidden-page", _FILE, "1.0", "Template of the 403 page.", _TEMPLATE, status=Status.DIFFERS
    ),
    _not_as_there(
        "error-page", _FILE, "1.3.0", "Template of the 400 page.", _TEMPLATE, status=Status.DIFFERS
    ),
    _key("tags", _PAIRS, "1.0", "Values that the templates may print."),
)

_OPERATION: Final = (
    _key("enable-logging", _FLAG, "1.0", "One line per request. When the key is absent: on."),
    _not_as_there(
        "enable-json-logging",
        _FLAG,
        "1.0",
        "Log lines are JSON.",
        "log lines are always JSON",
        status=Status.DIFFERS,
        default=True,
    ),
    _not_as_there(
        "disable-all-logging",
        _FLAG,
        "1.0",
        "No log at all.",
        "there is no line per request; problems and what is said at start are still printed",
        status=Status.DIFFERS,
        say=Say.NOTE,
    ),
    _not_as_there("verbose", _FLAG, "1.0", "More log lines.", "remove the key; wardgate explain says why"),
    _not_as_there(
        "enable-metrics",
        _FLAG,
        "1.0",
        "Prometheus metrics.",
        "they are at /metrics of listen-admin (port 9090 when it is absent), not at /oauth/metrics",
        status=Status.DIFFERS,
        reading=GatekeeperReading.PRODUCT,
    ),
    _key(
        "localhost-metrics",
        _FLAG,
        "1.0",
        "Metrics are served to this machine only: listen-admin on 127.0.0.1.",
    ),
    _not_as_there(
        "enable-profiling",
        _FLAG,
        "1.0",
        "Go's profiler under /debug/pprof.",
        "remove the key: there is no Go program to profile; timings are in the metrics",
    ),
    _key("enable-request-id", _FLAG, "1.0", "Each request has an id. It always has here."),
    _key("request-id-header", _TEXT, "1.0", "The header that carries it.", "X-Request-ID"),
    _key(
        "server-idle-timeout",
        _DURATION,
        "1.0",
        "How long an idle connection is kept.",
        timedelta(seconds=120),
    ),
    _not_as_there(
        "server-read-timeout",
        _DURATION,
        "1.0",
        "How long a request may take to arrive.",
        "it bounds the headers; a body may take longer as long as it moves",
        status=Status.DIFFERS,
        default=_SECONDS_10,
    ),
    _not_as_there(
        "server-write-timeout",
        _DURATION,
        "1.0",
        "How long a response may take.",
        "responses are not cut: upstream-response-header-timeout bounds the wait for the upstream",
        default=_SECONDS_10,
    ),
    _key(
        "server-grace-timeout",
        _DURATION,
        "2.14.2",
        "How long running requests may take at the end.",
        _SECONDS_10,
    ),
    _not_as_there(
        "enable-forwarding",
        _FLAG,
        "1.0",
        "Be a forward proxy that signs outgoing requests.",
        _NO_FORWARDING,
        say=Say.ERROR,
    ),
    _not_as_there("forwarding-domains", _TEXTS, "1.0", "Domains whose requests are signed.", _NO_FORWARDING),
    _not_as_there(
        "forwarding-grant-type", _TEXT, "1.3.0", "How its token is got.", _NO_FORWARDING, default="password"
    ),
    _not_as_there("forwarding-password", _SECRET, "1.0", "Password of its login.", _NO_FORWARDING),
    _not_as_there("forwarding-username", _TEXT, "1.0", "User of its login.", _NO_FORWARDING),
    _not_as_there(
        "tls-forwarding-ca-certificate", _FILE, "3.6.0", "CA of the forward proxy.", _NO_FORWARDING
    ),
    _not_as_there("tls-forwarding-ca-private-key", _FILE, "3.6.0", "The key of this CA.", _NO_FORWARDING),
)

_OLDER: Final = (
    _old(
        "access-token-duration",
        _DURATION,
        ("1.0", "4.8.0-rc2"),
        "How long a session lives without being used.",
        "access-token-duration",
        "it is read as the idle time of sessions; 4.8 and later take it from the refresh token",
    ),
    Key(
        name="skip-token-verification",
        type=_FLAG,
        default=False,
        since="1.0",
        until="3.2.0-rc1",
        meaning="Do not check signatures. True is refused without `--allow-insecure`; they are checked even then.",
        status=Status.UNSUPPORTED,
        hint="remove the key: signatures are always checked",
        silent=(True,),
    ),
    _old(
        "tls-ca-certificate",
        _FILE,
        ("1.0", "4.8.0-rc1"),
        "CA of the forward proxy. Under the s0 reading: CA that signs the issuer's certificate.",
        "",
        "in gatekeeper it is the forward proxy's CA; for the issuer's write tls-openid-provider-ca-certificate",
    ),
    _old(
        "tls-ca-key",
        _FILE,
        ("1.0", "4.8.0-rc1"),
        "Key of the forward proxy's CA. Under the s0 reading: a further CA for the issuer's certificate.",
        "",
        "in gatekeeper it is the forward proxy's key; for the issuer's CA write tls-openid-provider-ca-certificate",
    ),
    Key(
        name="tls-admin-ca-certificate",
        type=_FILE,
        default="",
        since="1.3.0",
        until="4.8.0-rc1",
        meaning="CA that signs the certificates of admin clients.",
        status=Status.UNSUPPORTED,
        hint="metrics would be served to clients without a certificate: bind listen-admin to 127.0.0.1",
        say=Say.ERROR,
    ),
    _old(
        "openid-provider-ca",
        _FILE,
        ("3.4.0", "4.8.0-rc1"),
        "CA that signs the issuer's certificate.",
        "tls-openid-provider-ca-certificate",
    ),
    _old(
        "client-auth-method",
        _TEXT,
        ("1.0", "1.2.0-rc2"),
        "How the client shows its secret to the issuer: `secret-basic` or `secret-body`. When the key is absent: basic.",
        "client-auth-method",
        "it is read; later versions find out by themselves, and here the default is secret-basic",
    ),
    _old(
        "pat-refresh-interval",
        _DURATION,
        ("1.5.0-rc1", "1.5.0-rc1"),
        "How often UMA's own token is renewed.",
        "",
    ),
    _old("clientid", _TEXT, ("0.1", "0.x"), "The client at the issuer.", "client-id"),
    _old("secret", _SECRET, ("0.1", "0.x"), "The client's secret.", "client-secret"),
    _old("upstream", _TEXT, ("0.1", "0.x"), "The application.", "upstream-url"),
    _old("log-requests", _FLAG, ("0.1", "0.x"), "One line per request.", "enable-logging"),
    _old("json-format", _FLAG, ("0.1", "0.x"), "Log lines are JSON.", "enable-json-logging"),
    _old("log-json-format", _FLAG, ("0.1", "0.x"), "Log lines are JSON.", "enable-json-logging"),
    _old("enable-uri-metrics", _FLAG, ("0.1", "0.x"), "Metrics for every path.", ""),
    Key(
        name="skip-client-id",
        type=_FLAG,
        default=False,
        since="0.1",
        until="0.x",
        meaning="Do not ask for the client in `aud`.",
        status=Status.UNSUPPORTED,
        hint="tokens that were made for other applications would pass: remove the key",
        say=Say.ERROR,
    ),
)

KEYS: Final[tuple[Key, ...]] = tuple(
    sorted(
        (*_REACHING, *_ISSUER, *_RULES, *_IDENTITY, *_UPSTREAM, *_BROWSER, *_SESSION, *_OPERATION, *_OLDER),
        key=lambda key: key.name,
    )
)
"""Every top-level key, by name."""

RESOURCE_KEYS: Final[tuple[Key, ...]] = (
    _key(
        "uri",
        _TEXT,
        "1.0",
        "The path: `/x` exactly, `/x*` whatever starts so, `/x/*` below `/x` (and `/x` itself where the resource "
        "protects), `/` the root only, `/*` everything. Required.",
    ),
    _key(
        "methods",
        _TEXTS,
        "1.0",
        "The methods that the resource speaks for; empty: all. On a protected resource every other method is "
        "denied; in gatekeeper it falls to the next match.",
    ),
    _key(
        "roles",
        _TEXTS,
        "1.0",
        "Roles, all of them unless `require-any-role`: `client:role` or a realm role. Under the s0 reading any of "
        "them, and an entry of `groups` counts too.",
    ),
    _key("require-any-role", _FLAG, "1.0", "One of the roles is enough."),
    _key("groups", _TEXTS, "1.0", "One of these must be in the claim `groups`, compared as it is."),
    _key(
        "headers",
        _TEXTS,
        "1.0",
        "`name:value` pairs: each name must be in the request with one of its values. Under the s0 reading a "
        "mapping; its Content-Length is the largest body in bytes.",
    ),
    _key("acr", _TEXTS, "3.0.0", "One of these must be the claim `acr`; needs `enable-loa`."),
    _key("white-listed", _FLAG, "1.0", "Public: credentials are not looked at."),
    _key(
        "white-listed-anon",
        _FLAG,
        "3.4.0",
        "Public, but a credential that is sent is checked, and identity headers are set from it.",
    ),
    _key("no-redirect", _FLAG, "3.2.1", "Browsers get 401 here instead of a redirect to the login."),
)
"""The fields of one entry of `resources`."""

ALIASES: Final = {"tls-admin-client-ca-certificate": "tls-admin-client-certificate"}
"""Two spellings of one key, both of the current version."""

_ENVIRONMENT: Final = {
    "tls-cert": "TLS_CERTIFICATE",
    "tls-admin-cert": "TLS_ADMIN_CERTIFICATE",
    "tls-admin-client-certificate": "TLS_ADMIN_CLIENT_CA_CERTIFICATE",
    "config": "CONFIG_FILE",
    "letsencrypt-cache-dir": "LETS_ENCRYPT_CACHE_DIR",
    "max-idle-connections": "MAX_IDLE_CONNS",
    "max-idle-connections-per-host": "MAX_IDLE_CONNS_PER_HOST",
    "enable-refresh-tokens": "ENABLE_REFRESH_TOKEN",
    "enable-https-redirection": "ENABLE_HTTPS_REDIRECT",
    "skip-openid-provider-tls-verify": "SKIP_OPENID_PROVIDER_TLSVERIFY",
    "filter-browser-xss": "ENABLE_BROWSER_XSS_FILTER",
    "filter-content-nosniff": "ENABLE_CONTENT_NO_SNIFF",
    "filter-frame-deny": "ENABLE_FRAME_DENY",
    "enable-id-token-cookie": "ENABLE_IDTOKEN_COOKIE",
    "skip-access-token-clientid-check": "SKIP_ACCESS_TOKEN_CLIENT_ID_CHECK",
    "enabled-proxy-protocol": "ENABLE_PROXY_PROTOCOL",
    "use-letsencrypt": "USE_LETS_ENCRYPT",
}
"""Where the variable's name is not the key's."""


def environment_name(key: Key) -> str | None:
    """The variable that sets the key, `PROXY_LISTEN` for `listen`; None for lists and mappings, as in gatekeeper."""
    if key.type in (KeyType.TEXTS, KeyType.PAIRS, KeyType.RESOURCES):
        return None
    return "PROXY_" + _ENVIRONMENT.get(key.name, key.name.upper().replace("-", "_"))
