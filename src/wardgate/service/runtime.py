"""
Everything that the settings in force are made into. A change of the settings makes another whole; what did not change in
it (the store with its connections, the issuers' clients) is handed on.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardgate.keystore import KeyStore
from wardgate.policy import Session as Terms
from wardgate.problems import Unavailable
from wardgate.service.answers import Answers
from wardgate.service.asking import Asking
from wardgate.service.buckets import Buckets
from wardgate.service.callback import Callback, Logins
from wardgate.service.cookie_sessions import CookieSessions
from wardgate.service.cookies import session_values
from wardgate.service.issuer_logout import IssuerLogout
from wardgate.service.keys import Refreshers
from wardgate.service.login import Login
from wardgate.service.logout import Logout
from wardgate.service.oidc import OidcClient, OidcClients
from wardgate.service.pages import Pages
from wardgate.service.password_login import PasswordLogin
from wardgate.service.sealing import Sealer
from wardgate.service.sessions import Refused, Sessions, nobody_to_tell
from wardgate.service.settings import ServiceSettings, encode
from wardgate.service.stores import SessionStore
from wardgate.service.stores.cookie import CookieStore
from wardgate.service.stores.opening import open_store


class NoSessions(Unavailable):
    """The policy has no `session`: nobody can log in."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What outlives a change of the settings: the figures, and who got it wrong too often."""

    clients: OidcClients
    logins: Logins
    refused_logouts: Buckets
    refused_passwords: Buckets


@dataclass(frozen=True, slots=True)
class Browsers:
    """What browsers need: there when the policy has a `session`."""

    terms: Terms
    store: SessionStore
    store_content: str
    sealer: Sealer
    answers: Answers
    sessions: Sessions
    login: Login
    callback: Callback
    logout: Logout
    issuer_logout: IssuerLogout
    password_login: PasswordLogin


class Runtime:
    """`clients` by the provider's name, and so are `own`: of logins that have a session of their own. For one event loop."""

    def __init__(
        self,
        settings: ServiceSettings,
        clients: Mapping[str, OidcClient],
        kept: Kept,
        browsers: Browsers | None,
        own: Mapping[str, Browsers],
    ) -> None:
        self.settings = settings
        self.clients = clients
        self.kept = kept
        self._browsers = browsers
        self._own = own

    @classmethod
    def build(
        cls,
        settings: ServiceSettings,
        previous: Runtime | None = None,
        *,
        refreshers: Refreshers,
        refused: Callable[[SessionStore], Refused] | None = None,
        now: Callable[[], float] = time.time,
    ) -> Runtime:
        """
        Nothing is asked of a store or an issuer yet. `refused` makes what waits for Envoy (`sessions.Refused`) of a store.

        Raises OSError and ValueError, before anything of `previous` has changed: its sealing key cannot be read.
        """
        kept = previous.kept if previous is not None else _kept(settings, refreshers)
        sealer = None
        if settings.session is not None:
            sealer = Sealer.of(settings.session, Path(settings.state))
        kept.clients.follow(settings.providers, settings.session, userinfo=settings.userinfo)
        clients = dict(kept.clients)
        if settings.session is None or sealer is None:
            return cls(settings, clients, kept, None, {})
        store = _store(settings, settings.session, sealer, previous, now)
        waits = refused(store[0]) if refused is not None else None
        own: dict[str, Browsers] = {}
        for login in dict.fromkeys(settings.login_of.values()):
            those = settings.of_login(login)
            made = _browsers(those, login.session, clients, kept, sealer, store, waits, now)
            own.update(dict.fromkeys((provider.name for provider in those.providers), made))
        browsers = _browsers(settings, settings.session, clients, kept, sealer, store, waits, now)
        return cls(settings, clients, kept, browsers, own)

    @property
    def for_browsers(self) -> Browsers:
        """Raises NoSessions."""
        if self._browsers is None:
            raise NoSessions("the policy has no session")
        return self._browsers

    def browsers_of(self, provider: str | None) -> Browsers:
        """What browsers need that logged in at this provider. Raises NoSessions."""
        return self._own.get(provider or "", self.for_browsers)

    def browsers_at(self, owners: Sequence[str], asking: Asking) -> Browsers:
        """
        What a browser needs at one of our endpoints where these providers' logins are, that of the session that it brings, else
        of the first; without any what all share. Raises NoSessions.
        """
        found = [self.browsers_of(owner) for owner in owners] or [self.for_browsers]
        brought = (one for one in found if session_values(asking.cookies, one.terms))
        return next(brought, found[0])

    @property
    def session(self) -> Terms:
        """The policy's `session`. Raises NoSessions, as the next two do."""
        return self.for_browsers.terms

    @property
    def sessions(self) -> Sessions:
        return self.for_browsers.sessions

    @property
    def login(self) -> Login:
        return self.for_browsers.login

    @property
    def store(self) -> SessionStore | None:
        return self._browsers.store if self._browsers is not None else None

    async def close(self, successor: Runtime | None = None) -> None:
        """End what the successor has not taken over; without one, all of it."""
        if self._browsers is not None:
            for each in (self._browsers, *self._own.values()):
                await each.sessions.close()
                await each.logout.close()
            if successor is None or successor.store is not self._browsers.store:
                with contextlib.suppress(Unavailable):
                    await self._browsers.store.close()
        if successor is None:
            await self.kept.clients.close()


