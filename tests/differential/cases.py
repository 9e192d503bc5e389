"""
What is compared: policies out of few words, and requests that come close to their rules.

A request is derived from a route of its policy (its path, or a spelling of it; claims that meet its conditions,
or nearly do), because requests by chance alone would only ever see the fallback.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from tests.differential import tokens
from tests.strategies import HOST_NAMES, PLAIN, cors, identity_headers, paths, some
from tests.strategies import leaves as leaves_of
from tests.strategies import methods as METHOD_SETS
from wardgate.decision import Request
from wardgate.decision.conditions import claim_path
from wardgate.policy import (
    Access,
    Address,
    AllOf,
    AnyOf,
    Audiences,
    Authenticated,
    ClaimIs,
    ClaimMatches,
    ClientRole,
    Condition,
    Cors,
    Credentials,
    Denied,
    Endpoint,
    Endpoints,
    Group,
    Host,
    Kind,
    Limits,
    Listener,
    Mode,
    Not,
    PathKind,
    Policy,
    Provider,
    Public,
    RealmRole,
    RequestHeader,
    Route,
    Rule,
    Scope,
    UncheckedAudience,
    Upstream,
)

REQUESTS_PER_POLICY = 20
TRUSTED, STRANGER = "127.0.0.2", "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One request, and the credential it brings: a state of `tokens.STATES`, of a provider, with claims."""

    request: Request
    state: str
    provider: str = "main"
    claims: Mapping[str, Any]
    source: str = STRANGER


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A policy, the providers whose keys are there, and what is asked of it."""

    policy: Policy
    available: tuple[str, ...]
    probes: tuple[Probe, ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A policy with requests that come close to its rules."""
    policy = draw(policies())
    # one draw for all requests: drawn piece by piece they take ten times as long
    chance = random.Random(draw(st.integers(0, 2**64 - 1)))
    available = draw(st.sampled_from([("main", "other")] * 5 + [("main",), ("other",), ()]))
    probes = tuple(probe(policy, chance) for _ in range(REQUESTS_PER_POLICY))
    return Case(policy=policy, available=available, probes=probes)


LEAVES = leaves_of(PLAIN).filter(lambda leaf: not isinstance(leaf, ClaimMatches) or bool(leaf.pattern))
ROLES = [st.builds(kind, PLAIN.names) for kind in (RealmRole, Group, Scope)]
ANY_ROLE = st.one_of(*(some(kind, low=1) for kind in ROLES), some(LEAVES, low=1)).map(AnyOf)
FLAT = st.one_of(LEAVES, ANY_ROLE, some(LEAVES | ANY_ROLE, low=1).map(AllOf))
CONDITIONS = st.one_of(FLAT, FLAT, FLAT.map(Not), some(FLAT | FLAT.map(Not), low=1).map(AnyOf))
ACCESSES: st.SearchStrategy[Access] = st.one_of(
    st.just(Public()),
    st.builds(lambda when: Rule(when=when), CONDITIONS),
    st.builds(lambda when: Rule(when=when), CONDITIONS),
    st.just(Denied(because="closed")),
)
IDENTITY, CORS = identity_headers(), cors()
PROVIDER_LISTS = st.sampled_from([("main", "other")] * 4 + [("main",), ("other",), ()])
KINDS = st.sampled_from(
    [frozenset(Kind)] * 4 + [frozenset({Kind.BEARER}), frozenset({Kind.SESSION}), frozenset()]
)
OPEN_MODES = st.sampled_from([Mode.IGNORED, Mode.OPTIONAL, Mode.PERMISSIVE])


@st.composite
def routes(draw: st.DrawFn) -> Route:
    access = draw(ACCESSES)
    mode = draw(OPEN_MODES) if isinstance(access, Public) else Mode.REQUIRED
    return Route(
        name="",
        path=draw(paths),
        methods=draw(METHOD_SETS),
        access=access,
        credentials=Credentials(mode=mode, kinds=draw(KINDS), providers=draw(PROVIDER_LISTS)),
        upstream="app",
        identity=() if mode is Mode.IGNORED else draw(IDENTITY),
    )


