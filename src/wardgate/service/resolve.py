"""
"Who is this?": what Envoy's guard asks about a credential that its worker has not seen yet (design 3).

One question a request, over the control socket: a session's id, a bearer token that Envoy cannot or must not judge by
itself, a key that it may not have, or a person who is to log in. The answer is an attested token (200), what the client
gets instead (a login, 401), or 503. The guard has taken the credential out of the request; nothing here reads the
Cookie or Authorization header for it.

Counted by kind and outcome: `Resolver.counts`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from wardgate.envoy import names
from wardgate.envoy.resolve import FAILS_OPEN, PATH_PREFIX
from wardgate.events import complain
from wardgate.policy import Introspection, Provider, Source
from wardgate.problems import TokenError, Unavailable
from wardgate.service import cookies
from wardgate.service.asking import Asking, target_of
from wardgate.service.attest import Attested
from wardgate.service.in_force import PATIENCE_S, InForce
from wardgate.service.oidc import OidcClient
from wardgate.service.oidc.flights import Flights
from wardgate.service.runtime import Browsers, Runtime
from wardgate.service.sessions import SessionOver
from wardgate.verify.compact import read_unverified

CODES: Mapping[str, str] = {
    "token-inactive": "The issuer was asked about a bearer token and says that it is not active, or it is none for us.",
}
"""What is answered in Envoy's place, beside the codes of logins (`answers.CODES`) and of tokens."""

REFUSED_S = 2.0
REFUSED_MANY = 20_000
"""Sessions that were not found are not looked up again at once: new ids are random, none of them comes to be."""

NOTHING = "-"
"""In place of a token that is not to be forwarded: it replaces what the guard had."""


