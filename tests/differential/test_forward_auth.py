"""`decide` and a real Envoy answer other proxies' questions alike."""

from __future__ import annotations

import random
from collections import Counter

from tests.differential.asked import asked
from tests.differential.cases import made
from tests.differential.comparison import compare
from tests.differential.fleet import Fleet
from tests.differential.pending import pending
from tests.differential.test_envoy import report_first
from wardgate.decision.forward_auth import original
from wardgate.decision.model import GUARD_HEADER, Request


def test_questions_are_answered_alike(fleet: Fleet) -> None:
    """Told in every way, well and badly, by proxies that are trusted and by others."""
    chance = random.Random(5)
    seen: Counter[tuple[str, int]] = Counter()
    cases = [asked(case, chance) for case in made(3, 150)]
    for start in range(0, len(cases), 25):
        compared = compare(fleet, cases[start : start + 25])
        report_first([each for each in compared if not each.agrees and not pending(each)], fleet)
        for each in compared:
            listener = next(x for x in each.policy.listeners if x.name == each.request.listener)
            found = original(each.policy, listener, each.request)
            way = found.asked if isinstance(found, Request) else type(found).__name__
            if each.python.rule != GUARD_HEADER:  # Envoy's codec refuses it before anything of ours
                seen[way, each.envoy.status] += 1
    print(sorted(seen.items()))
    for way in ("forwarded", "nginx", "path"):
        assert seen[way, 200] > 30, seen
        assert seen[way, 401] + seen[way, 403] > 30, seen
    assert {status for way, status in seen if way == "nginx"} <= {200, 401, 403}
    assert seen["Unclear", 400] > 30, seen
    assert seen["Unclear", 403] > 30, seen
