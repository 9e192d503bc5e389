"""
A document while it is turned into a policy: places, secrets, and the problems that were met.

Not the meaning of any key (`_native_rules`, `_native_edges`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from wardgate.document import Document, Path
from wardgate.policy import Secret
from wardgate.problems import NOWHERE, ConfigError, Problem, Severity, Where

Made = TypeVar("Made")

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """
    One document and what was found in it.

    `skipped` are routes that the schema refused: they are stood in for by placeholders, and never looked at.
    """

    document: Document
    skipped: frozenset[Path] = frozenset()
    allow_insecure: bool = False
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def where(self, path: Path) -> Where:
        return self.document.where(*path)

    def complain(
        self,
        code: str,
        message: str,
        path: Path,
        *,
        got: str = "",
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        where = self.where(path)
        self.problems.append(
            Problem(code=code, message=message, where=where, got=got, hint=hint, severity=severity)
        )

    def insecure(self, message: str, path: Path) -> None:
        """A setting that turns a check off: refused, or, when that was allowed, said at start."""
        if self.allow_insecure:
            self.notes.append(f"{self.where(path)}: {message}")
            return
        hint = "leave it out, or start with --allow-insecure where this is not production"
        self.complain("insecure-setting", message, path, hint=hint)

    def attempt(self, path: Path, make: Callable[[], Made]) -> Made | None:
        """What `make` gives, or None: a value that refuses itself is a problem at `path`."""
        try:
            return make()
        except ConfigError as error:
            self.problems.extend(_placed(error.problems, self.where(path)))
            return None

    def secret(self, path: Path, value: str, name: str) -> Secret:
        """A secret; one that stands in the file itself is printed as `${WARDGATE_<NAME>}`."""
        return Secret(value, self.reference(path) or f"${{WARDGATE_{_variable(name)}}}")

    def reference(self, path: Path) -> str | None:
        """`${NAME}` when the whole value came from the environment; a default is left out: it may be the secret."""
        match = _NAME.fullmatch(self.document.reference(*path) or "")
        return f"${{{match[1]}}}" if match else None


def _variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", name.upper())


def _placed(problems: Iterable[Problem], where: Where) -> list[Problem]:
    return [replace(problem, where=where) if problem.where == NOWHERE else problem for problem in problems]
