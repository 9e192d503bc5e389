"""
Where configuration comes from: files and folders named by `-c`, the environment, and `--set`.

The one place that opens configuration files. What they mean is a dialect's business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from wardgate import dialects
from wardgate.dialects import Options, Reading
from wardgate.document import MAX_BYTES, Document, read_all
from wardgate.policy import Policy, ServerTls
from wardgate.problems import ConfigError, Problem, Severity, Where

MAPPING_FILE: Final = "ROLE_MAPPING_FILE"


def _whole(context: typer.Context, given: list[str]) -> list[str]:
    """The variable names one file, spaces and all: typer would take it for a list and split it there."""
    source = context.get_parameter_source("config")
    return [os.environ[MAPPING_FILE]] if source is not None and source.name == "ENVIRONMENT" else given


Config = Annotated[
    list[str],
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar=MAPPING_FILE,
        callback=_whole,
        help="A configuration file, or a folder of manifests; repeat to merge.",
    ),
]
Dialect = Annotated[
    str | None,
    typer.Option("--dialect", metavar="NAME", help="Read it as this format, whatever it looks like."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file; VALUE is read as YAML."),
]
Trusted = Annotated[
    str | None,
    typer.Option(
        "--trusted-proxies",
        metavar="CIDR,…",
        envvar="WARDGATE_TRUSTED_PROXIES",
        help="Peers whose X-Forwarded-* headers are believed; nobody by default.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--allow-insecure", help="Accept settings that turn a check off (they are said at start)."),
]
GatekeeperReading = Annotated[
    str | None,
    typer.Option(
        "--gatekeeper-reading",
        metavar="s0|product",
        help="How a gatekeeper file is meant, instead of by its keys.",
    ),
]

Resolve = Annotated[
    list[str] | None,
    typer.Option(
        "--resolve",
        metavar="NAMESPACE/NAME:PORT=HOST:PORT",
        help="Where a Service of the manifests is; its name in the cluster's DNS by default.",
    ),
]
Offset = Annotated[
    int,
    typer.Option("--listen-offset", metavar="N", min=0, help="Added to a Gateway's ports below 1024."),
]

StateDirectory = Annotated[
    str | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="Keys and compiled configuration; WARDGATE_STATE_DIR, else the user's state folder.",
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", metavar="N", min=1, help="Worker threads; one per core by default."),
]

SUFFIXES = (".yaml", ".yml", ".json")

CODES: Final[Mapping[str, str]] = {
    "config-empty": "A folder that -c names holds no manifest.",
    "file-unreadable": "A configuration file does not exist, or this user may not read it.",
    "resolve-form": "--resolve is not followed by NAMESPACE/NAME:PORT=HOST:PORT.",
    "set-form": "--set is not followed by KEY=VALUE.",
}
"""What can be wrong with the place a configuration comes from."""


def options(
    settings: Sequence[str] | None,
    trusted: str | None,
    allow_insecure: bool,
    reading: str | None,
    environ: Mapping[str, str] | None = None,
    resolve: Sequence[str] | None = None,
    offset: int = 0,
) -> Options:
    """What the command line says, as every dialect takes it."""
    pairs = [_pair(text) for text in settings or ()]
    networks = None if trusted is None else tuple(part.strip() for part in trusted.split(",") if part.strip())
    return Options(
        settings=tuple(pairs),
        trusted_proxies=networks,
        allow_insecure=allow_insecure,
        environ=os.environ if environ is None else environ,
        flags={} if reading is None else {"gatekeeper-reading": reading},
        listen_offset=offset,
        resolve=dict(_resolved(text) for text in resolve or ()),
        discover=issuer_at,
    )


DISCOVERY_S: Final = 5.0
_issuers: dict[str, str] = {}
"""By URL: a reload while the issuer is away goes on with what it said before."""


def issuer_at(url: str) -> str | None:
    """The issuer that a discovery document names (OpenID Connect Discovery 1.0, 4.2); None when it cannot be read."""
    import httpx

    try:
        answer = httpx.get(url, timeout=DISCOVERY_S)
        named = answer.raise_for_status().json()["issuer"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return _issuers.get(url)
    if isinstance(named, str):
        _issuers[url] = named
    return _issuers.get(url)


def _resolved(text: str) -> tuple[str, str]:
    service, _, place = text.partition("=")
    if not re.fullmatch(r"[^/\s]+/[^/\s:]+:\d+", service) or not re.fullmatch(r"\S+:\d+", place):
        message = "--resolve takes NAMESPACE/NAME:PORT=HOST:PORT"
        raise ConfigError(
            [Problem(code="resolve-form", message=message, where=Where(file="--resolve"), got=repr(text))]
        )
    return service, place


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        message = "--set takes KEY=VALUE"
        raise ConfigError(
            [Problem(code="set-form", message=message, where=Where(file="--set"), got=repr(text))]
        )
    return key, value


def load(config: Sequence[str], chosen: Options, dialect: str | None = None) -> Reading:
    """Read everything; every problem is in the reading, none is raised."""
    found: list[Document] = []
    problems: list[Problem] = []
    for path in config:
        try:
            found += documents(path, chosen.environ)
        except ConfigError as error:
            problems += error.problems
    if problems:
        return Reading(policy=None, problems=tuple(problems))
    return dialects.read(found, chosen, dialect)


def with_files(reading: Reading, severity: Severity) -> Reading:
    """
    The reading, and a problem for each certificate, key or CA that is named and cannot be read here.

    An error where the gateway is to run, since Envoy would not start; a warning where it is only checked.
    """
    if reading.policy is None:
        return reading
    missing = tuple(_missing_files(reading.policy, severity))
    policy = None if missing and severity is Severity.ERROR else reading.policy
    return replace(reading, policy=policy, problems=(*reading.problems, *missing))


def _missing_files(policy: Policy, severity: Severity) -> Iterator[Problem]:
    named: list[tuple[str | None, Where]] = []
    for listener in policy.listeners:
        if isinstance(listener.tls, ServerTls):
            files_ = (listener.tls.certificate, listener.tls.key, listener.tls.client_ca)
            named += [(file, listener.where) for file in files_]
    clients = [(upstream.tls, upstream.where) for upstream in policy.upstreams]
    clients += [(provider.tls, provider.where) for provider in policy.providers]
    for tls, where in clients:
        if tls is not None:
            named += [(file, where) for file in (tls.ca, tls.certificate, tls.key)]
    for file, where in named:
        if file is not None and not os.access(file, os.R_OK):
            hint = "check the path (relative ones begin at the folder of the command) and that this user may read it"
            message = "a file that cannot be read"
            got = repr(file)
            yield Problem(
                code="file-unreadable", message=message, where=where, got=got, hint=hint, severity=severity
            )


def files(path: str) -> list[Path]:
    """The file itself, or every manifest in the folder, by name."""
    place = Path(path)
    if not place.is_dir():
        return [place]
    found = sorted(file for file in place.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not found:
        hint = f"it needs a file that ends in {', '.join(SUFFIXES)}"
        problem = Problem(
            code="config-empty", message="a folder without manifests", where=Where(file=path), hint=hint
        )
        raise ConfigError([problem])
    return found


def watched(config: Sequence[str]) -> Iterator[Path]:
    """The files of now, of all that is named."""
    for path in config:
        try:
            yield from files(path)
        except ConfigError:  # a folder that is empty for a moment: the next look may find files
            continue


def documents(path: str, environ: Mapping[str, str]) -> list[Document]:
    """Those of a file, or of every manifest in a folder. Raises ConfigError."""
    return [document for file in files(path) for document in _documents(file, environ)]


def _documents(file: Path, environ: Mapping[str, str]) -> list[Document]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        hint = "check the path and that this user may read it"
        reason = error.strerror or str(error)
        where = Where(file=str(file))
        problem = Problem(code="file-unreadable", message=f"cannot be read: {reason}", where=where, hint=hint)
        raise ConfigError([problem]) from error
    return read_all(content, str(file), environ)
