"""
Envoy's figures under our names. Pure: text in, metric families out.

Envoy prefixes every name with `envoy_`, counts times in whole milliseconds or microseconds, and names upstreams with
a digest of their settings; none of that is for dashboards. What is not listed here is not passed on.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from wardgate import metrics
from wardgate.authn import jwt
from wardgate.envoy import logs, names, replies
from wardgate.metrics import Form, Metric

_HTTP = rf"^http\.{names.STAT_PREFIX}\.downstream_(?:rq_[1-5]xx|rq_active|rq_time|cx_active|cx_total)$"
_CLUSTER = r"^cluster\..*\.upstream_(?:rq_[1-5]xx|rq_active|rq_time|cx_connect_fail|rq_timeout|rq_rx_reset|rq_pending_overflow)$"
_LISTENER = r"^listener\..*\.downstream_(?:cx_overflow|global_cx_overflow|cx_overload_reject)$"
PATTERN = "|".join((_HTTP, _CLUSTER, _LISTENER, r"^wardgate\.", r"^server\.live$"))
"""The statistics that are asked for, by the names that Envoy gives them inside."""

_ERRORS: Mapping[str, str] = {
    "envoy_cluster_upstream_cx_connect_fail": "connect",
    "envoy_cluster_upstream_rq_timeout": "timeout",
    "envoy_cluster_upstream_rq_rx_reset": "reset",
    "envoy_cluster_upstream_rq_pending_overflow": "overflow",
}
_REFUSED = (
    "envoy_listener_downstream_cx_overflow",
    "envoy_listener_downstream_global_cx_overflow",
    "envoy_listener_downstream_cx_overload_reject",
)
_MILLI, _MICRO = 1e-3, 1e-6

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_]\w*)(?:\{(?P<labels>.*)\})? (?P<value>[-+.\w]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_UNESCAPE = re.compile(r"\\(.)")
"""prometheus_client's own parser renames counters that do not end in _total, as Envoy's do not."""

Labels = TypeVar("Labels", bound=tuple[str, ...])


@dataclass(slots=True)
class Values:
    """Samples of one figure by their labels' values; those of one name are summed."""

    samples: dict[tuple[str, ...], float] = field(default_factory=lambda: defaultdict(float))

    def add(self, value: float, *labels: str) -> None:
        self.samples[labels] += value


@dataclass(slots=True)
class Histogram:
    """Cumulated counts by upper bound in seconds, as text: Prometheus compares bounds as text."""

    buckets: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    sum_s: float = 0.0


Tables = dict[Metric, dict[tuple[str, ...], Histogram]]


def simple(metric: Metric, samples: Mapping[Labels, float]) -> Family:
    """A counter or gauge family."""
    kind = CounterMetricFamily if metric.form is Form.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        family.add_metric(labels, value)
    return family


def from_envoy(text: str) -> Iterator[Family]:
    """Everything that Envoy counts, from its Prometheus text; figures that never moved are zero, not absent."""
    reader = _Reader()
    for match in _SAMPLE.finditer(text):
        labels = {name: _UNESCAPE.sub(r"\1", value) for name, value in _LABEL.findall(match["labels"] or "")}
        reader.take(match["name"], labels, float(match["value"]))
    yield from reader.families()


