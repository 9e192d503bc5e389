"""
One JSON line per request on stdout, and the two figures that Envoy does not count by itself.

No tokens, no cookies, and no query strings (a query can carry a code or a token). The log is written at the end
of a request; Envoy flushes it by `--file-flush-interval-msec`.
"""

from __future__ import annotations

from wardgate.envoy import EXTENSIONS, Json, names, typed

_RBAC = "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%"

FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "status": "%RESPONSE_CODE%",
    "rule": "%ROUTE_NAME%",
    "decided_by": _RBAC,
    "why": "%RESPONSE_CODE_DETAILS%",
    "guard": f"%DYNAMIC_METADATA({names.METADATA}:why)%",
    "subject": f"%DYNAMIC_METADATA({names.METADATA}:subject)%",
    "flags": "%RESPONSE_FLAGS%",
    "protocol": "%PROTOCOL%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "gateway_us": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
    "total_ms": "%DURATION%",
}
"""The line's fields, in order. `rule` is the route, `decided_by` the rule's or guard's name in RBAC."""


def access_log() -> Json:
    kind = EXTENSIONS + "access_loggers.stream.v3.StdoutAccessLog"
    return {"name": "stdout", "typed_config": typed(kind, log_format={"json_format": FIELDS})}


REFUSALS = "token_refused"
BEFORE_UPSTREAM = "before_upstream_us"
NOT_MEASURED = "Stats access logger computed non-number value"
BEFORE_UPSTREAM_BUCKETS = (50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 1_000_000)
"""Upper bounds in microseconds."""


def refusals() -> Json:
    """
    Counts credentials that were presented and refused: `wardgate.token_refused`, tags `details` and `guard`.

    Both tags together say the reason (`replies.reason_of`); their values are bounded, a client chooses none.
    """
    tags = [
        {"name": "details", "value_format": "%RESPONSE_CODE_DETAILS%"},
        {"name": "guard", "value_format": f"%DYNAMIC_METADATA({names.METADATA}:why)%"},
    ]
    counter = {"stat": {"name": REFUSALS, "tags": tags}, "value_fixed": 1}
    presented = {"header_filter": {"header": {"name": "authorization", "present_match": True}}}
    comparison = {"op": "EQ", "value": {"default_value": 401, "runtime_key": "wardgate.unset"}}
    condition = {"and_filter": {"filters": [{"status_code_filter": {"comparison": comparison}}, presented]}}
    kind = EXTENSIONS + "access_loggers.stats.v3.Config"
    config = typed(kind, stats_scope={"prefix": "wardgate"}, counters=[counter])
    return {"name": "refusals", "filter": condition, "typed_config": config}


def before_upstream() -> Json:
    """
    A histogram of the time from receipt to the start of the upstream request, in microseconds. What never reached one has no such
    time and is not counted; of that Envoy says an error, at most every ten seconds (`NOT_MEASURED`). A filter that asks costs each
    request more than all the rest of the log.
    """
    stat = {"stat": {"name": BEFORE_UPSTREAM}, "unit": "Microseconds"}
    histogram = {**stat, "value_format": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%"}
    kind = EXTENSIONS + "access_loggers.stats.v3.Config"
    config = typed(kind, stats_scope={"prefix": "wardgate"}, histograms=[histogram])
    return {"name": "before-upstream", "typed_config": config}
