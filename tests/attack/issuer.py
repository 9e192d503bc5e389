"""
The issuer of the attacks: a discovery document and a key set on loopback, nothing else.

It issues no tokens over HTTP: `tokens.Mint` signs them with the same keys. Each realm serves its own variant
of the key set, so that one issuer serves every gateway of a run. Every fetch is counted.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from .keys import Keys

REALMS = {"": "demo", "jwks_without_alg": "demo-without-alg"}
CERTS = "/protocol/openid-connect/certs"


class Issuer:
    """Serves `/realms/REALM/.well-known/openid-configuration` and the key set that it names."""

    def __init__(self, keys: Keys) -> None:
        self.fetches: Counter[str] = Counter()
        self._keys = keys
        self._base = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a port of the kernel's choice."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._base = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the listener."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def of(self, fixture: str) -> str:
        """The issuer identifier (`iss`) of the realm that a fixture needs."""
        return f"{self._base}/realms/{REALMS[fixture]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
            self.fetches[path] += 1
            document = self._document(path)
            body = json.dumps(document or {}).encode()
            status = b"200 OK" if document else b"404 Not Found"
            writer.write(
                b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%b" % (status, len(body), body)
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that went away gets no answer
        finally:
            writer.close()

    def _document(self, path: str) -> dict[str, Any] | None:
        for fixture, realm in REALMS.items():
            if path == f"/realms/{realm}{CERTS}":
                return self._keys.jwks(without_alg=fixture == "jwks_without_alg")
            if path == f"/realms/{realm}/.well-known/openid-configuration":
                return self._discovery(self.of(fixture))
        return None

    def _discovery(self, issuer: str) -> dict[str, Any]:
        return {
            "issuer": issuer,
            "jwks_uri": issuer + CERTS,
            "authorization_endpoint": f"{issuer}/protocol/openid-connect/auth",
            "token_endpoint": f"{issuer}/protocol/openid-connect/token",
            "userinfo_endpoint": f"{issuer}/protocol/openid-connect/userinfo",
            "end_session_endpoint": f"{issuer}/protocol/openid-connect/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        }
