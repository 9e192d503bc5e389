"""
Asking the service: the three filters that a request meets only when the guard has marked it, and the way there.

`ext_authz` over a unix socket. The service answers with an attested token, or with the answer that the client gets (a
login redirect, 401, 503). Two of the filters fail closed: no answer is 503. `renew` fails open, to what Envoy judges by
itself: an attested token that still holds, or the issuer's keys that it has.

Facts by running 1.40: the request arrives as `path_prefix` + its own path, without body; on success
`allowed_upstream_headers` replace what is there; a denied answer keeps only the headers that are listed; a 5xx answer
counts as no answer.
"""

from __future__ import annotations

from wardgate.envoy import EXTENSIONS, HTTP_FILTERS, Json, names, typed

PATH_PREFIX = "/resolve"

PATIENCE = {names.RESOLVE: "15s", names.INTROSPECT: "15s", names.RENEW: "1s"}
"""A session may have to wait for its refresh, a token for its issuer; what can go on without an answer does, soon."""

AT_ONCE = {names.RESOLVE: 2000, names.INTROSPECT: 500, names.RENEW: 64}
"""Questions of one kind that may wait; more fail at once. Those that may go on without an answer are few."""

TOLD = (
    *(names.KIND, names.ASKED, names.LOGIN, names.MODE, "cookie", "accept"),
    *(
        "sec-fetch-mode",
        "sec-fetch-dest",
        "sec-fetch-site",
        "x-forwarded-proto",
        "x-forwarded-for",
        "x-request-id",
    ),
)
"""Request headers that the service is told, beside method, path and host."""

TAKEN = (names.ATTESTED, names.ACCESS, names.ID_TOKEN)

SHOWN = (
    *(
        "location",
        "set-cookie",
        "www-authenticate",
        "content-type",
        "cache-control",
        "retry-after",
        "clear-site-data",
    ),
    *("referrer-policy", "content-security-policy", "x-content-type-options", "x-frame-options", "vary"),
)
"""Response headers of a denied request that reach the client."""


def filter_config(name: str) -> Json:
    asked = {"string_match": {"exact": name.removeprefix("wardgate.")}}
    return typed(
        HTTP_FILTERS + "ext_authz.v3.ExtAuthz",
        http_service={
            "server_uri": {
                "uri": "http://wardgate",
                "cluster": names.ASK_CLUSTERS[name],
                "timeout": PATIENCE[name],
            },
            "path_prefix": PATH_PREFIX,
            "authorization_response": {
                "allowed_upstream_headers": _exactly(TAKEN),
                "allowed_client_headers": _exactly(SHOWN),
                "allowed_client_headers_on_success": _exactly(("set-cookie",)),
            },
        },
        allowed_headers=_exactly(TOLD),
        filter_enabled_metadata={"filter": names.METADATA, "path": [{"key": "ask"}], "value": asked},
        status_on_error={"code": "ServiceUnavailable"},
        failure_mode_allow=name == names.RENEW,
        clear_route_cache=False,
    )


def _exactly(found: tuple[str, ...]) -> Json:
    return {"patterns": [{"exact": name} for name in found]}


def clusters(public_socket: str, control_socket: str) -> dict[str, Json]:
    """The ways to the service. Nothing but these filters leads to the control socket."""
    asking = {
        cluster: _cluster(cluster, control_socket, AT_ONCE[name])
        for name, cluster in names.ASK_CLUSTERS.items()
    }
    return {names.PUBLIC_CLUSTER: _cluster(names.PUBLIC_CLUSTER, public_socket, 500), **asking}


def _cluster(name: str, socket: str, at_once: int) -> Json:
    options = {
        "explicit_http_config": {"http_protocol_options": {}},
        # an answer holds the session's tokens: 30 KB of roles are three times that
        "common_http_protocol_options": {"idle_timeout": "30s", "max_response_headers_kb": 512},
    }
    kind = EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket}}}}
    bound = {
        "max_connections": at_once,
        "max_requests": at_once,
        "max_pending_requests": at_once,
        "max_retries": 0,
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(kind, **options)
        },
        "circuit_breakers": {"thresholds": [bound]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }
