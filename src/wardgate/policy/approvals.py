"""Requests of agents, and who decides on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from wardgate.policy.base import Secret, place_field, refuse, require_unique
from wardgate.problems import ConfigError, Problem, Where
from wardgate.safety import SafetyPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Who has a role: identities or subjects, letter by letter, or members of groups."""

    subjects: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Who is told of requests that wait for people: a URL, and the secret that signs what is sent (Standard Webhooks)."""

    url: str
    secret: Secret
    where: Where = place_field()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^\s/?#]+[^\s#]*", self.url):
            raise refuse("webhook-url", "not an http(s) URL", self.where, self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """
    Requests of agents, and who decides them (S2). Tokens come from `provider`. `store` is a URL of Postgres; None: a file in
    the state directory. `owners` are pairs of an agent's identity and a person who answers for it, and so cannot approve what
    it asks for. A request that is pending for `pending_for` expires; one that is asked for again within `dedup_window` with
    the same `dedupKey` is the first one. A grant (`Route.require_grant`) can be spent for `grants_for`.
    """

    provider: str
    identity_claim: str = "azp"
    groups_claim: str = "groups"
    agents: Members = Members()
    reviewers: Members = Members()
    admins: Members = Members()
    owners: tuple[tuple[str, str], ...] = ()
    store: Secret | None = None
    pending_for: timedelta = timedelta(hours=24)
    dedup_window: timedelta = timedelta(hours=24)
    grants_for: timedelta = timedelta(minutes=5)
    webhook: Webhook | None = None
    safety: tuple[SafetyPolicy, ...] = ()
    where: Where = place_field()

    def __post_init__(self) -> None:
        members = (self.agents, self.reviewers, self.admins)
        if not any(each.subjects or each.groups for each in members):
            message = "nobody may ask for anything: no subject or group has a role"
            hint = (
                "name some: --agent-subjects, --reviewer-subjects, --admin-subjects, or --agent-groups and the like; "
                "in wardgate.yaml approvals.agents.subjects"
            )
            raise ConfigError(
                [Problem(code="approvals-members", message=message, where=self.where, hint=hint)]
            )
        require_unique(
            "safety-name", "two safety policies with one name", [(p.name, p.where) for p in self.safety]
        )


AGENTS: Final = "wardgate:approvals"
"""The upstream of routes that lead to the requests of agents, which the gateway serves itself."""

CONSOLE: Final = "wardgate:console"
"""The upstream of the route to the reviewers' console. The service looks at the session itself, in the store, at each request:
what Envoy was told of it half a minute ago is not enough to approve by."""

CONSOLE_PATH: Final = "/console"


AGENTS_GUARDED: Final = ("/agent-requests", "/audit-records", "/whoami")
AGENTS_OPEN: Final = ("/openapi.json", "/healthz", "/readyz", "/.well-known/jwks.json")
"""Where they are: with a token, and for everybody."""

AGENTS_BODY_BYTES: Final = 256 * 1024
"""What may be sent there."""
