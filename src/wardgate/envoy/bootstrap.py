"""
The part of Envoy's configuration that is written once, at start.

The admin interface is a unix socket that only this user can open. Limits are always set: Envoy's own defaults
are not safe for availability (its threat model says so).
"""

from __future__ import annotations

from wardgate.envoy import EXTENSIONS, Json, logs, typed
from wardgate.patterns import MOST_STEPS
from wardgate.policy import Limits

RUNTIME = {
    # a list of header names is one long alternation: Envoy's own limit for a regex is 100 instructions
    "re2.max_program_size.error_level": MOST_STEPS,
    "re2.max_program_size.warn_level": MOST_STEPS,
    # a connection that opens many streams at once (CVE-2023-44487 resets them, too) takes turns with the others: a stream that was reset
    # by then goes nowhere. After 250 of those within a second each Envoy ends the connection by itself; people who leave a page with
    # many pictures come to fifty
    "http.max_requests_per_io_cycle": 1,
}


def file_source(path: str) -> Json:
    """An xDS subscription to one file. Only a rename into place is noticed; nothing else in the folder is re-read."""
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}


def bootstrap(*, lds: str, cds: str, admin_socket: str, limits: Limits) -> Json:
    return {
        "node": {"id": "wardgate", "cluster": "wardgate"},
        "dynamic_resources": {"lds_config": file_source(lds), "cds_config": file_source(cds)},
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
        "overload_manager": _overload(limits),
        "stats_config": {"histogram_bucket_settings": _buckets()},
        # figures of a cluster cost a hundredth of a megabyte each, and are looked through at each change
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "layered_runtime": {"layers": [{"name": "wardgate", "static_layer": RUNTIME}]},
    }


def _buckets() -> list[Json]:
    return [{"match": {"contains": logs.BEFORE_UPSTREAM}, "buckets": list(logs.BEFORE_UPSTREAM_BUCKETS)}]


def _overload(limits: Limits) -> Json:
    heap = "envoy.resource_monitors.fixed_heap"
    connections = typed(
        EXTENSIONS + "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=limits.connections,
    )
    memory = typed(
        EXTENSIONS + "resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=1 << 30
    )
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": connections,
            },
            {"name": heap, "typed_config": memory},
        ],
        "actions": [
            _action("envoy.overload_actions.shrink_heap", heap, 0.9),
            _action("envoy.overload_actions.stop_accepting_requests", heap, 0.95),
        ],
    }


def _action(name: str, monitor: str, threshold: float) -> Json:
    return {"name": name, "triggers": [{"name": monitor, "threshold": {"value": threshold}}]}
