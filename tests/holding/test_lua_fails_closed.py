"""
Lua fails open: after an error in a filter Envoy goes on with the request. Here an error is raised in every function
and every branch of our text, one after the other, and nothing gets through that would not have without it.

All requests for all places, instead of some that reach each: HOLDING_ALL=1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.differential.service import Known, Service
from tests.echo import Arrival, Echo
from tests.holding import gate_cases, injection
from tests.holding.gate_cases import IDENTITY, Case
from tests.holding.injection import Variant
from tests.holding.load import Outcome
from tests.verify.issuer import AUDIENCE, ISSUER, RSA, jwk, keys
from wardgate import compiler, dialects
from wardgate.document import read_all
from wardgate.envoy import forward_auth
from wardgate.envoy.claims import gate_source
from wardgate.policy import (
    AUTHORIZATION,
    ApiKeys,
    Authenticated,
    Credentials,
    CrossSite,
    ForwardAuth,
    Kind,
    Login,
    Mode,
    PathKind,
    Policy,
    Public,
    Route,
    Rule,
    Secret,
    TokenPlace,
    key_digest,
)
from wardgate.policy import Path as RoutePath
from wardgate.service.session import Session, Tokens, name_of
from wardgate.verify import TokenKeyUnknown, read_unverified

pytestmark = pytest.mark.xdist_group("holding-lua")

OTHER = f"{ISSUER}/other"

POLICY = f"""
listen: 127.0.0.1:0
providers:
  default:
    issuer: "{ISSUER}"
    audience: {AUDIENCE}
    client-id: {AUDIENCE}
    client-secret: secret
    introspection: opaque
  other: {{issuer: "{OTHER}", audience: {AUDIENCE}, client-id: {AUDIENCE}, client-secret: secret}}
session: {{cookie: {{secure: false}}, redirection-url: "http://app.test"}}
upstream: ${{UPSTREAM}}
trusted-proxies: 127.0.0.1/32
forward-auth: {{path: {gate_cases.ASKED_AT}}}
errors: role-mapping
cors: {{origins: ["https://partner.test"], credentials: true}}
identity-headers:
  X-Person: name
  X-Subject: sub
  X-Roles: {{claim: realm_access.roles, separator: "|"}}
  X-Level: level
  X-Flag: flag
  X-Bearer: {{token: true}}
  X-Id: {{token: id}}
