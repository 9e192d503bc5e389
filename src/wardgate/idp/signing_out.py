"""
Ending a session, and telling the clients of it: OpenID Connect RP-Initiated, Back-Channel and Front-Channel Logout.

The decisions are Keycloak's (26.7.3): an ID token of the browser's own session ends it at once, anything less is
asked about first. Clients are told before the answer, at the same time and for a bounded time; one that does not
answer is not told again.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import httpx

from wardgate.events import warn
from wardgate.idp.provider import Provider
from wardgate.idp.realm import Client
from wardgate.idp.redirects import allows, with_parameters
from wardgate.idp.refusals import Stopped
from wardgate.idp.sessions import UserSession

CALL_SECONDS = 3.0
"""How long a client may take to answer a back-channel call."""
MAX_CALLS_AT_ONCE = 16
MAX_QUESTIONS = 1_000

BAD_HINT = "Invalid parameter: id_token_hint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a browser is asked before its session ends; `url` is where it goes afterwards, "" for our own page."""

    sid: str
    url: str
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    tab: str = field(default_factory=lambda: secrets.token_urlsafe(8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A session has ended (or there was none). `frames` are (client, address) of those told by the browser."""

    url: str = ""
    frames: tuple[tuple[str, str], ...] = ()


class SigningOut:
    """The questions that are open, and the calls to clients."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._questions: dict[str, Question] = {}

    def ask(self, parameters: Mapping[str, str], identity: str) -> Done | Question:
        """RP-initiated logout, by a browser with the cookie `identity`. Raises Stopped."""
        client, sid = self._hint(parameters)
        url = self._landing(client, parameters)
        current = self._provider.sessions.of_browser(identity)
        if sid is not None and (current is None or current.sid == sid):
            return self.end(self._provider.sessions.online(sid), url)
        if sid is None and current is None and url:
            return Done(url=url)
        question = Question(sid=current.sid if current is not None else "", url=url)
        while len(self._questions) >= MAX_QUESTIONS:
            self._questions.pop(next(iter(self._questions)))
        self._questions[question.tab] = question
        return question

    def _hint(self, parameters: Mapping[str, str]) -> tuple[Client | None, str | None]:
        """The client that asks, if it is known, and the session that its ID token is of."""
        named = self._provider.realm.clients.get(parameters.get("client_id", ""))
        hint = parameters.get("id_token_hint")
        if hint is None:
            return named, None
        hinted = self._provider.hinted(hint)
        if hinted is None or parameters.get("client_id", hinted[0].id) != hinted[0].id:
            raise Stopped(400, BAD_HINT)
        return hinted

    def _landing(self, client: Client | None, parameters: Mapping[str, str]) -> str:
        """Where the browser goes afterwards, "" when it is not asked for. Raises Stopped."""
        uri = parameters.get("post_logout_redirect_uri")
        if uri is None:
            return ""
        if client is None:
            raise Stopped(400, "Missing parameters: id_token_hint")
        patterns = client.login.post_logout_uris
        if not allows(client.login.redirect_uris if patterns is None else patterns, uri):
            raise Stopped(400, "Invalid redirect uri")
        state = parameters.get("state")
        return with_parameters(uri, [] if state is None else [("state", state)])

    def answer(self, tab: str, ticket: str, identity: str) -> Done:
        """The user confirmed. Raises Stopped when the question was not asked of this browser."""
        question = self._questions.pop(tab, None)
        current = self._provider.sessions.of_browser(identity)
        if question is None or not hmac.compare_digest(question.ticket.encode(), ticket.encode()):
            raise Stopped(400, "Logout failed")
        if (current.sid if current is not None else "") != question.sid:
            raise Stopped(400, "Logout failed")
        return self.end(current, question.url)

    def end(self, session: UserSession | None, url: str = "") -> Done:
        """End a session and tell its clients: those that want it by the browser are in the answer."""
        if session is None:
            return Done(url=url)
        self._provider.sessions.end(session.sid)
        clients = [joined.client for joined in session.clients.values()]
        framed = [client for client in clients if client.login.frontchannel and client.login.frontchannel_url]
        self._call((client, session) for client in clients if client not in framed)
        frames = tuple((client.id, self._frame(client, session)) for client in framed)
        return Done(url=url, frames=frames)

    def end_all(self, username: str | None = None) -> int:
        """End the sessions of everybody, or of one user, without a browser; how many there were."""
        sessions = self._provider.sessions.all(username)
        for session in sessions:
            self._provider.sessions.end(session.sid)
        self._call((joined.client, session) for session in sessions for joined in session.clients.values())
        return len(sessions)

    def _frame(self, client: Client, session: UserSession) -> str:
        if not client.login.frontchannel_session:
            return client.login.frontchannel_url
        said = [("sid", session.sid), ("iss", self._provider.issuer)]
        return with_parameters(client.login.frontchannel_url, said)

    def _call(self, ended: Iterable[tuple[Client, UserSession]]) -> None:
        """Tell each client that has an address for it, and wait for their answers, not for ever."""
        calls = [
            (client.id, client.login.backchannel_url, self._provider.logout_token(client, session))
            for client, session in ended
            if client.login.backchannel_url
        ]
        if not calls:
            return
        pool = ThreadPoolExecutor(min(len(calls), MAX_CALLS_AT_ONCE), thread_name_prefix="backchannel")
        wait([pool.submit(_tell, *call) for call in calls], timeout=CALL_SECONDS)
        pool.shutdown(wait=False, cancel_futures=True)


def _tell(client_id: str, url: str, token: str) -> None:
    try:
        answer = httpx.post(url, data={"logout_token": token}, timeout=CALL_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        warn("a client could not be told of a logout", client=client_id, error=type(error).__name__)
        return
    if not answer.is_success:
        warn("a client refused to hear of a logout", client=client_id, status=answer.status_code)
