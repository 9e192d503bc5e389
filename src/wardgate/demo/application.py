"""The sample application: answers with what it was told. It knows nothing of tokens; that is the point."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


async def answer(request: Request) -> Response:
    """Who the gateway says is calling, and for what."""
    told = {name: value for name, value in request.headers.items() if name.startswith("x-auth-")}
    return JSONResponse(
        {"application": "sample", "path": request.url.path, "method": request.method, "told": told}
    )


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
