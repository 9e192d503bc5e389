"""
Whether a rule's conditions hold for a caller and a request, as Envoy's RBAC judges the payload of a token.

A claim is a text, a number (always a double), a boolean, or a list of them; what is missing, null or an object
equals nothing, so a condition on it is false and `Not` of it is true. Every leaf is recorded, also those that can
no longer change the answer: `explain` shows the whole rule.
"""

from __future__ import annotations

import ipaddress
import string
from collections.abc import Callable, Mapping
from typing import Final, assert_never

from wardgate import patterns
from wardgate.decision.model import Request, Step
from wardgate.decision.target import Unsafe, normalize
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
from wardgate.principal import MISSING, Anonymous, Principal
from wardgate.problems import Where, shown

Record = Callable[[Step], None]

_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def holds(
    condition: Condition, caller: Principal | Anonymous, request: Request, where: Where, record: Record
) -> bool:
    """Whether the condition holds. Each leaf is handed to `record`, with `where` as its place. Never raises."""
    match condition:
        case Not(inner):
            return not holds(inner, caller, request, where, record)
        case AllOf(conditions):
            answers = [holds(each, caller, request, where, record) for each in conditions]
            return all(answers)
        case AnyOf(conditions):
            answers = [holds(each, caller, request, where, record) for each in conditions]
            return any(answers)
        case Authenticated():
            passed, seen = isinstance(caller, Principal), ""
        case RequestHeader(name, values):
            passed, seen = _header_is(request, name, values)
        case RequestText():
            passed, seen = _text_compares(request, condition)
        case ClientIn(networks):
            passed, seen = _is_in(request.client, networks), request.client or "not known"
        case RealmRole() | ClientRole() | Group() | Scope() | ClaimIs() | ClaimMatches() | ClaimPresent():
            value = caller.claim(claim_path(condition)) if isinstance(caller, Principal) else MISSING
            passed, seen = (
                _claim_holds(condition, value),
                "missing" if value is MISSING else shown(value, 400),
            )
        case _:
            assert_never(condition)
    record(Step(text=describe(condition), passed=passed, where=where, seen=seen))
    return passed


ClaimCondition = RealmRole | ClientRole | Group | Scope | ClaimIs | ClaimMatches | ClaimPresent


def claim_path(condition: ClaimCondition) -> tuple[str, ...]:
    """Where the claim is that a condition looks at (Keycloak's names for roles)."""
    match condition:
        case RealmRole():
            return ("realm_access", "roles")
        case ClientRole(client):
            return ("resource_access", client, "roles")
        case Group():
            return ("groups",)
        case Scope():
            return ("scope",)
        case ClaimIs(path) | ClaimMatches(path) | ClaimPresent(path):
            return path
        case _:
            assert_never(condition)


def _claim_holds(condition: ClaimCondition, value: object) -> bool:
    match condition:
        case RealmRole(role) | ClientRole(_, role):
            return _is_or_holds(value, lambda item: _equal(item, role))
        case Group(name):
            return _is_or_holds(value, lambda item: _equal(item, name))
        case Scope(name):
            # a text of words (RFC 8693, 4.2), with some issuers a list of them
            words = value.split(" ") if isinstance(value, str) else value
            return bool(name) and _is_or_holds(words, lambda item: _equal(item, name))
        case ClaimIs(_, wanted):
            return _is_or_holds(value, lambda item: _equal(item, wanted))
        case ClaimMatches(_, pattern):
            return _is_or_holds(value, lambda item: isinstance(item, str) and patterns.matches(pattern, item))
        case ClaimPresent():
            return _says_something(value)
        case _:
            assert_never(condition)


def _says_something(value: object) -> bool:
    """Lists in lists, and objects in them, are no claims."""
    if isinstance(value, Mapping):
        return any(map(_says_something, value.values()))
    return _is_or_holds(value, lambda item: isinstance(item, str | int | float))


def _text_compares(request: Request, condition: RequestText) -> tuple[bool, str]:
    text = _part(request, condition)
    if text is None:
        return False, "missing"
    return compares(text, condition.how, condition.value), shown(text)


def _part(request: Request, condition: RequestText) -> str | None:
    match condition.part:
        case Part.METHOD:
            return request.method
        case Part.PATH:
            target = normalize(request.target)
            return None if isinstance(target, Unsafe) else target.path
        case Part.HEADER:
            return request.value(condition.name)
        case _:
            assert_never(condition.part)


def compares(text: str, how: How, value: str) -> bool:
    """As Envoy compares: letter case counts, a pattern is for the whole text."""
    match how:
        case How.EXACT:
            return text == value
        case How.PREFIX:
            return text.startswith(value)
        case How.SUFFIX:
            return text.endswith(value)
        case How.CONTAINS:
            return value in text
        case How.MATCHES:
            return patterns.matches(value, text)
        case _:
            assert_never(how)


def _is_in(client: str, networks: tuple[str, ...]) -> bool:
    if not client:
        return False
    address = ipaddress.ip_address(client)
    return any(address in ipaddress.ip_network(each) for each in networks)


def _is_or_holds(value: object, test: Callable[[object], bool]) -> bool:
    if isinstance(value, list | tuple):
        return any(test(item) for item in value)
    return test(value)


def _equal(item: object, wanted: str | int | bool) -> bool:
    """Equal in type and value: true is not 1, and 1 is 1.0 because JSON has one kind of number."""
    if isinstance(item, bool) or isinstance(wanted, bool):
        return item is wanted
    if isinstance(item, int | float) and isinstance(wanted, int | float):
        return _double(item) == _double(wanted)
    return isinstance(item, str) and item == wanted


def _double(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def _header_is(request: Request, name: str, values: tuple[str, ...]) -> tuple[bool, str]:
    """Several lines of a header are one value, joined by commas (RFC 9110, 5.3)."""
    lines = request.values(name)
    if not lines:
        return False, "missing"
    value = ",".join(lines)
    folded = {each.translate(_ASCII_LOWER) for each in values}
    return value.translate(_ASCII_LOWER) in folded, shown(value)


def describe(condition: Condition) -> str:
    """The condition in words, as `explain` prints it."""
    match condition:
        case Authenticated():
            return "any valid credential"
        case RealmRole(role):
            return f"realm role {role!r}"
        case ClientRole(client, role):
            return f"role {role!r} of client {client!r}"
        case Group(name):
            return f"group {name!r}"
        case Scope(name):
            return f"scope {name!r}"
        case ClaimIs(path, value):
            return f"claim {claim_name(path)} is {shown(value)}"
        case ClaimMatches(path, pattern):
            return f"claim {claim_name(path)} matches {pattern!r}"
        case ClaimPresent(path):
            return f"claim {claim_name(path)} is there"
        case RequestText(part, how, value, name):
            return f"{f'header {name}' if name else part} {how} {value!r}"
        case ClientIn(networks):
            return f"client in {', '.join(networks)}"
        case RequestHeader(name, values):
            return f"header {name} is one of {', '.join(map(repr, values))}"
        case Not(inner):
            return f"not ({describe(inner)})"
        case AllOf(conditions):
            return f"all of ({'; '.join(map(describe, conditions))})"
        case AnyOf(conditions):
            return f"any of ({'; '.join(map(describe, conditions))})"
        case _:
            assert_never(condition)


def claim_name(path: tuple[str, ...]) -> str:
    """A claim's path for people: `realm_access.roles`, quoted where a key itself has a dot."""
    return ".".join(repr(key) if "." in key or not key else key for key in path)
