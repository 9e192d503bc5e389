"""What a rule asks of a caller and of a request."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from wardgate import patterns
from wardgate.policy.base import refuse
from wardgate.policy.paths import require_path_pattern
from wardgate.problems import NOWHERE


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Any caller whose credential is valid."""


@dataclass(frozen=True, slots=True)
class RealmRole:
    """Keycloak: `realm_access.roles` holds the role."""

    role: str


@dataclass(frozen=True, slots=True)
class ClientRole:
    """Keycloak: `resource_access.<client>.roles` holds the role."""

    client: str
    role: str


@dataclass(frozen=True, slots=True)
class Group:
    """`groups` holds the name, compared as it is: `/team` and `team` differ."""

    name: str


@dataclass(frozen=True, slots=True)
class Scope:
    """`scope` (space-separated, or a list) holds the name (RFC 9068)."""

    name: str


@dataclass(frozen=True, slots=True)
class ClaimIs:
    """The claim at `path` is `value`, or is a list that holds it. Types matter: `1`, `"1"` and `true` differ."""

    path: tuple[str, ...]
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class ClaimMatches:
    """The claim at `path` is a string that `pattern` (RE2) matches whole, or a list that holds such a string."""

    path: tuple[str, ...]
    pattern: str

    def __post_init__(self) -> None:
        _require_pattern("claim-pattern", self.pattern)


def _require_pattern(code: str, pattern: str) -> None:
    """Raises ConfigError."""
    hint = "RE2 syntax: no look-around, no back references; an empty pattern would match nothing"
    if not pattern:
        raise refuse(code, "an empty pattern", NOWHERE, pattern, hint)
    try:
        patterns.require(pattern)
    except patterns.NoPattern as error:
        raise refuse(code, f"not a pattern: {error}", NOWHERE, pattern, hint) from error


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """A request header is present with one of these values, letter case aside (gatekeeper `resources[].headers`)."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClaimPresent:
    """
    The claim at `path` is there, and says something: a text, a number, a boolean, a list that holds one, an object that has
    such a claim. What is null or empty says nothing.
    """

    path: tuple[str, ...]


class Part(StrEnum):
    """A part of a request that a condition looks at."""

    METHOD = "method"
    PATH = "path"
    HEADER = "header"


class How(StrEnum):
    """How a text is compared; letter case counts. MATCHES: a pattern (RE2) for the whole text."""

    EXACT = "is"
    PREFIX = "begins with"
    SUFFIX = "ends with"
    CONTAINS = "contains"
    MATCHES = "matches"


@dataclass(frozen=True, slots=True)
class RequestText:
    """
    A part of the request compares so with `value`: the path as it is routed, without its query; several lines of the header
    `name` as one, joined by commas.
    """

    part: Part
    how: How
    value: str
    name: str = ""

    def __post_init__(self) -> None:
        if self.how is How.MATCHES and self.part is Part.PATH:
            require_path_pattern("request-pattern", self.value)
        require_comparable(self.how, self.value)


def require_comparable(how: How, value: str) -> None:
    """Raises ConfigError."""
    if how is How.MATCHES:
        _require_pattern("request-pattern", value)
    elif not value and how is not How.EXACT:
        raise refuse("request-empty", f"everything {how} nothing", NOWHERE)


@dataclass(frozen=True, slots=True)
class ClientIn:
    """The client's address is in one of these networks: the peer's, or what a trusted proxy says."""

    networks: tuple[str, ...]

    def __post_init__(self) -> None:
        for text in self.networks:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise refuse(
                    "client-network", "no range of addresses", NOWHERE, text, "10.0.0.0/8"
                ) from error


@dataclass(frozen=True, slots=True)
class Not:
    condition: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _not_empty(self.conditions)


@dataclass(frozen=True, slots=True)
class AnyOf:
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _not_empty(self.conditions)


Condition = (
    Authenticated
    | RealmRole
    | ClientRole
    | Group
    | Scope
    | ClaimIs
    | ClaimMatches
    | ClaimPresent
    | RequestHeader
    | RequestText
    | ClientIn
    | Not
    | AllOf
    | AnyOf
)


def _not_empty(conditions: tuple[Condition, ...]) -> None:
    if not conditions:
        raise refuse("rule-empty", "an empty list of conditions would let everyone or no one in", NOWHERE)
