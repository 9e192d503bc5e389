"""
What the tokens and answers of an identity provider with S0's realm look like: one table for every provider.

    class TestKeycloak(IssuerTable): ...     in tests/real/, against real Keycloak 26.7.3
    class TestIdpServer(IssuerTable): ...    in tests/idp/, against the built-in one

Each has a fixture `realm` (a `tests.realm.Realm`). The expectations were written down from real Keycloak; the
built-in provider is right when it cannot be told apart by them.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.realm import (
    GATEWAY_CLIENT,
    OTHER_CLIENT,
    SHORT_LIVED_CLIENT,
    Realm,
    Tokens,
    unverified_claims,
    unverified_header,
)

# Stands for the issuer in an expected value.
ISSUER = "<issuer>"

USER_ID = "0a4c1f3e-6f0b-4c59-9d53-6a4f0e3a0001"
ADMIN_ID = "0a4c1f3e-6f0b-4c59-9d53-6a4f0e3a0002"

DEFAULT_ROLES = {"default-roles-improwised-production", "offline_access", "uma_authorization"}
ACCOUNT_ROLES = {"manage-account", "manage-account-links", "view-profile"}

PROFILE = {
    "preferred_username": "user",
    "name": "Uma User",
    "given_name": "Uma",
    "family_name": "User",
    "email": "user@improwised.com",
    "email_verified": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One kind of token: how it is asked for, and what is in it.

    `claims` maps dotted paths to values; a set stands for a list or for words in any order. `life_seconds` is
    from `iat` to `exp`, None when there is no `exp`.
    """

    part: str = "access_token"
    user: str = "user"
    client: str = GATEWAY_CLIENT
    scope: str = "openid email profile"
    header: Mapping[str, str]
    claims: Mapping[str, Any]
    lacks: tuple[str, ...] = ()
    life_seconds: int | None = 1800
    answer: Mapping[str, Any] = field(default_factory=dict)


# The header says JWT for every kind: only the payload tells them apart.
SIGNED = {"alg": "RS256", "typ": "JWT"}
SECRET = {"alg": "HS512", "typ": "JWT"}

