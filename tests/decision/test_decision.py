"""The reference answer: what is decided, in which order, and by which rule."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.decision.policies import (
    IGNORED,
    OPTIONAL,
    PERMISSIVE,
    REQUIRED,
    ask,
    policy,
    principal,
    route,
    status_and_rule,
)
from wardgate.decision import RULES, Outcome
from wardgate.policy import (
    AllOf,
    AnyOf,
    Authenticated,
    ClaimValue,
    Cors,
    Credentials,
    Denied,
    Host,
    IdentityHeader,
    Kind,
    Limits,
    Mode,
    Not,
    RawToken,
    RealmRole,
    RequestHeader,
    Rule,
)
from wardgate.principal import Anonymous, Credential, Rejected

USER = Rule(when=RealmRole("user"))
ADMIN = Rule(when=RealmRole("admin"))
EXPIRED = Rejected("token-expired")
SUBJECT = (("X-Sub", "ann"),)
PREFLIGHT = (("Origin", "https://ui.example"), ("Access-Control-Request-Method", "PUT"))


# --- Guards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/public/%2e%2e;/admin", "/a%2fb", "/a;b", "/a%00", "/é", "/a#b", "a", "*"]
)
def test_ambiguous_path_is_refused_before_any_rule(target: str) -> None:
    """A path that could be read in two ways is 400, on public routes too."""
    assert status_and_rule(ask(policy(route("/**")), target)) == (400, "guard:path")


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "BREW", "get", ""])
def test_method_nobody_lists_is_refused(method: str) -> None:
    """A method that no route could mean is 405 whatever the path."""
    assert status_and_rule(ask(policy(route("/**")), "/x", method=method)) == (405, "guard:method")


def test_unusual_method_is_known_when_a_route_lists_it() -> None:
    """A method outside the standard ones passes where it is listed, and any-method does not mean it."""
    both = policy(route("/**"), route("/dav/**", methods=frozenset({"PROPFIND"})))
    assert ask(both, "/dav/x", method="PROPFIND").outcome is Outcome.ALLOW
    assert status_and_rule(ask(both, "/x", method="PROPFIND")) == (401, "method-not-listed")


def test_method_is_known_only_to_the_host_that_lists_it() -> None:
    """Each host has its own methods."""
    lists = Host(names=("dav",), routes=(route("/**", methods=frozenset({"PROPFIND"})),), fallback=REQUIRED)
    two = policy(hosts=(lists, *hosts("web")))
    assert ask(two, "/", method="PROPFIND", host="dav").status == 200
    assert status_and_rule(ask(two, "/", method="PROPFIND", host="web")) == (405, "guard:method")


def test_path_guard_comes_before_method_guard() -> None:
    """Two things wrong: the path is named."""
    assert ask(policy(route("/**")), "/;", method="TRACE").rule == "guard:path"


# --- Hosts --------------------------------------------------------------------------------------------------------


def hosts(*names: str) -> tuple[Host, ...]:
    return tuple(Host(names=(name,), routes=(route("/**", name=name),), fallback=REQUIRED) for name in names)


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        ("api.example", "api.example"),
        ("API.Example:8443", "api.example"),
        ("x.api.example", "*.api.example"),
        ("x.y.api.example", "*.api.example"),
        ("web.example", "*.example"),
        (".example", "*"),
        ("example", "*"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_most_specific_host_name_wins(host: str, rule: str) -> None:
    """Exact before the longest suffix before *, letter case and port aside."""
    several = policy(hosts=hosts("*", "*.example", "*.api.example", "api.example", "[::1]"))
    assert ask(several, "/", host=host).rule == rule


def test_unknown_host_is_not_found() -> None:
    """A host that nobody configured is 404, except for health: a probe asks by the pod's address."""
    one = policy(hosts=hosts("api.example"))
    assert status_and_rule(ask(one, "/x", host="evil.example")) == (404, "no-host")
    assert status_and_rule(ask(one, "/oauth/token", host="evil.example")) == (404, "no-host")
    assert status_and_rule(ask(one, "/oauth/health", host="evil.example")) == (200, "endpoint:health")


def test_header_with_an_underscore_is_refused() -> None:
    """An upstream that folds names would read x_user_id as X-User-Id."""
    decision = ask(policy(route("/**")), "/x", headers=(("x_user_id", "root"),))
    assert status_and_rule(decision) == (400, "guard:header")


