"""
Strategies for policies that a real Envoy enforces: out of few words, so that their rules overlap and nest.

Hypothesis draws what things are (paths, names, values); which kind of thing stands where is drawn evenly, by a
generator that hypothesis seeds, so that every kind is seen often.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from tests.differential import tokens
from tests.differential.probes import KEYS_OF_CLIENTS, MATCHING, PASSWORDS, TRUSTED, digest
from tests.strategies import CHECKED_HEADERS, HOST_NAMES, PLAIN, cors, identity_headers, paths, some
from tests.strategies import methods as METHOD_SETS
from wardgate.policy import (
    OWN_COOKIES,
    Access,
    Address,
    AllOf,
    AnyOf,
    ApiKeys,
    Audiences,
    Authenticated,
    BasicUsers,
    ClaimIs,
    ClaimMatches,
    ClaimPresent,
    ClaimValue,
    ClientIn,
    ClientRole,
    Condition,
    Cors,
    Credentials,
    CrossSite,
    Denied,
    Endpoint,
    Endpoints,
    Group,
    Host,
    How,
    IdentityHeader,
    Introspection,
    Kind,
    Limits,
    Listener,
    Login,
    Mode,
    Not,
    Part,
    PathKind,
    Policy,
    Provider,
    Public,
    RawToken,
    RealmRole,
    RequestHeader,
    RequestText,
    Route,
    Rule,
    Scope,
    Secret,
    Session,
    Source,
    UncheckedAudience,
    Upstream,
    key_digest,
)

STEPS = some(PLAIN.steps, low=1, high=2)
ROLES: tuple[st.SearchStrategy[Condition], ...] = (
    st.builds(RealmRole, PLAIN.names),
    st.builds(ClientRole, PLAIN.names, PLAIN.names),
    st.builds(Group, PLAIN.names),
    st.builds(Scope, PLAIN.names),
    st.builds(
        ClaimIs, STEPS, PLAIN.values | st.booleans() | st.integers(-(2**53), 2**53) | st.sampled_from([0, 1])
    ),
)
NAMED = st.sampled_from(["x-team", "X-Env"])
NETWORKS = ("127.0.0.1/32", "127.0.0.2/32", "10.0.0.0/8", "2001:db8::/64", "0.0.0.0/0")
LEAVES: tuple[st.SearchStrategy[Condition], ...] = (
    *ROLES,
    st.builds(ClaimMatches, STEPS, st.sampled_from(sorted(MATCHING))),
    st.builds(RequestHeader, st.sampled_from(CHECKED_HEADERS), some(PLAIN.values, low=1)),
    st.builds(ClaimPresent, STEPS),
    st.builds(RequestText, st.just(Part.METHOD), st.just(How.EXACT), st.sampled_from(["GET", "POST"])),
    st.builds(
        RequestText,
        st.just(Part.PATH),
        st.sampled_from([How.EXACT, How.PREFIX, How.SUFFIX, How.CONTAINS]),
        st.sampled_from(["/a", "/a/", "/admin", "admin", "x", "/x/a", "?", "/a?", "q="]),
    ),
    st.builds(
        RequestText,
        st.just(Part.PATH),
        st.just(How.MATCHES),
        st.sampled_from(
            ["/a.*", "/[a-z]+", "^/.*x$", "/a|/x/.*", "/\\W*[^q]+", "(?i)/ADMIN(?:/.*)?", "[!-~]{2,}"]
        ),
    ),
    st.builds(
        RequestText, st.just(Part.HEADER), st.sampled_from(How), st.sampled_from(sorted(MATCHING)), NAMED
    ),
    st.builds(ClientIn, some(st.sampled_from(NETWORKS), low=1, high=2)),
    st.just(Authenticated()),
)
LEAF = st.one_of(*LEAVES)
ANY_ROLE = st.one_of(*(some(kind, low=2, high=10) for kind in ROLES)).map(AnyOf)
FORMS: tuple[st.SearchStrategy[Condition], ...] = (
    *(*LEAVES, LEAVES[-1].map(Not), *LEAVES[-7:]),
    *(
        ANY_ROLE,
        ANY_ROLE,
        some(LEAF, low=1).map(AnyOf),
        some(LEAF, low=1).map(AllOf),
        some(LEAF, low=2).map(AllOf),
    ),
    *(some(ANY_ROLE | LEAF, low=2).map(AllOf), LEAF.map(Not), LEAF.map(Not), ANY_ROLE.map(Not)),
    some(LEAF | LEAF.map(Not) | some(LEAF, low=1).map(AllOf), low=2).map(AnyOf),
)
IDENTITY, CORS = identity_headers(sources=True), cors()
ROUTE_CORS = st.one_of(CORS, st.just(Cors(origins=("https://*.test", "https://b.test:*"))))
KINDS = (
    *(*[frozenset(Kind)] * 14, *[frozenset({Kind.BEARER})] * 3),
    *(*[frozenset({Kind.SESSION})] * 3, frozenset[Kind]()),
)
NAMES = ("main", "other")
PROVIDER_LISTS: tuple[tuple[str, ...], ...] = (*[NAMES] * 12, *[("main",), ("other",)] * 3, ())
ONE_EACH: tuple[tuple[str, ...], ...] = (*[("main",), ("other",)] * 4, ())
AUDIENCES = (
    Audiences(any_of=(tokens.AUDIENCE,)),
    Audiences(any_of=("api", tokens.AUDIENCE)),
    UncheckedAudience(),
)
HOSTS = st.lists(st.sampled_from(HOST_NAMES), min_size=1, max_size=3, unique=True)


@st.composite
def policies(draw: st.DrawFn, chance: random.Random) -> Policy:
    """One listener with one or two hosts; the upstream's address is put in later."""
    names = draw(HOSTS)
    split = chance.randint(1, len(names))
    rules = draw(CORS) if chance.random() < 0.3 else None
    session, providers = _session(chance), tuple(_provider(name, chance) for name in NAMES)
    own = session is not None and chance.random() < 0.25
    if session is not None and own:
        providers = tuple(replace(each, login=_login(each.name, session)) for each in providers)
    parts = [tuple(part) for part in (names[:split], names[split:]) if part]
    listener = Listener(
        name="main",
        address=Address(host="127.0.0.1", port=0),
        hosts=tuple([_host(draw, chance, part, rules, providers, own) for part in parts]),
        redirect_to_https=chance.random() < 0.1,
    )
    return Policy(
        dialect="native",
        listeners=(listener,),
        providers=providers,
        upstreams=(Upstream(name="app", endpoints=(Endpoint(host="127.0.0.1", port=1),)),),
        trusted_proxies=chance.choice(((), (f"{TRUSTED}/32",))),
        endpoints=chance.choice((Endpoints(), Endpoints(prefix="/a/gate", health="ready"))),
        limits=Limits(body_bytes=chance.choice((None, 1000))),
        session=session,
    )


