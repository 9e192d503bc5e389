"""
The commands. Each is a file here; this one gathers them and turns errors into words and exit codes.

Exit codes: 0 done, 1 something did not work, 2 the configuration (or the command line) is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from wardgate import __version__
from wardgate.cli import (
    aip,
    aip_gateway,
    check,
    compile,
    demo,
    explain,
    idp,
    kubernetes,
    run,
    sessions,
    show,
    token,
)
from wardgate.problems import ConfigError, Unavailable

app = typer.Typer(
    name="wardgate",
    help="An identity gateway: who is calling, and may they do this?",
    epilog="Start with `wardgate demo`; then `wardgate check -c FILE` and `wardgate run -c FILE`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("run")(run.run)
app.command("kubernetes")(kubernetes.kubernetes)
app.command("check")(check.check)
app.command("compile")(compile.compile_)
app.command("show")(show.show)
app.command("explain")(explain.explain)
app.command("aip-gateway")(aip_gateway.aip_gateway)
app.command("demo")(demo.demo)
app.command("idp")(idp.idp)
app.add_typer(token.app, name="token")
app.add_typer(sessions.app, name="sessions")
app.add_typer(aip.app, name="aip")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wardgate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """An identity gateway: who is calling, and may they do this?"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the `wardgate` script; never shows a traceback for what a person wrote."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0].startswith(("-c", "--config")):
        given.insert(0, "run")  # a container that is started with a gatekeeper's arguments alone
    try:
        app(args=given, prog_name="wardgate")
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Unavailable as error:
        print(f"wardgate: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
