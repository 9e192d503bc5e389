"""
A request of an agent, and the phases that it goes through.

    Pending ─┬─> Approved ──> Executing ──> Completed | Failed
             ├─> Denied          (an approval that was revoked ends as Denied, too)
             └─> Expired

Names of phases, conditions and codes are those of AgentRequest (governance.aip.io/v1alpha1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final


class Phase(StrEnum):
    PENDING = "Pending"
    APPROVED = "Approved"
    DENIED = "Denied"
    EXPIRED = "Expired"
    EXECUTING = "Executing"
    COMPLETED = "Completed"
    FAILED = "Failed"


NEXT: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.PENDING: frozenset({Phase.APPROVED, Phase.DENIED, Phase.EXPIRED}),
    Phase.APPROVED: frozenset({Phase.EXECUTING, Phase.DENIED}),
    Phase.EXECUTING: frozenset({Phase.COMPLETED, Phase.FAILED}),
    Phase.DENIED: frozenset(),
    Phase.EXPIRED: frozenset(),
    Phase.COMPLETED: frozenset(),
    Phase.FAILED: frozenset(),
}
"""What may come after a phase. One that nothing comes after is the end."""

ACTIVE: Final = frozenset(phase for phase, after in NEXT.items() if after)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """What one rule said of a request. `result`: its action, or how judging it failed."""

    policy: str
    rule: str
    result: str
    message: str = ""

    def as_data(self) -> dict[str, str]:
        told = {"policyName": self.policy, "ruleName": self.rule, "result": self.result}
        return {**told, "message": self.message} if self.message else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that became true of a request. `at`: seconds since 1970."""

    type: str
    reason: str
    message: str
    at: float
    by: str = ""

    def as_data(self) -> dict[str, str]:
        told = {
            "type": self.type,
            "status": "True",
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": when(self.at),
        }
        return {**told, "by": self.by} if self.by else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an agent asks for. `content` is what it says beside (parameters, reasoningTrace, …), as it was sent."""

    action: str
    target: str
    reason: str
    content: Mapping[str, Any] = field(default_factory=dict)
    dedup_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """
    A request as it stands. `names` are those of who asked (`callers.Caller.names`). `needed`: how many reviewers must agree,
    each in one of `reviewer_groups` if there are any. `version` grows with each change. Times: seconds since 1970.
    """

    id: int
    name: str
    agent: str
    issuer: str
    subject: str
    names: frozenset[str]
    wish: Wish
    phase: Phase
    created_at: float
    changed_at: float
    expires_at: float | None
    needed: int
    reviewer_groups: tuple[str, ...]
    conditions: tuple[Condition, ...]
    results: tuple[PolicyResult, ...]
    denial: Mapping[str, Any] | None
    outcome: Mapping[str, Any] | None
    version: int

    def is_over(self, now: float) -> bool:
        """Whether nobody decided in time, written down or not."""
        return self.phase is Phase.PENDING and self.expires_at is not None and self.expires_at <= now

    def as_data(self) -> dict[str, Any]:
        """What a reader is shown; the first three as S2 prints them."""
        found: dict[str, Any] = {
            "name": self.name,
            "phase": self.phase.value,
            "conditions": [condition.as_data() for condition in self.conditions],
            "agentIdentity": self.agent,
            "action": self.wish.action,
            "targetURI": self.wish.target,
            "reason": self.wish.reason,
            **self.wish.content,
            "createdAt": when(self.created_at),
            "policyResults": [result.as_data() for result in self.results],
        }
        optional = {
            "dedupKey": self.wish.dedup_key,
            "expiresAt": when(self.expires_at) if self.expires_at and self.phase is Phase.PENDING else None,
            "denial": self.denial,
            "result": self.outcome,
            "approvalsNeeded": self.needed if self.needed > 1 else None,
            "reviewerGroups": list(self.reviewer_groups) or None,
        }
        return found | {key: value for key, value in optional.items() if value is not None}


def when(seconds: float) -> str:
    """RFC 3339, in UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
