"""Real Keycloak with the realms of the tests, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.keycloak import Keycloak
from tests.realm import Realm


@pytest.fixture(scope="session")
def keycloak() -> Iterator[Keycloak]:
    """A running server. A test that changes its realms starts one of its own."""
    with Keycloak.start() as server:
        yield server


@pytest.fixture(scope="session")
def realm(keycloak: Keycloak) -> Iterator[Realm]:
    """S0's realm on it."""
    with Realm(keycloak.url) as realm:
        yield realm
