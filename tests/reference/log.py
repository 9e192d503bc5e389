"""`log.md`: the fields of a request's line, from `wardgate.envoy.logs`, and the rules that every policy has."""

from __future__ import annotations

from collections.abc import Mapping

from tests.reference.markdown import code, head, page, table
from wardgate.decision import RULES
from wardgate.envoy.logs import FIELDS

MEANINGS: Mapping[str, str] = {
    "time": "When the request began, UTC, to the millisecond.",
    "request_id": "The request's id: also in the answer's `X-Request-ID` and in problem documents.",
    "client": "The caller's address: the socket's peer, or what a trusted proxy says.",
    "method": "The method.",
    "host": "The host that was asked for, with its port if one was given.",
    "path": "The path after normalization (dot segments, double slashes), without the query.",
    "status": "The status that was answered.",
    "rule": "The route that was found: its name, or one of the rules below.",
    "decided_by": "What judged: the route's name, a rule below, `open` where no credential is looked at, or `reject:` and "
    "a reason. `null` when the answer came before any judgement: a refused token or path, a preflight.",
    "why": "Envoy's words for how the answer came about; `via_upstream` is the application's own answer.",
    "guard": "The reason for which the guard refused the path or the credential; else `null`.",
    "subject": "`sub` of the verified token; `-` or `null` for anyone else.",
    "flags": "Envoy's response flags, such as `UF` (upstream connection failed); `-` is none.",
    "protocol": "`HTTP/1.1`, `HTTP/2`.",
    "bytes_in": "Body bytes received from the caller.",
    "bytes_out": "Body bytes sent to the caller.",
    "gateway_us": "Microseconds from the receipt to the start of the upstream request; `null` when there was none.",
    "total_ms": "Milliseconds from the receipt to the end of the answer.",
}

RULE_MEANINGS: Mapping[str, tuple[str, str]] = {
    "cors-preflight": ("A CORS preflight, answered by the gateway.", "`why` is `cors_response`"),
    "endpoint": (
        "A path below the gateway's own prefix (`/oauth`): its service answers where there is a login, else 404.",
        "`rule`",
    ),
    "endpoint:health": ("The health endpoint.", "`rule`"),
    "fallback": ("No route is for the path: 401 without a valid credential, else 403.", "`rule`"),
    "guard:credential": (
        "More than one credential, or two session cookies: 400.",
        "`guard` is `credential-several`",
    ),
    "guard:header": (
        "A header with an underscore in its name, or a control byte in its value: 400.",
        "`why`",
    ),
    "guard:host": ("The Host is not one name or address: 400.", "`rule`"),
    "guard:method": ("A method that no route of the host could mean, such as TRACE: 405.", "`rule`"),
    "guard:path": ("A path that two programs could read in two ways: 400.", "`guard` is `path-unsafe`"),
    "guard:upgrade": (
        "A WebSocket where no route takes one: 403, before anything else is looked at.",
        "`why` is `upgrade_failed`",
    ),
    "route-again": (
        "The route that a caller's claims choose is of another policy (`recomputeRoute`): 403.",
        "`decided_by`",
    ),
    "letter-case": ("The path of a protecting route in other letters: 403.", "`decided_by`"),
    "method-not-listed": ("There are routes for the path, and none lists the method: 401 or 403.", "`rule`"),
    "forward-auth": (
        "Another proxy asked whether a request may pass, and is not trusted (403) or did not say which (400).",
        "`rule`",
    ),
    "no-route": ("The listener only answers other proxies, and this was no question: 404.", "`rule`"),
    "no-host": ("No host of this name is served: 404.", "`rule`"),
    "redirect:https": ("Plain http where https is asked for: 301.", "`rule`"),
}


def text() -> str:
    """The page."""
    intro = head(
        "Log",
        "One JSON object per request, a line each, on stdout. No tokens, no cookies, no query strings. A field "
        "without a value is `null`. `access-log: false` (`enable-logging: false` in a gatekeeper file) ends it.",
        "What the gateway says about itself (starts, reloads, problems, keys) goes to stderr: JSON too "
        "(`time`, `level`, `event`, and data), or short text when stderr is a terminal.",
    )
    fields = [(code(name), MEANINGS.get(name, "")) for name in FIELDS]
    rules = [(code(name), *RULE_MEANINGS.get(name, ("", ""))) for name in sorted(RULES)]
    lines = [*intro, *table(("Field", "Meaning"), fields)]
    lines += ["## Rules that no route has", ""]
    lines += ["Every policy brings these along. `wardgate explain` prints them as `rule`.", ""]
    return page([*lines, *table(("Rule", "Meaning", "In the log"), rules)])
