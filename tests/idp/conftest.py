"""The built-in provider with S0's realm, once for a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.realm import S0_REALM, Realm
from wardgate.idp import IdpServer


@pytest.fixture(scope="module")
def idp() -> Iterator[IdpServer]:
    """A serving provider. A test that changes it (keys, clock) starts one of its own."""
    with IdpServer(S0_REALM) as server:
        yield server


@pytest.fixture(scope="module")
def realm(idp: IdpServer) -> Iterator[Realm]:
    """Its realm, over HTTP."""
    with Realm(idp.base_url) as realm:
        yield realm
