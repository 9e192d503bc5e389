"""
The console: a queue of requests, live, for those who decide, in a browser.

Who it is, is looked up in the session store at each request. What changes something is a POST of a form of our own pages: its
Origin is ours, and it holds a token of this session. Nothing here reads a bearer token, as the API reads no cookie. How
pages look is in `screens.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from wardgate.approvals.callers import Caller, NoIdentity, caller
from wardgate.approvals.desk import Desk, Refusal
from wardgate.approvals.records import Phase
from wardgate.approvals.store import Filter
from wardgate.events import complain, say, warn
from wardgate.policy import CONSOLE_PATH
from wardgate.problems import Unavailable
from wardgate.service import cookies
from wardgate.service.agents.keeping import Agents
from wardgate.service.agents.screens import (
    Screen,
    address,
    document,
    fragment,
    history,
    requests_view,
    script_text,
)
from wardgate.service.agents.watching import HEARTBEAT, HEARTBEAT_S, WATCHED_S, TooMany, event
from wardgate.service.asking import Asking
from wardgate.service.forms import FormToken, read_form
from wardgate.service.runtime import Runtime
from wardgate.service.session import Session
from wardgate.service.sessions import SessionOver

TOKEN_S: Final = 12 * 3600.0
"""How long a page can be left open before its buttons have to be loaded again."""

SHOWN: Final = 50
RECORD_SHOWN: Final = 100
MAX_REASON: Final = 4000

VERBS: Final = ("approve", "deny", "revoke")


class Stranger(Exception):
    """Somebody who is logged in, and does not decide; the message is for them."""


class Nobody(Exception):
    """No session, or two: nobody could say whose request it is."""


Endpoint = Callable[[Request, "Visit"], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of somebody who decides. `session` is its name; `cookies` are Set-Cookie values that go with the answer."""

    runtime: Runtime
    asking: Asking
    caller: Caller
    session: str
    cookies: tuple[str, ...]
    desk: Desk

    @property
    def form_token(self) -> FormToken:
        return FormToken("console", TOKEN_S, self.runtime.for_browsers.sealer)

    @property
    def page(self) -> Mapping[str, Any]:
        """What each page has around it."""
        who = self.caller
        return {
            "who": who.name or who.identity,
            "logout": f"{self.runtime.settings.endpoints.prefix}/logout",
            "token": self.form_token.make(self.session),
            "request_id": self.asking.request_id,
        }

    def drawn(self, screen: Screen, status: int = 200) -> Response:
        return document(screen, self.page, status)


def console(agents: Agents, current: Callable[[], Runtime]) -> Starlette:
    """`current` is the runtime of the settings in force."""
    of = _Console(agents, current)
    one = CONSOLE_PATH + "/requests/{name}"
    routes = [
        Route(CONSOLE_PATH, of.page(of.requests), methods=["GET"]),
        Route(CONSOLE_PATH + "/live", of.live(of.requests_screen), methods=["GET"]),
        Route(one, of.page(of.request), methods=["GET"]),
        Route(one + "/live", of.live(of.request_screen), methods=["GET"]),
        Route(one + "/{verb}", of.page(of.decide), methods=["POST"]),
        Route(CONSOLE_PATH + "/record", of.page(of.record), methods=["GET"]),
        Route(CONSOLE_PATH + "/console.js", script, methods=["GET"]),
    ]
    handlers: Any = {HTTPException: _http}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


async def script(_: Request) -> Response:
    headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
    return Response(script_text(), media_type="text/javascript; charset=utf-8", headers=headers)


