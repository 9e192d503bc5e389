"""
The service's two applications: one for the public's paths, one for this machine only.

Two sockets, so that no listener's route can ever lead to the second: what it answers is for Envoy's resolver calls
and for the supervisor. The public one has no endpoints yet; login brings them.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wardgate.service.keys import Refreshers


def public_app() -> Starlette:
    return Starlette(exception_handlers={HTTPException: _problem})


def control_app(refreshers: Refreshers) -> Starlette:
    """`/health`: the service runs. `/keys`: every provider's keys, and what went wrong with them last."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def keys(_: Request) -> Response:
        return JSONResponse({"providers": [status.as_data() for status in refreshers.status()]})

    routes = [Route("/health", health), Route("/keys", keys)]
    return Starlette(routes=routes, exception_handlers={HTTPException: _problem})


async def _problem(_: Request, error: Exception) -> Response:
    """RFC 9457; says no more than the status."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    title = error.detail if isinstance(error, HTTPException) else "Internal Server Error"
    return JSONResponse(
        {"title": title, "status": status}, status_code=status, media_type="application/problem+json"
    )
