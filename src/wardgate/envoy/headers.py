"""
Headers that come and go: what a client may never send, what the upstream gets, what the browser gets.

Names are compared folded: WSGI, CGI and PHP read `X-User-Id`, `x_user_id` and `X.User.Id` as one variable, so
every character that is no letter or digit stands for every other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from wardgate.envoy import EXTENSIONS, HTTP_FILTERS, Json, digest, names, typed
from wardgate.policy import ClaimValue, IdentityHeader, RawToken

INTERNAL = ("x-wardgate-*",)
"""Our own prefix: removed before anything else looks at the request."""

FORGEABLE = (
    *("x-auth-request-*", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-roles"),
    *(
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
        "x-forwarded-id-token",
        "x-forwarded-client-cert",
    ),
    *("remote-user", "remote-name", "remote-email", "remote-groups", "x-remote-user", "x-remote-*"),
    *("x-original-url", "x-original-uri", "x-original-method", "x-original-*", "x-rewrite-url"),
    *("x-http-method", "x-http-method-override", "x-method-override", "x-envoy-*", "x-aip-*"),
)
"""Headers by which applications are told who calls or what was asked: from a client, always forged."""

HOPS = ("forwarded", "x-forwarded-*", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip")
"""What only a trusted proxy may say; from anyone else they are removed, then Envoy writes its own."""

_SEPARATOR = "[^a-z0-9]"

LISTS = frozenset({"aud", "groups", "roles", "amr", "permissions", "entitlements", "organization"})
"""Claims that usually are lists (by the last part of the path): Lua joins them; everything else is written natively."""


def folded(name: str) -> str:
    """`X-User-Id` as a regex over lower-case names: any separator for any; a `*` at the end is any rest."""
    open_end = name.endswith("*")
    parts = re.split(r"[^a-z0-9]", name.lower().rstrip("*"))
    pattern = _SEPARATOR.join(re.escape(part) for part in parts)
    return pattern + (".*" if open_end else "")


def removal(patterns: Iterable[str]) -> Json:
    """One mutation that removes every header whose folded name is one of `patterns` (RE2 matches the whole name)."""
    regex = "(?i)(?:" + "|".join(sorted({folded(pattern) for pattern in patterns})) + ")"
    return {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": regex}}}}


def early(trusted: bool) -> Json:
    """Mutations before routing. They belong to the listener, so they hold no name that a policy gives."""
    patterns = (*INTERNAL, *FORGEABLE, *(() if trusted else HOPS))
    kind = EXTENSIONS + "http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return {"name": "early", "typed_config": typed(kind, mutations=[removal(patterns)])}


def strip(identity_names: Iterable[str], generation: int = 0) -> Json:
    """
    The first HTTP filter: a client's own copies of the policy's identity headers, by folded name.

    `generation` makes two contents differ: Envoy takes a rejected content, sent again, as accepted.
    """
    mark = {"remove": f"{names.INTERNAL_GENERATION}{generation}"}
    found = sorted(set(identity_names))
    mutations = ([removal(found)] if found else []) + [mark]
    return typed(
        HTTP_FILTERS + "header_mutation.v3.HeaderMutation", mutations={"request_mutations": mutations}
    )


def is_native(header: IdentityHeader) -> bool:
    """Whether Envoy's own formatter writes the header (Lua then only steps in for values that need care)."""
    return isinstance(header.value, ClaimValue) and header.value.path[-1] not in LISTS


def native(header: IdentityHeader) -> Json:
    """The header from verified claims, unless Lua has set it; an absent claim sets nothing."""
    assert isinstance(header.value, ClaimValue)
    path = ":".join((names.JWT_METADATA, names.PAYLOAD, *header.value.path))
    return added(header.name, f"%DYNAMIC_METADATA({path})%", "ADD_IF_ABSENT")


def identity_context(identity: tuple[IdentityHeader, ...]) -> Json:
    """What the second Lua filter is told about a route."""
    headers = [_context(header) for header in identity]
    return {"set": digest(headers), "headers": headers}


def _context(header: IdentityHeader) -> Json:
    match header.value:
        case RawToken():
            return {"name": header.name.lower(), "token": True}
        case ClaimValue(path=path, separator=separator):
            common = {"name": header.name.lower(), "path": list(path), "separator": separator}
            return {**common, "native": is_native(header)}


def added(name: str, value: str, how: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    return {"header": {"key": name, "value": value}, "append_action": how}


def literal(name: str, value: str) -> Json:
    """A header whose value is text, not a format: a `%` stands for itself."""
    return added(name, value.replace("%", "%%"))
