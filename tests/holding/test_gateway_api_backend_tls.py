"""Services that are spoken to by TLS (BackendTLSPolicy), at a running gateway: applications, and where a provider's keys are."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Final

import httpx
import pytest

from tests.holding.certificates import Authority
from tests.holding.conftest import Minted
from tests.holding.manifests import Manifests, before_app, guarded, routed
from tests.holding.running import IN_FORCE
from tests.service.issuer import Issuer, ok
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-gateway-api-backend-tls")

NAME: Final = "inside.test"
TLS: Final = """
---
apiVersion: v1
kind: Service
metadata: {name: SERVICE}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: SERVICE}
spec:
  targetRefs: [{group: "", kind: Service, name: SERVICE}]
  validation: {hostname: HOSTNAME, caCertificateRefs: [{group: "", kind: ConfigMap, name: AUTHORITY}]}
"""
AGENT: Final = """
traffic: {jwtAuthentication: {providers: [{issuer: "ISSUER", jwks: {remote: {jwksPath: keys, backendRef: {name: good, port: 80}}}}]}}
"""
SECURITY: Final = """
jwt: {providers: [{name: id, issuer: "ISSUER", remoteJWKS: {uri: "https://id.test/keys", backendRefs: [{name: good, port: 80}]}}]}
"""


def authority(folder: Path, name: str) -> tuple[Authority, str]:
    """And the ConfigMap with its certificate."""
    made = Authority(name).write(folder / f"{name}.crt")
    text = indent((folder / f"{name}.crt").read_text("ascii"), "    ")
    return (
        made,
        f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{text}",
    )


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory, idp: IdpServer) -> Iterator[tuple[Issuer, str]]:
    """A server that shows a certificate for NAME and answers with the issuer's keys; and the ConfigMaps around it."""
    folder = tmp_path_factory.mktemp("authorities")
    ours, config = authority(folder, "ours")
    _, others = authority(folder, "others")
    ours.pair(NAME).write(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    with Issuer(tls=context) as server:
        keys = httpx.get(f"{idp.issuer}/protocol/openid-connect/certs").content
        server.keys = lambda: ok(keys)
        yield server, config + others


def routes(config: str, **authorities: str) -> str:
    """A route for each Service, trusting that authority."""
    made = []
    for service, trusted in authorities.items():
        hostname = "else.test" if service == "renamed" else NAME
        made.append(routed(service, f"[{{backendRefs: [{{name: {service}, port: 80}}]}}]"))
        made.append(
            TLS.replace("SERVICE", service).replace("HOSTNAME", hostname).replace("AUTHORITY", trusted)
        )
    return "".join((config, *made))


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, inside: tuple[Issuer, str], idp: IdpServer
) -> Iterator[Manifests]:
    server, config = inside
    text = routes(config, good="ours", renamed="ours", forged="others", lost="nowhere")
    text += guarded("agent", "AgentgatewayPolicy", AGENT.replace("ISSUER", idp.issuer))
    text += guarded("security", "SecurityPolicy", SECURITY.replace("ISSUER", idp.issuer))
    places = dict.fromkeys(("good", "renamed", "forged", "lost"), server.url)
    folder = tmp_path_factory.mktemp("backend-tls")
    with before_app(folder, text, {"80": server.url.replace("https", "http")}, **places) as running:
        yield running


def test_an_application_that_proves_who_it_is(gateway: Manifests) -> None:
    answer = gateway.at("good")
    assert (answer.status, b'"keys"' in answer.body) == (200, True)


@pytest.mark.parametrize("service", ["renamed", "forged"])
def test_one_that_does_not_is_not_spoken_to(
    gateway: Manifests, inside: tuple[Issuer, str], service: str
) -> None:
    """A certificate for another name, or of another authority: no request reaches it."""
    before = len(inside[0].requests)
    assert gateway.at(service).status == 502
    assert len(inside[0].requests) == before


def test_a_policy_without_its_certificates_closes(gateway: Manifests) -> None:
    assert gateway.at("lost").status == 500


@pytest.mark.parametrize("host", ["agent", "security"])
def test_keys_by_tls(gateway: Manifests, minted: Minted, host: str) -> None:
    """The Service's policy holds for who fetches keys there, too, whatever the URI's own host is."""
    token = minted("u-1", "user")
    gateway.until(lambda: gateway.at(host, ("Authorization", f"Bearer {token}")).status != 503, "keys")
    # the application there speaks TLS only, and is asked in the clear: the token was good
    assert gateway.at(host, ("Authorization", f"Bearer {token}")).status == 502
    assert gateway.at(host, ("Authorization", "Bearer x")).status == 401


def test_an_authority_that_changes(gateway: Manifests, inside: tuple[Issuer, str]) -> None:
    """What it trusts is the ConfigMap's of now; another application beside it keeps its connections."""
    config, seen = inside[1], gateway.count(IN_FORCE)
    manifests = {"routes.yaml": routes(config, good="others", forged="ours")}
    gateway.write(manifests)
    gateway.wait(IN_FORCE, count=seen + 1)
    gateway.until(lambda: gateway.at("forged").status == 200, "trusted")
    assert gateway.at("good").status == 502
