"""
One request on its way to an answer: what is known of it, the steps so far, and what holds for it once a route is found.

Nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wardgate.decision import cookies
from wardgate.decision.cookies import Cookies
from wardgate.decision.model import Decision, Outcome, Request, Step
from wardgate.decision.routes import Group
from wardgate.policy import OWN_COOKIES, Access, Credentials, Host, Mode, Policy, Route
from wardgate.principal import Credential, Principal, Rejected
from wardgate.problems import NOWHERE, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`bearer` and `session` are the credentials as they were found to be; `target` is the path and query judged."""

    policy: Policy
    request: Request
    bearer: Credential
    session: Principal | Rejected | None
    unavailable: frozenset[str]
    service_away: bool
    target: str = ""
    steps: list[Step] = field(default_factory=list)

    def cookies(self, terms: Credentials) -> Cookies:
        """Those of the request as routes with these terms see them. Where nobody can log in, no cookie is ours."""
        policy, header = self.policy, self.request.value("cookie")
        if policy.session is None or not policy.login_providers():
            return Cookies(others=header)
        counts = policy.session_of(terms) if terms.mode is not Mode.IGNORED else None
        session = counts or policy.session
        hidden = OWN_COOKIES if policy.own_cookies else None
        return cookies.read(header, session.cookie, chunks=session.in_cookies, hidden=hidden)

    def session_at(self, terms: Credentials) -> Principal | Rejected | None:
        """The session, where the cookie that it came in is the one that counts with these terms."""
        wanted = self.policy.session_of(terms)
        if wanted is None or self.session is None:
            return None
        if isinstance(self.session, Principal):
            its_own = self.policy.session_of(Credentials(providers=(self.session.provider,)))
            return self.session if its_own in (None, wanted) else None
        # whose it was nobody knows: in which cookie it came is in the request, if that is there
        brought = self.cookies(terms).session is not None
        return self.session if brought or not self._brings_another() else None

    def _brings_another(self) -> bool:
        terms = (Credentials(providers=(provider.name,)) for provider in self.policy.login_providers())
        return any(self.cookies(each).session is not None for each in terms)

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