@pytest.mark.parametrize("host", ["", "a b", "a,b", "u@h", "h:", "h:x", "h/x", "[::1", "é"])
def test_host_that_is_no_name_is_refused(host: str) -> None:
    """Two Host lines, or what no browser sends, is 400 where any host is served."""
    assert status_and_rule(ask(policy(route("/**")), "/x", host=host)) == (400, "guard:host")


def test_unknown_listener_is_a_mistake_of_the_caller() -> None:
    """A listener that the policy does not have is no decision about the request."""
    with pytest.raises(KeyError):
        ask(policy(route("/**")), "/", listener="other")


# --- Own endpoints, https, CORS -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "status", "rule"),
    [
        ("GET", "/oauth/health", 200, "endpoint:health"),
        ("HEAD", "/oauth/health?x=1", 200, "endpoint:health"),
        ("GET", "//oauth/./%68ealth", 200, "endpoint:health"),
        ("POST", "/oauth/health", 200, "endpoint:health"),
        ("GET", "/oauth/health/", 404, "endpoint"),
        ("GET", "/oauth", 404, "endpoint"),
        ("GET", "/oauth/", 404, "endpoint"),
        ("GET", "/oauth/callback", 404, "endpoint"),
        ("GET", "/oauthx", 200, "/**"),
    ],
)
def test_own_endpoints_win_over_every_route(method: str, target: str, status: int, rule: str) -> None:
    """What lies under the prefix is the gateway's, in any letter case; only health is there."""
    assert status_and_rule(ask(policy(route("/**")), target, method=method)) == (status, rule)


@pytest.mark.parametrize(
    ("scheme", "trusted", "forwarded", "status"),
    [
        ("http", False, None, 301),
        ("https", False, None, 200),
        ("http", False, "https", 301),
        ("http", True, "https", 200),
        ("https", True, "http", 301),
        ("https", False, "http", 200),
        ("http", True, None, 301),
    ],
)
def test_plain_http_is_redirected(scheme: str, trusted: bool, forwarded: str | None, status: int) -> None:
    """The scheme is the connection's, or what a trusted proxy forwards; nobody else is heard."""
    redirecting = policy(route("/**"), listener={"redirect_to_https": True})
    decision = ask(redirecting, "/x", scheme=scheme, trusted_peer=trusted, forwarded_proto=forwarded)
    assert decision.status == status


def test_redirect_goes_to_the_same_place_by_https() -> None:
    """The location has the normalized target, the query as it was, and the port that was asked for, as in Envoy."""
    redirecting = policy(route("/**"), listener={"redirect_to_https": True})
    decision = ask(redirecting, "/a/../b?q=%2f", host="app.example:8080")
    assert (decision.outcome, decision.location) == (Outcome.REDIRECT, "https://app.example:8080/b?q=%2f")
    assert ask(redirecting, "/oauth/health").status == 200
    assert ask(redirecting, "/oauth/login").status == 301


def test_preflight_is_answered_and_never_forwarded() -> None:
    """On a host with CORS a real preflight is answered without credentials, whatever the route says."""
    cors = policy(route("/**", USER), host_cors=Cors(origins=("https://ui.example",)))
    decision = ask(cors, "/x", method="OPTIONS", headers=PREFLIGHT)
    assert (decision.status, decision.rule, decision.reason) == (200, "cors-preflight", "origin-allowed")
    assert decision.upstream is None


def test_preflight_of_another_origin_is_answered_without_permission() -> None:
    """An origin that is not listed gets an empty answer, and no upstream either."""
    cors = policy(route("/**", USER), host_cors=Cors(origins=("https://other.example",)))
    decision = ask(cors, "/x", method="OPTIONS", headers=PREFLIGHT)
    assert (decision.status, decision.reason) == (200, "origin-not-allowed")


@pytest.mark.parametrize("headers", [(), PREFLIGHT[:1], PREFLIGHT[1:]])
def test_other_options_are_a_method_like_the_rest(headers: tuple[tuple[str, str], ...]) -> None:
    """OPTIONS without both headers of a preflight is judged by the route."""
    cors = policy(route("/**", USER), host_cors=Cors(origins=("*",)))
    assert status_and_rule(ask(cors, "/x", method="OPTIONS", headers=headers)) == (401, "/**")


def test_preflight_is_answered_where_nothing_is_said_about_cors() -> None:
    """A host without CORS rules allows no other origin; its upstream never sees the question."""
    decision = ask(policy(route("/**")), "/x", method="OPTIONS", headers=PREFLIGHT)
    assert (decision.status, decision.rule, decision.reason) == (200, "cors-preflight", "origin-not-allowed")


