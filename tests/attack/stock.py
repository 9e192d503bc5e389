"""
Plain Envoy with jwt_authn and RBAC and none of our guards: what the runner itself is tested against.

It is a careful configuration (normalized paths, deny by default, `exp` required), and it still fails many
cases. A runner that passes all of them, or that fails others, is broken. It is not what Wardgate runs.

Source: `observed_envoy_1_40_stock` of the shared case file describes the same configuration.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .lab import Launch, Place

_TYPE = "type.googleapis.com/envoy.extensions."
_JWT = "envoy.filters.http.jwt_authn"
_RBAC = "envoy.filters.http.rbac"
_PAYLOAD = "payload"


def launch(place: Place) -> Launch:
    """Envoy from the same environment as this Python, with its configuration in the place's folder."""
    envoy = shutil.which("envoy", path=str(Path(sys.executable).parent))
    assert envoy is not None, "the environment has no envoy"
    config = place.folder / "envoy.json"
    config.write_text(json.dumps(configuration(place)), "utf-8")
    options = ("--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning")
    return Launch(command=(envoy, "-c", str(config), *options))


def configuration(place: Place) -> dict[str, Any]:
    """The whole bootstrap: one listener, one upstream, the policy of the case file."""
    return {
        "admin": {"address": {"pipe": {"path": str(place.folder / "admin.sock"), "mode": 384}}},
        "static_resources": {
            "listeners": [_listener(place)],
            "clusters": [_cluster(place.upstream_port)],
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    assignment = {"cluster_name": "application", "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": "application", "connect_timeout": "2s", "load_assignment": assignment}


def _listener(place: Place) -> dict[str, Any]:
    manager = {
        "@type": _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stock",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes()}]},
        "http_filters": [
            {"name": _JWT, "typed_config": _jwt(place)},
            {"name": _RBAC, "typed_config": {"@type": _TYPE + "filters.http.rbac.v3.RBAC"} | _rules([])},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "filters.http.router.v3.Router"},
            },
        ],
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"name": "main", "address": _address(place.port), "filter_chains": [{"filters": [network]}]}


def _jwt(place: Place) -> dict[str, Any]:
    provider = {
        "issuer": place.issuer,
        "audiences": ["gateway"],
        "local_jwks": {"inline_string": json.dumps(place.jwks)},
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "forward": True,
        "clock_skew_seconds": 30,
        "require_expiration": True,
        "payload_in_metadata": _PAYLOAD,
        "claim_to_headers": [{"header_name": "x-user-id", "claim_name": "sub"}],
    }
    return {
        "@type": _TYPE + "filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"idp": provider},
        "rules": [
            {"match": {"path": "/health"}},
            {"match": {"prefix": "/public/"}},
            {"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}},
        ],
    }


def _routes() -> list[dict[str, Any]]:
    return [
        _route({"path": "/health"}, [{"any": True}]),
        _route({"prefix": "/public/"}, [{"any": True}]),
        _route({"prefix": "/api/v1/admin"}, _roles("admin")),
        _route({"prefix": "/api/v1"}, _roles("user", "admin")),
        _route({"prefix": "/"}, []),
    ]


def _roles(*names: str) -> list[Mapping[str, Any]]:
    path = [{"key": _PAYLOAD}, {"key": "realm_access"}, {"key": "roles"}]
    return [
        {
            "sourced_metadata": {
                "metadata_matcher": {
                    "filter": _JWT,
                    "path": path,
                    "value": {"list_match": {"one_of": {"string_match": {"exact": name}}}},
                }
            }
        }
        for name in names
    ]


def _route(match: Mapping[str, str], principals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rbac = {"@type": _TYPE + "filters.http.rbac.v3.RBACPerRoute", "rbac": _rules(principals)}
    return {"match": match, "route": {"cluster": "application"}, "typed_per_filter_config": {_RBAC: rbac}}


def _rules(principals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Allow these and nobody else; nobody at all when the list is empty."""
    policies = {"allowed": {"permissions": [{"any": True}], "principals": principals}} if principals else {}
    return {"rules": {"action": "ALLOW", "policies": policies}}