TOKENS = {
    "access token of a user": Row(
        header=SIGNED,
        claims={
            "iss": ISSUER,
            "typ": "Bearer",
            "aud": [GATEWAY_CLIENT, "account"],
            "azp": GATEWAY_CLIENT,
            "sub": USER_ID,
            "acr": "1",
            "scope": {"openid", "email", "profile"},
            "groups": ["improwised:user"],
            "realm_access.roles": DEFAULT_ROLES | {"employee"},
            f"resource_access.{GATEWAY_CLIENT}.roles": ["user"],
            "resource_access.account.roles": ACCOUNT_ROLES,
            "allowed-origins": ["https://*.improwised.com"],
            **PROFILE,
        },
        # A password grant is no login in a browser: the time of the login is not said.
        lacks=("auth_time", "nonce", "at_hash", "client_id"),
        answer={
            "token_type": "Bearer",
            "not-before-policy": 0,
        },
    ),
    "access token of an admin": Row(
        user="admin",
        header=SIGNED,
        claims={
            "typ": "Bearer",
            "aud": [GATEWAY_CLIENT, "account"],
            "sub": ADMIN_ID,
            "groups": ["improwised:admin"],
            # `staff` is composite: what it contains is said too.
            "realm_access.roles": DEFAULT_ROLES | {"staff", "employee"},
            "preferred_username": "admin",
        },
        lacks=(f"resource_access.{GATEWAY_CLIENT}",),
    ),
    "access token of a service account": Row(
        user="",
        header=SIGNED,
        claims={
            "iss": ISSUER,
            "typ": "Bearer",
            "aud": [GATEWAY_CLIENT, "account"],
            "azp": GATEWAY_CLIENT,
            "client_id": GATEWAY_CLIENT,
            "preferred_username": f"service-account-{GATEWAY_CLIENT}",
            "realm_access.roles": DEFAULT_ROLES,
            "email_verified": False,
        },
        lacks=("sid", "auth_time", "groups", "email"),
        answer={"refresh_expires_in": 0, "refresh_token": None, "session_state": None},
    ),
    "access token without the scope openid": Row(
        scope="",
        header=SIGNED,
        claims={"scope": {"email", "profile"}, "aud": [GATEWAY_CLIENT, "account"], **PROFILE},
        answer={"id_token": None},
    ),
    "access token for another audience": Row(
        client=OTHER_CLIENT,
        header=SIGNED,
        # One audience is a string, not a list. Without the full scope no roles are said, nor `account`.
        claims={
            "iss": ISSUER,
            "typ": "Bearer",
            "aud": "other-api",
            "azp": OTHER_CLIENT,
            "groups": ["improwised:user"],
        },
        lacks=("realm_access", "resource_access", "allowed-origins"),
    ),
    "access token for one second": Row(
        client=SHORT_LIVED_CLIENT,
        header=SIGNED,
        claims={"typ": "Bearer", "aud": [GATEWAY_CLIENT, "account"], "azp": SHORT_LIVED_CLIENT},
        life_seconds=1,
    ),
    "ID token": Row(
        part="id_token",
        header=SIGNED,
        # Its audience is the client: where that is the gateway's audience too, only `typ` tells it apart.
        claims={
            "iss": ISSUER,
            "typ": "ID",
            "aud": GATEWAY_CLIENT,
            "azp": GATEWAY_CLIENT,
            "sub": USER_ID,
            "acr": "1",
            "groups": ["improwised:user"],
            **PROFILE,
        },
        lacks=("nonce", "auth_time", "scope", "realm_access", "resource_access"),
    ),
    "refresh token": Row(
        part="refresh_token",
        header=SECRET,
        claims={"iss": ISSUER, "typ": "Refresh", "aud": ISSUER, "azp": GATEWAY_CLIENT, "sub": USER_ID},
        lacks=("groups", "realm_access", "email"),
        life_seconds=3600,
    ),
    "offline token": Row(
        part="refresh_token",
        scope="openid offline_access",
        header=SECRET,
        claims={"iss": ISSUER, "typ": "Offline", "aud": ISSUER, "azp": GATEWAY_CLIENT},
        lacks=("groups", "realm_access"),
        life_seconds=None,
        answer={"refresh_expires_in": 0},
    ),
}

WRONG_SECRET = {"client_id": GATEWAY_CLIENT, "client_secret": "wrong"}
GATEWAY = {"client_id": GATEWAY_CLIENT, "client_secret": "s0-secret"}
PASSWORD = {"grant_type": "password", "username": "user", "password": "user-password"}

REFUSALS = {
    "wrong password": ({**PASSWORD, **GATEWAY, "password": "wrong"}, 400, "invalid_grant"),
    "unknown user": ({**PASSWORD, **GATEWAY, "username": "nobody"}, 400, "invalid_grant"),
    "no user": ({"grant_type": "password", **GATEWAY}, 401, "invalid_request"),
    "wrong client secret": ({**PASSWORD, **WRONG_SECRET}, 401, "unauthorized_client"),
    "no client secret": ({**PASSWORD, "client_id": GATEWAY_CLIENT}, 401, "unauthorized_client"),
    "unknown client": ({**PASSWORD, "client_id": "nobody", "client_secret": "x"}, 401, "invalid_client"),
    "no client": (PASSWORD, 401, "invalid_client"),
    "unknown grant": ({"grant_type": "magic", **GATEWAY}, 400, "unsupported_grant_type"),
    "no grant": (GATEWAY, 400, "invalid_request"),
    "unknown scope": ({**PASSWORD, **GATEWAY, "scope": "openid nonsense"}, 400, "invalid_scope"),
    "not a refresh token": (
        {"grant_type": "refresh_token", "refresh_token": "a.b.c", **GATEWAY},
        400,
        "invalid_grant",
    ),
    "no service account": (
        {
            "grant_type": "client_credentials",
            "client_id": SHORT_LIVED_CLIENT,
            "client_secret": "short-lived-secret",
        },
        401,
        "unauthorized_client",
    ),
}