# --- Routes -------------------------------------------------------------------------------------------------------

KINDS = policy(route("/**", name="root"), route("/x"), route("/x/*"), route("/x/**"), route("/x*"))


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("/x", "/x"),
        ("/x?a=/x/y", "/x"),
        ("/x/", "/x/*"),
        ("/x/y", "/x/*"),
        ("/xy", "/x*"),
        ("/X", "root"),
        ("/", "root"),
    ],
)
def test_of_one_text_the_kinds_win_in_order(target: str, rule: str) -> None:
    """Exact, under, prefix, text: the most specific kind that matches decides."""
    assert ask(KINDS, target).rule == rule


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("/a", "/a/**"),
        ("/a/", "/a/**"),
        ("/ab", "/**"),
        ("/a/b", "/a/b/**"),
        ("/a/b/", "/a/b/**"),
        ("/a/bc", "/a/**"),
        ("/a/b/c", "/a/b/c"),
        ("/a/b/c/d", "/a/b/**"),
    ],
)
def test_longest_text_wins(target: str, rule: str) -> None:
    """Prefixes end on segments, and the longest decides."""
    tree = policy(route("/**"), route("/a/**"), route("/a/b/**"), route("/a/b/c"))
    assert ask(tree, target).rule == rule


def test_first_route_that_speaks_for_the_method_decides() -> None:
    """The routes of one path are told apart by method."""
    split = policy(
        route("/x/**", name="read", methods=frozenset({"GET"})),
        route("/x/**", ADMIN, name="write", methods=frozenset({"PUT", "POST"})),
    )
    assert ask(split, "/x").rule == "read"
    assert status_and_rule(ask(split, "/x", method="PUT")) == (401, "write")


def test_unlisted_method_is_closed_by_the_path_that_matches() -> None:
    """A method that the most specific path does not list never falls through to a wider route."""
    tree = policy(route("/**"), route("/x/**", USER, methods=frozenset({"GET"})))
    assert status_and_rule(ask(tree, "/x/y", method="DELETE")) == (401, "method-not-listed")
    assert status_and_rule(ask(tree, "/x/y", principal("user"), method="DELETE")) == (
        403,
        "method-not-listed",
    )
    assert status_and_rule(ask(tree, "/x/y", EXPIRED, method="DELETE")) == (401, "method-not-listed")


def test_unlisted_method_asks_for_the_credentials_of_its_path() -> None:
    """The group's first route that requires a credential says which, else the host's fallback."""
    mine = Credentials(providers=("other",))
    tree = policy(
        route("/x", name="open", methods=frozenset({"GET"})),
        route("/x", USER, name="closed", methods=frozenset({"PUT"}), credentials=mine),
        route("/open", methods=frozenset({"GET"})),
    )
    assert ask(tree, "/x", principal(provider="other"), method="POST").status == 403
    assert ask(tree, "/x", principal(provider="main"), method="POST").status == 401
    assert ask(tree, "/open", principal(provider="main"), method="POST").status == 403


def test_path_without_a_route_is_closed() -> None:
    """401 without a credential that the fallback accepts, else 403."""
    one = policy(route("/x"))
    assert status_and_rule(ask(one, "/y")) == (401, "fallback")
    assert status_and_rule(ask(one, "/y", EXPIRED)) == (401, "fallback")
    assert status_and_rule(ask(one, "/y", principal())) == (403, "fallback")


def test_fallback_without_providers_is_closed_to_everyone() -> None:
    """Nothing is accepted, so nobody gets beyond 401."""
    nobody = policy(route("/x"), host_fallback=Credentials())
    assert status_and_rule(ask(nobody, "/y", principal())) == (401, "fallback")


def test_slash_at_the_end_does_not_open_an_exact_path() -> None:
    """Where an exact path protects, it holds with a slash too; a public one does not spread."""
    tree = policy(route("/**"), route("/admin", ADMIN), route("/open", name="open"))
    assert status_and_rule(ask(tree, "/admin/")) == (401, "/admin")
    assert status_and_rule(ask(tree, "/open/")) == (200, "/**")


def test_letter_case_does_not_open_a_protected_path() -> None:
    """A near-miss of a more specific protecting route is closed under a public one, to everyone."""
    tree = policy(route("/**"), route("/admin/**", ADMIN))
    assert status_and_rule(ask(tree, "/ADMIN/x")) == (403, "letter-case")
    assert status_and_rule(ask(tree, "/Admin/x", principal("admin"))) == (403, "letter-case")
    assert status_and_rule(ask(tree, "/Admin", EXPIRED)) == (403, "letter-case")


