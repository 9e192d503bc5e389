"""
Safety policies as data: which requests of agents are allowed, denied, or decided by people.

Every rule of every policy is asked, in the order in which they are written, policies by name. Of those that fit, the
strictest holds: Deny before RequireApproval before Log and Allow. A rule that cannot be judged denies, unless its policy
says `FailOpen`. Who judges is `wardgate.approvals.judging`.

Source: `SafetyPolicy` of governance.aip.io/v1alpha1 (aip-k8s), and S2's "restrict which agents can request which actions".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from wardgate.problems import NOWHERE, Where


class Action(StrEnum):
    """What a rule says of the requests that it fits."""

    ALLOW = "Allow"
    LOG = "Log"
    REQUIRE_APPROVAL = "RequireApproval"
    DENY = "Deny"


STRICTNESS: Final = {Action.ALLOW: 0, Action.LOG: 1, Action.REQUIRE_APPROVAL: 2, Action.DENY: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeWindow:
    """
    When a rule fits: `days` are 0 (Monday) to 6, `begins` and `ends` minutes of the day in `zone` (a name of the time zone
    database). A window that ends before it begins goes over midnight, and belongs to the day on which it begins.
    """

    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    begins: int = 0
    ends: int = 24 * 60
    zone: str = "UTC"


class Per(StrEnum):
    """What a rate is counted by."""

    AGENT = "agent"
    ACTION = "action"
    TARGET = "target"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rule with it fits when `limit` requests were there within `window` before. `per`: of the same agent, and the like."""

    limit: int
    window: timedelta
    per: Per = Per.AGENT


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyRule:
    """
    One rule: it fits a request when all that it asks for holds. `expression` is CEL over `request`, `target` and `context`;
    `agents`, `actions` and `targets` are patterns (`*` is anything, in a target anything but `/`, and `**` is that, too).
    """

    name: str
    action: Action
    expression: str | None = None
    agents: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    window: TimeWindow | None = None
    rate: Rate | None = None
    message: str | None = None
    where: Where = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyPolicy:
    """
    Rules under one name. `fails_open`: a rule that cannot be judged is noted, and does not deny. `listed_only`: what none of
    its rules fits is denied. Of a request that is to be approved, `approvals` people must agree, and of `reviewer_groups`
    each reviewer must be in one (none: any reviewer).
    """

    name: str
    rules: tuple[SafetyRule, ...]
    fails_open: bool = False
    listed_only: bool = False
    approvals: int = 1
    reviewer_groups: tuple[str, ...] = ()
    where: Where = field(default=NOWHERE, compare=False, repr=False)
