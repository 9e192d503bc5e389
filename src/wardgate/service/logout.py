"""
The logout that a person asks for: here, then at the issuer.

The session ends in the store first; the answer waits until Envoy refuses it; only then is the browser told. Another site
can make a browser ask, so a request counts when the browser says that our own pages made it (Sec-Fetch-Site, Origin), or
when it brings what our confirmation page holds. Logouts that the issuer tells of are in `issuer_logout.py`.
Source: OpenID Connect RP-Initiated Logout 1.0; Fetch Metadata Request Headers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urljoin

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wardgate.events import warn
from wardgate.policy import SameSite
from wardgate.policy import Session as Terms
from wardgate.service import cookies
from wardgate.service.answers import Answers
from wardgate.service.asking import Asking
from wardgate.service.choosing import host_name
from wardgate.service.forms import FormToken, read_form
from wardgate.service.login import Login
from wardgate.service.oidc import OidcClient
from wardgate.service.redirects import RedirectRefused, redirect
from wardgate.service.renewals import revoke
from wardgate.service.sealing import Sealer
from wardgate.service.session import Session
from wardgate.service.sessions import Sessions
from wardgate.service.settings import ServiceSettings

GRACE_S: Final = 2.0

CONFIRM_S: Final = 3600.0
"""How long a confirmation page can be left open."""


def asked_by_us(asking: Asking, origins: frozenset[str], same_site: SameSite) -> bool:
    """
    Whether the browser says that a page of ours asks, or the person themselves.

    A browser that says neither Sec-Fetch-Site nor Origin is older than 2019 or none at all; it is believed where
    SameSite keeps the cookie from other sites' forms.
    """
    site, origin = asking.headers.get("sec-fetch-site"), asking.headers.get("origin")
    if origin is not None and origin != "null":
        return origin in origins
    match site:
        case "same-origin" | "none":
            return True
        case None:
            return origin is None and same_site is not SameSite.NONE
        case _:
            return False


class Logout:
    """`clients` by the provider's name. For one event loop; `close` waits a moment for tokens that are being revoked."""

    def __init__(
        self,
        settings: ServiceSettings,
        terms: Terms,
        clients: Mapping[str, OidcClient],
        sessions: Sessions,
        login: Login,
        sealer: Sealer,
        answers: Answers,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._terms = terms
        self._clients = clients
        self._sessions = sessions
        self._login = login
        self._confirmation = FormToken("logout", CONFIRM_S, sealer, now)
        self._answers = answers
        self._revoking: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        if self._revoking:
            await asyncio.wait(self._revoking, timeout=GRACE_S)

    async def __call__(self, request: Request, asking: Asking) -> Response:
        """
        The whole logout. Raises StoreAway: then nothing has ended, and the browser keeps its cookie.

        `rd` (or `redirect`), in the query or in a form, is where it is to end; refused as those of logins are.
        """
        wish = {**dict(request.query_params), **await read_form(request)}
        try:
            asked = wish.get("rd") or wish.get("redirect")
            place = self._login.place(asking, asked) if asked else self._configured(asking)
        except RedirectRefused as error:
            return self._answers.refused(
                asking, 400, "login-landing", f"The logout cannot end there: {error}."
            )
        found = cookies.session_values(asking.cookies, self._terms)
        names = [name for name in map(self._sessions.name_in_cookie, found) if name is not None]
        meant = self._by_us(request, asking)
        if names and not (meant or any(self._confirmation.holds(wish.get("token", ""), n) for n in names)):
            return self._asked_again(request, asking, names[0], asked)
        if not names and not meant:
            return self._nobody(request, asking, asked)
        return await self._left(asking, names, place)

    def _by_us(self, request: Request, asking: Asking) -> bool:
        if request.method != "POST":
            site = asking.headers.get("sec-fetch-site")
            return self._terms.logout_by_get and site in ("same-origin", "same-site", "none")
        ours = set(self._login.origins(asking))
        name = host_name(asking.host)
        for host in self._settings.hosts:
            if name in {host_name(one) for one in host.names}:
                ours |= set(host.origins)
        return asked_by_us(asking, frozenset(ours), self._terms.same_site)

    def _asked_again(self, request: Request, asking: Asking, name: str, asked: str | None) -> Response:
        """A page that asks: 200 for who came by a link, 403 for a form that is not ours."""
        fields = [("token", self._confirmation.make(name))]
        if asked:
            fields.append(("rd", asked))
        return self._answers.confirm_logout(asking, 200 if request.method != "POST" else 403, fields)

    def _nobody(self, request: Request, asking: Asking, asked: str | None) -> Response:
        """
        No session came, and nobody of ours asks. Where another site made the browser ask, SameSite may have kept the
        cookie back: nothing is said to be over, and no cookie is taken away.
        """
        if asking.headers.get("sec-fetch-site") in ("same-origin", "same-site", "none"):
            return self._answers.logged_out(asking)
        return self._asked_again(request, asking, "", asked)

    async def _left(self, asking: Asking, names: Sequence[str], place: str | None) -> Response:
        ended = [await self._sessions.end(name, reason="logged out") for name in names]
        if names and not await self._sessions.refused_by_envoy():
            warn(
                "a session has ended, and Envoy does not say in time that it refuses it", sessions=list(names)
            )
            answer = self._answers.unavailable(
                asking, "logout-unfinished", "You are not signed out everywhere yet."
            )
            return self._forgotten(answer)
        sessions = [session for session in ended if session is not None]
        for session in sessions:
            self._revoke(session)
        onwards = await self._at_issuer(sessions, place)
        return self._forgotten(self._answer(asking, onwards or place))

    def _answer(self, asking: Asking, url: str | None) -> Response:
        if (
            asking.headers.get("sec-fetch-mode", "navigate") != "navigate"
        ):  # a script, which cannot follow it there
            return JSONResponse({"logged_out": True, "continue": url})
        return redirect(url) if url is not None else self._answers.logged_out(asking)

    async def _at_issuer(self, sessions: Sequence[Session], place: str | None) -> str | None:
        """Where the browser logs out at the issuer, too: also of a session that is over here already."""
        if not self._terms.logout_at_issuer:
            return None
        known = self._settings.login_providers
        named = sessions[0].provider if sessions else known[0].name if len(known) == 1 else None
        client = self._clients.get(named) if named is not None else None
        if client is None:
            return None
        id_token = sessions[0].tokens.id_token if sessions else None
        return await client.end_session_url(id_token=id_token, post_logout_url=place)

    def _configured(self, asking: Asking) -> str | None:
        ends = self._terms.post_logout_url
        base = self._login.base(asking) or asking.origin
        return urljoin(base + "/", ends) if ends is not None else None

    def _revoke(self, session: Session) -> None:
        client = self._clients.get(session.provider)
        if client is not None:
            task = asyncio.create_task(revoke(client, session.tokens))
            self._revoking.add(task)
            task.add_done_callback(self._revoking.discard)

    def _forgotten(self, answer: Response) -> Response:
        """The browser forgets the session, what it was shown in it, and logins that went round in a circle."""
        for cookie in (*cookies.expire_session(self._terms), self._login.pending.forget_completed()):
            answer.headers.append("set-cookie", cookie)
        answer.headers["clear-site-data"] = '"cache"'
        return answer
