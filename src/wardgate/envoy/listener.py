"""
Listeners and the HTTP connection manager: the chain of filters, and what holds before any filter.

A listener has two chains: one for peers that are trusted proxies, judged on the socket's own address, one for
everyone else. They differ only in what they believe about `X-Forwarded-*`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import assert_never

from wardgate.envoy import (
    EXTENSIONS,
    HTTP_FILTERS,
    Json,
    claims,
    duration,
    forward_auth,
    gates,
    grants,
    headers,
    logs,
    names,
    rbac,
    resolve,
    typed,
)
from wardgate.envoy.bootstrap import file_source
from wardgate.policy import HeldTls, Limits, Listener, Route, ServerTls

HCM = EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager"

PathOf = Callable[[str], str]
"""The file of one filter or route configuration."""


def http_filters(ecds: PathOf, original: Json | None = None, *, only: bool = False) -> list[Json]:
    """
    The chain. The order is the security of the gateway; each entry says why it stands where it does. What only some routes need
    is in every chain, disabled: routes change before listeners do, and what were not there yet would let everything pass.

    `original`: the filter for peers who ask about requests; `only`: nothing is proxied.
    """
    jwt = HTTP_FILTERS + "jwt_authn.v3.JwtAuthentication"
    body = HTTP_FILTERS + "body_size_limit.v3.BodySizeLimit"
    slots = [_discovered(names.body_slot(i), body, ecds, disabled=True) for i in range(names.BODY_SLOTS)]
    return [
        # before everything else: all that follows judges the request that was asked about
        *([_inline(names.ORIGINAL, original, disabled=not only)] if original else []),
        # before everything that reads a header: no copy of an identity header that a client sent survives. The table says which those
        # are, whose routes set them
        _inline(names.STRIP, headers.nothing()),
        # before everything that decides: one reading of path and credential
        _inline(names.GUARD, claims.guard_filter()),
        # answers preflights before a credential is asked for: browsers send none with them
        _inline(names.CORS, typed(HTTP_FILTERS + "cors.v3.Cors")),
        # what asks for nobody's identity refuses before somebody has to be asked who it is
        *[_inline(name, config, disabled=True) for name, config in gates.before_callers().items()],
        # whom this worker has not seen yet: the service says who it is. Passed by what the guard did not mark
        _inline(names.ASK, resolve.ask_filter()),
        # who is calling
        _discovered(names.JWT, jwt, ecds),
        # what was verified, as text; the identity headers that the upstream will see if the request gets there
        _inline(names.IDENTITY, claims.claims_filter()),
        # sessions that ended while their attested tokens still hold
        _discovered(names.REVOKED, rbac.REVOKED_TYPE, ecds, disabled=True),
        # whoever else is asked may say what the rules look at
        *[_inline(name, config, disabled=True) for name, config in gates.before_rules().items()],
        # may they do this
        _inline(names.RBAC, rbac.default()),
        # what is denied does not count
        *[_inline(name, config, disabled=True) for name, config in gates.after_callers().items()],
        # after the decision: an anonymous upload is refused before its body is looked at
        *slots,
        # the last that can refuse: what is spent here was let through by all others
        _inline(names.GRANT, grants.grant_filter(), disabled=True),
        # what the upstream is told, where nothing reads it any more as if the client had sent it; what is ours goes no further
        _inline(names.ONWARD, headers.nothing()),
        _inline(names.COMPRESSOR, _compressor(), disabled=True),
        _inline(names.ROUTER, typed(HTTP_FILTERS + "router.v3.Router", suppress_envoy_headers=True)),
    ]


def _compressor() -> Json:
    gzip = typed(EXTENSIONS + "compression.gzip.compressor.v3.Gzip", compression_level="BEST_SPEED")
    common = {"min_content_length": 860, "enabled": {"default_value": True, "runtime_key": "wardgate.unset"}}
    direction = {"common_config": common, "disable_on_etag_header": True}
    library = {"name": "gzip", "typed_config": gzip}
    return typed(
        HTTP_FILTERS + "compressor.v3.Compressor",
        compressor_library=library,
        response_direction_config=direction,
    )


def _inline(name: str, config: Json, disabled: bool = False) -> Json:
    entry: Json = {"name": name, "typed_config": config}
    return {**entry, "disabled": True} if disabled else entry


def _discovered(name: str, kind: str, ecds: PathOf, disabled: bool = False) -> Json:
    source = {"config_source": file_source(ecds(name)), "type_urls": [kind]}
    entry: Json = {"name": name, "config_discovery": source}
    return {**entry, "disabled": True} if disabled else entry


def listener(
    spec: Listener,
    *,
    trusted_proxies: tuple[str, ...],
    own: forward_auth.Own,
    limits: Limits,
    access_log: bool,
    local_replies: Json,
    rds: PathOf,
    ecds: PathOf,
    sds: PathOf,
) -> Json:
    """One listener; `spec.name` also names its route configuration. `own`: the gateway's endpoints."""
    original = None
    if spec.forward_auth is not None:
        original = forward_auth.original_filter(spec.forward_auth, own)

    def chain(trusted: bool) -> Json:
        manager = _manager(
            spec, trusted, original if trusted else None, limits, access_log, local_replies, rds, ecds
        )
        entry: Json = {
            "name": "trusted" if trusted else "anyone",
            "filters": [{"name": "http", "typed_config": manager}],
        }
        if trusted:
            entry["filter_chain_match"] = {
                "direct_source_prefix_ranges": [_network(text) for text in trusted_proxies]
            }
        if spec.tls is not None:
            entry["transport_socket"] = _tls(spec, spec.tls, sds)
        return entry

    chains = ([chain(True)] if trusted_proxies else []) + [chain(False)]
    address = {"address": spec.address.host, "port_value": spec.address.port}
    result: Json = {
        "name": spec.name,
        "address": {"socket_address": address},
        "filter_chains": chains,
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "listener_filters_timeout": "5s",
    }
    if spec.proxy_protocol:
        kind = EXTENSIONS + "filters.listener.proxy_protocol.v3.ProxyProtocol"
        result["listener_filters"] = [{"name": "proxy_protocol", "typed_config": typed(kind)}]
    return result


