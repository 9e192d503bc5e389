"""CEL expressions as conditions: compared with an evaluator of CEL, which says what they mean."""

from __future__ import annotations

from typing import Any

import celpy
import pytest
from celpy.evaluation import CELEvalError
from hypothesis import given, settings
from hypothesis import strategies as st

from wardgate.cel import MOST, Names, Untranslatable, condition
from wardgate.decision.conditions import holds
from wardgate.decision.model import Request
from wardgate.policy import Kind
from wardgate.principal import Principal
from wardgate.problems import NOWHERE

ENVIRONMENT = celpy.Environment()


def ours(text: str, claims: dict[str, Any], request: Request, names: Any = Names.AGENTGATEWAY) -> bool:
    found = condition(text, names)
    caller = Principal(provider="p", kind=Kind.BEARER, claims=claims)
    return found if isinstance(found, bool) else holds(found, caller, request, NOWHERE, lambda _: None)


def theirs(text: str, claims: dict[str, Any], request: Request) -> bool:
    """An error counts as false."""
    said = {
        "jwt": claims,
        "request": {
            "method": request.method,
            "path": request.target.partition("?")[0],
            "headers": {name.lower(): value for name, value in request.headers},
        },
        "source": {"address": request.client},
    }
    program = ENVIRONMENT.program(ENVIRONMENT.compile(text))
    try:
        return bool(program.evaluate({key: celpy.json_to_cel(value) for key, value in said.items()}))
    except CELEvalError:
        return False


# Each claim has one type: what a comparison of two types is, versions of CEL see differently.
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "sub": st.sampled_from(["ann", "bob", "ann@a.test", ""]),
        "level": st.sampled_from([0, 1, 7]),
        "staff": st.booleans(),
        "groups": st.lists(st.sampled_from(["ann", "red", "blue"]), max_size=3),
        "deep": st.fixed_dictionaries({}, optional={"er": st.sampled_from(["ann", "bob"])}),
    },
)
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST"]),
    target=st.sampled_from(["/", "/a", "/a/b", "/b?x=/a", "/ab"]),
    headers=st.sampled_from([(), (("X-Team", "red"),), (("x-team", "reddish"), ("x-b", ""))]),
    client=st.sampled_from(["10.0.0.1", "192.0.2.7"]),
)
ATOMS = (
    *('jwt.sub == "ann"', 'jwt.sub != "ann"', '"ann" == jwt.sub', 'jwt["sub"] in ["ann", "bob"]'),
    *("jwt.level == 7", "jwt.level != 1", "jwt.level in [0, 1]", "jwt.staff", "jwt.staff == false"),
    *('jwt.groups.exists(g, g == "red")', 'jwt.groups.exists(g, g == "x" || g.startsWith("bl"))'),
    *('jwt.groups.exists(g, g in ["a", "blue"])', 'jwt.staff ? jwt.level == 7 : request.method == "GET"'),
    *('"red" in jwt.groups', 'jwt.deep.er == "ann"', "has(jwt.sub)", "has(jwt.deep.er)", "has(jwt.staff)"),
    *('jwt.sub.startsWith("an")', 'jwt.sub.endsWith("@a.test")', 'jwt.sub.contains("n")'),
    *('jwt.sub.matches("^a.n")', r'jwt.sub.matches(r"@a\.test$")', 'request.method == "GET"'),
    *('request.path == "/a"', 'request.path.startsWith("/a")', 'request.path.endsWith("b")'),
    *('request.path.contains("/a")', 'request.headers["x-team"] == "red"', '"x-team" in request.headers'),
    *('request.headers["x-team"].startsWith("red")', 'request.headers["x-b"] != "c"', "true", "false"),
    *('request.path.matches("^/a")', 'request.path.matches("b$")', 'request.path.matches("^/[ac]$")'),
    *('source.address == "10.0.0.1"', 'source.address in ["10.0.0.1"]', '1 == 1 && "a" != "b"'),
)
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        inner.map("!({})".format),
        st.tuples(inner, inner).map(lambda both: f"({both[0]}) && ({both[1]})"),
        st.tuples(inner, inner).map(lambda both: f"({both[0]}) || ({both[1]})"),
        st.tuples(inner, inner).map(lambda both: f"!({both[0]} && {both[1]})"),
    ),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(text=EXPRESSIONS, claims=CLAIMS, request=REQUESTS)
def test_an_expression_means_what_it_means_in_cel(
    text: str, claims: dict[str, Any], request: Request
) -> None:
    """Errors too: a claim that is not there makes an expression neither true nor false."""
    if "groups" in claims and not claims["groups"]:
        del claims["groups"]  # an empty list says nothing here: `in` is false for both, its denial is not
    assert ours(text, claims, request) == theirs(text, claims, request)


