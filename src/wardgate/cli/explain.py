"""`wardgate explain`: the decision about one request, rule by rule, with the line of each rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from wardgate.cli import sources


def explain(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, …")],
    url: Annotated[str, typer.Argument(metavar="URL", help="The URL, or only its path.")],
    config: sources.Config,
    token: Annotated[
        str | None, typer.Option("--token", metavar="T", help="A bearer token; - reads stdin, @FILE a file.")
    ] = None,
    claims: Annotated[
        str | None,
        typer.Option("--claims", metavar="FILE", help="A JSON file with the claims of a valid token."),
    ] = None,
    session: Annotated[
        bool,
        typer.Option("--session", help="The claims are those of a browser's session, not of a bearer token."),
    ] = False,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="Whose token --claims are; by default by their iss, else the first.",
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="NAME: VALUE", help="A request header; repeat."),
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
    Explain what the gateway answers to one request, and why.

    A --token is verified with its issuer's keys, fetched now; with --claims no issuer is asked. A browser is explained
    with its own headers: -H 'Sec-Fetch-Mode: navigate' -H 'Sec-Fetch-Dest: document' is someone who opens a page. Where a
    rule asks for addresses, -H 'X-Forwarded-For: ADDRESS' says the client's. Exit code 0 when the request is allowed, 1 when it
    is not, or is sent to the login.
    """
    from wardgate import explain as words
    from wardgate.cli.asked import credential_of, request_of
    from wardgate.cli.policies import usable
    from wardgate.decision import decide
    from wardgate.decision.forward_auth import FORWARDED

    chosen = sources.options(
        settings, trusted_proxies, allow_insecure, gatekeeper_reading, resolve=resolve, offset=listen_offset
    )
    policy = usable(config, chosen, dialect)
    request = request_of(method, url, header or [])
    if not policy.listeners[0].proxies:  # nobody sends such requests here: other proxies ask about them
        request = replace(request, asked=FORWARDED)
    if session and claims is None:
        raise typer.BadParameter("needs --claims FILE: what the session's tokens say", param_hint="--session")
    credential = credential_of(policy, token, claims, provider, session=session)
    decision = decide(policy, request, credential)
    typer.echo(words.explain(request, credential, decision), nl=False)
    raise typer.Exit(0 if decision.status < 400 and not decision.login else 1)
