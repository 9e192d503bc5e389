"""gRPC through a gateway that runs on GRPCRoutes: calls, streams, and what a caller without the right is told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from tests.holding.manifests import before_app
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-gateway-api")

ROUTES: Final = """
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: orders}
spec:
  parentRefs: [{name: public}]
  rules:
    - name: own
      matches: [{method: {service: shop.Orders}}]
      backendRefs: [{name: app, port: 80}]
    - name: open
      matches: [{method: {service: shop.Open, method: Echo}}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: open}]}}]
      backendRefs: [{name: app, port: 80}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: orders}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: orders, sectionName: own}]
  jwt: {providers: [{name: idp, issuer: "ISSUER", remoteJWKS: {uri: "ISSUER/protocol/openid-connect/certs"}}]}
  authorization:
    rules: [{action: Allow, principal: {jwt: {provider: idp, claims: [{name: realm_access.roles, valueType: StringArray, values: [admin]}]}}}]
"""


class Handler(grpc.GenericRpcHandler):
    """Sends back what came: once, or three times as a stream, with the metadata that arrived."""

    def service(self, details: Any) -> Any:
        said = dict(details.invocation_metadata)

        def once(request: bytes, _: Any) -> bytes:
            return request + b" " + said.get("x-rule", "-").encode()

        def often(request: bytes, _: Any) -> Iterator[bytes]:
            for number in range(3):
                yield request + str(number).encode()

        if details.method.endswith("/Echo"):
            return grpc.unary_unary_rpc_method_handler(once)
        return grpc.unary_stream_rpc_method_handler(often)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[grpc.Channel, IdpServer]]:
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with IdpServer() as idp:
            routes = ROUTES.replace("ISSUER", idp.issuer)
            with (
                before_app(tmp_path, routes, {"80": f"http://127.0.0.1:{port}"}) as gateway,
                grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel,
            ):
                yield channel, idp
    finally:
        server.stop(0)


def test_calls_and_streams(site: tuple[grpc.Channel, IdpServer]) -> None:
    """A method without a policy is open, with one it asks for a token and a role; the codes are gRPC's own."""
    channel, idp = site
    opened = channel.unary_unary("/shop.Open/Echo")
    assert opened(b"hello", timeout=10) == b"hello open"
    own, stream = channel.unary_unary("/shop.Orders/Echo"), channel.unary_stream("/shop.Orders/List")

    def bearer(name: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {idp.token(name)}"),)

    assert own(b"a", metadata=bearer("admin"), timeout=10) == b"a -"
    assert list(stream(b"a", metadata=bearer("admin"), timeout=10)) == [b"a0", b"a1", b"a2"]
    for call, metadata, code in (
        (own, (), grpc.StatusCode.UNAUTHENTICATED),
        (own, (("authorization", "Bearer x"),), grpc.StatusCode.UNAUTHENTICATED),
        (own, bearer("user"), grpc.StatusCode.PERMISSION_DENIED),
        (channel.unary_unary("/shop.Open/Other"), (), grpc.StatusCode.UNIMPLEMENTED),
        (channel.unary_unary("/shop.Other/Echo"), (), grpc.StatusCode.UNIMPLEMENTED),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(b"a", metadata=metadata, timeout=10)
        assert caught.value.code() is code, caught.value  # type: ignore[attr-defined]
    with pytest.raises(grpc.RpcError) as refused:
        list(stream(b"a", timeout=10))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
