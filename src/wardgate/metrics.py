"""
Every figure that `/metrics` serves: its name, kind, labels and meaning. The reference in `docs/` is made from this.

Names are stable: dashboards and alerts are written for them. `gatekeeper_*` are those of S0's monitoring; the others
are ours, whatever Envoy calls its own. Where the values come from is the supervisor's business (`figures.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """How a figure moves (Prometheus' metric types)."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure. A counter's name ends in `_total`, a time's in `_seconds`."""

    name: str
    form: Form
    help: str
    labels: tuple[str, ...] = ()


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(name=name, form=Form.COUNTER, help=help, labels=labels)


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(name=name, form=Form.GAUGE, help=help, labels=labels)


def _histogram(name: str, help: str, *labels: str) -> Metric:
    return Metric(name=name, form=Form.HISTOGRAM, help=help, labels=labels)


TOKEN_ERRORS = _counter(
    "gatekeeper_token_validation_errors_total",
    "Requests whose credential was presented and refused, by reason. Requests without one are not counted.",
    "reason",
)
TOKEN_DURATION = _histogram(
    "gatekeeper_token_validation_duration_seconds",
    "Time from the receipt of a request to the start of its upstream request: all that the gateway does before it "
    "forwards, token validation included. Requests that reached no upstream are not measured.",
)
LOGIN_SUCCESS = _counter("gatekeeper_login_success_total", "Browser logins that ended in a session.")
LOGIN_FAILURES = _counter("gatekeeper_login_failures_total", "Browser logins that failed.")
LOGIN_REASONS = _counter("wardgate_login_failures_total", "Browser logins that failed, by reason.", "reason")
RESOLVED = _counter(
    "wardgate_resolved_total",
    "Questions of Envoy to the service about a credential that its worker did not know: session, login (nobody is "
    "logged in), token and checked (the issuer is asked), key (signed with a key not seen yet); attested, left (to "
    "Envoy's own judgement), redirected, rejected, answered, unavailable. After first sight a session is asked about "
    "once in an attested lifetime, by each worker.",
    "kind",
    "outcome",
)

AGENT_EVENTS = _counter(
    "wardgate_agent_requests_total",
    "What happened to requests of agents by this replica: filed, vote, approved, denied, revoked, expired, granted, spent, "
    "executing, completed, failed. What policies decide at once is filed and nothing else.",
    "event",
)
AGENT_PENDING = _gauge(
    "wardgate_agent_requests_pending", "Requests of agents that wait for people, at all replicas."
)
AGENT_TELLING = _gauge(
    "wardgate_webhook_deliveries_pending",
    "Requests that the webhook has still to be told of, at all replicas.",
)

REQUESTS = _counter(
    "wardgate_requests_total", "Requests answered, by class of status (2xx, 4xx, ...).", "code_class"
)
REQUESTS_ACTIVE = _gauge(
    "wardgate_requests_active", "Requests that are being answered now, open WebSockets included."
)
REQUEST_DURATION = _histogram(
    "wardgate_request_duration_seconds", "Time from the receipt of a request to its end."
)
CONNECTIONS = _counter("wardgate_connections_total", "Client connections accepted.")
CONNECTIONS_ACTIVE = _gauge("wardgate_connections_active", "Client connections open now.")
CONNECTIONS_REFUSED = _counter(
    "wardgate_connections_refused_total", "Client connections refused over the limit."
)

UPSTREAM_REQUESTS = _counter(
    "wardgate_upstream_requests_total",
    "Answers of an upstream, by class of status.",
    "upstream",
    "code_class",
)
UPSTREAM_ERRORS = _counter(
    "wardgate_upstream_errors_total",
    "Requests that an upstream did not answer: connect (not reachable), timeout, reset (broke off), overflow "
    "(too many waiting).",
    "upstream",
    "reason",
)
UPSTREAM_ACTIVE = _gauge(
    "wardgate_upstream_requests_active", "Requests that wait for an upstream now.", "upstream"
)
UPSTREAM_DURATION = _histogram(
    "wardgate_upstream_duration_seconds", "Time that an upstream took to answer.", "upstream"
)

BUILD = _gauge("wardgate_build_info", "Always 1; the version is in the label.", "version")
PROCESS_UP = _gauge("wardgate_process_up", "Whether a process answers: 1, or 0.", "process")
PROCESS_RESTARTS = _counter(
    "wardgate_process_restarts_total", "Times a dead process was started again.", "process"
)
PROCESS_MEMORY = _gauge("wardgate_process_memory_bytes", "Resident memory of a process.", "process")
RELOADS = _counter(
    "wardgate_config_reloads_total",
    "Changes of the configuration or of keys after the start: applied, unchanged, refused (bad file; the one before "
    "stays), rejected (Envoy did not take it; the one before stays).",
    "result",
)
RELOAD_DURATION = _gauge(
    "wardgate_config_reload_seconds", "How long the last change took until it was in force."
)
CONFIG_TIME = _gauge(
    "wardgate_config_applied_timestamp_seconds",
    "When the configuration in force was applied, in seconds since 1970.",
)
CONFIG_GENERATION = _gauge(
    "wardgate_config_generation", "Counts the configurations that were offered to Envoy."
)

KEYS = _gauge("wardgate_issuer_keys", "Keys in the last set that was fetched from an issuer.", "provider")
KEYS_TIME = _gauge(
    "wardgate_issuer_keys_fetched_timestamp_seconds",
    "When an issuer's keys were last fetched with success, in seconds since 1970.",
    "provider",
)
KEY_FETCHES = _counter(
    "wardgate_issuer_fetches_total",
    "Fetches of an issuer's keys: ok, or the code of what went wrong (the keys before stay in force).",
    "provider",
    "result",
)

KUBERNETES_OBJECTS = _gauge(
    "wardgate_kubernetes_objects", "Objects of the cluster that are known here.", "kind"
)
KUBERNETES_WATCHED = _gauge(
    "wardgate_kubernetes_watched",
    "Whether a kind is watched now: 1, or 0 (what was seen last stays in force).",
    "kind",
)
KUBERNETES_ERRORS = _counter(
    "wardgate_kubernetes_errors_total",
    "What went wrong while a kind was listed or watched: away, absent (no such kind), http-STATUS.",
    "kind",
    "reason",
)
KUBERNETES_STATUSES = _counter(
    "wardgate_kubernetes_status_writes_total",
    "Statuses written: written, conflict and failed (tried again), refused (the CRD does not take it).",
    "result",
)
KUBERNETES_QUEUE = _gauge(
    "wardgate_kubernetes_status_queue", "Objects whose status is still to be compared or written."
)
KUBERNETES_LEADS = _gauge(
    "wardgate_kubernetes_leader", "Whether this replica is the one that writes statuses: 1, or 0."
)
KUBERNETES_LAG = _gauge(
    "wardgate_kubernetes_lag_seconds",
    "Age of the oldest change in the cluster that has not been read yet; 0 when there is none.",
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order above."""
