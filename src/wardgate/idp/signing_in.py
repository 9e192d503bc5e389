"""
The browser's way from an authorization request to a code: its session, or a form with name and password.

Not HTTP and not HTML. A browser is known by two cookies: `AUTH_SESSION_ID` while it has forms open (each in its
own tab), `KEYCLOAK_IDENTITY` once somebody is logged in. A form is good once, and only with the cookie of the
browser that it was made for, so no other site can send one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from wardgate.idp.authorization import Asked
from wardgate.idp.provider import Provider
from wardgate.idp.realm import User
from wardgate.idp.redirects import allows, with_parameters
from wardgate.idp.refusals import SentBack, Stopped
from wardgate.idp.sessions import UserSession

MAX_BROWSERS = 10_000
MAX_TABS = 300
"""As Keycloak's authSessionsLimit; beyond it the oldest form is forgotten."""

NO_COOKIE = (
    "Restart login cookie not found. It may have expired; it may have been deleted or cookies are disabled in your "
    "browser. If cookies are disabled then enable them. Click Back to Application to login again."
)
BAD_PASSWORD = "Invalid username or password."  # noqa: S105 - a sentence
DISABLED = "Account is disabled, contact your administrator."
UNFINISHED = "The account is not fully set up: it has required actions, which this provider does not do."
AGAIN = "Please re-authenticate to continue"


Kept = TypeVar("Kept")


