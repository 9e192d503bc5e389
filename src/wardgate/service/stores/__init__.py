"""
Where sessions are kept. Two stores keep the promises of `SessionStore`: `local.py` (a file in the state directory, one
replica) and `redis.py` (Redis, Redis Cluster: any number of replicas).

Values are sealed (`sealing.py`): whoever reads the store's disk or memory learns names, times and sizes. What is asked
of a store is one session at a time; nothing here knows tokens, issuers or cookies.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from wardgate.problems import Unavailable
from wardgate.service.session import Session


class StoreAway(Unavailable):
    """The store does not answer, or not in time. It says nothing about any session: nobody is logged out by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What `wardgate sessions list` shows of a session."""

    name: str
    provider: str
    subject: str
    username: str
    created: float
    used: float
    expires: float


def summary_of(session: Session, expires: float) -> Summary:
    """What may be shown of a session; never a token. The user name is the provider's, for people to read."""
    named = session.tokens.id_claims.get("preferred_username") or session.tokens.id_claims.get("email")
    return Summary(
        name=session.name,
        provider=session.provider,
        subject=session.subject,
        username=named if isinstance(named, str) else "",
        created=session.created,
        used=session.used,
        expires=expires,
    )


class SessionStore(Protocol):
    """
    Every method raises StoreAway when the store cannot answer within about a second.

    A value that cannot be unsealed or read is no session (None), never an error: its key was withdrawn.
    """

    async def create(self, session: Session, *, expires: float) -> None:
        """Keep a new session until `expires`. Raises StoreAway, too, for a name that has ended: ids are random."""

    async def read(self, name: str) -> Session | None:
        """The session, unless there is none, it has expired, or it was revoked."""

    async def replace(self, session: Session, *, expires: float) -> bool:
        """
        Keep the next generation of a session. False, and nothing changes, unless the one that is kept has exactly
        the generation before: it ended meanwhile, or somebody else was first. Never brings an ended one back.
        """

    async def touch(self, name: str, *, used: float, expires: float) -> None:
        """Note that it was used; nothing when it is gone."""

    async def end(self, name: str, *, now: float, deny_until: float) -> Session | None:
        """
        Remove a session and record its revocation until `deny_until` (also of a name that is not kept: attested
        tokens may be out); tells every replica. Returns what was removed. The revocation is recorded first: a
        failure in between leaves the session refused, never half alive.
        """

    async def of_login(self, issuer: str, *, subject: str | None, issuer_session: str | None) -> list[str]:
        """Names of the sessions of one login at the issuer (`sid`), or, without it, of one subject there."""

    def list(self) -> AsyncIterator[Summary]:
        """Every session, in no order. May be long."""

    async def revoked(self, *, now: float) -> Mapping[str, float]:
        """Every revocation that still holds: session name -> until when."""

    def changes(self) -> AsyncIterator[None]:
        """
        Yields whenever a revocation may have been recorded, as soon as the store tells of one; a hint, which may be
        lost: whoever listens also asks `revoked` each second. Ends by StoreAway.
        """

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        """Try to be the one who refreshes a session, for so long; True also when `owner` has it already (renewal)."""

    async def release(self, name: str, owner: str) -> None:
        """Give the lease back, if it is still ours."""

    async def first_time(self, kind: str, value: str, *, seconds: float) -> bool:
        """Remember a value (the `jti` of a logout token, a login's state); False when it was seen within that time."""

    async def epoch(self) -> str:
        """
        A random marker that lives as long as the store's content: made when there is none. Another one than before
        means that the store was emptied, its revocations too.
        """

    async def close(self) -> None: ...