routes:
  - {{path: /public/**, public: true}}
  - {{path: /permissive/**, public: true, credentials: permissive}}
  - {{path: /permissive-others/**, public: true, credentials: {{mode: permissive, providers: [other]}}}}
  - {{path: /optional/**, public: true, credentials: optional}}
  - {{path: /user/**, roles: [user]}}
  - {{path: /user/a/Deep/**, roles: [admin]}}
  - {{path: /plain/**, roles: [user], identity-headers: {{}}}}
  - {{path: /payload/**, allow: {{claim: name, matches: ".*"}}}}
  - {{path: /tokens/**, roles: [user], credentials: {{kinds: [bearer]}}}}
  - {{path: /cookies/**, roles: [user], credentials: {{kinds: [session]}}}}
  - {{path: /cookies-permissive/**, public: true, credentials: {{mode: permissive, kinds: [session]}}}}
  - {{path: /checked/**, roles: [user], credentials: {{introspect: true, providers: [default]}}}}
  - {{path: /checked-permissive/**, public: true, credentials: {{mode: permissive, introspect: true}}}}
"""
SMALL = (
    ("limit = 64 * 1024 * 1024", "limit = 15000"),
    ("parsed_count > 20000", "parsed_count > 3"),
    ("known.key_count >= 1000", "known.key_count >= 1"),
    ("keyset_count >= 1000", "keyset_count >= 1"),
)
"""What the filters may know is made little, so that they forget within a few requests."""

AT_ONCE = 100
"""Copies in one Envoy."""

SOME = 12
"""So many of the requests that reach a place are sent to the copy with an error there."""

NEVER = (
    # these follow an answer by the guard itself: `respond` does not come back (Envoy ends the coroutine)
    "return false",
    "if not path_is_safe(handle, headers) then return end",
    "if not passed then return end",
    "if route.keys and not by_key(handle, headers, route) then return end",
    # reached after an error in the guard, and here is one error at a time
    'if not headers:get("x-wardgate-guarded") then return end',
    # of a policy without sessions, whose guard does all the rest as here
    "if not text then return JWTS_ONLY end",
    "if not entry then return end -- jwt_authn says nothing else",
)
"""Lines that no request reaches while the text is whole."""


@pytest.fixture(scope="module")
def policy(echo: Echo) -> Policy:
    """Sessions are kept in cookies, so that they may come in pieces."""
    documents = read_all(POLICY.encode(), "wardgate.yaml", {"UPSTREAM": echo.url})
    reading = dialects.read(documents, dialects.Options())
    assert reading.policy is not None and reading.policy.session is not None, reading.problems
    return with_more(replace(reading.policy, session=replace(reading.policy.session, in_cookies=True)))


def with_more(policy: Policy) -> Policy:
    """What only manifests can say: logins that have a session of their own, tokens in other places, pages by metadata."""
    assert policy.session is not None
    mine = replace(policy.session, cookie_name=gate_cases.OWN_COOKIE)
    login = Login(session=mine, callback="/own-callback", logout="/own-logout")
    own = replace(policy.provider("other"), name="own", issuer=f"{ISSUER}/own", login=login)
    (listener,) = policy.listeners
    (host,) = listener.hosts
    plain = next(route for route in host.routes if route.path.text == "/plain")

    def route(name: str, terms: Credentials, **more: Any) -> Route:
        path = RoutePath(kind=PathKind.PREFIX, text=f"/{name}")
        return replace(plain, name=name, path=path, credentials=terms, **more)

    places = tuple(TokenPlace(*place) for place in gate_cases.PLACES)
    pages = CrossSite(origins=("https://partner.test",), by_metadata=True)
    public = Rule(when=Authenticated())
    open_to_all = Credentials(mode=Mode.IGNORED)
    clients = tuple((client, Secret(key_digest(key), client)) for client, key in gate_cases.KEYS.items())
    everywhere = ApiKeys(
        keys=clients, headers=("x-api-key", "authorization"), params=("key",), cookies=("key",)
    )
    keyed = {
        "keyed": replace(everywhere, strip=True, told="X-Client"),
        "keyed-optional": replace(everywhere, mode=Mode.OPTIONAL),
        "keyed-permissive": replace(everywhere, keys=clients[:1], mode=Mode.PERMISSIVE),
    }
    whose = ("default", "other", "default")
    apart = tuple(replace(place, providers=(name,)) for place, name in zip(places, whose, strict=True))
    by_token = replace(plain.credentials, kinds=frozenset({Kind.BEARER}))
    chosen = (
        ("again", by_token, public),
        ("again-optional", replace(by_token, mode=Mode.OPTIONAL), Public()),
        ("again-permissive", replace(by_token, mode=Mode.PERMISSIVE), Public()),
    )
    added = (
        route("own", replace(plain.credentials, providers=("own",)), access=public),
        route("placed", replace(plain.credentials, places=places), access=public),
        route("placed-too", replace(plain.credentials, places=(*places, AUTHORIZATION)), access=public),
        route(
            "placed-hidden", replace(plain.credentials, places=places), access=public, hide_credential=True
        ),
        route("placed-apart", replace(plain.credentials, places=apart), access=public),
        *(route(name, again, access=access, chosen_again="group") for name, again, access in chosen),
        route("pages", plain.credentials, access=public, cross_site=pages),
        route("open-pages", Credentials(mode=Mode.IGNORED), access=Public(), cross_site=pages),
        *(route(name, open_to_all, access=Public(), api_keys=keys) for name, keys in keyed.items()),
    )
    hosts = (replace(host, routes=(*host.routes, *added)),)
    listeners = (replace(listener, hosts=hosts),)
    return replace(policy, listeners=listeners, providers=(*policy.providers, own))


@pytest.fixture(scope="module")
def service(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service")) as running:
        running.know([known(policy)], {"default": ["rsa"], "other": ["rsa"], "own": ["rsa"]})
        yield running


def known(policy: Policy) -> Known:
    """What the service finds when it is asked."""
    active = {
        gate_cases.OPAQUE: {"sub": "opal", "name": "Opal", "realm_access": {"roles": ["user"]}},
        gate_cases.OPAQUE_ALONE: {"realm_access": {"roles": ["user"]}},
    }
    sessions = {
        gate_cases.SESSION: session_of(gate_cases.SESSION, "default", shown=True),
        gate_cases.WITHOUT_TOKENS: session_of(gate_cases.WITHOUT_TOKENS, "default", shown=False),
        gate_cases.OF_OTHERS: session_of(gate_cases.OF_OTHERS, "other", shown=True),
        gate_cases.OF_OWN: session_of(gate_cases.OF_OWN, "own", shown=True),
    }
    return Known(
        policy=policy,
        sessions=sessions,
        active={"default": active, "other": {}, "own": {}},
        bearer={"default": vouched_for, "other": vouched_for, "own": vouched_for},
    )


def vouched_for(token: str) -> Mapping[str, Any]:
    found = read_unverified(token)
    if found.header.get("kid") != gate_cases.NEW_KEY:
        raise TokenKeyUnknown("no such key")
    return found.claims


def session_of(cookie: str, provider: str, *, shown: bool) -> Session:
    """One whose access and ID token may be shown to the upstream, or not."""
    at = time.time()
    claims = {"sub": "sue", "name": "Sue", "realm_access": {"roles": ["user"]}, "iat": int(at)}
    return Session(
        name=name_of(cookie),
        provider=provider,
        issuer={"default": ISSUER, "other": OTHER, "own": f"{ISSUER}/own"}[provider],
        subject="sue",
        issuer_session=None,
        created=at,
        used=at,
        ends=at + 3600,
        tokens=Tokens(
            access_token=f"access-of-{cookie[:4]}",
            access_expires=at + 3600 if shown else at - 60,
            refresh_token="refresh",
            id_token=f"id-of-{cookie[:4]}" if shown else None,
            claims=claims,
            id_claims={"sub": "sue", "nickname": "S"},
            userinfo={"sub": "sue"},
        ),
    )


@pytest.fixture(scope="module")
def compiled(policy: Policy, service: Service) -> compiler.Compiled:
    place = compiler.Place(
        directory="",
        admin_socket="",
        service_socket=service.public_socket,
        control_socket=service.control_socket,
    )
    own = keys(jwk(RSA)).as_json()
    return compiler.compile(
        policy, {"default": own, "other": own, "own": own}, place, attested_keys=service.attested_keys
    )


class Text:
    """The text of the filters, the same in its three modes but for one word that stands before every place."""

    def __init__(self) -> None:
        self.lua = gate_source("@MODE@")
        assert all(self.lua.count(usual) == 1 for usual, _ in SMALL)
        self.places = injection.places(self.lua)

    def recording(self, lua: str) -> str:
        moved = [place + len(lua) - len(self.lua) for place in self.places]
        return _small(injection.recording(lua, moved))

    def injected(self, number: int, lua: str) -> str:
        place = self.places[number] + len(lua) - len(self.lua)
        return _small(injection.injected(lua, place))

    def line(self, number: int) -> str:
        return injection.line_of(self.lua, self.places[number])


def _small(lua: str) -> str:
    for usual, small in SMALL:
        lua = lua.replace(usual, small)
    return lua


@pytest.mark.timeout(300)
def test_no_error_in_lua_lets_anything_through(
    tmp_path: Path, echo: Echo, compiled: compiler.Compiled
) -> None:
    """
    Wherever an error is raised: a request that met it in the guard reaches no application, one that met it later
    only where it may, and then with true identity headers or without.
    """
    text, cases = Text(), dict(enumerate(gate_cases.all_cases()))
    everything = {"control": gate_cases.requests("control", cases)}
    recorder = injection.listener("control", compiled, text.recording)
    control = injection.run(tmp_path / "control", [recorder], compiled, everything)["control"]
    arrived = _arrived(echo)
    _control_is_as_ever(control, cases, arrived)
    reaching = _reaching(control)

    variants: dict[int, Variant] = {}
    for turn, how_many in enumerate((SOME, None)):
        left = [
            number for number in range(len(text.places)) if number not in variants or not variants[number].met
        ]
        left = [number for number in left if reaching.get(number)]
        variants |= _run(tmp_path / f"turn-{turn}", text, left, compiled, cases, reaching, how_many)

    arrived = _arrived(echo)
    wrong = [
        f"{text.line(number)} ({who}): {cases[case]}"
        for number, variant in variants.items()
        for case, who in _wrong(variant, arrived, control, cases)
    ]
    assert not wrong, f"{len(wrong)}: {wrong[:10]}"
    unmet = [text.line(n) for n in range(len(text.places)) if n not in variants or not variants[n].met]
    unreached = [line for line in unmet if not line.partition(": ")[2].startswith(NEVER)]
    assert not unreached, "places that no request reached: " + "; ".join(unreached)
    sent = sum(len(variant.outcomes) for variant in variants.values())
    met = sum(len(variant.met) for variant in variants.values())
    print(
        f"\n{len(variants)} of {len(text.places)} places, {sent} requests, {met} met the error, {len(unmet)} out of reach"
    )


def _run(
    directory: Path,
    text: Text,
    numbers: Iterable[int],
    compiled: compiler.Compiled,
    cases: dict[int, Case],
    reaching: dict[int, list[int]],
    how_many: int | None,
) -> dict[int, Variant]:
    """One listener for each place; `how_many` of the cases that reach it, with those that came before, or all."""
    if os.environ.get("HOLDING_ALL"):
        how_many = None
    chosen = {number: _chosen(cases, reaching[number], how_many) for number in numbers}
    listeners = [
        injection.listener(
            f"{directory.name}-{number}", compiled, lambda lua, number=number: text.injected(number, lua)
        )
        for number in chosen
    ]
    requests = {
        f"{directory.name}-{n}": gate_cases.requests(f"{directory.name}-{n}", some)
        for n, some in chosen.items()
    }
    found: dict[str, Variant] = {}
    for begin in range(
        0, len(listeners), AT_ONCE
    ):  # with all of them Envoy is over the bound of its heap, and answers 503
        some = listeners[begin : begin + AT_ONCE]
        sent = {one["name"]: requests[one["name"]] for one in some}
        found |= injection.run(directory / str(begin), some, compiled, sent)
    return {int(name.rpartition("-")[2]): variant for name, variant in found.items()}


def _chosen(cases: dict[int, Case], reaching: list[int], how_many: int | None) -> dict[int, Case]:
    """Spread over all that reach the place, each after the request that first brought its credential."""
    if how_many is None:
        return cases
    step = max(1, len(reaching) // how_many)
    some = reaching[::step][:how_many]
    first: dict[tuple[str, tuple[str, ...]], int] = {}
    for number, case in cases.items():
        first.setdefault(case.who, number)
    return {number: cases[number] for number in {*some, *(first[cases[number].who] for number in some)}}


def _reaching(control: Variant) -> dict[int, list[int]]:
    """Place -> the cases that reach it."""
    found: dict[int, set[int]] = {}
    for place, name, _ in control.passed:
        found.setdefault(place, set()).add(_case(name))
    return {place: sorted(numbers) for place, numbers in found.items()}


def _case(name: str) -> int:
    return int(name.partition("/")[2])


def _arrived(echo: Echo) -> dict[str, Arrival]:
    return {label: arrival for arrival in echo.arrivals() for label in arrival.values("x-case-id")}


def _wrong(
    variant: Variant, arrived: dict[str, Arrival], control: Variant, cases: Mapping[int, Case]
) -> Iterable[tuple[int, str]]:
    """
    Cases that should not have arrived, or not so, and questions that should not have been answered so; with the filter in
    which they met the error.
    """
    in_guard = {name for name, who in variant.met if who == "guard"}
    who = dict(variant.met)
    for name, outcome in variant.outcomes.items():
        arrival, expected = arrived.get(name), arrived.get(f"control/{_case(name)}")
        as_ever = control.outcomes[f"control/{_case(name)}"]
        if outcome.failure:
            yield _case(name), outcome.failure
        elif _is_question(cases[_case(name)]) and outcome.status == 200:
            if as_ever.status != 200 or name in in_guard or _tells_lies(outcome, as_ever):
                yield _case(name), who.get(name, "none")
        elif arrival is not None and (name in in_guard or expected is None or _lies(arrival, expected)):
            yield _case(name), who.get(name, "none")


def _is_question(case: Case) -> bool:
    return case.target.startswith((gate_cases.ASKED_AT, "/oauth/authorize"))


def _tells_lies(outcome: Outcome, as_ever: Outcome) -> bool:
    """The same of an answer to another proxy."""
    told = {name.lower() for name in IDENTITY} & outcome.headers.keys()
    return any(outcome.headers[name] != as_ever.headers.get(name) for name in told)


def _lies(arrival: Arrival, expected: Arrival) -> bool:
    """Whether an identity header says anything but the truth; absent is no lie."""
    return any(set(arrival.values(name)) - set(expected.values(name)) for name in IDENTITY)


def _control_is_as_ever(control: Variant, cases: dict[int, Case], arrived: dict[str, Arrival]) -> None:
    """Without an error the same requests are forwarded and refused as the rules say: the harness itself is right."""
    statuses: dict[str, set[int]] = {}
    of_sessions: dict[str, set[int]] = {}
    for name, outcome in control.outcomes.items():
        case = cases[_case(name)]
        assert not outcome.failure, (case, outcome)
        (of_sessions if case.cookies or case.headers else statuses).setdefault(case.target, set()).add(
            outcome.status
        )
        here = case.target == "/oauth/health" or _is_question(case) or case.method == "OPTIONS"
        assert (name in arrived) == (outcome.status == 200 and not here), case
    assert statuses["/permissive/a"] == statuses["/public/A"] == statuses["/user/Aa/bB"] == {200}
    assert statuses["/user/a"] == statuses["/optional/a"] == {200, 400, 401}
    assert statuses["/checked/a"] == {200, 401}
    assert statuses["/public/;a"] == statuses["/user/;a"] == {400}
    assert statuses["/user/A/deep/x"] == {403}
    assert of_sessions["/user/a"] == {200, 302, 400, 401, 403}
    assert of_sessions["/permissive-others/a"] == of_sessions["/permissive/a"] - {403} == {200, 400}
    assert of_sessions["/tokens/a"] == {200, 401}
    assert of_sessions["/public/a"] == {200}
    people = {value for arrival in arrived.values() for value in arrival.values("x-person")}
    assert people >= {
        "Ann",
        "line%0Abreak%00 and \xc3\xa9",
        "a,b|c,d%2Ce",
        "a|b=c.d%e~f",
        "Sue",
        "New",
        "Opal",
    }, people
    tokens = {value for arrival in arrived.values() for value in arrival.values("x-id")}
    assert tokens == {"id-of-hhhh", "id-of-oooo"}
    roles = {value for arrival in arrived.values() for value in arrival.values("x-roles")}
    assert roles == {"user", "user|a%7Cb"}
    assert not [a for a in arrived.values() for name in IDENTITY if "forged" in a.values(name)]


def test_no_error_in_a_question_lets_anything_pass(
    tmp_path: Path, echo: Echo, compiled: compiler.Compiled
) -> None:
    """Wherever the filter of other proxies' questions fails, none is answered with 200 that was not before."""
    lua = forward_auth.original_source(
        ForwardAuth(path=gate_cases.ASKED_AT, only=False), forward_auth.Own(prefix="/oauth")
    )
    found = injection.places(lua)
    cases = dict(enumerate(gate_cases.questions()))
    change = injection.raising
    listeners = [
        injection.listener(
            f"place-{number}",
            compiled,
            lambda text, number=number: change(text, number),
            holding="local BEHIND",
        )
        for number in range(len(found))
    ]
    listeners.append(injection.listener("control", compiled, lambda text: text, holding="local BEHIND"))
    requests = {name: gate_cases.requests(name, cases) for name in (each["name"] for each in listeners)}
    variants = injection.run(tmp_path / "questions", listeners, compiled, requests)
    control = {_case(name): one for name, one in variants.pop("control").outcomes.items()}
    assert {one.status for one in control.values()} == {200, 302, 400, 401, 403}
    differing = 0
    for variant in variants.values():
        answered = {_case(name): one for name, one in variant.outcomes.items()}
        wrong = [
            (cases[number], one.status)
            for number, one in answered.items()
            if one.status == 200 and control[number].status != 200
        ]
        assert not wrong, wrong[:5]
        differing += any(one.status != control[number].status for number, one in answered.items())
    assert differing > len(variants) * 0.6, f"{differing} of {len(variants)} places changed an answer"
