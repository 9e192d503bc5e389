"""`metrics.md`: every figure, from `wardgate.metrics`."""

from __future__ import annotations

from tests.reference.markdown import code, head, page, table
from wardgate.metrics import METRICS, Metric


def text() -> str:
    """The page."""
    intro = head(
        "Metrics",
        "`GET /metrics` on the admin address (`admin` in wardgate.yaml; `listen-admin`, or port 9090 with "
        "`enable-metrics`, in a gatekeeper file) answers in Prometheus' text format. Nothing else is served there.",
        "Names are stable. `gatekeeper_*` are the names that dashboards for Gatekeeper use; `wardgate_*` are our own. "
        "Histograms have the usual `_bucket`, `_sum` and `_count`. Envoy hands its figures on every few seconds, so a "
        "request shows a moment later. Alerts to start with: [Metrics and alerts](../how-to/metrics.md).",
        "A `reason` is one of the [answers to requests](problems.md#answers-to-requests).",
    )
    return page([*intro, *table(("Name", "Type", "Labels", "Meaning"), map(_row, METRICS))])


def _row(metric: Metric) -> tuple[str, str, str, str]:
    labels = ", ".join(code(label) for label in metric.labels)
    return code(metric.name), metric.form.value, labels, metric.help
