"""Sessions, logins, introspected tokens and WebSockets in the reference answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.decision.policies import ask, policy, principal, route, status_and_rule
from wardgate.decision import Decision, Outcome
from wardgate.policy import (
    ClaimValue,
    Cors,
    Credentials,
    IdentityHeader,
    Introspection,
    Kind,
    Mode,
    Policy,
    RawToken,
    RealmRole,
    Rule,
    Session,
    Source,
)
from wardgate.principal import Principal, Rejected

USER = Rule(when=RealmRole("user"))
MAIN = Credentials(providers=("main",))
OPTIONAL = replace(MAIN, mode=Mode.OPTIONAL)
PERMISSIVE = replace(MAIN, mode=Mode.PERMISSIVE)
IGNORED = Credentials(mode=Mode.IGNORED)
SESSIONS_ONLY = replace(MAIN, kinds=frozenset({Kind.SESSION}))
BEARERS_ONLY = replace(MAIN, kinds=frozenset({Kind.BEARER}))
NAVIGATION = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
FETCH = (("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), ("Accept", "text/html"))
COOKIE = ("Cookie", "a=1; __Host-wardgate-session=abc; b=2")
AUTHORIZATION = ("Authorization", "Bearer aaa.bbb.ccc")
OVER = Rejected("session-over", Kind.SESSION)
AWAY = Rejected("session-unavailable", Kind.SESSION)


def with_login(*routes: Any, introspection: Introspection = Introspection.OFF, **settings: Any) -> Policy:
    """A policy whose providers browsers can log in at."""
    client = {"client_id": "gateway", "introspection": introspection}
    return policy(*routes, **{"session": Session(), "provider": client, **settings})


def session(*roles: str, **changes: Any) -> Principal:
    made = principal(*(roles or ("user",)), kind=Kind.SESSION, provider=changes.pop("provider", "main"))
    return replace(made, **changes)


def answer(decision: Decision) -> tuple[int, str]:
    return decision.status, decision.reason


# --- Logins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "method", "expected"),
    [
        (NAVIGATION, "GET", (302, "login")),
        (NAVIGATION, "HEAD", (302, "login")),
        (NAVIGATION, "POST", (401, "no-credential")),
        ((("Accept", "text/html,*/*"),), "GET", (302, "login")),
        ((("Accept", "*/*"),), "GET", (401, "no-credential")),
        (FETCH, "GET", (401, "no-credential")),
        ((NAVIGATION[0], ("Sec-Fetch-Dest", "iframe")), "GET", (401, "no-credential")),
        (NAVIGATION[:1], "GET", (401, "no-credential")),
        ((), "GET", (401, "no-credential")),
    ],
)
def test_only_a_navigation_is_sent_to_the_login(
    headers: tuple[tuple[str, str], ...], method: str, expected: tuple[int, str]
) -> None:
    """A page that a person opens, also in an old browser; a script's request is 401."""
    made = with_login(route("/**", USER, name="app"))
    decision = ask(made, "/x", method=method, headers=headers)
    assert (*answer(decision), decision.rule) == (*expected, "app")
    assert decision.login == (("main",) if expected[0] == 302 else ())


@pytest.mark.parametrize(
    ("target", "status"),
    [("/x", 302), ("/quiet", 401), ("/bearers", 401), ("/elsewhere", 401), ("/open", 200), ("/none", 401)],
)
def test_a_login_is_for_routes_that_say_so(target: str, status: int) -> None:
    """Not where it is switched off, where no session is accepted, nor where no route is."""
    made = with_login(
        route("/x", USER),
        route("/quiet", USER, login_redirect=False),
        route("/bearers", USER, credentials=BEARERS_ONLY),
        route("/elsewhere", USER, methods=frozenset({"PUT"})),
        route("/open", credentials=OPTIONAL),
    )
    assert ask(made, target, headers=NAVIGATION).status == status


