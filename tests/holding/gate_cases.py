"""
Requests that lead the Lua filters through every branch that they have: odd paths, credentials in every state of
disrepair, claims of every shape, and sessions that are known, due, over and not there.

A branch that none of them reaches any more is noticed by the test, and gets a request here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from tests.holding.load import Request, request
from tests.verify.issuer import AUDIENCE, ISSUER, sign
from wardgate.policy import Carrier
from wardgate.verify.compact import encode_base64url

IDENTITY = ("X-Person", "X-Subject", "X-Roles", "X-Level", "X-Flag", "X-Bearer", "X-Id")
"""The identity headers of the policy that the test compiles; every request brings copies of its own."""

PATHS = (
    *("a", "a%20b", "a%41b", ";a", "%2e%2e;/a", "a%2Fb", "a%00", "a%zz", "a%", "a%253b", "a.", "A", "Aa/bB"),
    *("a?x=%2f;A", "A?x=;", "a//b", "%20", "%c0%ae", "a.b", "a/../b", "%E2%82%AC"),
)
"""What follows the `/` of a route's path."""

HEADER = {"alg": "RS256", "typ": "JWT", "kid": "rsa"}

JSON_TEXTS = (
    *("x", "[]", '"a"', "{}", " { } ", "{", '{"a"', '{"a" 1}', "{1:2}", '{"a":1,"a":2}', '{"a":}', '{"a":1;'),
    *('{"a":1,}', '{"a":1,"b"', '{"a":1}x', '{"a":"x', '{"a":"\\', '{"a":"\x01"}', '{"a":"b\\n\\"c"}'),
    *('{"a":"\\u0041"}', '{"a":"\\u00"}', '{"a":"\\q"}', '{"a":"\\n\x01"}', '{"a":"\\n', '{"\\u0061":1}'),
    *('{"a":[]}', '{"a":[1,2]}', '{"a":[1', '{"a":[,', '{"a":[1;', '{"a":{"b":{"c":1}}}'),
    *('{"a":' + "[" * 40 + "]" * 40 + "}", '{"a":true,"b":false,"c":null}', '{"a":tru}', '{"a":-0.5e3}'),
    *('{"a":01}', '{"a":1.}', '{"a":1.e3}', '{"a":-}', "\t{\r\n}"),
)
"""Headers of tokens that are refused: no JSON object, or one without `alg`."""

HEADER_CHANGES: tuple[dict[str, Any], ...] = (
    *({"crit": ["exp"]}, {"alg": ...}, {"typ": "dpop+jwt"}, {"typ": 1}, {"kid": 1}, {"typ": ...}),
)
PAYLOAD_CHANGES: tuple[dict[str, Any], ...] = (
    *({"typ": "ID"}, {"typ": 1}, {"cnf": {}}, {"at_hash": "x"}, {"nonce": "n", "typ": "JWT"}, {"iss": ...}),
    *({"exp": "soon"}, {"exp": -1}, {"sub": 7}),
)
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"sub": ..., "name": "Ann"},
    {"name": "line\nbreak\x00 and é", "level": 3, "flag": True},
    {"name": ["a", "b|c", "d,e"], "level": 1.5, "flag": False},
    {"name": [], "level": 10**16, "flag": [True, None]},
    {"name": {"first": "Ann", "deep": {"x": [1, "y"]}}, "level": None},
    {"name": [["nested"], "flat"], "scope": "openid email"},
    {"name": "", "scope": ["openid", 7]},
    {"name": "a|b=c.d%e~f", "scope": 7, "level": -0.0},
    *({"sub": f"filler-{number}"} for number in range(6)),
)
"""Claims of tokens that are good; so many that what is known of the first ones is forgotten."""


def good(roles: tuple[str, ...] = ("user", "a|b"), **changes: Any) -> str:
    claims = _claims(realm_access={"roles": roles}) | changes
    return sign({name: value for name, value in claims.items() if value is not ...}, HEADER)


def _claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "typ": "Bearer", "iat": now, "exp": now + 3600}
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def _raw(header: bytes, payload: bytes, signature: str = "c2ln") -> str:
    return f"Bearer {encode_base64url(header)}.{encode_base64url(payload)}.{signature}"


