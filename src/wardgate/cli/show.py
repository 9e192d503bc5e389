"""`wardgate show`: any configuration as native YAML, which is a migration."""

from __future__ import annotations

import typer

from wardgate.cli import sources
from wardgate.cli.policies import usable


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
    typer.echo(native.write(usable(config, chosen, dialect)), nl=False)