def test_nobody_logs_in_without_a_session_or_a_client() -> None:
    """Where nobody can have a session, a navigation is 401 and a session's cookie is any cookie."""
    for made in (policy(route("/**", USER), session=Session()), policy(route("/**", USER))):
        assert answer(ask(made, "/x", headers=NAVIGATION)) == (401, "no-credential")
        assert ask(made, "/x", session()).status == 401
        passed = ask(made, "/x", principal("user"), headers=(COOKIE, AUTHORIZATION))
        assert (passed.status, passed.cookie) == (200, COOKIE[1])


# --- Sessions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "found", "headers", "expected"),
    [
        (MAIN, session(), (), (200, "rule-met")),
        (MAIN, session("other"), (), (403, "rule-not-met")),
        (MAIN, session(provider="other"), (), (401, "credential-provider")),
        (MAIN, OVER, (), (401, "session-over")),
        (MAIN, OVER, NAVIGATION, (302, "login")),
        (MAIN, AWAY, NAVIGATION, (503, "session-unavailable")),
        (SESSIONS_ONLY, session(), (), (200, "rule-met")),
        (BEARERS_ONLY, session(), (), (401, "no-credential")),
        (BEARERS_ONLY, OVER, NAVIGATION, (401, "no-credential")),
        (OPTIONAL, session(), (), (200, "public")),
        (OPTIONAL, session(provider="other"), (), (401, "credential-provider")),
        (OPTIONAL, OVER, (), (401, "session-over")),
        (OPTIONAL, OVER, NAVIGATION, (303, "session-over")),
        (OPTIONAL, AWAY, (), (503, "session-unavailable")),
        (PERMISSIVE, session(provider="other"), (), (200, "public")),
        (PERMISSIVE, OVER, NAVIGATION, (200, "public")),
        (PERMISSIVE, AWAY, (), (200, "public")),
        (IGNORED, OVER, (), (200, "public")),
    ],
)
def test_sessions_by_mode(
    terms: Credentials,
    found: Principal | Rejected,
    headers: tuple[tuple[str, str], ...],
    expected: tuple[int, str],
) -> None:
    """What a route's mode makes of a good session, another provider's, one that is over, one that nobody can tell."""
    access = USER if terms.mode is Mode.REQUIRED else None
    made = with_login(route("/x", access, credentials=terms))
    assert answer(ask(made, "/x", found, headers=(COOKIE, *headers))) == expected


def test_who_navigates_with_a_session_that_is_over_comes_back_without_it() -> None:
    """On an optional route: to the same page, and the cookie is gone."""
    made = with_login(route("/x", credentials=OPTIONAL))
    decision = ask(made, "/x?q=1", OVER, headers=NAVIGATION)
    assert (decision.status, decision.outcome, decision.location) == (303, Outcome.REDIRECT, "/x?q=1")


@pytest.mark.parametrize("terms", [MAIN, OPTIONAL, PERMISSIVE])
def test_two_credentials_are_refused_in_every_mode(terms: Credentials) -> None:
    """Two session cookies, or a session and a bearer token where both are accepted: none of them counts."""
    access = USER if terms.mode is Mode.REQUIRED else None
    made = with_login(route("/x", access, credentials=terms), route("/open"))
    twice = (COOKIE, ("cookie", "__Host-wardgate-session=def"))
    assert answer(ask(made, "/x", OVER, headers=twice)) == (400, "credential-several")
    assert ask(made, "/open", OVER, headers=twice).status == 200
    both = ask(made, "/x", principal("user"), session=session(), headers=(COOKIE, AUTHORIZATION))
    assert answer(both) == (400, "credential-several")