def _network(text: str) -> Json:
    network = ipaddress.ip_network(text)
    return {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}


def _manager(
    spec: Listener,
    trusted: bool,
    original: Json | None,
    limits: Limits,
    access_log: bool,
    local_replies: Json,
    rds: PathOf,
    ecds: PathOf,
) -> Json:
    log = [logs.access_log()] if access_log else []
    return typed(
        HCM,
        stat_prefix=names.STAT_PREFIX,
        rds={"route_config_name": spec.name, "config_source": file_source(rds(spec.name))},
        http_filters=http_filters(
            ecds, original, only=spec.forward_auth is not None and spec.forward_auth.only
        ),
        early_header_mutation_extensions=[headers.early(trusted, original is not None, _spends(spec))],
        **_one_reading(spec),
        # the peer's address is the client's, unless the peer is a trusted proxy that names one
        use_remote_address=True,
        xff_num_trusted_hops=1 if trusted else 0,
        skip_xff_append=False,
        generate_request_id=True,
        preserve_external_request_id=trusted,
        always_set_request_id_in_response=True,
        server_header_transformation="PASS_THROUGH",
        max_request_headers_kb=limits.header_kib,
        common_http_protocol_options={
            "max_headers_count": limits.headers_count,
            # x_user_id is X-User-Id to CGI, WSGI and PHP; what no list of ours names is refused all the same
            "headers_with_underscores_action": "REJECT_REQUEST",
            "idle_timeout": duration(limits.idle_timeout),
        },
        request_headers_timeout=duration(limits.headers_timeout),
        stream_idle_timeout="300s",
        # nginx asks in HTTP/1.0 unless it is told otherwise; nothing is proxied that came so
        http_protocol_options={"accept_http_10": not spec.proxies},
        http2_protocol_options={
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 1024 * 1024,
            "initial_connection_window_size": 2 * 1024 * 1024,
        },
        upgrade_configs=[{"upgrade_type": "websocket", "enabled": False}],
        local_reply_config=local_replies,
        access_log=[*log, logs.refusals(), logs.before_upstream()],
    )


def _spends(spec: Listener) -> bool:
    return any(route.require_grant for route in _routes(spec))


def _routes(spec: Listener) -> Iterator[Route]:
    return (route for host in spec.hosts for route in host.routes)


def _one_reading(spec: Listener) -> Json:
    """
    Of the path, here and behind us (design 6). Where nothing is proxied it is another proxy that serves the path, as it
    came: there the guard refuses what normalization would have changed.
    """
    if not spec.proxies:
        return {"normalize_path": False, "merge_slashes": False}
    return {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    }


def _tls(spec: Listener, tls: ServerTls | HeldTls, sds: PathOf) -> Json:
    versions = {"1.2": "TLSv1_2", "1.3": "TLSv1_3"}
    context: Json = {
        "tls_params": {"tls_minimum_protocol_version": versions[tls.minimum]},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [
            {"name": name, "sds_config": file_source(sds(name))} for name in secrets(spec)
        ],
    }
    socket: Json = {"common_tls_context": context}
    if isinstance(tls, ServerTls) and tls.client_ca:
        context["validation_context"] = {"trusted_ca": {"filename": tls.client_ca}}
        socket["require_client_certificate"] = True
    kind = EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "tls", "typed_config": typed(kind, **socket)}


def secrets(spec: Listener) -> dict[str, Json]:
    """
    The certificates of a listener by SDS: rotated files are picked up when they are renamed into place, or their folder is
    (Kubernetes); writing into them is not noticed.
    """
    match spec.tls:
        case None:
            return {}
        case ServerTls(certificate=certificate, key=key):
            pair = {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}
            folder = certificate.rpartition("/")[0] or "."
            return _secret(f"certificate-{spec.name}", {**pair, "watched_directory": {"path": folder}})
        case HeldTls(pairs=pairs):
            found: dict[str, Json] = {}
            for index, one in enumerate(pairs):
                held = {
                    "certificate_chain": {"inline_string": one.certificate},
                    "private_key": {"inline_string": one.key.reveal()},
                }
                found |= _secret(f"certificate-{spec.name}-{index}", held)
            return found
        case _:
            assert_never(spec.tls)


def _secret(name: str, certificate: Json) -> dict[str, Json]:
    kind = EXTENSIONS + "transport_sockets.tls.v3.Secret"
    return {name: typed(kind, name=name, tls_certificate=certificate)}
