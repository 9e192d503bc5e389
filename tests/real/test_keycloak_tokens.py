"""Real Keycloak, with S0's realm imported, gives the tokens that the rest of the tests build on."""

from __future__ import annotations

import pytest

from tests.idp_table import IssuerTable
from tests.parts.keycloak import Keycloak
from tests.realm import Realm, unverified_header

# The first test waits for the server, and where nothing is prepared for the import too.
pytestmark = pytest.mark.timeout(300)


class TestKeycloak(IssuerTable):
    """The table, against real Keycloak."""


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