def _bad() -> Iterator[str]:
    """Values of Authorization that are refused where a credential is looked at strictly."""
    yield from ("Basic dTpw", "Bearer", "Bearer opaque", f"Bearer {good()}, Bearer {good()}")
    header, payload = json.dumps(HEADER).encode(), json.dumps(_claims()).encode()
    for signature in ("A", "AB", "ABC", "AAAAA", "AAAA", "AA", "AAA"):
        yield _raw(header, payload, signature)
    for text in ("A", "eyJ9", "AB", "ABC", "eyI", "e30", "eyA", "AAAAA", "eyJhIjoxf"):
        yield f"Bearer {text}.e30.c2ln"
        yield f"Bearer {encode_base64url(header)}.{text}.c2ln"
    for text in JSON_TEXTS:
        yield _raw(text.encode("latin-1"), b"{}")
    for changes in HEADER_CHANGES:
        members = {name: value for name, value in (HEADER | changes).items() if value is not ...}
        yield _raw(json.dumps(members).encode(), payload)
    for changes in PAYLOAD_CHANGES:
        yield _raw(header, json.dumps(_claims(**changes)).encode())
    yield f"Bearer {sign(_claims(exp=1), HEADER)}"


@dataclass(frozen=True, slots=True)
class Case:
    """
    A request without its name: `credential` is the whole value of Authorization, empty for none, `cookies` are lines
    of Cookie. `later` sets the filters' clock forward.
    """

    target: str
    credential: str
    cookies: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "GET"
    later: int = 0

    @property
    def who(self) -> tuple[str, tuple[str, ...]]:
        """What is remembered of it."""
        return self.credential, self.cookies


def all_cases() -> list[Case]:
    """In an order that matters: what is known of a credential depends on what came before."""
    values = [f"Bearer {good(**shape)}" for shape in SHAPES]
    bad = list(_bad())
    cases = [
        Case(f"/{route}/a", value) for value in values for route in ("user", "user", "permissive", "optional")
    ]
    cases += [Case("/user/a", value) for value in (*values[-3:], *values[:2])]
    another = {name: value for name, value in HEADER.items() if name != "typ"}  # a header segment of its own
    cases += [Case("/user/a", f"Bearer {sign(_claims(realm_access={'roles': ['user']}), another)}")]
    cases += [Case("/permissive/a", value) for value in bad]
    cases += [
        Case(target, value)
        for value in (*bad[:4], *bad[4::7])
        for target in ("/user/a", "/optional/a", "/nowhere")
    ]
    cases += [Case(f"/public/{path}", "") for path in PATHS]
    cases += [Case(f"/user/{path}", values[0]) for path in PATHS]
    cases += [Case(target, value) for target in ("/user/A/deep/x", "/plain/x") for value in values[:2]]
    cases += [
        Case(target, "")
        for target in ("/oauth/health", "/user/a", "/optional/a", "/permissive/a", "/plain/x")
    ]
    return [
        *cases,
        *_vouched_for(),
        *_asked_about(),
        *_sessions(),
        *_navigations(),
        *_upgrades(),
        *_own_sessions(),
        *_placed(),
        *_again(),
        *_pages(),
        *_keyed(),
        *questions(),
    ]


# --- What the service is asked about

HEAD, TAIL = "h" * 30, "t" * 30
SESSION, WITHOUT_TOKENS, OF_OTHERS = HEAD + TAIL, "n" * 60, "o" * 60
"""What a cookie holds: a session, one whose tokens may not be shown, one of another provider."""

NEW_KEY = "new"
"""A kid that the service has, and Envoy has not."""

OPAQUE, OPAQUE_ALONE = "an-opaque-token", "an-opaque-token-without-a-subject"
COOKIE = "wardgate-session"
RENEWED, ENDED = 28, 40
"""Seconds after which what is attested for 30 s is asked about anew, and is over."""

NAVIGATING = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))


def of_new_key() -> str:
    return sign(_claims(realm_access={"roles": ["user"]}, name="New"), HEADER | {"kid": NEW_KEY})


def _at_all_times(target: str, credential: str, *cookies: str) -> Iterator[Case]:
    for later in (0, 0, RENEWED, RENEWED, ENDED, 0):
        yield Case(target, credential, cookies, later=later)


def _vouched_for() -> Iterator[Case]:
    token = f"Bearer {of_new_key()}"
    for target in ("/user/a", "/permissive/a", "/checked/a", "/user/a"):
        yield from _at_all_times(target, token)


def _asked_about() -> Iterator[Case]:
    for token in (OPAQUE, OPAQUE_ALONE, good(), "unknown", "x" * 5000, "un.known.token"):
        for target in ("/user/a", "/checked/a", "/checked-permissive/a", "/permissive/a"):
            yield from _at_all_times(target, f"Bearer {token}")
    yield Case("/checked/a", "Basic dTpw")