@pytest.mark.parametrize("text", ATOMS)
def test_each_part_is_true_and_false(text: str) -> None:
    """What a test of random expressions cannot promise: every atom makes a difference, and its denial too."""
    if text in ("true", "false") or text.startswith("1 =="):
        return
    people: list[dict[str, Any]] = [
        {},
        {"sub": "ann", "level": 7, "staff": True, "groups": ["red"], "deep": {"er": "ann"}},
        {"sub": "x@a.test", "level": 0, "staff": False, "groups": ["blue"], "deep": {"er": "bob"}},
        {"sub": "zed", "level": 1},
    ]
    requests = [
        Request(method="GET", target="/a?b", headers=(("x-team", "red"), ("x-b", "")), client="10.0.0.1"),
        Request(method="POST", target="/b", headers=(("X-Team", "blue"), ("x-b", "c")), client="10.0.0.2"),
        Request(method="POST", target="/c", client="192.0.2.1"),
    ]
    seen = set()
    for claims in people:
        for request in requests:
            answer = ours(text, claims, request)
            assert answer == theirs(text, claims, request), (claims, request)
            assert ours(f"!({text})", claims, request) == theirs(f"!({text})", claims, request)
            seen.add(answer)
    assert seen == {True, False}


@pytest.mark.parametrize("text", ["jwt.sub in []", "!(jwt.sub in [])", 'request.headers["a"] in []'])
def test_nothing_is_in_an_empty_list(text: str) -> None:
    for claims in ({}, {"sub": "ann"}):
        request = Request(method="GET", target="/")
        assert ours(text, claims, request) == theirs(text, claims, request)


def test_networks() -> None:
    """agentgateway's own function, which no evaluator at hand has."""
    text = 'cidr("10.1.2.3/8").containsIP(source.address)'
    for client, inside in {"10.9.9.9": True, "11.0.0.1": False, "2001:db8::1": False, "": False}.items():
        request = Request(method="GET", target="/", client=client)
        assert ours(text, {}, request) is inside
        assert ours(f"!{text}", {}, request) is not inside


def test_the_path_of_envoy_is_url_path() -> None:
    request = Request(method="GET", target="/a?b=/c")
    assert ours('request.url_path == "/a"', {}, request, Names.ENVOY)
    for text in ('request.path == "/a"', "has(jwt.sub)", 'source.address == "10.0.0.1"'):
        with pytest.raises(Untranslatable):
            condition(text, Names.ENVOY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jwt.sub ==",
        "jwt",
        "jwt.sub + jwt.azp == 'a'",
        "jwt.level > 3",
        "-jwt.level == 3",
        "jwt.sub == jwt.azp",
        "jwt.sub == null",
        "jwt.level == 1.5",
        "jwt.sub == b'a'",
        "jwt.groups.exists(g, g != 'a')",
        "jwt.groups.exists(g, !(g == 'a'))",
        "jwt.groups.exists(g, g == 'a' && g == 'b')",
        "jwt.groups.exists(g, g == 'a' || request.method == 'GET')",
        "jwt.groups.exists(g, g)",
        "jwt.groups.exists(g.h, g == 'a')",
        "request.method.exists(g, g == 'a')",
        "jwt.groups.all(g, g == 'a')",
        "g == 'a' || jwt.groups.exists(g, g == 'a')",
        "size(jwt.groups) == 1",
        "jwt.level ? 1 : 2",
        "request.body == 'a'",
        "request.path.matches('a[?]b')",
        "request.path.matches('^a)(b$')",
        "request.path.matches('(a$)b')",
        "request.headers",
        "request['path'] == 'a'",
        "jwt.groups[0] == 'a'",
        "jwt.sub.matches('(?=a)')",
        "jwt.sub.matches('(')",
        "jwt.sub.matches('a)|(b')",
        "request.headers['a'].matches('a)|(b')",
        "request.headers['a'].matches('(')",
        "cidr('10.0.0.0/99').containsIP(source.address)",
        "source.address == 'localhost'",
        "{'a': 1}.a == 1",
        "backend.name == 'a'",
        "'a' in 'abc'",
        "'a'",
        "3",
        r"'\N{DASH}' == jwt.sub",
        "(" * 900 + "true" + ")" * 900,
        "true || " * (MOST // 8) + "true" + " " * MOST,
    ],
)
def test_what_cannot_be_translated_is_refused(text: str) -> None:
    """Never taken for something that it nearly is."""
    with pytest.raises(Untranslatable) as caught:
        condition(text, Names.AGENTGATEWAY)
    assert str(caught.value)
