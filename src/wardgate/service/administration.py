"""
Who is logged in, and ending it, for whoever may open the control socket (`wardgate sessions`).

    GET  /sessions/all   a line of JSON for each session
    POST /sessions/end   {"names": [...], "subject": "...", "all": false} -> {"ended": 2, "in_force": true}
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from wardgate.problems import Unavailable
from wardgate.service.runtime import Runtime
from wardgate.service.stores import Summary


def administration(current: Callable[[], Runtime]) -> list[Route]:
    async def all_of_them(_: Request) -> Response:
        async def lines() -> AsyncIterator[bytes]:
            async for one in current().sessions.list():
                yield json.dumps(asdict(one)).encode() + b"\n"

        try:
            found = [line async for line in lines()]
        except Unavailable as error:
            return PlainTextResponse(str(error), 503)
        return StreamingResponse(iter(found), media_type="application/x-ndjson")

    async def end(request: Request) -> Response:
        wanted = await request.json()
        sessions = current().sessions
        try:
            sessions.require_known()
            names = list(wanted.get("names", ()))
            if wanted.get("all") or wanted.get("subject") is not None:
                names += [one.name async for one in sessions.list() if _meant(one, wanted)]
            ended = [name for name in names if await sessions.end(name, reason="revoked by an administrator")]
            in_force = await sessions.refused_by_envoy()
        except Unavailable as error:
            return PlainTextResponse(str(error), 503)
        return JSONResponse({"ended": len(ended), "in_force": in_force})

    return [Route("/sessions/all", all_of_them), Route("/sessions/end", end, methods=["POST"])]


def _meant(one: Summary, wanted: Mapping[str, Any]) -> bool:
    return bool(wanted.get("all")) or one.subject == wanted.get("subject")