class _Console:
    def __init__(self, agents: Agents, current: Callable[[], Runtime]) -> None:
        self._agents = agents
        self._current = current

    # --- who it is

    async def _visit(self, request: Request, *, looks_only: bool = False) -> Visit:
        """`looks_only`: by itself, which does not keep a session alive. Raises Nobody, SessionOver, Stranger, Unavailable."""
        runtime, asking = self._current(), Asking.of(request)
        ids = cookies.session_values(asking.cookies, runtime.session)
        if len(ids) != 1:
            raise Nobody
        sessions = runtime.sessions
        session = await (sessions.read(ids[0]) if looks_only else sessions.current(ids[0]))
        return Visit(
            runtime=runtime,
            asking=asking,
            caller=self._caller(session),
            session=session.name,
            cookies=sessions.cookies_to_renew(session.name, ids[0]),
            desk=await self._agents.desk(),
        )

    def _caller(self, session: Session) -> Caller:
        terms = self._agents.terms
        assert terms is not None, "nothing is served without"
        if session.provider != terms.provider:
            raise Stranger("You are signed in at another place than the one whose people decide here.")
        tokens = session.tokens
        try:
            # what rules are judged by stands over what else the issuer said of the person
            found = caller({**(tokens.userinfo or {}), **tokens.id_claims, **tokens.claims}, terms)
        except NoIdentity as error:
            warn("a session does not say who it is", why=error.hint, session=session.name)
            raise Stranger("Your account does not say who you are.") from error
        if not found.decides:
            warn("somebody at the console does not decide", subject=found.subject, session=session.name)
            name = found.name or found.identity
            raise Stranger(f"You are signed in as {name}, who does not decide on requests of agents.")
        return found

    def page(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint for those who decide: all others get a login, or a page that says why not."""

        async def answer(request: Request) -> Response:
            try:
                visit = await self._visit(request)
                found = await endpoint(request, visit)
                for cookie in visit.cookies:
                    found.headers.append("set-cookie", cookie)
                return found
            except (Nobody, SessionOver):
                return await self._login(request)
            except HTTPException:
                raise
            except Exception as error:
                return self._failed(request, error)

        return answer

    async def _login(self, request: Request) -> Response:
        terms, asking = self._agents.terms, Asking.of(request)
        assert terms is not None, "nothing is served without"
        if request.method == "POST":
            words = "You were signed out meanwhile, and nothing was decided. Sign in, and look at the request again."
            back = asking.target.rpartition("/")[0]
            return _told("Nothing was decided", words, 401, asking, onward=(back, "Sign in"))
        try:
            login = self._current().login
            return await login.begin(
                asking, landing=asking.url, allowed=(terms.provider,), reason="console", explicit=True
            )
        except Exception as error:
            return self._failed(request, error)

    def _failed(self, request: Request, error: Exception) -> Response:
        asking = Asking.of(request)
        queue = (CONSOLE_PATH, "All requests")
        match error:
            case Stranger():
                prefix = self._current().settings.endpoints.prefix
                leave = (f"{prefix}/logout", "Sign in with another account")
                return _told("You do not decide here", str(error), 403, asking, onward=leave)
            case Refusal(status=404):
                return _told("No such request", "It may have had another name.", 404, asking, onward=queue)
            case Refusal():
                return _told("That cannot be done", _sentence(str(error)), error.status, asking, onward=queue)
            case Unavailable():
                complain("the console cannot answer", why=str(error))
                words = (
                    "What keeps the requests, or the sessions, does not answer now. Try again in a moment."
                )
                answer = _told("Not now", words, 503, asking, onward=(_again(asking), "Try again"))
                answer.headers["retry-after"] = "2"
                return answer
            case _:
                complain("a fault of the gateway itself at the console", error=repr(error))
                return _told("Something went wrong", "It is our fault, and noted.", 500, asking, onward=queue)

    # --- what is there

    async def requests(self, request: Request, visit: Visit) -> Response:
        return visit.drawn(await self.requests_screen(request, visit))

    async def requests_screen(self, request: Request, visit: Visit) -> Screen:
        """The queue: what is pending, unless something else is wanted."""
        asked = request.query_params
        text, agent = asked.get("phase", Phase.PENDING.value), asked.get("agent", "").strip()
        phase = Phase(text) if text in set(Phase) else None
        wanted = Filter(phase=phase, agent=agent or None, before=_before(request))
        found = await visit.desk.listed(visit.caller, wanted, SHOWN)
        mine = {one.name for one in found if visit.desk.is_own(one, visit.caller)}
        return requests_view(
            found, mine, phase, agent, more=len(found) == SHOWN, query=str(request.url.query)
        )

    async def request(self, request: Request, visit: Visit) -> Response:
        return visit.drawn(await self.request_screen(request, visit))

    async def request_screen(self, request: Request, visit: Visit, notice: str = "") -> Screen:
        desk, who = visit.desk, visit.caller
        found = await desk.read(who, request.path_params["name"])
        votes = await desk.store.votes(found.id)
        entries = await desk.store.record(request=found.name, limit=RECORD_SHOWN)
        voted = any((vote.issuer, vote.subject) == (who.issuer, who.subject) for vote in votes)
        return Screen(
            "request",
            title=found.name,
            live=f"{address(found.name)}/live",
            values={
                "request": found.as_data(),
                "content": json.dumps(found.wish.content, indent=2, ensure_ascii=False)
                if found.wish.content
                else "",
                "votes": votes,
                "needed": found.needed,
                "history": [history(entry) for entry in entries],
                "own": desk.is_own(found, who),
                "hindrance": _hindrance(desk.hindrance(found, who)),
                "voted": voted,
                "notice": notice,
                "state": f"{found.phase}-{len(votes)}",
                "here": address(found.name),
            },
        )

    async def decide(self, request: Request, visit: Visit) -> Response:
        verb = request.path_params["verb"]
        if verb not in VERBS:
            raise HTTPException(404)
        form = await read_form(request)
        if not (_by_us(visit) and visit.form_token.holds(form.get("token", ""), visit.session)):
            warn(
                "another page tried to decide",
                session=visit.session,
                request_id=visit.asking.request_id,
            )
            raise Refusal(
                403, "This did not come from a page of ours that is still good. Nothing was decided."
            )
        who, name, reason = visit.caller, request.path_params["name"], form.get("reason", "").strip()
        if len(reason) > MAX_REASON or any(ord(one) < 32 and one not in "\t\r\n" for one in reason):
            raise Refusal(400, f"A reason is text of at most {MAX_REASON} characters. Nothing was decided.")
        try:
            if verb == "revoke":
                await visit.desk.revoke(who, name, reason)
            else:
                await visit.desk.decide(who, name, verb, reason)
        except Refusal as refusal:
            if refusal.status not in (403, 409):
                raise
            warn("a caller was refused", why=str(refusal), identity=who.identity, roles=sorted(who.roles))
            notice = _hindrance(refusal)
            return visit.drawn(await self.request_screen(request, visit, notice), refusal.status)
        self._agents.watching.changed()
        say("decided at the console", request=name, decision=verb, subject=who.subject)
        return RedirectResponse(address(name), 303)

    async def record(self, request: Request, visit: Visit) -> Response:
        """The newest entries, or those before a number."""
        name = request.query_params.get("request", "").strip()
        entries = await visit.desk.store.latest(RECORD_SHOWN, before=_before(request), request=name or None)
        screen = Screen(
            "record",
            title="Record",
            values={
                "entries": [history(entry) for entry in entries],
                "name": name,
                "older": entries[-1].seq if len(entries) == RECORD_SHOWN else None,
            },
        )
        return visit.drawn(screen)

    # --- live

    def live(
        self, draw: Callable[[Request, Visit], Awaitable[Screen]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """
        A screen's changing part whenever it is another one, as server-sent events: `view`, and `over` when the session has
        ended, or does not decide any more.
        """

        async def drawn(request: Request) -> str:
            return fragment(await draw(request, await self._visit(request, looks_only=True)))

        async def answer(request: Request) -> Response:
            try:
                first = await drawn(request)
            except (Nobody, SessionOver, Stranger, Refusal):
                return Response(status_code=204)  # a browser does not come again
            except Unavailable:
                return Response(status_code=503, headers={"retry-after": "2"})
            headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
            return StreamingResponse(events(request, first), media_type="text/event-stream", headers=headers)

        async def events(request: Request, first: str) -> AsyncIterator[bytes]:
            try:
                async with self._agents.watching.watcher():
                    sent, found, until = "", first, time.monotonic() + WATCHED_S
                    while time.monotonic() < until:
                        if found != sent:
                            sent = found
                            yield event("view", found)
                        elif not await self._agents.watching.change(HEARTBEAT_S):
                            yield HEARTBEAT
                        found = await drawn(request)
            except (Nobody, SessionOver, Stranger, Refusal):
                yield event("over", {})
            except (Unavailable, TooMany):
                return  # the browser comes again

        return answer


def _by_us(visit: Visit) -> bool:
    """Whether the browser says that a page of this console sent it."""
    asking = visit.asking
    origin = asking.headers.get("origin")
    if origin is None or origin == "null":
        return asking.headers.get("sec-fetch-site") == "same-origin"
    return origin in visit.runtime.login.origins(asking)


def _before(request: Request) -> int | None:
    """Where a list goes on."""
    text = request.query_params.get("before", "")
    return int(text) if text.isdigit() and len(text) < 19 else None


def _hindrance(refusal: Refusal | None) -> str:
    if refusal is None:
        return ""
    if "self-approval" in str(refusal):
        return "You asked for this, or you answer for the agent that did. Somebody else has to decide."
    return _sentence(str(refusal))


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def _again(asking: Asking) -> str:
    return asking.target if asking.method == "GET" else asking.target.rpartition("/")[0]


def _told(title: str, words: str, status: int, asking: Asking, *, onward: tuple[str, str]) -> Response:
    """A page with one message, and one way on."""
    values = {"words": words, "onward": onward}
    return document(Screen("message", title=title, values=values), {"request_id": asking.request_id}, status)


async def _http(request: Request, error: HTTPException) -> Response:
    title = "Nothing is here" if error.status_code == 404 else "That cannot be done"
    words = "The address is not one of the console's."
    answer = _told(title, words, error.status_code, Asking.of(request), onward=(CONSOLE_PATH, "All requests"))
    answer.headers.update(dict(error.headers or {}))
    return answer
