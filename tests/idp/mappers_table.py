"""
What a realm that uses every mapper puts into tokens, and what else differs by user and client.

    class TestMappers(MappersTable): ...

with a fixture `realm` for `tests/realms/mappers.json`. Written down from real Keycloak 26.7.3, as
`tests/idp_table.py` is; any provider must match.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.realm import Realm, unverified_claims, unverified_header

MAPPERS_REALM = Path(__file__).resolve().parents[1] / "realms" / "mappers.json"

ALICE = "0a4c1f3e-6f0b-4c59-9d53-6a4f0e3a1001"
BOB = "0a4c1f3e-6f0b-4c59-9d53-6a4f0e3a1002"

# Claims that every token has and that say nothing about mappers.
ENVELOPE = {"exp", "iat", "jti", "iss", "sid", "typ", "azp", "acr", "at_hash"}

ALICE_PROFILE = {
    "name": "Alice Åström",
    "preferred_username": "alice",
    "given_name": "Alice",
    "family_name": "Åström",
    "email": "alice@mappers.example",
    "email_verified": True,
}
BOB_PROFILE = {
    "name": "Bob Bell",
    "preferred_username": "bob",
    "given_name": "Bob",
    "family_name": "Bell",
    "email": "bob@mappers.example",
    "email_verified": False,
}
ALICE_REALM_ROLES = {
    *("auditor", "default-roles-mappers", "editor", "offline_access", "reader"),
    *("uma_authorization", "writer"),
}
ACCOUNT_ROLES = {"manage-account", "manage-account-links", "view-profile"}

EVERYONE_OF_FULL = {
    "https://example.com/tenant": "acme",
    "tier": 2,
    "beta": True,
    "limits": {"rps": 5, "zones": {"a"}},
    "allowed-origins": {"https://app.example", "https://other.example"},
}

# (client, user, scope) -> the access token's claims without the envelope; lists and `scope` as sets.
ACCESS: Mapping[tuple[str, str, str], Mapping[str, Any]] = {
    ("full", "alice", "openid"): {
        "sub": ALICE,
        "aud": {"urn:orders", "api", "account"},
        "scope": {"openid", "email", "profile"},
        "realm_access": {"roles": ALICE_REALM_ROLES},
        "resource_access": {
            "api": {"roles": {"publish", "purge"}},
            "account": {"roles": ACCOUNT_ROLES},
            "full": {"roles": {"operator"}},
        },
        "groups": {"/company/engineering"},
        "dept": "engineering",
        "teams": {"red", "blue"},
        "all_teams": {"red", "blue", "everyone"},
        "team": "red",
        "badge": 42,
        "badge_long": 42,
        "contractor": False,
        "preferences": {"theme": "dark"},
        "org": {"region": "emea", "floor": 3},
        "roles": {f"r:{role}" for role in ALICE_REALM_ROLES},
        "api_roles": {"api-purge", "api-publish"},
        "merged": {"roles": ALICE_REALM_ROLES | ACCOUNT_ROLES | {"publish", "purge", "operator"}},
        "operator_text": "operator",
        "login": "alice",
        **EVERYONE_OF_FULL,
        **ALICE_PROFILE,
    },
    # Attributes that a user lacks come from the nearest group above.
    ("full", "bob", "openid profile"): {
        "sub": BOB,
        "aud": "urn:orders",
        "scope": {"openid", "email", "profile"},
        "realm_access": {"roles": {"auditor"}},
        "groups": {"/company", "/company/sales"},
        "teams": {"everyone"},
        "all_teams": {"everyone"},
        "team": "everyone",
        "org": {"region": "emea"},
        "roles": {"r:auditor"},
        "merged": {"roles": {"auditor"}},
        "login": "bob",
        **EVERYONE_OF_FULL,
        **BOB_PROFILE,
    },
    # A service account that the file brings as a user: no default roles, and no client_id in the token.
    ("full", "", ""): {
        "aud": "urn:orders",
        "scope": {"email", "profile"},
        "realm_access": {"roles": {"auditor", "reader"}},
        "groups": {"/company/sales"},
        "teams": {"everyone"},
        "all_teams": {"everyone"},
        "team": "everyone",
        "org": {"region": "emea"},
        "roles": {"r:auditor", "r:reader"},
        "merged": {"roles": {"auditor", "reader"}},
        "login": "service-account-full",
        "preferred_username": "service-account-full",
        "email_verified": False,
        **EVERYONE_OF_FULL,
    },
    # Without full scope: what is mapped to the client, with what it is composed of, and held by the user.
    ("narrow", "alice", ""): {
        "sub": ALICE,
        "aud": {"api", "account"},
        "scope": {"email", "profile"},
        "realm_access": {"roles": {"editor", "reader", "writer"}},
        "resource_access": {"api": {"roles": {"publish"}}, "account": {"roles": {"view-profile"}}},
        **ALICE_PROFILE,
    },
    ("narrow", "bob", ""): {"sub": BOB, "scope": {"email", "profile"}, **BOB_PROFILE},
    # No audience mapper: the clients of whose roles the user has any.
    ("no-mappers", "alice", "openid email"): {
        "sub": ALICE,
        "aud": {"api", "account", "full"},
        "scope": {"openid", "email", "profile"},
        "realm_access": {"roles": ALICE_REALM_ROLES},
        "resource_access": {
            "api": {"roles": {"publish", "purge"}},
            "account": {"roles": ACCOUNT_ROLES},
            "full": {"roles": {"operator"}},
        },
        **ALICE_PROFILE,
    },
    ("no-mappers", "bob", ""): {
        "sub": BOB,
        "scope": {"email", "profile"},
        "realm_access": {"roles": {"auditor"}},
        **BOB_PROFILE,
    },
    ("no-mappers", "bob", "microprofile-jwt phone address"): {
        "sub": BOB,
        "scope": {"email", "profile", "microprofile-jwt", "phone", "address"},
        "realm_access": {"roles": {"auditor"}},
        "upn": "bob",
        "groups": {"auditor"},
        **BOB_PROFILE,
    },
}

# (client, user, password, scope) -> status, error, description.
REFUSED = {
    ("no-mappers", "bob", "bob-password", "offline_access"): (
        400,
        "not_allowed",
        "Offline tokens not allowed for the user or client",
    ),
    ("no-mappers", "carol", "carol-password", "openid"): (400, "invalid_grant", "Account disabled"),
    ("no-mappers", "carol", "wrong", "openid"): (400, "invalid_grant", "Invalid user credentials"),
    ("no-mappers", "dave", "dave-password", "openid"): (400, "invalid_grant", "Account is not fully set up"),
    ("no-mappers", "dave", "wrong", "openid"): (400, "invalid_grant", "Invalid user credentials"),
    ("no-mappers", "alice", "alice-password", ""): (400, "invalid_scope", "Invalid scopes: "),
    ("switched-off", "alice", "alice-password", ""): (
        401,
        "invalid_client",
        "Invalid client or Invalid client credentials",
    ),
    ("no-direct", "alice", "alice-password", ""): (
        400,
        "unauthorized_client",
        "Client not allowed for direct access grants",
    ),
    ("api", "alice", "alice-password", ""): (400, "invalid_client", "Bearer-only not allowed"),
    ("no-mappers", "alice", "alice-password", "nope"): (400, "invalid_scope", "Invalid scopes: nope"),
}


class MappersTable:
    """Inherited by a test class of each provider, which has a fixture `realm`."""

    @pytest.mark.parametrize("key", ACCESS, ids=lambda key: "-".join(key) or "none")
    def test_access_tokens(self, realm: Realm, key: tuple[str, str, str]) -> None:
        """An access token holds exactly the claims of the table, and none else."""
        client, user, scope = key
        claims = unverified_claims(realm.token(user, client=client, scope=scope).access)
        if not user:
            del claims["sub"]  # made at the import
        assert _mapped(claims) == ACCESS[key]

    def test_id_token_and_userinfo(self, realm: Realm) -> None:
        """Only mappers that say so write into the ID token and into userinfo."""
        tokens = realm.token("alice", client="full", scope="openid")
        mapped = {"tier": 2, "dept": "engineering", "sub": ALICE, **ALICE_PROFILE}
        assert _mapped(unverified_claims(tokens.id)) == {"aud": {"full", "urn:orders"}, **mapped}
        assert realm.get("userinfo", tokens.access).json() == mapped

    def test_header_type_of_rfc_9068(self, realm: Realm) -> None:
        """A client may ask for the header type `at+jwt`; others have JWT."""
        assert unverified_header(realm.token("alice", client="narrow").access)["typ"] == "at+jwt"
        assert unverified_header(realm.token("alice", client="full").access)["typ"] == "JWT"

    def test_lifespans(self, realm: Realm) -> None:
        """The realm's lifespans are in force where a client sets none."""
        answer = realm.token("alice", client="full").answer
        assert 598 <= answer["expires_in"] <= 600
        assert 1198 <= answer["refresh_expires_in"] <= 1200

    def test_login_names(self, realm: Realm) -> None:
        """A username in any letter case and the e-mail address name the same user."""
        for name in ("alice", "ALICE", "alice@mappers.example", "Alice@Mappers.Example"):
            form = {"username": name, "password": "alice-password", **realm.credentials("no-mappers")}
            answer = realm.ask(grant_type="password", **form)
            assert unverified_claims(answer.json()["access_token"])["sub"] == ALICE

    @pytest.mark.parametrize("key", REFUSED, ids=lambda key: f"{key[0]}-{key[1]}-{key[3]}")
    def test_refusals(self, realm: Realm, key: tuple[str, str, str, str]) -> None:
        """Each refusal has Keycloak's status and words."""
        client, user, password, scope = key
        form = {"username": user, "password": password, **realm.credentials(client)}
        answer = realm.ask(grant_type="password", scope=scope, **form)
        body = answer.json()
        assert (answer.status_code, body["error"], body["error_description"]) == REFUSED[key]

    def test_public_clients_have_no_account(self, realm: Realm) -> None:
        """A public client gets no tokens of its own."""
        answer = realm.ask(grant_type="client_credentials", client_id="no-mappers")
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized_client")


def _mapped(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims without the envelope, and with sets for lists and for `scope`."""
    kept = {name: _unordered(value) for name, value in claims.items() if name not in ENVELOPE}
    if "scope" in kept:
        kept["scope"] = set(kept["scope"].split())
    return kept


def _unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unordered(inner) for name, inner in value.items()}
    return set(value) if isinstance(value, list) else value