def _session(chance: random.Random) -> Session | None:
    if chance.random() < 0.3:
        return None
    return Session(
        cookie_name=chance.choice(("wardgate-session", "s.id")),
        secure=chance.random() < 0.5,
        in_cookies=chance.random() < 0.2,
        forward_authorization=chance.random() < 0.5,
        # two seconds: each request of a session that is known asks for the next attested token
        attested=timedelta(seconds=chance.choice((2, 30, 30))),
    )


def _login(name: str, session: Session) -> Login:
    """Logins of their own: with another cookie, and with paths of which the two share one."""
    own = replace(session, cookie_name=f"{OWN_COOKIES}{name}")
    return Login(session=own, callback=f"/a/{name}/callback", logout="/b/out")


def _provider(name: str, chance: random.Random) -> Provider:
    is_client = chance.random() < 0.85
    asked = chance.choice((*[Introspection.OFF] * 3, Introspection.OPAQUE, Introspection.ALWAYS))
    return Provider(
        name=name,
        issuer=tokens.ISSUERS[name],
        audience=chance.choice(AUDIENCES),
        client_id="gateway" if is_client else None,
        introspection=asked if is_client else Introspection.OFF,
    )


def _host(
    draw: st.DrawFn,
    chance: random.Random,
    names: tuple[str, ...],
    rules: Cors | None,
    providers: tuple[Provider, ...],
    own: bool,
) -> Host:
    lists = ONE_EACH if own else PROVIDER_LISTS
    found = [_route(draw, chance, providers, lists) for _ in range(chance.randint(1, 8))]
    paths = {path for each in providers if each.login for path in (each.login.callback, each.login.logout)}
    return Host(
        names=names,
        routes=_named(names[0], [route for route in found if route.path.text not in paths]),
        fallback=Credentials(kinds=chance.choice(KINDS), providers=chance.choice(lists)),
        cors=rules,
    )


