"""
The end of a login: the browser comes back from the issuer with a code, and is given a session, or a page that says why not.

Before anything else it has to be shown that this browser began this login (its cookie opens for the state), and that
the answer is from the issuer that was asked (`iss`). Whatever ends otherwise leaves no session and no cookie, and is
counted. A state is good for one session: who brings it again, from the browser that began it, is only sent on.
Source: OpenID Connect Core 1.0, 3.1.2.5; RFC 6749, 4.1.2; RFC 9207; RFC 9700, 2.1 and 4.4.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from starlette.responses import Response

from wardgate.events import say, warn
from wardgate.policy import SameSite
from wardgate.policy import Session as Terms
from wardgate.problems import Unavailable, shown
from wardgate.service import cookies
from wardgate.service.answers import Answers
from wardgate.service.asking import Asking
from wardgate.service.login import Login
from wardgate.service.oidc import IssuerAway, LoginRefused, OidcClient
from wardgate.service.pending import PendingLogin
from wardgate.service.redirects import redirect
from wardgate.service.session import Tokens
from wardgate.service.sessions import Sessions
from wardgate.service.stores.cookie import SessionTooLarge

MAX_FIELDS: Final = 20

SOON_S: Final = 2.0
"""A token that ends within so long was over before the browser could use it."""


class Refused(Exception):
    """
    This login fails: with a status, one of `answers.CODES`, and a `message` for the person. `detail`: what the issuer said to them;
    `why`: the same failure for who reads the log.
    """

    def __init__(self, status: int, code: str, message: str, detail: str = "", why: str = "") -> None:
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.why = why or detail or message
        super().__init__(message)


@dataclass(slots=True)
class Logins:
    """Logins by how they ended, since the service began."""

    succeeded: int = 0
    failed: Counter[str] = field(default_factory=Counter)


class Callback:
    """`clients` by the provider's name."""

    def __init__(
        self,
        terms: Terms,
        clients: Mapping[str, OidcClient],
        sessions: Sessions,
        login: Login,
        answers: Answers,
        logins: Logins,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._terms = terms
        self._clients = clients
        self._sessions = sessions
        self._login = login
        self._answers = answers
        self._logins = logins
        self._now = now

    def provider(self, asking: Asking) -> str | None:
        """Where the login began that comes back; None when this browser began none like it."""
        try:
            state = _answered(asking.target).get("state", "")
        except Refused:
            return None
        pending = self._login.pending.of_state(asking.cookies, state)
        return pending.provider if pending is not None else None

    async def __call__(self, asking: Asking) -> Response:
        """Raises nothing that a login can end with; StoreAway and IssuerAway are answered 503."""
        try:
            answered = _answered(asking.target)
        except Refused as refused:
            return self._failed(asking, None, refused)
        pending = self._login.pending.of_state(asking.cookies, answered.get("state", ""))
        if pending is None:
            self._count(asking, "login-state", "this browser did not begin this login")
            return self._answers.lost(asking, self._login.base(asking))
        try:
            answer = await self._completed(asking, pending, answered)
        except Refused as refused:
            answer = self._failed(asking, pending, refused)
        except Unavailable as error:
            code = error.code if isinstance(error, IssuerAway) else "store-away"
            self._count(asking, code, str(error))
            answer = self._answers.unavailable(asking, code, again=self._login.start_url(pending.landing))
        answer.headers.append("set-cookie", self._login.pending.finish(pending.state))
        return answer

    # --- what has to hold

    async def _completed(
        self, asking: Asking, pending: PendingLogin, answered: Mapping[str, str]
    ) -> Response:
        client = self._clients.get(pending.provider)
        if client is None:
            raise Refused(400, "login-provider", "The place where you signed in is not there any more.")
        seconds = self._terms.login_patience.total_seconds() + 60
        if not await self._sessions.store.first_time("login-state", _hashed(pending.state), seconds=seconds):
            # somebody reloads while we answer: they go to their page, which has the session by now or asks for a login
            say("a login came back twice", provider=pending.provider, request_id=asking.request_id)
            return self._onwards(asking, pending)
        await _require_issuer(client, answered)
        _require_no_error(answered)
        grant = answered.get("code")
        if not grant:
            raise Refused(400, "login-answer", "The answer of the sign-in service is not complete.")
        tokens = await self._tokens(client, pending, grant)
        return await self._begun(asking, pending, tokens)

    async def _tokens(self, client: OidcClient, pending: PendingLogin, grant: str) -> Tokens:
        try:
            tokens = await client.exchange(
                grant, redirect_uri=pending.redirect_uri, verifier=pending.verifier, nonce=pending.nonce
            )
        except LoginRefused as refused:
            message = "The sign-in service's answer is refused."
            raise Refused(403, refused.code, message, why=refused.message) from refused
        if tokens.access_expires is not None and tokens.access_expires - self._now() < SOON_S:
            raise Refused(403, "login-clock", "You were signed in, and it was over at once.")
        return tokens

    # --- what follows

    async def _begun(self, asking: Asking, pending: PendingLogin, tokens: Tokens) -> Response:
        presented = cookies.session_values(asking.cookies, self._terms)
        try:
            session_id, session = await self._sessions.begin(tokens, pending.provider, presented)
        except SessionTooLarge as error:
            raise Refused(403, "login-size", "Your session does not fit.", why=str(error)) from error
        self._logins.succeeded += 1
        say(
            "logged in",
            provider=session.provider,
            session=session.name,
            subject=session.subject,
            request_id=asking.request_id,
        )
        answer = self._onwards(asking, pending)
        completed = self._login.pending.completed(asking.cookies)
        for cookie in (*self._sessions.cookies_of(session_id, session), completed):
            answer.headers.append("set-cookie", cookie)
        return answer

    def _onwards(self, asking: Asking, pending: PendingLogin) -> Response:
        place = pending.landing
        if self._terms.post_login_path is not None and _is_root(place):
            place = urlunsplit((*urlsplit(place)[:2], *urlsplit(self._terms.post_login_path)[2:]))
        if self._terms.same_site is SameSite.STRICT:
            # the issuer is on another site, or a link that led here is: a redirect would still be that site's
            # navigation, and our new cookie would not be sent
            return self._answers.onward(asking, place)
        return redirect(place)

    def _failed(self, asking: Asking, pending: PendingLogin | None, refused: Refused) -> Response:
        self._count(asking, refused.code, refused.why)
        if refused.code == "login-clock":
            return self._answers.tokens_over(asking)
        if refused.code == "login-size":
            return self._answers.session_too_large(asking)
        again = self._login.start_url(pending.landing) if pending is not None else None
        return self._answers.refused(
            asking, refused.status, refused.code, refused.message, detail=refused.detail, again=again
        )

    def _count(self, asking: Asking, code: str, message: str) -> None:
        self._logins.failed[code] += 1
        warn("a login failed", code=code, problem=message, request_id=asking.request_id)


def _answered(target: str) -> dict[str, str]:
    """The parameters of the answer, each once. Raises Refused."""
    unread = Refused(400, "login-answer", "The answer of the sign-in service cannot be read.")
    try:
        pairs = parse_qsl(urlsplit(target).query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise unread from error
    found = dict(pairs)
    if len(found) < len(pairs):
        raise unread
    return found


async def _require_issuer(client: OidcClient, answered: Mapping[str, str]) -> None:
    """RFC 9207, 2.4: an issuer that says who it is has to be the one that was asked; one that always says so must."""
    named = answered.get("iss")
    must = (await client.metadata()).names_itself
    if (named is None and must) or (named is not None and named != client.provider.issuer):
        raise Refused(
            400, "login-issuer", "The answer does not come from the sign-in service that was asked."
        )


def _require_no_error(answered: Mapping[str, str]) -> None:
    error = answered.get("error")
    if error is None:
        return
    words = answered.get("error_description", "")
    detail = shown(f"{error}: {words}" if words else error, 200).strip("'\"")
    if error == "access_denied":
        raise Refused(403, "login-denied", "Signing in was refused.", detail)
    raise Refused(400, "login-error", "The sign-in service could not sign you in.", detail)


def _is_root(place: str) -> bool:
    parts = urlsplit(place)
    return parts.path in ("", "/") and not parts.query


def _hashed(state: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(state.encode()).digest()[:24]).decode("ascii")
