"""
Headers that come and go: what a client may never send, what the upstream gets, what the browser gets.

Names are compared folded: WSGI, CGI and PHP read `X-User-Id`, `x_user_id` and `X.User.Id` as one variable, so
every character that is no letter or digit stands for every other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from wardgate.envoy import EXTENSIONS, HTTP_FILTERS, Json, names, typed
from wardgate.policy import INTERNAL_PREFIX

MUTATION = HTTP_FILTERS + "header_mutation.v3.HeaderMutation"

INTERNAL = (f"{INTERNAL_PREFIX}*",)
"""Our own prefix: removed before anything else looks at the request, and again before it goes on (`onward`)."""

FORGEABLE = (
    *("x-auth-*", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-roles"),
    *(
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
        "x-forwarded-id-token",
        "x-forwarded-client-cert",
    ),
    *("remote-user", "remote-name", "remote-email", "remote-groups", "x-remote-user", "x-remote-*"),
    *("x-rewrite-url", "x-original-*"),
    *("x-http-method", "x-http-method-override", "x-method-override", "x-envoy-*", "x-aip-*"),
)
"""Headers by which applications are told who calls or what was asked: from a client, always forged."""

STATIC = (*INTERNAL, *FORGEABLE)
"""Removed at every listener, whatever the policy."""

HOPS = ("forwarded", "x-forwarded-*", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip")
"""What only a trusted proxy may say; from anyone else they are removed, then Envoy writes its own."""

ORIGINAL = ("x-original-*",)
"""By which nginx says what was asked."""

PROGRAMS = ("x-aip-*",)
"""What is said of agents to applications."""

GRANT = "x-aip-authorization"
"""The one of them that agents bring."""

_SEPARATOR = "[^a-z0-9]"


def folded(name: str) -> str:
    """`X-User-Id` as a regex over lower-case names: any separator for any; a `*` at the end is any rest."""
    open_end = name.endswith("*")
    parts = re.split(r"[^a-z0-9]", name.lower().rstrip("*"))
    pattern = _SEPARATOR.join(re.escape(part) for part in parts)
    return pattern + (".*" if open_end else "")


def all_but(name: str) -> str:
    """
    `x-aip-authorization`: a regex over lower-case names for all that begins like it (up to its last separator) and is another
    name, in whatever way separators are written.
    """
    begin, _, end = name.rpartition("-")
    others = [f"{re.escape(end[:i])}(?:[^{end[i]}].*)?" for i in range(len(end))]
    first = f"{folded(begin)}{_SEPARATOR}(?:{'|'.join(others)}|{re.escape(end)}.+)"
    parts = name.split("-")
    odd = [
        _SEPARATOR.join(parts[: i + 1]) + "[^a-z0-9-]" + _SEPARATOR.join(parts[i + 1 :])
        for i in range(len(parts) - 1)
    ]
    return "|".join([first, *odd])


def removal(patterns: Iterable[str], *more: str) -> Json:
    """
    One mutation that removes every header whose folded name is one of `patterns` (RE2 matches the whole name). `more`: regexes.
    """
    names_of = "|".join([_names(patterns), *more])
    return {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": f"(?i)(?:{names_of})"}}}}


def _names(patterns: Iterable[str]) -> str:
    return "|".join(sorted({folded(pattern) for pattern in patterns}))


def early(trusted: bool, asked: bool = False, spends: bool = False) -> Json:
    """
    Mutations before routing. They belong to the listener, so they hold no name that a policy gives.

    `asked`: these peers ask about requests, and say what was asked; `strip` removes it when that was read. `spends`:
    requests bring grants, which routes that require none remove.
    """
    patterns = [one for one in STATIC if not (asked and one in ORIGINAL) and not (spends and one in PROGRAMS)]
    patterns += [] if trusted else HOPS
    more = [all_but(GRANT)] if spends else []
    kind = EXTENSIONS + "http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return {"name": "early", "typed_config": typed(kind, mutations=[removal(patterns, *more)])}


def strip(identity_names: Iterable[str], *, asked: bool) -> Json:
    """
    For the table: what the first filter removes, a client's own copies of the policy's identity headers, by folded name, where `early`
    has left one. `asked`: some peers say what was asked, which has been read by then.
    """
    covered = re.compile(_names(STATIC))
    found = {name for name in identity_names if not covered.fullmatch(name.lower())}
    found |= set(ORIGINAL) if asked else set()
    return {names.STRIP: _per_route([removal(found)], [])} if found else {}


def added(name: str, value: str, how: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    return {"header": {"key": name, "value": value}, "append_action": how}


def nothing() -> Json:
    """A filter whose changes the table and the routes say: the first one, and the last before a request goes on."""
    return typed(MUTATION, mutations={})


def onward(told: Iterable[Json] = (), shown: Iterable[Json] = ()) -> Json:
    """
    What it changes of requests and of their answers, at one level. Envoy does what the route says, then what the table does: there all
    that we said among ourselves is removed, in one pass (by their names, one after the other, it costs four times as much).
    """
    return {names.ONWARD: _per_route(told, shown)}


def _per_route(told: Iterable[Json], shown: Iterable[Json]) -> Json:
    mutations = {"request_mutations": list(told), "response_mutations": list(shown)}
    kind = HTTP_FILTERS + "header_mutation.v3.HeaderMutationPerRoute"
    return typed(kind, mutations={key: value for key, value in mutations.items() if value})


def without_ours() -> Json:
    """For the table: what is ours goes no further, and none of it comes from an upstream."""
    ours = {"remove_on_match": {"key_matcher": {"prefix": INTERNAL_PREFIX}}}
    return onward([ours], [ours])


def uncached() -> Json:
    """
    That pages of a session are not kept, whatever the upstream says: after a logout the back button would show them. (Run
    with Chromium, 2026-11-25: a page with `private, max-age` comes back from the back/forward cache in spite of
    Clear-Site-Data, as it goes in there when the answer to the logout has come.) A value that is not there sets no header.
    """
    return added("cache-control", f"%DYNAMIC_METADATA({names.METADATA}:cache)%")


def forwarded() -> Json:
    """
    The Authorization that the upstream gets in a session: it becomes one only here, after every filter, so that nothing takes
    it for a credential of the request. Nothing is added where there is none.
    """
    return {"append": added("authorization", f"%REQ({names.FORWARD.upper()})%")}


def literal(name: str, value: str, how: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    """A header whose value is text, not a format: a `%` stands for itself."""
    return added(name, value.replace("%", "%%"), how)