def test_beside_a_session_a_token_that_is_not_looked_at_does_not_go_on() -> None:
    """Where bearer tokens are not accepted the session decides, and the upstream gets no Authorization of the client's."""
    made = with_login(
        route("/x", USER, credentials=SESSIONS_ONLY, forward_authorization=False),
        route("/p", credentials=replace(SESSIONS_ONLY, mode=Mode.PERMISSIVE)),
    )
    both = (COOKIE, AUTHORIZATION)
    decision = ask(made, "/x", principal("nobody"), session=session(), headers=both)
    assert (decision.status, decision.authorization, decision.cookie) == (200, None, "a=1; b=2")
    assert ask(made, "/p", principal(), session=OVER, headers=both).authorization is None
    assert answer(ask(made, "/x", principal("user"), headers=(AUTHORIZATION,))) == (401, "credential-kind")
    alone = ask(made, "/p", principal("user"), headers=(AUTHORIZATION,))
    assert (alone.status, alone.authorization) == (200, "Bearer aaa.bbb.ccc")


@pytest.mark.parametrize(
    ("general", "own", "expected"),
    [
        (True, None, "Bearer access"),
        (True, False, None),
        (False, None, None),
        (False, True, "Bearer access"),
    ],
)
def test_a_sessions_access_token_goes_where_it_is_to(
    general: bool, own: bool | None, expected: str | None
) -> None:
    """The route's own word before the session's."""
    made = with_login(
        route("/x", USER, forward_authorization=own), session=Session(forward_authorization=general)
    )
    assert ask(made, "/x", session(token="access")).authorization == expected
    assert ask(made, "/x", session(token=None)).authorization is None  # it has expired, the issuer is away


def test_identity_headers_read_the_token_that_they_name() -> None:
    """Access token, ID token or userinfo; a bearer token is its own access token and has no other."""
    sources = (Source.ACCESS, Source.ID, Source.USERINFO)
    identity = (
        *(IdentityHeader(name=f"X-{s}", value=ClaimValue(path=("sub",), source=s)) for s in sources),
        *(IdentityHeader(name=f"X-T-{s}", value=RawToken(source=s)) for s in sources[:2]),
    )
    made = with_login(route("/x", USER, identity=identity))
    found = session(token="A", id_token="I", id_claims={"sub": "by-id"}, userinfo={"sub": "by-info"})
    assert ask(made, "/x", found).identity == (
        *(("X-access", "ann"), ("X-id", "by-id"), ("X-userinfo", "by-info")),
        *(("X-T-access", "A"), ("X-T-id", "I")),
    )
    assert ask(made, "/x", principal("user")).identity == (
        ("X-access", "ann"),
        ("X-T-access", "aaa.bbb.ccc"),
    )


def test_our_cookies_never_reach_an_upstream() -> None:
    """Not on any route, whether it looks at credentials or not."""
    made = with_login(route("/x", USER, credentials=BEARERS_ONLY), route("/open"))
    assert ask(made, "/open", OVER, headers=(COOKIE,)).cookie == "a=1; b=2"
    passed = ask(made, "/x", principal("user"), headers=(COOKIE, AUTHORIZATION))
    assert (passed.status, passed.cookie) == (200, "a=1; b=2")


# --- WebSockets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://app.example", 200),
        ("https://ui.example", 200),
        ("https://app.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
        (None, 403),
    ],
)
def test_a_websocket_with_a_session_is_opened_by_a_page_of_ours(origin: str | None, status: int) -> None:
    """This very host and scheme, or an origin that CORS names; `*` names none."""
    upgrade = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
    headers = upgrade if origin is None else (*upgrade, ("Origin", origin))
    cors = Cors(origins=("*", "https://ui.example"))
    made = with_login(route("/x", USER), host_cors=cors)
    decision = ask(made, "/x", session(), headers=headers)
    assert decision.status == status
    assert decision.reason == ("rule-met" if status == 200 else "origin")
    assert ask(made, "/x", principal("user"), headers=headers).status == 200