class Resolver:
    """Answers the guard. `current` is the runtime of the settings in force."""

    def __init__(
        self, current: Callable[[], Runtime], in_force: InForce, now: Callable[[], float] = time.time
    ) -> None:
        self._current = current
        self._in_force = in_force
        self._now = now
        self._refused: dict[str, float] = {}
        self._flights: Flights[str, Mapping[str, str]] = Flights()
        self.counts: Counter[tuple[str, str]] = Counter()

    async def __call__(self, request: Request) -> Response:
        kind = request.headers.get(names.KIND, "")
        try:
            answer = await self._answer(kind, request)
        except Unavailable:
            answer = unavailable()
        except TokenError as error:
            permissive = request.headers.get(names.MODE) == "permissive"
            refusal = rejected(error.code, str(error), "invalid_token")
            answer = Response(status_code=200) if permissive else refusal
        except Exception as error:  # whatever goes wrong here must be no answer, never an open door
            complain("a fault of the gateway itself while a credential was looked up", error=repr(error))
            answer = unavailable()
        if answer.status_code != 200:
            answer.headers.setdefault("cache-control", "no-store")
            answer.headers.setdefault("referrer-policy", "no-referrer")
        self.counts[kind if kind in _KINDS else "other", _outcome(answer)] += 1
        return answer

    async def _answer(self, kind: str, request: Request) -> Response:
        asked = request.headers.get(names.ASKED, "")
        if kind != "login":
            # what can go on without an answer does so, rather than be answered with a key that it may not know
            goes_on = request.headers.get(names.HOW) in FAILS_OPEN
            await self._in_force.ready(0.0 if goes_on else PATIENCE_S)
        match kind:
            case "session":
                return await self._session(asked, request)
            case "login":
                return await self._login(request, "no session")
            case "token" | "checked":
                return await self._token(asked, always=kind == "checked", request=request)
            case "key":
                return await self._key(asked)
            case _:
                return unavailable()

    # --- sessions

    async def _session(self, session_id: str, request: Request) -> Response:
        runtime, now = self._current(), self._now()
        browsers = runtime.browsers_of(request.headers.get(names.CLIENT))
        name = browsers.sessions.name_in_cookie(session_id)
        if name is None or self._refused.get(name, 0.0) > now:
            return await self._over(request, "no such session")
        try:
            answered = await self._flights.join(name, lambda: self._attested(runtime, browsers, session_id))
        except SessionOver as over:
            self._refuse(name, now)
            return await self._over(request, over.reason)
        answer = Response(status_code=200, headers=answered)
        for number, cookie in enumerate(browsers.sessions.cookies_to_renew(name, session_id), 1):
            answer.headers.append("set-cookie", cookie)
            if names.DECIDES in request.headers:
                answer.headers.append(f"{names.RENEWED}{number}", cookie)
        return answer

    async def _attested(self, runtime: Runtime, browsers: Browsers, session_id: str) -> Mapping[str, str]:
        """Once for all who ask about the session at this moment."""
        session = await browsers.sessions.current(session_id)
        terms, now, tokens = browsers.terms, self._now(), session.tokens
        usable = browsers.sessions.access_token_usable(session, now)
        limits = [now + terms.attested.total_seconds(), session.expires(terms.idle.total_seconds())]
        if usable and tokens.access_expires is not None:
            limits.append(tokens.access_expires)
        token = self._in_force.sign(
            Attested(
                via=f"session:{session.provider}",
                subject=session.subject,
                ends=max(int(min(limits)), int(now) + 1),
                claims=tokens.claims,
                session=session.name,
                id_claims=tokens.id_claims,
                userinfo=tokens.userinfo,
            )
        )
        forwards = runtime.settings.forwards
        access = tokens.access_token if usable and Source.ACCESS in forwards else NOTHING
        id_token = tokens.id_token if Source.ID in forwards else None
        return {names.ATTESTED: token, names.ACCESS: access, names.ID_TOKEN: id_token or NOTHING}

    async def _over(self, request: Request, reason: str) -> Response:
        """The session in the cookie is none: as if nobody had logged in, and the cookie goes."""
        runtime = self._current()
        mode = request.headers.get(names.MODE, "required")
        if mode == "permissive":
            return Response(status_code=200)
        if navigates(request) and names.LOGIN in request.headers:
            return await self._login(request, reason)
        gone = cookies.expire_session(runtime.browsers_of(request.headers.get(names.CLIENT)).terms)
        if navigates(request) and mode == "optional":
            answer: Response = RedirectResponse(target_of(request, PATH_PREFIX), 303)
        else:
            answer = rejected("session-over", "The session has ended: log in again.")
        for cookie in gone:
            answer.headers.append("set-cookie", cookie)
        answer.headers["cache-control"] = "no-store"
        return answer

    async def _login(self, request: Request, reason: str) -> Response:
        """Only where the route says so: the guard names the providers that may be logged in at."""
        allowed = tuple(request.headers.get(names.LOGIN, "").split())
        asking = _with_logins(Asking.of(request, target=target_of(request, PATH_PREFIX)), request)
        login = self._current().browsers_of(request.headers.get(names.CLIENT)).login
        if names.DECIDES in request.headers:
            return login.elsewhere(asking, allowed)
        return await login.begin(asking, landing=asking.url, allowed=allowed, reason=reason)

    def _refuse(self, name: str, now: float) -> None:
        if len(self._refused) >= REFUSED_MANY:
            self._refused = {one: until for one, until in self._refused.items() if until > now}
            if len(self._refused) >= REFUSED_MANY:
                self._refused.clear()
        self._refused[name] = now + REFUSED_S

    # --- tokens

    async def _token(self, token: str, *, always: bool, request: Request) -> Response:
        """A token that its issuer is asked about (RFC 7662)."""
        runtime, is_jwt = self._current(), _is_jwt(token)
        if is_jwt:  # nobody but its issuer is shown it
            of = self._issued_by(token)
            could_be = [of] if of is not None else []
        else:
            could_be = [p for p in runtime.settings.providers if _reads_opaque(p)]
        for provider in could_be:
            client = runtime.clients[provider.name]
            claims = await self._judged(client, token, always=always, is_jwt=is_jwt)
            if claims is not None:
                asked = always or not is_jwt or provider.introspection is Introspection.ALWAYS
                return self._attest_token(provider, "checked" if asked else "bearer", claims)
        return self._no_token(request)

    async def _judged(
        self, client: OidcClient, token: str, *, always: bool, is_jwt: bool
    ) -> Mapping[str, Any] | None:
        """
        The claims; those of a JWT, which its signature vouches for, stand over what the issuer adds to them (Keycloak's
        lightweight tokens leave roles out). None: not active, or not good.
        """
        try:
            if is_jwt and not always and client.provider.introspection is not Introspection.ALWAYS:
                return await client.bearer(token)
            found = await client.introspect(token)
            if found is None:
                return None
            return {**found.claims, **(await client.bearer(token))} if is_jwt else found.claims
        except TokenError:
            return None

    async def _key(self, token: str) -> Response:
        """
        A JWT whose key this worker has not seen. Where Envoy has the key, or nobody has it, Envoy is to judge: 200 and
        nothing else. Where only we have it (the issuer has just begun to use it), we vouch for the token.
        """
        try:
            said = read_unverified(token)
            provider = self._provider_of(said.claims.get("iss"))
            if provider is None or provider.introspection is Introspection.ALWAYS:
                return Response(status_code=200)
            kid = said.header.get("kid")
            if isinstance(kid, str) and self._in_force.judges(provider.name, kid):
                return Response(status_code=200)
            claims = await self._current().clients[provider.name].bearer(token)
        except TokenError:
            return Response(status_code=200)
        return self._attest_token(provider, "bearer", claims)

    def _attest_token(self, provider: Provider, kind: str, claims: Mapping[str, Any]) -> Response:
        now, terms = self._now(), self._current().settings.session
        seconds = terms.attested.total_seconds() if terms is not None else 30.0
        expires = claims.get("exp")
        ends = now + seconds if not isinstance(expires, int | float) else min(now + seconds, expires)
        subject = claims.get("sub")
        token = self._in_force.sign(
            Attested(
                via=f"{kind}:{provider.name}",
                subject=subject if isinstance(subject, str) else None,
                ends=max(int(ends), int(now) + 1),
                claims=claims,
            )
        )
        return Response(status_code=200, headers={names.ATTESTED: token})

    def _issued_by(self, token: str) -> Provider | None:
        """The provider whose `iss` an unverified JWT names; None for one of nobody, and for what is no JWT."""
        try:
            issuer = read_unverified(token).claims.get("iss")
        except TokenError:
            return None
        return self._provider_of(issuer)

    def _provider_of(self, issuer: object) -> Provider | None:
        return next((p for p in self._current().settings.providers if p.issuer == issuer), None)

    def _no_token(self, request: Request) -> Response:
        if request.headers.get(names.MODE) == "permissive":
            return Response(status_code=200)
        return rejected("token-inactive", "The issuer says that the token is not active.", "invalid_token")


