"""
What happens to a request of an agent: it is filed, judged, decided by people, carried out, or expires.

Each operation is one transaction of the store, with its entry in the record. Of several who decide at once one wins; the
others read how it was decided.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from wardgate.approvals.callers import DECIDING, Caller, Role, folded
from wardgate.approvals.grants import Grant, NoGrant, Signer, wanted
from wardgate.approvals.judging import Counts, Judgement, judge, rates
from wardgate.approvals.records import ACTIVE, NEXT, AgentRequest, Condition, Phase, Wish, when
from wardgate.approvals.schema import canonical
from wardgate.approvals.store import Change, Filter, Lost, Store, StoreAway, Vote
from wardgate.policy import Approvals
from wardgate.safety import Action

T = TypeVar("T")

ATTEMPTS: Final = 20
LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes ends generated names with: no vowels, no words."""

DECISIONS: Final = {"approve": Phase.APPROVED, "deny": Phase.DENIED}

APPROVED_ONCE: Final = frozenset({Phase.APPROVED, Phase.EXECUTING, Phase.COMPLETED, Phase.FAILED})


class Refusal(Exception):
    """What a caller may not do: an HTTP status, and words that are for them."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def not_found() -> Refusal:
    return Refusal(404, "AgentRequest not found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """A request that was asked for. `new`: by this call."""

    request: AgentRequest
    new: bool


class Desk:
    """`terms` are those in force. For one event loop."""

    def __init__(self, store: Store, terms: Approvals, now: Callable[[], float] = time.time) -> None:
        self.store = store
        self.terms = terms
        self._now = now

    # --- agents

    async def ask(self, caller: Caller, wish: Wish, idempotency_key: str | None = None) -> Filed:
        """
        File a request. One with the Idempotency-Key, or the dedupKey, of an earlier one of the same caller is that one.

        Raises Refusal, StoreAway.
        """
        require(caller, Role.AGENT)
        idempotency = None
        if idempotency_key is not None:
            digest = _digest(
                wish.action, wish.target, wish.reason, canonical(wish.content), wish.dedup_key or ""
            )
            idempotency = (_digest(caller.issuer, caller.subject, idempotency_key), digest)
        key = None if wish.dedup_key is None else _digest(caller.issuer, caller.subject, wish.dedup_key)
        return await self._again(lambda change: self._file(change, caller, wish, key, idempotency))

    async def _file(
        self, change: Change, caller: Caller, wish: Wish, key: str | None, idempotency: tuple[str, str] | None
    ) -> Filed:
        now = self._now()
        if idempotency is not None:
            earlier = await change.earlier(idempotency[0])
            if earlier is not None:
                return await _the_same(change, idempotency[1], *earlier)
        if key is not None and (active := await change.active(key)) is not None:
            active = await self._aged(change, active)
            if active.phase in ACTIVE:
                if active.created_at > now - self.terms.dedup_window.total_seconds():
                    return Filed(request=active, new=False)
                await change.forget_key(active)
        judgement = judge(self.terms.safety, wish, caller, await self._counts(change, caller, wish, now), now)
        wanted = self._new(caller, wish, judgement, now)
        request = await change.add(wanted, key if wanted.phase in ACTIVE else None)
        if idempotency is not None:
            await change.remember(*idempotency, request.name, now)
        change.note(now, request.name, "filed", {**_by(caller), **_about(request)})
        if request.phase is Phase.PENDING and self.terms.webhook is not None:
            await change.deliver(request.name, now)
        return Filed(request=request, new=True)

    async def _counts(self, change: Change, caller: Caller, wish: Wish, now: float) -> Counts:
        wanted = {(rate.per, rate.window.total_seconds()) for rate in rates(self.terms.safety)}
        if wanted:
            await change.lock()
        return {
            (per, seconds): await change.count(per, wish, caller.identity, now - seconds)
            for per, seconds in wanted
        }

    def _new(self, caller: Caller, wish: Wish, judgement: Judgement, now: float) -> AgentRequest:
        phase = _PHASES[judgement.action]
        words = judgement.message or (
            "All policies passed" if self.terms.safety else "No policy asks for a decision"
        )
        conditions = [_condition("PolicyEvaluated", str(judgement.action), words, now)]
        denial = None
        match phase:
            case Phase.APPROVED:
                conditions.append(_condition("Approved", "PolicyApproved", words, now))
            case Phase.DENIED:
                conditions.append(_condition("Denied", judgement.denial, words, now))
                denial = {
                    "code": judgement.denial,
                    "message": words,
                    "policyResults": [result.as_data() for result in judgement.results],
                }
            case _:
                conditions.append(_condition("RequiresApproval", "PolicyRequiresApproval", words, now))
        return AgentRequest(
            id=0,
            name=f"{_slug(caller.identity)}-{''.join(secrets.choice(LETTERS) for _ in range(5))}",
            agent=caller.identity,
            issuer=caller.issuer,
            subject=caller.subject,
            names=caller.names,
            wish=wish,
            phase=phase,
            created_at=now,
            changed_at=now,
            expires_at=now + self.terms.pending_for.total_seconds() if phase is Phase.PENDING else None,
            needed=judgement.needed,
            reviewer_groups=judgement.reviewer_groups,
            conditions=tuple(conditions),
            results=judgement.results,
            denial=denial,
            outcome=None,
            version=1,
        )

    async def begin(self, caller: Caller, name: str) -> AgentRequest:
        """The agent starts to do what was approved. Raises Refusal, StoreAway."""
        return await self._step(caller, name, Phase.EXECUTING, "AgentStarted", None)

    async def complete(
        self, caller: Caller, name: str, succeeded: bool, outcome: Mapping[str, Any]
    ) -> AgentRequest:
        """The agent has done it, or failed. Raises Refusal, StoreAway."""
        to, reason = (Phase.COMPLETED, "AgentFinished") if succeeded else (Phase.FAILED, "AgentFailed")
        return await self._step(caller, name, to, reason, outcome)

    async def _step(
        self, caller: Caller, name: str, to: Phase, reason: str, outcome: Mapping[str, Any] | None
    ) -> AgentRequest:
        require(caller, Role.AGENT)

        async def step(change: Change) -> AgentRequest:
            request = await self._current(change, name)
            if not _filed_by(request, caller):
                if caller.decides:
                    raise Refusal(403, "forbidden: only the creating agent may transition this request")
                raise not_found()
            if request.phase is to and request.outcome == outcome:
                return request
            if to not in NEXT[request.phase]:
                before = " or ".join(phase for phase, after in NEXT.items() if to in after)
                raise Refusal(
                    409, f'request is in phase "{request.phase}" — can only transition to {to} from {before}'
                )
            return await self._move(change, request, to, reason, _STEPS[to], caller, outcome=outcome)

        return await self._again(step)

    async def grant(self, caller: Caller, name: str, signer: Signer) -> tuple[str, float]:
        """
        A grant for the HTTP request that was approved, and when it ends. As often as is asked for, until one of them is spent.

        Raises Refusal, StoreAway.
        """
        require(caller, Role.AGENT)

        async def granted(change: Change) -> tuple[str, float]:
            request = await self._current(change, name)
            if not _filed_by(request, caller):
                raise not_found()
            call = wanted(request.wish)
            if call is None:
                raise Refusal(409, "the request names no httpRequest: there is nothing to grant")
            if request.phase is not Phase.APPROVED:
                raise Refusal(409, f'request is in phase "{request.phase}" — a grant is given when Approved')
            now = self._now()
            ends = now + self.terms.grants_for.total_seconds()
            change.note(
                now, request.name, "granted", {**_by(caller), "http": call.as_data(), "ends": int(ends)}
            )
            return signer.grant(request, call, now, ends), ends

        return await self._again(granted)

    async def spend(self, grant: Grant, issuer: str, subject: str) -> AgentRequest:
        """
        The request may be made, now and never again: its phase goes from Approved to Executing. `issuer` and `subject` are who
        makes it. Raises NoGrant, StoreAway.
        """

        async def spent(change: Change) -> AgentRequest:
            request = await change.find(grant.request)
            holder = request is not None and (request.issuer, request.subject) == (issuer, subject)
            if request is None or not holder or (issuer, subject) != (grant.issuer, grant.subject):
                raise NoGrant("grant-holder", "the grant is somebody else's")
            if request.phase is not Phase.APPROVED:
                raise NoGrant("grant-spent", "the grant was spent, or the approval taken back")
            return await self._move(
                change,
                request,
                Phase.EXECUTING,
                "GrantSpent",
                "the request was let through",
                None,
                event="spent",
            )

        return await self._again(spent)

    # --- reviewers

    async def decide(self, caller: Caller, name: str, decision: str, reason: str) -> AgentRequest:
        """
        `decision`: approve or deny. The same decision again changes nothing and gives the request as it is; another one is
        refused with 409, nobody's own with 403. Raises Refusal, StoreAway.
        """
        require(caller, *DECIDING)

        async def decided(change: Change) -> AgentRequest:
            request = await self._current(change, name)
            self._require_another(request, caller)
            if request.phase is not Phase.PENDING:
                return _decided_before(request, decision)
            _require_group(request, caller)
            votes = await change.votes(request.id)
            mine = next(
                (vote for vote in votes if (vote.issuer, vote.subject) == (caller.issuer, caller.subject)),
                None,
            )
            if mine is not None:
                if mine.decision == decision:
                    return request
                raise Refusal(409, f"you have decided on this request before: {mine.decision}")
            return await self._vote(change, request, caller, decision, reason, len(votes) + 1)

        return await self._again(decided)

    async def _vote(
        self, change: Change, request: AgentRequest, caller: Caller, decision: str, reason: str, agreed: int
    ) -> AgentRequest:
        now = self._now()
        vote = Vote(
            issuer=caller.issuer,
            subject=caller.subject,
            identity=caller.identity,
            decision=decision,
            reason=reason,
            at=now,
        )
        await change.vote(request.id, vote)
        if decision == "approve" and agreed < request.needed:
            words = reason or f"{agreed} of {request.needed} reviewers agree"
            found = _condition("Vote", "ReviewerApproved", words, now, caller.identity)
            request = await change.put(
                replace(request, conditions=(*request.conditions, found), changed_at=now)
            )
            change.note(now, request.name, "vote", {**_by(caller), "decision": decision, "reason": reason})
            return request
        to = DECISIONS[decision]
        denial = None
        if to is Phase.DENIED:
            denial = {"code": "DENIED_BY_REVIEWER", "message": reason or "denied by a reviewer"}
        said = "ReviewerApproved" if to is Phase.APPROVED else "ReviewerDenied"
        return await self._move(change, request, to, said, reason, caller, denial=denial)

    async def revoke(self, caller: Caller, name: str, reason: str) -> AgentRequest:
        """Take an approval back before the agent begins. Raises Refusal, StoreAway."""
        require(caller, *DECIDING)

        async def revoked(change: Change) -> AgentRequest:
            request = await self._current(change, name)
            self._require_another(request, caller)
            if request.denial is not None and request.denial.get("code") == "APPROVAL_REVOKED":
                return request
            if request.phase is not Phase.APPROVED:
                raise Refusal(409, f'request is in phase "{request.phase}" — can only revoke when Approved')
            denial = {"code": "APPROVAL_REVOKED", "message": reason or "the approval was revoked"}
            return await self._move(
                change,
                request,
                Phase.DENIED,
                "ApprovalRevoked",
                reason,
                caller,
                event="revoked",
                denial=denial,
            )

        return await self._again(revoked)

    def hindrance(self, request: AgentRequest, caller: Caller) -> Refusal | None:
        """Why `decide` would not take this caller's word on a request, whatever its phase; None where it would."""
        try:
            require(caller, *DECIDING)
            self._require_another(request, caller)
            _require_group(request, caller)
        except Refusal as refusal:
            return refusal
        return None

    def is_own(self, request: AgentRequest, caller: Caller) -> bool:
        """By any name of either; who answers for an agent now counts as well as who did when it asked."""
        owners = {owner for agent, owner in self.terms.owners if agent in (request.agent, request.subject)}
        return caller.is_one_of(request.names) or caller.is_one_of(folded(owner) for owner in owners)

    def _require_another(self, request: AgentRequest, caller: Caller) -> None:
        if self.is_own(request, caller):
            raise Refusal(403, "forbidden: self-approval not permitted")

    # --- readers

    async def read(self, caller: Caller, name: str) -> AgentRequest:
        """Agents read only their own. Raises Refusal, StoreAway."""
        _require_any(caller)
        request = await self.store.read(name)
        if request is None or (caller.roles == {Role.AGENT} and not _filed_by(request, caller)):
            raise not_found()
        return self._as_of_now(request)

    async def listed(self, caller: Caller, wanted: Filter, limit: int) -> list[AgentRequest]:
        """The newest first. Raises Refusal, StoreAway."""
        _require_any(caller)
        if caller.roles == {Role.AGENT}:
            wanted = replace(wanted, of=(caller.issuer, caller.subject))
        return [self._as_of_now(request) for request in await self.store.listed(wanted, limit)]

    def _as_of_now(self, request: AgentRequest) -> AgentRequest:
        """One whose time is over has expired, though nobody has written it down yet."""
        return replace(request, phase=Phase.EXPIRED) if request.is_over(self._now()) else request

    # --- time

    async def expire(self, limit: int = 100) -> int:
        """
        Write down what has expired; how many. Idempotency-Keys are forgotten after the `dedup_window`. Raises StoreAway.
        """
        async with self.store.changing() as change:
            await change.forget(self._now() - self.terms.dedup_window.total_seconds())
        due = await self.store.due(self._now(), limit)
        for name in due:
            await self._again(lambda change, name=name: self._current(change, name))  # type: ignore[misc]
        return len(due)

    # --- all of them

    async def _current(self, change: Change, name: str) -> AgentRequest:
        """The request, expired if its time is over. Raises Refusal."""
        request = await change.find(name)
        if request is None:
            raise not_found()
        return await self._aged(change, request)

    async def _aged(self, change: Change, request: AgentRequest) -> AgentRequest:
        if request.is_over(self._now()):
            words = f"nobody decided before {when(request.expires_at or 0.0)}"
            return await self._move(change, request, Phase.EXPIRED, "TimeOver", words, None)
        return request

    async def _move(
        self,
        change: Change,
        request: AgentRequest,
        to: Phase,
        reason: str,
        words: str,
        by: Caller | None,
        *,
        event: str | None = None,
        denial: Mapping[str, Any] | None = None,
        outcome: Mapping[str, Any] | None = None,
    ) -> AgentRequest:
        """The one place where a phase changes."""
        if to not in NEXT[request.phase]:
            raise ValueError(f"{to} does not come after {request.phase}")
        now = self._now()
        condition = _condition(to.value, reason, words, now, by.identity if by else "")
        moved = replace(
            request,
            phase=to,
            changed_at=now,
            conditions=(*request.conditions, condition),
            denial=denial if denial is not None else request.denial,
            outcome=outcome if outcome is not None else request.outcome,
        )
        found = await change.put(moved)
        body: dict[str, Any] = {"from": request.phase.value, "to": to.value, "reason": words}
        if outcome is not None:
            body["result"] = outcome
        change.note(now, request.name, event or to.value.lower(), {**body, **(_by(by) if by else {})})
        return found

    async def _again(self, work: Callable[[Change], Awaitable[T]]) -> T:
        """Do it in a transaction; anew where somebody else was faster. A refusal keeps what it found out (an expiry)."""
        for _ in range(ATTEMPTS):
            refusal: Refusal | None = None
            try:
                async with self.store.changing() as change:
                    try:
                        found = await work(change)
                    except Refusal as error:
                        refusal = error
            except Lost:
                continue
            if refusal is not None:
                raise refusal
            return found
        raise StoreAway("the store of requests is too busy")


