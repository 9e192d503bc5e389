"""
The gateway's own paths below its prefix (`/oauth`), as browsers, scripts and issuers call them; and the names that
oauth2-proxy's users know. Which path is whose, which methods it takes, and what holds of every answer; what a login and a
logout do is in `login.py`, `callback.py`, `logout.py`, `issuer_logout.py` and `password_login.py`.

Envoy routes here only what lies below the prefix, the aliases where no route of the user's has them, and answers
`health` itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wardgate.envoy import names
from wardgate.events import complain
from wardgate.policy import ALIASES
from wardgate.policy import Endpoints as Paths
from wardgate.problems import TokenError, Unavailable
from wardgate.service.answers import CHALLENGE, problem
from wardgate.service.asking import Asking
from wardgate.service.oidc import IssuerAway
from wardgate.service.redirects import RedirectRefused
from wardgate.service.runtime import Browsers, Runtime
from wardgate.service.sessions import SessionOver
from wardgate.service.whoami import Caller, NoCredential, TwoCredentials, caller
from wardgate.verify.errors import TokenExpired

Endpoint = Callable[["Here", Request, Asking], Awaitable[Response]]

NEVER_KEPT: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
"""Of every answer: addresses hold codes and landings, answers hold claims."""


@dataclass(frozen=True, slots=True)
class Here:
    """Whose an endpoint is where it was asked: `owners` are the providers whose logins have sessions of their own there."""

    runtime: Runtime
    owners: Sequence[str]
    browsers: Browsers


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
        owners: Sequence[str] = request.headers.get(names.OWNERS, "").split()
        found = _own(runtime, owners, request.scope["path"])
        found = found or _endpoint(runtime.settings.endpoints, request.scope["path"], owners)
        if found is None or runtime.settings.session is None:
            return problem(404, "endpoint-unknown", "The gateway has no such endpoint.")
        methods, endpoint, owners = found
        if request.method not in methods:
            allow = {"allow": ", ".join(methods)}
            return problem(405, "endpoint-method", "The endpoint takes other methods.", allow)
        asking = Asking.of(request)
        here = Here(runtime, owners, runtime.browsers_at(owners, asking))
        try:
            return await endpoint(here, request, asking)
        except Unavailable as error:
            code = error.code if isinstance(error, IssuerAway) else "store-away"
            return here.browsers.answers.unavailable(asking, code)
        except (
            Exception
        ) as error:  # whatever goes wrong here must be no answer: no login, no logout that was none
            complain("a fault of the gateway itself at one of its endpoints", error=repr(error))
            return problem(503, "endpoint-fault", "The gateway cannot answer now.", {"retry-after": "1"})


# --- logins and logouts


async def start(here: Here, request: Request, asking: Asking) -> Response:
    """
    `rd`: where to end, or X-Forwarded-Uri, which only a trusted proxy can say (nginx cannot encode it); `to`: sealed; `provider`; `email` or `login_hint`; what the policy passes on; `again`: in
    spite of a loop. Other proxies send browsers here, too, so a loop ends here.
    """
    login, asked = here.browsers.login, dict(request.query_params)
    try:
        if "to" in asked:
            place, allowed = login.opened(asked["to"])
            login = here.runtime.browsers_of(allowed[0]).login if allowed else login
        else:
            wanted = asked.get("rd") or request.headers.get("x-forwarded-uri")
            place, allowed = login.place(asking, wanted), []
    except RedirectRefused as error:
        message = f"A login cannot end there: {error}."
        return here.browsers.answers.refused(asking, 400, "login-landing", message)
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


async def callback(here: Here, _: Request, asking: Asking) -> Response:
    began = [here.runtime.browsers_of(owner).callback.provider(asking) for owner in here.owners]
    provider = next(filter(None, began), None)
    found = here.runtime.browsers_of(provider) if provider is not None else here.browsers
    return await found.callback(asking)


async def password(here: Here, request: Request, asking: Asking) -> Response:
    return await here.browsers.password_login(request, asking)


async def logout(here: Here, request: Request, asking: Asking) -> Response:
    return await here.browsers.logout(request, asking)


async def logged_out(here: Here, _: Request, asking: Asking) -> Response:
    """A page to end on: for `post-logout-url`, where the issuer knows it."""
    return here.browsers.answers.logged_out(asking)


async def back_channel_logout(here: Here, request: Request, _: Asking) -> Response:
    return await here.browsers.issuer_logout.back_channel(request)


async def front_channel_logout(here: Here, request: Request, _: Asking) -> Response:
    return await here.browsers.issuer_logout.front_channel(request)


# --- who one is


async def _as_caller(
    here: Here, asking: Asking, tell: Callable[[Caller], Response], refused: int = 401
) -> Response:
    """`refused` is the status for a token that is bad, not merely over: gatekeeper's `expired` says 403."""
    try:
        found = await caller(here.runtime, here.browsers, asking)
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


async def token(here: Here, _: Request, asking: Asking) -> Response:
    """The claims that rules are judged by."""
    return await _as_caller(here, asking, lambda found: JSONResponse(dict(found.claims)))


async def userinfo(here: Here, _: Request, asking: Asking) -> Response:
    return await _as_caller(here, asking, lambda found: JSONResponse(found.known()))


async def expired(here: Here, _: Request, asking: Asking) -> Response:
    """200: not expired; 401: expired, or nobody; 403: a token that is none."""
    return await _as_caller(here, asking, lambda _: Response(status_code=200), refused=403)


async def alias_auth(here: Here, _: Request, asking: Asking) -> Response:
    """oauth2-proxy's: 202 or 401."""
    return await _as_caller(here, asking, lambda _: Response(status_code=202))


async def alias_userinfo(here: Here, _: Request, asking: Asking) -> Response:
    """In oauth2-proxy's words."""
    return await _as_caller(here, asking, lambda found: JSONResponse(_as_oauth2_proxy(found.known())))


def _as_oauth2_proxy(known: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        "user": known.get("sub"),
        "email": known.get("email"),
        "groups": known.get("groups"),
        "preferredUsername": known.get("preferred_username"),
    }
    return {name: value for name, value in told.items() if value is not None}


async def discovery(here: Here, _: Request, __: Asking) -> Response:
    """Where the endpoints are, in gatekeeper's words, and ours beside them."""
    prefix = here.runtime.settings.endpoints.prefix
    names = ("authorize", "callback", "expired", "login", "logout", "token", "userinfo")
    return JSONResponse({f"{name}_endpoint": f"{prefix}/{name}" for name in names})


# --- which is where

_GET: Final = ("GET", "HEAD")
_BOTH: Final = ("GET", "HEAD", "POST")

_Found = tuple[tuple[str, ...], Endpoint, Sequence[str]]

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


def _own(runtime: Runtime, owners: Sequence[str], path: str) -> _Found | None:
    """Of logins that have a session of their own: where a policy puts it."""
    own = {name: login for name, login in runtime.settings.login_of.items() if name in owners}
    if back := [name for name, login in own.items() if login.callback == path]:
        return *_ENDPOINTS["callback"], back
    if out := [name for name, login in own.items() if login.logout == path]:
        return *_ENDPOINTS["logout"], out
    return None


def _endpoint(endpoints: Paths, path: str, owners: Sequence[str]) -> _Found | None:
    prefix = endpoints.prefix
    below = path.removeprefix(prefix + "/") if path.startswith(prefix + "/") else ""
    found = _ENDPOINTS.get(below) or _ALIASES.get(path)
    return (*found, owners) if found is not None else None
