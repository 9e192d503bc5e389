"""
The sample application: answers with what it was told, to browsers as a page. It knows nothing of tokens; that is the
point.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from functools import cache
from typing import Self

import uvicorn
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


async def answer(request: Request) -> Response:
    """Who the gateway says is calling, and for what: a page for browsers, JSON for programs."""
    told = {name: value for name, value in request.headers.items() if name.startswith("x-auth-")}
    if "text/html" in request.headers.get("accept", ""):
        return _page(request, told)
    return JSONResponse(
        {"application": "sample", "path": request.url.path, "method": request.method, "told": told}
    )


def _page(request: Request, told: dict[str, str]) -> Response:
    page = _template().render(
        who=told.get("x-auth-name") or told.get("x-auth-userid", ""),
        told=[(_written(name), value.replace(",", ", ")) for name, value in sorted(told.items())],
        method=request.method,
        path=request.url.path,
    )
    # what one user saw is not shown to the next
    return HTMLResponse(page, headers={"cache-control": "no-store"})


def _written(name: str) -> str:
    """A header's name as people write it: `X-Auth-Userid`."""
    return "-".join(part.capitalize() for part in name.split("-"))


@cache
def _template() -> Template:
    loader = PackageLoader("wardgate.demo", "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html")


class Application:
    """The application on a loopback port, in a thread of this process, until the context ends."""

    def __init__(self, port: int) -> None:
        routes = [Route("/{path:path}", answer, methods=METHODS)]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        asyncio.run(self._server.serve([self._socket]))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()
