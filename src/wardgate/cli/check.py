"""`wardgate check`: read everything, print every problem at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from wardgate.cli import sources
from wardgate.dialects import Reading, Status
from wardgate.problems import Problem, Severity, errors


def check(
    config: sources.Config,
    dialect: sources.Dialect = None,
    settings: sources.Settings = None,
    trusted_proxies: sources.Trusted = None,
    allow_insecure: sources.Insecure = False,
    gatekeeper_reading: sources.GatekeeperReading = None,
    resolve: sources.Resolve = None,
    listen_offset: sources.Offset = 0,
    output: Annotated[str, typer.Option("--output", metavar="text|json", help="How to print.")] = "text",
) -> None:
    """
    Read the configuration and print all its problems; start nothing.

    Exit code 0 when it can be used (warnings aside), 2 when it cannot.
    """
    chosen = sources.options(
        settings, trusted_proxies, allow_insecure, gatekeeper_reading, resolve=resolve, offset=listen_offset
    )
    reading = sources.with_files(sources.load(config, chosen, dialect), Severity.WARNING)
    if output == "json":
        typer.echo(json.dumps(as_json(config, reading), indent=2))
    else:
        _print(reading)
    raise typer.Exit(2 if errors(reading.problems) or _refused(reading) else 0)


def _refused(reading: Reading) -> bool:
    """Whether a condition of a manifest says no."""
    return any(not one.status for status in reading.statuses for one in status.conditions)


def as_json(config: list[str], reading: Reading) -> list[dict[str, Any]]:
    """
    One object per file, in the order given; a problem without a file belongs to the first. Of manifests one object each, with
    its conditions; then the files that have problems of no manifest.
    """
    by_file: dict[str, list[Problem]] = {file: [] for path in config for file in _names(path)}
    first = next(iter(by_file))
    of_manifests = {problem for status in reading.statuses for problem in status.problems}
    for problem in reading.problems:
        if problem not in of_manifests:
            by_file.setdefault(problem.where.file or first, []).append(problem)
    files = [
        _object(file, problems) for file, problems in by_file.items() if problems or not reading.statuses
    ]
    return [*map(_manifest, reading.statuses), *files]


def _names(path: str) -> list[str]:
    try:
        return [str(file) for file in sources.files(path)]
    except Exception:  # an empty folder: its problem is in the reading
        return [path]


def _manifest(found: Status) -> dict[str, Any]:
    told = _object(found.where.file, found.problems)
    conditions = [
        {
            "type": one.type,
            "status": str(one.status),
            "reason": one.reason,
            "message": one.message,
            **({"ancestor": one.parent} if one.parent else {}),
        }
        for one in found.conditions
    ]
    name = {"kind": found.name.kind, "namespace": found.name.namespace, "name": found.name.name}
    return {**told, **name, "line": found.where.line, "conditions": conditions}


def _object(file: str, problems: Sequence[Problem]) -> dict[str, Any]:
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
    for status in reading.statuses:
        for one in status.conditions:
            if not one.status:
                typer.echo(
                    f"{status.where}: {status.name.kind} {status.name}: {one.type} is False, {one.reason}"
                )
    if bad:
        typer.echo(f"\n{bad} error(s), {mild} warning(s): this configuration cannot be used")
    elif reading.policy is not None:
        routes = sum(1 for _ in reading.policy.routes())
        counted = f"{routes} route" + ("" if routes == 1 else "s")
        typer.echo(f"\nok: {reading.policy.dialect}, {counted}, {mild} warning(s)")
