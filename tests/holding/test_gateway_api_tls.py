"""HTTPS listeners of manifests at a running gateway: which certificate is shown, and what becomes of one that changes."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509

from tests.echo import Echo
from tests.holding.certificates import Authority, Pair
from tests.holding.manifests import Manifests
from tests.holding.running import IN_FORCE
from tests.parts.loopback import free_port
from tests.service.issuer import wait_for

pytestmark = pytest.mark.xdist_group("holding-gateway-api")

MANIFESTS: Final = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public}
spec:
  gatewayClassName: any
  listeners:
    - {name: http, port: 80, protocol: HTTP}
    - {name: a, port: PORT, protocol: HTTPS, hostname: a.test, tls: {certificateRefs: [{name: a}]}}
    - {name: wild, port: PORT, protocol: HTTPS, hostname: "*.b.test", tls: {certificateRefs: [{name: b}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: public, sectionName: a}, {name: public, sectionName: wild}]
  rules: [{backendRefs: [{name: app, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: onwards}
spec:
  parentRefs: [{name: public, sectionName: http}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: app}
"""


def secret(name: str, pair: Pair) -> str:
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    coded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    found = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": coded}
    return json.dumps({**found, "type": "kubernetes.io/tls"})


class Site:
    def __init__(self, gateway: Manifests, port: int, trusted: Path) -> None:
        self.gateway = gateway
        self.port = port
        self._context = ssl.create_default_context(cafile=str(trusted))

    def connect(self, name: str, *, shown: bool = True) -> ssl.SSLSocket:
        self._context.check_hostname = shown
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return self._context.wrap_socket(plain, server_hostname=name)

    def serial(self, name: str, *, shown: bool = True) -> int:
        with self.connect(name, shown=shown) as connection:
            found = connection.getpeercert(binary_form=True)
        assert found is not None
        return x509.load_der_x509_certificate(found).serial_number

    def ask(self, name: str) -> tuple[int, bytes]:
        with self.connect(name) as connection:
            connection.sendall(f"GET /x HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while more := connection.recv(65536):
                answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("the authority of this test")


@pytest.fixture(scope="module")
def pairs(authority: Authority) -> dict[str, Pair]:
    return {"a": authority.pair("a.test"), "b": authority.pair("*.b.test", "b.test")}


@pytest.fixture
def site(tmp_path: Path, authority: Authority, pairs: dict[str, Pair]) -> Iterator[Site]:
    trusted, port = tmp_path / "authority.pem", free_port()
    authority.write(trusted)
    files = {"gateway.yaml": MANIFESTS.replace("PORT", str(port))}
    files |= {f"{name}.yaml": secret(name, pair) for name, pair in pairs.items()}
    with Echo() as application:
        resolve = {"default/app:80": application.url.removeprefix("http://")}
        with Manifests(tmp_path, files, resolve, {}) as gateway:
            yield Site(gateway, port, trusted)


def test_each_name_has_its_certificate(site: Site, pairs: dict[str, Pair]) -> None:
    """By the name that is asked for; for one that nobody has, the first, which a client that checks refuses."""
    assert site.serial("a.test") == pairs["a"].serial
    assert site.serial("x.b.test") == pairs["b"].serial
    assert site.serial("unknown.test", shown=False) == pairs["a"].serial
    with pytest.raises(ssl.SSLCertVerificationError):
        site.connect("unknown.test")
    for name in ("a.test", "x.b.test"):
        status, body = site.ask(name)
        told = {key.lower(): value for key, value in json.loads(body)["headers"]}
        assert (status, told["x-forwarded-proto"], told["host"]) == (200, "https", name)
    assert site.ask("b.test")[0] == 404  # its certificate is for that, the listener is not


def test_a_new_certificate_and_a_wrong_one(site: Site, authority: Authority, pairs: dict[str, Pair]) -> None:
    """A Secret that changes is shown at the next connection; one that cannot be used closes its own listener alone."""
    newer = authority.pair("a.test")
    site.gateway.write({"a.yaml": secret("a", newer)})
    wait_for(lambda: site.serial("a.test") == newer.serial, "the new certificate", 20)
    assert site.ask("x.b.test")[0] == 200
    before = len(site.gateway.said(IN_FORCE))
    wrong = Pair(certificate=newer.certificate, key=pairs["b"].key, serial=0)
    site.gateway.write({"a.yaml": secret("a", wrong)})
    wait_for(lambda: len(site.gateway.said(IN_FORCE)) > before, "in force", 20)
    assert site.serial("a.test", shown=False) == pairs["b"].serial
    assert site.ask("x.b.test")[0] == 200
    assert "Secret default/a: tls.key is not the key of tls.crt" in site.gateway.errors()


def test_private_keys_are_not_told(site: Site, pairs: dict[str, Pair]) -> None:
    """Neither in what is said, nor by anything that shows the configuration."""
    shown = site.gateway.errors()
    for command in ("compile", "check"):
        asked = [sys.executable, "-m", "wardgate", command, "-c", str(site.gateway.file)]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        assert found.returncode == 0, found.stderr
        shown += found.stdout + found.stderr
    for pair in pairs.values():
        assert pair.key.decode().splitlines()[1] not in shown
