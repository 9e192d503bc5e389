"""What happens to a request, on SQLite: each step, each refusal, races, and a state machine of all of it."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.approvals.people import known, of_client, of_person, terms
from wardgate.approvals.audit import verified
from wardgate.approvals.callers import Caller
from wardgate.approvals.desk import Desk, Filed, Refusal
from wardgate.approvals.records import NEXT, AgentRequest, Phase, Wish
from wardgate.approvals.store import Filter, Store, file_url
from wardgate.policy import Members
from wardgate.safety import Action, Per, Rate, SafetyPolicy, SafetyRule

T = TypeVar("T")

ASK = SafetyPolicy(name="ask", rules=(SafetyRule(name="all", action=Action.REQUIRE_APPROVAL),))
DENY = SafetyPolicy(name="no", rules=(SafetyRule(name="all", action=Action.DENY, message="never"),))

AGENT, OTHER = known(of_client("agent-1")), known(of_client("agent-2"))
REVIEWERS = [known(of_client(f"reviewer-{number}")) for number in (1, 2, 3)]
ONE, TWO, THREE = REVIEWERS
ADMIN = known(of_person("root", groups=["admins"]))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def wish(**changed: Any) -> Wish:
    return Wish(**{"action": "scale", "target": "k8s://prod/x", "reason": "why", **changed})


@asynccontextmanager
async def opened(folder: Path, clock: Clock | None = None, **changed: Any) -> AsyncIterator[Desk]:
    store = await Store.open(file_url(folder / "approvals.db"))
    try:
        yield Desk(store, terms(**{"safety": (ASK,), **changed}), clock or Clock())
    finally:
        await store.close()


def run(folder: Path, work: Callable[[Desk], Awaitable[T]], clock: Clock | None = None, **changed: Any) -> T:
    async def done() -> T:
        async with opened(folder, clock, **changed) as desk:
            return await work(desk)

    return asyncio.run(done())


async def refusal(work: Awaitable[Any]) -> tuple[int, str]:
    with pytest.raises(Refusal) as refused:
        await work
    return refused.value.status, str(refused.value)


async def events(desk: Desk) -> list[str]:
    entries = await desk.store.record()
    assert verified(entries) == await desk.store.head()
    return [entry.event for entry in entries]


def test_without_a_policy_it_is_approved_at_once_and_approving_it_changes_nothing(tmp_path: Path) -> None:
    """S2, steps 5 and 6."""

    async def work(desk: Desk) -> None:
        filed = await desk.ask(AGENT, wish())
        assert filed.new and filed.request.phase is Phase.APPROVED
        assert [condition.type for condition in filed.request.conditions] == ["PolicyEvaluated", "Approved"]
        assert await desk.decide(ONE, filed.request.name, "approve", "ok") == filed.request
        assert (await refusal(desk.decide(ONE, filed.request.name, "deny", "")))[0] == 409
        assert await events(desk) == ["filed"]

    run(tmp_path, work, safety=())


def test_from_pending_to_completed(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        name = (await desk.ask(AGENT, wish(content={"parameters": {"n": 1}}))).request.name
        assert name.startswith("agent-1-") and len(name) == len("agent-1-x7k2m")
        assert (await desk.decide(ONE, name, "approve", "fine")).phase is Phase.APPROVED
        assert (await desk.begin(AGENT, name)).phase is Phase.EXECUTING
        assert (await desk.begin(AGENT, name)).phase is Phase.EXECUTING
        done = await desk.complete(AGENT, name, True, {"replicas": 2})
        assert (done.phase, done.outcome) == (Phase.COMPLETED, {"replicas": 2})
        assert await desk.read(AGENT, name) == done
        assert [(c.type, c.by) for c in done.conditions] == [
            ("PolicyEvaluated", ""),
            ("RequiresApproval", ""),
            ("Approved", "reviewer-1"),
            ("Executing", "agent-1"),
            ("Completed", "agent-1"),
        ]
        assert await events(desk) == ["filed", "approved", "executing", "completed"]

    run(tmp_path, work)


def test_denied_by_policy(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        found = (await desk.ask(AGENT, wish())).request
        assert found.phase is Phase.DENIED
        assert found.denial is not None and found.denial["message"] == "never"
        assert (await refusal(desk.decide(ONE, found.name, "approve", "")))[0] == 409
        assert (await desk.decide(ONE, found.name, "deny", "")) == found
        assert (await refusal(desk.begin(AGENT, found.name)))[0] == 409

    run(tmp_path, work, safety=(ASK, DENY))


@pytest.mark.parametrize("phase", ["Pending", "Approved", "Denied"])
def test_nobody_decides_on_their_own(tmp_path: Path, phase: str) -> None:
    """Whatever their roles, under whatever name, in every phase."""
    both = Members(subjects=("agent-1", "id-of-agent-1", "alice"))
    safety = {"Pending": (ASK,), "Approved": (), "Denied": (DENY,)}[phase]
    owners = (("agent-1", "alice@example.com"),)
    changed: dict[str, Any] = {"reviewers": both, "safety": safety, "owners": owners}
    of = terms(**changed)

    async def work(desk: Desk) -> None:
        asks = known(of_client("agent-1"), of)
        found = (await desk.ask(asks, wish())).request
        assert found.phase == phase
        for claims in (of_client("agent-1"), of_person("id-of-agent-1"), of_person("alice")):
            for decide in ("approve", "deny"):
                refused = await refusal(desk.decide(known(claims, of), found.name, decide, ""))
                assert refused == (403, "forbidden: self-approval not permitted")
            assert desk.hindrance(found, known(claims, of)) is not None
        assert await events(desk) == ["filed"]

    run(tmp_path, work, **changed)


def test_who_may_do_what(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        nobody = known(of_person("nobody"))
        name = (await desk.ask(AGENT, wish())).request.name
        assert await refusal(desk.ask(ONE, wish())) == (403, "agent role required")
        assert await refusal(desk.decide(OTHER, name, "approve", "")) == (403, "reviewer role required")
        assert await refusal(desk.decide(nobody, name, "approve", "")) == (403, "reviewer role required")
        for reader in (desk.read(nobody, name), desk.listed(nobody, Filter(), 10)):
            assert await refusal(reader) == (403, "agent or reviewer role required")
        assert (await refusal(desk.read(OTHER, name)))[0] == 404
        assert await desk.listed(OTHER, Filter(), 10) == []
        assert [one.name for one in await desk.listed(ADMIN, Filter(), 10)] == [name]
        assert (await refusal(desk.begin(OTHER, name)))[0] == 404
        assert (await refusal(desk.read(AGENT, name.upper())))[0] == 404
        assert (await refusal(desk.decide(ONE, "' OR 1=1--", "approve", "")))[0] == 404

    run(tmp_path, work)


def test_several_must_agree_and_each_has_one_voice(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        name = (await desk.ask(AGENT, wish())).request.name
        assert (await desk.decide(ONE, name, "approve", "")).phase is Phase.PENDING
        assert (await desk.decide(ONE, name, "approve", "again")).phase is Phase.PENDING
        assert (await refusal(desk.decide(ONE, name, "deny", "")))[0] == 409
        assert (await desk.decide(TWO, name, "approve", "")).phase is Phase.APPROVED
        second = (await desk.ask(AGENT, wish())).request.name
        await desk.decide(ONE, second, "approve", "")
        assert (await desk.decide(TWO, second, "deny", "no")).phase is Phase.DENIED
        assert await events(desk) == ["filed", "vote", "approved", "filed", "vote", "denied"]

    run(tmp_path, work, safety=(dataclasses.replace(ASK, approvals=2),))


def test_only_a_group_decides(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        name = (await desk.ask(AGENT, wish())).request.name
        assert await refusal(desk.decide(ONE, name, "approve", "")) == (
            403,
            "reviewer role required: a member of sre",
        )
        member = known(of_person("carol", groups=["sre"]))
        assert (await desk.decide(member, name, "approve", "")).phase is Phase.APPROVED

    run(tmp_path, work, safety=(dataclasses.replace(ASK, reviewer_groups=("sre",)),))


def test_an_approval_can_be_taken_back_until_the_agent_begins(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        names = [(await desk.ask(AGENT, wish())).request.name for _ in range(2)]
        for name in names:
            await desk.decide(ONE, name, "approve", "")
        taken = await desk.revoke(TWO, names[0], "wrong one")
        assert (taken.phase, (taken.denial or {})["code"]) == (Phase.DENIED, "APPROVAL_REVOKED")
        assert await desk.revoke(TWO, names[0], "again") == taken
        assert (await refusal(desk.begin(AGENT, names[0])))[0] == 409
        await desk.begin(AGENT, names[1])
        assert (await refusal(desk.revoke(TWO, names[1], "")))[0] == 409

    run(tmp_path, work)


def test_what_nobody_decides_expires(tmp_path: Path) -> None:
    clock = Clock()

    async def work(desk: Desk) -> None:
        names = [(await desk.ask(AGENT, wish())).request.name for _ in range(3)]
        clock.now += 3599.9
        assert await desk.expire() == 0
        assert (await desk.decide(ONE, names[0], "approve", "")).phase is Phase.APPROVED
        clock.now += 0.1
        assert (await desk.read(AGENT, names[1])).phase is Phase.EXPIRED
        assert await refusal(desk.decide(ONE, names[1], "approve", "")) == (
            409,
            'request is in phase "Expired" — can only approve/deny when Pending',
        )
        assert await desk.expire() == 1
        assert await desk.expire() == 0
        assert await events(desk) == ["filed", "filed", "filed", "approved", "expired", "expired"]

    run(tmp_path, work, clock, pending_for=timedelta(hours=1))


def test_the_same_asked_twice_is_one(tmp_path: Path) -> None:
    clock = Clock()

    async def work(desk: Desk) -> None:
        first = await desk.ask(AGENT, wish(dedup_key="k"))
        assert await desk.ask(AGENT, wish(dedup_key="k", action="other")) == Filed(
            request=first.request, new=False
        )
        assert (await desk.ask(OTHER, wish(dedup_key="k"))).new
        await desk.decide(ONE, first.request.name, "deny", "")
        second = await desk.ask(AGENT, wish(dedup_key="k"))
        assert second.new  # the first has ended
        clock.now += 3601
        third = await desk.ask(AGENT, wish(dedup_key="k"))
        assert third.new
        assert not (await desk.ask(AGENT, wish(dedup_key="k"))).new
        clock.now += 601
        fourth = await desk.ask(AGENT, wish(dedup_key="k"))
        assert fourth.new  # the third has expired, and nobody had written it down
        assert (await desk.read(AGENT, third.request.name)).phase is Phase.EXPIRED

    run(tmp_path, work, clock, dedup_window=timedelta(hours=1), pending_for=timedelta(minutes=10))


def test_an_idempotency_key_holds_for_one_request(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        first = await desk.ask(AGENT, wish(), "key")
        again = await desk.ask(AGENT, wish(), "key")
        assert (again.new, again.request.name) == (False, first.request.name)
        assert (await refusal(desk.ask(AGENT, wish(action="other"), "key")))[0] == 422
        assert (await desk.ask(OTHER, wish(), "key")).new
        many = await asyncio.gather(*(desk.ask(AGENT, wish(), "other") for _ in range(20)))
        assert len({filed.request.name for filed in many}) == 1
        assert sum(filed.new for filed in many) == 1
        clock.now += 24 * 3600 + 1
        await desk.expire()
        assert (await desk.ask(AGENT, wish(), "key")).new

    clock = Clock()
    run(tmp_path, work, clock)


def test_rates_are_kept_by_those_who_ask_at_once(tmp_path: Path) -> None:
    limit = SafetyRule(
        name="l", action=Action.DENY, rate=Rate(limit=5, window=timedelta(hours=1), per=Per.AGENT)
    )

    async def work(desk: Desk) -> None:
        found = await asyncio.gather(*(desk.ask(AGENT, wish()) for _ in range(12)))
        phases = [filed.request.phase for filed in found]
        assert phases.count(Phase.APPROVED) == 5 and phases.count(Phase.DENIED) == 7
        assert (await desk.ask(OTHER, wish())).request.phase is Phase.APPROVED

    run(tmp_path, work, safety=(SafetyPolicy(name="p", rules=(limit,)),))


def test_of_a_hundred_decisions_at_once_one_wins(tmp_path: Path) -> None:
    """APPR-018."""

    async def work(desk: Desk) -> None:
        name = (await desk.ask(AGENT, wish())).request.name

        async def one(number: int) -> str:
            decision = ("approve", "deny")[number % 2]
            try:
                found = await desk.decide(REVIEWERS[number % 3], name, decision, str(number))
            except Refusal as refused:
                assert refused.status == 409
                return "409"
            assert found.phase is {"approve": Phase.APPROVED, "deny": Phase.DENIED}[decision]
            return found.phase.value

        answers = await asyncio.gather(*(one(number) for number in range(100)))
        assert answers.count("409") == 50
        assert len(set(answers)) == 2
        assert len(await events(desk)) == 2

    run(tmp_path, work)


class Phases(RuleBasedStateMachine):
    """A few requests, asked, decided, done and expired in any order: the table of phases holds, and the record tells it all."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.folder = tempfile.TemporaryDirectory()
        store = self.loop.run_until_complete(Store.open(file_url(Path(self.folder.name) / "a.db")))
        safety = (
            SafetyPolicy(
                name="a", rules=(SafetyRule(name="r", action=Action.REQUIRE_APPROVAL, actions=("ask*",)),)
            ),
            SafetyPolicy(
                name="b",
                rules=(SafetyRule(name="r", action=Action.REQUIRE_APPROVAL, actions=("ask-two",)),),
                approvals=2,
            ),
            SafetyPolicy(name="c", rules=(SafetyRule(name="r", action=Action.DENY, actions=("never",)),)),
        )
        self.desk = Desk(store, terms(safety=safety, pending_for=timedelta(minutes=10)), self.clock)
        self.known: dict[str, AgentRequest] = {}
        self.moves = 0

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.loop.run_until_complete(self.desk.store.close())
            self.loop.close()
            self.folder.cleanup()

    def act(self, work: Awaitable[AgentRequest]) -> AgentRequest | None:
        try:
            found = self.loop.run_until_complete(work)
        except Refusal as refused:
            assert refused.status in (403, 404, 409)
            return None
        return found

    def name(self, index: int) -> str:
        return list(self.known)[index % len(self.known)] if self.known else "nothing-xxxxx"

    @rule(agent=st.sampled_from([AGENT, OTHER]), action=st.sampled_from(["ask", "ask-two", "never", "free"]))
    def ask(self, agent: Caller, action: str) -> None:
        found = self.loop.run_until_complete(self.desk.ask(agent, wish(action=action))).request
        self.known[found.name] = found

    @rule(
        who=st.sampled_from([*REVIEWERS, ADMIN]),
        decision=st.sampled_from(["approve", "deny"]),
        index=st.integers(0, 9),
    )
    def decide(self, who: Caller, decision: str, index: int) -> None:
        self.act(self.desk.decide(who, self.name(index), decision, ""))

    @rule(who=st.sampled_from(REVIEWERS), index=st.integers(0, 9))
    def revoke(self, who: Caller, index: int) -> None:
        self.act(self.desk.revoke(who, self.name(index), ""))

    @rule(agent=st.sampled_from([AGENT, OTHER]), index=st.integers(0, 9))
    def begin(self, agent: Caller, index: int) -> None:
        self.act(self.desk.begin(agent, self.name(index)))

    @rule(agent=st.sampled_from([AGENT, OTHER]), good=st.booleans(), index=st.integers(0, 9))
    def complete(self, agent: Caller, good: bool, index: int) -> None:
        self.act(self.desk.complete(agent, self.name(index), good, {"good": good}))

    @rule(seconds=st.sampled_from([1.0, 300.0, 601.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.loop.run_until_complete(self.desk.expire())

    @invariant()
    def phases_follow_the_table(self) -> None:
        if not hasattr(self, "desk"):
            return
        for name, before in self.known.items():
            now = self.loop.run_until_complete(self.desk.store.read(name))
            assert now is not None
            if now.phase is not before.phase:
                assert now.phase in NEXT[before.phase], f"{before.phase} to {now.phase}"
            if now.phase is Phase.APPROVED and now.wish.action == "ask-two":
                votes = self.loop.run_until_complete(self.desk.store.votes(now.id))
                assert len({(vote.issuer, vote.subject) for vote in votes if vote.decision == "approve"}) >= 2
            assert now.version >= before.version
            self.known[name] = now

    @invariant()
    def the_record_tells_the_phase(self) -> None:
        if not hasattr(self, "desk"):
            return
        entries = self.loop.run_until_complete(self.desk.store.record())
        assert verified(entries) == self.loop.run_until_complete(self.desk.store.head())
        for name, found in self.known.items():
            told = [entry for entry in entries if entry.request == name and entry.event != "vote"]
            last = told[-1]
            assert (last.event in ("filed", "revoked")) or last.event == found.phase.value.lower()
            decided = [entry for entry in told if entry.event in ("approved", "denied", "expired")]
            assert len(decided) <= 1


Phases.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestPhases = Phases.TestCase
