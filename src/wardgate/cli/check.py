"""`wardgate check`: read everything, print every problem at once."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from wardgate.cli import sources
from wardgate.dialects import Reading
from wardgate.problems import Problem, Severity, errors


def check(
    config: sources.Config,
    dialect: sources.Dialect = None,
    settings: sources.Settings = None,
    trusted_proxies: sources.Trusted = None,
    allow_insecure: sources.Insecure = False,
    gatekeeper_reading: sources.GatekeeperReading = None,
    output: Annotated[str, typer.Option("--output", metavar="text|json", help="How to print.")] = "text",
) -> None:
    """
    Read the configuration and print all its problems; start nothing.

    Exit code 0 when it can be used (warnings aside), 2 when it cannot.
    """
    chosen = sources.options(settings, trusted_proxies, allow_insecure, gatekeeper_reading)
    reading = sources.with_files(sources.load(config, chosen, dialect), Severity.WARNING)
    if output == "json":
        typer.echo(json.dumps(as_json(config, reading), indent=2))
    else:
        _print(reading)
    raise typer.Exit(2 if errors(reading.problems) else 0)


def as_json(config: list[str], reading: Reading) -> list[dict[str, Any]]:
    """One object per file, in the order given; a problem without a file belongs to the first."""
    by_file: dict[str, list[Problem]] = {file: [] for path in config for file in _names(path)}
    first = next(iter(by_file))
    for problem in reading.problems:
        by_file.setdefault(problem.where.file or first, []).append(problem)
    return [_object(file, problems) for file, problems in by_file.items()]


def _names(path: str) -> list[str]:
    try:
        return [str(file) for file in sources.files(path)]
    except Exception:  # an empty folder: its problem is in the reading
        return [path]


def _object(file: str, problems: list[Problem]) -> dict[str, Any]:
    lines = [problem.where.line for problem in problems]
    return {
        "kind": "",
        "namespace": "",
        "name": "",
        "file": file,
        "line": min(lines, default=0),
        "conditions": [],
        "problems": [
            {
                "code": problem.code,
                "severity": problem.severity.value,
                "path": problem.where.path,
                "line": problem.where.line,
                "message": problem.message + (f", got {problem.got}" if problem.got else ""),
                "hint": problem.hint,
            }
            for problem in problems
        ],
    }


def _print(reading: Reading) -> None:
    for problem in reading.problems:
        typer.echo(str(problem))
    for note in reading.notes:
        typer.echo(f"note: {note}")
    bad = len(errors(reading.problems))
    mild = len(reading.problems) - bad
    if bad:
        typer.echo(f"\n{bad} error(s), {mild} warning(s): this configuration cannot be used")
    elif reading.policy is not None:
        routes = sum(1 for _ in reading.policy.routes())
        counted = f"{routes} route" + ("" if routes == 1 else "s")
        typer.echo(f"\nok: {reading.policy.dialect}, {counted}, {mild} warning(s)")
