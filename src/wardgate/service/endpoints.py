"""
The gateway's own paths below its prefix (`/oauth`), as browsers, scripts and issuers call them; and the names that
oauth2-proxy's users know. Which path is whose, which methods it takes, and what holds of every answer; what a login and a
logout do is in `login.py`, `callback.py`, `logout.py`, `issuer_logout.py` and `password_login.py`.

Envoy routes here only what lies below the prefix, the aliases where no route of the user's has them, and answers
`health` itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wardgate.events import complain
from wardgate.policy import ALIASES
from wardgate.policy import Endpoints as Paths
from wardgate.problems import TokenError, Unavailable
from wardgate.service.answers import problem
from wardgate.service.asking import Asking
from wardgate.service.oidc import IssuerAway
from wardgate.service.redirects import RedirectRefused
from wardgate.service.runtime import Runtime
from wardgate.service.sessions import SessionOver
from wardgate.service.whoami import Caller, NoCredential, TwoCredentials, caller
from wardgate.verify.errors import TokenExpired

Endpoint = Callable[[Runtime, Request, Asking], Awaitable[Response]]

NEVER_KEPT: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
"""Of every answer: addresses hold codes and landings, answers hold claims."""

CHALLENGE: Final = {"www-authenticate": 'Bearer realm="wardgate"'}


class Endpoints:
    """`current` is the runtime of the settings in force: what a request began with, it ends with."""

    def __init__(self, current: Callable[[], Runtime]) -> None:
        self._current = current

    async def __call__(self, request: Request) -> Response:
        answer = await self._answer(self._current(), request)
        for name, value in NEVER_KEPT.items():
            answer.headers.setdefault(name, value)
        return answer

    async def _answer(self, runtime: Runtime, request: Request) -> Response:
        found = _endpoint(runtime.settings.endpoints, request.scope["path"])
        if found is None or runtime.settings.session is None:
            return problem(404, "endpoint-unknown", "The gateway has no such endpoint.")
        methods, endpoint = found
        if request.method not in methods:
            allow = {"allow": ", ".join(methods)}
            return problem(405, "endpoint-method", "The endpoint takes other methods.", allow)
        asking = Asking.of(request)
        try:
            return await endpoint(runtime, request, asking)
        except Unavailable as error:
            code = error.code if isinstance(error, IssuerAway) else "store-away"
            return runtime.for_browsers.answers.unavailable(asking, code)
        except (
            Exception
        ) as error:  # whatever goes wrong here must be no answer: no login, no logout that was none
            complain("a fault of the gateway itself at one of its endpoints", error=repr(error))
            return problem(503, "endpoint-fault", "The gateway cannot answer now.", {"retry-after": "1"})


# --- logins and logouts


async def start(runtime: Runtime, request: Request, asking: Asking) -> Response:
    """
    `rd`: where to end, or X-Forwarded-Uri, which only a trusted proxy can say (nginx cannot encode it); `to`: sealed; `provider`; `email` or `login_hint`; what the policy passes on; `again`: in
    spite of a loop. Other proxies send browsers here, too, so a loop ends here.
    """
    login, asked = runtime.login, dict(request.query_params)
    try:
        if "to" in asked:
            place, allowed = login.opened(asked["to"])
        else:
            wanted = asked.get("rd") or request.headers.get("x-forwarded-uri")
            place, allowed = login.place(asking, wanted), []
    except RedirectRefused as error:
        message = f"A login cannot end there: {error}."
        return runtime.for_browsers.answers.refused(asking, 400, "login-landing", message)
    return await login.begin(
        asking,
        landing=place,
        provider=asked.get("provider"),
        allowed=allowed,
        reason="asked for",
        parameters=asked,
        email=asked.get("email") or asked.get("login_hint"),
        explicit=True,
        again="again" in asked or "provider" in asked,
    )


async def callback(runtime: Runtime, _: Request, asking: Asking) -> Response:
    return await runtime.for_browsers.callback(asking)


async def password(runtime: Runtime, request: Request, asking: Asking) -> Response:
    return await runtime.for_browsers.password_login(request, asking)


async def logout(runtime: Runtime, request: Request, asking: Asking) -> Response:
    return await runtime.for_browsers.logout(request, asking)


async def logged_out(runtime: Runtime, _: Request, asking: Asking) -> Response:
    """A page to end on: for `post-logout-url`, where the issuer knows it."""
    return runtime.for_browsers.answers.logged_out(asking)


async def back_channel_logout(runtime: Runtime, request: Request, _: Asking) -> Response:
    return await runtime.for_browsers.issuer_logout.back_channel(request)


async def front_channel_logout(runtime: Runtime, request: Request, _: Asking) -> Response:
    return await runtime.for_browsers.issuer_logout.front_channel(request)


# --- who one is


async def _as_caller(
    runtime: Runtime, asking: Asking, tell: Callable[[Caller], Response], refused: int = 401
) -> Response:
    """`refused` is the status for a token that is bad, not merely over: gatekeeper's `expired` says 403."""
    try:
        found = await caller(runtime, asking)
        answer = tell(found)
        for cookie in found.cookies:
            answer.headers.append("set-cookie", cookie)
        return answer
    except TwoCredentials:
        return problem(400, "credentials-two", "There are two credentials in the request.")
    except NoCredential:
        return problem(401, "credential-missing", "There is no session and no token.", CHALLENGE)
    except SessionOver as over:
        return problem(401, "session-over", f"The session is over: {over.reason}.", CHALLENGE)
    except TokenExpired as error:
        return problem(401, error.code, "The token has expired.", CHALLENGE)
    except TokenError as error:
        return problem(refused, error.code, "The token is refused.", CHALLENGE if refused == 401 else None)


