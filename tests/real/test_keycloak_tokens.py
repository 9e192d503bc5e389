"""Real Keycloak gives the tokens that the tables say, on which the quick tests build."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.idp.mappers_table import MAPPERS_REALM, MappersTable
from tests.idp_table import IssuerTable
from tests.parts.keycloak import Keycloak
from tests.realm import Realm, unverified_header

# The first test waits for the server, and where nothing is prepared for the import too.
pytestmark = pytest.mark.timeout(300)


class TestKeycloak(IssuerTable):
    """S0's realm."""


class TestMappers(MappersTable):
    """The realm that uses every mapper."""

    @pytest.fixture(scope="class")
    @classmethod
    def realm(cls, keycloak: Keycloak) -> Iterator[Realm]:
        with Realm(keycloak.url, MAPPERS_REALM) as realm:
            yield realm


def test_a_rotated_key_signs_at_once_and_the_old_one_stays_until_it_is_disabled() -> None:
    """After a rotation new tokens have a new kid; the old key is in the JWKS, unless it was to leave."""
    with Keycloak.start() as own, Realm(own.url) as realm:
        before = unverified_header(realm.token("user").access)["kid"]
        own.rotate_key(realm.name)
        after = unverified_header(realm.token("user").access)["kid"]
        assert after != before
        assert {before, after} <= {key["kid"] for key in realm.jwks()}
        own.rotate_key(realm.name, keep_old=False)
        assert not {before, after} & {key["kid"] for key in realm.jwks()}
