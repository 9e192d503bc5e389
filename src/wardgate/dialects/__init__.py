"""
Configuration formats. Each is one file here, found by looking: nothing else names it.

A dialect reads documents into a `Policy` and says what it could not express. It is pure: files are read by
`wardgate.cli`, the environment comes in as an argument.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from typing import Final, Protocol

from wardgate.dialects._gateway_api_objects import GATEWAY as GATEWAY
from wardgate.dialects._gateway_api_objects import ROUTE_KINDS as ROUTE_KINDS
from wardgate.dialects._gateway_api_objects import Condition as Condition
from wardgate.dialects._gateway_api_objects import Name as Name
from wardgate.dialects._gateway_api_objects import parent_of as parent_of
from wardgate.document import Document
from wardgate.policy import Policy
from wardgate.problems import ConfigError, Problem, Where, errors

CODES: Final[Mapping[str, str]] = {
    "config-empty": "The files hold no key at all.",
    "dialect-unclear": "The keys belong to no format that is known, or to several: say which with --dialect.",
    "dialect-unknown": "--dialect names a format that does not exist.",
}
"""What goes wrong before a dialect is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    What the command line adds to the files.

    `settings` are `--set KEY=VALUE` pairs, in order, with keys of the file's dialect. `listen` (HOST:PORT) and
    `trusted_proxies` (CIDRs) hold for every dialect; None: as the file says. `flags` are a dialect's own switches
    (`gatekeeper-reading`: `s0` or `product`). `resolve` says where Services are: `NAMESPACE/NAME:PORT` to `HOST:PORT`;
    `listen_offset` is added to ports below 1024. `controller`: manifests are those of a cluster, and only Gateways whose class
    names this controller are served; what is wrong with one object then never stops the others. `internal_issuers`: whether
    URLs in manifests may name this machine or its link. `discover` reads the discovery document at a URL and gives the issuer
    that it names, None when nobody answers.
    """

    settings: tuple[tuple[str, str], ...] = ()
    listen: str | None = None
    trusted_proxies: tuple[str, ...] | None = None
    allow_insecure: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    resolve: Mapping[str, str] = field(default_factory=dict)
    listen_offset: int = 0
    controller: str | None = None
    internal_issuers: bool = True
    discover: Callable[[str], str | None] = field(default=lambda _: None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    What became of one manifest, as Kubernetes says it. `ancestors` are the Gateways that a policy holds for, `attached` the
    routes of a Gateway's listeners, counted by listener.
    """

    name: Name
    where: Where
    conditions: tuple[Condition, ...]
    problems: tuple[Problem, ...] = ()
    ancestors: tuple[Name, ...] = ()
    attached: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """
    What became of some documents. `policy` is None when a problem is an error. `notes` are said at start; `statuses` are those
    of manifests, `sought` the objects that manifests name, whether they are there or not.
    """

    policy: Policy | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    sought: frozenset[Name] = frozenset()
    statuses: tuple[Status, ...] = ()


class Dialect(Protocol):
    """One format. A module `dialects/<name>.py` holds it as `DIALECT`."""

    name: str
    title: str

    def recognizes(self, document: Document) -> bool:
        """Whether the document is written in this format; cheap, looks at keys only, never raises."""

    def read(self, documents: Sequence[Document], options: Options) -> Reading:
        """Never raises for what a person wrote: every problem is in the reading."""


@cache
def dialects() -> dict[str, Dialect]:
    """Every dialect by its name."""
    names = sorted(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )
    found = [import_module(f"{__name__}.{name}").DIALECT for name in names]
    return {dialect.name: dialect for dialect in found}


def choose(documents: Sequence[Document], forced: str | None = None) -> Dialect:
    """The dialect of the documents, by their content. Raises ConfigError when none, or several, fit."""
    known = dialects()
    first = documents[0].where() if documents else Where()
    if forced is not None:
        if forced in known:
            return known[forced]
        hint = f"one of {', '.join(known)}"
        raise ConfigError(
            [Problem(code="dialect-unknown", message="no such dialect", got=repr(forced), hint=hint)]
        )
    if all(document.data in (None, {}) for document in documents):
        hint = "a first wardgate.yaml has listen, provider, upstream and routes; see README.md and `wardgate demo`"
        raise ConfigError(
            [Problem(code="config-empty", message="the configuration is empty", where=first, hint=hint)]
        )
    fitting = [
        dialect for dialect in known.values() if any(dialect.recognizes(document) for document in documents)
    ]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(dialect.name for dialect in fitting) or ", ".join(known)
    message = "could be read in several ways" if fitting else "is in no format that is known"
    hint = f"say which with --dialect: {names}"
    raise ConfigError([Problem(code="dialect-unclear", message=message, where=first, hint=hint)])


def read(documents: Sequence[Document], options: Options, dialect: str | None = None) -> Reading:
    """Read documents with the dialect that fits them; every problem is in the reading."""
    try:
        chosen = choose(documents, dialect)
    except ConfigError as error:
        return Reading(policy=None, problems=error.problems)
    reading = chosen.read(documents, options)
    if errors(reading.problems) and reading.policy is not None:
        return replace(reading, policy=None)
    return reading