def _kept(settings: ServiceSettings, refreshers: Refreshers) -> Kept:
    return Kept(
        clients=OidcClients(KeyStore(Path(settings.keys)), refreshers),
        logins=Logins(),
        refused_logouts=Buckets(burst=20, rate=1.0),
        refused_passwords=Buckets(burst=10, rate=0.1),
    )


def _store(
    settings: ServiceSettings,
    terms: Terms,
    sealer: Sealer,
    previous: Runtime | None,
    now: Callable[[], float],
) -> tuple[SessionStore, str]:
    """The store, and what it is made of; that of before when it is made of the same."""
    parts = (
        *(terms.store_url, terms.store_tls, terms.store_cluster, terms.in_cookies, settings.state),
        *(terms.encryption_key, terms.old_encryption_keys),
        *((terms,) if terms.in_cookies else ()),
    )
    content = json.dumps([encode(part) for part in parts])
    before = previous._browsers if previous is not None else None
    if before is not None and before.store_content == content:
        return before.store, content
    return open_store(terms, sealer, Path(settings.state), now, before.store if before else None), content


def _sessions(
    store: SessionStore,
    terms: Terms,
    clients: Mapping[str, OidcClient],
    refused: Refused,
    now: Callable[[], float],
) -> Sessions:
    if isinstance(store, CookieStore):
        return CookieSessions(store, terms, clients, refused=refused, now=now)
    return Sessions(store, terms, clients, refused=refused, now=now)


def _browsers(
    settings: ServiceSettings,
    terms: Terms,
    clients: Mapping[str, OidcClient],
    kept: Kept,
    sealer: Sealer,
    store: tuple[SessionStore, str],
    refused: Refused | None,
    now: Callable[[], float],
) -> Browsers:
    sessions = _sessions(store[0], terms, clients, refused or nobody_to_tell, now)
    answers = Answers(terms, Pages(terms), settings.endpoints.prefix, settings.logout_path)
    login = Login(settings, terms, clients, sealer, answers, now)
    return Browsers(
        terms=terms,
        store=store[0],
        store_content=store[1],
        sealer=sealer,
        answers=answers,
        sessions=sessions,
        login=login,
        callback=Callback(terms, clients, sessions, login, answers, kept.logins, now),
        logout=Logout(settings, terms, clients, sessions, login, sealer, answers, now),
        issuer_logout=IssuerLogout(sessions, clients, kept.refused_logouts, now),
        password_login=PasswordLogin(terms, clients, sessions, kept.logins, kept.refused_passwords),
    )
