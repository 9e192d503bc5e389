"""The comparison can fail: a compiler with one rule broken does not get past it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from tests.differential.cases import Case, made
from tests.differential.comparison import compare
from tests.differential.fleet import Fleet
from tests.differential.pending import pending
from wardgate import compiler
from wardgate.envoy import claims, rbac, routes
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
        return self.route(host, group.routes[0], below)

    patch.setattr(compiler._Compiler, "group", wrong)


def letter_case_ignored(patch: pytest.MonkeyPatch) -> None:
    """A path in other letters reaches the wider route."""

    def wrong(self: Any, host: Any, below: Any, rule: Any) -> Any:
        return rule

    patch.setattr(compiler._Compiler, "cased", wrong)


def any_for_all(patch: pytest.MonkeyPatch) -> None:
    """One of several conditions suffices where all are asked for."""
    right = rbac.predicate

    def wrong(condition: Any) -> Any:
        return right(AnyOf(condition.conditions) if isinstance(condition, AllOf) else condition)

    patch.setattr(rbac, "predicate", wrong)


def sessions_of_anyone(patch: pytest.MonkeyPatch) -> None:
    """A session of any provider opens every route that takes sessions."""
    right = compiler._Compiler.credential_judges

    def wrong(self: Any, credentials: Any) -> Any:
        return right(self, credentials)[1:]

    patch.setattr(compiler._Compiler, "credential_judges", wrong)


def our_cookie_goes_on(patch: pytest.MonkeyPatch) -> None:
    """Where no credential is looked at, the upstream sees the session cookie."""
    right = claims.unseen

    def wrong(_: Any, **more: Any) -> Any:
        return right(None, **more)

    patch.setattr(claims, "unseen", wrong)


def cookies_of_others_go_on(patch: pytest.MonkeyPatch) -> None:
    """The upstream of one client sees the session cookie of another."""
    right = compiler._Compiler.terms

    def wrong(self: Any, *arguments: Any) -> Any:
        return replace(right(self, *arguments), own_cookies=False)

    patch.setattr(compiler._Compiler, "terms", wrong)


def sessions_everywhere(patch: pytest.MonkeyPatch) -> None:
    """Routes that take no sessions take them."""
    right = compiler._Compiler.terms

    def wrong(self: Any, *more: Any) -> Any:
        return replace(right(self, *more), sessions=self.cookie is not None)

    patch.setattr(compiler._Compiler, "terms", wrong)


def logins_everywhere(patch: pytest.MonkeyPatch) -> None:
    """Every route that takes sessions sends an anonymous navigation to the login."""

    def wrong(self: Any, route: Any) -> Any:
        return tuple(sorted(self.login_providers)) if self.accepts_session(route.credentials) else None

    patch.setattr(compiler._Compiler, "logins", wrong)


def tokens_for_everyone(patch: pytest.MonkeyPatch) -> None:
    """Every upstream gets the session's access token."""
    patch.setattr(compiler._Compiler, "forwards", lambda self, route: self.cookie is not None)


def any_origin(patch: pytest.MonkeyPatch) -> None:
    """A page of any site opens a WebSocket with a session."""
    in_lua(patch, "if route.origins[origin] then return true end", "if origin then return true end")


def one_cookie_line(patch: pytest.MonkeyPatch) -> None:
    """A session in the second line of Cookie is not found, and goes on to the upstream."""
    in_lua(patch, 'if not cookie or not find(cookie, ",", 1, true)', "if true")


def first_cookie_wins(patch: pytest.MonkeyPatch) -> None:
    """Of two session cookies one counts."""
    in_lua(patch, "if count > 1 then", "if false then")


def session_beside_a_token(patch: pytest.MonkeyPatch) -> None:
    """A session and a bearer token in one request: the session counts."""
    in_lua(patch, "if id and value and route.bearer then", "if false then")


def strangers_on_permissive_routes(patch: pytest.MonkeyPatch) -> None:
    """A permissive route takes a session of another provider for a caller, instead of nobody."""
    in_lua(patch, 'if route.mode == "permissive" and not route.vias', "if false and not route.vias")


def in_lua(patch: pytest.MonkeyPatch, right: str, wrong: str) -> None:
    """The guard with one condition replaced."""
    text = claims.gate_source("@MODE@")
    assert right in text
    patch.setattr(claims, "gate_source", lambda mode: text.replace(right, wrong).replace("@MODE@", mode))


@cache
def ordinary() -> list[Case]:
    """The cases of two ordinary runs."""
    return [*made(1, 200), *made(2, 200)]


@pytest.mark.parametrize(
    "breaks",
    [
        *(prefixes_without_segments, methods_that_fall_through, letter_case_ignored, any_for_all),
        *(sessions_of_anyone, our_cookie_goes_on, sessions_everywhere, logins_everywhere),
        cookies_of_others_go_on,
        *(tokens_for_everyone, any_origin, one_cookie_line, first_cookie_wins, session_beside_a_token),
        strangers_on_permissive_routes,
    ],
)
def test_a_broken_rule_is_found(fleet: Fleet, breaks: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these mistakes shows as a difference within the requests of two ordinary runs (usually of one)."""
    breaks(monkeypatch)
    for start in range(0, len(ordinary()), 25):
        compared = compare(fleet, ordinary()[start : start + 25])
        if any(not each.agrees and not pending(each) for each in compared):
            return
    pytest.fail("the comparison does not notice")
