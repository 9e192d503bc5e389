"""
A service of the user's that is asked whether a request may pass (`extAuth` of both products): over HTTP and gRPC, with a caller and
without, and when it does not answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
import pytest

from tests.echo import Arrival, Echo
from tests.holding.manifests import GATEWAY, Manifests, guarded
from tests.parts.loopback import free_port
from tests.sending import Answer
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-gateway-api-external")

HTTP: Final = "extAuth: {http: {backendRefs: [{name: judge, port: 80}], path: /judge, headersToBackend: [X-Judged, X-Wrong]}, headersToExtAuth: [X-Pass]"
POLICIES: Final = {
    "http": HTTP + "}",
    "body": HTTP + ", bodyToExtAuth: {maxRequestBytes: 10}}",
    "ruled": HTTP
    + "}\nauthorization: {rules: [{action: Allow, principal: {headers: [{name: X-Judged, values: [good]}]}}]}",
    "token": HTTP
    + "}\njwt: {providers: [{name: idp, issuer: ISSUER, remoteJWKS: {uri: ISSUER/protocol/openid-connect/certs}}]}",
    "grpc": "extAuth: {grpc: {backendRefs: [{name: judge, port: 81}]}, contextExtensions: [{name: tier, value: gold}]}",
    "away": "extAuth: {http: {backendRefs: [{name: judge, port: 82}]}, timeout: 500ms}",
    "open": "extAuth: {failOpen: true, http: {backendRefs: [{name: judge, port: 82}]}, timeout: 500ms}",
    "missing": "extAuth: {http: {backendRefs: [{name: nobody, port: 80}]}}",
}
AGENTS: Final = {
    "by-http": "traffic: {extAuth: {backendRef: {name: judge, port: 80}, http: {allowedRequestHeaders: [X-Pass], allowedResponseHeaders: [X-Judged]}}}",
    "by-grpc": "traffic: {extAuth: {backendRef: {name: judge, port: 81}, grpc: {contextExtensions: {tier: gold}}, forwardBody: {maxSize: 10}}}",
    "nowhere": "traffic: {extAuth: {backendRef: {name: judge, port: 82}}}",
    "lenient": "traffic: {extAuth: {backendRef: {name: judge, port: 82}, failureMode: FailOpen}}",
}
JUDGE: Final = """
---
apiVersion: v1
kind: Service
metadata: {name: judge}
"""


class Judge(Echo):
    """Lets pass what says so; its answers try to say what only the gateway may."""

    def answer(self, arrival: Arrival) -> tuple[dict[str, str], bytes]:
        judged = "good" if "yes" in arrival.values("x-pass") else "bad"
        headers = {"X-Judged": judged, "X-Wardgate-Claims": "|sub=sforged|", "Content-Type": "text/plain"}
        return headers, b"not you"

    def status(self, arrival: Arrival) -> int:
        return 200 if arrival.values("x-pass") in (["yes"], ["half"]) else 418


class GrpcJudge(grpc.GenericRpcHandler):
    """`envoy.service.auth.v3.Authorization`, in its bytes: a request with `x-pass: yes` may pass."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def service(self, details: Any) -> Any:
        assert details.method == "/envoy.service.auth.v3.Authorization/Check"

        def check(request: bytes, _: Any) -> bytes:
            self.asked.append(request)
            if b"x-pass" not in request:
                return b"\x0a\x02\x08\x07"  # status: PERMISSION_DENIED
            told = _header(b"x-judged", b"by-grpc") + _header(b"x-wardgate-claims", b"|sub=sforged|")
            return b"\x0a\x00\x1a" + bytes([len(told)]) + told

        return grpc.unary_unary_rpc_method_handler(check)


def _header(name: bytes, value: bytes) -> bytes:
    pair = b"\x0a" + bytes([len(name)]) + name + b"\x12" + bytes([len(value)]) + value
    option = b"\x0a" + bytes([len(pair)]) + pair
    return b"\x12" + bytes([len(option)]) + option


class Site:
    def __init__(
        self, gateway: Manifests, app: Echo, judge: Judge, by_grpc: GrpcJudge, idp: IdpServer
    ) -> None:
        self.gateway, self.app, self.judge, self.by_grpc, self.idp = gateway, app, judge, by_grpc, idp

    def ask(self, host: str, *headers: tuple[str, str], method: str = "GET", body: int = 0) -> Answer:
        return self.gateway.at(host, *headers, path="/x/y?a=b", method=method, body=body)


