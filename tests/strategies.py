"""
Hypothesis strategies: policies as they could be written, and the parts that they are made of.

Two vocabularies. `PLAIN` has names that any server takes as they are: for policies that a real Envoy enforces
(what is asked of those is in `tests/differential/cases.py`). `WILD` has every text that YAML could mistake for
something else: for policies that are written and read again.
Paths, hosts and roles come from a few words, so that rules overlap, nest, and differ in letter case only.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

from hypothesis import strategies as st

from wardgate.patterns import NoPattern, require
from wardgate.policy import (
    ALGORITHMS,
    ANY_METHOD,
    Access,
    Address,
    AllOf,
    AnyOf,
    Audiences,
    Authenticated,
    ClaimIs,
    ClaimMatches,
    ClaimValue,
    ClientAuthentication,
    ClientRole,
    ClientTls,
    Condition,
    Cors,
    Credentials,
    Denied,
    Endpoint,
    Endpoints,
    ForwardAuth,
    Group,
    Host,
    IdentityHeader,
    Introspection,
    Kind,
    Limits,
    Listener,
    LoginParameter,
    Mode,
    Not,
    Outage,
    Path,
    PathKind,
    Policy,
    Provider,
    Public,
    RawToken,
    RealmRole,
    RequestHeader,
    RequestId,
    Route,
    Rule,
    SameSite,
    Scope,
    Secret,
    ServerTls,
    Session,
    Source,
    UncheckedAudience,
    Upstream,
    UpstreamProtocol,
    asked_by_headers,
)

# --- Words ----------------------------------------------------------------------------------------------------------

HOST_NAMES = ("*", "a.test", "b.test", "*.a.test", "*.test", "x.b.test")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "M-SEARCH")
SEGMENTS = ("a", "b", "A", "ab", "admin", "Admin", "x")
HEADER_NAMES = ("X-User-Id", "X-Auth-Roles", "x-user-email", "X_Under", "X-Auth-Token")
CHECKED_HEADERS = ("X-Env", "x-tenant")

TRICKY = (
    *("n", "y", "yes", "No", "on", "off", "true", "null", "~", "1", "1.0", "1e3", "0x10", "0o7", "0b1", "_"),
    *("1_000", "1:30", "12:30:45", "2020-01-01", "2020-01-01T10:00:00Z", ".inf", "-.INF", ".nan", "<<", "="),
    *("", " ", " lead", "trail ", "two  spaces", "a: b", "a :b", "a:", ":a", "a #b", "#a", "- a", "-a", "-"),
    *(
        "?",
        "? a",
        "!a",
        "!!str a",
        "&a",
        "*a",
        "*",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "a,b",
        "{a}",
        "[a]",
        "{",
        "]",
    ),
    *(
        "'",
        '"',
        "it's",
        'say "so"',
        "back\\slash",
        "tab\there",
        "line\nbreak",
        "line\r\nbreak",
        "\n",
        "\0",
        "\x07",
    ),
    *(
        "\x7f",
        "\x85",
        "\xa0",
        "\u2028",
        "\u2029",
        "\ufeff",
        "bom\ufeff",
        "ünïcode",
        "日本語",
        "🦉",
        "e\u0301",
        "\u200b",
    ),
    *(
        "${HOME}",
        "${A:-${B}}",
        "$${A}",
        "${",
        "$",
        "${1}",
        "${A:-",
        "a${B}c",
        "---",
        "...",
        "--- a",
        "authenticated",
    ),
    *("/team", "client:role", "realm.role", "a.b", ".a", "a.", "a..b", "unchecked", "default", "http://a:1"),
)
"""Texts that a careless writer would lose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Where names come from: `names` of roles, groups and clients, `values` of claims and headers, `steps` of paths."""

    names: st.SearchStrategy[str]
    values: st.SearchStrategy[str]
    steps: st.SearchStrategy[str]
    patterns: st.SearchStrategy[str]
    separators: st.SearchStrategy[str]


PLAIN = Vocabulary(
    names=st.sampled_from(["admin", "user", "n", "/team", "client:role", "a.b", "ünï", "1"]),
    values=st.sampled_from(["acme", "prod", "1", "true", "a b", "é"]),
    steps=st.sampled_from(["tenant", "email", "level", "deep", "a.b"]),
    patterns=st.sampled_from(["a.*", "acme|prod", "[0-9]+", ".*@acme\\.test"]),
    separators=st.sampled_from([",", "|", "; "]),
)


def _is_pattern(text: str) -> bool:
    try:
        require(text)
    except NoPattern:
        return False
    return bool(text)


_WILD_TEXT = st.one_of(
    st.sampled_from(TRICKY), st.text(max_size=12), st.text(string.printable, min_size=1, max_size=12)
)
WILD = Vocabulary(
    names=_WILD_TEXT,
    values=_WILD_TEXT,
    steps=_WILD_TEXT,
    patterns=_WILD_TEXT.map(re.escape).filter(_is_pattern),
    separators=_WILD_TEXT,
)


def some(items: st.SearchStrategy[Any], *, low: int = 0, high: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=low, max_size=high).map(tuple)


def distinct(
    items: st.SearchStrategy[Any], *, low: int = 0, high: int = 3
) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=low, max_size=high, unique=True).map(tuple)


durations = st.one_of(
    st.sampled_from([0, 1, 30, 60, 90, 3600, 5400, 86400, 90000, 172800]).map(lambda s: timedelta(seconds=s)),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)),
)
sizes = st.one_of(st.sampled_from([0, 1, 1000, 1024, 65536, 50_000_000, 2**30]), st.integers(0, 2**40))

# --- Conditions -----------------------------------------------------------------------------------------------------


@cache
def leaves(words: Vocabulary) -> st.SearchStrategy[Condition]:
    steps = some(words.steps, low=1, high=3)
    scalars = st.one_of(words.values, st.booleans(), st.integers(-(2**53), 2**53), st.sampled_from([0, 1]))
    headers = st.sampled_from(CHECKED_HEADERS)
    return st.one_of(
        st.just(Authenticated()),
        st.builds(RealmRole, words.names),
        st.builds(ClientRole, words.names.filter(bool), words.names),
        st.builds(Group, words.names),
        st.builds(Scope, words.names),
        st.builds(ClaimIs, steps, scalars),
        st.builds(ClaimMatches, steps, words.patterns),
        st.builds(RequestHeader, headers, some(words.values, low=1)),
    )


@cache
def conditions(words: Vocabulary = PLAIN) -> st.SearchStrategy[Condition]:
    """Trees of any shape, and the flat ones that people write."""
    leaf = leaves(words)
    any_of = st.one_of(*(some(kind, low=1) for kind in _of_one_kind(words))).map(AnyOf)
    tree = st.recursive(
        leaf,
        lambda inner: st.one_of(
            inner.map(Not),
            some(inner, low=1).map(AllOf),
            some(inner, low=1).map(AnyOf),
        ),
        max_leaves=6,
    )
    return st.one_of(leaf, any_of, some(st.one_of(any_of, leaf), low=1).map(AllOf), tree)


def _of_one_kind(words: Vocabulary) -> Iterator[st.SearchStrategy[Condition]]:
    yield st.builds(RealmRole, words.names)
    yield st.builds(ClientRole, words.names.filter(bool), words.names)
    yield st.builds(Group, words.names)
    yield st.builds(Scope, words.names)
    yield st.builds(ClaimIs, st.just(("tenant",)), words.values)


# --- Routes ---------------------------------------------------------------------------------------------------------


path_texts = st.lists(st.sampled_from(SEGMENTS), max_size=3).map(lambda parts: "/" + "/".join(parts))
"""`/a/Admin`: few segments out of few, so that paths nest."""


PATTERN_ENDS = {
    "": ("",),
    "/.*": ("/", "/x", "/x/y"),
    "/[^/]+": ("/x", "/Admin"),
    "[^b]*": ("", "/x", "x"),
    ".+": ("x", "/x"),
    "(?:/[A-Z]\\w*)?$": ("", "/Admin"),
}
"""What follows a text in a pattern for paths, and what it matches."""


def _path(kind: PathKind, text: str, slash: bool) -> Path:
    if kind is PathKind.MATCHES:
        end = list(PATTERN_ENDS)[(len(text) * 7 + 3 * slash) % len(PATTERN_ENDS)]
        return Path(kind=kind, text=("" if text == "/" and end.startswith("/") else re.escape(text)) + end)
    open_ended = kind in (PathKind.EXACT, PathKind.TEXT) and text != "/"
    return Path(kind=kind, text=text + "/" if slash and open_ended else text)


paths = st.builds(_path, st.sampled_from(PathKind), path_texts, st.booleans())


methods = st.one_of(
    st.just(ANY_METHOD),
    st.frozensets(st.sampled_from(METHODS), min_size=1, max_size=3),
    st.just(frozenset({"GET"})),
)


@cache
def credentials(
    mode: Mode, providers: tuple[str, ...], introspection: bool = False
) -> st.SearchStrategy[Credentials]:
    """Mostly every kind and provider, as people leave it."""
    kinds = st.one_of(st.just(frozenset(Kind)), st.frozensets(st.sampled_from(Kind)))
    subset = distinct(st.sampled_from(providers)) if providers else st.just(())
    usual = Credentials(mode=mode) if mode is Mode.IGNORED else Credentials(mode=mode, providers=providers)
    written = st.builds(
        Credentials,
        mode=st.just(mode),
        kinds=kinds,
        providers=st.one_of(st.just(providers), subset),
        introspect=st.booleans() if introspection else st.just(False),
    )
    return st.one_of(st.just(usual), written)


@cache
def identity_headers(
    words: Vocabulary = PLAIN, sources: bool = False
) -> st.SearchStrategy[tuple[IdentityHeader, ...]]:
    value: st.SearchStrategy[ClaimValue | RawToken] = st.one_of(
        st.builds(ClaimValue, path=some(words.steps, low=1, high=2)),
        st.sampled_from([ClaimValue(path=("sub",)), ClaimValue(path=("realm_access", "roles"))]),
        st.builds(ClaimValue, path=st.just(("groups",)), separator=words.separators),
        st.just(RawToken()),
    )
    if sources:
        of_session = st.builds(ClaimValue, path=st.just(("email",)), source=st.sampled_from(Source))
        value = st.one_of(value, of_session, st.just(RawToken(source=Source.ID)))
    header = st.builds(IdentityHeader, name=st.sampled_from(HEADER_NAMES), value=value)
    return st.lists(header, max_size=3, unique_by=lambda one: one.name.lower().replace("_", "-")).map(tuple)


@cache
def accesses(words: Vocabulary = PLAIN) -> st.SearchStrategy[Access]:
    return st.one_of(
        st.just(Public()),
        st.builds(Rule, when=conditions(words)),
        st.builds(Rule, when=conditions(words)),
        st.builds(Denied, because=words.names),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What routes can name, and what most of them have in common."""

    providers: tuple[str, ...]
    upstreams: tuple[str, ...]
    words: Vocabulary = PLAIN
    identity: tuple[IdentityHeader, ...] = ()
    extras: bool = True
    """Names, body limits, timeouts, WebSockets, login: what decides nothing."""
    introspection: bool = False
    """Whether every provider has a client to ask about tokens with."""
    sources: bool = False
    """Whether headers hold what only sessions have: ID tokens and userinfo."""


