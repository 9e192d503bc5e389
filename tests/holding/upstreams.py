"""
Applications that speak what the echo of other tests does not: HTTP/2 without TLS, and TLS. One Envoy is both.

It hands each request on to the echo, with how it came: `X-Came-By` (the protocol), `X-Came-For` (the name that TLS
asked for) and `X-Came-Te`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.differential.running_envoy import RunningEnvoy
from tests.holding.certificates import Pair

EXTENSIONS = "type.googleapis.com/envoy.extensions."
CAME = {"X-Came-By": "%PROTOCOL%", "X-Came-For": "%REQUESTED_SERVER_NAME%", "X-Came-Te": "%REQ(te)%"}


def envoy(directory: Path, pair: Pair, echo_port: int) -> RunningEnvoy:
    """Listeners `h2c` and `tls`; the second shows this certificate."""
    listeners = [_listener("h2c", "HTTP2", None), _listener("tls", "AUTO", pair)]
    endpoint = {"endpoint": {"address": _address(echo_port)}}
    cluster = {"name": "echo", "type": "STATIC", "connect_timeout": "5s"}
    cluster["load_assignment"] = {"cluster_name": "echo", "endpoints": [{"lb_endpoints": [endpoint]}]}
    resources = {"listeners": listeners, "clusters": [cluster]}
    return RunningEnvoy(directory, {"static_resources": resources, "overload_manager": _limits()})


def _limits() -> dict[str, Any]:
    """Envoy warns when nothing limits connections."""
    kind = EXTENSIONS + "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": kind, "max_active_downstream_connections": 1000}
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": config}
    return {"resource_monitors": [monitor]}


def _listener(name: str, codec: str, pair: Pair | None) -> dict[str, Any]:
    came = [{"header": {"key": header, "value": value}} for header, value in CAME.items()]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "echo"}}
    manager = {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": codec,
        "http_filters": [
            {"name": "router", "typed_config": {"@type": EXTENSIONS + "filters.http.router.v3.Router"}}
        ],
        "route_config": {
            "virtual_hosts": [{"name": "echo", "domains": ["*"], "routes": [route]}],
            "request_headers_to_add": came,
        },
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    made: dict[str, Any] = {"name": name, "address": _address(0), "filter_chains": [chain]}
    if pair is not None:
        chain["transport_socket"] = _tls(pair)
        kind = EXTENSIONS + "filters.listener.tls_inspector.v3.TlsInspector"
        made["listener_filters"] = [{"name": "names", "typed_config": {"@type": kind}}]
    return made


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _tls(pair: Pair) -> dict[str, Any]:
    certificate = {
        "certificate_chain": {"inline_string": pair.certificate.decode()},
        "private_key": {"inline_string": pair.key.decode()},
    }
    context = {"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]}
    kind = EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": context}}
