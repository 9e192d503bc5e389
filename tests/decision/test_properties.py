"""What holds for every policy and every request, however odd."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.decision.policies import (
    IGNORED,
    OPTIONAL,
    PERMISSIVE,
    REQUIRED,
    ask,
    path,
    policy,
    principal,
    route,
)
from wardgate.decision import RULES, Outcome, model
from wardgate.decision.routes import groups
from wardgate.policy import (
    ANY_METHOD,
    Access,
    Authenticated,
    ClaimIs,
    Cors,
    Denied,
    Host,
    Not,
    Policy,
    Public,
    RealmRole,
    Route,
    Rule,
    Scope,
)
from wardgate.principal import Anonymous, Credential, Principal, Rejected, claim_text
from wardgate.problems import ConfigError

PATHS = ("/**", "/a/**", "/a", "/A/**", "/a/b", "/a/B", "/a/*", "/a*", "/b/")
METHODS = (ANY_METHOD, frozenset({"GET"}), frozenset({"PUT", "POST"}), frozenset({"PURGE"}))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
CONDITIONS = st.sampled_from(
    [Authenticated(), RealmRole("user"), Not(RealmRole("user")), Scope("read"), ClaimIs(("n",), 1)]
)
CLOSED: st.SearchStrategy[Access] = st.builds(lambda when: Rule(when=when), CONDITIONS) | st.just(
    Denied(because="no")
)


@st.composite
def routes(draw: st.DrawFn, name: str) -> Route:
    where, methods = draw(st.sampled_from(PATHS)), draw(st.sampled_from(METHODS))
    terms = draw(st.sampled_from([REQUIRED, IGNORED, OPTIONAL, PERMISSIVE]))
    access: Access = draw(CLOSED) if terms is REQUIRED else Public()
    return route(where, access, name=name, methods=methods, credentials=terms)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    made = [draw(routes(f"r{index}")) for index in range(draw(st.integers(0, 5)))]
    try:
        return policy(*made, host_cors=draw(st.none() | st.just(Cors(origins=("*",)))))
    except ConfigError:
        assume(False)
        raise


CREDENTIALS: st.SearchStrategy[Credential] = st.one_of(
    st.just(Anonymous()),
    st.just(Rejected("token-expired")),
    st.sampled_from([principal("user"), principal("user", provider="other"), principal(scope="read", n=1)]),
    st.builds(
        lambda claims: replace(principal(), claims=claims),
        st.dictionaries(st.sampled_from(["realm_access", "scope", "n", "groups"]), JSON),
    ),
)
TARGETS = st.sampled_from(
    ["/", "/a", "/A", "/a/", "/a/b", "/a/B", "/A/b", "/ab", "/b/", "/b", "/oauth/health"]
) | st.text(alphabet="/aAbB.%2e;\\?#é\r\n", max_size=12)
REQUEST_METHODS = st.sampled_from(["GET", "PUT", "DELETE", "OPTIONS", "PURGE", "TRACE"]) | st.text(max_size=4)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Authorization", "Origin", "Access-Control-Request-Method", "X"]),
        st.text(max_size=3),
    ),
    max_size=4,
).map(tuple)


@given(
    policies(),
    TARGETS,
    REQUEST_METHODS,
    st.sampled_from(["app.example", "x:1"]) | st.text(max_size=8),
    HEADERS,
    CREDENTIALS,
)
def test_every_request_gets_a_complete_answer(
    made: Policy,
    target: str,
    method: str,
    host: str,
    headers: tuple[tuple[str, str], ...],
    credential: Credential,
) -> None:
    """Nothing raises; the outcome fits the status, and the rule is a route's or a built-in one."""
    decision = ask(made, target, credential, method=method, host=host, headers=headers)
    statuses = {
        Outcome.ALLOW: {200},
        Outcome.REFUSE: {400, 405},
        Outcome.REJECT: {401},
        Outcome.DENY: {403},
        Outcome.NOT_FOUND: {404},
    }
    assert decision.status in statuses[decision.outcome]
    assert decision.rule in RULES | {each.name for _, _, each in made.routes()}
    assert decision.steps
    assert (decision.upstream is not None) == (decision.route is not None)
    assert decision.route is None or decision.outcome is Outcome.ALLOW