MODES = st.sampled_from([Mode.IGNORED, Mode.OPTIONAL, Mode.PERMISSIVE])


@cache
def routes(around: Surroundings) -> st.SearchStrategy[Route]:
    return _routes(around)


@st.composite
def _routes(draw: st.DrawFn, around: Surroundings) -> Route:
    access = draw(accesses(around.words))
    mode = draw(MODES) if isinstance(access, Public) else Mode.REQUIRED
    asked = draw(credentials(mode, around.providers, around.introspection))
    identity: tuple[IdentityHeader, ...] = ()
    if asked.mode is not Mode.IGNORED:
        identity = draw(st.one_of(st.just(around.identity), identity_headers(around.words, around.sources)))
    extra = draw(_extras(around)) if around.extras else {}
    return Route(
        name="",
        path=draw(paths),
        methods=draw(methods),
        access=access,
        credentials=asked,
        upstream=draw(st.sampled_from(around.upstreams)),
        identity=identity,
        **extra,
    )


@cache
def _extras(around: Surroundings) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "body_limit": sizes,
            "websockets": st.booleans(),
            "timeout": durations,
            "login_redirect": st.booleans(),
            "forward_authorization": st.booleans(),
        },
    )


@st.composite
def hosts(draw: st.DrawFn, around: Surroundings, *, most: int = 2, routes_most: int = 8) -> tuple[Host, ...]:
    """Hosts without a name in common; a route that would clash with one before it is left out."""
    names = draw(st.lists(st.sampled_from(HOST_NAMES), min_size=1, max_size=3, unique=True))
    groups: list[list[str]] = [[names[0]]]
    for name in names[1:]:
        if len(groups) < most and draw(st.booleans()):
            groups.append([name])
        else:
            groups[-1].append(name)
    return tuple([draw(_host(around, tuple(group), routes_most)) for group in groups])


