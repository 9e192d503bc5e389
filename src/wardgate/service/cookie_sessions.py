"""
A session's life where browsers keep it. What its cookies hold is the session itself, so what becomes of it has to reach
the browser: with the answer to the request that caused it, or to the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from wardgate.policy import Session as Terms
from wardgate.service.cookies import expire_session, session_chunks
from wardgate.service.oidc import IssuerAway, OidcClient
from wardgate.service.renewals import RenewalSlow
from wardgate.service.session import Session
from wardgate.service.sessions import Refused, Sessions, nobody_to_tell
from wardgate.service.stores.cookie import CookieStore, Kept, KeptByBrowsers

AHEAD_PATIENCE_S: Final = 3.0
"""How long a request waits for tokens that it does not need yet."""


class CookieSessions(Sessions):
    """As `Sessions`, over what browsers bring."""

    def __init__(
        self,
        store: CookieStore,
        terms: Terms,
        clients: Mapping[str, OidcClient],
        *,
        refused: Refused = nobody_to_tell,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(store, terms, clients, refused=refused, now=now)
        self._kept = store

    def require_known(self) -> None:
        raise KeptByBrowsers

    def name_in_cookie(self, value: str) -> str | None:
        """The name of the session that the cookies of a request hold: from here on it can be read by it, for a while."""
        return self._kept.brought(value)

    def cookies_of(self, session_id: str, session: Session) -> tuple[str, ...]:  # noqa: ARG002 - nobody is told the id
        kept = self._kept.newest(session.name)
        assert kept is not None, "it has just begun"
        chunks = self._chunks(kept, kept.value)
        # a longer session of before, of which the browser may not have told us (SameSite), must not go on in this one
        return (*chunks, *expire_session(self._terms, after=len(chunks)))

    def cookies_to_renew(self, name: str, held: str) -> tuple[str, ...]:
        kept = self._kept.newest(name)
        if kept is None or kept.value == held:
            return ()
        chunks, before = self._chunks(kept, kept.value), self._chunks(kept, held)
        return (*chunks, *expire_session(self._terms, after=len(chunks), until=len(before)))

    async def _renewed_ahead(self, client: OidcClient, session: Session) -> Session:
        """
        It is waited for: a browser that goes away now shall have the new tokens. Those that come too late go with the
        next answer, if this process still runs then.
        """
        if self._renewals.failing(session):  # nobody waits for an issuer that is known not to answer
            return await super()._renewed_ahead(client, session)
        try:
            async with asyncio.timeout(AHEAD_PATIENCE_S):
                return await self._newer(client, session)
        except (IssuerAway, RenewalSlow, TimeoutError):
            return session

    def _chunks(self, kept: Kept, value: str) -> list[str]:
        return session_chunks(self._terms, value, ends_in_s=kept.session.ends - self._now())
