"""What every part of the model is made with: errors, secrets, names of headers and methods."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from typing import Final

from wardgate.problems import NOWHERE, ConfigError, Problem, Where, shown

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header or method name (RFC 9110, 5.6.2)."""

ANY_METHOD: Final = frozenset({"*"})
STANDARD_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What ANY_METHOD stands for. CONNECT and TRACE never reach an upstream; others only where a route lists them."""

REFUSED_METHODS: Final = frozenset({"CONNECT", "TRACE", "TRACK"})


def refuse(code: str, message: str, where: Where, got: object = "", hint: str = "") -> ConfigError:
    """The error of one value that checks itself."""
    text = shown(got) if got != "" else ""
    return ConfigError([Problem(code=code, message=message, where=where, got=text, hint=hint)])


def place_field() -> Where:
    return field(default=NOWHERE, compare=False, repr=False)


class Secret:
    """
    A value that never prints. `reference` is how `show` and `compile` write it: `${NAME}`, or where it came from.

    Equality is by reference when both have one, so that a policy read back from `show` equals the first.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str) -> None:
        self._value = value
        self.reference = reference

    def reveal(self) -> str:
        return self._value

    def unknown(self) -> Secret:
        """What stands in its place where it must not be shown."""
        return Secret(f"not shown: {self.reference}", self.reference)

    def __repr__(self) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)


def check_header_name(name: str, where: Where) -> None:
    """Refuse what is no header name, what would break the request's framing, and our internal prefix."""
    if not TOKEN.fullmatch(name):
        raise refuse("header-name", "is not a header name", where, name)
    if name.lower() in FRAMING_HEADERS or name.lower().startswith(INTERNAL_PREFIX):
        raise refuse("header-reserved", "a header that the gateway itself governs", where, name)


INTERNAL_PREFIX: Final = "x-wardgate-"
FRAMING_HEADERS: Final = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
    }
)


def check_header_value(value: str, where: Where) -> None:
    """Raises ConfigError for what no header can hold (RFC 9110, 5.5)."""
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        raise refuse("header-value", "is no value of a header", where, value)


def is_below(path: str, place: str) -> bool:
    """Whether a path is this place, or below it."""
    return path == place or path.startswith(place + "/")


def require_unique(code: str, message: str, named: Iterable[tuple[str, Where]]) -> None:
    """Raises ConfigError for each name that is there again."""
    seen: dict[str, Where] = {}
    problems = []
    for name, where in named:
        if name in seen:
            hint = f"the first is at {seen[name]}" if str(seen[name]) else ""
            problems.append(Problem(code=code, message=message, where=where, got=shown(name), hint=hint))
        seen.setdefault(name, where)
    if problems:
        raise ConfigError(problems)
