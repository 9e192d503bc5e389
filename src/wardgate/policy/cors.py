"""Cross-origin rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from wardgate import patterns
from wardgate.policy.base import place_field, refuse
from wardgate.problems import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """
    Cross-origin rules (Fetch standard). An origin is exact, or has `*` for what it is of any name (`https://*.example.com`: at
    any depth below), or is `*` for all.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age: timedelta | None = None
    credentials: bool = False
    where: Where = place_field()

    def __post_init__(self) -> None:
        if self.credentials and "*" in self.origins:
            hint = "list the origins; browsers refuse * together with credentials"
            raise refuse("cors-any-origin", "any origin together with credentials", self.where, hint=hint)

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may read answers."""
        return any(re.fullmatch(origin_pattern(each), origin) for each in self.origins)


def origin_pattern(origin: str) -> str:
    """RE2 of the origins that one of `Cors.origins` means."""
    if origin == "*":
        return ".*"
    return "[^/?#@]+".join(map(patterns.escape, origin.split("*")))