class IssuerTable:
    """Inherited by a test class of each provider, whose module or folder has a fixture `realm`."""

    @pytest.mark.parametrize("name", TOKENS)
    def test_a_token_looks_as_in_the_table(self, realm: Realm, name: str) -> None:
        """Header, claims, lifetime and the answer around the token are as the row says."""
        row = TOKENS[name]
        tokens = realm.token(row.user, client=row.client, scope=row.scope)
        token = tokens.answer[row.part]
        header, claims = unverified_header(token), unverified_claims(token)
        assert {key: header.get(key) for key in row.header} == dict(row.header)
        assert {path: _seen(claims, path, row.claims[path]) for path in row.claims} == _expected(row, realm)
        assert [path for path in row.lacks if _at(claims, path) is not None] == []
        assert {key: tokens.answer.get(key) for key in row.answer} == dict(row.answer)
        assert _lives(claims, row.life_seconds)
        assert abs(time.time() - claims["iat"]) < 5

    def test_the_answer_says_how_long_its_tokens_live(self, realm: Realm) -> None:
        """In seconds; a slow request makes them a little less."""
        answer = realm.token("user").answer
        assert 1798 <= answer["expires_in"] <= 1800
        assert 3598 <= answer["refresh_expires_in"] <= 3600
        assert realm.token("user", client=SHORT_LIVED_CLIENT).answer["expires_in"] <= 1

    def test_access_and_id_tokens_verify_with_the_one_signing_key(self, realm: Realm) -> None:
        """Both are signed with the same key, which is in the JWKS with its algorithm and its use."""
        tokens = realm.token("user")
        (key,) = [key for key in realm.jwks() if key["use"] == "sig"]
        for token in (tokens.access, tokens.id):
            assert unverified_header(token)["kid"] == key["kid"]
            assert jwt.decode(token, RSAKey.import_key(key), algorithms=["RS256"]).claims["sub"] == USER_ID

    def test_the_jwks_has_public_keys_for_signing_and_for_encryption(self, realm: Realm) -> None:
        """A reader that ignores `use` would take the key for encryption too; no private part is shown."""
        keys = realm.jwks()
        assert {(key["kty"], key["use"], key["alg"]) for key in keys} == {
            ("RSA", "sig", "RS256"),
            ("RSA", "enc", "RSA-OAEP"),
        }
        assert [key["kid"] for key in keys if {"d", "p", "q", "k"} & set(key)] == []

    def test_the_key_of_a_refresh_token_is_not_in_the_jwks(self, realm: Realm) -> None:
        """A refresh token is for its issuer only: nobody else can verify it."""
        assert unverified_header(realm.token("user").refresh)["kid"] not in {
            key["kid"] for key in realm.jwks()
        }

    def test_an_id_token_is_bound_to_its_access_token(self, realm: Realm) -> None:
        """`at_hash` is the left half of the hash of the access token (OpenID Connect Core 3.1.3.6)."""
        tokens = realm.token("user")
        half = hashlib.sha256(tokens.access.encode()).digest()[:16]
        expected = base64.urlsafe_b64encode(half).rstrip(b"=").decode()
        assert unverified_claims(tokens.id)["at_hash"] == expected

    def test_the_tokens_of_one_answer_share_a_session(self, realm: Realm) -> None:
        """`sid` is the same in all three and in the answer, another one at the next login; `jti` never repeats."""
        first, second = realm.token("user"), realm.token("user")
        claims = [unverified_claims(token) for token in (first.access, first.id, first.refresh)]
        assert {claim["sid"] for claim in claims} == {first.answer["session_state"]}
        assert second.answer["session_state"] != first.answer["session_state"]
        assert len({claim["jti"] for claim in claims} | {unverified_claims(second.access)["jti"]}) == 4

    def test_discovery_names_keycloaks_endpoints(self, realm: Realm) -> None:
        """The issuer is what was asked for, and each endpoint is below it."""
        document = realm.discovery()
        base = f"{realm.issuer}/protocol/openid-connect"
        assert document["issuer"] == realm.issuer
        assert document["token_endpoint"] == f"{base}/token"
        assert document["jwks_uri"] == f"{base}/certs"
        assert document["userinfo_endpoint"] == f"{base}/userinfo"
        assert {"password", "client_credentials", "refresh_token"} <= set(document["grant_types_supported"])
        assert "RS256" in document["id_token_signing_alg_values_supported"]

    def test_keys_are_not_to_be_cached_and_tokens_not_to_be_stored(self, realm: Realm) -> None:
        """The JWKS answers `no-cache`, the token endpoint `no-store`."""
        assert realm.get("certs").headers["cache-control"] == "no-cache"
        asked = realm.ask(grant_type="client_credentials", **realm.credentials(GATEWAY_CLIENT))
        assert asked.status_code == 200
        assert asked.headers["cache-control"] == "no-store"

    def test_a_refresh_gives_new_tokens_of_the_same_session(self, realm: Realm) -> None:
        """The refresh token does not rotate: it works a second time, and the session stays the same."""
        first = realm.token("user")
        for renewed in (realm.refreshed(first), realm.refreshed(first)):
            assert _identity(renewed) == _identity(first)
            assert renewed.access != first.access
            assert unverified_claims(renewed.access)["groups"] == ["improwised:user"]
            assert unverified_claims(renewed.refresh)["typ"] == "Refresh"

    def test_a_refresh_token_is_for_its_own_client(self, realm: Realm) -> None:
        """Another client of the realm cannot use it, and an access token is none."""
        tokens = realm.token("user")
        other = realm.credentials(OTHER_CLIENT)
        stolen = realm.ask(grant_type="refresh_token", refresh_token=tokens.refresh, **other)
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
        confused = realm.ask(grant_type="refresh_token", refresh_token=tokens.access, **GATEWAY)
        assert (confused.status_code, confused.json()["error"]) == (400, "invalid_grant")

    @pytest.mark.parametrize("name", REFUSALS)
    def test_a_request_that_is_refused_says_why(self, realm: Realm, name: str) -> None:
        """Status and `error` are as in the table."""
        form, status, error = REFUSALS[name]
        answer = realm.ask(**form)
        assert (answer.status_code, answer.json()["error"]) == (status, error)

    def test_userinfo_is_for_the_bearer_of_an_access_token(self, realm: Realm) -> None:
        """It says who the user is; without a token, or with one that is none, it is 401."""
        tokens = realm.token("user")
        assert realm.get("userinfo", tokens.access).json() == {
            "sub": USER_ID,
            "groups": ["improwised:user"],
            **PROFILE,
        }
        for token in ("", "nonsense", tokens.id, tokens.refresh):
            refused = realm.get("userinfo", token)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")


def _identity(tokens: Tokens) -> tuple[str, str, str]:
    claims = unverified_claims(tokens.access)
    return claims["sub"], claims["sid"], claims["azp"]


def _expected(row: Row, realm: Realm) -> dict[str, Any]:
    return {path: realm.issuer if value == ISSUER else value for path, value in row.claims.items()}


def _seen(claims: Mapping[str, Any], path: str, expected: object) -> Any:
    """The claim; as a set where a set is expected."""
    value = _at(claims, path)
    if not isinstance(expected, set) or value is None:
        return value
    return set(value.split() if isinstance(value, str) else value)


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None when there is none."""
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _lives(claims: Mapping[str, Any], seconds: int | None) -> bool:
    if seconds is None:
        return "exp" not in claims
    # Real Keycloak takes `exp` from the start of the request: a slow one makes it a second or two shorter.
    return claims["exp"] - claims["iat"] in range(seconds - 2, seconds + 1)
