"""
A client of one realm of any server with Keycloak's URLs: asks for tokens as an application would.

It speaks HTTP only, so it cannot tell real Keycloak from the built-in identity provider. Secrets and passwords
come from the realm file that the server was started with.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from tests.parts import PROJECT

S0_REALM = PROJECT / "tests" / "realms" / "s0.json"

GATEWAY_CLIENT = "improwised-gatekeeper-client"
SHORT_LIVED_CLIENT = "short-lived-client"
OTHER_CLIENT = "other-client"

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The answer of the token endpoint. `access`, `id` and `refresh` raise `KeyError` where there is none."""

    answer: Mapping[str, Any]

    @property
    def access(self) -> str:
        """The access token."""
        return str(self.answer["access_token"])

    @property
    def id(self) -> str:
        """The ID token."""
        return str(self.answer["id_token"])

    @property
    def refresh(self) -> str:
        """The refresh token."""
        return str(self.answer["refresh_token"])


class Realm:
    """
    The realm of `file` on the server at `server_url` (which includes a base path, where there is one).

    `issuer` is its `iss`, which is also where it is reached.
    """

    def __init__(self, server_url: str, file: Path = S0_REALM) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        self.name: str = content["realm"]
        self.issuer = f"{server_url}/realms/{self.name}"
        self._secrets = {client["clientId"]: client.get("secret") for client in content["clients"]}
        self._passwords = {
            user["username"]: credential["value"]
            for user in content.get("users", [])
            for credential in user.get("credentials", [])
            if credential["type"] == "password"
        }
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def discovery(self) -> dict[str, Any]:
        """The discovery document."""
        return dict(
            self._http.get(f"{self.issuer}/.well-known/openid-configuration").raise_for_status().json()
        )

    def jwks(self) -> list[dict[str, Any]]:
        """The keys of the JWKS, those for encryption too."""
        return list(self.get("certs").raise_for_status().json()["keys"])

    def get(self, endpoint: str, token: str = "") -> httpx.Response:
        """GET one of the OpenID Connect endpoints (`certs`, `userinfo`), with a bearer token or without."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._http.get(f"{self.issuer}/protocol/openid-connect/{endpoint}", headers=headers)

    def ask(self, **form: str) -> httpx.Response:
        """POST a form to the token endpoint, as it is."""
        return self._http.post(f"{self.issuer}/protocol/openid-connect/token", data=form)

    def token(
        self, user: str = "", *, client: str = GATEWAY_CLIENT, scope: str = "openid email profile"
    ) -> Tokens:
        """
        Tokens for `user` (by password), or for the client itself (client_credentials) when there is no user.

        `scope=""` asks for none. Raises `httpx.HTTPStatusError` when the server refuses.
        """
        form = {"grant_type": "client_credentials", **self.credentials(client)}
        if user:
            form |= {"grant_type": "password", "username": user, "password": self._passwords[user]}
        if scope:
            form["scope"] = scope
        return Tokens(answer=self.ask(**form).raise_for_status().json())

    def refreshed(self, tokens: Tokens, *, client: str = GATEWAY_CLIENT) -> Tokens:
        """New tokens for the refresh token of `tokens`."""
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh, **self.credentials(client)}
        return Tokens(answer=self.ask(**form).raise_for_status().json())

    def credentials(self, client: str) -> dict[str, str]:
        """The form fields by which the client authenticates: no secret for a public client."""
        secret = self._secrets[client]
        return {"client_id": client} | ({"client_secret": secret} if secret else {})


def unverified_header(token: str) -> dict[str, Any]:
    """The JOSE header of a compact JWS, not verified."""
    return _segment(token, 0)


def unverified_claims(token: str) -> dict[str, Any]:
    """The payload of a compact JWS, not verified."""
    return _segment(token, 1)


def _segment(token: str, index: int) -> dict[str, Any]:
    text = token.split(".")[index]
    return dict(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
