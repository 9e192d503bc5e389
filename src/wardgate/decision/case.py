"""
One request on its way to an answer: what is known of it, the steps so far, and what holds for it once a route is found.

Nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wardgate.decision.cookies import Cookies
from wardgate.decision.model import Decision, Outcome, Request, Step
from wardgate.decision.routes import Group
from wardgate.policy import Access, Credentials, Host, Policy, Route
from wardgate.principal import Credential, Principal, Rejected
from wardgate.problems import NOWHERE, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`bearer` and `session` are the credentials as they were found to be; `target` is the path and query judged."""

    policy: Policy
    request: Request
    bearer: Credential
    session: Principal | Rejected | None
    cookies: Cookies
    unavailable: frozenset[str]
    service_away: bool
    target: str = ""
    steps: list[Step] = field(default_factory=list)

    def note(self, text: str, passed: bool, where: Where = NOWHERE, seen: str = "") -> bool:
        self.steps.append(Step(text=text, passed=passed, where=where, seen=seen))
        return passed

    def close(
        self,
        status: int,
        outcome: Outcome,
        rule: str,
        reason: str,
        where: Where = NOWHERE,
        *,
        location: str | None = None,
        login: tuple[str, ...] = (),
    ) -> Decision:
        return Decision(
            status=status,
            outcome=outcome,
            rule=rule,
            reason=reason,
            where=where,
            steps=tuple(self.steps),
            location=location,
            login=login,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What holds for a request: a route's own terms, or those of a rule that every host has."""

    rule: str
    access: Access
    credentials: Credentials
    where: Where
    host: Host
    route: Route | None = None
    near_miss: Group | None = None
    """A more specific protecting path that the request would have reached in other letters."""
