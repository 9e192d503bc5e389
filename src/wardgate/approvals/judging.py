"""
What safety policies say of a request: CEL with a bound, windows of time, rates.

CEL sees three variables. `request.spec` is what was asked for, in the words of AgentRequest: `agentIdentity`, `action`,
`target.uri`, `reason`, and all that the agent said beside (`parameters`, `reasoningTrace`, …). `target` is its URI in parts
(`uri`, `scheme`, `authority`, `path`, `segments`). `context` is what the gateway knows: `now` (a timestamp) and `agent`
(`identity`, `subject`, `issuer`, `groups`). What is not there is an error, and an error denies (or is noted: `FailOpen`).

Each expression has a bound of steps: CEL always ends, but a few nested macros over a list can take minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from wardgate.approvals.callers import Caller
from wardgate.approvals.records import PolicyResult, Wish
from wardgate.cel import Untranslatable, parsed
from wardgate.patterns import escape, matches
from wardgate.safety import STRICTNESS, Action, Per, Rate, SafetyPolicy, SafetyRule, TimeWindow

STEPS: Final = 20_000
"""Nodes of an expression that are looked at: some milliseconds each thousand."""

FAILED: Final = "EvaluationFailed"


class NotJudged(Exception):
    """A rule that could not be judged; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`denial` (a code of AgentRequest) and `message` are those of a denial, or of what has to be approved. `results`: rules that fit, or failed."""

    action: Action
    denial: str = ""
    message: str = ""
    results: tuple[PolicyResult, ...] = ()
    needed: int = 1
    reviewer_groups: tuple[str, ...] = ()


Counts = Mapping[tuple[Per, float], int]
"""How many requests like this one there were, by what they have in common and the seconds that were looked back."""


def rates(policies: Sequence[SafetyPolicy]) -> list[Rate]:
    """The rates that have to be counted before `judge`."""
    return [rule.rate for policy in policies for rule in policy.rules if rule.rate is not None]


def judge(
    policies: Sequence[SafetyPolicy], wish: Wish, caller: Caller, counts: Counts, now: float
) -> Judgement:
    """The strictest of what the rules say; without any that fits, Allow. Never raises."""
    asked = _Asked(wish, caller, counts, now)
    results: list[PolicyResult] = []
    strictest, denial, message = Action.ALLOW, "", ""
    for policy in sorted(policies, key=lambda one: one.name):
        for rule, action, result, why in _said(policy, asked):
            results.append(result)
            if STRICTNESS[action] > STRICTNESS[strictest]:
                strictest = action
                denial = (why or "POLICY_VIOLATION") if action is Action.DENY else ""
                message = result.message or f"{_WORDS[action]} by policy: {policy.name} rule: {rule}"
    if strictest is Action.REQUIRE_APPROVAL:
        found = [
            one for one in policies if any(r.policy == one.name and r.result == strictest for r in results)
        ]
        groups = [set(one.reviewer_groups) for one in found if one.reviewer_groups]
        return Judgement(
            action=strictest,
            message=message,
            results=tuple(results),
            needed=max(one.approvals for one in found),
            # who decides must be fit for each policy that asks for a decision
            reviewer_groups=tuple(sorted(set.intersection(*groups))) or NOBODY if groups else (),
        )
    return Judgement(action=strictest, denial=denial, message=message, results=tuple(results))


def rule_by_rule(
    policies: Sequence[SafetyPolicy], wish: Wish, caller: Caller, counts: Counts, now: float
) -> Iterator[tuple[SafetyPolicy, SafetyRule, bool | str]]:
    """Each rule in the order in which they are asked: whether it fits, or why that cannot be told."""
    asked = _Asked(wish, caller, counts, now)
    for policy in sorted(policies, key=lambda one: one.name):
        for rule in policy.rules:
            try:
                yield policy, rule, asked.fits(rule)
            except NotJudged as error:
                yield policy, rule, str(error)


NOBODY: Final = ("",)
"""Groups of reviewers that nobody is in: two policies name groups that have none in common."""

_WORDS: Final = {
    Action.DENY: "Denied",
    Action.REQUIRE_APPROVAL: "Approval required",
    Action.LOG: "Noted",
    Action.ALLOW: "Allowed",
}


def _said(policy: SafetyPolicy, asked: _Asked) -> Iterator[tuple[str, Action, PolicyResult, str]]:
    """Of each rule that fits, or fails: its name, what follows, what is written down, the code of a denial."""
    listed = False
    for rule in policy.rules:
        try:
            fits = asked.fits(rule)
        except NotJudged as error:
            action = Action.LOG if policy.fails_open else Action.DENY
            result = f"{FAILED} ({action})"
            words = f"rule {rule.name} could not be judged: {error}"
            told = PolicyResult(policy=policy.name, rule=rule.name, result=result, message=words)
            yield rule.name, action, told, "EVALUATION_FAILURE"
            continue
        if fits:
            listed = True
            told = PolicyResult(
                policy=policy.name, rule=rule.name, result=rule.action.value, message=rule.message or ""
            )
            yield rule.name, rule.action, told, "RATE_LIMITED" if rule.rate is not None else ""
    if policy.listed_only and not listed:
        words = f"no rule of policy {policy.name} lets this agent request this action on this target"
        told = PolicyResult(policy=policy.name, rule="", result=Action.DENY.value, message=words)
        yield "", Action.DENY, told, "ACTION_NOT_PERMITTED"


class _Asked:
    """One request, as rules see it."""

    def __init__(self, wish: Wish, caller: Caller, counts: Counts, now: float) -> None:
        self._wish, self._caller, self._counts, self._now = wish, caller, counts, now
        self._activation: Any = None

    def fits(self, rule: SafetyRule) -> bool:
        """All that the rule asks for, the cheapest first. Raises NotJudged."""
        return (
            _one_of(rule.agents, self._caller.identity)
            and _one_of(rule.actions, self._wish.action)
            and _one_of(rule.targets, self._wish.target, segments=True)
            and (rule.window is None or within(rule.window, self._now))
            and (rule.rate is None or self._exceeded(rule.rate))
            and (rule.expression is None or self._true(rule.expression))
        )

    def _exceeded(self, rate: Rate) -> bool:
        return self._counts[rate.per, rate.window.total_seconds()] >= rate.limit

    def _true(self, expression: str) -> bool:
        if self._activation is None:
            self._activation = _cel().json_to_cel(self._variables())
        return evaluated(expression, self._activation)

    def _variables(self) -> dict[str, Any]:
        parts = urlsplit(self._wish.target)
        spec = {
            **self._wish.content,
            "agentIdentity": self._caller.identity,
            "action": self._wish.action,
            "target": {"uri": self._wish.target},
            "reason": self._wish.reason,
        }
        target = {
            "uri": self._wish.target,
            "scheme": parts.scheme,
            "authority": parts.netloc,
            "path": parts.path,
            "segments": [part for part in parts.path.split("/") if part],
        }
        agent = {
            "identity": self._caller.identity,
            "subject": self._caller.subject,
            "issuer": self._caller.issuer,
            "groups": sorted(self._caller.groups),
        }
        now = datetime.fromtimestamp(int(self._now), UTC)
        return {"request": {"spec": spec}, "target": target, "context": {"now": now, "agent": agent}}


# --- Patterns, time


def _one_of(patterns: tuple[str, ...], text: str, segments: bool = False) -> bool:
    return not patterns or any(matches(_as_regex(pattern, segments), text) for pattern in patterns)


@lru_cache(10_000)
def _as_regex(pattern: str, segments: bool) -> str:
    """`*` is anything; in a target it ends at a slash, and `**` does not."""
    deep, one = "(?s:.*)", "[^/]*" if segments else "(?s:.*)"
    return deep.join(one.join(escape(part) for part in whole.split("*")) for whole in pattern.split("**"))


def within(window: TimeWindow, now: float) -> bool:
    local = datetime.fromtimestamp(now, ZoneInfo(window.zone))
    minute = local.hour * 60 + local.minute
    if window.begins < window.ends:
        return local.weekday() in window.days and window.begins <= minute < window.ends
    if minute >= window.begins:
        return local.weekday() in window.days
    return minute < window.ends and (local.weekday() - 1) % 7 in window.days


# --- CEL


def evaluated(expression: str, activation: Any) -> bool:
    """Raises NotJudged: it cannot be read, ends in an error, is not true or false, or takes too many steps."""
    run, cel = _program(expression), _cel()
    try:
        found = run({name: activation[name] for name in VARIABLES})
    except cel.CELEvalError as error:
        raise NotJudged(_first_line(error)) from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise NotJudged(f"{type(error).__name__}: {_first_line(error)}") from error
    if not isinstance(found, cel.celtypes.BoolType | bool):
        raise NotJudged("it is neither true nor false")
    return bool(found)


VARIABLES: Final = ("request", "target", "context")


def _first_line(error: Exception) -> str:
    said = str(error.args[0]) if error.args else type(error).__name__
    return said.splitlines()[0][:200] if said else type(error).__name__


def _cel() -> Any:
    import celpy  # a quarter of a second, for those who write CEL

    return celpy


@lru_cache(1000)
def _program(expression: str) -> Callable[[Mapping[str, Any]], Any]:
    try:
        tree = parsed(expression)
    except Untranslatable as error:
        raise NotJudged(f"it {error}") from error
    evaluator, runner = _bounded_evaluator(), _cel().Environment().program(tree)

    def run(variables: Mapping[str, Any]) -> Any:
        return evaluator(tree, runner.new_activation()).evaluate(variables)

    return run


@lru_cache(1)
def _bounded_evaluator() -> Any:
    """celpy's evaluator, which counts its steps."""
    from celpy.evaluation import Evaluator

    class Bounded(Evaluator):
        def __init__(self, tree: Any, activation: Any, steps: list[int] | None = None) -> None:
            super().__init__(tree, activation)
            self.steps = steps if steps is not None else [STEPS]

        def sub_evaluator(self, ast: Any) -> Any:
            return Bounded(ast, self.activation, self.steps)

        def _visit_tree(self, tree: Any) -> Any:
            self.steps[0] -= 1
            if self.steps[0] < 0:
                raise NotJudged(f"it takes more than {STEPS} steps")
            return super()._visit_tree(tree)

    return Bounded
