"""The built-in provider logs people in and out like real Keycloak, by the table that both must match."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.idp_login_table import LoginTable, Serve
from wardgate.idp import IdpServer, realm_of


class TestIdpServerLogin(LoginTable):
    """On a server for each realm."""

    @pytest.fixture(scope="class")
    @classmethod
    def serve(cls) -> Iterator[Serve]:
        with contextlib.ExitStack() as servers:

            def serve(realm: dict[str, Any]) -> str:
                return servers.enter_context(IdpServer(realm_of(json.dumps(realm)))).issuer

            yield serve
