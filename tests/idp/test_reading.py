"""Realm files: what is read, what is refused with its line, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.realm import S0_REALM
from wardgate.idp import default_realm, read_realm, realm_of
from wardgate.idp.realm import Realm, RoleName
from wardgate.problems import ConfigError

MAPPERS_REALM = S0_REALM.with_name("mappers.json")


def realm_text(**members: Any) -> str:
    """A small realm as indented JSON, so that lines mean something."""
    return json.dumps({"realm": "r", "enabled": True} | members, indent=1)


def complaints(text: str | bytes) -> str:
    """Every problem that the text is refused for."""
    with pytest.raises(ConfigError) as caught:
        realm_of(text, "realm.json")
    return str(caught.value)


def warnings(realm: Realm) -> list[str]:
    return [problem.code for problem in realm.warnings]


def test_the_realms_that_others_rely_on_raise_no_warning() -> None:
    """S0's realm, the realm of mappers and the built-in one are read without a word."""
    for realm in (read_realm(S0_REALM), read_realm(MAPPERS_REALM), default_realm()):
        assert realm.warnings == ()


def test_roles_of_a_user() -> None:
    """A user's roles: given, by group and the groups above, by composition."""
    realm = read_realm(MAPPERS_REALM)
    alice, bob = realm.user("alice"), realm.user("bob")
    assert alice is not None
    assert bob is not None
    assert {role.name for role in realm.roles_of(bob)} == {"auditor"}
    roles = realm.roles_of(alice)
    assert {RoleName("", "writer"), RoleName("api", "publish"), RoleName("full", "operator")} <= roles
    assert RoleName("account", "manage-account-links") in roles


def test_composites_may_go_round() -> None:
    """Two roles composed of each other are both had, and nothing hangs."""
    realm = realm_of(
        realm_text(
            roles={
                "realm": [
                    {"name": "a", "composites": {"realm": ["b"]}},
                    {"name": "b", "composites": {"realm": ["a"]}},
                ]
            }
        )
    )
    assert realm.expanded([RoleName("", "a")]) == {RoleName("", "a"), RoleName("", "b")}


def test_defaults_of_a_client() -> None:
    """Full scope, no direct grants, the realm's scopes: as Keycloak's import has it."""
    realm = realm_of(realm_text(clients=[{"clientId": "c", "secret": "s"}]))
    client = realm.clients["c"]
    assert client.enabled
    assert client.role_scope is None
    assert not client.direct_access
    assert client.service_account is None
    assert set(client.default_scopes) == {"profile", "email", "roles", "web-origins", "acr", "basic"}


def test_ids_that_the_file_does_not_give_are_stable() -> None:
    """A user without an id has the same one at each start."""
    text = realm_text(users=[{"username": "u", "enabled": True}])
    first, second = realm_of(text).user("u"), realm_of(text).user("u")
    assert first is not None
    assert first == second
    assert len(first.id) == 36


def test_secrets_do_not_print() -> None:
    """Neither passwords nor client secrets are in the text of a realm."""
    assert "user-password" not in repr(read_realm(S0_REALM))
    assert "s0-secret" not in repr(read_realm(S0_REALM))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "realm.json:1: is not JSON"),
        ("realm: r\n", "realm.json:1: is not JSON"),
        ('{\n"realm": "r",\n}', "realm.json:3: is not JSON"),
        (b"\xff\xfe", "not JSON text in UTF-8"),
        ("[]", "holds a list of 0 realms"),
        ("5", "expected one JSON object"),
        ("[" * 100_000, "is not JSON"),
        ('{"realm": "r"}', "realm.json:1: enabled: the realm is disabled"),
        ('{"enabled": true}', "realm: field required"),
        (realm_text(realm="a/b"), "realm.json:2: realm: "),
        (realm_text(accessTokenLifespan=0), "accessTokenLifespan: input should be greater than 0, got 0"),
        (realm_text(clients=[{}]), "clients[0].clientId: field required"),
        (realm_text(clients=[{"clientId": "c"}]), "clients[0]: the client 'c' has no secret"),
        (realm_text(clients=[{"clientId": "c", "secret": 7}]), "clients[0].secret: input should be a valid"),
        (
            realm_text(
                clients=[
                    {
                        "clientId": "c",
                        "publicClient": True,
                        "attributes": {"access.token.lifespan": "soon"},
                    }
                ]
            ),
            "attributes.access.token.lifespan: must be a number of seconds, got 'soon' [realm-invalid]",
        ),
        (realm_text(users=[{"username": "u", "groups": ["/stuff"]}], groups=[{"name": "staff"}]), "/staff"),
        (realm_text(users=[{"username": "u", "clientRoles": {"nope": ["x"]}}]), "there is no client"),
        (realm_text(users=[{"username": "u"}, {"username": "U"}]), "the user 'u' is given twice"),
        (
            realm_text(clients=[{"clientId": "c", "publicClient": True, "defaultClientScopes": ["emial"]}]),
            "did you mean 'email'?",
        ),
    ],
)
def test_refused(text: str | bytes, expected: str) -> None:
    """A file that is no realm, or that names what is not there, is refused with place and hint."""
    assert expected in complaints(text)