def test_letter_case_asks_for_the_credentials_of_the_route_it_fell_to() -> None:
    """Under a route that requires a credential the near-miss is 401 to those without."""
    tree = policy(route("/**", USER), route("/admin", ADMIN))
    assert status_and_rule(ask(tree, "/ADMIN")) == (401, "/**")
    assert status_and_rule(ask(tree, "/ADMIN/")) == (401, "/**")
    assert status_and_rule(ask(tree, "/ADMIN", principal("user"))) == (403, "letter-case")


def test_letter_case_is_looked_at_after_the_credential() -> None:
    """A route that looks at credentials refuses a bad one first, public or not."""
    tree = policy(route("/**", credentials=OPTIONAL), route("/admin", ADMIN))
    assert status_and_rule(ask(tree, "/ADMIN")) == (403, "letter-case")
    assert status_and_rule(ask(tree, "/ADMIN", EXPIRED)) == (401, "/**")


def test_letter_case_matters_only_for_paths_that_protect() -> None:
    """A public route in other letters is simply not matched, and a less specific one does not count."""
    tree = policy(route("/a/**", USER), route("/open"), route("/A/B/**"))
    assert status_and_rule(ask(tree, "/OPEN")) == (401, "fallback")
    assert status_and_rule(ask(tree, "/A/B/c")) == (200, "/A/B/**")


# --- Credentials --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "credential", "status", "reason"),
    [
        (REQUIRED, Anonymous(), 401, "no-credential"),
        (REQUIRED, EXPIRED, 401, "token-expired"),
        (REQUIRED, principal("user"), 200, "rule-met"),
        (REQUIRED, principal("user", provider="other"), 401, "credential-provider"),
        (
            Credentials(providers=("main",), kinds=frozenset({Kind.SESSION})),
            principal(),
            401,
            "credential-kind",
        ),
        (Credentials(providers=("main",), kinds=frozenset()), principal("user"), 401, "credential-kind"),
        (Credentials(), principal("user"), 401, "credential-kind"),
    ],
)
def test_credential_where_it_is_required(
    terms: Credentials, credential: Credential, status: int, reason: str
) -> None:
    """No, bad, foreign and good credentials on a route with a rule."""
    decision = ask(policy(route("/x", USER, credentials=terms)), "/x", credential)
    assert (decision.status, decision.reason) == (status, reason)


@pytest.mark.parametrize(
    ("terms", "credential", "status", "identity"),
    [
        (IGNORED, EXPIRED, 200, ()),
        (IGNORED, principal("user"), 200, ()),
        (OPTIONAL, Anonymous(), 200, ()),
        (OPTIONAL, EXPIRED, 401, ()),
        (OPTIONAL, principal("user"), 200, SUBJECT),
        (OPTIONAL, principal("user", provider="other"), 401, ()),
        (PERMISSIVE, Anonymous(), 200, ()),
        (PERMISSIVE, EXPIRED, 200, ()),
        (PERMISSIVE, principal("user", provider="other"), 200, ()),
        (PERMISSIVE, principal("user"), 200, SUBJECT),
    ],
)
def test_public_routes_by_mode(
    terms: Credentials, credential: Credential, status: int, identity: tuple[tuple[str, str], ...]
) -> None:
    """A public route looks at credentials only when its mode says so, and says who it was only when sure."""
    headers = () if terms is IGNORED else (IdentityHeader(name="X-Sub", value=ClaimValue(path=("sub",))),)
    decision = ask(policy(route("/x", credentials=terms, identity=headers)), "/x", credential)
    assert (decision.status, decision.identity) == (status, identity)


def test_kind_that_an_optional_route_does_not_accept() -> None:
    """A bearer that is not accepted is a bad credential; a cookie that is not looked for is not there."""
    sessions = Credentials(mode=Mode.OPTIONAL, providers=("main",), kinds=frozenset({Kind.SESSION}))
    bearers = Credentials(mode=Mode.OPTIONAL, providers=("main",), kinds=frozenset({Kind.BEARER}))
    tree = policy(route("/s", credentials=sessions), route("/b", credentials=bearers))
    assert ask(tree, "/s", principal()).status == 401
    assert ask(tree, "/b", principal(kind=Kind.SESSION)).status == 200


