"""
Runs golden cases of dialects: `dialects/<dialect>/<case>/` holds documents, and what must come of them.

Documents are `*.yaml`, merged in the order of their names. `options.json` (optional) holds what the command line
and the environment add: `settings` (pairs), `environ`, `flags`, `listen`, `trusted_proxies`, `allow_insecure`.
Expected: `problems.txt` (each problem as people see it, then the notes) and `policy.txt` (the policy, defaults left
out, printed without the native dialect, so that an error there hides nothing here), `status.txt` (the conditions of
manifests).

`make golden` (GOLDEN=rewrite) writes the expected files anew.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from wardgate import dialects, document
from wardgate.dialects import Options, Reading, Status
from wardgate.policy import Policy, Secret
from wardgate.problems import ConfigError, Where

FOLDER = Path(__file__).parent / "dialects"
REWRITE = os.environ.get("GOLDEN") == "rewrite"
WIDTH = 100
FILES = ("problems.txt", "policy.txt", "status.txt")


@dataclass(frozen=True, slots=True)
class Case:
    """One folder of inputs and expected outputs."""

    dialect: str
    name: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.dialect}/{self.name}"


def cases() -> list[Case]:
    """Every folder below `dialects/<dialect>/`, found by looking."""
    folders = sorted(path for path in FOLDER.glob("*/*") if path.is_dir())
    return [Case(dialect=path.parent.name, name=path.name, folder=path) for path in folders]


def read(case: Case) -> Reading:
    """What the dialect makes of the case's documents."""
    given = _options(case)
    found, problems = [], []
    for path in sorted(case.folder.glob("*.yaml")):
        try:
            found += document.read_all(path.read_bytes(), path.name, given.environ)
        except ConfigError as error:
            problems += error.problems
    if problems:
        return Reading(policy=None, problems=tuple(problems))
    return dialects.read(found, given, case.dialect)


def outputs(reading: Reading) -> dict[str, str]:
    """The expected files by their name; a policy that was refused has none."""
    said = [str(problem) for problem in reading.problems] + [f"note: {note}" for note in reading.notes]
    texts = {"problems.txt": "\n".join(said) + "\n" if said else "nothing to say\n"}
    if reading.policy is not None:
        texts["policy.txt"] = printed(reading.policy)
    if reading.statuses:
        texts["status.txt"] = "".join(_status(one) for one in reading.statuses)
    return texts


def _status(found: Status) -> str:
    lines = [f"{found.name.kind} {found.name}"]
    for one in found.conditions:
        parent = f" [{one.parent}]" if one.parent else ""
        lines.append(f"  {one.type} {one.status} {one.reason}{parent}: {one.message}")
    return "\n".join(lines) + "\n"


def expected(case: Case) -> dict[str, str]:
    found = {name: case.folder / name for name in FILES}
    return {name: path.read_text("utf-8") for name, path in found.items() if path.exists()}


def rewrite(case: Case, texts: dict[str, str]) -> None:
    for name in FILES:
        (case.folder / name).unlink(missing_ok=True)
    for name, text in texts.items():
        (case.folder / name).write_text(text, "utf-8")


def _options(case: Case) -> Options:
    path = case.folder / "options.json"
    given: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    proxies = given.pop("trusted_proxies", None)
    settings = given.pop("settings", [])
    return Options(
        settings=tuple((str(name), str(value)) for name, value in settings),
        trusted_proxies=None if proxies is None else tuple(proxies),
        **given,
    )


# --- Printing ---------------------------------------------------------------------------------------------------------


def printed(policy: Policy) -> str:
    """The policy as constructor calls: fields that are as their defaults and places left out, sets sorted."""
    return _value(policy, 0) + "\n"


def _value(value: object, indent: int) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [f"{name}={_value(item, indent + 2)}" for name, item in _fields(value)]
        return _block(f"{type(value).__name__}(", parts, ")", indent)
    if isinstance(value, frozenset):
        return _block("{", sorted(_value(item, indent + 2) for item in value), "}", indent)
    if isinstance(value, tuple | list):
        return _block("[", [_value(item, indent + 2) for item in value], "]", indent)
    return _scalar(value)


def _fields(value: Any) -> Iterator[tuple[str, object]]:
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        default = field.default if field.default is not dataclasses.MISSING else _made(field)
        if not isinstance(item, Where) and item != default:
            yield field.name, item


def _made(field: dataclasses.Field[Any]) -> object:
    return (
        field.default_factory() if field.default_factory is not dataclasses.MISSING else dataclasses.MISSING
    )


def _block(opening: str, parts: list[str], closing: str, indent: int) -> str:
    line = opening + ", ".join(parts) + closing
    if "\n" not in line and len(line) + indent <= WIDTH:
        return line
    inner = "".join(f"{' ' * (indent + 2)}{part},\n" for part in parts)
    return f"{opening}\n{inner}{' ' * indent}{closing}"


def _scalar(value: object) -> str:
    if isinstance(value, Secret):
        return f"Secret({value.reference!r})"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    return repr(value.value) if isinstance(value, Enum) else repr(value)