class _Reader:
    """Sorts Envoy's samples into our figures."""

    def __init__(self) -> None:
        self.simple: dict[Metric, Values] = {
            metric: Values()
            for metric in (
                metrics.TOKEN_ERRORS,
                metrics.REQUESTS,
                metrics.REQUESTS_ACTIVE,
                metrics.CONNECTIONS,
                metrics.CONNECTIONS_ACTIVE,
                metrics.CONNECTIONS_REFUSED,
                metrics.UPSTREAM_REQUESTS,
                metrics.UPSTREAM_ERRORS,
                metrics.UPSTREAM_ACTIVE,
            )
        }
        self.histograms: Tables = {
            metrics.TOKEN_DURATION: {(): _empty(logs.BEFORE_UPSTREAM_BUCKETS)},
            metrics.REQUEST_DURATION: {},
            metrics.UPSTREAM_DURATION: {},
        }
        for reason in replies.REASONS.values():
            if reason.status == 401 and reason.challenge:  # without an error: nothing was presented
                self.simple[metrics.TOKEN_ERRORS].add(0, reason.code)
        for code_class in ("2xx", "3xx", "4xx", "5xx"):
            self.simple[metrics.REQUESTS].add(0, code_class)
        for metric in (metrics.REQUESTS_ACTIVE, metrics.CONNECTIONS, metrics.CONNECTIONS_ACTIVE):
            self.simple[metric].add(0)
        self.simple[metrics.CONNECTIONS_REFUSED].add(0)

    def take(self, name: str, labels: Mapping[str, str], value: float) -> None:
        if name.startswith("envoy_wardgate_"):
            self._own(name.removeprefix("envoy_wardgate_"), labels, value)
        elif name.startswith("envoy_http_downstream_"):
            self._http(name.removeprefix("envoy_http_downstream_"), labels, value)
        elif name.startswith("envoy_cluster_"):
            self._upstream(name, labels, value)
        elif name in _REFUSED:
            self.simple[metrics.CONNECTIONS_REFUSED].add(value)

    def _own(self, name: str, labels: Mapping[str, str], value: float) -> None:
        if name == logs.REFUSALS:
            details, guard = labels.get("details", ""), labels.get("guard", "")
            reason = replies.reason_of(details, guard, jwt.REASONS)
            self.simple[metrics.TOKEN_ERRORS].add(value, reason)
        elif name.startswith(logs.BEFORE_UPSTREAM):
            part = name.removeprefix(logs.BEFORE_UPSTREAM)
            self._histogram(metrics.TOKEN_DURATION, (), part, labels, value, _MICRO)

    def _http(self, name: str, labels: Mapping[str, str], value: float) -> None:
        match name:
            case "rq_xx":
                self.simple[metrics.REQUESTS].add(value, _code_class(labels))
            case "rq_active":
                self.simple[metrics.REQUESTS_ACTIVE].add(value)
            case "cx_total":
                self.simple[metrics.CONNECTIONS].add(value)
            case "cx_active":
                self.simple[metrics.CONNECTIONS_ACTIVE].add(value)
            case _ if name.startswith("rq_time"):
                part = name.removeprefix("rq_time")
                self._histogram(metrics.REQUEST_DURATION, (), part, labels, value, _MILLI)

    def _upstream(self, name: str, labels: Mapping[str, str], value: float) -> None:
        upstream = re.sub(r"-[0-9a-f]{12}$", "", labels.get("envoy_cluster_name", ""))
        if name in _ERRORS:
            self.simple[metrics.UPSTREAM_ERRORS].add(value, upstream, _ERRORS[name])
        elif name == "envoy_cluster_upstream_rq_xx":
            self.simple[metrics.UPSTREAM_REQUESTS].add(value, upstream, _code_class(labels))
        elif name == "envoy_cluster_upstream_rq_active":
            self.simple[metrics.UPSTREAM_ACTIVE].add(value, upstream)
        elif name.startswith("envoy_cluster_upstream_rq_time"):
            part = name.removeprefix("envoy_cluster_upstream_rq_time")
            self._histogram(metrics.UPSTREAM_DURATION, (upstream,), part, labels, value, _MILLI)

    def _histogram(
        self,
        metric: Metric,
        key: tuple[str, ...],
        part: str,
        labels: Mapping[str, str],
        value: float,
        unit: float,
    ) -> None:
        table = self.histograms[metric].setdefault(key, Histogram())
        if part == "_bucket":
            table.buckets[_bound(labels["le"], unit)] += value
        elif part == "_sum":
            table.sum_s += value * unit

    def families(self) -> Iterator[Family]:
        for metric, values in self.simple.items():
            yield simple(metric, values.samples)
        for metric, tables in self.histograms.items():
            family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for key, table in tables.items():
                ordered = sorted(table.buckets.items(), key=lambda item: float(item[0]))
                family.add_metric(key, buckets=ordered, sum_value=table.sum_s)
            yield family


def _empty(bounds_us: Iterable[int]) -> Histogram:
    bounds = [_bound(str(bound), _MICRO) for bound in bounds_us]
    return Histogram(buckets=defaultdict(float, dict.fromkeys([*bounds, "+Inf"], 0.0)))


def _bound(text: str, unit: float) -> str:
    """An upper bound in seconds: 2500 µs is 0.0025, whatever floating point makes of the product."""
    return "+Inf" if text == "+Inf" else f"{float(text) * unit:.9g}"


def _code_class(labels: Mapping[str, str]) -> str:
    return labels.get("envoy_response_code_class", "?") + "xx"