def test_a_websocket_where_none_is_taken_is_refused_first() -> None:
    """A route without them, no route at all, an endpoint of ours: 403 before any credential."""
    upgrade = (("Connection", "keep-alive, upgrade"), ("Upgrade", "websocket"))
    made = with_login(route("/x", websockets=False), route("/y"))
    for target in ("/x", "/none", "/oauth/start", "/oauth/health"):
        assert status_and_rule(ask(made, target, headers=upgrade)) == (403, "guard:upgrade")
    assert ask(made, "/y", headers=upgrade).status == 200
    assert ask(made, "/x", headers=upgrade[1:]).status == 200  # without Connection it is no upgrade


# --- Tokens that their issuer is asked about -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("introspection", "introspect", "found", "expected"),
    [
        (Introspection.OFF, False, "opaque", (401, "credential-malformed")),
        (Introspection.OFF, False, "unknown", (401, "credential-malformed")),
        (Introspection.OFF, False, "inactive", (200, "rule-met")),
        (Introspection.OPAQUE, False, "opaque", (200, "rule-met")),
        (Introspection.OPAQUE, False, "unknown", (401, "token-inactive")),
        (Introspection.OPAQUE, False, "inactive", (200, "rule-met")),
        (Introspection.ALWAYS, False, "opaque", (200, "rule-met")),
        (Introspection.ALWAYS, False, "inactive", (401, "token-inactive")),
        (Introspection.OFF, True, "inactive", (401, "token-inactive")),
        (Introspection.OFF, True, "active", (200, "rule-met")),
    ],
)
def test_the_issuers_answer_counts_where_it_is_asked(
    introspection: Introspection, introspect: bool, found: str, expected: tuple[int, str]
) -> None:
    """Opaque tokens only where some provider's are read; what the issuer says of a JWT only where that is wanted."""
    credential = {
        "opaque": replace(principal("user"), opaque=True),
        "unknown": Rejected("token-inactive"),
        "inactive": replace(principal("user"), active=False),
        "active": principal("user"),
    }[found]
    terms = replace(MAIN, introspect=introspect)
    made = with_login(route("/x", USER, credentials=terms), introspection=introspection)
    assert answer(ask(made, "/x", credential)) == expected


# --- The service -----------------------------------------------------------------------------------------------------


def test_without_the_service_only_what_envoy_can_tell_goes_on() -> None:
    """Bearer JWTs and public routes are served; sessions, logins and opaque tokens are 503, endpoints 502."""
    made = with_login(
        route("/x", USER), route("/p", credentials=PERMISSIVE), introspection=Introspection.OPAQUE
    )

    def away(target: str, credential: Any = None, **request: Any) -> int:
        return ask(made, target, credential, service_away=True, **request).status

    assert away("/x", principal("user")) == 200
    assert away("/x") == 401
    assert away("/x", session()) == 503
    assert away("/x", headers=NAVIGATION) == 503
    assert away("/x", replace(principal("user"), opaque=True)) == 503
    assert away("/p", session()) == 200
    assert away("/oauth/start") == 502
    assert away("/oauth/health") == 200


@pytest.mark.parametrize(
    "target", ["/oauth/start", "/oauth", "/oauth/anything", "/oauth2/start", "/oauth2/auth"]
)
def test_with_a_login_the_service_answers_our_endpoints(target: str) -> None:
    """Everything under the prefix, and the names that oauth2-proxy's users know; nothing of it needs a credential."""
    made = with_login(route("/**", USER))
    decision = ask(made, target)
    assert (decision.outcome, decision.rule, decision.reason) == (Outcome.ALLOW, "endpoint", "endpoint")
    assert decision.upstream is None


def test_aliases_give_way_to_routes_of_their_own() -> None:
    """Where a host has routes below /oauth2 itself, they are its own."""
    made = with_login(route("/oauth2/**", USER))
    assert status_and_rule(ask(made, "/oauth2/start")) == (401, "/oauth2/**")
    assert status_and_rule(ask(with_login(route("/**", USER)), "/oauth2/other")) == (401, "/**")