@st.composite
def _host(draw: st.DrawFn, around: Surroundings, names: tuple[str, ...], routes_most: int) -> Host:
    found = named(_without_clashes(draw(st.lists(routes(around), max_size=routes_most))))
    if around.extras and found and draw(st.booleans()):
        name = draw(around.words.names.filter(lambda text: text not in {"", *(one.name for one in found)}))
        found = (replace(found[0], name=name), *found[1:])
    return Host(
        names=names,
        routes=found,
        fallback=draw(credentials(Mode.REQUIRED, around.providers, around.introspection)),
        cors=draw(st.one_of(st.none(), cors())) if around.extras else None,
    )


def named(found: tuple[Route, ...]) -> tuple[Route, ...]:
    """Routes with the names that the native format gives to routes without one."""
    return tuple(replace(route, name=_name(route)) for route in found)


def _name(route: Route) -> str:
    text = str(route.path)
    if route.path.kind is PathKind.TEXT and route.path.text.endswith("/"):
        text = f"text {route.path.text}"
    return text if route.methods == ANY_METHOD else f"{' '.join(sorted(route.methods))} {text}"


def _without_clashes(found: list[Route]) -> tuple[Route, ...]:
    seen: set[tuple[PathKind, str, str]] = set()
    kept = []
    for route in found:
        keys = {(route.path.kind, route.path.folded, method) for method in route.methods}
        if not keys & seen:
            seen |= keys
            kept.append(route)
    return tuple(kept)