async def token(runtime: Runtime, _: Request, asking: Asking) -> Response:
    """The claims that rules are judged by."""
    return await _as_caller(runtime, asking, lambda found: JSONResponse(dict(found.claims)))


async def userinfo(runtime: Runtime, _: Request, asking: Asking) -> Response:
    return await _as_caller(runtime, asking, lambda found: JSONResponse(found.known()))


async def expired(runtime: Runtime, _: Request, asking: Asking) -> Response:
    """200: not expired; 401: expired, or nobody; 403: a token that is none."""
    return await _as_caller(runtime, asking, lambda _: Response(status_code=200), refused=403)


async def alias_auth(runtime: Runtime, _: Request, asking: Asking) -> Response:
    """oauth2-proxy's: 202 or 401."""
    return await _as_caller(runtime, asking, lambda _: Response(status_code=202))


async def alias_userinfo(runtime: Runtime, _: Request, asking: Asking) -> Response:
    """In oauth2-proxy's words."""
    return await _as_caller(runtime, asking, lambda found: JSONResponse(_as_oauth2_proxy(found.known())))


def _as_oauth2_proxy(known: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        "user": known.get("sub"),
        "email": known.get("email"),
        "groups": known.get("groups"),
        "preferredUsername": known.get("preferred_username"),
    }
    return {name: value for name, value in told.items() if value is not None}


async def discovery(runtime: Runtime, _: Request, __: Asking) -> Response:
    """Where the endpoints are, in gatekeeper's words, and ours beside them."""
    prefix = runtime.settings.endpoints.prefix
    names = ("authorize", "callback", "expired", "login", "logout", "token", "userinfo")
    return JSONResponse({f"{name}_endpoint": f"{prefix}/{name}" for name in names})


# --- which is where

_GET: Final = ("GET", "HEAD")
_BOTH: Final = ("GET", "HEAD", "POST")

_ENDPOINTS: Final[Mapping[str, tuple[tuple[str, ...], Endpoint]]] = {
    "authorize": (_GET, start),
    "start": (_GET, start),
    "callback": (("GET",), callback),
    "login": (("POST",), password),
    "logout": (_BOTH, logout),
    "logged_out": (_GET, logged_out),
    "backchannel_logout": (("POST",), back_channel_logout),
    "frontchannel_logout": (("GET",), front_channel_logout),
    "token": (_GET, token),
    "userinfo": (_GET, userinfo),
    "expired": (_GET, expired),
    "discovery": (_GET, discovery),
}

_ALIASES: Final[Mapping[str, tuple[tuple[str, ...], Endpoint]]] = {
    "/oauth2/start": (_GET, start),
    "/oauth2/sign_in": (_GET, start),
    "/oauth2/auth": (_GET, alias_auth),
    "/oauth2/sign_out": (_BOTH, logout),
    "/oauth2/userinfo": (_GET, alias_userinfo),
}
assert set(_ALIASES) == set(ALIASES)


def _endpoint(endpoints: Paths, path: str) -> tuple[tuple[str, ...], Endpoint] | None:
    prefix, further = endpoints.prefix, dict(endpoints.further)
    if path in further:
        return _ENDPOINTS[further[path]]
    if path.startswith(prefix + "/"):
        return _ENDPOINTS.get(path.removeprefix(prefix + "/"))
    return _ALIASES.get(path)
