"""Protected resources as MCP clients meet them at a running gateway: a 401 says where the description is, and that where tokens are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.echo import Echo
from tests.holding.conftest import Minted
from tests.holding.manifests import Manifests, before_app, guarded
from tests.sending import Answer
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-gateway-api-mcp")


POLICY: Final = """
traffic:
  jwtAuthentication:
    providers: [{issuer: "ISSUER", jwks: {remote: {jwksPath: PATH/protocol/openid-connect/certs, backendRef: {name: app, port: 90}}}}]
"""
MCP: Final = """\
    mcp: {resourceMetadata: {scopesSupported: [openid, "tools:100%"], resourceName: Tools}, provider: Keycloak}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, idp: IdpServer) -> Iterator[Manifests]:
    with Echo() as application:
        places = {"80": application.url, "90": idp.issuer}
        routes = (
            (
                guarded("mcp", "AgentgatewayPolicy", POLICY + MCP, path="/mcp")
                + guarded("plain", "AgentgatewayPolicy", POLICY)
            )
            .replace("ISSUER", idp.issuer)
            .replace("PATH", urlsplit(idp.issuer).path)
        )
        with before_app(tmp_path_factory.mktemp("mcp"), routes, places) as running:
            yield running


def ask(gateway: Manifests, path: str, *headers: tuple[str, str], host: str = "mcp.test") -> Answer:
    return gateway.ask(path, headers=[("Host", host), *headers])


@pytest.mark.parametrize("token", [None, "Bearer x", "Basic x", "forged"])
def test_a_refusal_says_where_the_description_is(
    gateway: Manifests, minted: Minted, token: str | None
) -> None:
    """As RFC 9728, 5.1; in the words of agentgateway."""
    token = "Bearer " + minted("u-1", "user")[:-8] + "AAAAAAAA" if token == "forged" else token
    answer = ask(gateway, "/mcp/tools", *([("Authorization", token)] if token else []))
    assert answer.status == 401
    assert answer.header("www-authenticate") == (
        'Bearer resource_metadata="http://mcp.test/.well-known/oauth-protected-resource/mcp"'
    )
    assert answer.header("content-type") == "application/json"
    assert json.loads(answer.body) == {"error": "unauthorized", "error_description": "JWT token required"}


def test_the_description(gateway: Manifests, idp: IdpServer) -> None:
    """Anyone reads it, under the host that was asked; what the policy says is in it as RFC 9728 names it."""
    for host in ("mcp.test", "mcp.test:8443"):
        answer = ask(gateway, "/.well-known/oauth-protected-resource/mcp", host=host)
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        assert json.loads(answer.body) == {
            "resource": f"http://{host}/mcp",
            "authorization_servers": [idp.issuer],
            "mcp_protocol_version": "2025-06-18",
            "resource_type": "mcp-server",
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["openid", "tools:100%"],
            "resource_name": "Tools",
        }
    assert ask(gateway, "/.well-known/oauth-protected-resource/mcp", host='a"b').status == 400
    assert ask(gateway, "/.well-known/oauth-protected-resource").status == 404


def test_who_has_a_token_is_let_in(gateway: Manifests, minted: Minted) -> None:
    answer = ask(gateway, "/mcp", ("Authorization", f"Bearer {minted('u-1', 'user')}"))
    assert answer.status == 200


def test_other_routes_say_nothing_of_it(gateway: Manifests) -> None:
    """A route that is no MCP server answers as before."""
    answer = ask(gateway, "/mcp", host="plain.test")
    assert (answer.status, answer.body) == (401, b"authentication failure: no bearer token found")
    assert answer.header("www-authenticate") is None
