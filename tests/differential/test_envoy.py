"""`decide` and a real Envoy answer alike: status, rule that decided, identity headers that the upstream gets."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.differential import sessions, tokens
from tests.differential.cases import REQUESTS_PER_POLICY, Case, made
from tests.differential.comparison import Compared, Coverage, compare
from tests.differential.fleet import Fleet
from tests.differential.pending import pending
from tests.differential.reduction import smallest
from wardgate.policy import Condition, PathKind

POLICIES_LEAST, POLICIES_MOST = 100, 800
"""At least so many; more until everything has been seen often enough, and then no more."""

SEEN_LEAST = 20
FUZZ_REQUESTS = int(os.environ.get("FUZZ_REQUESTS") or 0)
FUZZ_SEED = int(os.environ.get("FUZZ_SEED") or 1)

CONDITIONS = tuple(kind.__name__ for kind in Condition.__args__)  # type: ignore[attr-defined]
WANTED: dict[str, tuple[str, ...]] = {
    "path": tuple(PathKind),
    "method": ("any", "one", "several", "unusual"),
    "condition": CONDITIONS,
    "credential": tokens.STATES,
    "session": sessions.STATES,
}
"""What must have been let through, and refused, at least SEEN_LEAST times each."""


BATCH = 25
"""Policies that stand in one Envoy together."""


def batches(first: int) -> Iterator[list[Case]]:
    """Batches of cases, without end; the same from the same number."""
    for number in itertools.count(first):
        found = made(number)
        yield from (found[start : start + BATCH] for start in range(0, len(found), BATCH))


@pytest.mark.timeout(0 if FUZZ_REQUESTS else 600)
def test_fuzz_decide_and_envoy_agree(fleet: Fleet) -> None:
    """Hypothesis-made policies, requests near their rules, credentials in every state: never two answers."""
    coverage = Coverage()
    policies = 0
    for batch in batches(FUZZ_SEED * 1_000_000):
        compared = compare(fleet, batch)
        policies += len(batch)
        report_first([each for each in compared if not each.agrees and not pending(each)], fleet)
        for each in compared:
            coverage.add(each)
        missing = coverage.missing(WANTED, SEEN_LEAST)
        if FUZZ_REQUESTS:
            print(f"{policies * REQUESTS_PER_POLICY} requests, {policies} policies", flush=True)
            if policies * REQUESTS_PER_POLICY >= FUZZ_REQUESTS:
                break
        elif policies >= POLICIES_MOST or (policies >= POLICIES_LEAST and not missing):
            break
    assert not missing, f"seen too seldom in {policies} policies: {missing}"


def report_first(disagreements: list[Compared], fleet: Fleet) -> None:
    """Fail with the smallest policy on which the first of these still disagrees."""
    if disagreements:
        found = smallest(disagreements[0], fleet)
        pytest.fail(f"{len(disagreements)} disagreements; the first, made small:\n{found}", pytrace=False)
