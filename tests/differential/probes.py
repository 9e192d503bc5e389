"""
Requests that come close to the rules of a policy.

A request is derived from a route of its policy (its path, or a spelling of it; claims that meet its conditions,
or nearly do), because requests by chance alone would only ever see the fallback.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import random
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, assert_never

from tests.differential import sessions, tokens
from tests.differential.sessions import Presented
from tests.strategies import HOST_NAMES, PATTERN_ENDS
from wardgate.cli.asked import address
from wardgate.decision import Request
from wardgate.decision.conditions import claim_path
from wardgate.policy import (
    ANY_METHOD,
    STANDARD_METHODS,
    AllOf,
    AnyOf,
    Authenticated,
    ClaimIs,
    ClaimMatches,
    ClaimPresent,
    ClaimValue,
    ClientIn,
    ClientRole,
    Condition,
    Group,
    Host,
    Mode,
    Not,
    Part,
    PathKind,
    Policy,
    RealmRole,
    RequestHeader,
    RequestText,
    Route,
    Rule,
    Scope,
)

TRUSTED, STRANGER = "127.0.0.2", "127.0.0.1"
"""Where requests come from; some policies trust the first as a proxy."""

MATCHING = {
    "a.*": ("a", "acme", "ba"),
    "acme|prod": ("acme", "prod", "acmeprod"),
    "[0-9]+": ("1", "٣", "1a"),
    "(?s:.*)(?:^acme|d$)(?s:.*)": ("acmex", "xacme", "prod"),
    ".*@acme\\.test": ("x@acme.test", "x@acmeatest", "x@acme.test.evil"),
}
"""Patterns, and values that match them or nearly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """
    One request, and what it brings: a bearer credential in a state of `tokens.STATES`, of a provider, with claims; and a
    session, or none.
    """

    request: Request
    state: str
    provider: str = "main"
    claims: Mapping[str, Any]
    source: str = STRANGER
    session: Presented | None = None


def probe(policy: Policy, chance: random.Random, before: list[Probe]) -> Probe:
    """Half of the requests aim at a route's own terms; the other half come near, in every way that may go wrong."""
    listener = chance.choice(policy.listeners)
    host = chance.choice(listener.hosts)
    state = "valid" if chance.random() < 0.45 else chance.choice(tokens.STATES)
    again = chance.choice(before) if before and chance.random() < 0.3 else None
    if again is not None:  # the same token, on another route
        state = again.state
    aimed = chance.random() < (0.5 if state == "valid" else 0.8)
    presented = _session(policy, before, chance)
    if presented is not None and chance.random() < 0.8:
        state = "anonymous"
    bad = state not in ("valid", "anonymous") or (presented is not None and presented.state not in GOOD)
    route = _route(host, bad or (state == "anonymous" and presented is None), chance)
    provider = chance.choice(("main", "other"))
    if route is not None and route.credentials.providers and chance.random() < 0.9:
        provider = chance.choice(route.credentials.providers)
    source = chance.choice((STRANGER, TRUSTED))
    trusted = any(
        ipaddress.ip_address(source) in ipaddress.ip_network(text) for text in policy.trusted_proxies
    )
    forwarded = chance.choice((None, None, "http", "https"))
    target = _aimed_target(route, chance) if aimed and route else _target(policy, route, chance)
    session = presented and _filled(presented, route, aimed, chance)
    upgrade = aimed and route is not None and chance.random() < 0.07
    if aimed and not upgrade and chance.random() < 0.1:
        target = chance.choice((target.upper(), target.swapcase()))
    name = _host(host, aimed, chance)
    headers = (*_headers(policy, route, forwarded, aimed, chance), *_browser(policy, chance))
    if chance.random() < 0.2:
        headers = (*headers, ("X-Forwarded-For", chance.choice(CLIENTS)))
    if route is not None and (route.api_keys or route.basic_users or route.cross_site):
        headers, more = (
            (*headers, *_gates(chance)),
            chance.choice(("", "", "key=r3d", "a=1&key=blu%33&key=r3d")),
        )
        target += (("&" if "?" in target else "?") + more) if more else ""
        state = "anonymous" if chance.random() < 0.8 else state
    if upgrade:
        headers = (*headers, *_upgrade(name, chance))
    return Probe(
        request=Request(
            listener=listener.name,
            method="GET" if upgrade else _method(route, aimed, chance),
            target=target,
            host=name,
            headers=headers,
            trusted_peer=trusted,
            forwarded_proto=forwarded,
            client=client_of(source, trusted, headers),
        ),
        state=state,
        provider=again.provider if again else provider,
        claims=again.claims if again else claims(route, aimed, chance),
        source=source,
        session=session,
    )


