"""`wardgate run`: the gateway, in the foreground."""

from __future__ import annotations

import os

import typer

from wardgate.cli import sources
from wardgate.dialects import Reading
from wardgate.problems import Severity


def run(
    config: sources.Config,
    dialect: sources.Dialect = None,
    settings: sources.Settings = None,
    trusted_proxies: sources.Trusted = None,
    allow_insecure: sources.Insecure = False,
    gatekeeper_reading: sources.GatekeeperReading = None,
    resolve: sources.Resolve = None,
    listen_offset: sources.Offset = 0,
    state_dir: sources.StateDirectory = None,
    concurrency: sources.Concurrency = None,
) -> None:
    """
    Run the gateway until it is told to stop.

    SIGHUP, or a changed file, reloads: a file with problems changes nothing, and they are printed. SIGTERM lets
    running requests finish, then exits with 0. One JSON line per request goes to stdout.
    """
    from wardgate import compiler
    from wardgate.supervisor import Files, Options, state_directory
    from wardgate.supervisor import run as supervise

    chosen = sources.options(
        settings, trusted_proxies, allow_insecure, gatekeeper_reading, resolve=resolve, offset=listen_offset
    )

    def load() -> Reading:
        return sources.with_files(sources.load(config, chosen, dialect), Severity.ERROR)

    state = state_directory(state_dir, os.environ)
    options = Options(state=state, concurrency=concurrency)
    raise typer.Exit(supervise(Files(load, lambda: sources.watched(config)), options, compiler))