@contextmanager
def served(folder: Path, policies: dict[str, str], kind: str, idp: IdpServer) -> Iterator[Site]:
    """Each policy on a host of its own. The judge is at port 80 of its Service, by gRPC at 81, and nobody at 82."""
    by_grpc = GrpcJudge()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([by_grpc])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    routes = JUDGE + "".join(guarded(name, kind, policy) for name, policy in policies.items())
    with Echo() as app, Judge() as judge:
        resolve = {
            "default/app:80": app.url,
            "default/judge:80": judge.url,
            "default/judge:81": f"//127.0.0.1:{port}",
            "default/judge:82": f"//127.0.0.1:{free_port()}",
        }
        files = {"gateway.yaml": GATEWAY, "routes.yaml": routes.replace("ISSUER", idp.issuer)}
        places = {service: urlsplit(url).netloc for service, url in resolve.items()}
        try:
            with Manifests(folder, files, places, {}) as gateway:
                yield Site(gateway, app, judge, by_grpc, idp)
        finally:
            server.stop(0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, idp: IdpServer) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("external"), POLICIES, "SecurityPolicy", idp) as found:
        yield found


YES: Final = ("X-Pass", "yes")


def test_it_is_asked_with_the_request_and_its_answer_counts(site: Site) -> None:
    """Its path behind ours, the headers that it is to be told; what it says goes to the application, or to the caller."""
    passed = site.ask("http", YES, ("X-Judged", "forged"), ("X-Wrong", "forged"), ("X-Other", "a"))
    assert passed.status == 200
    arrived = {name.lower(): value for name, value in json.loads(passed.body)["headers"]}
    assert arrived["x-judged"] == "good" and "x-wrong" not in arrived
    assert not [name for name in arrived if name.startswith("x-wardgate")]
    asked = site.judge.arrivals()[-1]
    assert (asked.method, asked.path) == ("GET", "/judge/x/y?a=b")
    assert asked.values("host") == ["http.test"] and not asked.values("x-other")
    refused = site.ask("http", ("X-Pass", "no"))
    assert (refused.status, refused.body) == (418, b"not you")
    assert (refused.header("content-type"), refused.header("x-judged")) == ("text/plain", "bad")


def test_its_headers_are_for_the_rules(site: Site) -> None:
    assert site.ask("ruled", YES).status == 200
    assert site.ask("ruled", ("X-Pass", "half")).status == 403
    assert site.ask("ruled", ("X-Pass", "half"), ("X-Judged", "good")).status == 403


def test_it_is_asked_about_callers_that_were_verified(site: Site) -> None:
    """Not about others; and what it says about a caller is not believed."""
    before = len(site.judge.arrivals())
    assert site.ask("token", YES).status == 401
    assert len(site.judge.arrivals()) == before
    token = site.idp.token("admin")
    assert site.ask("token", YES, ("Authorization", f"Bearer {token}")).status == 200
    assert site.judge.arrivals()[-1].values("authorization") == [f"Bearer {token}"]
    assert site.ask("token", ("Authorization", f"Bearer {token}")).status == 418


def test_it_gets_a_body_that_is_not_too_large(site: Site) -> None:
    before = len(site.judge.arrivals())
    assert site.ask("body", YES, method="POST", body=10).status == 200
    assert site.judge.arrivals()[before].body_length == 10
    assert site.ask("body", YES, method="POST", body=11).status == 413


def test_by_grpc(site: Site) -> None:
    passed = site.ask("grpc", YES)
    assert passed.status == 200
    arrived = {name.lower(): value for name, value in json.loads(passed.body)["headers"]}
    assert arrived["x-judged"] == "by-grpc"
    assert not [name for name in arrived if name.startswith("x-wardgate")]
    asked = site.by_grpc.asked[-1]
    assert b"gold" in asked and b"/x/y" in asked and b"x-wardgate" not in asked
    assert site.ask("grpc").status == 403


def test_without_an_answer_nobody_passes_unless_the_policy_says_so(site: Site) -> None:
    refused = site.ask("away", YES)
    assert (refused.status, json.loads(refused.body)["code"]) == (403, "external-unavailable")
    assert site.ask("open", YES).status == 200
    assert site.ask("missing", YES).status == 500


def test_as_agentgateway_asks(tmp_path: Path, idp: IdpServer) -> None:
    """By gRPC unless told otherwise; without an answer in its words."""
    with served(tmp_path, AGENTS, "AgentgatewayPolicy", idp) as site:
        for host in ("by-http", "by-grpc"):
            passed = site.ask(host, YES)
            assert passed.status == 200, host
            arrived = {name.lower(): value for name, value in json.loads(passed.body)["headers"]}
            assert arrived["x-judged"] == {"by-http": "good", "by-grpc": "by-grpc"}[host]
        assert site.judge.arrivals()[-1].path == "/x/y?a=b"
        assert b"gold" in site.by_grpc.asked[-1]
        assert (site.ask("by-http").status, site.ask("by-http").body) == (418, b"not you")
        assert site.ask("by-grpc", YES, method="POST", body=11).status == 413
        refused = site.ask("nowhere", YES)
        assert (refused.status, refused.body) == (403, b"external authorization failed")
        assert site.ask("lenient", YES).status == 200
