"""
The service's two applications: one for the public's paths, one for this machine only.

Two sockets, so that no listener's route can ever lead to the second: what it answers is for Envoy's resolver calls
and for the supervisor. The public one's paths are in `endpoints.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from wardgate.envoy import grants
from wardgate.envoy.resolve import PATH_PREFIX
from wardgate.service.administration import administration
from wardgate.service.endpoints import Endpoints
from wardgate.service.in_force import InForce
from wardgate.service.keys import Refreshers
from wardgate.service.resolve import Resolver
from wardgate.service.runtime import Runtime

Endpoint = Callable[[Request], Awaitable[Response]]


def public_app(
    current: Callable[[], Runtime] | None = None,
    of_agents: Callable[[str], ASGIApp | None] = lambda _: None,
) -> ASGIApp:
    """
    `current` is the runtime of the settings in force; without it there are no endpoints at all. `of_agents` gives the
    application of a path that is for agents and those who decide (`agents/`), None for every other.
    """
    routes = [Route("/{path:path}", _Any(Endpoints(current)))] if current is not None else []
    browsers = Starlette(routes=routes, exception_handlers={HTTPException: _problem})

    async def whoever(scope: Scope, receive: Receive, send: Send) -> None:
        serving = of_agents(scope["path"]) if scope["type"] == "http" else None
        await (serving or browsers)(scope, receive, send)

    return whoever


class Service(Protocol):
    """What the control socket shows of the service (`serve.Running`)."""

    refreshers: Refreshers
    in_force: InForce
    resolver: Resolver

    def current(self) -> Runtime: ...

    async def grants(self, request: Request) -> Response: ...

    async def figures_of_agents(self) -> dict[str, Any] | None: ...


def control_app(service: Service) -> Starlette:
    """
    `/health`: the service runs. `/status`: every provider's keys and what went wrong with them last, logins, answers to
    the guard. `/sessions`: what Envoy is to know of sessions (`in_force.py`); asked by the supervisor, which waits for
    news. Below `/resolve` whatever path and method a client sent: Envoy asks who that is (`resolve.py`); below
    `/grants` one that a grant is to be spent for (`agents/granting.py`).
    """

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def status(_: Request) -> Response:
        providers = [status.as_data() for status in service.refreshers.status()]
        resolved = [[*key, count] for key, count in service.resolver.counts.items()]
        return JSONResponse(
            {
                "providers": providers,
                "logins": _logins(service.current()),
                "resolved": resolved,
                "agents": await service.figures_of_agents(),
            }
        )

    async def sessions(request: Request) -> Response:
        return JSONResponse(await service.in_force.wait_for_news(await request.json()))

    routes = [
        Route("/health", health),
        Route("/status", status),
        Route("/sessions", sessions, methods=["POST"]),
        *administration(service.current),
        Route(PATH_PREFIX + "{path:path}", _Any(service.resolver)),
        Route(grants.PATH_PREFIX + "{path:path}", _Any(service.grants)),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _problem})


def _logins(runtime: Runtime) -> dict[str, Any]:
    logins = runtime.kept.logins
    return {"succeeded": logins.succeeded, "failed": dict(logins.failed)}


class _Any:
    """An endpoint for every method: as an application of its own, Starlette leaves the method to it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._endpoint(Request(scope, receive))
        await answer(scope, receive, send)


async def _problem(_: Request, error: Exception) -> Response:
    """RFC 9457; says no more than the status."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    title = error.detail if isinstance(error, HTTPException) else "Internal Server Error"
    return JSONResponse(
        {"title": title, "status": status}, status_code=status, media_type="application/problem+json"
    )
