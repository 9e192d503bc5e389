"""
Envoy's RBAC filter: conditions on verified claims as predicates, a rule as a per-route matcher.

Fail closed: the filter's own default denies (an RBAC without `rules` allows: run), and every route carries its
own matcher whose first entry denies what the guard has not passed, since Lua fails open.
"""

from __future__ import annotations

import re
from typing import assert_never

from wardgate.envoy import CONFIG, HTTP_FILTERS, Json, matching, names, typed
from wardgate.policy import (
    AllOf,
    AnyOf,
    Authenticated,
    ClaimIs,
    ClaimMatches,
    ClientRole,
    Condition,
    Group,
    Not,
    RealmRole,
    RequestHeader,
    Scope,
)

REJECT = "reject:"
"""Actions whose name starts so mean 401, not 403 (`replies.py` turns the status)."""


def default() -> Json:
    """The filter as it stands in the chain: denies whatever carries no per-route rule."""
    return typed(HTTP_FILTERS + "rbac.v3.RBAC", rules={"action": "ALLOW", "policies": {}})


def per_route(matcher: Json) -> Json:
    return typed(HTTP_FILTERS + "rbac.v3.RBACPerRoute", rbac={"matcher": matcher})


def allow(name: str) -> Json:
    return matching.action(name, typed(CONFIG + "rbac.v3.Action", name=name, action="ALLOW"))


def deny(name: str) -> Json:
    return matching.action(name, typed(CONFIG + "rbac.v3.Action", name=name, action="DENY"))


def unguarded() -> Json:
    """The entry that stands first everywhere: what the guard did not let through is denied."""
    passed = matching.metadata(names.METADATA, ("guarded",), {"bool_match": True})
    return matching.choice(matching.negated(passed), deny("guard"))


def letter_case(paths: Json) -> Json:
    """The entry that denies a folded path below a more specific protecting route; `paths` is a prefix map."""
    return matching.choice(
        matching.header(names.FOLDED, matching.regex(".*")),
        matching.nested(matching.prefix_tree(names.FOLDED, paths)),
    )


def predicate(condition: Condition) -> Json | None:
    """The condition as a predicate; None when it always holds for a valid credential."""
    match condition:
        case Authenticated():
            return None
        case RequestHeader(name, values):
            found = [matching.header(name, {"exact": value, "ignore_case": True}) for value in values]
            return matching.any_of(found)
        case Not(inner):
            return matching.negated(predicate(inner) or _always())
        case AllOf(conditions):
            return matching.all_of([predicate(inner) or _always() for inner in conditions])
        case AnyOf(conditions):
            return matching.any_of(_any_of(conditions))
        case _:
            path, value = claim_value(condition)
            return _claim(path, [value])


Leaf = RealmRole | ClientRole | Group | Scope | ClaimIs | ClaimMatches


def claim_value(leaf: Leaf) -> tuple[tuple[str, ...], Json]:
    """Where the claim is, and the ValueMatcher of one value there."""
    match leaf:
        case RealmRole(role):
            return ("realm_access", "roles"), _text(role)
        case ClientRole(client, role):
            return ("resource_access", client, "roles"), _text(role)
        case Group(name):
            return ("groups",), _text(name)
        case Scope(name):
            word = re.escape(name)
            return ("scope",), _pattern(f"(?:.* )?{word}(?: .*)?")
        case ClaimMatches(path, pattern):
            return path, _pattern(pattern)
        case ClaimIs(path, value):
            return path, _value(value)
        case _:
            assert_never(leaf)


def _value(value: str | int | bool) -> Json:
    if isinstance(value, bool):
        return {"bool_match": value}
    return {"double_match": {"exact": value}} if isinstance(value, int) else _text(value)


def _any_of(conditions: tuple[Condition, ...]) -> list[Json]:
    """Alternatives on one claim become one look-up of it: a role list costs what a single role costs."""
    by_path: dict[tuple[str, ...], list[Json]] = {}
    others = []
    for condition in conditions:
        if isinstance(condition, Leaf):
            path, value = claim_value(condition)
            by_path.setdefault(path, []).append(value)
        else:
            others.append(predicate(condition) or _always())
    return [_claim(path, values) for path, values in by_path.items()] + others


def _claim(path: tuple[str, ...], values: list[Json]) -> Json:
    """The claim is one of the values, or a list that holds one."""
    one = values[0] if len(values) == 1 else {"or_match": {"value_matchers": values}}
    either = {"or_match": {"value_matchers": [one, {"list_match": {"one_of": one}}]}}
    return matching.metadata(names.JWT_METADATA, (names.PAYLOAD, *path), either)


def _always() -> Json:
    return matching.header(":method", matching.regex(".*"))


def _text(value: str) -> Json:
    return {"string_match": {"exact": value}}


def _pattern(pattern: str) -> Json:
    return {"string_match": {"safe_regex": {"regex": pattern}}}
