"""`wardgate kubernetes`: the gateway of a cluster, in the foreground."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Final

import typer

from wardgate.cli import sources

CONTROLLER: Final = "wardgate.dev/gateway-controller"
ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def kubernetes(
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            "--kubeconfig",
            metavar="FILE",
            help="How to reach the API server; KUBECONFIG, ~/.kube/config, or the pod's service account.",
        ),
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="One of the kubeconfig's contexts.")
    ] = None,
    controller_name: Annotated[
        str,
        typer.Option(
            "--controller-name", metavar="DOMAIN/PATH", help="Gateways whose class names it are served."
        ),
    ] = CONTROLLER,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", metavar="NAME", help="Watch only this one; repeat for several."),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address", metavar="IP|HOST", help="Where Gateways are reached, for their status; repeat."
        ),
    ] = None,
    lease: Annotated[
        str | None,
        typer.Option(
            "--lease",
            metavar="NAMESPACE/NAME",
            help="The Lease by which one replica writes statuses; one in the pod's namespace by default.",
        ),
    ] = None,
    allow_internal_issuers: Annotated[
        bool,
        typer.Option(
            "--allow-internal-issuers",
            help="Let policies name issuers and keys at loopback, link-local and metadata addresses.",
        ),
    ] = False,
    settings: sources.Settings = None,
    trusted_proxies: sources.Trusted = None,
    allow_insecure: sources.Insecure = False,
    resolve: sources.Resolve = None,
    listen_offset: sources.Offset = 0,
    state_dir: sources.StateDirectory = None,
    concurrency: sources.Concurrency = None,
) -> None:
    """
    Serve the Gateways of a cluster: watch Gateway API objects and policies, enforce them, write their status.

    What is in force stays while the API server is away. A wrong object closes its own routes and says why in its status and
    in an Event. SIGTERM lets running requests finish, then exits with 0. One JSON line per request goes to stdout.
    """
    from dataclasses import replace

    from wardgate import compiler
    from wardgate.kubernetes import Client, Cluster
    from wardgate.kubernetes import Settings as ClusterSettings
    from wardgate.supervisor import Options, run, state_directory

    chosen = sources.options(
        settings, trusted_proxies, allow_insecure, None, resolve=resolve, offset=listen_offset
    )
    if lease is not None and not re.fullmatch(r"[a-z0-9.-]+/[a-z0-9.-]+", lease):
        raise typer.BadParameter(f"is not NAMESPACE/NAME, got {lease!r}", param_hint="--lease")
    told = ClusterSettings(
        controller=controller_name,
        namespaces=tuple(namespace or ()),
        lease=lease or f"{_own_namespace()}/{_name(controller_name)}",
        identity=f"{socket.gethostname()}-{os.getpid()}",
        addresses=tuple(address or ()),
    )
    source = Cluster(
        Client(kubeconfig, context),
        told,
        replace(chosen, controller=controller_name, internal_issuers=allow_internal_issuers),
    )
    options = Options(
        state=state_directory(state_dir, os.environ),
        name=f"kubernetes-{_name(controller_name)}",
        concurrency=concurrency,
    )
    raise typer.Exit(run(source, options, compiler))


def _own_namespace() -> str:
    if "POD_NAMESPACE" in os.environ:
        return os.environ["POD_NAMESPACE"]
    try:
        return ACCOUNT.read_text("utf-8").strip()
    except OSError:
        return "default"


def _name(controller: str) -> str:
    """What a controller's name is in the name of an object."""
    return re.sub(r"[^a-z0-9]+", "-", controller.lower()).strip("-")[:200]
