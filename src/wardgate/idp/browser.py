"""
The identity provider's addresses for browsers: authorize, the login form, logout.

    /realms/R/protocol/openid-connect/auth
    /realms/R/login-actions/authenticate
    /realms/R/protocol/openid-connect/{logout,logout/logout-confirm}

Cookies are HttpOnly and SameSite=Lax, and sent to this realm only. Keycloak's are `Secure; SameSite=None`, which over
plain http on loopback some clients keep and some do not.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from wardgate.idp import forms
from wardgate.idp.authorization import Parameters, PushedRequests, read_request
from wardgate.idp.controls import Traffic
from wardgate.idp.pages import Pages
from wardgate.idp.provider import Provider
from wardgate.idp.refusals import OAuthRefusal, SentBack, Stopped
from wardgate.idp.signing_in import NO_COOKIE, Form, LoggedIn, SigningIn, client_data
from wardgate.idp.signing_out import Done, SigningOut

BROWSER_COOKIE = "AUTH_SESSION_ID"
IDENTITY_COOKIE = "KEYCLOAK_IDENTITY"

NO_CACHE = {"cache-control": "no-store, must-revalidate, max-age=0", "referrer-policy": "no-referrer"}


class Browser:
    """The endpoints that people see."""

    def __init__(
        self, provider: Provider, traffic: Traffic, pushed: PushedRequests, signing_out: SigningOut
    ) -> None:
        self._provider = provider
        self._traffic = traffic
        self._pushed = pushed
        self._signing_in = SigningIn(provider)
        self._signing_out = signing_out
        self._pages = Pages(provider.realm.title)
        self._path = f"{urlsplit(provider.issuer).path}/"

    # -- in

    async def authorize(self, request: Request) -> Response:
        await self._traffic.arrived("auth")
        try:
            parameters = forms.query(request) if request.method == "GET" else await forms.form(request)
            brought = self._pushed.brought(parameters, self._provider.clock())
            return self._authorize(request, brought or parameters, parameters.repeated, brought is not None)
        except (Stopped, OAuthRefusal) as error:
            return self._stopped(error)

    def _authorize(self, request: Request, parameters: Parameters, repeated: bool, pushed: bool) -> Response:
        try:
            asked = read_request(self._provider.realm, parameters, repeated=repeated, pushed=pushed)
            begun = self._signing_in.begin(
                asked, self._identity(request), request.cookies.get(BROWSER_COOKIE, "")
            )
        except SentBack as sent:
            return _redirect(
                self._signing_in.sent_back(sent, parameters["redirect_uri"], parameters.get("state"))
            )
        if isinstance(begun, LoggedIn):
            return _redirect(begun.url)
        browser, form = begun
        answer = self._form(form)
        self._give(answer, BROWSER_COOKIE, browser)
        return answer

    async def authenticate(self, request: Request) -> Response:
        """The login form: shown (GET), or what somebody typed into it (POST)."""
        await self._traffic.arrived("login")
        try:
            return await self._authenticate(request)
        except (Stopped, OAuthRefusal) as error:
            return self._stopped(error)

    async def _authenticate(self, request: Request) -> Response:
        address, browser = forms.query(request), request.cookies.get(BROWSER_COOKIE, "")
        if not address.get("tab_id"):
            raise Stopped(400, "An error occurred, please login again through your application.")
        form = self._signing_in.form(browser, address["tab_id"])
        if form is None:
            if not self._signing_in.knows(browser):
                raise Stopped(400, NO_COOKIE)
            return _redirect(
                self._signing_in.too_late(address.get("client_id", ""), address.get("client_data", ""))
            )
        if request.method == "GET":
            return self._form(form)
        typed = await forms.form(request)
        result = self._signing_in.submit(
            form,
            browser,
            address.get("session_code", ""),
            username=typed.get("username", ""),
            password=typed.get("password", ""),
            identity=self._identity(request),
        )
        if isinstance(result, Form):
            return self._form(result)
        answer = _redirect(result.url)
        self._give(answer, IDENTITY_COOKIE, result.session.key)
        return answer

    def _form(self, form: Form) -> Response:
        address = {
            "session_code": form.ticket,
            "client_id": form.asked.client.id,
            "tab_id": form.tab,
            "client_data": client_data(form.asked),
        }
        return self._pages.login(
            form, f"{self._provider.issuer}/login-actions/authenticate?{urlencode(address)}"
        )

    # -- out

    async def log_out(self, request: Request) -> Response:
        """RP-initiated logout; with a refresh token (a client that is no browser), Keycloak's older way."""
        await self._traffic.arrived("logout")
        try:
            posted = await forms.form(request) if request.method == "POST" else forms.Fields()
            if "refresh_token" in posted:
                return await self._log_out_by_token(request, posted)
            parameters = posted if posted else forms.query(request)
            asked = await asyncio.to_thread(self._signing_out.ask, parameters, self._identity(request))
        except Stopped as stopped:
            return self._stopped(stopped)
        if isinstance(asked, Done):
            return self._done(asked)
        action = urlencode({"client_id": "account", "tab_id": asked.tab})
        return self._pages.question(
            asked, f"{self._provider.issuer}/protocol/openid-connect/logout/logout-confirm?{action}"
        )

    async def _log_out_by_token(self, request: Request, posted: forms.Fields) -> Response:
        client = self._provider.client(forms.credentials(request, posted))
        sid = self._provider.session_of(client, posted["refresh_token"])
        await asyncio.to_thread(self._signing_out.end, self._provider.sessions.online(sid))
        return Response(status_code=204, headers=NO_CACHE)

    async def confirm(self, request: Request) -> Response:
        """The answer to "Do you want to log out?"."""
        try:
            tab = forms.query(request).get("tab_id", "")
            ticket = (await forms.form(request)).get("session_code", "")
            done = await asyncio.to_thread(self._signing_out.answer, tab, ticket, self._identity(request))
        except (Stopped, OAuthRefusal) as error:
            return self._stopped(error)
        return self._done(done)

    def _done(self, done: Done) -> Response:
        if done.frames:
            answer = self._pages.frames(done)
        else:
            answer = _redirect(done.url) if done.url else self._pages.logged_out()
        answer.delete_cookie(IDENTITY_COOKIE, path=self._path, httponly=True, samesite="lax")
        return answer

    # -- both

    def _identity(self, request: Request) -> str:
        return request.cookies.get(IDENTITY_COOKIE, "")

    def _stopped(self, error: Stopped | OAuthRefusal) -> Response:
        words = error.words if isinstance(error, Stopped) else error.description
        return self._pages.stopped(error.status, words)

    def _give(self, answer: Response, name: str, value: str) -> None:
        answer.set_cookie(name, value, path=self._path, httponly=True, samesite="lax")


def _redirect(url: str) -> Response:
    # not RedirectResponse: it would encode what a client's redirect URI has as it is
    return Response(status_code=302, headers={"location": _ascii(url), **NO_CACHE})


def _ascii(url: str) -> str:
    """The address with letters beyond ASCII percent-encoded; nothing else changes."""
    return "".join(one if one.isascii() else "".join(f"%{byte:02X}" for byte in one.encode()) for one in url)
