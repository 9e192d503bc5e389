"""`wardgate demo`: see it work, with nothing else installed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def demo(
    port: Annotated[int, typer.Option("--port", metavar="N", help="The gateway's.")] = 3000,
    metrics_port: Annotated[int, typer.Option("--metrics-port", metavar="N", help="The metrics'.")] = 9090,
    application_port: Annotated[
        int, typer.Option("--application-port", metavar="N", help="The sample application's.")
    ] = 8081,
    idp_port: Annotated[int, typer.Option("--idp-port", metavar="N", help="The identity provider's.")] = 9081,
) -> None:
    """
    Run a gateway before a sample application, with an identity provider and two users; say what to try.

    Everything listens on 127.0.0.1 and ends with Ctrl-C.
    """
    from wardgate.demo import Ports, play

    ports = Ports(gateway=port, metrics=metrics_port, application=application_port, idp=idp_port)
    raise typer.Exit(play(ports, sys.stdout))