def _lines() -> Iterator[tuple[str, ...]]:
    """Cookies as browsers and others send them."""
    whole = f"{COOKIE}={SESSION}"
    yield from ((whole,), (f"a=1; {whole}; b=2",), ("a=b,c", whole), ("a=b,c",), ("; ;",), ("novalue",))
    yield (f"{COOKIE}={HEAD}; {COOKIE}-1={TAIL}",)
    yield (f"{COOKIE}={HEAD}; {COOKIE}-1={TAIL}; {COOKIE}-1={TAIL}",)
    yield (f"{COOKIE}={HEAD}; {COOKIE}-2={TAIL}; wardgate-sessions=x; wardgate-session-12=x",)
    yield from (
        (f"{whole}; {whole}",),
        (whole, whole),
        (f"{COOKIE}=",),
        (f"{COOKIE}=%41",),
        (f"{COOKIE}={'z' * 60}",),
    )
    yield (f"{whole}; wardgate-login-x=1; __Host-wardgate-login-y=2",)
    yield ("wardgate-login-x=1; wardgate-login-y=2",)
    yield (f"{COOKIE}={WITHOUT_TOKENS}",)
    yield (f"{COOKIE}={OF_OTHERS}",)


def _sessions() -> Iterator[Case]:
    routes = ("user", "plain", "optional", "permissive", "permissive-others", "cookies", "cookies-permissive")
    for cookies in _lines():
        for route in (*routes, "tokens", "public", "user"):
            yield Case(f"/{route}/a", "", cookies)
    for target in ("/user/a", "/permissive/a", "/permissive-others/a", "/payload/a", "/cookies/a"):
        for held in (SESSION, WITHOUT_TOKENS):
            yield from _at_all_times(target, "", f"{COOKIE}={held}")
    for route in (*routes, "tokens", "public"):
        for value in ("Basic dTpw", f"Bearer {good()}"):
            yield Case(f"/{route}/a", value, (f"{COOKIE}={SESSION}",))
            yield Case(f"/{route}/a", value)


def _navigations() -> Iterator[Case]:
    asked = (
        NAVIGATING,
        (("Sec-Fetch-Mode", "cors"),),
        (("Accept", "text/html"),),
        (("Accept", "application/json"),),
    )
    for headers in asked:
        for method in ("GET", "HEAD", "POST"):
            for cookies in ((), ("wardgate-login-x=1",), (f"{COOKIE}={SESSION}",), (f"{COOKIE}={'z' * 60}",)):
                for route in ("user", "cookies", "optional"):
                    yield Case(f"/{route}/a", "", cookies, headers, method)


def _upgrades() -> Iterator[Case]:
    origins = ("http://app.test", "https://partner.test", "https://evil.test", None)
    for origin in origins:
        headers = (
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            *((("Origin", origin),) if origin else ()),
        )
        for route in ("user", "permissive"):
            yield Case(f"/{route}/a", "", (f"{COOKIE}={SESSION}",), headers)


OWN_COOKIE, OF_OWN = "wardgate-session-own", "w" * 60
PLACES = (
    (Carrier.HEADER, "X-Token", "Token "),
    (Carrier.COOKIE, "access", ""),
    (Carrier.PARAM, "access_token", ""),
)


def _own_sessions() -> Iterator[Case]:
    for cookies in ((f"{OWN_COOKIE}={OF_OWN}",), (f"{COOKIE}={SESSION}; __Host-{OWN_COOKIE}=x; a=b",), ()):
        for route in ("own", "own", "user", "public"):
            yield Case(f"/{route}/a", "", cookies)
            yield Case(f"/{route}/a", "", cookies, NAVIGATING)


def _placed() -> Iterator[Case]:
    token = good()
    for route in ("placed", "placed-too", "placed-hidden", "placed-apart"):
        for value in ("", f"Bearer {token}", "Basic dTpw"):
            yield Case(f"/{route}/a", value)
            yield Case(f"/{route}/a", value, (), (("X-Token", f"Token {token}"),))
            yield Case(f"/{route}/a", value, (), (("X-Token", token),))
            yield Case(f"/{route}/a", value, (f"a=b; access={token}",), (("X-Token", "Token x"),))
            yield Case(f"/{route}/a", value, (f"a=b; access={token}; novalue",))
            yield Case(f"/{route}/a?b=c&access_token={token}", value)


def _again() -> Iterator[Case]:
    for route in ("again", "again-optional", "again-permissive"):
        for value in (f"Bearer {good(jti=route)}", "", "Bearer x", f"Bearer {sign(_claims(exp=1), HEADER)}"):
            yield Case(f"/{route}/a", value)
            yield Case(f"/{route}/a", value)


def _pages() -> Iterator[Case]:
    origins = ("null", "http://app.test", "https://partner.test", "https://evil.test", None)
    for origin in origins:
        for site in (None, "same-origin", "none", "cross-site"):
            headers = (("Origin", origin),) if origin else ()
            headers += (("Sec-Fetch-Site", site),) if site else ()
            for method in ("POST", "GET"):
                yield Case("/open-pages/a", "", (), headers, method)
                yield Case("/pages/a", f"Bearer {good()}", (), headers, method)


