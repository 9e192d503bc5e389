"""
What the gateway says about itself, on stderr: one line per event.

JSON for machines (`{"time", "level", "event", ...}`), short text when stderr is a terminal. Not the access log:
that is Envoy's, on stdout. Not structlog: two long-lived processes would each pay 9 MB of memory and 0.2 s of
start-up for what one function does. Events carry data; secrets and tokens are never among it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

from wardgate.problems import Problem, Severity


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def say(event: str, *, level: Level = Level.INFO, **data: object) -> None:
    """Write one event: a short sentence that stays the same, and what varies as data."""
    line = _text(event, level, data) if sys.stderr.isatty() else _json(event, level, data)
    with contextlib.suppress(OSError, ValueError):  # a reader that is gone must not stop the gateway
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def warn(event: str, **data: object) -> None:
    say(event, level=Level.WARNING, **data)


def complain(event: str, **data: object) -> None:
    say(event, level=Level.ERROR, **data)


def say_problems(problems: Iterable[Problem]) -> None:
    """One event per problem, its `text` as every command prints it: `file:line: path: what, got X [code]`."""
    for problem in problems:
        level = Level.WARNING if problem.severity is Severity.WARNING else Level.ERROR
        if sys.stderr.isatty():
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"{problem}\n")
            continue
        where = problem.where
        place = {"file": where.file, "line": where.line, "path": where.path}
        say("problem", level=level, code=problem.code, text=str(problem), hint=problem.hint, **place)


def _json(event: str, level: Level, data: dict[str, object]) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": now, "level": level, "event": event, **data}, default=str)


def _text(event: str, level: Level, data: dict[str, object]) -> str:
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    details = "  ".join(
        f"{name}={_printable(value)}" for name, value in data.items() if value not in ("", None)
    )
    mark = "" if level is Level.INFO else f"{level.upper()} "
    return f"{now} {mark}{event}" + (f"  {details}" if details else "")


def _printable(value: object) -> str:
    """Text of others (an issuer, Envoy) must not move the cursor of a terminal."""
    return "".join(char if char.isprintable() else "?" for char in str(value))