@cache
def cors() -> st.SearchStrategy[Cors]:
    origins = st.sampled_from(["https://app.test", "https://b.test:8443", "http://localhost:3000"])
    return st.builds(
        Cors,
        origins=st.one_of(st.just(("*",)), distinct(origins, low=1)),
        methods=distinct(st.sampled_from(["GET", "POST"])),
        headers=distinct(st.sampled_from(["X-A", "Content-Type"])),
        exposed=distinct(st.sampled_from(["X-B"])),
        max_age=st.one_of(st.none(), durations),
    )


# --- Whole policies -------------------------------------------------------------------------------------------------


@cache
def texts_for_files() -> st.SearchStrategy[str]:
    return st.sampled_from(["/etc/tls/tls.crt", "ca.pem", "C:\\keys\\a b.pem", "n"])


@cache
def client_tls() -> st.SearchStrategy[ClientTls]:
    file = st.one_of(st.none(), texts_for_files())
    return st.one_of(
        st.just(ClientTls()),
        st.builds(
            ClientTls,
            ca=file,
            certificate=file,
            key=file,
            server_name=st.one_of(st.none(), st.just("db.test")),
            verify=st.booleans(),
        ),
    )


@cache
def header_pairs(words: Vocabulary) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    values = words.values.filter(lambda text: not set(text) & set("\r\n\0"))
    return some(st.tuples(st.sampled_from(["X-A", "X-B", "Server-Timing"]), values))


@cache
def secrets(name: str) -> st.SearchStrategy[Secret | None]:
    """None, or the secret that stands in the environment as `name`."""
    return st.sampled_from([None, Secret(ENVIRON[name], f"${{{name}}}")])


ENVIRON: Mapping[str, str] = {
    "CLIENT_SECRET": "s3cret-of-the-client",
    "STORE_URL": "redis://:hush@redis:6379/0",
    "ENCRYPTION_KEY": "0123456789abcdef0123456789abcdef",
}
"""What the references of the secrets stand for."""

JWKS = '{"keys": [{"kty": "RSA", "kid": "a", "n": "AQ", "e": "AQAB"}]}'


