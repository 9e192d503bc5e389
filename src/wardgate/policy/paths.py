"""Which paths a route is for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wardgate import patterns
from wardgate.policy.base import place_field, refuse
from wardgate.problems import NOWHERE, Where


class PathKind(StrEnum):
    """
    How a route's path is compared with a request's.

    EXACT `/x`: that path. PREFIX `/x` with everything below: `/x`, `/x/`, `/x/y`, never `/xy`.
    UNDER: only below: `/x/`, `/x/y`, not `/x`. TEXT: any path that starts with these characters: `/x`, `/xy`.
    MATCHES: a pattern (RE2) for the whole path.
    """

    EXACT = "exact"
    PREFIX = "prefix"
    UNDER = "under"
    MATCHES = "matches"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """`text` is a pattern (MATCHES), or starts with `/` and, except for the root, does not end with one (PREFIX and UNDER)."""

    kind: PathKind
    text: str
    where: Where = place_field()

    def __post_init__(self) -> None:
        if self.kind is PathKind.MATCHES:
            require_path_pattern("path-pattern", self.text, self.where)
            return
        if not self.text.startswith("/"):
            raise refuse("path-form", "a path starts with /", self.where, self.text)
        if UNSAFE_PATH.search(self.text):
            hint = (
                "write the path as the application sees it: no encoded characters, no ; and no dot segments"
            )
            raise refuse("path-form", "a path that no request can have", self.where, self.text, hint)
        if self.kind in (PathKind.PREFIX, PathKind.UNDER) and self.text != "/" and self.text.endswith("/"):
            raise refuse("path-form", "a prefix is written without its last /", self.where, self.text)

    @property
    def folded(self) -> str:
        """Two paths that have this in common differ in letter case at most."""
        return self.text if self.kind is PathKind.MATCHES else self.text.lower()

    def __str__(self) -> str:
        match self.kind:
            case PathKind.MATCHES:
                return f"~ {self.text}"
            case PathKind.EXACT:
                return self.text
            case PathKind.TEXT:
                return self.text + "*"
            case PathKind.PREFIX | PathKind.UNDER:
                return self.text.rstrip("/") + ("/**" if self.kind is PathKind.PREFIX else "/*")


def require_path_pattern(code: str, pattern: str, where: Where = NOWHERE) -> None:
    """Raises ConfigError for one that cannot be asked of a path alone."""
    hint = "RE2 syntax for the whole path, such as /v[0-9]+/.*: no look-around, and no ? or \\x that could be in a query"
    try:
        if not pattern:
            raise patterns.NoPattern("it is empty")
        patterns.without(pattern, "?")
    except patterns.NoPattern as error:
        raise refuse(code, f"not a pattern for a path: {error}", where, pattern, hint) from error


UNSAFE_PATH: Final = re.compile(
    r"[;\\\x00-\x20\x7f?#]|%(?:2[eEfF35]|5[cC]|3[bBfF]|7[fF]|[01][0-9a-fA-F]|(?![0-9a-fA-F]{2}))"
    # spaces and dots that some servers drop from the end of a name, and UTF-8 that has a shorter spelling
    r"|/%20|%20(?:/|$)|//|\.(?:/|$)|%(?:[cC][01]|[fF][5-9a-fA-F]|[eE]0%[89]|[fF]0%8)"
)
"""What is refused in a path after normalization (design 6): a second reader could see another path there."""
