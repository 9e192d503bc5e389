"""What an upstream is told of the caller."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wardgate.policy.base import check_header_name, place_field, refuse
from wardgate.problems import NOWHERE, Where


class Source(StrEnum):
    """Which of a session's tokens a value is read from. A bearer token is its own access token and has no other."""

    ACCESS = "access"
    ID = "id"
    USERINFO = "userinfo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimValue:
    """
    A claim as text: strings as they are, numbers in full, lists joined by `separator`; absent means no header.

    CR, LF and NUL, and the separator inside a list's value, are percent-encoded.
    """

    path: tuple[str, ...]
    separator: str = ","
    source: Source = Source.ACCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class RawToken:
    """The token itself, without a scheme: the bearer token, or the session's access or ID token."""

    source: Source = Source.ACCESS

    def __post_init__(self) -> None:
        if self.source is Source.USERINFO:
            raise refuse("token-source", "userinfo is an answer, not a token", NOWHERE, self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityHeader:
    """A request header that the upstream may trust: a client's own copy never survives."""

    name: str
    value: ClaimValue | RawToken
    where: Where = place_field()

    def __post_init__(self) -> None:
        check_header_name(self.name, self.where)