CLIENTS = ("10.1.2.3", "10.1.2.3, 2001:db8::1", "127.0.0.1", "2001:db8::7", "evil, 10.2.0.1")
"""What proxies say of whom they ask for, or pretend to."""


def client_of(source: str, trusted: bool, headers: Sequence[tuple[str, str]]) -> str:
    """The client's address: what stands last, where the peer is believed."""
    said = [value for name, value in headers if name.lower() == "x-forwarded-for"]
    return (address(said) or source) if trusted else source


KEYS_OF_CLIENTS = {"red": "r3d", "blue": "blu3"}
PASSWORDS = {"ann": "s3cret: word", "bob": "b"}


def digest(word: str) -> str:
    return base64.b64encode(hashlib.sha1(word.encode(), usedforsecurity=False).digest()).decode()


def _gates(chance: random.Random) -> tuple[tuple[str, str], ...]:
    """Keys, names with passwords and origins, good ones and others."""
    key = chance.choice((*KEYS_OF_CLIENTS.values(), "", "R3D", "r3dx"))
    pair = chance.choice(
        (*(f"{name}:{word}" for name, word in PASSWORDS.items()), "ann:b", "ann", ":", "x:b")
    )
    coded = base64.b64encode(pair.encode()).decode()
    place = chance.choice(
        ("http://a.test", "https://b.test:8443", "null", "evil", "https://a.test:80", "", "a.test")
    )
    found = (
        ("Sec-Fetch-Site", chance.choice(("same-origin", "same-site", "cross-site", "none", "x"))),
        ("X-Api-Key", chance.choice(("", "", "Bearer ", "bearer ")) + key),
        *([("X-Api-Key", "other")] if chance.random() < 0.1 else []),
        (
            "Authorization",
            chance.choice((f"Basic {coded}", f"basic {coded}", f"Basic {coded}=", "Basic", f"Bearer {key}")),
        ),
        (chance.choice(("Origin", "Referer")), place),
        ("Cookie", chance.choice((f"key={key}", f"a=b; key={key}", f"xkey={key}; key=", f'key="{key}"'))),
    )
    # spaces around a value do not travel (RFC 9110, 5.5)
    return tuple((name, value.strip()) for name, value in found if chance.random() < 0.6)


GOOD = ("alive", "issuer-away")


def _session(policy: Policy, before: list[Probe], chance: random.Random) -> Presented | None:
    """Seldom a session where nobody can log in; often one that was there before. Its claims are to be filled in."""
    if chance.random() > (0.4 if policy.login_providers() else 0.1):
        return None
    again = [each.session for each in before if each.session is not None]
    if again and chance.random() < 0.4:
        return replace(chance.choice(again), spelling=sessions.spelling(chance))
    return Presented(
        state="alive" if chance.random() < 0.6 else chance.choice(sessions.STATES),
        provider="",
        claims={},
        spelling=sessions.spelling(chance),
    )


def _filled(presented: Presented, route: Route | None, aimed: bool, chance: random.Random) -> Presented:
    if presented.provider:  # it was there before
        return presented
    provider = chance.choice(("main", "other"))
    if route is not None and route.credentials.providers and chance.random() < 0.6:
        provider = chance.choice(route.credentials.providers)
    return replace(
        presented,
        provider=provider,
        claims=claims(route, aimed, chance),
        id_claims=claims(route, False, chance),
        userinfo=claims(route, False, chance) if chance.random() < 0.5 else None,
    )