KEYS = {"red": "r3d key+1", "blue": "b" * 120}
"""Of clients; one is longer than a block of SHA-256."""


def _keyed() -> Iterator[Case]:
    """Keys in each place, alone and beside others; none, of nobody, in another spelling, too long."""
    red, blue = KEYS.values()
    preflight = (("Origin", "https://partner.test"), ("Access-Control-Request-Method", "PUT"))
    for route in ("keyed", "keyed-optional", "keyed-permissive"):
        yield Case(f"/{route}/a", "")
        yield Case(f"/{route}/a", "", (), preflight, "OPTIONS")
        for key in (red, blue, "none of theirs", "x" * 5000, ""):
            yield Case(f"/{route}/a", "", (), (("X-Api-Key", key),))
            yield Case(f"/{route}/a", f"Bearer {key}")
            yield Case(f"/{route}/a", key)
            yield Case(f"/{route}/a?a=1&key={quote(key)}&b", "")
            yield Case(f"/{route}/a?%6bey={quote_plus(key)}", "", (f'a=b;key="{blue}" ; key=x; novalue',))
            yield Case(f"/{route}/a?a=1", "", (f"key={key}",), (("X-Api-Key", ""),))


ASKED_AT = "/ask"
QUOTED = ("a", 'é"\\')


def questions() -> Iterator[Case]:
    """Another proxy's, in every way that it can ask, well and badly."""
    values = [
        "",
        f"Bearer {good()}",
        f"Bearer {good(sub=...)}",
        f"Bearer {good(roles=QUOTED)}",
        "Basic dTpw",
    ]
    paths = (
        "user/a",
        "public/a",
        "optional/a",
        "permissive/a",
        "nowhere",
        "user/../public/a",
        "user/%61",
        "user/%zz",
        "ü",
    )
    for path in paths:
        for headers in (*_forwarded(f"/{path}"), *_nginx(f"/{path}")):
            for value in values:
                yield Case(ASKED_AT, value, (), headers)
    session = (f"{COOKIE}={SESSION}",)
    websocket = (("Sec-WebSocket-Key", "x"), ("Origin", "https://evil.test"))
    for told in (next(_forwarded("/user/a")), next(_nginx("/user/a"))):
        yield from (Case(ASKED_AT, "", session, (*told, *more)) for more in ((), websocket, NAVIGATING))
        yield Case(ASKED_AT, "", (), (*told, *NAVIGATING))
        yield Case(f"{ASKED_AT}/", values[1], (), told)
        yield Case(f"{ASKED_AT}/user/a", values[1], (), told)
        yield Case("/oauth/authorize", values[1], (), told)
        yield Case("/public/a", values[1], (), told)
    yield Case("/oauth/authorize", "")


def _forwarded(target: str) -> Iterator[tuple[tuple[str, str], ...]]:
    good = (("X-Forwarded-Method", "GET"), ("X-Forwarded-Host", "app.test"), ("X-Forwarded-Uri", target))
    yield good
    yield (*good, ("X-Forwarded-Proto", "gopher"))
    yield (*good, ("X-Forwarded-Uri", "/public/a"))
    yield (*good, ("X-Original-Method", "POST"))
    yield (*good, ("X-Original-URL", "http://app.test/public/a"), ("X-Original-Method", "GET"))
    yield (*good[:1], *good[2:])
    yield (("X-Forwarded-Method", "CONNECT"), *good[1:])
    yield (*good[:1], ("X-Forwarded-Host", "a@b"), *good[2:])


def _nginx(target: str) -> Iterator[tuple[tuple[str, str], ...]]:
    good = (("X-Original-URL", f"http://app.test{target}"), ("X-Original-Method", "GET"))
    yield good
    yield good[:1]
    yield (("X-Original-URL", "http://app.test"), *good[1:])
    yield (("X-Original-URL", target), *good[1:])


def requests(variant: str, cases: dict[int, Case]) -> list[Request]:
    """The cases, by their number, under names that belong to one variant."""
    return [_request(f"{variant}/{number}", case) for number, case in sorted(cases.items())]


def _request(name: str, case: Case) -> Request:
    forged = [(header, "forged") for header in IDENTITY]
    headers = [("X-Case-Id", name), *forged]
    headers += [("Authorization", case.credential)] if case.credential else []
    headers += [*(("Cookie", line) for line in case.cookies), *case.headers, ("X-Later", str(case.later))]
    return request(name, case.target, method=case.method, headers=headers)
