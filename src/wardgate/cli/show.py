"""`wardgate show`: any configuration as native YAML, which is a migration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import typer

from wardgate.cli import sources
from wardgate.cli.policies import usable
from wardgate.problems import Problem

CODES: Final[Mapping[str, str]] = {
    "show-manifests": "`wardgate show` was asked for manifests, which wardgate.yaml cannot say.",
}
"""What cannot be shown."""


def show(
    config: sources.Config,
    dialect: sources.Dialect = None,
    settings: sources.Settings = None,
    trusted_proxies: sources.Trusted = None,
    allow_insecure: sources.Insecure = False,
    gatekeeper_reading: sources.GatekeeperReading = None,
) -> None:
    """
    Print the policy as a native wardgate.yaml, whatever format it was written in.

    Secrets are printed as references to the environment, never as values.
    """
    from wardgate.dialects import native

    chosen = sources.options(settings, trusted_proxies, allow_insecure, gatekeeper_reading)
    policy = usable(config, chosen, dialect)
    if policy.dialect in native.NOT_SHOWN:
        message = "manifests stay manifests: wardgate.yaml cannot say all that they do"
        hint = "`wardgate explain` shows what becomes of a request, `wardgate compile` what Envoy is given"
        typer.echo(str(Problem(code="show-manifests", message=message, hint=hint)), err=True)
        raise typer.Exit(2)
    typer.echo(native.write(policy), nl=False)
