"""
Routes that require a grant: the filter that asks the service whether this very request may pass, and the way there.

`ext_authz` with the whole body, as the grant says which one. The service spends the grant before it answers, so an answer that
is lost is a grant that is lost: nothing here is ever tried twice. No answer is 503. The filter is disabled but for such routes.
"""

from __future__ import annotations

from wardgate.envoy import HTTP_FILTERS, Json, enabled, headers, matching, names, typed

PATH_PREFIX = "/grants"
PATIENCE = "12s"
"""Over that of the store (10 s): it is the store that says that it is away."""

AT_ONCE = 1000

BODY_BYTES = 1024 * 1024
"""What a body may have where nothing else says so: all of it is held here."""

TOLD = (names.CLAIMS, headers.GRANT, "x-forwarded-proto", "x-request-id")
"""Request headers that the service is told, beside method, path, host and body."""

SHOWN = ("content-type", "cache-control", "retry-after")
"""Response headers of a denied request that reach the client."""


def grant_filter() -> Json:
    return typed(
        HTTP_FILTERS + "ext_authz.v3.ExtAuthz",
        http_service={
            "server_uri": {"uri": "http://wardgate", "cluster": names.GRANT_CLUSTER, "timeout": PATIENCE},
            "path_prefix": PATH_PREFIX,
            "authorization_response": {"allowed_client_headers": matching.names_of(SHOWN)},
        },
        allowed_headers=matching.names_of(TOLD),
        status_on_error={"code": "ServiceUnavailable"},
        failure_mode_allow=False,
        clear_route_cache=False,
    )


def per_route(body_limit: int | None) -> Json:
    """The filter's settings of a route that requires a grant; a larger body is 413."""
    body = {
        "max_request_bytes": BODY_BYTES if body_limit is None else max(body_limit, 1),
        "allow_partial_message": False,
        "pack_as_bytes": True,
    }
    config = typed(HTTP_FILTERS + "ext_authz.v3.ExtAuthzPerRoute", check_settings={"with_request_body": body})
    return {names.GRANT: enabled(config)}
