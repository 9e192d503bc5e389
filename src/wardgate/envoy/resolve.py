"""
Asking the service: the filter that a request meets only when the guard has marked it, and the way there.

`ext_authz` over a unix socket. The service answers with an attested token, or with the answer that the client gets (a
login redirect, 401, 503). There are four ways of asking, each with patience and bounds of its own. Two fail closed: no
answer is 503. `renew` and `key` fail open, to what Envoy judges by itself: an attested token that still holds, or the
issuer's keys that it has. One filter stands in the chain, and becomes one of the four for the requests that ask.

Facts by running 1.40: the request arrives as `path_prefix` + its own path, without body; on success
`allowed_upstream_headers` replace what is there; a denied answer keeps only the headers that are listed; a 5xx answer
counts as no answer.
"""

from __future__ import annotations

from wardgate.envoy import EXTENSIONS, HTTP_FILTERS, Json, grants, matching, names, typed

PATH_PREFIX = "/resolve"

PATIENCE = {"resolve": "15s", "introspect": "15s", "renew": "1s", "key": "4s"}
"""
A session may have to wait for its refresh, a token for its issuer. What can go on without an answer does, soon; an
unknown key takes a fetch, and one that was fetched just before another second.
"""

AT_ONCE = {"resolve": 2000, "introspect": 500, "renew": 64, "key": 1000}
"""
Questions of one kind that may wait; more fail at once. Those of unknown keys wait for the next fetch, up to a second
(`oidc.keys`, which holds as many): in a flood of 500 a second, too, a token of a new key has to find a place.
"""

FAILS_OPEN = ("renew", "key")

TOLD = (
    *(
        names.HOW,
        names.KIND,
        names.ASKED,
        names.LOGIN,
        names.MODE,
        names.CLIENT,
        names.LOGINS,
        names.DECIDES,
        "cookie",
        "accept",
    ),
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

TAKEN = (names.ATTESTED,)
BESIDE = (names.ACCESS, names.ID_TOKEN)
"""
Response headers that become metadata: what the upstream may be told. As request headers they would count with the client's
own, and 30 KB of roles are 44 KB in each of two tokens (ext_authz then answers 500: run on 1.40).
"""

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


def ask_filter() -> Json:
    """A filter that does nothing, or asks as the guard says. (Four filters in a row cost those who ask nothing, too.)"""
    entries = {how: matching.action(how, _execute(how)) for how in names.ASK_CLUSTERS}
    tree = {"input": matching.header_input(names.HOW), "exact_match_map": {"map": entries}}
    composite = typed(HTTP_FILTERS + "composite.v3.Composite")
    return typed(
        EXTENSIONS + "common.matching.v3.ExtensionWithMatcher",
        extension_config={"name": names.ASK, "typed_config": composite},
        xds_matcher={"matcher_tree": tree},
    )


def _execute(how: str) -> Json:
    inner = {"name": f"{names.ASK}-{how}", "typed_config": _ext_authz(how)}
    return typed(HTTP_FILTERS + "composite.v3.ExecuteFilterAction", typed_config=inner)


def _ext_authz(how: str) -> Json:
    return typed(
        HTTP_FILTERS + "ext_authz.v3.ExtAuthz",
        http_service={
            "server_uri": {
                "uri": "http://wardgate",
                "cluster": names.ASK_CLUSTERS[how],
                "timeout": PATIENCE[how],
            },
            "path_prefix": PATH_PREFIX,
            "authorization_response": {
                "allowed_upstream_headers": matching.names_of(TAKEN),
                "dynamic_metadata_from_headers": matching.names_of(BESIDE),
                "allowed_client_headers": matching.names_of(SHOWN),
                "allowed_client_headers_on_success": {
                    "patterns": [{"exact": "set-cookie"}, {"prefix": names.RENEWED}]
                },
            },
        },
        allowed_headers=matching.names_of(TOLD),
        status_on_error={"code": "ServiceUnavailable"},
        failure_mode_allow=how in FAILS_OPEN,
        clear_route_cache=False,
    )


def clusters(public_socket: str, control_socket: str, *, agents: bool) -> dict[str, Json]:
    """
    The ways to the service. Nothing but filters leads to the control socket. Those who watch requests of `agents` have
    a way of their own: hundreds of them wait, and logins do not wait behind them.
    """
    asking = {
        cluster: _cluster(cluster, control_socket, AT_ONCE[how])
        for how, cluster in names.ASK_CLUSTERS.items()
    }
    public = [names.PUBLIC_CLUSTER, *([names.AGENTS_CLUSTER] if agents else [])]
    found = {**{name: _cluster(name, public_socket, 500) for name in public}, **asking}
    if agents:
        found[names.GRANT_CLUSTER] = _cluster(names.GRANT_CLUSTER, control_socket, grants.AT_ONCE)
    return found


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
