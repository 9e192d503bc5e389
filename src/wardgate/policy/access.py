"""Who may, and which credentials are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wardgate.policy.base import TOKEN, check_header_name, refuse
from wardgate.policy.conditions import Condition
from wardgate.problems import NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """Open: no credential is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Open to those for whom `when` holds."""

    when: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """Closed to everyone; `because` is for people."""

    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Closed to everyone with 500, since what would protect it cannot be enforced (Gateway API); `because` is for people."""

    because: str


Access = Public | Rule | Denied | Broken


class Kind(StrEnum):
    """How a credential arrives: `Authorization: Bearer`, or our session cookie."""

    BEARER = "bearer"
    SESSION = "session"


class Mode(StrEnum):
    """
    What a route does about credentials.

    IGNORED: they are not looked at. REQUIRED: 401 without a valid one. OPTIONAL: anonymous passes, a bad one is 401.
    PERMISSIVE: anonymous and bad ones pass, without identity.
    """

    IGNORED = "ignored"
    REQUIRED = "required"
    OPTIONAL = "optional"
    PERMISSIVE = "permissive"


class Carrier(StrEnum):
    """What of a request carries a bearer token."""

    HEADER = "header"
    COOKIE = "cookie"
    PARAM = "param"


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """
    Where a bearer token is: the header, cookie or query parameter `name`; in a header behind `prefix`. `providers`: only tokens of these
    may be there; none named: of all.
    """

    carrier: Carrier
    name: str
    prefix: str = ""
    providers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.carrier is Carrier.HEADER:
            check_header_name(self.name, NOWHERE)
        elif not TOKEN.fullmatch(self.name):
            raise refuse("token-place", "not the name of a cookie or a parameter", NOWHERE, self.name)


AUTHORIZATION: Final = TokenPlace(Carrier.HEADER, "authorization", "Bearer ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """
    `providers` are names. No kinds or no providers: nothing is accepted, a REQUIRED route is 401 to everyone.

    `introspect`: the issuer is asked about every bearer token (RFC 7662), whatever its provider says. `places`: where bearer tokens
    are looked for; tokens in two of them are two credentials. Authorization is not looked at where it is none of them, and never
    gets to the upstream there.
    """

    mode: Mode = Mode.REQUIRED
    kinds: frozenset[Kind] = frozenset({Kind.BEARER, Kind.SESSION})
    providers: tuple[str, ...] = ()
    introspect: bool = False
    places: tuple[TokenPlace, ...] = (AUTHORIZATION,)
