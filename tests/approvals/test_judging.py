"""What rules say: each kind, their order, and that an expression that fails, or never ends, denies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.approvals.people import known, of_client
from wardgate.approvals.judging import Judgement, NotJudged, evaluated, judge, within
from wardgate.approvals.records import Wish
from wardgate.safety import Action, Per, Rate, SafetyPolicy, SafetyRule, TimeWindow

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC).timestamp()  # a Thursday


def rule(action: Action = Action.DENY, **fields: Any) -> SafetyRule:
    return SafetyRule(**{"name": "r", "action": action, **fields})


def policy(*rules: SafetyRule, **fields: Any) -> SafetyPolicy:
    return SafetyPolicy(**{"name": "p", "rules": rules, **fields})


def wish(**changed: Any) -> Wish:
    usual = {"action": "scale-down", "target": "k8s://prod/default/deployment/api", "reason": "why"}
    return Wish(**{**usual, **changed})


def judged(*policies: SafetyPolicy, of: Wish | None = None, counts: Any = None) -> Judgement:
    return judge(policies, of or wish(), known(of_client("agent-1")), counts or {}, NOON)


def test_without_policies_all_is_allowed() -> None:
    assert judged() == Judgement(action=Action.ALLOW)


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ('request.spec.action == "scale-down"', True),
        ('request.spec.target.uri.startsWith("k8s://prod")', True),
        (
            'has(request.spec.target) && has(request.spec.target.uri) && request.spec.target.uri.startsWith("k8s://prod")',
            True,
        ),
        ('request.spec.agentIdentity == "agent-1"', True),
        ("has(request.spec.reasoningTrace) && request.spec.reasoningTrace.confidenceScore < 0.7", False),
        ("has(request.spec.parameters) && double(request.spec.parameters.scale) > 7.0", True),
        ('target.scheme == "k8s" && target.authority == "prod" && target.segments[1] == "deployment"', True),
        ('context.agent.identity == "agent-1" && context.agent.groups == []', True),
        ("context.now.getHours() == 12", True),
        ('["a", "b"].exists(x, x == "b")', True),
        ('request.spec.action.matches("^scale-(up|down)$")', True),
    ],
)
def test_expressions(expression: str, fits: bool) -> None:
    found = judged(policy(rule(expression=expression)), of=wish(content={"parameters": {"scale": 8}}))
    assert found.action is (Action.DENY if fits else Action.ALLOW)
    assert found.denial == ("POLICY_VIOLATION" if fits else "")


@pytest.mark.parametrize(
    "expression",
    [
        "target.hasActiveEndpoints",  # nobody looks at the cluster here
        "target.uri",
        "requst.spec.action == 'x'",
        "1 / 0 == 1",
        "request.spec.parameters.scale > 7",
        "size([1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, [1,2,3,4,5,6,7,8,9,10].map(c, [1,2,3,4,5,6,7,8,9,10].map(d, a + b + c + d))))) > 0",
    ],
)
def test_what_cannot_be_judged_denies(expression: str) -> None:
    closed = judged(policy(rule(Action.LOG, expression=expression)))
    assert (closed.action, closed.denial) == (Action.DENY, "EVALUATION_FAILURE")
    assert closed.results[0].result == "EvaluationFailed (Deny)"
    opened = judged(policy(rule(Action.DENY, expression=expression), fails_open=True))
    assert opened.action is Action.LOG
    assert opened.results[0].result == "EvaluationFailed (Log)"


def test_an_error_on_the_side_that_does_not_matter_is_none() -> None:
    assert judged(policy(rule(expression='request.spec.action == "x" && target.live'))).action is Action.ALLOW


@pytest.mark.parametrize("text", ["", "a ==", "a" * 5000])
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(NotJudged):
        evaluated(text, {})


def test_the_strictest_holds_and_all_are_told() -> None:
    found = judged(
        policy(
            rule(Action.ALLOW, name="a"), rule(Action.REQUIRE_APPROVAL, name="b", message="ask"), name="one"
        ),
        policy(rule(Action.DENY, name="c", message="no"), rule(Action.LOG, name="d"), name="two"),
    )
    assert (found.action, found.message) == (Action.DENY, "no")
    assert [(one.policy, one.rule, one.result) for one in found.results] == [
        ("one", "a", "Allow"),
        ("one", "b", "RequireApproval"),
        ("two", "c", "Deny"),
        ("two", "d", "Log"),
    ]


def test_the_order_is_that_of_names_not_of_files() -> None:
    one = policy(rule(name="r1", message="first"), name="a")
    other = policy(rule(name="r2", message="second"), name="b")
    assert judged(one, other) == judged(other, one)
    assert judged(other, one).message == "first"


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"agents": ("agent-1",)}, True),
        ({"agents": ("agent-*",)}, True),
        ({"agents": ("agent-2", "other-*")}, False),
        ({"actions": ("scale-*",)}, True),
        ({"actions": ("*-up",)}, False),
        ({"targets": ("k8s://prod/**",)}, True),
        ({"targets": ("k8s://prod/*",)}, False),
        ({"targets": ("k8s://prod/*/deployment/*",)}, True),
        ({"targets": ("k8s://pro*",)}, False),
        ({"agents": ("agent-1",), "actions": ("delete",)}, False),
    ],
)
def test_patterns(fields: dict[str, tuple[str, ...]], fits: bool) -> None:
    assert (judged(policy(rule(**fields))).action is Action.DENY) == fits


def test_what_is_not_listed_is_denied() -> None:
    listed = policy(rule(Action.ALLOW, actions=("scale-down",)), listed_only=True)
    assert judged(listed).action is Action.ALLOW
    other = judged(listed, of=wish(action="delete"))
    assert (other.action, other.denial) == (Action.DENY, "ACTION_NOT_PERMITTED")


@pytest.mark.parametrize(("count", "action"), [(4, Action.ALLOW), (5, Action.DENY), (6, Action.DENY)])
def test_rates(count: int, action: Action) -> None:
    limited = rule(rate=Rate(limit=5, window=timedelta(minutes=1), per=Per.ACTION))
    found = judged(policy(limited), counts={(Per.ACTION, 60.0): count})
    assert found.action is action
    assert found.denial == ("RATE_LIMITED" if action is Action.DENY else "")


@pytest.mark.parametrize(
    ("window", "inside"),
    [
        (TimeWindow(), True),
        (TimeWindow(days=(3,)), True),
        (TimeWindow(days=(4,)), False),
        (TimeWindow(begins=12 * 60, ends=13 * 60), True),
        (TimeWindow(begins=11 * 60, ends=12 * 60), False),
        (TimeWindow(begins=22 * 60, ends=13 * 60, days=(2,)), True),  # began on Wednesday
        (TimeWindow(begins=22 * 60, ends=13 * 60, days=(3,)), False),
        (TimeWindow(begins=11 * 60, ends=6 * 60, days=(3,)), True),
        (TimeWindow(begins=13 * 60, ends=14 * 60, zone="Europe/Berlin"), True),
    ],
)
def test_windows(window: TimeWindow, inside: bool) -> None:
    assert within(window, NOON) is inside
    assert (judged(policy(rule(window=window))).action is Action.DENY) == inside


def test_who_must_agree() -> None:
    ask = rule(Action.REQUIRE_APPROVAL)
    one = policy(ask, name="a", approvals=2, reviewer_groups=("sre", "leads"))
    other = policy(ask, name="b", reviewer_groups=("leads", "x"))
    silent = policy(
        rule(Action.REQUIRE_APPROVAL, actions=("no",)), name="c", approvals=9, reviewer_groups=("z",)
    )
    found = judged(one, other, silent)
    assert (found.needed, found.reviewer_groups) == (2, ("leads",))
    nobody = judged(one, policy(ask, name="b", reviewer_groups=("x",)))
    assert nobody.reviewer_groups == ("",)  # a group that nobody is in
