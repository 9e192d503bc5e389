"""
Upstreams as clusters. A cluster's name carries a hash of its content: a change adds one and removes the other.

No active health checks and no outlier ejection: a gateway that ejects the only endpoint turns one failed answer
into an outage.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from functools import lru_cache

from wardgate.envoy import EXTENSIONS, Json, digest, duration, typed
from wardgate.policy import ClientTls, Endpoint, Upstream, UpstreamProtocol

SYSTEM_CAS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
"""Where Debian, Red Hat and Alpine (macOS) keep the certificate authorities that the system trusts."""


MANY = 10_000
"""Clusters that are kept as they were made: a change of one is a compilation of all."""


@lru_cache(MANY)
def cluster_name(upstream: Upstream, system_ca: str) -> str:
    return f"{upstream.name}-{digest(_settings(upstream, system_ca))}"


@lru_cache(MANY)
def cluster(upstream: Upstream, system_ca: str) -> Json:
    """Whoever gets it does not change it."""
    name = cluster_name(upstream, system_ca)
    settings = _settings(upstream, system_ca)
    return {
        **settings,
        "name": name,
        "load_assignment": {**settings["load_assignment"], "cluster_name": name},
    }


def _settings(upstream: Upstream, system_ca: str) -> Json:
    endpoints = [_endpoint(endpoint) for endpoint in upstream.endpoints]
    literal = all(_is_ip(endpoint.host) for endpoint in upstream.endpoints)
    settings: Json = {
        "type": "STATIC" if literal else "STRICT_DNS",
        "connect_timeout": duration(upstream.connect_timeout),
        "load_assignment": {"endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _protocol(upstream)
        },
        # Envoy's defaults (1024 requests) are a limit that an ordinary load test meets; ours are the listener's.
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 100_000,
                    "max_requests": 100_000,
                    "max_retries": 100,
                    "max_pending_requests": 100_000,
                }
            ]
        },
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        # Health is left to the orchestrator: an endpoint is used even when others were lost.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }
    if not literal:
        settings["dns_lookup_family"] = "V4_PREFERRED"
    if upstream.tls is not None:
        settings["transport_socket"] = _tls(upstream.tls, upstream, system_ca)
    return settings


def _endpoint(endpoint: Endpoint) -> Json:
    found: Json = {"endpoint": {"address": _address(endpoint)}}
    return found if endpoint.weight == 1 else {**found, "load_balancing_weight": endpoint.weight}


def _protocol(upstream: Upstream) -> Json:
    http2 = upstream.protocol is UpstreamProtocol.HTTP2
    explicit: Json = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    common: Json = {"idle_timeout": duration(upstream.keepalive or timedelta(seconds=60))}
    if upstream.keepalive is None:
        common["max_requests_per_connection"] = 1
    options: Json = {"explicit_http_config": explicit, "common_http_protocol_options": common}
    return typed(EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions", **options)


def _tls(tls: ClientTls, upstream: Upstream, system_ca: str) -> Json:
    """
    The name that is asked for and judged is the configured one, else the endpoint's.

    Never the request's Host (Envoy's `auto_sni`): a client would choose which certificates are good.
    """
    context: Json = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}}
    if tls.verify:
        names = [tls.server_name] if tls.server_name else [endpoint.host for endpoint in upstream.endpoints]
        context["validation_context"] = {
            "trusted_ca": {"inline_string": tls.ca_pem} if tls.ca_pem else {"filename": tls.ca or system_ca},
            "match_typed_subject_alt_names": [_alternative_name(name) for name in sorted(set(names))],
        }
    if tls.certificate and tls.key:
        pair = {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}}
        context["tls_certificates"] = [pair]
    if upstream.protocol is UpstreamProtocol.HTTP2:
        context["alpn_protocols"] = ["h2"]
    asked: Json = {"sni": tls.server_name} if tls.server_name else {"auto_host_sni": True}
    kind = EXTENSIONS + "transport_sockets.tls.v3.UpstreamTlsContext"
    return {"name": "tls", "typed_config": typed(kind, common_tls_context=context, **asked)}


def _alternative_name(name: str) -> Json:
    return {"san_type": "IP_ADDRESS" if _is_ip(name) else "DNS", "matcher": {"exact": name}}


def _address(endpoint: Endpoint) -> Json:
    return {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
