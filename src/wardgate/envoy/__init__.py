"""
Envoy's shapes as plain data: one file per Envoy concept, each a few functions from words of the model to JSON.

Nothing here decides: what is emitted, and in which order, is the compiler's. Facts about Envoy 1.40 that are not
in its documentation were found by running it; each stands beside the line that it explains.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

Json = dict[str, Any]

EXTENSIONS = "type.googleapis.com/envoy.extensions."
HTTP_FILTERS = EXTENSIONS + "filters.http."
CONFIG = "type.googleapis.com/envoy.config."


def typed(kind: str, **fields: Any) -> Json:
    """A message inside `typed_config`, `typed_per_filter_config` or `resources`."""
    return {"@type": kind, **fields}


DISABLED: Json = typed(CONFIG + "route.v3.FilterConfig", disabled=True)
"""Settings of a route that has not this filter."""


def enabled(config: Json) -> Json:
    """Settings of a route that has a filter which is disabled in the chain; `config`: the filter's own, or nothing."""
    return typed(CONFIG + "route.v3.FilterConfig", disabled=False, config=config)


def digest(content: object) -> str:
    """Twelve characters that name this content: names change exactly when what they name does."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def duration(value: timedelta) -> str:
    """Protobuf's JSON form: seconds with a fraction and an `s`."""
    seconds = value.total_seconds()
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds:.3f}s"