_KINDS = frozenset({"session", "login", "token", "checked", "key"})


def _is_jwt(token: str) -> bool:
    try:
        read_unverified(token)
    except TokenError:
        return False
    return True


def _reads_opaque(provider: Provider) -> bool:
    return provider.introspection is not Introspection.OFF


def _with_logins(asking: Asking, request: Request) -> Asking:
    """With the cookies of logins on their way, which the guard has taken out of Cookie."""
    taken = request.headers.get(names.LOGINS, "").encode("latin-1")
    return replace(asking, cookies=b"; ".join(filter(None, (asking.cookies, taken))))


def navigates(request: Request) -> bool:
    """A browser that shows the answer to a person, as the guard sees it (`navigates` in `gate.lua`)."""
    headers: Headers = request.headers
    if headers.get(names.DECIDES) == "as-nginx" or request.method not in ("GET", "HEAD"):
        return False
    mode = headers.get("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate" and headers.get("sec-fetch-dest") == "document"
    return "text/html" in headers.get("accept", "")


def _outcome(answer: Response) -> str:
    match answer.status_code:
        case 200:
            return "attested" if names.ATTESTED in answer.headers else "left"
        case 302 | 303:
            return "redirected"
        case 401 | 403:
            return "rejected"
        case 503:
            return "unavailable"
        case _:
            return "answered"


def rejected(code: str, detail: str, error: str = "") -> Response:
    """401 as a problem document (RFC 9457) with a challenge (RFC 6750, 3)."""
    body = {"type": "about:blank", "title": "Unauthorized", "status": 401, "code": code, "detail": detail}
    challenge = f'Bearer realm="{names.REALM}"' + (f', error="{error}"' if error else "")
    headers = {"www-authenticate": challenge, "cache-control": "no-store"}
    return JSONResponse(body, 401, headers=headers, media_type="application/problem+json")


def unavailable() -> Response:
    return Response(status_code=503)
