"""Real Keycloak logs people in and out by the table that the built-in provider is held to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.idp_login_table import LoginTable, Serve
from tests.parts.keycloak import Keycloak

pytestmark = pytest.mark.timeout(300)


class TestKeycloakLogin(LoginTable):
    """On one server, which gets each realm by its admin API."""

    @pytest.fixture(scope="class")
    @classmethod
    def serve(cls, keycloak: Keycloak) -> Serve:
        def serve(realm: dict[str, Any]) -> str:
            keycloak.admin("POST", "", realm)
            return keycloak.issuer(realm["realm"])

        return serve
