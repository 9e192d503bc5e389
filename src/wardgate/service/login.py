"""
The beginning of a login: whoever has no session is sent to an issuer, with all that will be asked about on their return.

Authorization code with PKCE, state and nonce, each random and kept in a sealed cookie of its own (`pending.py`). What
comes back is judged in `callback.py`. A browser that comes again and again ends on a page that says why.
Source: OpenID Connect Core 1.0, 3.1.2; RFC 7636; RFC 9700, 2.1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import RedirectResponse, Response

from wardgate.events import say, warn
from wardgate.policy import Provider
from wardgate.policy import Session as Terms
from wardgate.service.answers import Answers
from wardgate.service.asking import Asking
from wardgate.service.choosing import base_of, choose, host_name, origin_of, parameters_for
from wardgate.service.oidc import IssuerAway, OidcClient
from wardgate.service.pending import PendingLogin, PendingLogins
from wardgate.service.redirects import RedirectRefused, landing, redirect
from wardgate.service.sealing import FORM, SealBroken, Sealer
from wardgate.service.settings import ServiceSettings

MAX_LANDING: Final = 2500
"""Characters of the address where a login ends: it travels in a cookie, of which browsers keep 4 096 bytes."""

MAX_EMAIL: Final = 254


class Login:
    """`clients` by the provider's name. Every answer is to be given with `cache-control: no-store`."""

    def __init__(
        self,
        settings: ServiceSettings,
        terms: Terms,
        clients: Mapping[str, OidcClient],
        sealer: Sealer,
        answers: Answers,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._terms = terms
        self._clients = clients
        self._sealer = sealer
        self._answers = answers
        self._now = now
        # who brings a page of their own wants it seen, also before the only provider, as gatekeeper shows it
        self._has_sign_in_page = any(name == "sign-in" for name, _ in terms.pages)
        self.pending = PendingLogins(sealer, terms, now)

    async def begin(
        self,
        asking: Asking,
        *,
        landing: str,
        provider: str | None = None,
        allowed: Sequence[str] = (),
        reason: str,
        parameters: Mapping[str, str] | None = None,
        email: str | None = None,
        explicit: bool = False,
        again: bool = False,
    ) -> Response:
        """
        What a browser without a session gets: the way to the issuer, or a page.

        `landing` is the URL that was asked for, or one of ours that was judged (`place`). `allowed` are names of
        providers, empty for all of them. `explicit`: at our own endpoint, because a person wants to; else for a page
        that was asked for (the resolver), where an answer of 2xx or 5xx would be taken for another. `again`: a person wants
        to, though it went round in circles before.
        """
        base = self.base(asking)
        if base is None:
            return self._answers.no_redirection_url(asking)
        if landing == asking.url:
            landing = self.own_place(asking)
        if not explicit and host_name(urlsplit(landing).netloc) != host_name(urlsplit(base).netloc):
            # the cookie of the login has to be where the issuer sends the browser back to
            return redirect(origin_of(base) + self.start_url(landing, allowed))
        if not again and self.pending.loops(asking.cookies):
            warn("a browser does not keep its session", host=asking.host, request_id=asking.request_id)
            return self._answers.loop(asking, base, self.start_url(landing, allowed) + "&again=1")
        known = [p for p in self._settings.login_providers if not allowed or p.name in allowed]
        found = choose(known, host=asking.host, email=email, named=provider)
        if not found:
            return self._answers.no_provider(asking)
        if len(found) > 1 or (provider is None and self._has_sign_in_page):
            return self._ask(asking, found, landing, allowed, explicit=explicit)
        wanted = self._parameters(landing, parameters, email)
        return await self._sent(asking, found[0], base, self._short(landing), wanted, reason)

    def elsewhere(self, asking: Asking, allowed: Sequence[str]) -> Response:
        """
        Another proxy asks about the request: its browser goes to our own endpoint, so that nothing depends on what that
        proxy makes of an answer's cookies. Where the page has to be on another host, it comes back to that.
        """
        base = self.base(asking)
        if base is None:
            return self._answers.no_redirection_url(asking)
        return RedirectResponse(origin_of(base) + self.start_url(self.own_place(asking), allowed), 302)

    def base(self, asking: Asking) -> str | None:
        """Where the gateway is for this browser (`choosing.base_of`)."""
        prefix = self._settings.endpoints.prefix
        return base_of(
            self._terms, self._settings.hosts, scheme=asking.scheme, host=asking.host, prefix=prefix
        )

    def origins(self, asking: Asking) -> frozenset[str]:
        """Those of our own pages, for this browser."""
        base = self.base(asking)
        return frozenset({asking.origin, *([origin_of(base)] if base is not None else [])})

    def place(self, asking: Asking, asked: str | None) -> str:
        """The absolute URL of an `rd` that somebody sent. Raises RedirectRefused."""
        return landing(
            asked,
            own=origin_of(self.base(asking) or asking.origin),
            hosts=frozenset(self._terms.redirect_hosts),
            cookie_domain=self._terms.cookie_domain,
            allow_http=self._terms.redirect_http,
            prefix=self._settings.endpoints.prefix,
        )

    def own_place(self, asking: Asking) -> str:
        """
        The page that was asked for, path and query letter by letter: on its own host, where a login may end there, else
        on ours.
        """
        try:
            self.place(asking, asking.origin + "/")
        except RedirectRefused:
            return origin_of(self.base(asking) or asking.origin) + asking.target
        return asking.url

    def start_url(self, place: str, allowed: Sequence[str] = (), provider: str | None = None) -> str:
        """The path where a login to that place begins when a person goes there: sealed, so that it can be anywhere."""
        asked = {"to": self._sealed(place, allowed)}
        if provider is not None:
            asked["provider"] = provider
        return f"{self._settings.endpoints.prefix}/start?{urlencode(asked)}"

    def opened(self, to: str) -> tuple[str, list[str]]:
        """Place and allowed providers of a `start_url`. Raises RedirectRefused."""
        try:
            place, allowed = json.loads(self._sealer.open_text(FORM, to, "landing"))
        except (SealBroken, ValueError) as error:
            raise RedirectRefused("not a place that was sealed here") from error
        return place, allowed

    # --- parts

    def _sealed(self, place: str, allowed: Sequence[str]) -> str:
        return self._sealer.seal_text(FORM, json.dumps([place, list(allowed)]).encode(), "landing")

    def _ask(
        self,
        asking: Asking,
        found: Sequence[Provider],
        place: str,
        allowed: Sequence[str],
        *,
        explicit: bool,
    ) -> Response:
        if not explicit:  # a page of 200 is none for a resolver
            return redirect(self.start_url(place, allowed))
        choices = [(p, self.start_url(place, allowed, p.name)) for p in found]
        return self._answers.chooser(asking, choices, self._sealed(place, allowed))

    async def _sent(
        self,
        asking: Asking,
        provider: Provider,
        base: str,
        place: str,
        parameters: Mapping[str, str],
        reason: str,
    ) -> Response:
        verifier = secrets.token_urlsafe(32)
        login = PendingLogin(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=verifier if self._terms.pkce else None,
            provider=provider.name,
            landing=place,
            redirect_uri=f"{base}{self._settings.callback_path}",
            started=self._now(),
        )
        try:
            url = await self._clients[provider.name].authorization_url(
                redirect_uri=login.redirect_uri,
                state=login.state,
                nonce=login.nonce,
                challenge=challenge_of(verifier),
                parameters=parameters,
            )
        except IssuerAway as error:
            data = {"provider": provider.name, "code": error.code, "problem": error.message}
            warn("nobody can log in: the issuer is away", request_id=asking.request_id, **data)
            return self._answers.unavailable(asking, error.code, again=self.start_url(place))
        path = urlsplit(asking.target).path
        say(
            "redirect to the login",
            reason=reason,
            provider=provider.name,
            host=asking.host,
            path=path,
            request_id=asking.request_id,
        )
        answer = redirect(url)
        for cookie in self.pending.start(asking.cookies, login):
            answer.headers.append("set-cookie", cookie)
        return answer

    def _parameters(self, place: str, given: Mapping[str, str] | None, email: str | None) -> dict[str, str]:
        """Those that came with the login; of a page that was asked for, those in its query, as gatekeeper does."""
        came = given or dict(parse_qsl(urlsplit(place).query, max_num_fields=1000))
        found = parameters_for(self._terms.login_parameters, dict(came))
        if email and len(email) <= MAX_EMAIL and email.isprintable():
            found.setdefault("login_hint", email)
        return found

    def _short(self, place: str) -> str:
        if len(place) <= MAX_LANDING:
            return place
        warn("the address of a page is too long to come back to after a login", characters=len(place))
        bare = place.partition("?")[0]
        return bare if len(bare) <= MAX_LANDING else origin_of(place) + "/"


def challenge_of(verifier: str) -> str:
    """S256 (RFC 7636, 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


__all__ = ["Asking", "Login"]
