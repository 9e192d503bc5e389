"""
Headers that come and go: what a client may never send, what the upstream gets, what the browser gets.

Names are compared folded: WSGI, CGI and PHP read `X-User-Id`, `x_user_id` and `X.User.Id` as one variable, so
every character that is no letter or digit stands for every other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from wardgate.envoy import EXTENSIONS, HTTP_FILTERS, Json, digest, names, typed
from wardgate.policy import ClaimValue, IdentityHeader, RawToken

LUA = HTTP_FILTERS + "lua.v3.Lua"
LUA_PER_ROUTE = HTTP_FILTERS + "lua.v3.LuaPerRoute"

INTERNAL = ("x-wardgate-*",)
"""Our own prefix: removed before anything else looks at the request."""

FORGEABLE = (
    *("x-auth-*", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-roles"),
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


@cache
def _identity_lua() -> str:
    return (files("wardgate.envoy") / "lua" / "identity.lua").read_text(encoding="utf-8")


def identity_source(identity: tuple[IdentityHeader, ...], verify: bool) -> str:
    """The second Lua filter's text for one list of headers; `verify`: look first whether this request was verified."""
    listed = "{" + ", ".join(_lua_header(header) for header in identity) + "}"
    return _identity_lua().replace("@VERIFY@", "true" if verify else "false").replace("@HEADERS@", listed)


def identity_name(identity: tuple[IdentityHeader, ...], verify: bool) -> str:
    """How routes name that text."""
    return f"headers-{digest(identity_source(identity, verify))}"


def identity_filter(sources: Mapping[str, str]) -> Json:
    """The filter with the texts that routes name; without one it does nothing."""
    default = {"inline_string": "function envoy_on_request(handle) end"}
    named = {name: {"inline_string": text} for name, text in sources.items()}
    # one route judges: without clear_route_cache=False Envoy matches the route again after every header that Lua sets
    return typed(LUA, default_source_code=default, source_codes=named, clear_route_cache=False)


def _lua_header(header: IdentityHeader) -> str:
    name = f"name = {lua_text(header.name.lower())}"
    match header.value:
        case RawToken():
            return f"{{{name}, token = true}}"
        case ClaimValue(path=path, separator=separator):
            steps = ", ".join(lua_text(step) for step in path)
            native = "true" if is_native(header) else "false"
            return f"{{{name}, path = {{{steps}}}, separator = {lua_text(separator)}, native = {native}}}"


def lua_text(text: str) -> str:
    """Text as a Lua literal in which nothing can end the literal: all but letters and digits as decimal bytes."""
    return (
        '"' + "".join(chr(b) if chr(b).isalnum() and b < 128 else f"\\{b:03d}" for b in text.encode()) + '"'
    )


def added(name: str, value: str, how: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    return {"header": {"key": name, "value": value}, "append_action": how}


def literal(name: str, value: str) -> Json:
    """A header whose value is text, not a format: a `%` stands for itself."""
    return added(name, value.replace("%", "%%"))
