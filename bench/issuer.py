"""
A token issuer of the benchmark's own: one key, a discovery document and a key set on loopback, tokens like Keycloak's.

The gateway finds it as it finds any issuer. Tokens are signed here rather than fetched, since ten thousand of them are
wanted; their claims are those of S0, "JWT Token Structure", about 1.5 KB when signed.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from joserfc import jwt
from joserfc.jwk import RSAKey

REALM = "/realms/improwised-production"
CLIENT = "improwised-gatekeeper-client"
LIFETIME_S = 12 * 3600  # longer than any run


class Issuer:
    """Serves from a thread between `with` and its end."""

    def __init__(self) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig", "alg": "RS256"})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}{REALM}"
        self.discovery_url = f"{self.url}/.well-known/openid-configuration"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tokens(self, count: int) -> list[str]:
        """`count` different people, all of whom S0 lets into /api/v1/user."""
        return [self._token(f"john.doe.{number}") for number in range(count)]

    def _token(self, name: str) -> str:
        header = {"alg": "RS256", "typ": "JWT", "kid": "bench"}
        return jwt.encode(header, self._claims(name), self._key)

    def _claims(self, name: str) -> dict[str, Any]:
        now = int(time.time())
        return {
            "exp": now + LIFETIME_S,
            "iat": now,
            "auth_time": now,
            "jti": str(uuid.uuid4()),
            "iss": self.url,
            "aud": [CLIENT, "account"],
            "sub": str(uuid.uuid4()),
            "typ": "Bearer",
            "azp": CLIENT,
            "session_state": str(uuid.uuid4()),
            "acr": "1",
            "scope": "openid email profile",
            "email_verified": True,
            "name": "John Doe",
            "preferred_username": name,
            "given_name": "John",
            "family_name": "Doe",
            "email": f"{name}@improwised.com",
            "groups": ["improwised:user", "improwised:developer"],
            "realm_access": {
                "roles": ["default-roles-improwised-production", "offline_access", "uma_authorization"]
            },
            "resource_access": {CLIENT: {"roles": ["user", "developer"]}},
        }

    def _documents(self) -> dict[str, dict[str, Any]]:
        public = self._key.as_dict(private=False)
        return {
            f"{REALM}/protocol/openid-connect/certs": {"keys": [public]},
            f"{REALM}/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/protocol/openid-connect/certs",
                "authorization_endpoint": f"{self.url}/protocol/openid-connect/auth",
                "token_endpoint": f"{self.url}/protocol/openid-connect/token",
                "userinfo_endpoint": f"{self.url}/protocol/openid-connect/userinfo",
                "end_session_endpoint": f"{self.url}/protocol/openid-connect/logout",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
        }

    def _handler(issuer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document = issuer._documents().get(self.path)
                body = json.dumps(document or {"error": "not found"}).encode()
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: the table is all that is printed."""

        return Handler