@dataclass(slots=True, kw_only=True)
class Form:
    """A login form that is open in a tab. `user`: who has to show that it is still they."""

    asked: Asked
    tab: str
    ticket: str = field(repr=False)
    user: User | None = None
    tried: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Where the browser goes with its code, and the session whose cookie it gets."""

    url: str
    session: UserSession


@dataclass(slots=True)
class _Browser:
    until: datetime
    forms: dict[str, Form] = field(default_factory=dict)


class SigningIn:
    """The forms that are open, and what becomes of them."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._browsers: dict[str, _Browser] = {}

    def begin(self, asked: Asked, identity: str, browser: str) -> LoggedIn | tuple[str, Form]:
        """
        Answer a request at once by the session of the cookie `identity`, or with a form.

        A form comes with the value of the browser's cookie, which is `browser` when that is still known. Raises
        SentBack when nothing may be shown (`prompt=none`).
        """
        session = self._provider.sessions.of_browser(identity)
        if "none" in asked.prompt and (session is None or "login" in asked.prompt):
            raise SentBack("login_required")
        if session is not None and not self._must_type_again(asked, session):
            self._provider.sessions.touch(session)
            return self._logged_in(asked, session, acr="0")
        if "none" in asked.prompt:
            raise SentBack("login_required")
        return self._open(asked, browser, None if session is None else session.user)

    def _must_type_again(self, asked: Asked, session: UserSession) -> bool:
        if "login" in asked.prompt:
            return True
        if asked.max_age is None or asked.max_age < 0:
            return False
        typed = session.auth_time or session.started
        since = int(self._provider.clock().timestamp()) - int(typed.timestamp())
        return asked.max_age == 0 or since > asked.max_age

    def _open(self, asked: Asked, browser: str, user: User | None) -> tuple[str, Form]:
        known = self._known_browser(browser)
        if known is None:
            browser, known = secrets.token_urlsafe(32), self._new_browser()
            _keep(self._browsers, browser, known, MAX_BROWSERS)
        form = Form(
            asked=asked,
            tab=secrets.token_urlsafe(8),
            ticket=secrets.token_urlsafe(32),
            user=user,
            tried=asked.login_hint,
            error="" if user is None else AGAIN,
        )
        _keep(known.forms, form.tab, form, MAX_TABS)
        return browser, form

    def _new_browser(self) -> _Browser:
        return _Browser(self._provider.clock() + self._provider.realm.login_lifespan)

    def _known_browser(self, browser: str) -> _Browser | None:
        known = self._browsers.get(browser)
        if known is not None and known.until <= self._provider.clock():
            del self._browsers[browser]
            return None
        return known

    def form(self, browser: str, tab: str) -> Form | None:
        """The form that is open in this tab of this browser."""
        known = self._known_browser(browser)
        return known.forms.get(tab) if known is not None else None

    def submit(
        self, form: Form, browser: str, ticket: str, *, username: str, password: str, identity: str
    ) -> LoggedIn | Form:
        """
        What somebody typed into a form: a code for the client, or the form again with what was wrong.

        A form that is out of date is shown again, and nothing that was typed into it counts.
        """
        if not hmac.compare_digest(form.ticket.encode(), ticket.encode()):
            return form
        form.ticket = secrets.token_urlsafe(32)
        form.tried = form.user.username if form.user is not None else username
        user = self._provider.known(form.tried, password)
        form.error = _complaint(user)
        if user is None or form.error:
            return form
        session = self._session_for(user, identity)
        known = self._known_browser(browser)
        if known is not None:
            known.forms.pop(form.tab, None)
        return self._logged_in(form.asked, session, acr="1")

    def _session_for(self, user: User, identity: str) -> UserSession:
        """The browser's session if it is this user's, else a new one. Raises Stopped if it is somebody else's."""
        now = self._provider.clock()
        session = self._provider.sessions.of_browser(identity)
        if session is None:
            return self._provider.sessions.start(user, auth_time=now)
        if session.user != user:
            words = (
                "You are already authenticated as different user '{}' in this session. Please sign out first."
            )
            raise Stopped(400, words.format(session.user.username))
        session.auth_time = now
        self._provider.sessions.touch(session)
        return session

    def _logged_in(self, asked: Asked, session: UserSession, acr: str) -> LoggedIn:
        session.join(asked.client, asked.scopes, acr)
        answer = {
            **({} if asked.state is None else {"state": asked.state}),
            "session_state": session.sid,
            "iss": self._provider.issuer,
            "code": self._provider.codes.give(asked, session.sid, acr),
        }
        return LoggedIn(with_parameters(asked.redirect_uri, answer.items()), session)

    def sent_back(self, sent: SentBack, redirect_uri: str, state: str | None) -> str:
        """Where the browser carries an error, when the redirect URI is known to be the client's."""
        answer = {
            "error": sent.error,
            **({"error_description": sent.description} if sent.description else {}),
            **({} if state is None else {"state": state}),
            "iss": self._provider.issuer,
        }
        return with_parameters(redirect_uri, answer.items(), fragment=sent.fragment)

    def too_late(self, client_id: str, client_data: str) -> str:
        """Where a browser goes whose form is gone: back to the client, to begin anew. Raises Stopped."""
        client = self._provider.realm.clients.get(client_id)
        uri, state = read_client_data(client_data)
        if client is None or not client.enabled or not allows(client.login.redirect_uris, uri):
            raise Stopped(400, NO_COOKIE)
        sent = SentBack("temporarily_unavailable", "authentication_expired")
        return self.sent_back(sent, uri, state)

    def knows(self, browser: str) -> bool:
        """Whether this browser has or had a form."""
        return self._known_browser(browser) is not None


def client_data(asked: Asked) -> str:
    """Where a form leads, for the time when the form itself is forgotten (Keycloak's `client_data`)."""
    data = {"ru": asked.redirect_uri, "rt": "code"} | ({} if asked.state is None else {"st": asked.state})
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode("ascii")


def read_client_data(text: str) -> tuple[str, str | None]:
    """Redirect URI and state; an empty URI when the text is not such data. Nothing in it is proven."""
    try:
        data = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        uri, state = data["ru"], data.get("st")
    except (ValueError, binascii.Error, KeyError, TypeError, AttributeError):
        return "", None
    return (uri, state) if isinstance(uri, str) and isinstance(state, str | None) else ("", None)


def _complaint(user: User | None) -> str:
    if user is None:
        return BAD_PASSWORD
    if not user.enabled:
        return DISABLED
    return UNFINISHED if user.required_actions else ""


def _keep(kept: dict[str, Kept], name: str, value: Kept, most: int) -> None:
    while len(kept) >= most:
        kept.pop(next(iter(kept)))
    kept[name] = value
