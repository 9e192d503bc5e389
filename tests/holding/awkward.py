"""
An application that behaves badly on demand, by the last part of the path.

    /never   does not answer          /drip   a byte every 0.1 s, 30 of them
    /pause   the head, then nothing for 1 s, then 30 bytes
    /close   closes instead           /half   promises 100 bytes, sends 10 and closes
    else     200, a short text

`asked` counts requests by path, `connections` what was accepted. `release` ends what never ends.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Awkward:
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.connections = 0
        self.release = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                owner.asked[self.path] += 1
                self.rfile.read(int(self.headers.get("content-length", "0")))
                try:
                    owner._behave(self)
                except OSError:
                    self.close_connection = True  # the other side had enough

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _behave(self, handler: BaseHTTPRequestHandler) -> None:
        match handler.path.rpartition("/")[2]:
            case "never":
                self.release.wait(60)
                handler.close_connection = True
            case "close":
                handler.close_connection = True
                handler.connection.shutdown(socket.SHUT_RDWR)
            case "half":
                self._answer(handler, 100, b"x" * 10)
                handler.close_connection = True
            case "pause":
                self._answer(handler, 30, b"")
                self.release.wait(1.0)
                handler.wfile.write(b"." * 30)
            case "drip":
                self._answer(handler, 30, b"")
                for _ in range(30):
                    handler.wfile.write(b".")
                    self.release.wait(0.1)
            case _:
                self._answer(handler, 5, b"hello")

    @staticmethod
    def _answer(handler: BaseHTTPRequestHandler, size: int, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(size))
        handler.end_headers()
        handler.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: Awkward

    def process_request(self, request: Any, client_address: Any) -> None:
        self.owner.connections += 1
        super().process_request(request, client_address)
