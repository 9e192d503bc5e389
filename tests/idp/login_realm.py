"""The realm of the login table: one client for each way to log in, to be told of a logout, and to authenticate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from joserfc.jwk import RSAKey

SIGNING_KEY = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"})
SIGNING_KEY.ensure_kid()
PEM_KEY = RSAKey.generate_key(2048)

APP = {
    "web": "https://app.example/callback",
    "plus": "https://plus.example/a",
    "none": "https://none.example/a",
    "minus": "https://minus.example/a",
    "spa": "https://spa.example/a",
    "front": "https://front.example/a",
    "signed": "https://signed.example/a",
    "no-flow": "https://no-flow.example/a",
    "pushed": "https://pushed.example/a",
}
"""Where each client is answered."""

CLIENTS = {
    name: {"client_id": name, "client_secret": f"{name}-secret"}
    for name in ("web", "plus", "none", "minus", "front", "no-flow", "pushed")
}
"""The form fields by which clients with a secret authenticate."""

_WEB_AUDIENCE = {
    "name": "audience",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-audience-mapper",
    "config": {"included.client.audience": "web", "id.token.claim": "false", "access.token.claim": "true"},
}

_WEB_URIS = [
    APP["web"],
    *(
        "https://app.example/deep/*",
        "https://q.example/cb?x=1",
        "https://wild.example*",
        "com.example.app:/cb",
    ),
    *("http://127.0.0.1/callback", "http://localhost/cb/*", "http://[::1]/cb", "https://[::1]/cb"),
]


def realm(name: str, told: str, **settings: object) -> dict[str, Any]:
    """The realm as a file would have it; `told` is where back-channel calls go. `settings` are the realm's own."""
    return {
        "realm": name,
        "enabled": True,
        "sslRequired": "none",
        "accessTokenLifespan": 300,
        "ssoSessionIdleTimeout": 1800,
        "ssoSessionMaxLifespan": 36000,
        **settings,
        "clients": [_client(**client) for client in _clients(told)],
        "users": [
            _user(name, "user"),
            _user(name, "other"),
            _user(name, "off") | {"enabled": False},
        ],
    }


def _clients(told: str) -> list[dict[str, Any]]:
    return [
        {
            "clientId": "web",
            "redirectUris": _WEB_URIS,
            "protocolMappers": [_WEB_AUDIENCE],
            "attributes": {
                "post.logout.redirect.uris": "https://app.example/bye##https://app.example/out/*",
                "backchannel.logout.url": f"{told}/web",
                "backchannel.logout.session.required": "true",
            },
        },
        {"clientId": "plus", "attributes": {"post.logout.redirect.uris": "+"}},
        {"clientId": "none"},
        {"clientId": "minus", "attributes": {"post.logout.redirect.uris": "-"}},
        {
            "clientId": "spa",
            "publicClient": True,
            "attributes": {
                "pkce.code.challenge.method": "S256",
                "backchannel.logout.url": f"{told}/spa",
            },
        },
        {
            "clientId": "front",
            "frontchannelLogout": True,
            "attributes": {"frontchannel.logout.url": "https://front.example/leave?a=1"},
        },
        {
            "clientId": "signed",
            "clientAuthenticatorType": "client-jwt",
            "serviceAccountsEnabled": True,
            "attributes": {
                "use.jwks.string": "true",
                "jwks.string": json.dumps({"keys": [SIGNING_KEY.as_dict(private=False)]}),
            },
        },
        {
            "clientId": "pem",
            "clientAuthenticatorType": "client-jwt",
            "serviceAccountsEnabled": True,
            "redirectUris": ["https://pem.example/*"],
            "attributes": {"jwt.credential.public.key": _pem_body()},
        },
        {"clientId": "no-flow", "standardFlowEnabled": False},
        {"clientId": "off", "enabled": False, "redirectUris": ["https://off.example/*"]},
        {"clientId": "bearer", "bearerOnly": True, "redirectUris": ["https://bearer.example/*"]},
        {"clientId": "no-uris", "redirectUris": []},
        {"clientId": "pushed", "attributes": {"require.pushed.authorization.requests": "true"}},
    ]


def _client(**client: Any) -> dict[str, Any]:
    name = client["clientId"]
    uris = [APP[name].removesuffix("a") + "*"] if name in APP else []
    secret = {} if client.get("publicClient") else {"secret": f"{name}-secret"}
    return {"redirectUris": uris, **secret, **client}


def _user(realm_name: str, name: str) -> Mapping[str, Any]:
    return {
        "username": name,
        "enabled": True,
        "email": f"{name}@login.example",
        "emailVerified": True,
        "firstName": name.title(),
        "lastName": "Tester",
        "credentials": [{"type": "password", "value": f"{name}-password", "temporary": False}],
        "realmRoles": [f"default-roles-{realm_name}"],
    }


def _pem_body() -> str:
    """As Keycloak stores it: without the lines around."""
    text = PEM_KEY.as_pem(private=False).decode()
    return "".join(line for line in text.splitlines() if "-----" not in line)