@given(policies(), TARGETS, REQUEST_METHODS)
def test_nobody_passes_a_required_route_without_a_credential(made: Policy, target: str, method: str) -> None:
    """What an anonymous caller reaches is a route that does not require a credential."""
    decision = ask(made, target, method=method)
    if decision.route is not None:
        assert decision.route.credentials != REQUIRED
        assert decision.identity == ()


@given(policies(), routes("added"), TARGETS, st.sampled_from(["GET", "PUT", "PURGE"]), CREDENTIALS)
def test_added_route_opens_nothing_but_itself(
    made: Policy, added: Route, target: str, method: str, credential: Credential
) -> None:
    """A route that is added lets in by itself only: what another rule closed, no other rule opens."""
    before = ask(made, target, credential, method=method)
    host = made.listeners[0].hosts[0]
    try:
        more = with_routes(made, (*host.routes, added))
    except ConfigError:
        assume(False)
    after = ask(more, target, credential, method=method)
    if before.outcome is not Outcome.ALLOW and after.outcome is Outcome.ALLOW:
        # our own endpoints are open to every method that a route of the host knows
        assert after.rule in ("added", model.HEALTH, model.ENDPOINT)


@given(policies(), TARGETS, st.sampled_from(["GET", "PUT", "PURGE"]), CREDENTIALS, st.data())
def test_order_of_routes_does_not_matter(
    made: Policy, target: str, method: str, credential: Credential, data: st.DataObject
) -> None:
    """Unless any-method stands beside others on one path, no two routes speak for one request."""
    host = made.listeners[0].hosts[0]
    assume(
        all(
            len(group.routes) == 1 or all(each.methods != ANY_METHOD for each in group.routes)
            for group in groups(host)
        )
    )
    shuffled = with_routes(made, tuple(data.draw(st.permutations(host.routes))))
    one, other = (ask(each, target, credential, method=method) for each in (made, shuffled))
    assert (one.status, one.rule if one.rule in RULES else "") == (
        other.status,
        other.rule if other.rule in RULES else "",
    )


@given(policies(), st.sampled_from(["/a", "/a/b", "/a/B/", "/A/b", "/b/"]), st.sampled_from(["GET", "PUT"]))
def test_spelling_never_opens_what_a_more_specific_route_protects(
    made: Policy, target: str, method: str
) -> None:
    """A public route serves no path that, letter case and last slash aside, a more specific route protects."""
    decision = ask(made, target, method=method)
    if decision.route is None or not isinstance(decision.route.access, Public):
        return
    found = {group.path: group for group in groups(made.listeners[0].hosts[0])}
    chosen = found[decision.route.path]
    for group in found.values():
        if group.protects and group.specificity > chosen.specificity:
            assert not group.matches(target)
            assert not group.matches_but_for_case(target)


@given(JSON, st.sampled_from([",", "|", ", ", ":"]))
def test_claim_text_never_breaks_a_header(value: object, separator: str) -> None:
    """Whatever a token says, no header line ends early, and a list keeps its number of items."""
    text = claim_text(value, separator)
    if text is None:
        return
    assert not set(text) & set("\r\n\0\x7f")
    if isinstance(value, list):
        said = [item for item in value if isinstance(item, str | int | float)]
        assert len(text.split(separator)) == len(said)


def with_routes(made: Policy, routes: tuple[Route, ...]) -> Policy:
    listener = made.listeners[0]
    host: Host = replace(listener.hosts[0], routes=routes)
    return replace(made, listeners=(replace(listener, hosts=(host,)),))


def test_paths_are_read_as_they_are_written() -> None:
    """The short form of these tests and the model's own text agree."""
    assert [str(path(text)) for text in PATHS] == list(PATHS)


def test_strategies_make_principals() -> None:
    """A guard for the strategies above: claims replaced, everything else kept."""
    made = replace(principal(), claims={"n": 1})
    assert isinstance(made, Principal)
    assert made.claim(("n",)) == 1