def _route(
    draw: st.DrawFn,
    chance: random.Random,
    providers: tuple[Provider, ...],
    lists: tuple[tuple[str, ...], ...],
) -> Route:
    access = _access(draw, chance)
    mode = Mode.REQUIRED
    if isinstance(access, Public) or chance.random() < 0.1:
        mode = chance.choice((Mode.IGNORED, Mode.OPTIONAL, Mode.PERMISSIVE))
    accepted = chance.choice(lists)
    have_clients = all(each.client_id is not None for each in providers if each.name in accepted)
    return Route(
        name="",
        path=draw(paths),
        methods=draw(METHOD_SETS),
        access=access,
        credentials=Credentials(
            mode=mode,
            kinds=chance.choice(KINDS),
            providers=accepted,
            introspect=have_clients and chance.random() < 0.1,
        ),
        upstream="app",
        identity=() if mode is Mode.IGNORED else _sourced(draw(IDENTITY), chance),
        login_redirect=chance.random() < 0.8,
        websockets=chance.random() < 0.8,
        forward_authorization=chance.choice((None, None, True, False)),
        cors=draw(ROUTE_CORS) if chance.random() < 0.15 else None,
        **(_gates(chance) if mode is Mode.IGNORED and chance.random() < 0.25 else {}),
    )


def _gates(chance: random.Random) -> dict[str, Any]:
    """What is asked beside who calls; with a token on the same route, which of two refusals comes first depends."""
    places = {
        "headers": chance.choice(((), ("x-api-key",), ("x-api-key", "authorization"))),
        "params": chance.choice(((), ("key",))),
        "cookies": chance.choice((("key",), ())),
    }
    keys = tuple((client, Secret(key_digest(key), key)) for client, key in KEYS_OF_CLIENTS.items())
    mode = chance.choice((Mode.REQUIRED, Mode.REQUIRED, Mode.OPTIONAL, Mode.PERMISSIVE))
    users = tuple((name, Secret(digest(word), name)) for name, word in PASSWORDS.items())
    found: dict[str, Any] = {}
    if chance.random() < 0.6 and any(places.values()):
        told = chance.choice((None, "X-Client"))
        found["api_keys"] = ApiKeys(keys=keys, mode=mode, strip=chance.random() < 0.5, told=told, **places)
    if chance.random() < 0.4 and "authorization" not in places["headers"]:
        found["basic_users"] = BasicUsers(users=users, told=chance.choice((None, "X-User")))
    if chance.random() < 0.4:
        exact = chance.random() < 0.5
        origins = ("https://b.test:8443",) if exact else ("https://*.test", "https://b.test:8443")
        found["cross_site"] = CrossSite(origins=origins, by_metadata=exact)
    return found


def _sourced(headers: tuple[IdentityHeader, ...], chance: random.Random) -> tuple[IdentityHeader, ...]:
    """The same headers, some of them from another of a session's tokens."""

    def sourced(value: ClaimValue | RawToken) -> ClaimValue | RawToken:
        if isinstance(value, RawToken):
            return RawToken(source=chance.choice((Source.ACCESS, Source.ACCESS, Source.ID)))
        return replace(value, source=chance.choice((*[Source.ACCESS] * 3, Source.ID, Source.USERINFO)))

    return tuple(replace(header, value=sourced(header.value)) for header in headers)


def _access(draw: st.DrawFn, chance: random.Random) -> Access:
    kind = chance.random()
    if kind < 0.3:
        return Public()
    return Rule(when=draw(chance.choice(FORMS))) if kind < 0.93 else Denied(because="closed")


def _named(host: str, found: list[Route]) -> tuple[Route, ...]:
    """The routes that can stand together, each with a name that no other of the policy has, nor any rule of ours."""
    seen: set[tuple[PathKind, str, str]] = set()
    kept = []
    for route in found:
        keys = {(route.path.kind, route.path.folded, method) for method in route.methods}
        if not keys & seen:
            seen |= keys
            kept.append(replace(route, name=f"{host} {len(kept)}"))
    return tuple(kept)