async def _the_same(change: Change, digest: str, before: str, name: str) -> Filed:
    if digest != before:
        raise Refusal(422, "this Idempotency-Key was used for another request")
    request = await change.find(name)
    if request is None:
        raise not_found()
    return Filed(request=request, new=False)


def require(caller: Caller, *roles: Role) -> None:
    """One of these roles. Raises Refusal."""
    if caller.roles.isdisjoint(roles):
        raise Refusal(403, f"{roles[0]} role required")


def _require_any(caller: Caller) -> None:
    """Some role. Raises Refusal."""
    if not caller.roles:
        raise Refusal(403, "agent or reviewer role required")


def _filed_by(request: AgentRequest, caller: Caller) -> bool:
    return (request.issuer, request.subject) == (caller.issuer, caller.subject)


def _decided_before(request: AgentRequest, decision: str) -> AgentRequest:
    same = APPROVED_ONCE if decision == "approve" else {Phase.DENIED}
    if request.phase in same:
        return request
    raise Refusal(409, f'request is in phase "{request.phase}" — can only approve/deny when Pending')


def _require_group(request: AgentRequest, caller: Caller) -> None:
    if not request.reviewer_groups or not caller.groups.isdisjoint(request.reviewer_groups):
        return
    groups = " or ".join(group for group in request.reviewer_groups if group)
    words = f"reviewer role required: a member of {groups}"
    raise Refusal(403, words if groups else "no reviewer is in all groups that decide")