@cache
def providers(name: str, words: Vocabulary = PLAIN) -> st.SearchStrategy[Provider]:
    audience = st.one_of(
        st.just(UncheckedAudience()),
        st.builds(Audiences, any_of=distinct(words.names.filter(bool), low=1)),
    )
    url = st.one_of(st.none(), st.just("http://keycloak:8080/auth/realms/x"))
    default = Provider(
        name=name,
        issuer=f"https://id.test/realms/{name.replace(chr(32), chr(45))}",
        audience=UncheckedAudience(),
    )
    return st.builds(
        _provider,
        name=st.just(name),
        issuer=st.just(default.issuer),
        audience=audience,
        discovery_url=url,
        jwks_url=url,
        jwks=st.sampled_from([None, JWKS]),
        algorithms=st.one_of(st.just(default.algorithms), distinct(st.sampled_from(ALGORITHMS))),
        leeway=st.one_of(st.just(default.leeway), durations),
        max_lifetime=st.one_of(st.just(default.max_lifetime), durations),
        keys_refresh=st.one_of(st.just(default.keys_refresh), durations),
        timeout=st.one_of(st.just(default.timeout), durations),
        client_id=st.one_of(st.none(), words.names.filter(bool)),
        client_secret=secrets("CLIENT_SECRET"),
        client_authentication=st.sampled_from(ClientAuthentication),
        client_key=texts_for_files(),
        pushed_authorization=st.booleans(),
        acr_values=st.one_of(st.none(), words.names.filter(bool)),
        max_age=st.one_of(st.none(), durations),
        authorization_parameters=some(st.tuples(words.names, words.values)),
        title=st.one_of(st.none(), words.names.filter(bool)),
        email_domains=st.sampled_from([(), (f"{name.encode().hex()}.test",)]),
        hosts=distinct(st.sampled_from(["a.test", "b.test"])),
        introspection=st.sampled_from(Introspection),
        introspection_url=url,
        tls=client_tls(),
        headers=header_pairs(words),
        proxy=st.sampled_from([None, "http://proxy:3128"]),
    )


def _provider(*, introspection: Introspection, client_id: str | None, **fields: Any) -> Provider:
    """Only who has a client can ask about tokens."""
    asked = Introspection.OFF if client_id is None else introspection
    return Provider(introspection=asked, client_id=client_id, **fields)


@cache
def upstreams(name: str) -> st.SearchStrategy[Upstream]:
    endpoint = st.builds(
        Endpoint,
        host=st.sampled_from(["app", "10.0.0.7", "::1", "App.test"]),
        port=st.sampled_from([80, 443, 8080]),
    )
    return st.one_of(
        st.just(Upstream(name=name, endpoints=(Endpoint(host="app", port=8080),))),
        st.builds(
            Upstream,
            name=st.just(name),
            endpoints=some(endpoint, low=1),
            tls=st.one_of(st.none(), client_tls()),
            protocol=st.sampled_from(UpstreamProtocol),
            connect_timeout=durations,
            response_timeout=durations,
            keepalive=st.one_of(st.none(), durations),
            preserve_host=st.booleans(),
        ),
    )


@cache
def sessions(words: Vocabulary = PLAIN) -> st.SearchStrategy[Session]:
    text = words.names.filter(bool)
    pages = some(st.tuples(st.sampled_from(["sign-in", "forbidden", "error"]), texts_for_files()))
    parameter = st.builds(
        LoginParameter,
        name=text,
        only=st.one_of(st.none(), words.values),
        default=st.one_of(st.none(), words.values),
    )
    url = st.sampled_from([None, "https://app.a.test", "https://app.a.test:8443/gate"])
    return st.one_of(
        st.just(Session()),
        st.builds(
            _session,
            cookie_name=st.sampled_from(["shop", "__Secure-shop", "n", "1.0"]),
            cookie_domain=st.sampled_from([None, "a.test", ".a.test"]),
            cookie_path=st.sampled_from(["/", "/gate", "/-/"]),
            secure=st.booleans(),
            same_site=st.sampled_from(SameSite),
            persistent=st.booleans(),
            idle=durations,
            lifetime=durations,
            attested=st.timedeltas(min_value=timedelta(seconds=2), max_value=timedelta(minutes=5)),
            websockets=durations,
            store_url=secrets("STORE_URL"),
            in_cookies=st.booleans(),
            encryption_key=secrets("ENCRYPTION_KEY"),
            old_encryption_keys=st.sampled_from([(), *((key,) * n for n in (1, 2) for key in _OLD_KEYS)]),
            redirection_url=url,
            redirect_hosts=distinct(st.sampled_from(["b.test", "b.test:8443", "127.0.0.1", "[::1]"])),
            redirect_http=st.booleans(),
            post_logout_url=url,
            scopes=some(words.names),
            pkce=st.booleans(),
            refresh=st.booleans(),
            on_issuer_outage=st.sampled_from(Outage),
            password_login=st.booleans(),
            login_parameters=some(parameter),
            post_login_path=st.sampled_from([None, "/", "/home?a=b"]),
            logout_by_get=st.booleans(),
            logout_at_issuer=st.booleans(),
            revocation_url=url,
            verified_email=st.booleans(),
            forward_authorization=st.booleans(),
            store_tls=st.one_of(st.none(), client_tls()),
            store_cluster=st.booleans(),
            pages=pages,
            page_values=some(st.tuples(words.names, words.values)),
        ),
    )


