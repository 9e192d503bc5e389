"""
A session's life over its store: begun by a login, read for each request that Envoy does not know, renewed ahead of its
tokens' end, ended by a logout, by the issuer or by time.

It decides whether a session goes on; what a session may do is Envoy's to judge. Times are seconds since 1970.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Final

from wardgate.events import say
from wardgate.policy import Introspection, Outage
from wardgate.policy import Session as Terms
from wardgate.problems import TokenError
from wardgate.service.cookies import session_cookie
from wardgate.service.oidc import IssuerAway, OidcClient
from wardgate.service.renewals import Gone, Renewals, RenewalSlow
from wardgate.service.session import ID, Session, Tokens, name_of, new_id
from wardgate.service.stores import SessionStore, StoreAway, Summary

AHEAD_S: Final = 60.0
"""A token is renewed at most so long before its end."""

DENIED_FOR_S: Final = 5.0
"""Over an attested token's own life: Envoy's leeway, a second of rounding, and clocks of two machines."""

Refused = Callable[[], Awaitable[bool]]
"""Waits until Envoy refuses every session that ended until now; False when that did not come about in time."""


class SessionOver(Exception):
    """There is no such session, or not any more. `reason` is a few words that the log keeps."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


UNKNOWN: Final = "no such session"
EXPIRED: Final = "the session expired"
TOKENS_EXPIRED: Final = "the session's tokens expired"
ENDED_AT_ISSUER: Final = "the session ended at the issuer"
PROVIDER_GONE: Final = "the session's provider is gone"


async def nobody_to_tell() -> bool:
    return True


