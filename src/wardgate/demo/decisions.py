"""The gateway's request log, a line per decision that a person reads at a glance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


def readable(line: str, colour: bool) -> str:
    """One line of JSON as `GET /api/me  200  allowed by /api/**  (user)`; anything else as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.rstrip()
    if not isinstance(entry, dict) or "status" not in entry:
        return line.rstrip()
    status = int(entry["status"])
    mark = (GREEN if status < 400 else RED) if colour else ""
    end = PLAIN if colour else ""
    subject = entry.get("subject")
    who = "anonymous" if subject in (None, "", "-") else subject
    request = f"{entry.get('method')} {entry.get('path')}"
    return f"  {request:<28} {mark}{status}{end}  {_why(status, entry)}  ({who})"


def _why(status: int, entry: Mapping[str, Any]) -> str:
    rule = entry.get("rule") or "no rule"
    if rule == "endpoint":
        return "the gateway itself"
    match status:
        case 303 if entry.get("why") == "ext_authz_denied":
            return f"{rule}: sent to the login"
        case 401:
            return f"{rule}: {entry.get('guard') or _refusal(entry)}"
        case 403:
            return f"denied by {rule}"
        case _ if status < 400:
            return f"allowed by {rule}"
        case _:
            return f"{rule}: {entry.get('guard') or entry.get('why')}"


def _refusal(entry: Mapping[str, Any]) -> str:
    """Why a credential was not enough: the gateway's reason, or what Envoy says of the token."""
    judged, details = str(entry.get("decided_by")), str(entry.get("why"))
    if judged.startswith("reject:"):
        return judged.removeprefix("reject:").replace("-", " ")
    inner = details.partition("{")[2].rstrip("}")
    return inner.replace("_", " ").lower() or details