NAVIGATION = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
BROWSERS: tuple[tuple[tuple[str, str], ...], ...] = (
    *((), (), NAVIGATION, NAVIGATION, (*NAVIGATION, ("Accept", "text/html"))),
    *((("Accept", "text/html,*/*;q=0.8"),), (("Accept", "application/json"),)),
    (("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), ("Accept", "text/html")),
    (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")),
    (("Sec-Fetch-Mode", "navigate"),),
)
"""What browsers say of a request beside the credential."""

INTERNAL = ("claims", "ticket", "attested", "asked", "session", "forward", "bearer", "access", "id-token")


def _browser(policy: Policy, chance: random.Random) -> tuple[tuple[str, str], ...]:
    said = chance.choice(BROWSERS) if policy.login_providers() else ()
    if chance.random() < 0.05:
        said = (*said, (f"X-Wardgate-{chance.choice(INTERNAL)}", "|sub=sforged|"))
    return said


def _upgrade(host: str, chance: random.Random) -> tuple[tuple[str, str], ...]:
    origins = (f"http://{host}", f"https://{host}", "https://app.test", "https://evil.test", "null", None)
    origin = chance.choice(origins)
    asked = (("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket"))
    return asked if origin is None else (*asked, ("Origin", origin))


def _route(host: Host, bad: bool, chance: random.Random) -> Route | None:
    """A bad credential is more often brought to a route that lets it pass: both answers are wanted."""
    lenient = [each for each in host.routes if each.credentials.mode in (Mode.IGNORED, Mode.PERMISSIVE)]
    if bad and lenient and chance.random() < 0.7:
        return chance.choice(lenient)
    return chance.choice(host.routes) if host.routes and chance.random() < 0.95 else None


METHODS = ("GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "LINK", "TRACE")


def _method(route: Route | None, aimed: bool, chance: random.Random) -> str:
    listed = sorted((route.methods if route else frozenset()) & frozenset(METHODS))
    if route and route.methods == ANY_METHOD:
        listed = sorted(STANDARD_METHODS)
    return chance.choice(listed) if listed and (aimed or chance.random() < 0.6) else chance.choice(METHODS)


def _host(host: Host, aimed: bool, chance: random.Random) -> str:
    if not aimed and chance.random() < 0.05:
        return chance.choice(("a,b", "u@a.test", "a.test:x", "a test"))
    name = chance.choice(host.names if aimed or chance.random() < 0.7 else HOST_NAMES)
    name = name.replace("*.", chance.choice(("w.", "v.w.", "a."))).replace(
        "*", chance.choice(("else", "[::1]"))
    )
    name = name.upper() if chance.random() < 0.1 and name[0] != "[" else name
    return name + chance.choice(("", "", "", ":8080"))


def _text(route: Route, chance: random.Random) -> str:
    """A path near the route's."""
    if route.path.kind is not PathKind.MATCHES:
        return route.path.text
    for end, ways in PATTERN_ENDS.items():
        if end and route.path.text.endswith(end):
            return route.path.text.removesuffix(end) + chance.choice(ways)
    return route.path.text


def _aimed_target(route: Route, chance: random.Random) -> str:
    text = _text(route, chance)
    below = text.rstrip("/") + chance.choice(("/", "/x", "/y/z"))
    match route.path.kind:
        case PathKind.EXACT | PathKind.MATCHES:
            return text
        case PathKind.PREFIX:
            return chance.choice((text, below))
        case PathKind.UNDER:
            return below
        case PathKind.TEXT:
            return text + chance.choice(("", "z", "/z"))
        case _:
            assert_never(route.path.kind)


def _target(policy: Policy, route: Route | None, chance: random.Random) -> str:
    kind = chance.random()
    if route is None or kind < 0.04:
        own = (policy.endpoints.health_path, policy.endpoints.prefix, policy.endpoints.prefix + "/x")
        own = (*own, "/oauth2/start", "/oauth2/auth", "/oauth2/auth/", "/oauth2/none")
        own = (*own, *(path for host in policy.listeners[0].hosts for path in sorted(policy.own_paths(host))))
        return _spelled(chance.choice((*own, "/", "/a", "/none", "/x/a/b")), chance)
    text = _text(route, chance)
    ends = ["", "", "/", "/x", "x", "/a/b", "/Admin"]
    if route.path.kind is PathKind.UNDER:
        ends += ["/x", "/a"]
    return _spelled(text.rstrip("/") + chance.choice(ends) if chance.random() < 0.9 else text, chance) or "/"


def _spelled(text: str, chance: random.Random) -> str:
    """The text, or another spelling of it: letter case, escapes, segments that go away, or are not allowed."""
    text = text if text.startswith("/") else "/" + text
    if chance.random() < 0.25:
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
    policy: Policy, route: Route | None, forwarded: str | None, aimed: bool, chance: random.Random
) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    if forwarded is not None:
        found.append(("X-Forwarded-Proto", forwarded))
    for leaf in leaves(route):
        if isinstance(leaf, RequestHeader) and (aimed or chance.random() < 0.8):
            value = chance.choice(leaf.values)
            value = chance.choice((value, value, value.upper(), value + "x"))
            found += [(leaf.name.upper(), value)] * (1 if aimed else chance.choice((1, 1, 2)))
        if isinstance(leaf, RequestText) and leaf.part is Part.HEADER and (aimed or chance.random() < 0.8):
            value = chance.choice(MATCHING.get(leaf.value, (leaf.value,)))
            found.append((leaf.name, chance.choice((value, f"x{value}", f"{value}x", value.upper()))))
    if not aimed and chance.random() < 0.15:
        origins = (
            "https://app.test",
            "https://evil.test",
            "https://a.app.test",
            "https://app.test.evil",
            "https://b.test:8",
        )
        found.append(("Origin", chance.choice(origins)))
        if chance.random() < 0.8:
            found.append(("Access-Control-Request-Method", "PUT"))
    names = [header.name for each in policy.routes() for header in each[2].identity]
    if names and chance.random() < 0.3:
        name = chance.choice(names).replace("_", "-")
        spellings = (name, name.lower(), name.replace("-", "."), name if aimed else name.replace("-", "_"))
        found.append((chance.choice(spellings), "forged"))
    return tuple(found)


# --- Claims -------------------------------------------------------------------------------------------------------


def claims(route: Route | None, aimed: bool, chance: random.Random) -> dict[str, Any]:
    """Claims that meet the conditions of a route (aimed), or some of them, or nearly."""
    found: dict[str, Any] = {}
    wanted = list(leaves(route))
    chance.shuffle(wanted)
    for leaf in wanted:
        if isinstance(leaf, Authenticated | RequestHeader | RequestText | ClientIn) or (
            not aimed and chance.random() < 0.25
        ):
            continue
        value = _value(leaf, chance) if aimed else _claim(leaf, chance)
        _put(found, claim_path(leaf), chance.choice((value, [value])) if aimed else value)
    for header in route.identity if route else ():
        if isinstance(header.value, ClaimValue) and not aimed and chance.random() < 0.6:
            _put(found, header.value.path, deepcopy(chance.choice(VALUES)))
    return found


VALUES: tuple[Any, ...] = (
    *("one", "a,b", "", " padded ", "é", "line\r\nbreak", "nul\0", "\t", "\x7f", "100%", '"quoted"'),
    *(0, 1, -1, 1790000000, 1.5, 2**53, True, False, None),
    *(
        ["a", "b"],
        ["a,b", "c|d", "e; f"],
        ["x\n", "y"],
        [],
        [""],
        ["é"],
        [1, True, 2.5, "x"],
        ["a", None, "b"],
    ),
    *({}, {"a": 1}, [["a"], "b"], [{"a": "b"}, "c"]),
)
"""What a claim can be, for the headers that say it."""


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
            return chance.choice(MATCHING.get(pattern, ("",)))
        case ClaimPresent():
            return chance.choice(("one", 0, False, ["a"], {"a": 1}))
        case _:
            raise TypeError(leaf)


def _put(claims: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *way, last = path
    place = claims
    for key in way:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        place = inner
    place[last] = value
