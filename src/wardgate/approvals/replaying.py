"""Past requests judged by other policies: what a change of policies would have meant."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from wardgate.approvals.callers import Caller
from wardgate.approvals.judging import Counts, judge, rates
from wardgate.approvals.records import AgentRequest
from wardgate.safety import Action, Per, SafetyPolicy


class Replay:
    """Shown requests in the order in which they came. `seen` and `different` are counted."""

    def __init__(self, policies: Sequence[SafetyPolicy]) -> None:
        self._policies = policies
        self._rates = {(rate.per, rate.window.total_seconds()) for rate in rates(policies)}
        self._longest = max((seconds for _, seconds in self._rates), default=0.0)
        self._times: dict[tuple[Per, str], deque[float]] = defaultdict(deque)
        self.seen = 0
        self.different = 0

    def differs(self, request: AgentRequest) -> str:
        """What would become of it instead; empty for the same."""
        self.seen += 1
        agent = Caller(
            issuer=request.issuer,
            subject=request.subject,
            identity=request.agent,
            groups=frozenset(),
            roles=frozenset(),
            names=request.names,
        )
        found = judge(self._policies, request.wish, agent, self._counts(request), request.created_at)
        if found.action is not Action.DENY:
            self._remember(request)
        before = request.conditions[0].reason  # PolicyEvaluated: what was said when it came
        if _outcome(before) == _outcome(found.action):
            return ""
        self.different += 1
        message = f" ({found.message})" if found.message else ""
        return f"{before} then, {found.action} now{message}"

    def _counts(self, request: AgentRequest) -> Counts:
        found = {}
        for per, seconds in self._rates:
            times = self._times[per, _key(per, request)]
            found[per, seconds] = sum(at > request.created_at - seconds for at in times)
        return found

    def _remember(self, request: AgentRequest) -> None:
        for per in {per for per, _ in self._rates}:
            times = self._times[per, _key(per, request)]
            times.append(request.created_at)
            while times[0] < request.created_at - self._longest:
                times.popleft()


def _key(per: Per, request: AgentRequest) -> str:
    keys = {Per.AGENT: request.agent, Per.ACTION: request.wish.action, Per.TARGET: request.wish.target}
    return keys.get(per, "")


def _outcome(action: str) -> str:
    """Log lets pass, as Allow does."""
    return Action.ALLOW if action == Action.LOG else action
