"""
What a decision is made of: the request that is judged, the steps that were taken, the answer.

Frozen data without behaviour. The request is what a caller sent, not what became of it: its target is raw.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from wardgate.policy import Route
from wardgate.problems import NOWHERE, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    `target` is the origin-form target as sent: path and query, undecoded (RFC 9112, 3.2.1).

    `listener` None is the policy's first. `scheme` is that of the connection; `forwarded_proto` is the value of
    `X-Forwarded-Proto`, heard only when the socket's peer is a trusted proxy. `asked`: another proxy asks about it, and
    how (`decision.forward_auth`). `client` is the client's address, as far as it is known: the peer's, or what a trusted
    proxy says.
    """

    method: str
    target: str
    host: str = ""
    scheme: str = "http"
    listener: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    trusted_peer: bool = False
    forwarded_proto: str | None = None
    asked: str = ""
    client: str = ""

    def values(self, name: str) -> tuple[str, ...]:
        """The values of every line of this header, in order."""
        return tuple(value for header, value in self.headers if header.lower() == name.lower())

    def value(self, name: str) -> str | None:
        """All lines of this header as one value (RFC 9110, 5.3), which cookies are joined to by `;` (RFC 9113, 8.2.3)."""
        lines = self.values(name)
        return ("; " if name.lower() == "cookie" else ",").join(lines) if lines else None


class Outcome(StrEnum):
    """The verbs of the house, and the two ways in which nobody is judged."""

    ALLOW = "allow"
    REDIRECT = "redirect"
    REFUSE = "refuse"
    REJECT = "reject"
    DENY = "deny"
    NOT_FOUND = "not-found"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was looked at: what, where it is written, whether it held, and what was seen."""

    text: str
    passed: bool
    where: Where = field(default=NOWHERE)
    seen: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """
    The answer. `rule` is the name of the route that decided, or one of `RULES`; `reason` is a stable code.

    `identity` are the headers that the upstream (or the proxy that asks) may trust, set only on `allow`; `location` only on `redirect`, and not
    when that goes to a login: `login` are then the providers to choose from. `authorization` and `cookie` are what the
    upstream gets in these headers, None for none. Of the gateway's own endpoints (rule `endpoint`) the status is not
    judged here. `body_limit` in bytes is reported and not judged here: None is no limit.
    """

    status: int
    outcome: Outcome
    rule: str
    reason: str
    where: Where = field(default=NOWHERE)
    steps: tuple[Step, ...] = ()
    identity: tuple[tuple[str, str], ...] = ()
    upstream: str | None = None
    route: Route | None = None
    body_limit: int | None = None
    location: str | None = None
    login: tuple[str, ...] = ()
    authorization: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)


GUARD_PATH = "guard:path"
GUARD_HEADER = "guard:header"
GUARD_HOST = "guard:host"
GUARD_METHOD = "guard:method"
GUARD_CREDENTIAL = "guard:credential"
GUARD_UPGRADE = "guard:upgrade"
FORWARD_AUTH = "forward-auth"
NO_ROUTE = "no-route"
NO_HOST = "no-host"
HEALTH = "endpoint:health"
ENDPOINT = "endpoint"
REDIRECT = "redirect:https"
PREFLIGHT = "cors-preflight"
METHOD_NOT_LISTED = "method-not-listed"
LETTER_CASE = "letter-case"
ROUTE_AGAIN = "route-again"
FALLBACK = "fallback"

RULES = frozenset(
    {
        GUARD_PATH,
        GUARD_HEADER,
        GUARD_HOST,
        GUARD_METHOD,
        GUARD_CREDENTIAL,
        GUARD_UPGRADE,
        FORWARD_AUTH,
        NO_ROUTE,
        NO_HOST,
        HEALTH,
        ENDPOINT,
        REDIRECT,
        PREFLIGHT,
        METHOD_NOT_LISTED,
        LETTER_CASE,
        ROUTE_AGAIN,
        FALLBACK,
    }
)
"""The rules that no route has: what every policy brings along."""