_PHASES: Final = {
    Action.ALLOW: Phase.APPROVED,
    Action.LOG: Phase.APPROVED,
    Action.REQUIRE_APPROVAL: Phase.PENDING,
    Action.DENY: Phase.DENIED,
}


_STEPS: Final = {
    Phase.EXECUTING: "the agent carries it out",
    Phase.COMPLETED: "the agent has done it",
    Phase.FAILED: "the agent could not do it",
}


def _condition(kind: str, reason: str, words: str, at: float, by: str = "") -> Condition:
    return Condition(type=kind, reason=reason or kind, message=words, at=at, by=by)


def _by(caller: Caller) -> dict[str, Any]:
    named = {"name": caller.name} if caller.name else {}
    return {"by": {"issuer": caller.issuer, "subject": caller.subject, "identity": caller.identity, **named}}


def _about(request: AgentRequest) -> dict[str, Any]:
    return {
        "phase": request.phase.value,
        "action": request.wish.action,
        "target": request.wish.target,
        "reason": request.wish.reason,
        "content": request.wish.content,
        "policyResults": [result.as_data() for result in request.results],
    }


def _slug(identity: str) -> str:
    """As the beginning of a name of Kubernetes."""
    return re.sub(r"[^a-z0-9]+", "-", identity.lower()).strip("-")[:54].strip("-") or "agent"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
