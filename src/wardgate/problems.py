"""
What can be wrong, and how it is said.

Three families of errors and no more: `ConfigError` (what a person wrote), `TokenError` (what a caller
presented), `Unavailable` (what cannot be told now). Errors carry data; the command line, the service and the
controllers do the talking.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A place in a configuration: file, line (1-based, 0 when there is none) and path inside the document."""

    file: str = ""
    line: int = 0
    path: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.path) if part)


NOWHERE = Where()


class Severity(StrEnum):
    """An error stops the configuration; a warning is said, and the configuration is used."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """
    One thing that is wrong: `code` is stable and documented (`docs/reference/problems.md`).

    `got` is what was found, already safe to print: never the value of a secret.
    """

    code: str
    message: str
    where: Where = field(default=NOWHERE)
    got: str = ""
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        got = f", got {self.got}" if self.got else ""
        place = f"{self.where}: " if str(self.where) else ""
        kind = "warning: " if self.severity is Severity.WARNING else ""
        hint = f"\n    hint: {self.hint}" if self.hint else ""
        return f"{place}{kind}{self.message}{got} [{self.code}]{hint}"


class ConfigError(Exception):
    """A configuration that cannot be used: carries every problem that was found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class TokenError(Exception):
    """A credential that was presented and is refused: 401. Each subclass has one stable `code`."""

    code = "token-invalid"


class Unavailable(Exception):
    """The answer cannot be given now: 503, never an open door."""


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Those of the problems that stop a configuration."""
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def shown(value: object, limit: int = 60) -> str:
    """A value as a message prints it: quoted when it is text, cut when it is long."""
    if isinstance(value, StrEnum):
        value = value.value
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
