"""What is compared: a policy, and the requests that are made to it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

from tests.differential.enforced import policies
from tests.differential.probes import Probe, probe
from wardgate.policy import Policy

REQUESTS_PER_POLICY = 20
AVAILABLE = (*[("main", "other")] * 20, ("main",), ("other",), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A policy, the providers whose keys are there, and what is asked of it."""

    policy: Policy
    available: tuple[str, ...]
    probes: tuple[Probe, ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A policy with requests that come close to its rules."""
    chance = random.Random(draw(st.integers(0, 2**64 - 1)))
    policy = draw(policies(chance))
    probes: list[Probe] = []
    while len(probes) < REQUESTS_PER_POLICY:
        probes.append(probe(policy, chance, probes))
    return Case(policy=policy, available=chance.choice(AVAILABLE), probes=tuple(probes))


CASES = cases()


class Repeatable(HypothesisProvider):
    """Draws no constants: Hypothesis takes them from all modules of this project that happen to be imported."""

    def _maybe_draw_constant(self, *args: Any, **options: Any) -> None:
        return None


AVAILABLE_PROVIDERS["repeatable"] = f"{__name__}.Repeatable"


def made(number: int, size: int = 100) -> list[Case]:
    """So many cases; the same from the same number, whatever other tests run in this process."""
    found: list[Case] = []

    @seed(number)
    @settings(
        backend="repeatable",
        max_examples=size,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(CASES)
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found
