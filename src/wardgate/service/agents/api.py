"""
The API of agents and reviewers. Envoy has verified the token and its audience before; here it is verified once more, and
says who calls. Nobody is known by a cookie.

Errors are `{"error": "…"}`, in S2's words.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from wardgate.approvals.callers import DECIDING, Caller, NoIdentity, Role, caller
from wardgate.approvals.desk import Desk, Refusal, require
from wardgate.approvals.records import ACTIVE, AgentRequest, Phase, Wish, when
from wardgate.approvals.store import Filter
from wardgate.approvals.targets import NoTarget, normalized
from wardgate.events import complain, warn
from wardgate.problems import TokenError, Unavailable
from wardgate.service.agents.bodies import AskBody, CompletedBody, ReasonBody, read
from wardgate.service.agents.keeping import Agents
from wardgate.service.agents.openapi import document
from wardgate.service.agents.watching import HEARTBEAT, HEARTBEAT_S, WATCHED_S, TooMany, event
from wardgate.service.buckets import Buckets
from wardgate.service.runtime import Runtime
from wardgate.verify import TokenAudienceWrong

MOST_LISTED: Final = 200

ASKED_AT_ONCE, ASKED_A_SECOND = 200, 20.0
"""What one agent may file before it is told to wait (429)."""

Endpoint = Callable[[Request, Caller, Desk], Awaitable[Response]]


def api(agents: Agents, current: Callable[[], Runtime]) -> Starlette:
    """`current` is the runtime of the settings in force."""
    of = _Api(agents, current)
    one = "/agent-requests/{name}"
    routes = [
        Route("/healthz", of.healthy),
        Route("/readyz", of.ready),
        Route("/openapi.json", of.described),
        Route("/.well-known/jwks.json", of.keys),
        Route("/whoami", of.known(of.whoami)),
        Route("/agent-requests", of.known(of.ask), methods=["POST"]),
        Route("/agent-requests", of.known(of.listed), methods=["GET"]),
        Route(one, of.known(of.read), methods=["GET"]),
        Route(one + "/watch", of.known(of.watch), methods=["GET"]),
        *(
            Route(f"{one}/{verb}", of.known(endpoint), methods=["POST"])
            for verb, endpoint in (
                ("approve", of.approve),
                ("deny", of.deny),
                ("revoke", of.revoke),
                ("grant", of.grant),
                ("executing", of.executing),
                ("completed", of.completed),
            )
        ),
        Route("/audit-records", of.known(of.record), methods=["GET"]),
    ]
    handlers: Any = {
        Refusal: _refused,
        NoIdentity: _nobody,
        TokenError: _bad_token,
        Unavailable: _away,
        HTTPException: _http,
        Exception: _fault,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


class _Api:
    def __init__(self, agents: Agents, current: Callable[[], Runtime]) -> None:
        self._agents = agents
        self._current = current
        self._asked = Buckets(burst=ASKED_AT_ONCE, rate=ASKED_A_SECOND)

    def known(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint for those whose token says who they are."""

        async def answer(request: Request) -> Response:
            who = await self._caller(request)
            try:
                return await endpoint(request, who, await self._agents.desk())
            except Refusal as refusal:
                if refusal.status == 403:
                    _explain(refusal, who)
                raise

        return answer

    async def _caller(self, request: Request) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "missing Bearer token")
        terms = self._agents.terms
        assert terms is not None, "nothing is served without"
        claims = await self._current().clients[terms.provider].bearer(token.strip())
        return caller(claims, terms)

    # --- of the gateway itself

    async def healthy(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(self, _: Request) -> Response:
        """Whether the store answers."""
        await (await self._agents.desk()).store.head()
        return PlainTextResponse("ok")

    async def described(self, _: Request) -> Response:
        return JSONResponse(document())

    async def keys(self, _: Request) -> Response:
        """The public keys of grants (RFC 7517)."""
        desk = await self._agents.desk()
        await self._agents.grant_keys.signer(desk.store)
        return JSONResponse({"keys": await desk.store.grant_keys()}, headers={"cache-control": "max-age=60"})

    async def whoami(self, _: Request, who: Caller, __: Desk) -> Response:
        found = {"identity": who.identity, "subject": who.subject, "issuer": who.issuer}
        return _answer({**found, "roles": sorted(who.roles), "groups": sorted(who.groups)})

    # --- agents

    async def ask(self, request: Request, who: Caller, desk: Desk) -> Response:
        require(who, Role.AGENT)
        self._count(who)
        body = await read(request, AskBody)
        if body.agentIdentity is not None and body.agentIdentity != who.identity:
            raise Refusal(
                403, f"IDENTITY_MISMATCH: agentIdentity is not {who.identity}, who the token is for"
            )
        idempotency = request.headers.get("idempotency-key")
        if idempotency is not None and not 0 < len(idempotency) <= 255:
            raise Refusal(400, "Idempotency-Key has no character, or more than 255")
        try:
            target = normalized(body.targetURI)
        except NoTarget as error:
            raise Refusal(400, f"targetURI {error}") from error
        if body.httpRequest is not None and not target.startswith(("http://", "https://")):
            raise Refusal(400, "targetURI must be the http(s) URL of the httpRequest")
        wish = Wish(
            action=body.action,
            target=target,
            reason=body.reason,
            content=body.content(),
            dedup_key=body.dedupKey,
        )
        filed = await desk.ask(who, wish, idempotency)
        self._agents.watching.changed()
        where = {"location": f"/agent-requests/{filed.request.name}"}
        return _answer(filed.request.as_data(), 201 if filed.new else 200, where)

    async def grant(self, request: Request, who: Caller, desk: Desk) -> Response:
        """What the agent shows to make the request that was approved."""
        require(who, Role.AGENT)
        self._count(who)
        await read(request, ReasonBody, required=False)
        signer = await self._agents.grant_keys.signer(desk.store)
        token, ends = await desk.grant(who, _name(request), signer)
        return _answer({"grant": token, "header": "X-AIP-Authorization", "expiresAt": when(ends)})

    def _count(self, who: Caller) -> None:
        """One more thing that is written for this agent. Raises Refusal: they are too many."""
        key = f"{who.issuer} {who.subject}"
        if self._asked.full(key):
            raise Refusal(429, "too many requests")
        self._asked.failed(key)

    async def executing(self, request: Request, who: Caller, desk: Desk) -> Response:
        await read(request, ReasonBody, required=False)
        return self._told(await desk.begin(who, _name(request)))

    async def completed(self, request: Request, who: Caller, desk: Desk) -> Response:
        body = await read(request, CompletedBody, required=False)
        outcome = {"success": body.success, "message": body.message, **(body.result or {})}
        return self._told(await desk.complete(who, _name(request), body.success, outcome))

    # --- reviewers

    async def approve(self, request: Request, who: Caller, desk: Desk) -> Response:
        body = await read(request, ReasonBody, required=False)
        return self._told(await desk.decide(who, _name(request), "approve", body.reason))

    async def deny(self, request: Request, who: Caller, desk: Desk) -> Response:
        body = await read(request, ReasonBody, required=False)
        return self._told(await desk.decide(who, _name(request), "deny", body.reason))

    async def revoke(self, request: Request, who: Caller, desk: Desk) -> Response:
        body = await read(request, ReasonBody, required=False)
        return self._told(await desk.revoke(who, _name(request), body.reason))

    def _told(self, found: AgentRequest) -> Response:
        self._agents.watching.changed()
        return _answer(found.as_data())

    # --- readers

    async def read(self, request: Request, who: Caller, desk: Desk) -> Response:
        return _answer((await desk.read(who, _name(request))).as_data())

    async def listed(self, request: Request, who: Caller, desk: Desk) -> Response:
        limit = _number(request, "limit", 50, 1, MOST_LISTED)
        before = _number(request, "cursor", 0, 1, 2**62) or None
        wanted = Filter(phase=_phase(request), agent=request.query_params.get("agent"), before=before)
        found = await desk.listed(who, wanted, limit)
        more = str(found[-1].id) if len(found) == limit else None
        return _answer({"items": [one.as_data() for one in found], "next": more})

    async def record(self, request: Request, who: Caller, desk: Desk) -> Response:
        require(who, *DECIDING)
        limit = _number(request, "limit", 200, 1, 1000)
        after = _number(request, "after", 0, 0, 2**62)
        found = await desk.store.record(after=after, limit=limit, request=request.query_params.get("request"))
        items = [
            {
                "seq": one.seq,
                "at": when(one.at),
                "time": one.at,
                "request": one.request,
                "event": one.event,
                "body": json.loads(one.body),
                "previous": one.previous,
                "hash": one.hash,
            }
            for one in found
        ]
        return _answer({"items": items, "next": found[-1].seq if len(found) == limit else None})

    async def watch(self, request: Request, who: Caller, desk: Desk) -> Response:
        """
        Server-sent events: `update` with each change, and at last `result`, when it is decided; with `?until=end`, when
        nothing comes after it.
        """
        name = _name(request)
        waits = _waits(request)
        first = await desk.read(who, name)

        async def events() -> AsyncIterator[bytes]:
            try:
                async with self._agents.watching.watcher():
                    found, sent = first, 0
                    until = time.monotonic() + WATCHED_S
                    while time.monotonic() < until:
                        if found.phase not in waits:
                            yield event("result", found.as_data())
                            return
                        if found.version != sent:
                            sent = found.version
                            yield event("update", found.as_data())
                        if not await self._agents.watching.change(HEARTBEAT_S):
                            yield HEARTBEAT
                        found = await (await self._agents.desk()).read(who, name)
            except TooMany:
                yield event("error", {"error": "too many watch already: ask again later"})
            except (Unavailable, Refusal) as error:
                yield event("error", {"error": str(error)})

        return StreamingResponse(
            events(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )


def _explain(refusal: Refusal, who: Caller) -> None:
    """For the operator: who it was, and by what they were known."""
    more = {"passed_over": who.passed_over} if who.passed_over else {}
    warn("a caller was refused", why=str(refusal), identity=who.identity, roles=sorted(who.roles), **more)


def _answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(data, status, {"cache-control": "no-store", **(headers or {})})


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _number(request: Request, key: str, usual: int, least: int, most: int) -> int:
    text = request.query_params.get(key)
    if text is None:
        return usual
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not least <= int(text) <= most:
        raise Refusal(400, f"{key} must be a number from {least} to {most}")
    return int(text)


def _waits(request: Request) -> frozenset[Phase]:
    """The phases in which a watcher goes on waiting."""
    until = request.query_params.get("until", "decision")
    if until not in ("decision", "end"):
        raise Refusal(400, "until must be decision or end")
    return ACTIVE if until == "end" else frozenset({Phase.PENDING, Phase.EXECUTING})


def _phase(request: Request) -> Phase | None:
    text = request.query_params.get("phase")
    try:
        return None if text is None else Phase(text)
    except ValueError as error:
        raise Refusal(400, f"phase must be one of {', '.join(Phase)}") from error


# --- errors


async def _refused(_: Request, error: Refusal) -> Response:
    return _error(str(error), error.status)


async def _nobody(_: Request, error: NoIdentity) -> Response:
    warn("a token does not say who calls", why=error.hint)
    return _error(str(error), 401)


async def _bad_token(_: Request, error: TokenError) -> Response:
    warn("a token was refused", code=error.code, why=str(error))
    words = "aud claim does not match" if isinstance(error, TokenAudienceWrong) else "invalid token"
    return _error(words, 401)


async def _away(_: Request, error: Unavailable) -> Response:
    complain("a request of an agent could not be served", why=str(error))
    return _answer({"error": "the answer cannot be given now"}, 503, {"retry-after": "1"})


async def _http(_: Request, error: HTTPException) -> Response:
    return _answer({"error": str(error.detail)}, error.status_code, dict(error.headers or {}))


async def _fault(request: Request, error: Exception) -> Response:
    complain("a fault of the gateway itself", path=request.url.path, error=repr(error))
    return _error("internal error", 500)


def _error(words: str, status: int) -> Response:
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}}.get(status, {})
    return _answer({"error": words}, status, headers)