def test_two_authorization_headers_are_refused_where_bearers_are_looked_at() -> None:
    """Which of two would count? Neither: 400, or nobody on a permissive route."""
    tree = policy(route("/x", USER), route("/open"), route("/permissive", credentials=PERMISSIVE))
    twice = (("Authorization", "Bearer a"), ("authorization", "Bearer b"))
    assert status_and_rule(ask(tree, "/x", principal("user"), headers=twice)) == (400, "guard:credential")
    assert status_and_rule(ask(tree, "/none", headers=twice)) == (400, "guard:credential")
    assert ask(tree, "/permissive", principal("user"), headers=twice).status == 200
    assert ask(tree, "/open", headers=twice).status == 200


def test_route_fails_while_no_provider_has_keys() -> None:
    """Without any key nothing can be told: 503, except where credentials are ignored or nothing is accepted."""
    both = Credentials(providers=("main", "other"))
    tree = policy(
        route("/x", USER),
        route("/both", USER, credentials=both),
        route("/optional", credentials=OPTIONAL),
        route("/permissive", credentials=PERMISSIVE),
        route("/open"),
        route("/nobody", USER, credentials=Credentials()),
    )
    no_keys = frozenset({"main"})
    answers = {
        target: ask(tree, target, unavailable=no_keys).status
        for target in ("/x", "/both", "/optional", "/permissive", "/open", "/nobody", "/none")
    }
    assert answers == {
        "/x": 503,
        "/both": 401,
        "/optional": 503,
        "/permissive": 503,
        "/open": 200,
        "/nobody": 401,
        "/none": 503,
    }


# --- Access, and what goes upstream ---------------------------------------------------------------------------------


def test_denied_route_is_closed_to_everyone() -> None:
    """401 to those without a credential, 403 to the rest, whatever they have."""
    closed = policy(route("/x", Denied(because="not yet")))
    assert ask(closed, "/x").status == 401
    assert status_and_rule(ask(closed, "/x", principal("admin"))) == (403, "/x")


def test_every_leaf_of_a_rule_is_a_step() -> None:
    """Steps show all conditions with what was seen and where they are written, also those that decided nothing."""
    when = AllOf(
        (AnyOf((RealmRole("a"), RealmRole("b"))), Not(RequestHeader("x-mode", ("off",))), Authenticated())
    )
    decision = ask(policy(route("/x", Rule(when=when))), "/x", principal("b"))
    leaves = [(step.text, step.passed, step.seen) for step in decision.steps if step.where.line == 7][-5:-1]
    assert leaves == [
        ("realm role 'a'", False, "['b']"),
        ("realm role 'b'", True, "['b']"),
        ("header x-mode is one of 'off'", False, "missing"),
        ("any valid credential", True, ""),
    ]
    assert decision.status == 200


def test_identity_headers_follow_the_claims() -> None:
    """Each header that has a claim, in the route's order, and the token itself where that is asked for."""
    identity = (
        IdentityHeader(name="X-Auth-Roles", value=ClaimValue(path=("realm_access", "roles"))),
        IdentityHeader(name="X-Auth-Email", value=ClaimValue(path=("email",))),
        IdentityHeader(name="X-Auth-Token", value=RawToken()),
    )
    tree = policy(
        route("/x", USER, identity=identity), route("/p", credentials=PERMISSIVE, identity=identity)
    )
    assert ask(tree, "/x", principal("user", "b")).identity == (
        ("X-Auth-Roles", "user,b"),
        ("X-Auth-Token", "aaa.bbb.ccc"),
    )
    assert ask(tree, "/p", EXPIRED).identity == ()
    assert ask(tree, "/x", principal("other")).identity == ()


def test_body_limit_is_the_routes_or_the_policys() -> None:
    """A route's own limit, also zero, before that of the policy."""
    tree = policy(route("/x"), route("/zero", body_limit=0), limits=Limits(body_bytes=9, drain=timedelta(0)))
    assert ask(tree, "/x").body_limit == 9
    assert ask(tree, "/zero").body_limit == 0


def test_allowed_request_names_its_upstream() -> None:
    """Only what is allowed by a route has an upstream and a route."""
    decision = ask(policy(route("/x")), "/x")
    assert (decision.upstream, decision.route and decision.route.name) == ("app", "/x")
    assert ask(policy(route("/x")), "/y").upstream is None


def test_built_in_rules_are_told_apart_from_routes() -> None:
    """No built-in rule starts like a path, so a dialect that names routes by path cannot collide."""
    assert not any(rule.startswith("/") for rule in RULES)
