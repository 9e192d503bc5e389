"""Keys that stand in manifests, at a running gateway: what cannot be used hurts the tokens of one provider, or the routes of one policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.echo import Echo
from tests.holding.conftest import Minted
from tests.holding.manifests import Manifests, before_app, guarded
from tests.sending import Answer
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-gateway-api-keys")

AGENT: Final = """
traffic:
  jwtAuthentication:
    providers:
      - {issuer: "https://nobody.test", jwks: {inline: "nonsense"}}
      - {issuer: "ISSUER", jwks: {inline: 'KEYS'}}
"""
SECURITY: Final = """
jwt: {providers: [{name: id, issuer: "ISSUER", localJWKS: {inline: 'KEYS'}}]}
"""


def running(folder: Path, kind: str, routes: dict[str, str], idp: IdpServer) -> Iterator[Manifests]:
    keys = json.dumps(httpx.get(f"{idp.issuer}/protocol/openid-connect/certs").json())
    made = "".join(guarded(name, kind, spec) for name, spec in routes.items())
    text = made.replace("ISSUER", idp.issuer).replace("KEYS", keys)
    with Echo() as application, before_app(folder, text, {"80": application.url}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory, idp: IdpServer) -> Iterator[Manifests]:
    alone = AGENT.replace("      - {issuer: \"ISSUER\", jwks: {inline: 'KEYS'}}\n", "")
    yield from running(
        tmp_path_factory.mktemp("agents"), "AgentgatewayPolicy", {"two": AGENT, "none": alone}, idp
    )


@pytest.fixture(scope="module")
def security(tmp_path_factory: pytest.TempPathFactory, idp: IdpServer) -> Iterator[Manifests]:
    wrong = SECURITY.replace("KEYS", "[]")
    yield from running(
        tmp_path_factory.mktemp("security"), "SecurityPolicy", {"good": SECURITY, "wrong": wrong}, idp
    )


def ask(gateway: Manifests, host: str, token: str | None) -> Answer:
    return gateway.ask("/x", token or "", headers=[("Host", f"{host}.test")])


def test_a_provider_without_usable_keys_hurts_its_own_tokens(agents: Manifests, minted: Minted) -> None:
    """As in agentgateway: the policy is valid in part, and who has a token of that provider is refused."""
    ours, theirs = minted("u-1", "user"), minted("u-1", "user", iss="https://nobody.test")
    assert ask(agents, "two", ours).status == 200
    for host, token in (("two", theirs), ("none", theirs), ("none", ours), ("none", None)):
        answer = ask(agents, host, token)
        assert answer.status == 401, (host, token)
        assert answer.body.startswith(b"authentication failure: ")


def test_a_policy_without_usable_keys_closes_its_own_routes(security: Manifests, minted: Minted) -> None:
    """As in Envoy Gateway: the policy is invalid, and its routes answer 500."""
    assert ask(security, "good", minted("u-1", "user")).status == 200
    assert ask(security, "good", None).status == 401
    assert ask(security, "wrong", minted("u-1", "user")).status == 500
