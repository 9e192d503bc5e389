"""
`wardgate sessions`: who is logged in, and ending it. It asks the gateway that runs on this machine, over its control
socket in the state directory, so it works for whoever may run the gateway and for nobody else.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from wardgate.problems import ConfigError, Problem, Unavailable

CODES: Final[Mapping[str, str]] = {
    "sessions-gateway": "No gateway runs in the state directory, or several do and none of them was named.",
    "sessions-whose": "`wardgate sessions revoke` was not told which sessions to end.",
}
"""What can be wrong with the question."""

app = typer.Typer(help="Who is logged in, and ending it.", no_args_is_help=True, add_completion=False)

StateDir = Annotated[
    str | None,
    typer.Option(
        "--state-dir", metavar="DIR", help="The gateway's state directory; WARDGATE_STATE_DIR unless given."
    ),
]
Listen = Annotated[
    str | None,
    typer.Option("--gateway", metavar="HOST:PORT", help="Where the gateway listens, when several run here."),
]
Subject = Annotated[str | None, typer.Option("--subject", metavar="SUB", help="Of this `sub` alone.")]

ANSWER_S = 60.0


@app.command("list")
def list_(
    subject: Subject = None,
    output: Annotated[
        str, typer.Option("--output", metavar="text|json", help="json: one object a line.")
    ] = "text",
    state_dir: StateDir = None,
    gateway: Listen = None,
) -> None:
    """
    List the sessions: name, who, at which provider, since when, last used, until when.

    With a shared store (Redis) these are the sessions of all replicas. `wardgate sessions revoke NAME` ends one.
    """
    found = [
        one for one in _ask(state_dir, gateway, "GET", "/sessions/all") if subject in (None, one["subject"])
    ]
    if output == "json":
        for one in found:
            typer.echo(json.dumps(one))
        return
    for one in sorted(found, key=lambda one: -one["used"]):
        times = "  ".join(f"{word} {_time(one[key])}" for word, key in _TIMES)
        typer.echo(f"{one['name']}  {one['username'] or one['subject']}  {one['provider']}  {times}")
    typer.echo(f"{len(found)} session(s)", err=True)


@app.command("revoke")
def revoke(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names from `list`.")] = None,
    subject: Subject = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every session.")] = False,
    state_dir: StateDir = None,
    gateway: Listen = None,
) -> None:
    """
    End sessions by name, those of one subject, or all of them. When this returns, Envoy refuses them.

    Exit code 1 when a session could not be ended, or Envoy did not confirm in time.
    """
    if not names and subject is None and not everyone:
        hint = "give names from `wardgate sessions list`, --subject SUB, or --all"
        raise ConfigError([Problem(code="sessions-whose", message="which sessions are to end?", hint=hint)])
    body = {"names": names or [], "subject": subject, "all": everyone}
    said = list(_ask(state_dir, gateway, "POST", "/sessions/end", body))
    typer.echo(f"{said[0]['ended']} session(s) ended")
    if not said[0]["in_force"]:
        raise Unavailable("they ended in the store, and Envoy has not confirmed that it refuses them")


_TIMES = (("since", "created"), ("used", "used"), ("until", "expires"))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ask(
    state_dir: str | None,
    gateway: str | None,
    method: str,
    target: str,
    body: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """The lines of the answer. Raises ConfigError, Unavailable."""
    from wardgate.supervisor.local_http import request

    socket = _socket(state_dir, gateway)
    content = json.dumps(body).encode() if body is not None else b""
    status, answer = asyncio.run(request(socket, method, target, body=content, timeout_s=ANSWER_S))
    if status != 200:
        raise Unavailable(f"the gateway answers {status}: {answer.decode('utf-8', 'replace')[:300]}")
    for line in answer.splitlines():
        yield json.loads(line)


def _socket(state_dir: str | None, gateway: str | None) -> str:
    from wardgate.supervisor.home import state_directory

    state = state_directory(state_dir, os.environ)
    wanted = gateway.replace(":", "-") if gateway else None
    found = {
        file.parent.name: json.loads(file.read_text("utf-8"))["control_socket"]
        for file in sorted((state / "run").glob("*/service.json"))
        if _runs(file.parent)
    }
    if wanted is not None:
        found = {name: socket for name, socket in found.items() if name == wanted}
    if len(found) == 1:
        return str(next(iter(found.values())))
    if found:
        hint = "name one with --gateway: " + ", ".join(found)
        message = "several gateways run in this state directory"
    else:
        hint = "give its state directory with --state-dir, as to `wardgate run`"
        message = "no gateway runs in this state directory"
    raise ConfigError([Problem(code="sessions-gateway", message=message, got=str(state), hint=hint)])


def _runs(directory: Path) -> bool:
    try:
        pid = int((directory / "lock").read_text("ascii"))
        os.kill(pid, 0)
    except (OSError, ValueError):
        return False
    return True
