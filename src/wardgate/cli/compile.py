"""`wardgate compile`: the Envoy configuration, to look at or to keep."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from wardgate.cli import sources
from wardgate.cli.policies import usable
from wardgate.policy import Secret


def compile_(
    config: sources.Config,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write the files here instead of printing."),
    ] = None,
    dialect: sources.Dialect = None,
    settings: sources.Settings = None,
    trusted_proxies: sources.Trusted = None,
    allow_insecure: sources.Insecure = False,
    gatekeeper_reading: sources.GatekeeperReading = None,
    resolve: sources.Resolve = None,
    listen_offset: sources.Offset = 0,
) -> None:
    """
    Print the Envoy configuration that `run` would start with, one JSON document a file.

    Issuers' keys are fetched by `run`; here every provider stands without keys, so its routes answer 503. Private
    keys and keys of clients that are part of the configuration are not shown.
    """
    from wardgate import compiler
    from wardgate.supervisor.files import texts

    chosen = sources.options(
        settings, trusted_proxies, allow_insecure, gatekeeper_reading, resolve=resolve, offset=listen_offset
    )
    policy = usable(config, chosen, dialect)
    directory = str(Path(output or ".").resolve())
    place = compiler.Place(
        directory=directory,
        admin_socket=f"{directory}/admin.sock",
        service_socket=f"{directory}/service.sock",
        control_socket=f"{directory}/control.sock",
    )
    compiled = compiler.compile(_without_secrets(policy), {}, place)
    found = {"bootstrap.json": json.dumps(compiled.bootstrap, indent=1)}
    found |= {f"xds/{name}": json.dumps(json.loads(text), indent=1) for name, text in texts(compiled).items()}
    if output is None:
        typer.echo(json.dumps({name: json.loads(text) for name, text in found.items()}, indent=1))
        return
    for name, text in found.items():
        file = Path(directory) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    typer.echo(f"{len(found)} files in {output}", err=True)


def _without_secrets(value: Any) -> Any:
    """The same, with every secret's reference in its place."""
    if isinstance(value, Secret):
        return value.unknown()
    if isinstance(value, tuple):
        return tuple(_without_secrets(each) for each in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    changed = {name: _without_secrets(each) for name, each in found.items()}
    return replace(value, **{name: each for name, each in changed.items() if each is not found[name]})
