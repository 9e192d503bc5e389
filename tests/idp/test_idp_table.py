"""The built-in provider cannot be told from real Keycloak by the tables that both must match."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.idp.mappers_table import MAPPERS_REALM, MappersTable
from tests.idp_table import IssuerTable
from tests.realm import S0_REALM, Realm
from wardgate.idp import IdpServer


class TestIdpServer(IssuerTable):
    """S0's realm."""


class TestIdpServerUnderABasePath(IssuerTable):
    """S0's realm, below `/auth` as in Keycloak before 17."""

    @pytest.fixture(scope="class")
    @classmethod
    def realm(cls) -> Iterator[Realm]:
        with IdpServer(S0_REALM, base_path="/auth") as idp, Realm(idp.base_url) as realm:
            assert realm.issuer.endswith("/auth/realms/improwised-production")
            yield realm


class TestMappers(MappersTable):
    """The realm that uses every mapper."""

    @pytest.fixture(scope="class")
    @classmethod
    def realm(cls) -> Iterator[Realm]:
        with IdpServer(MAPPERS_REALM) as idp, Realm(idp.base_url, MAPPERS_REALM) as realm:
            yield realm
