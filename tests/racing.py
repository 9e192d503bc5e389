"""
Many requests of agents, two reviewers with opposite votes, and whatever is killed meanwhile: what must hold afterwards.

Each acknowledged answer holds, each request has one end, the record tells each decision once and its chain verifies.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.holding.agents import ASKED, Agent
from wardgate.approvals.audit import Entry, verified
from wardgate.approvals.schema import canonical

Somebody = Callable[[], Agent]
"""One of them at any replica."""


class Lasting:
    """Tokens for a race that outlives one: a new one every two minutes."""

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch
        self._until = 0.0
        self._token = ""

    def __call__(self) -> str:
        if time.monotonic() > self._until:
            self._token, self._until = self._fetch(), time.monotonic() + 120
        return self._token


def race(
    agent: Somebody, reviewers: Sequence[Somebody], many: int, at_once: int = 8
) -> list[tuple[str, list[str]]]:
    """`many` requests, each filed and decided by all reviewers at once: names, and the phases that reviewers were told."""
    with ThreadPoolExecutor(at_once) as pool, ThreadPoolExecutor(at_once * len(reviewers)) as voters:
        return list(pool.map(lambda number: _one(agent, reviewers, number, voters), range(many)))


def _one(
    agent: Somebody, reviewers: Sequence[Somebody], number: int, voters: ThreadPoolExecutor
) -> tuple[str, list[str]]:
    filed = answered(agent, "/agent-requests", ASKED, Idempotency_Key=f"k{number}")
    assert filed.status_code in (200, 201), filed.text
    name = filed.json()["name"]
    decisions = random.sample(["approve", "deny"], 2)

    def vote(reviewer: Somebody, decision: str) -> httpx.Response:
        return answered(reviewer, f"/agent-requests/{name}/{decision}", {"reason": ""})

    told = []
    for answer in voters.map(vote, reviewers, decisions):
        assert answer.status_code in (200, 409), answer.text
        if answer.status_code == 200:
            told.append(answer.json()["phase"])
    return name, told


def answered(who: Somebody, path: str, body: Any, **headers: str) -> httpx.Response:
    """Send until there is an answer: nobody answers for a while, or too many ask."""
    while True:
        try:
            answer = who().send("POST", path, body, **headers)
        except httpx.HTTPError:
            continue
        if answer.status_code not in (429, 503):
            return answer
        time.sleep(0.05)


def ready(who: Agent) -> bool:
    try:
        return who.send("GET", "/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def record(reader: Agent) -> list[Entry]:
    """All of it, page by page."""
    found: list[Entry] = []
    after: Any = 0
    while after is not None:
        page = reader.send("GET", f"/audit-records?limit=1000&after={after}").json()
        for one in page["items"]:
            fields = {key: one[key] for key in ("seq", "request", "event", "previous", "hash")}
            found.append(Entry(**fields, at=one["time"], body=canonical(one["body"])))
        after = page["next"]
    return found


def require_one_end_each(reader: Agent, answers: Sequence[tuple[str, list[str]]]) -> None:
    entries = record(reader)
    verified(entries)
    by_request: dict[str, list[str]] = {}
    for entry in entries:
        by_request.setdefault(entry.request, []).append(entry.event)
    assert by_request.keys() == {name for name, _ in answers}
    assert len(by_request) == len(answers)
    for name, acknowledged in answers:
        filed, *decided = by_request[name]
        assert filed == "filed" and decided in (["approved"], ["denied"])
        assert acknowledged, f"nobody was told how {name} was decided"
        assert {phase.lower() for phase in acknowledged} == set(decided)
