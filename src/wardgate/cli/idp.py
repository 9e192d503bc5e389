"""`wardgate idp`: the development identity provider, on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def idp(
    realm: Annotated[
        Path | None,
        typer.Option("--realm", metavar="FILE", help="A realm file as Keycloak exports; else the demo's."),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="A loopback address.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any free port.")
    ] = 9081,
    base_path: Annotated[
        str, typer.Option("--base-path", metavar="/auth", help="What stands before /realms.")
    ] = "",
) -> None:
    """
    Run the development identity provider: Keycloak's addresses and tokens from a realm file, on loopback only.

    Passwords are in the file and keys in memory: it is for development and tests, and refuses any other address.
    """
    from wardgate.idp import IdpServer

    def ready(server: IdpServer) -> None:
        token = f"{server.issuer}/protocol/openid-connect/token"
        users = ", ".join(user.username for user in server.realm.users) or "none"
        typer.echo(f"issuer     {server.issuer}")
        typer.echo(f"discovery  {server.issuer}/.well-known/openid-configuration")
        typer.echo(f"users      {users}")
        typer.echo(
            f"tokens     curl -d grant_type=password -d client_id=… -d username=… -d password=… {token}"
        )
        typer.echo("Ctrl-C ends it.")

    server = IdpServer(realm, host=host, port=port, base_path=base_path)
    for warning in server.realm.warnings:
        typer.echo(str(warning), err=True)
    server.serve_forever(ready)