ROUTES = routes()
PROVIDERS = {
    name: st.builds(
        Provider,
        name=st.just(name),
        issuer=st.just(tokens.ISSUERS[name]),
        audience=st.sampled_from(
            [
                Audiences(any_of=(tokens.AUDIENCE,)),
                Audiences(any_of=("api", tokens.AUDIENCE)),
                UncheckedAudience(),
            ]
        ),
    )
    for name in tokens.ISSUERS
}
HOSTS = st.lists(st.sampled_from(HOST_NAMES), min_size=1, max_size=3, unique=True)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies that a real Envoy enforces; the upstream's address is put in later."""
    names = draw(HOSTS)
    split = draw(st.integers(1, len(names)))
    shared = draw(st.none() | st.none() | CORS)
    listener = Listener(
        name="main",
        address=Address(host="127.0.0.1", port=0),
        hosts=tuple([_host_of(draw, tuple(part), shared) for part in (names[:split], names[split:]) if part]),
        redirect_to_https=draw(st.sampled_from([False, False, False, True])),
    )
    return Policy(
        dialect="native",
        listeners=(listener,),
        providers=tuple([draw(provider) for provider in PROVIDERS.values()]),
        upstreams=(Upstream(name="app", endpoints=(Endpoint(host="127.0.0.1", port=1),)),),
        trusted_proxies=draw(st.sampled_from([(), (f"{TRUSTED}/32",)])),
        endpoints=draw(st.sampled_from([Endpoints(), Endpoints(prefix="/a/gate", health="ready")])),
        limits=Limits(body_bytes=draw(st.sampled_from([None, 1000]))),
    )


def _host_of(draw: st.DrawFn, names: tuple[str, ...], shared: Cors | None) -> Host:
    return Host(
        names=names,
        routes=_named(draw(st.lists(ROUTES, min_size=1, max_size=7))),
        fallback=Credentials(kinds=draw(KINDS), providers=draw(PROVIDER_LISTS)),
        cors=shared,
    )


def _named(found: list[Route]) -> tuple[Route, ...]:
    """The routes that can stand together, named by their number, so that no name looks like a rule of ours."""
    seen: set[tuple[PathKind, str, str]] = set()
    kept = []
    for route in found:
        keys = {(route.path.kind, route.path.text.lower(), method) for method in route.methods}
        if not keys & seen:
            seen |= keys
            kept.append(replace(route, name=f"r{len(kept)}"))
    return tuple(kept)


# --- Requests -----------------------------------------------------------------------------------------------------


def probe(policy: Policy, chance: random.Random) -> Probe:
    listener = chance.choice(policy.listeners)
    host = chance.choice(listener.hosts)
    route = chance.choice(host.routes) if host.routes and chance.random() < 0.9 else None
    source = chance.choice((STRANGER, TRUSTED))
    trusted = any(
        ipaddress.ip_address(source) in ipaddress.ip_network(text) for text in policy.trusted_proxies
    )
    forwarded = chance.choice((None, None, "http", "https"))
    request = Request(
        listener=listener.name,
        method=_method(route, chance),
        target=_target(policy, route, chance),
        host=_host(host, chance),
        headers=_headers(policy, route, forwarded, chance),
        trusted_peer=trusted,
        forwarded_proto=forwarded,
    )
    state = "valid" if chance.random() < 0.5 else chance.choice(tokens.STATES)
    provider = chance.choice(route.credentials.providers) if route and route.credentials.providers else "main"
    if chance.random() < 0.1:
        provider = chance.choice(("main", "other"))
    return Probe(
        request=request,
        state=state,
        provider=provider,
        claims=claims(route, chance),
        source=source,
    )


