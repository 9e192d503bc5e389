"""`wardgate token`: fetch one, look into one, verify one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardgate.problems import ConfigError, Problem, TokenError, Where

if TYPE_CHECKING:
    from wardgate.verify import Expectation

app = typer.Typer(help="Fetch, decode and verify tokens.", no_args_is_help=True)

CODES: Mapping[str, str] = {
    "audience-missing": "`token verify` is told neither which audience the token must have, nor that any will do.",
    "file-unreadable": "The file that holds the token does not exist, or this user may not read it.",
}
"""What can be wrong with the command line."""

Token = Annotated[str, typer.Argument(metavar="TOKEN", help="The token; - reads stdin, @FILE a file.")]
Issuer = Annotated[
    str, typer.Option("--issuer", metavar="URL", help="The issuer, or its discovery document.")
]
Ca = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="Whom to trust instead of the system's CAs.")
]
Audience = Annotated[
    list[str] | None, typer.Option("--audience", metavar="NAME", help="One of these must be in aud; repeat.")
]
AnyAudience = Annotated[
    bool, typer.Option("--any-audience", help="Accept a token that was made for anybody.")
]


@app.command("get")
def get(
    issuer: Issuer,
    client_id: Annotated[str, typer.Option("--client-id", metavar="ID", help="The OAuth client.")],
    client_secret: Annotated[
        str | None,
        typer.Option(
            "--client-secret", metavar="SECRET", envvar="WARDGATE_CLIENT_SECRET", help="Its secret."
        ),
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", metavar="NAME", help="A person's; else the client's own.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option("--password", metavar="PASSWORD", envvar="WARDGATE_PASSWORD", help="The person's."),
    ] = None,
    scope: Annotated[str, typer.Option("--scope", metavar="NAMES", help="What to ask for.")] = "openid",
    ca: Ca = None,
) -> None:
    """
    Fetch an access token and print it alone: TOKEN=$(wardgate token get ...).

    With --username a person's (password grant), without it the client's own (client credentials).
    """
    from wardgate import token

    answer = token.get(
        issuer,
        client_id=client_id,
        client_secret=client_secret,
        username=username,
        password=password,
        scope=scope,
        ca=ca,
    )
    typer.echo(answer.access_token)


@app.command("decode")
def decode(
    token: Token,
    output: Annotated[str, typer.Option("--output", metavar="text|json", help="How to print.")] = "text",
) -> None:
    """
    Print what a token says and what is wrong with it, without asking anyone; its signature is not checked.
    """
    from wardgate import token as tokens

    try:
        decoded = tokens.decode(read(token), now=datetime.now(UTC))
    except TokenError as error:
        _refuse(error)
    else:
        text = tokens.decoded_json(decoded) if output == "json" else tokens.decoded_text(decoded)
        typer.echo(text.rstrip("\n"))


@app.command("verify")
def verify(
    token: Token,
    issuer: Issuer,
    audience: Audience = None,
    any_audience: AnyAudience = False,
    jwks_url: Annotated[
        str | None, typer.Option("--jwks-url", metavar="URL", help="Where the keys are, without discovery.")
    ] = None,
    ca: Ca = None,
) -> None:
    """
    Verify a token as the gateway would: signature with the issuer's keys, fetched now, and every claim.

    Exit code 0 when it is good, 1 when it is refused.
    """
    from wardgate import token as tokens

    expect = _expectation(issuer, audience, any_audience)
    try:
        found = tokens.verify_with_issuer(
            read(token), expect=expect, now=datetime.now(UTC), jwks_url=jwks_url, ca=ca
        )
    except TokenError as error:
        _refuse(error)
    else:
        typer.echo(tokens.verified_text(found).rstrip("\n"))


def _expectation(issuer: str, audience: list[str] | None, any_audience: bool) -> Expectation:
    from wardgate.verify import Expectation, UnsafeAnyAudience
    from wardgate.verify.discovery import WELL_KNOWN

    if not audience and not any_audience:
        hint = "--audience NAME as in the gateway's configuration; --any-audience to check none"
        message = "which audience the token must have is not said"
        raise ConfigError(
            [Problem(code="audience-missing", message=message, where=Where(file="--audience"), hint=hint)]
        )
    audiences = UnsafeAnyAudience() if any_audience else tuple(audience or ())
    return Expectation(issuer=issuer.removesuffix(WELL_KNOWN).rstrip("/"), audiences=audiences)


def read(argument: str) -> str:
    """The token that an argument names: itself, `-` for stdin, `@FILE` for a file."""
    if argument == "-":
        return sys.stdin.read().strip()
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        where = Where(file=argument[1:])
        raise ConfigError(
            [Problem(code="file-unreadable", message=f"cannot be read: {error}", where=where)]
        ) from error


def _refuse(error: TokenError) -> None:
    from wardgate import token as tokens

    typer.echo(tokens.refusal_text(error).rstrip("\n"), err=True)
    raise typer.Exit(1)