_OLD_KEYS = (Secret(ENVIRON["ENCRYPTION_KEY"], "${ENCRYPTION_KEY}"),)


def _session(
    *, in_cookies: bool, store_url: Secret | None, same_site: SameSite, secure: bool, **fields: Any
) -> Session:
    """One place for sessions; browsers take `same-site: none` from https only; old keys stand behind a new one."""
    if fields["encryption_key"] is None:
        fields["old_encryption_keys"] = ()
    return Session(
        in_cookies=in_cookies and store_url is None,
        store_url=store_url,
        same_site=same_site if secure or same_site is not SameSite.NONE else SameSite.LAX,
        secure=secure,
        **fields,
    )


limits = st.one_of(
    st.just(Limits()),
    st.builds(
        Limits,
        header_kib=st.integers(1, 8192),
        headers_count=st.integers(0, 1000),
        connections=st.integers(0, 10**6),
        body_bytes=st.one_of(st.none(), sizes),
        headers_timeout=durations,
        idle_timeout=durations,
        drain=durations,
    ),
)
endpoints = st.sampled_from(
    [Endpoints(), Endpoints(prefix="/-/gate", health="ready"), Endpoints(prefix="/auth")]
)
addresses = st.builds(
    Address,
    host=st.sampled_from(["0.0.0.0", "127.0.0.1", "::", "::1"]),
    port=st.sampled_from([0, 80, 443, 3000]),
)


def listeners(name: str, found: st.SearchStrategy[tuple[Host, ...]]) -> st.SearchStrategy[Listener]:
    tls = st.builds(
        ServerTls,
        certificate=texts_for_files(),
        key=texts_for_files(),
        minimum=st.sampled_from(["1.2", "1.3"]),
        client_ca=st.one_of(st.none(), texts_for_files()),
    )
    return st.builds(
        Listener,
        name=st.just(name),
        address=addresses,
        hosts=found,
        tls=st.one_of(st.none(), tls),
        redirect_to_https=st.booleans(),
        proxy_protocol=st.booleans(),
        forward_auth=st.one_of(st.none(), st.sampled_from(FORWARD_AUTH)),
    )


FORWARD_AUTH = [
    ForwardAuth(path=path, only=only)
    for path, only in (("/ask", True), ("/ask", False), ("/ask/here", True), ("/", True), (None, False))
]


@st.composite
def policies(draw: st.DrawFn, words: Vocabulary = WILD) -> Policy:
    """Any policy that can be written down: every field, every kind of value."""
    provider_names = draw(
        st.sampled_from([(), ("default",), ("keycloak",), ("a", "n"), ("on", "1.0", "x y")])
    )
    upstream_names = draw(st.sampled_from([("default",), ("app",), ("a", "b"), ("yes", "no", "default")]))
    found = tuple([draw(providers(name, words)) for name in provider_names])
    around = Surroundings(
        providers=provider_names,
        upstreams=upstream_names,
        words=words,
        identity=draw(identity_headers(words, True)),
        introspection=all(provider.client_id is not None for provider in found),
        sources=True,
    )
    names = draw(st.sampled_from([("main",), ("public",), ("main", "inside"), ("1", "2")]))
    shared = draw(hosts(around))
    own = st.one_of(st.just(shared), st.just(()), hosts(around))
    whole = draw(_wholes(words))
    drawn = [draw(listeners(name, st.just(shared) if len(names) == 1 else own)) for name in names]
    by_headers = asked_by_headers(whole.get("endpoints", Endpoints()))
    return Policy(
        dialect=draw(st.sampled_from(["native", "gatekeeper"])),
        listeners=tuple(
            replace(
                each, forward_auth=each.forward_auth and replace(each.forward_auth, by_headers=by_headers)
            )
            for each in drawn
        ),
        providers=found,
        upstreams=tuple([draw(upstreams(name)) for name in upstream_names]),
        **whole,
    )


@cache
def _wholes(words: Vocabulary) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "admin": addresses,
            "trusted_proxies": distinct(st.sampled_from(["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"])),
            "endpoints": endpoints,
            "limits": limits,
            "request_id": st.sampled_from([RequestId(), RequestId(header="X-Correlation-ID")]),
            "upstream_headers": header_pairs(words),
            "response_headers": header_pairs(words),
            "compression": st.booleans(),
            "access_log": st.booleans(),
            "expose_reasons": st.booleans(),
            "session": st.one_of(st.none(), sessions(words)),
        },
    )