METHODS = ("GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "LINK", "TRACE")


def _method(route: Route | None, chance: random.Random) -> str:
    listed = sorted((route.methods if route else frozenset()) & frozenset(METHODS))
    return chance.choice(listed) if listed and chance.random() < 0.7 else chance.choice(METHODS)


def _host(host: Host, chance: random.Random) -> str:
    if chance.random() < 0.04:
        return chance.choice(("a,b", "u@a.test", "a.test:x", "a test"))
    name = chance.choice(host.names if chance.random() < 0.8 else HOST_NAMES)
    name = name.replace("*.", chance.choice(("w.", "v.w.", "a."))).replace(
        "*", chance.choice(("else", "[::1]"))
    )
    name = name.upper() if chance.random() < 0.1 and name[0] != "[" else name
    return name + chance.choice(("", "", "", ":8080"))


def _target(policy: Policy, route: Route | None, chance: random.Random) -> str:
    kind = chance.random()
    if route is None or kind < 0.04:
        own = (policy.endpoints.health_path, policy.endpoints.prefix, policy.endpoints.prefix + "/x")
        return _spelled(chance.choice((*own, "/", "/a", "/none", "/x/a/b")), chance)
    text = route.path.text
    ends = ["", "", "/", "/x", "x", "/a/b", "/Admin"]
    if route.path.kind is PathKind.UNDER:
        ends += ["/x", "/a"]
    return _spelled(text.rstrip("/") + chance.choice(ends) if chance.random() < 0.9 else text, chance) or "/"


def _spelled(text: str, chance: random.Random) -> str:
    """The text, or another spelling of it: letter case, escapes, segments that go away, or are not allowed."""
    text = text or "/"
    if chance.random() < 0.15:
        text = chance.choice((text.upper(), text.lower(), text.swapcase(), text.title()))
    if chance.random() < 0.12:
        at = chance.randrange(len(text))
        changed = chance.choice(
            (
                *(
                    "/./",
                    "//",
                    "/y/../",
                    "\\",
                    ";",
                    "%2f",
                    "%3B",
                    "/%2e%2e/",
                    "/..;/",
                    "%20",
                    "%00",
                    "/%2e/",
                    "%zz",
                ),
                *(f"%{ord(text[at]):02x}", "#", "{"),
            )
        )
        text = (
            text[:at] + changed + text[at + 1 :] if text[at] != "/" or changed[0] in "/\\" else text + changed
        )
        text = text if text.startswith("/") else "/" + text
    return text + chance.choice(("", "", "", "?", "?q=/a/Admin", "?x=%2f;//"))


def _headers(
    policy: Policy, route: Route | None, forwarded: str | None, chance: random.Random
) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    if forwarded is not None:
        found.append(("X-Forwarded-Proto", forwarded))
    for leaf in leaves(route):
        if isinstance(leaf, RequestHeader) and chance.random() < 0.8:
            value = chance.choice(leaf.values)
            value = chance.choice((value, value, value.upper(), value + "x"))
            found += [(leaf.name.upper(), value)] * chance.choice((1, 1, 1, 2))
    if chance.random() < 0.1:
        found.append(("Origin", chance.choice(("https://app.test", "https://evil.test"))))
        if chance.random() < 0.8:
            found.append(("Access-Control-Request-Method", "PUT"))
    names = [header.name for each in policy.routes() for header in each[2].identity]
    if names and chance.random() < 0.3:
        name = chance.choice(names)
        found.append((chance.choice((name, name.lower(), name.replace("-", "."))), "forged"))
    return tuple((name, value.encode().decode("latin-1")) for name, value in found)


# --- Claims -------------------------------------------------------------------------------------------------------


def claims(route: Route | None, chance: random.Random) -> dict[str, Any]:
    """Claims that meet the conditions of a route, some of them, or nearly."""
    found: dict[str, Any] = {}
    wanted = list(leaves(route))
    chance.shuffle(wanted)
    for leaf in wanted:
        if isinstance(leaf, Authenticated | RequestHeader) or chance.random() < 0.25:
            continue
        _put(found, claim_path(leaf), _claim(leaf, chance))
    if chance.random() < 0.3:
        _put(found, ("groups",), chance.choice((["a,b", "c|d"], "one", [], ["é"], [1, True, "x"])))
    return found


def leaves(route: Route | None) -> Iterator[Condition]:
    """The leaves of a route's conditions."""
    if route is not None and isinstance(route.access, Rule):
        yield from _leaves(route.access.when)


def _leaves(condition: Condition) -> Iterator[Condition]:
    match condition:
        case Not(inner):
            yield from _leaves(inner)
        case AllOf(conditions) | AnyOf(conditions):
            for each in conditions:
                yield from _leaves(each)
        case _:
            yield condition


def _claim(leaf: Condition, chance: random.Random) -> Any:
    value = _value(leaf, chance)
    if chance.random() < 0.2:
        value = chance.choice(
            (f"{value}x", str(value).upper(), str(value), None, {}, 1, True, False, f" {value}")
        )
    if isinstance(leaf, Scope) and isinstance(value, str):
        return chance.choice(
            (value, f"openid {value}", f"{value} email", f"a {value} b", [value], ["a", value])
        )
    return chance.choice((value, [value], ["other", value], [value, 1, True], [[value]], ["other"]))


def _value(leaf: Condition, chance: random.Random) -> Any:
    match leaf:
        case RealmRole(name) | ClientRole(_, name) | Group(name) | Scope(name):
            return name
        case ClaimIs(_, value):
            return value
        case ClaimMatches(_, pattern):
            return chance.choice(_MATCHING.get(pattern, ("",)))
        case _:
            raise TypeError(leaf)


_MATCHING = {
    "a.*": ("a", "acme", "ba"),
    "acme|prod": ("acme", "prod", "acmeprod"),
    "[0-9]+": ("1", "٣", "1a"),
    ".*@acme\\.test": ("x@acme.test", "x@acmeatest", "x@acme.test.evil"),
}


def _put(claims: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *way, last = path
    place = claims
    for key in way:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        place = inner
    place[last] = value
