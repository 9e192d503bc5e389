"""
Who is logged in: sessions of users, and in each the clients that the user logged in to.

In memory and bounded. As in Keycloak, losing a client's part (a code or refresh token used too often) ends that
client's tokens and leaves the user logged in elsewhere; an offline session outlives the logout of its browser.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from wardgate.idp.realm import Client, Realm, User

MAX_SESSIONS = 10_000
"""Beyond this the oldest session is forgotten: a test that logs in forever must not eat the machine."""


@dataclass(slots=True)
class Line:
    """Refresh tokens that came one from the other: which is the current one, and how often it was used."""

    current: str
    uses: int = 0
    stale: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class ClientSession:
    """One client in a session. `lines` are its refresh tokens by `reuse_id`, where they are counted."""

    client: Client
    scopes: tuple[str, ...]
    acr: str
    lines: dict[str, Line] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class UserSession:
    """A user's session. `key` is what the browser's cookie holds; `auth_time` None: it began with a grant."""

    sid: str
    user: User
    started: datetime
    used: datetime
    auth_time: datetime | None = None
    offline: bool = False
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    clients: dict[str, ClientSession] = field(default_factory=dict)

    def join(self, client: Client, scopes: tuple[str, ...], acr: str = "1") -> ClientSession:
        """Let a client take part, or take part again."""
        joined = self.clients.setdefault(client.id, ClientSession(client=client, scopes=scopes, acr=acr))
        joined.scopes, joined.acr = scopes, acr
        return joined


class Sessions:
    """Every session that lasts. What has been idle or there for too long is gone when it is next asked for."""

    def __init__(self, realm: Realm, clock: Callable[[], datetime]) -> None:
        self._realm = realm
        self._clock = clock
        self._online: dict[str, UserSession] = {}
        self._offline: dict[str, UserSession] = {}
        self._by_key: dict[str, str] = {}

    def start(self, user: User, *, auth_time: datetime | None = None) -> UserSession:
        """A new session, that a browser may hold by its key."""
        now = self._clock()
        sid = secrets.token_urlsafe(18)
        session = UserSession(sid=sid, user=user, started=now, used=now, auth_time=auth_time)
        _make_room(self._online, self._by_key)
        self._online[sid] = session
        self._by_key[session.key] = sid
        return session

    def start_offline(self, online: UserSession) -> UserSession:
        """The session of the same name that a logout does not end."""
        session = self._offline.get(online.sid)
        if session is None:
            session = UserSession(
                sid=online.sid,
                user=online.user,
                started=online.started,
                used=online.used,
                auth_time=online.auth_time,
                offline=True,
            )
            _make_room(self._offline, {})
            self._offline[online.sid] = session
        return session

    def online(self, sid: str) -> UserSession | None:
        """The session, if it lasts."""
        session = self._online.get(sid)
        if session is not None and self._is_over(session):
            self.end(sid)
            return None
        return session

    def offline(self, sid: str) -> UserSession | None:
        return self._offline.get(sid)

    def find(self, sid: str) -> UserSession | None:
        """The session that a token names, whichever it is."""
        return self.online(sid) or self.offline(sid)

    def of_browser(self, key: str) -> UserSession | None:
        """The session whose cookie a browser sent."""
        sid = self._by_key.get(key)
        return self.online(sid) if sid is not None else None

    def touch(self, session: UserSession) -> None:
        """The session was used: its idle time begins anew."""
        session.used = self._clock()

    def leave(self, session: UserSession, client_id: str) -> None:
        """Take a client out: its tokens are no longer active, the others' are."""
        session.clients.pop(client_id, None)

    def leave_for_good(self, session: UserSession, client_id: str) -> None:
        """The same, and the session ends when that was its last client."""
        self.leave(session, client_id)
        if not session.clients and session.offline:
            self._offline.pop(session.sid, None)
        elif not session.clients:
            self.end(session.sid)

    def end(self, sid: str) -> UserSession | None:
        """End a session, and give what it was."""
        session = self._online.pop(sid, None)
        if session is not None:
            self._by_key.pop(session.key, None)
        return session

    def forget(self, sid: str) -> None:
        """End a session and its offline part."""
        self.end(sid)
        self._offline.pop(sid, None)

    def all(self, username: str | None = None) -> tuple[UserSession, ...]:
        """The sessions that last: of everybody, or of one user."""
        lasting = (self.online(sid) for sid in tuple(self._online))
        return tuple(one for one in lasting if one and username in (None, one.user.username))

    def _is_over(self, session: UserSession) -> bool:
        now = self._clock()
        idle_until = session.used + self._realm.session_idle
        return now >= min(idle_until, session.started + self._realm.session_max)


def _make_room(sessions: dict[str, UserSession], keys: dict[str, str]) -> None:
    while len(sessions) >= MAX_SESSIONS:
        oldest = sessions.pop(next(iter(sessions)))
        keys.pop(oldest.key, None)


def new_line() -> str:
    """The name of a new line of refresh tokens (Keycloak's `reuse_id`)."""
    return str(uuid.uuid4())
