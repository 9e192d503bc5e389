"""An issuer and an application for every test here; gateways belong to the files that use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.echo import Echo
from wardgate.idp import IdpServer

Minted = Callable[..., str]


@pytest.fixture(scope="session")
def idp() -> Iterator[IdpServer]:
    with IdpServer() as server:
        yield server


@pytest.fixture(scope="session")
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


@pytest.fixture(scope="session")
def token(idp: IdpServer) -> str:
    """A good token of the user `user`, who has the role `user`."""
    return idp.token("user")


@pytest.fixture(scope="session")
def minted(idp: IdpServer) -> Minted:
    """`minted("admin", role)`: a token of somebody who has just that realm role; other claims by name."""

    def mint(username: str, *roles: str, **claims: Any) -> str:
        return idp.mint(idp.claims("user") | {"sub": username, "realm_access": {"roles": roles}} | claims)

    return mint


Content = dict[str, Any]


@pytest.fixture(scope="session")
def simple(idp: IdpServer, echo: Echo) -> Content:
    """A whole configuration: `/open/**` is public, `/admin/**` for admins, everything else for users."""
    return {
        "provider": {"issuer": idp.issuer, "audience": "demo-gateway"},
        "upstream": echo.url,
        "identity-headers": {"X-Person": "preferred_username", "X-Groups": "groups"},
        "routes": [
            {"path": "/open/**", "public": True},
            {"path": "/admin/**", "roles": ["admin"]},
            {"path": "/**", "roles": ["user"]},
        ],
    }
