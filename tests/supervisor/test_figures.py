"""Envoy's figures under our names."""

from __future__ import annotations

import re

from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from wardgate import metrics
from wardgate.supervisor.figures import from_envoy
from wardgate.supervisor.metrics_server import _Ready

TEXT = """
# TYPE envoy_wardgate_token_refused counter
envoy_wardgate_token_refused{details="jwt_authn_access_denied{Jwt_is_expired}",guard="-"} 3
envoy_wardgate_token_refused{details="rbac_access_denied_matched_policy[guard]",guard="token-type"} 2
envoy_wardgate_token_refused{details="something \\"new\\", {odd}",guard="-"} 1
# TYPE envoy_wardgate_before_upstream_us histogram
envoy_wardgate_before_upstream_us_bucket{le="50"} 1
envoy_wardgate_before_upstream_us_bucket{le="2500"} 4
envoy_wardgate_before_upstream_us_bucket{le="+Inf"} 5
envoy_wardgate_before_upstream_us_sum{} 1500
envoy_wardgate_before_upstream_us_count{} 5
envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="gate"} 7
envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix="gate"} 2
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="app-0123456789ab"} 1
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="app-ffffffffffff"} 2
envoy_cluster_upstream_cx_connect_fail{envoy_cluster_name="app-0123456789ab"} 9
envoy_server_something_else{} 1
"""


def figures(text: str) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(_Ready(list(from_envoy(text))))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_refused_credentials_are_counted_by_reason() -> None:
    """Envoy's details and the guard's word become one reason code; an unknown detail is token-invalid."""
    found = figures(TEXT)
    name = metrics.TOKEN_ERRORS.name
    assert found[f'{name}{{reason="token-expired"}}'] == 3
    assert found[f'{name}{{reason="token-type"}}'] == 2
    assert found[f'{name}{{reason="token-invalid"}}'] == 1
    assert found[f'{name}{{reason="token-signature"}}'] == 0


def test_times_are_seconds() -> None:
    """Microseconds of Envoy are seconds in bounds and sum."""
    found = figures(TEXT)
    name = metrics.TOKEN_DURATION.name
    assert found[f'{name}_bucket{{le="5e-05"}}'] == 1
    assert found[f'{name}_bucket{{le="0.0025"}}'] == 4
    assert found[f"{name}_count"] == 5
    assert found[f"{name}_sum"] == 0.0015


def test_upstreams_keep_their_names_when_their_settings_change() -> None:
    """Clusters of one upstream are one upstream, and nothing that is not ours is passed on."""
    found = figures(TEXT)
    assert found['wardgate_upstream_requests_total{code_class="5xx",upstream="app"}'] == 3
    assert found['wardgate_upstream_errors_total{reason="connect",upstream="app"}'] == 9
    assert found['wardgate_requests_total{code_class="2xx"}'] == 7
    assert not [name for name in found if "envoy" in name or "something" in name]


def test_figures_that_never_moved_are_zero() -> None:
    """A dashboard finds its names before the first request."""
    found = figures("")
    assert found["wardgate_requests_active"] == 0
    assert found[f'{metrics.TOKEN_DURATION.name}_bucket{{le="+Inf"}}'] == 0


def test_every_name_is_well_formed() -> None:
    """Prometheus' conventions: counters end in _total, names are unique, every figure is explained."""
    names = [metric.name for metric in metrics.METRICS]
    assert len(names) == len(set(names))
    for metric in metrics.METRICS:
        assert re.fullmatch(r"(?:wardgate|gatekeeper)_[a-z_]+", metric.name)
        assert (metric.form is metrics.Form.COUNTER) == metric.name.endswith("_total")
        assert metric.help.endswith(".")
