"""
New tokens for a session, asked for once: whoever needs them meanwhile, here or in another replica, takes the result.

Inside this process one task renews a session; between replicas a lease in the store says whose turn it is. The lease is
short and renewed while the issuer is slow, so that a replica that dies is replaced soon and one that waits is not
(oauth2-proxy #1992, #3456: a lock of 2 seconds and a slower issuer used refresh tokens twice).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final

from wardgate.events import warn
from wardgate.problems import Unavailable
from wardgate.service.oidc import GrantEnded, IssuerAway, OidcClient
from wardgate.service.oidc.flights import Flights
from wardgate.service.outages import Outages
from wardgate.service.session import Session, Tokens
from wardgate.service.stores import SessionStore, StoreAway

LEASE_S: Final = 10.0
RENEW_LEASE_S: Final = 3.0

PATIENCE_S: Final = 12.0
"""How long another replica's renewal is waited for."""

FIRST_POLL_S, LAST_POLL_S = 0.05, 0.25

KEEP_S: Final = 30.0
"""How long a store that is away is tried again with tokens that the issuer gives only once."""


class RenewalSlow(Unavailable):
    """Another replica is at it and does not come to an end."""


class Gone(Exception):
    """There is no session to renew any more. `at_issuer`: it was the issuer that ended it, just now."""

    def __init__(self, *, at_issuer: bool = False) -> None:
        self.at_issuer = at_issuer
        super().__init__()


End = Callable[[str, str], Awaitable[object]]
"""Ends the session of a name, for a reason."""


class Renewals:
    """One store's. `now`: seconds since 1970. For one event loop; `close` waits for what is on its way."""

    def __init__(
        self, store: SessionStore, end: End, idle_s: float, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._end = end
        self._idle_s = idle_s
        self._now = now
        self._flights: Flights[str, Session] = Flights()
        self._outages = Outages()

    def begin(self, client: OidcClient, session: Session) -> None:
        """Renew it beside, unless that is going on already, or the issuer is not to be asked now."""
        if self._asked(session):
            self._flights.start(session.name, lambda: self._renewed(client, session))

    def failing(self, session: Session) -> bool:
        """Whether its last renewal failed: another is not worth waiting for."""
        return self._outages.failing(session.provider, session.name)

    async def result(self, client: OidcClient, session: Session) -> Session:
        """The session's newest generation. Raises Gone, IssuerAway, RenewalSlow, StoreAway."""
        if not self._asked(session):
            raise IssuerAway("issuer-unreachable", "the issuer did not answer, and is not asked again yet")
        return await self._flights.join(session.name, lambda: self._renewed(client, session))

    async def close(self) -> None:
        await self._flights.close()

    def _asked(self, session: Session) -> bool:
        return session.name in self._flights or self._outages.may_ask(session.provider, session.name)

    async def _renewed(self, client: OidcClient, session: Session) -> Session:
        owner = secrets.token_urlsafe(12)
        newer = await self._turn(session, owner)
        if newer is not None:
            return newer
        async with self._leased(session.name, owner):
            newest = await self._newest(session.name)
            if newest.generation != session.generation:
                return newest
            return await self._next(client, newest)

    async def _turn(self, session: Session, owner: str) -> Session | None:
        """None when it is our turn; a newer generation when somebody else had it."""
        deadline = time.monotonic() + PATIENCE_S
        pause = FIRST_POLL_S
        while not await self._store.lease(session.name, owner, seconds=LEASE_S):
            if time.monotonic() > deadline:
                raise RenewalSlow("another replica has been renewing the session for too long")
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 -- it spreads load, it hides nothing
            pause = min(pause * 1.5, LAST_POLL_S)
            newest = await self._newest(session.name)
            if newest.generation != session.generation:
                return newest
        return None

    async def _newest(self, name: str) -> Session:
        found = await self._store.read(name)
        if found is None:
            raise Gone
        return found

    @contextlib.asynccontextmanager
    async def _leased(self, name: str, owner: str) -> AsyncIterator[None]:
        keeping = asyncio.create_task(self._keep_lease(name, owner))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            with contextlib.suppress(StoreAway):
                await self._store.release(name, owner)

    async def _keep_lease(self, name: str, owner: str) -> None:
        while True:
            await asyncio.sleep(RENEW_LEASE_S)
            with contextlib.suppress(StoreAway):
                await self._store.lease(name, owner, seconds=LEASE_S)

    async def _next(self, client: OidcClient, session: Session) -> Session:
        try:
            tokens = await client.refresh(session.tokens)
        except IssuerAway as error:
            self._outages.failed(session.provider, session.name, error.message)
            raise
        except GrantEnded as ended:
            self._outages.answered(session.provider, session.name)
            newest = await self._newest(session.name)
            if newest.generation != session.generation:
                return newest  # whose lease ran out was faster after all, and its tokens are good
            await self._end(session.name, f"the issuer does not renew it: {ended.message}")
            raise Gone(at_issuer=True) from ended
        if tokens.access_expires == session.tokens.access_expires:  # it answered, and its keys are away
            self._outages.failed(session.provider, session.name, "what it answered cannot be judged now")
        else:
            self._outages.answered(session.provider, session.name)
        return await self._replaced(client, session, tokens)

    async def _replaced(self, client: OidcClient, session: Session, tokens: Tokens) -> Session:
        used = max(session.used, self._now())
        following = replace(session, tokens=tokens, generation=session.generation + 1, used=used)
        if await self._kept(following):
            return following
        # ended meanwhile, or this very generation is kept and the store's word on it got lost
        newest = await self._store.read(session.name)
        if newest is not None:
            return newest
        await revoke(client, tokens)
        raise Gone

    async def _kept(self, session: Session) -> bool:
        deadline = time.monotonic() + KEEP_S
        while True:
            try:
                return await self._store.replace(session, expires=session.expires(self._idle_s))
            except StoreAway:
                if time.monotonic() > deadline:
                    warn(
                        "new tokens of a session are lost: the store did not come back", session=session.name
                    )
                    raise
                await asyncio.sleep(LAST_POLL_S)


async def revoke(client: OidcClient, tokens: Tokens) -> None:
    """Let the issuer forget a refresh token; a session has ended, whatever comes of this."""
    if tokens.refresh_token is not None:
        with contextlib.suppress(IssuerAway):
            await client.revoke(tokens.refresh_token)
