"""Client authentication, sessions and introspection of the built-in provider, over HTTP."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from tests.realm import GATEWAY_CLIENT, OTHER_CLIENT, Realm, unverified_claims
from wardgate.idp import IdpServer

BAD_CLIENT = "Invalid client or Invalid client credentials"


def basic(client: str, secret: str) -> dict[str, str]:
    """A Basic header as RFC 6749 2.3.1 has it."""
    return {"Authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}


def post(realm: Realm, endpoint: str, form: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    address = f"{realm.issuer}/protocol/openid-connect/{endpoint}"
    if isinstance(form, bytes):
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | (headers or {})
        return httpx.post(address, content=form, headers=headers)
    return httpx.post(address, data=form, headers=headers)


@pytest.mark.parametrize(
    ("header", "form", "expected"),
    [
        (basic(GATEWAY_CLIENT, "s0-secret"), {}, (200, None)),
        (basic(GATEWAY_CLIENT, "s0%2Dsecret"), {}, (200, None)),
        (
            basic(GATEWAY_CLIENT, "s0-secret"),
            {"client_id": GATEWAY_CLIENT, "client_secret": "x"},
            (200, None),
        ),
        (basic(GATEWAY_CLIENT, "wrong"), {}, (401, "unauthorized_client")),
        (basic(GATEWAY_CLIENT, ""), {}, (401, "unauthorized_client")),
        (basic(GATEWAY_CLIENT, "s0-secret"), {"client_id": OTHER_CLIENT}, (401, "unauthorized_client")),
        (basic("nobody", "x"), {}, (401, "invalid_client")),
        ({"Authorization": "Basic !!"}, {}, (401, "invalid_client")),
        ({"Authorization": "Basic " + base64.b64encode(b"no-colon").decode()}, {}, (401, "invalid_client")),
        ({"Authorization": "Bearer abc"}, {}, (401, "invalid_client")),
    ],
)
def test_basic_authentication(
    realm: Realm, header: dict[str, str], form: dict[str, str], expected: tuple[int, str | None]
) -> None:
    """A client may authenticate by a header, which then decides."""
    answer = post(realm, "token", {"grant_type": "client_credentials", **form}, header)
    assert (answer.status_code, answer.json().get("error")) == expected


def test_bodies_that_are_no_form(realm: Realm) -> None:
    """JSON, broken text, repeated fields and very long bodies are refused with their own status."""
    secret = f"client_id={GATEWAY_CLIENT}&client_secret=s0-secret".encode()
    twice = post(realm, "token", secret + b"&grant_type=client_credentials&grant_type=password")
    assert (twice.status_code, twice.json()["error_description"]) == (400, "duplicated parameter")
    broken = post(realm, "token", b"grant_type=\xff\xfe")
    assert broken.status_code == 400
    json_body = post(realm, "token", secret + b"&grant_type=password", {"Content-Type": "application/json"})
    assert json_body.json()["error_description"] == "Missing form parameter: grant_type"
    assert post(realm, "token", b"a=" + b"b" * 200_000).status_code == 413


def test_refresh_keeps_or_narrows_the_scope(realm: Realm) -> None:
    """A refresh keeps the scope of the login, and may ask for less."""
    tokens = realm.token("user", scope="openid phone")
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
    form |= realm.credentials(GATEWAY_CLIENT)
    assert "phone" in realm.ask(**form).json()["scope"].split()
    assert "phone" not in realm.ask(**form, scope="openid").json()["scope"].split()
    assert realm.ask(**form, scope="nonsense").json()["error"] == "invalid_scope"


def test_logging_out_ends_the_session(idp: IdpServer, realm: Realm) -> None:
    """After a logout the refresh token is refused and the access token is no longer active."""
    tokens = realm.token("user")
    idp.provider.log_out(tokens.answer["session_state"])
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
    assert realm.ask(**form, **realm.credentials(GATEWAY_CLIENT)).json()["error"] == "invalid_grant"
    assert realm.get("userinfo", tokens.access).status_code == 401


def test_introspection(realm: Realm) -> None:
    """Active only for a client in the token's audience; what it says is what the token says."""
    tokens = realm.token("user")
    own, other = realm.credentials(GATEWAY_CLIENT), realm.credentials(OTHER_CLIENT)
    seen = post(realm, "token/introspect", {"token": tokens.access, **own}).json()
    assert seen.items() >= unverified_claims(tokens.access).items()
    assert (seen["active"], seen["client_id"], seen["username"]) == (True, GATEWAY_CLIENT, "user")
    for token, caller in ((tokens.access, other), (tokens.refresh, own), ("nonsense", own), ("", own)):
        answer = post(realm, "token/introspect", {"token": token, **caller})
        assert (answer.status_code, answer.json()) == (200, {"active": False})
    identity = post(realm, "token/introspect", {"token": tokens.id, **own}).json()
    assert (identity["active"], identity["typ"]) == (True, "ID")
    service = realm.token("")
    assert post(realm, "token/introspect", {"token": service.access, **own}).json()["active"] is True


def test_introspection_is_for_clients(realm: Realm) -> None:
    """Without authentication it is 401, without a token 400."""
    token = realm.token("user").access
    refused = post(realm, "token/introspect", {"token": token})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    missing = post(realm, "token/introspect", realm.credentials(GATEWAY_CLIENT))
    assert (missing.status_code, missing.json()["error"]) == (400, "invalid_request")


def test_userinfo_by_form_and_scope(realm: Realm) -> None:
    """Userinfo takes a form too; without the scope openid it is 403, and it says why."""
    tokens = realm.token("user")
    by_form = post(realm, "userinfo", {"access_token": tokens.access})
    assert by_form.json()["preferred_username"] == "user"
    refused = realm.get("userinfo", realm.token("user", scope="").access)
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest session is forgotten when there are too many."""
    monkeypatch.setattr("wardgate.idp.sessions.MAX_SESSIONS", 3)
    with IdpServer() as idp, httpx.Client() as client:
        tokens = [idp.tokens("user") for _ in range(4)]
        address = f"{idp.issuer}/protocol/openid-connect/userinfo"
        statuses = [
            client.get(address, headers={"Authorization": f"Bearer {one['access_token']}"}).status_code
            for one in tokens
        ]
    assert statuses == [401, 200, 200, 200]


def test_a_refresh_token_of_another_start() -> None:
    """A refresh token that this provider did not sign is invalid."""
    with IdpServer() as first, IdpServer() as second:
        foreign = first.tokens("user")["refresh_token"]
        form = {"grant_type": "refresh_token", "refresh_token": foreign, "client_id": "demo-gateway"}
        answer = httpx.post(
            f"{second.issuer}/protocol/openid-connect/token", data=form | {"client_secret": "demo-secret"}
        )
    assert answer.json() == {"error": "invalid_grant", "error_description": "Invalid refresh token"}
