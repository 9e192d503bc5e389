"""
The built-in identity provider and real Keycloak, asked the same, with the same realm files: the same tokens.

Every client of every realm, with every user and on its own, with several scopes. What differs by nature is left
out (times, ids, addresses, the order in lists, which is an accident of a database), and so are Keycloak's notes
to itself in a refresh token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.parts.keycloak import REALMS, Keycloak
from tests.realm import Realm, unverified_claims, unverified_header
from wardgate.idp import IdpServer

# The first test waits for Keycloak, and where nothing is prepared for the import too.
pytestmark = pytest.mark.timeout(300)

SCOPES = ("openid email profile", "openid", "", "openid offline_access")

BY_NATURE = {"exp", "iat", "jti", "sid", "iss", "at_hash", "clientHost", "clientAddress", "reuse_id"}
NOTES_TO_ITSELF = {"aud_x", "prov", "reuse_id"}


def _asks() -> Iterator[Any]:
    for file in REALMS:
        content = json.loads(file.read_text(encoding="utf-8"))
        users = [user["username"] for user in content["users"] if "serviceAccountClientId" not in user]
        for client in content["clients"]:
            for user in ("", *users):
                name = f"{file.stem}: {user or 'itself'} by {client['clientId']}"
                yield pytest.param(file, client["clientId"], user, id=name)


@pytest.fixture(scope="module")
def pairs(keycloak: Keycloak) -> Iterator[dict[Path, tuple[Realm, Realm]]]:
    """For each realm file: that realm on real Keycloak, and on the built-in provider."""
    servers = {file: IdpServer(file).start() for file in REALMS}
    both = {
        file: (Realm(keycloak.url, file), Realm(f"http://127.0.0.1:{server.port}", file))
        for file, server in servers.items()
    }
    yield both
    for realms in both.values():
        for realm in realms:
            realm.close()
    for server in servers.values():
        server.stop()


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("file", "client", "user"), tuple(_asks()))
def test_both_give_the_same_tokens(
    pairs: dict[Path, tuple[Realm, Realm]], file: Path, client: str, user: str, scope: str
) -> None:
    """The same kinds of token with the same headers and claims, or the same refusal."""
    real, ours = (_outcome(realm, client, user, scope) for realm in pairs[file])
    assert ours == real


def _outcome(realm: Realm, client: str, user: str, scope: str) -> dict[str, Any]:
    """What was given, without what differs by nature; or the status and the error."""
    try:
        answer = realm.token(user, client=client, scope=scope).answer
    except httpx.HTTPStatusError as refused:
        return {"status": refused.response.status_code, "error": refused.response.json()["error"]}
    kinds = [kind for kind in ("access_token", "id_token", "refresh_token") if kind in answer]
    return {
        "given": sorted(answer),
        "scope": sorted(answer["scope"].split()),
        **{kind: _content(answer[kind], realm, itself=not user) for kind in kinds},
    }


def _content(token: str, realm: Realm, *, itself: bool) -> dict[str, Any]:
    header, claims = unverified_header(token), unverified_claims(token)
    # A service account's id is made up by each server.
    left_out = BY_NATURE | NOTES_TO_ITSELF | ({"sub"} if itself else set())
    return {
        "header": {name: value for name, value in header.items() if name != "kid"},
        "claims": sorted(set(claims) - NOTES_TO_ITSELF),
        "lives for ever": "exp" not in claims,
        "for its issuer": claims.get("aud") == realm.issuer,
        **{
            name: _unordered(name, value)
            for name, value in claims.items()
            if name not in left_out and value != realm.issuer
        },
    }


def _unordered(name: str, value: object) -> object:
    match value:
        case str() if name == "scope":
            return sorted(value.split())
        case dict():
            return {key: _unordered(key, part) for key, part in value.items()}
        case list():
            return sorted(value, key=json.dumps)
        case _:
            return value
