"""
What callers of a role mapping (S1) read: `{"detail": …}` where they are refused, who calls where they may pass.

The words are those of the service that it replaces, as far as they say something true here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from wardgate.envoy import Json, names
from wardgate.policy import AnyOf, ClientRole, Condition, Public, RealmRole, Route, Rule

REALM = names.REALM
MISSING = "Missing or malformed Authorization header"

WORDS = {
    "no-credential": MISSING,
    "credential-malformed": MISSING,
    "credential-kind": MISSING,
    "token-expired": "Token expired",
    "keys-unavailable": "Failed to retrieve JWKS",
}
"""By reason code; of other reasons of a token it says `Invalid token: …`, of the rest their own sentence."""

DENIED = "response.code_details.startsWith('rbac_access_denied')"
NO_ROLES = f"!request.headers['{names.CLAIMS}'].contains('.roles=')"

FIRST = (
    (
        "response.code_details == 'rbac_access_denied_matched_policy[fallback]'",
        "No access control configured for: %REQ(:PATH)%",
    ),
    (f"{DENIED} && '{names.CLAIMS}' in request.headers && {NO_ROLES}", "Token contains no roles"),
)
"""Causes that only a role mapping tells apart."""


def body(reason: str, sentence: str) -> Json:
    """The body of one reason."""
    words = WORDS.get(reason)
    if reason == "forbidden":
        words = f"Insufficient roles. Required: %METADATA(ROUTE:{names.METADATA}:required)%"
    elif words is None:
        told = sentence or reason
        words = f"Invalid token: {told[0].lower()}{told[1:]}" if reason.startswith("token-") else told
    return form(words)


def of_status(_: int, title: str) -> str:
    return title


def form(words: str) -> Json:
    """A body of these words."""
    return {"json_format": {"detail": words}, "content_type": "application/json"}


def required(route: Route) -> Json:
    """What a route's metadata says of the roles that it asks for."""
    roles = list(dict.fromkeys(_roles(route.access.when))) if isinstance(route.access, Rule) else []
    return {"metadata": {"filter_metadata": {names.METADATA: {"required": str(roles)}}}}


def _roles(condition: Condition) -> Iterator[str]:
    match condition:
        case RealmRole(role) | ClientRole(_, role):
            yield role
        case AnyOf(conditions):
            for each in conditions:
                yield from _roles(each)
        case _:
            pass


def passes(route: Route) -> Json:
    """The body that lets a request pass. The guard writes that of a caller once a credential (`answer` in gate.lua)."""
    text = f"%REQ({names.ANSWER.upper()})%"
    if isinstance(route.access, Public):
        text = json.dumps({"message": "Public access granted", "user_id": None, "roles": []})
    form = {"text_format_source": {"inline_string": text}, "content_type": "application/json"}
    return {"body_format": form}
