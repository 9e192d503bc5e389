"""Mappers: the cases that the table of whole tokens does not reach."""

from __future__ import annotations

from typing import Any

import pytest

from wardgate.idp.mappers import Draft, Subject, Target, apply, origins
from wardgate.idp.reading import realm_of
from wardgate.idp.realm import Client, Group, Mapper, Realm, RoleName, User


def written(
    mappers: list[Mapper],
    *,
    target: Target = Target.ACCESS,
    roles: frozenset[RoleName] = frozenset(),
    attributes: dict[str, tuple[str, ...]] | None = None,
    **user: Any,
) -> Draft:
    """What the mappers write about a user."""
    realm: Realm = realm_of('{"realm": "r", "enabled": true, "groups": [{"name": "g"}]}')
    subject = Subject(
        realm=realm,
        client=Client(id="c"),
        user=User(id="u-1", username="u", enabled=True, attributes=attributes or {}, **user),
        roles=roles,
        notes={"sid": "s-1"},
    )
    draft = Draft(target)
    apply(mappers, draft, subject)
    return draft


def mapper(kind: str, **config: str) -> Mapper:
    """A mapper for every target, with dots for double underscores in its settings."""
    everywhere = {str(target): "true" for target in Target}
    return Mapper(
        name="m",
        kind=kind,
        config=everywhere | {key.replace("__", "."): value for key, value in config.items()},
    )


def hardcoded(path: str, value: str, kind: str = "String") -> Mapper:
    return mapper("oidc-hardcoded-claim-mapper", claim__name=path, claim__value=value, jsonType__label=kind)


def test_paths() -> None:
    """Dots nest, an escaped dot does not, and a claim in the way is left alone."""
    mappers = [
        hardcoded("a.b.c", "1"),
        hardcoded("a.b.d", "2"),
        hardcoded("x\\.y", "3"),
        hardcoded("x\\.y.z", "4"),
    ]
    assert written(mappers).claims == {"a": {"b": {"c": "1", "d": "2"}}, "x.y": "3"}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("String", "5", "5"),
        ("int", "5", 5),
        ("long", "-5", -5),
        ("boolean", "True", True),
        ("boolean", "yes", False),
        ("JSON", "[1]", [1]),
    ],
)
def test_types(kind: str, text: str, value: object) -> None:
    """A value has the JSON type that its mapper says."""
    assert written([hardcoded("x", text, kind)]).claims == {"x": value}


@pytest.mark.parametrize(("kind", "text"), [("int", "five"), ("JSON", "{")])
def test_a_value_that_is_not_of_its_type(kind: str, text: str) -> None:
    """A value that is not of its type is left out."""
    assert written([hardcoded("x", text, kind)]).claims == {}


def test_client_ids_with_dots_do_not_nest() -> None:
    """The place of a client's roles is under its whole id."""
    roles = frozenset({RoleName("my.app", "user")})
    found = written(
        [
            mapper(
                "oidc-usermodel-client-role-mapper",
                claim__name="resource_access.${client_id}.roles",
                multivalued="true",
            )
        ],
        roles=roles,
    )
    assert found.claims == {"resource_access": {"my.app": {"roles": ["user"]}}}


def test_targets() -> None:
    """A mapper writes where its settings say; audiences of roles only into access tokens."""
    roles = frozenset({RoleName("api", "user")})
    resolve = mapper("oidc-audience-resolve-mapper")
    assert written([resolve], roles=roles).audiences == ["api"]
    assert written([resolve], roles=roles, target=Target.ID).audiences == []
    only_id = Mapper(
        name="m",
        kind="oidc-hardcoded-claim-mapper",
        config={"claim.name": "x", "claim.value": "1", "id.token.claim": "true"},
    )
    assert written([only_id]).claims == {}
    assert written([only_id], target=Target.ID).claims == {"x": "1"}
    assert written([only_id], target=Target.USERINFO).claims == {"x": "1"}


def test_address_and_session_state() -> None:
    """An address is one object of the parts that the user has; a session mapper names the session."""
    found = written(
        [mapper("oidc-address-mapper"), mapper("oidc-session-state-mapper")],
        attributes={"street": ("Main St 1",), "country": ("SE",)},
    )
    assert found.claims == {
        "address": {"street_address": "Main St 1", "country": "SE"},
        "session_state": "s-1",
    }


def test_no_groups_no_claim() -> None:
    """Without groups there is no claim, not an empty list."""
    groups = mapper("oidc-group-membership-mapper", claim__name="groups", full__path="false")
    assert written([groups]).claims == {}
    assert written([groups], groups=("/g",)).claims == {"groups": ["g"]}


def test_an_unknown_mapper_writes_nothing() -> None:
    """A kind that is not known adds nothing."""
    assert written([mapper("script-x.js", claim__name="x")]).claims == {}


def test_origins() -> None:
    """`+` stands for the origins of the redirect URIs, once each."""
    uris = ["https://a.example/*", "https://a.example/cb", "/relative", "http://b.example:8080/*"]
    assert origins(["+", "https://c.example"], uris) == (
        "https://a.example",
        "http://b.example:8080",
        "https://c.example",
    )


def test_group_names() -> None:
    """A group's name is the end of its path."""
    assert Group(path="/company/sales").name == "sales"