class Sessions:
    """`clients` by the provider's name. `refused`: see `Refused`."""

    def __init__(
        self,
        store: SessionStore,
        terms: Terms,
        clients: Mapping[str, OidcClient],
        *,
        refused: Refused = nobody_to_tell,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._terms = terms
        self._clients = clients
        self._refused = refused
        self._now = now
        self._idle_s = terms.idle.total_seconds()
        self._attested_s = terms.attested.total_seconds()
        self._renewals = Renewals(store, self._end, self._idle_s, now)

    async def close(self) -> None:
        """Wait for renewals that are on their way; the store stays open."""
        await self._renewals.close()

    # --- Its beginning and end

    async def begin(
        self, tokens: Tokens, provider: str, presented: Iterable[str] = ()
    ) -> tuple[str, Session]:
        """
        A new session under a new id: (id, session). What its cookies presented before ends, so that an id that somebody
        planted is worth nothing. Raises StoreAway: then there is no session.
        """
        for value in presented:
            name = self.name_in_cookie(value)
            if name is not None:
                await self.end(name, reason="another login replaced it")
        session_id, now = new_id(), self._now()
        issuer_session = tokens.id_claims.get("sid")
        session = Session(
            name=name_of(session_id),
            provider=provider,
            issuer=self._clients[provider].provider.issuer,
            subject=str(tokens.id_claims["sub"]),
            issuer_session=issuer_session if isinstance(issuer_session, str) else None,
            created=now,
            used=now,
            ends=now + self._terms.lifetime.total_seconds(),
            tokens=tokens,
        )
        await self.store.create(session, expires=session.expires(self._idle_s))
        return session_id, session

    async def end(self, name: str, *, reason: str) -> Session | None:
        """
        End a session by its name; returns what it was. In the store it is over when this returns; Envoy refuses it when
        `refused_by_envoy` says so. Raises StoreAway.
        """
        now = self._now()
        ended = await self.store.end(name, now=now, deny_until=now + self._attested_s + DENIED_FOR_S)
        if ended is not None:
            say("a session ended", session=name, provider=ended.provider, reason=reason)
        return ended

    async def _end(self, name: str, reason: str) -> None:
        await self.end(name, reason=reason)

    async def end_login(
        self, issuer: str, *, subject: str | None, issuer_session: str | None, reason: str
    ) -> int:
        """End every session of one login at the issuer, or of one subject there: how many. Raises StoreAway."""
        names = await self.store.of_login(issuer, subject=subject, issuer_session=issuer_session)
        return len([name for name in names if await self.end(name, reason=reason) is not None])

    async def refused_by_envoy(self) -> bool:
        """True once Envoy refuses every session that has ended; False when it does not say so in time."""
        return await self._refused()

    def require_known(self) -> None:
        """Raises StoreAway where nobody knows which sessions there are."""

    async def list(self) -> AsyncIterator[Summary]:
        async for one in self.store.list():
            yield one

    # --- Its cookie

    def cookies_of(self, session_id: str, session: Session) -> tuple[str, ...]:
        """Set-Cookie values of a session that has begun."""
        return (session_cookie(self._terms, session_id, ends_in_s=session.ends - self._now()),)

    def cookies_to_renew(self, name: str, held: str) -> tuple[str, ...]:  # noqa: ARG002 - for who keeps more in cookies
        """Set-Cookie values that go with the answer to who came with `held`: none, the session's id stays."""
        return ()

    # --- Its use

    def name_in_cookie(self, value: str) -> str | None:
        """The name of the session whose id a cookie holds; None when it holds no id."""
        return name_of(value) if ID.fullmatch(value) else None

    async def current(self, session_id: str) -> Session:
        """
        The session as it is to be used now, its tokens renewed when they are due.

        Raises SessionOver, StoreAway, and, where the policy says that an outage of the issuer ends the use, IssuerAway:
        of `on_issuer_outage`, and of a provider that is asked about every token.
        """
        session = await self.read(session_id)
        session = await self._renewed(session, self._now())
        if self._clients[session.provider].provider.introspection is Introspection.ALWAYS:
            session = await self._still_at_issuer(session)
        await self._touch(session, self._now())
        return session

    async def read(self, session_id: str) -> Session:
        """The session as it stands, neither renewed nor noted as used. Raises SessionOver, StoreAway."""
        name = self.name_in_cookie(session_id)
        session = await self.store.read(name) if name is not None else None
        if session is None:
            raise SessionOver(UNKNOWN)
        if self._now() >= session.expires(self._idle_s):
            raise SessionOver(EXPIRED)
        client = self._clients.get(session.provider)
        if client is None or client.provider.issuer != session.issuer:
            raise SessionOver(PROVIDER_GONE)
        return session

    def access_token_usable(self, session: Session, now: float) -> bool:
        """Whether its access token may be shown to anybody: a session can outlive it while the issuer is away."""
        return session.tokens.access_expires is None or now < session.tokens.access_expires

    async def _renewed(self, session: Session, now: float) -> Session:
        expires = session.tokens.access_expires
        if expires is None or now < expires - self._ahead(session):
            return session
        client = self._clients[session.provider]
        if not self._terms.refresh or session.tokens.refresh_token is None:
            if now < expires:
                return session
            await self.end(session.name, reason=TOKENS_EXPIRED)
            raise SessionOver(TOKENS_EXPIRED)
        if now < expires:
            return await self._renewed_ahead(client, session)
        return await self._waited_for(client, session)

    async def _renewed_ahead(self, client: OidcClient, session: Session) -> Session:
        """Its token is good for a while: who asks does not wait for the next one."""
        self._renewals.begin(client, session)
        return session

    async def _waited_for(self, client: OidcClient, session: Session) -> Session:
        if self._terms.on_issuer_outage is Outage.CONTINUE and self._renewals.failing(session):
            self._renewals.begin(client, session)  # nobody waits for an issuer that is known not to answer
            return session
        try:
            newer = await self._newer(client, session)
        except (IssuerAway, RenewalSlow):
            if self._terms.on_issuer_outage is Outage.FAIL:
                raise
            return session
        if self._terms.on_issuer_outage is Outage.FAIL and not self.access_token_usable(newer, self._now()):
            raise IssuerAway("issuer-keys-missing", "the issuer's new tokens cannot be judged now")
        return newer

    async def _newer(self, client: OidcClient, session: Session) -> Session:
        """Its next generation. Raises SessionOver, IssuerAway, RenewalSlow, StoreAway."""
        try:
            return await self._renewals.result(client, session)
        except Gone as gone:
            raise SessionOver(ENDED_AT_ISSUER if gone.at_issuer else UNKNOWN) from gone

    async def _still_at_issuer(self, session: Session) -> Session:
        """The session, when the issuer says that its access token is active. Raises SessionOver, IssuerAway."""
        client = self._clients[session.provider]
        if not self.access_token_usable(
            session, self._now()
        ):  # it would be called inactive for its age alone
            raise IssuerAway(
                "issuer-unreachable", "the session's tokens could not be renewed to be asked about"
            )
        if await _active(client, session):
            return session
        if self._terms.refresh and session.tokens.refresh_token is not None:
            # some issuers end a token with its successor, which a replica may just have got: a renewal tells
            session = await self._newer(client, session)
            if await _active(client, session):
                return session
        await self.end(session.name, reason=ENDED_AT_ISSUER)
        raise SessionOver(ENDED_AT_ISSUER)

    def _ahead(self, session: Session) -> float:
        """
        How long before its end a token is renewed: in the last quarter of its life, and at least so early that a
        session that is asked about once in an attested lifetime is renewed beside, not waited for.
        """
        expires, made = session.tokens.access_expires, session.tokens.claims.get("iat")
        if expires is None or isinstance(made, bool) or not isinstance(made, int | float) or made >= expires:
            made = session.created if session.generation == 0 else None
        if expires is None or made is None:
            return min(AHEAD_S, self._attested_s) / 2
        life = expires - made
        return min(AHEAD_S, max(life / 4, min(life / 2, self._attested_s)))

    async def _touch(self, session: Session, now: float) -> None:
        """Half of an attested lifetime apart, at most: an idle session is noticed with that granularity."""
        if now - session.used < self._attested_s / 2:
            return
        touched = min(session.ends, now + self._idle_s)
        with contextlib.suppress(StoreAway):  # it was read a moment ago: that is answer enough
            await self.store.touch(session.name, used=now, expires=touched)


async def _active(client: OidcClient, session: Session) -> bool:
    """Raises IssuerAway."""
    try:
        return await client.introspect(session.tokens.access_token) is not None
    except (
        TokenError
    ):  # active, and not made for us: so are the access tokens of some issuers, and we do not judge by it
        return True
