"""Conditions on claims and headers: types, lists, missing values."""

from __future__ import annotations

import pytest

from wardgate.decision import Request
from wardgate.decision.conditions import claim_name, holds
from wardgate.policy import (
    AllOf,
    AnyOf,
    Authenticated,
    ClaimIs,
    ClaimMatches,
    ClientRole,
    Condition,
    Group,
    Kind,
    Not,
    RealmRole,
    RequestHeader,
    Scope,
)
from wardgate.principal import Anonymous, Principal
from wardgate.problems import NOWHERE

GET = Request(method="GET", target="/")


def true_for(condition: Condition, claims: dict[str, object], request: Request = GET) -> bool:
    caller = Principal(provider="main", kind=Kind.BEARER, claims=claims)
    return holds(condition, caller, request, NOWHERE, lambda step: None)


@pytest.mark.parametrize(
    ("condition", "claims"),
    [
        (RealmRole("a"), {"realm_access": {"roles": ["b", "a"]}}),
        (RealmRole("a"), {"realm_access": {"roles": "a"}}),
        (ClientRole("my.app", "a"), {"resource_access": {"my.app": {"roles": ["a"]}}}),
        (Group("/team"), {"groups": ["/team"]}),
        (Scope("read"), {"scope": "openid read email"}),
        (Scope("read"), {"scope": ["openid", "read"]}),
        (Scope("a.b"), {"scope": ["x", "a.b"]}),
        (ClaimIs(("a", "b"), "x"), {"a": {"b": "x"}}),
        (ClaimIs(("a",), 1), {"a": 1}),
        (ClaimIs(("a",), 1), {"a": 1.0}),
        (ClaimIs(("a",), 2**53), {"a": 2**53 + 1}),
        (ClaimIs(("a",), True), {"a": [False, True]}),
        (ClaimMatches(("a",), "[a-z]+@x\\.example"), {"a": "ann@x.example"}),
        (ClaimMatches(("a",), "b+"), {"a": ["a", "bb"]}),
    ],
)
def test_claim_is_or_holds_the_value(condition: Condition, claims: dict[str, object]) -> None:
    """A claim that is the value, or a list that holds it, with numbers as doubles."""
    assert true_for(condition, claims)
    assert not true_for(Not(condition), claims)


@pytest.mark.parametrize(
    ("condition", "claims"),
    [
        (RealmRole("a"), {}),
        (RealmRole("a"), {"realm_access": ["roles"]}),
        (RealmRole("a"), {"realm_access": {"roles": ["A", "aa", ["a"], {"a": "a"}]}}),
        (RealmRole("a"), {"realm_access": {"roles": {"a": True}}}),
        (ClientRole("my.app", "a"), {"resource_access": {"my": {"app": {"roles": ["a"]}}}}),
        (Group("team"), {"groups": ["/team"]}),
        (Scope("read"), {"scope": "reader unread"}),
        (Scope("a.b"), {"scope": "axb"}),
        (Scope("read"), {"scope": ["read write"]}),
        (Scope("read"), {"scope": {"read": True}}),
        (ClaimIs(("a",), 1), {"a": "1"}),
        (ClaimIs(("a",), 1), {"a": True}),
        (ClaimIs(("a",), True), {"a": 1}),
        (ClaimIs(("a",), "true"), {"a": True}),
        (ClaimIs(("a",), 0), {"a": None}),
        (ClaimIs((), "x"), {"": "x"}),
        (ClaimMatches(("a",), "b"), {"a": "abc"}),
        (ClaimMatches(("a",), "\\d"), {"a": "٣"}),
        (ClaimMatches(("a",), "1"), {"a": 1}),
    ],
)
def test_claim_that_differs_in_type_or_is_missing_is_false(
    condition: Condition, claims: dict[str, object]
) -> None:
    """No value is converted, nothing is searched deeper, and the negation of what is missing is true."""
    assert not true_for(condition, claims)
    assert true_for(Not(condition), claims)


def test_all_of_and_any_of() -> None:
    """All of a list, or one of a list."""
    yes, no = Authenticated(), RealmRole("none")
    assert true_for(AllOf((yes, Not(no))), {})
    assert not true_for(AllOf((yes, no)), {})
    assert true_for(AnyOf((no, yes)), {})
    assert not true_for(AnyOf((no, no)), {})


def test_nobody_has_claims() -> None:
    """For an anonymous caller every claim is missing and Authenticated is false."""
    for condition in (Authenticated(), RealmRole("a"), ClaimIs(("a",), 1)):
        assert not holds(condition, Anonymous(), GET, NOWHERE, lambda step: None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("X-Mode", "ON"),), True),
        ((("x-mode", "on"),), True),
        ((("x-mode", "once"),), False),
        ((("x-mode", "on"), ("x-mode", "on")), False),
        ((), False),
    ],
)
def test_request_header_is_compared_whole(headers: tuple[tuple[str, str], ...], expected: bool) -> None:
    """Letter case aside, and several lines are one value joined by commas."""
    request = Request(method="GET", target="/", headers=headers)
    assert true_for(RequestHeader("X-Mode", ("on",)), {}, request) is expected


def test_names_of_claims_are_unambiguous() -> None:
    """A key with a dot is quoted."""
    assert claim_name(("resource_access", "my.app", "roles")) == "resource_access.'my.app'.roles"
