"""`wardgate run` on a role mapping: the file changes while other proxies ask, and an error in it opens nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.holding.running import NOT_TAKEN, Running
from tests.parts.loopback import free_port
from tests.sending import send
from tests.service.issuer import wait_for
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-role-mapping")

MAPPING = """# who may do what
/api/v1/admin: [admin]
/api/v1: [user, admin]
/v3/api-docs: []
"""
WRONG = """# who may do what
/api/v1/admin: admin
api/v1: []
/v3/api-docs: []
/new: []
"""


class Mapped(Running):
    def text(self, content: object) -> str:
        return MAPPING


@pytest.fixture(scope="module")
def issuer() -> Iterator[IdpServer]:
    with IdpServer() as server:
        yield server


@pytest.fixture
def gateway(issuer: IdpServer, tmp_path: Path) -> Iterator[Mapped]:
    server, _, realm = issuer.issuer.partition("/realms/")
    environment = {
        "KEYCLOAK_URL": server,
        "KEYCLOAK_REALM": realm,
        "WARDGATE_TRUSTED_PROXIES": "127.0.0.1/32",
    }
    port = free_port()
    addresses = ("--set", f"listen=127.0.0.1:{port}", "--set", f"admin=127.0.0.1:{free_port()}")
    with Mapped(tmp_path, {}, *addresses, env=environment, port=port) as running:
        yield running


def asked(gateway: Mapped, path: str, source: str = "127.0.0.1") -> tuple[int, str]:
    headers = [
        ("Host", "gate"),
        ("Connection", "close"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "app.test"),
        ("X-Forwarded-Uri", path),
    ]
    answer = send(gateway.port, "GET", "/auth", headers, source=source)
    return answer.status, answer.body.decode()


def test_it_answers_in_the_words_of_the_original(gateway: Mapped) -> None:
    """Its bodies, for who may and who may not; and nobody else is answered at all."""
    assert asked(gateway, "/v3/api-docs/x") == (
        200,
        '{"message": "Public access granted", "user_id": null, "roles": []}',
    )
    assert asked(gateway, "/api/v1/x") == (401, '{"detail":"Missing or malformed Authorization header"}\n')
    assert asked(gateway, "/elsewhere")[0] == 401
    status, body = asked(gateway, "/v3/api-docs/x", source="127.0.0.2")
    assert (status, "trusted-proxies" in body) == (403, True)


def test_an_error_in_the_mapping_changes_nothing(gateway: Mapped) -> None:
    """It is said with file and line, what was in force stays, and nothing that the new file says is open."""
    gateway.write(WRONG)
    gateway.hang_up()
    wait_for(lambda: gateway.said(NOT_TAKEN), "the refusal")
    told = [event["text"] for event in gateway.said("problem")]
    assert any(text.startswith(f"{gateway.file}:2: /api/v1/admin: is no list of roles") for text in told), (
        told
    )
    assert any(text.startswith(f"{gateway.file}:3: api/v1: a URL prefix starts with /") for text in told), (
        told
    )
    assert asked(gateway, "/v3/api-docs/x")[0] == 200
    assert asked(gateway, "/api/v1/x")[0] == asked(gateway, "/new")[0] == 401
    gateway.reload(MAPPING + "/new: []\n")
    assert asked(gateway, "/new")[0] == 200
