"""The comparison can fail: a compiler with one rule broken does not get past it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from tests.differential.cases import Case, made
from tests.differential.comparison import compare
from tests.differential.fleet import Fleet
from tests.differential.pending import pending
from wardgate import compiler
from wardgate.envoy import rbac, routes
from wardgate.policy import AllOf, AnyOf, Path, PathKind

Break = Callable[[pytest.MonkeyPatch], None]


def prefixes_without_segments(patch: pytest.MonkeyPatch) -> None:
    """`/a` with everything below is taken for everything that starts with `/a`."""
    right = routes.keys

    def wrong(path: Path, *more: Any) -> Iterator[Any]:
        return right(
            Path(kind=PathKind.TEXT, text=path.text) if path.kind is PathKind.PREFIX else path, *more
        )

    patch.setattr(routes, "keys", wrong)


def methods_that_fall_through(patch: pytest.MonkeyPatch) -> None:
    """A method that a path does not list is judged by the path's first route."""

    def wrong(self: Any, host: Any, group: Any, below: Any, *more: Any) -> Any:
        return self.route(group.routes[0], below)

    patch.setattr(compiler._Compiler, "group", wrong)


def letter_case_ignored(patch: pytest.MonkeyPatch) -> None:
    """A path in other letters reaches the wider route."""

    def wrong(self: Any, below: Any, rule: Any) -> Any:
        return rule

    patch.setattr(compiler._Compiler, "cased", wrong)


def any_for_all(patch: pytest.MonkeyPatch) -> None:
    """One of several conditions suffices where all are asked for."""
    right = rbac.predicate

    def wrong(condition: Any) -> Any:
        return right(AnyOf(condition.conditions) if isinstance(condition, AllOf) else condition)

    patch.setattr(rbac, "predicate", wrong)


@cache
def ordinary() -> list[Case]:
    """The cases of an ordinary run."""
    return made(1, 200)


@pytest.mark.parametrize(
    "breaks", [prefixes_without_segments, methods_that_fall_through, letter_case_ignored, any_for_all]
)
def test_a_broken_rule_is_found(fleet: Fleet, breaks: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these mistakes shows as a difference within the requests of an ordinary run."""
    breaks(monkeypatch)
    for start in range(0, len(ordinary()), 25):
        compared = compare(fleet, ordinary()[start : start + 25])
        if any(not each.agrees and not pending(each) for each in compared):
            return
    pytest.fail("the comparison does not notice")