def test_all_problems_at_once_with_their_lines() -> None:
    """Every problem is in one answer, each with the line it is at."""
    text = realm_text(
        clients=[{"clientId": "a"}, {"clientId": "b"}], users=[{"username": "u", "groups": ["x"]}]
    )
    with pytest.raises(ConfigError) as caught:
        realm_of(text)
    places = [(problem.code, problem.where.path) for problem in caught.value.problems]
    assert places == [
        ("realm-client-secret", "clients[0]"),
        ("realm-client-secret", "clients[1]"),
        ("realm-reference", "users[0].groups[0]"),
    ]
    lines = text.splitlines()
    assert '"x"' in lines[caught.value.problems[2].where.line - 1]


def test_a_secret_of_a_wrong_type_is_not_shown() -> None:
    """A problem about a secret names the place, not the value."""
    text = realm_text(clients=[{"clientId": "c", "secret": 424242}])
    assert "424242" not in complaints(text)


def test_tabs_do_not_hide_lines() -> None:
    """A file indented with tabs has its lines too."""
    text = '{\n\t"realm": "r",\n\t"enabled": true,\n\t"users": [\n\t\t{"username": 5}\n\t]\n}'
    assert "realm.json:5: users[0].username" in complaints(text)


def test_an_unreadable_file() -> None:
    """A file that is not there is a problem, not a crash."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_realm(Path("no-such-realm.json"))


def test_what_is_not_supported_is_said() -> None:
    """Unknown mappers, hashed passwords and undefined roles are warnings with a place."""
    realm = realm_of(
        realm_text(
            clients=[
                {
                    "clientId": "c",
                    "publicClient": True,
                    "protocolMappers": [{"name": "js", "protocolMapper": "script-thing.js", "config": {}}],
                }
            ],
            users=[
                {
                    "username": "u",
                    "enabled": True,
                    "realmRoles": ["made-up"],
                    "credentials": [{"type": "password", "secretData": "{}", "credentialData": "{}"}],
                }
            ],
        )
    )
    assert warnings(realm) == ["realm-mapper-unsupported", "realm-password-hashed", "realm-role-undefined"]
    assert all(problem.where.line > 1 for problem in realm.warnings)
    user = realm.user("u")
    assert user is not None
    assert user.password is None
    assert RoleName("", "made-up") in realm.roles_of(user)


def test_a_file_with_its_own_client_scopes() -> None:
    """As in an export: the file's scopes replace the built-in ones, and the realm's lists are in force."""
    mapper = {
        "name": "t",
        "protocolMapper": "oidc-hardcoded-claim-mapper",
        "config": {"claim.name": "tenant", "claim.value": "acme", "access.token.claim": "true"},
    }
    realm = realm_of(
        realm_text(
            clientScopes=[
                {"name": "tenant", "protocol": "openid-connect", "protocolMappers": [mapper]},
                {"name": "quiet", "attributes": {"include.in.token.scope": "false"}},
                {"name": "role_list", "protocol": "saml"},
            ],
            defaultDefaultClientScopes=["tenant", "role_list"],
            defaultOptionalClientScopes=["quiet"],
            clients=[{"clientId": "c", "publicClient": True}, {"clientId": "s", "protocol": "saml"}],
        )
    )
    assert list(realm.clients) == ["c"]
    assert realm.clients["c"].default_scopes == ("tenant",)
    assert realm.clients["c"].optional_scopes == ("quiet",)
    assert realm.scopes["tenant"].shown
    assert not realm.scopes["quiet"].shown
