"""
Envoy's RBAC filter: conditions on verified claims as predicates, a rule as a per-route matcher.

Fail closed: the filter's own default denies (an RBAC without `rules` allows: run), and every route carries its
own matcher whose first entry denies what the guard has not passed, since Lua fails open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from wardgate.envoy import CONFIG, EXTENSIONS, HTTP_FILTERS, Json, claims, enabled, matching, names, typed
from wardgate.patterns import escape, without
from wardgate.policy import (
    AllOf,
    AnyOf,
    Authenticated,
    ClaimIs,
    ClaimMatches,
    ClaimPresent,
    ClientIn,
    ClientRole,
    Condition,
    Group,
    How,
    Not,
    Part,
    RealmRole,
    RequestHeader,
    RequestText,
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


def unguarded(*, verified: bool = False) -> Json:
    """
    The entry that stands first everywhere: what the guard did not let through is denied. `verified`: a credential is
    required, and without the text of claims nothing can be asked.
    """
    passed = matching.header(names.GUARDED, {"exact": "1"})
    held = [passed, claims.present()] if verified else [passed]
    return matching.choice(matching.negated(matching.all_of(held)), deny("guard"))


def chosen(again: str | None) -> Json:
    """
    The entry of routes of a host where routes are chosen again: such a route takes requests that were, among its own, and no other
    route takes one of those.
    """
    mark = matching.regex(".+") if again is None else {"exact": claims.plain(again)}
    found = matching.header(names.AGAIN, mark)
    return matching.choice(found if again is None else matching.negated(found), deny("route-again"))


def not_from(vias: list[str]) -> Json:
    """The entry that judges what the service attests: how, and by which provider, the caller came (`claims.via`)."""
    other = [matching.negated(claims.holds_any(vias))] if vias else []
    return matching.choice(
        matching.all_of([claims.is_attested(), *other]), deny(REJECT + "credential-provider")
    )


def revoked(sessions: Iterable[str], generation: int = 0) -> Json:
    """
    The deny list: sessions that ended while attested tokens of theirs may be out, by name.

    A tree on a header costs the same for one and for ten thousand (on metadata it never matches: run on 1.40). Only routes that
    take sessions have the filter (`looked_at`), and there requests without one pass it by, and all while nobody is denied.
    """
    denied = deny(REJECT + "session-revoked")
    found = {f"generation {generation}": denied, **dict.fromkeys(sessions, denied)}
    tree = {"input": matching.header_input(names.SESSION), "exact_match_map": {"map": found}}
    matcher = {"matcher_tree": tree, "on_no_match": allow("not-revoked")}
    judged = typed(HTTP_FILTERS + "rbac.v3.RBAC", matcher=matcher, rules_stat_prefix="revoked_")
    anybody = matching.header(names.SESSION, matching.regex(".+"))
    return typed(
        REVOKED_TYPE,
        extension_config={"name": names.REVOKED, "typed_config": judged},
        xds_matcher=claims.skip_where(matching.negated(anybody) if len(found) > 1 else _always()),
    )


REVOKED_TYPE = EXTENSIONS + "common.matching.v3.ExtensionWithMatcher"


def looked_at() -> Json:
    """Settings of routes that take sessions: whether one has ended is looked at."""
    return {names.REVOKED: enabled({})}


def predicate(condition: Condition) -> Json:
    """The condition as a predicate on claims and request."""
    match condition:
        case Authenticated():
            return claims.present()
        case ClaimPresent(path):
            return claims.holds_some(path)
        case RequestText():
            return _text(condition)
        case ClientIn(networks):
            return matching.client_in(networks)
        case RequestHeader(name, values):
            found = [matching.header(name, {"exact": value, "ignore_case": True}) for value in values]
            return matching.any_of(found)
        case Not(inner):
            return matching.negated(predicate(inner))
        case AllOf(conditions):
            return matching.all_of([predicate(inner) for inner in conditions])
        case AnyOf(conditions):
            return matching.any_of(_any_of(conditions))
        case ClaimMatches(path, pattern):
            return _matches(path, pattern)
        case _:
            return claims.holds_any([item(condition)])


Leaf = RealmRole | ClientRole | Group | Scope | ClaimIs


def item(leaf: Leaf) -> str:
    """The claim that the condition asks for, as it stands in the text of claims."""
    match leaf:
        case RealmRole(role):
            return claims.item(("realm_access", "roles"), role)
        case ClientRole(client, role):
            return claims.item(("resource_access", client, "roles"), role)
        case Group(name):
            return claims.item(("groups",), name)
        case Scope(name):
            return claims.scope_item(name)
        case ClaimIs(path, value):
            return claims.item(path, value)
        case _:
            assert_never(leaf)


def _any_of(conditions: tuple[Condition, ...]) -> list[Json]:
    """Alternatives on single claims are one question: a role list costs what a single role costs."""
    items = [item(condition) for condition in conditions if isinstance(condition, Leaf)]
    others = [predicate(c) for c in conditions if not isinstance(c, Leaf)]
    return ([claims.holds_any(items)] if items else []) + others


def needs_payload(condition: Condition) -> bool:
    """Whether the condition cannot be asked of the text of claims: a pattern could match across its marks."""
    match condition:
        case ClaimMatches():
            return True
        case Not(inner):
            return needs_payload(inner)
        case AllOf(conditions) | AnyOf(conditions):
            return any(needs_payload(inner) for inner in conditions)
        case _:
            return False


def _text(condition: RequestText) -> Json:
    if condition.part is Part.PATH:
        return matching.header(":path", _path(condition.how, condition.value))
    name = ":method" if condition.part is Part.METHOD else condition.name.lower()
    return matching.header(name, matching.compared(condition.how, condition.value))


def _path(how: How, value: str) -> Json:
    """Of `:path`, which has the query: what is compared ends before it, and a value with `?` fits no path."""
    text, query = escape(value), r"(?:\?.*)?"
    match how:
        case How.EXACT:
            return matching.regex(text + query if "?" not in value else _NOTHING)
        case How.PREFIX:
            return {"prefix": value} if "?" not in value else matching.regex(_NOTHING)
        case How.SUFFIX:
            return matching.regex(rf"[^?]*{text}{query}" if "?" not in value else _NOTHING)
        case How.CONTAINS:
            return matching.regex(rf"[^?]*{text}[^?]*{query}" if "?" not in value else _NOTHING)
        case How.MATCHES:
            return matching.regex(f"(?:{without(value, '?')}){query}")
        case _:
            assert_never(how)


_NOTHING: Final = r"[^\s\S]"


def _matches(path: tuple[str, ...], pattern: str) -> Json:
    one = {"string_match": {"safe_regex": {"regex": pattern}}}
    either = {"or_match": {"value_matchers": [one, {"list_match": {"one_of": one}}]}}
    places = ((names.PAYLOAD, *path), (names.ATTESTED_PAYLOAD, "claims", *path))
    return matching.any_of([matching.metadata(names.JWT_METADATA, place, either) for place in places])


def _always() -> Json:
    return matching.header(":method", matching.regex(".*"))
