"""
An issuer of one's own: discovery and keys over HTTP on loopback, good or bad as the test wishes.

Only what publishes keys; it signs nothing.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import RSAKey

from wardgate.keystore import KeySource

Answer = tuple[int, dict[str, str], bytes]


@cache
def public_jwk(kid: str) -> dict[str, Any]:
    """A public key by the name of `kid`; the same in the whole run."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = RSAKey.import_key(key.public_key()).as_dict(private=False)
    return {**public, "kid": kid, "use": "sig", "alg": "RS256"}


def jwks(*kids: str) -> bytes:
    return json.dumps({"keys": [public_jwk(kid) for kid in kids]}).encode()


class Server(ThreadingHTTPServer):
    """Says nothing of a client that goes away in the middle: what stands on stderr is what tests look at."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Issuer:
    """
    `discovery` and `keys` make the answers; a test replaces them.

    `requests` are the paths that were asked for, `headers` the names and values that came with the last.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.discovery: Callable[[], Answer] = self.good_discovery
        self.keys: Callable[[], Answer] = lambda: ok(jwks("k1"))
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}
        self._server = Server(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/realms/r"

    def source(self, **fields: Any) -> KeySource:
        discovery = self.url + "/.well-known/openid-configuration"
        given = {"provider": "kc", "issuer": self.url, "discovery": discovery, "timeout_s": 3.0}
        return KeySource(**{**given, **fields})

    def good_discovery(self) -> Answer:
        return ok(json.dumps({"issuer": self.url, "jwks_uri": self.url + "/keys"}).encode())

    def __enter__(self) -> Issuer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests.append(self.path)
                issuer.headers = {name.lower(): value for name, value in self.headers.items()}
                wanted = issuer.discovery if "well-known" in self.path else issuer.keys
                status, headers, body = wanted()
                try:
                    self.send_response(status)
                    for name, value in {"content-length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for start in range(0, len(body), 65536):
                        self.wfile.write(body[start : start + 65536])
                except OSError:
                    pass  # the client had enough

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def ok(body: bytes, **headers: str) -> Answer:
    return 200, {"content-type": "application/json", **headers}, body


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Poll until the condition holds; the deadline is for machines that are busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
