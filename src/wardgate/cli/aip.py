"""`wardgate aip`: ask, decide and watch at a gateway for agents; verify and export its record."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from wardgate.problems import ConfigError, Problem, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wardgate.agent import AgentClient
    from wardgate.approvals.audit import Entry
    from wardgate.approvals.store import Store as Kept

app = typer.Typer(
    help="Requests of agents: ask, approve, deny, list, watch; the record.",
    no_args_is_help=True,
    add_completion=False,
)
audit_app = typer.Typer(help="The record of what happened.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")

CODES: Final[Mapping[str, str]] = {
    "aip-caller": "`wardgate aip` is told neither a token nor the client to fetch one as.",
    "aip-parameters": "--parameters is no JSON object.",
}
"""What can be wrong with the command line."""

Url = Annotated[
    str, typer.Option("--url", metavar="URL", envvar="WARDGATE_AIP_URL", help="Where the gateway is.")
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="T", envvar="WARDGATE_AIP_TOKEN", help="A token; - reads stdin, @FILE a file."
    ),
]
Issuer = Annotated[
    str | None,
    typer.Option("--issuer", metavar="URL", envvar="WARDGATE_OIDC_ISSUER_URL", help="Or who issues them,"),
]
ClientId = Annotated[
    str | None,
    typer.Option("--client-id", metavar="ID", envvar="WARDGATE_CLIENT_ID", help="the client to ask as,"),
]
ClientSecret = Annotated[
    str | None,
    typer.Option(
        "--client-secret", metavar="SECRET", envvar="WARDGATE_CLIENT_SECRET", help="and its secret."
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The request, such as aip-agent-1-x7k2m.")]
LOCAL: Final = "http://127.0.0.1:8080"


@app.command("request")
def request(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="What to do, such as scale-down.")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A URI, such as k8s://prod/default/deployment/api.")
    ],
    reason: Reason = "",
    parameters: Annotated[
        str | None, typer.Option("--parameters", metavar="JSON", help="What else the action takes.")
    ] = None,
    dedup_key: Annotated[
        str | None,
        typer.Option("--dedup-key", metavar="TEXT", help="While it is active, the same key is one request."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="To be granted one HTTP request at TARGET (`wardgate aip grant`):",
        ),
    ] = None,
    body_sha256: Annotated[
        str | None, typer.Option("--body-sha256", metavar="HEX", help="of its body; none is an empty one.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is decided.")] = False,
    url: Url = LOCAL,
    token: Token = None,
    issuer: Issuer = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
) -> None:
    """
    Ask to do something. Prints the request; exit code 1 when it is denied, or expires.
    """
    more: dict[str, Any] = {} if dedup_key is None else {"dedupKey": dedup_key}
    if parameters is not None:
        more["parameters"] = _object(parameters)
    if method is not None:
        more["httpRequest"] = {"method": method, **({"bodySha256": body_sha256} if body_sha256 else {})}
    with _client(url, token, issuer, client_id, client_secret) as client:
        found = client.ask(action, target, reason, **more)
        if wait and found["phase"] == "Pending":
            typer.echo(f"{found['name']} is pending: somebody has to decide", err=True)
            found = client.decided(found["name"])
    _show(found)
    if found["phase"] in ("Denied", "Expired"):
        raise typer.Exit(1)


def _decision(decision: str, words: str) -> None:
    def decide(
        name: Name,
        reason: Reason = "",
        url: Url = LOCAL,
        token: Token = None,
        issuer: Issuer = None,
        client_id: ClientId = None,
        client_secret: ClientSecret = None,
    ) -> None:
        with _client(url, token, issuer, client_id, client_secret) as client:
            _show(client.decide(name, decision, reason))

    decide.__doc__ = words
    app.command(decision)(decide)


_decision("approve", "Let an agent do what it asks for. Nobody approves their own request.")
_decision("deny", "Do not let an agent do what it asks for.")
_decision("revoke", "Take an approval back, as long as the agent has not begun.")


@app.command("grant")
def grant_(
    name: Name,
    url: Url = LOCAL,
    token: Token = None,
    issuer: Issuer = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
) -> None:
    """
    Print what to send as X-AIP-Authorization with the HTTP request that was approved.

    The request that it passes spends it: no second one passes.
    """
    with _client(url, token, issuer, client_id, client_secret) as client:
        typer.echo(client.grant(name))


@app.command("list")
def list_(
    phase: Annotated[
        str | None, typer.Option("--phase", metavar="PHASE", help="Pending, Approved, Denied, …")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Of this agent alone.")] = None,
    output: Annotated[
        str, typer.Option("--output", metavar="text|json", help="json: one object a line.")
    ] = "text",
    url: Url = LOCAL,
    token: Token = None,
    issuer: Issuer = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
) -> None:
    """List requests, the newest first: agents see their own, reviewers all."""
    with _client(url, token, issuer, client_id, client_secret) as client:
        for one in client.listed(phase, agent):
            typer.echo(json.dumps(one) if output == "json" else _line(one))


@app.command("watch")
def watch(
    name: Name,
    url: Url = LOCAL,
    token: Token = None,
    issuer: Issuer = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
) -> None:
    """Follow one request until nothing comes after it."""
    with _client(url, token, issuer, client_id, client_secret) as client:
        for one in client.watch(name, "end"):
            typer.echo(_line(one))


# --- the record


Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="WARDGATE_STORE",
        help="postgresql://…; the file in --state-dir by default.",
    ),
]
StateDir = Annotated[
    str | None, typer.Option("--state-dir", metavar="DIR", help="The gateway's state directory.")
]


@audit_app.command("verify")
def verify(store: Store = None, state_dir: StateDir = None) -> None:
    """
    Verify the chain of the record, and print its last hash. Note that down elsewhere: it shows whether the end was cut off.

    Exit code 1 when an entry was changed, removed or put in.
    """
    from wardgate.approvals.audit import FIRST, Broken, verified

    async def chained() -> tuple[int, str]:
        seq, last = 0, FIRST
        async with aclosing(_pages(store, state_dir)) as pages:
            async for page in pages:
                seq, last = verified(page, seq, last)
        return seq, last

    try:
        seq, last = asyncio.run(chained())
    except Broken as error:
        typer.echo(f"the record does not hold: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{seq} entries, each follows the one before it; the last is {last}")


@app.command("export")
def export(store: Store = None, state_dir: StateDir = None) -> None:
    """Print the record, one JSON object a line: what happened, in order, with its hashes."""

    async def printed() -> None:
        async with aclosing(_pages(store, state_dir)) as pages:
            async for page in pages:
                for one in page:
                    typer.echo(json.dumps({**asdict(one), "body": json.loads(one.body)}, ensure_ascii=False))

    asyncio.run(printed())


@app.command("replay")
def replay(
    policies: Annotated[
        list[str],
        typer.Option(
            "--safety-policies", "-c", metavar="FILE", help="Policies, or a folder of them; repeat."
        ),
    ],
    store: Store = None,
    state_dir: StateDir = None,
) -> None:
    """
    Judge past requests by other policies, and print those that would be decided otherwise. Nothing is changed.

    Rates and times are those of back then. What groups an agent was in is not kept: rules that ask for them see none.
    Exit code 1 when something would be decided otherwise.
    """
    from wardgate.approvals.replaying import Replay
    from wardgate.cli.policies import safety_of

    judging = Replay(safety_of(policies))

    async def replayed() -> None:
        async with opened(store, state_dir) as kept:
            after = 0
            while page := await kept.all(after, 500):
                after = page[-1].id
                for one in page:
                    if difference := judging.differs(one):
                        typer.echo(
                            f"{one.name}  {one.agent}  {one.wish.action}  {one.wish.target}: {difference}"
                        )

    asyncio.run(replayed())
    typer.echo(f"{judging.seen} requests, {judging.different} would be decided otherwise")
    if judging.different:
        raise typer.Exit(1)


@app.command("explain")
def explain(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="What is asked for, such as scale-down.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A URI.")],
    policies: Annotated[
        list[str],
        typer.Option(
            "--safety-policies",
            "-c",
            metavar="FILE",
            help="Policies, a folder of them, or wardgate.yaml; repeat.",
        ),
    ],
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="Who asks.")] = "agent",
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME", help="A group that the agent is in; repeat."),
    ] = None,
    reason: Reason = "",
    parameters: Annotated[
        str | None, typer.Option("--parameters", metavar="JSON", help="What else the action takes.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="When, such as 2026-11-28T23:00+01:00; now by default."),
    ] = None,
) -> None:
    """
    Explain what safety policies say of a request, rule by rule. Nobody is asked, and nothing is filed.

    Rates are judged as if there had been no request before. Exit code 0 when it would be approved at once, 1 when not.
    """
    from wardgate.approvals.callers import Caller
    from wardgate.approvals.judging import judge, rates, rule_by_rule
    from wardgate.approvals.records import Wish
    from wardgate.approvals.targets import NoTarget, normalized
    from wardgate.cli.policies import safety_of
    from wardgate.safety import Action

    safety = safety_of(policies)
    try:
        uri = normalized(target)
    except NoTarget as error:
        raise typer.BadParameter(str(error), param_hint="TARGET") from error
    wish = Wish(
        action=action,
        target=uri,
        reason=reason,
        content={} if parameters is None else {"parameters": _object(parameters)},
    )
    caller = Caller(
        issuer="",
        subject=agent,
        identity=agent,
        groups=frozenset(group or ()),
        roles=frozenset(),
        names=frozenset({agent}),
    )
    now = _moment(at)
    counts = {(rate.per, rate.window.total_seconds()): 0 for rate in rates(safety)}
    for policy, rule, fits in rule_by_rule(safety, wish, caller, counts, now):
        mark = ("yes" if fits else "no ") if isinstance(fits, bool) else "???"
        why = f": {fits}" if isinstance(fits, str) else ""
        place = f"  ({rule.where})" if str(rule.where) else ""
        typer.echo(f"  {mark}  {policy.name} / {rule.name}: {rule.action}{why}{place}")
    found = judge(safety, wish, caller, counts, now)
    typer.echo(f"{found.action}" + (f": {found.message}" if found.message else ""))
    if found.action is Action.REQUIRE_APPROVAL:
        of = f", each in {' or '.join(found.reviewer_groups)}" if any(found.reviewer_groups) else ""
        typer.echo(f"{found.needed} must agree{of}")
    if found.action in (Action.DENY, Action.REQUIRE_APPROVAL):
        raise typer.Exit(1)


def _moment(text: str | None) -> float:
    """Seconds since 1970; a time without a zone is one of UTC."""
    if text is None:
        return time.time()
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("is no time such as 2026-11-28T23:00+01:00", param_hint="--at") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


async def _pages(store: str | None, state_dir: str | None) -> AsyncGenerator[list[Entry], None]:
    async with opened(store, state_dir) as kept:
        after = 0
        while page := await kept.record(after=after):
            yield page
            after = page[-1].seq


@asynccontextmanager
async def opened(store: str | None, state_dir: str | None) -> AsyncIterator[Kept]:
    """Raises ConfigError for a file that is not there, Unavailable for a database that cannot be opened."""
    from wardgate.approvals.store import Store as Kept
    from wardgate.approvals.store import file_url
    from wardgate.service.agents import FILE
    from wardgate.supervisor import state_directory

    if store is None:
        file = state_directory(state_dir, os.environ) / FILE
        if not file.is_file():
            hint = "name the gateway's --state-dir, or its --store"
            problem = Problem(
                code="file-unreadable", message="there is no record", where=Where(file=str(file)), hint=hint
            )
            raise ConfigError([problem])
        store = file_url(file)
    kept = await Kept.open(store)
    try:
        yield kept
    finally:
        await kept.close()


# --- helpers


@contextmanager
def _client(
    url: str, token: str | None, issuer: str | None, client_id: str | None, client_secret: str | None
) -> Iterator[AgentClient]:
    from wardgate.agent import AgentClient, ClientCredentials, NotAllowed
    from wardgate.cli.token import read

    bearer: Any
    if token is not None:
        text = read(token)

        def bearer() -> str:
            return text

    elif issuer and client_id and client_secret:
        bearer = ClientCredentials(issuer, client_id, client_secret)
    else:
        hint = "give --token, or --issuer, --client-id and --client-secret (WARDGATE_CLIENT_SECRET)"
        raise ConfigError([Problem(code="aip-caller", message="nobody is named to ask as", hint=hint)])
    with AgentClient(url, bearer) as client:
        try:
            yield client
        except NotAllowed as error:
            typer.echo(f"refused: {error}", err=True)
            raise typer.Exit(1) from error


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        where = Where(file="--parameters")
        hint = """such as '{"replicas": 1}'"""
        raise ConfigError(
            [Problem(code="aip-parameters", message="is no JSON object", where=where, hint=hint)]
        )
    return found


def _show(found: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _line(found: Mapping[str, Any]) -> str:
    return (
        f"{found['createdAt']}  {found['phase']:9}  {found['name']}  {found['action']}  {found['targetURI']}"
    )
