"""
What a route asks of a request beside who calls: that no other site's page sends it, one of its keys, a name and a password. The same
answers as Envoy's filters give (`envoy/gates.py`), in their order.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from wardgate.decision.browser import scheme
from wardgate.decision.case import Case, Ruling
from wardgate.decision.model import Decision, Outcome
from wardgate.policy import ApiKeys, BasicUsers, Carrier, CrossSite, Mode, Route, key_digest
from wardgate.problems import shown

CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one of them found; `reason` None: it lets the request pass."""

    text: str
    seen: str
    reason: str | None = None
    status: int = 401


def refused(case: Case, ruling: Ruling) -> Decision | None:
    """The answer of the first that refuses; None when all let the request pass, or there are none."""
    if ruling.route is None or case.request.asked:
        return None
    for asked in _asked(case, ruling.route):
        case.note(asked.text, asked.reason is None, ruling.where, seen=asked.seen)
        if asked.reason is not None:
            outcome = Outcome.DENY if asked.status == 403 else Outcome.REJECT
            return case.close(asked.status, outcome, ruling.rule, asked.reason, ruling.where)
    return None


def _asked(case: Case, route: Route) -> Iterator[_Asked]:
    by_metadata = route.cross_site is not None and route.cross_site.by_metadata
    if by_metadata:
        yield from _page(case, route)
    if route.api_keys is not None:
        yield _key(case, route.api_keys)
    if not by_metadata:
        yield from _page(case, route)
    if route.basic_users is not None:
        found = _basic(case)
        if found is None:
            yield _Asked("a name and its password", "none", "basic-missing")
        else:
            known = _is_user(route.basic_users, *found)
            yield _Asked("a name and its password", shown(found[0]), None if known else "basic-wrong")


def _page(case: Case, route: Route) -> Iterator[_Asked]:
    if route.cross_site is not None:
        page, origin = "a page of this host asks, or for no change", shown(case.request.value("origin") or "")
        own = _is_own_page(case, route.cross_site)
        yield _Asked(page, origin, None if own else "cross-site", 403)


def _key(case: Case, spec: ApiKeys) -> _Asked:
    key = key_in(case, spec)
    client = _client(spec, key) if key else None
    reason = None if client else "api-key-unknown" if key else "api-key-missing"
    if spec.mode is Mode.PERMISSIVE or (spec.mode is Mode.OPTIONAL and not key):
        reason = None
    return _Asked(
        "a key of a client", shown(client) if client else "none of theirs" if key else "none", reason
    )


def told(case: Case, route: Route) -> tuple[tuple[str, str], ...]:
    """Whose key and password it was, as the upstream is told. Only for a request that is not `refused`."""
    found = []
    if route.api_keys is not None and route.api_keys.told is not None:
        client = _client(route.api_keys, key_in(case, route.api_keys) or "")
        found += [(route.api_keys.told, client)] if client else []
    if route.basic_users is not None and route.basic_users.told is not None:
        user = _basic(case)
        found += [(route.basic_users.told, user[0])] if user else []
    return tuple(found)


def hides_authorization(route: Route) -> bool:
    """Whether the upstream does not get the key that stands there."""
    keys = route.api_keys
    return keys is not None and keys.strip and any(name.lower() == "authorization" for name in keys.headers)


def without_keys(route: Route, cookies: str | None) -> str | None:
    """The cookies that the upstream gets: without those where keys and tokens are looked for, if it is to see none."""
    keys = route.api_keys
    gone = set(keys.cookies) if keys is not None and keys.strip else set()
    if route.hides_places:
        gone |= {place.name for place in route.credentials.places if place.carrier is Carrier.COOKIE}
    if cookies is None or not gone:
        return cookies
    kept = [part for part in cookies.split(";") if part.strip(" \t").partition("=")[0] not in gone]
    return ";".join(kept) or None


# --- pages of other sites


def _is_own_page(case: Case, spec: CrossSite) -> bool:
    if spec.by_metadata:
        return _is_own_by_metadata(case, spec)
    if case.request.method not in CHANGING:
        return True
    source = _place(case.request.value("origin")) or _place(case.request.value("referer"))
    own = _place(case.request.host)
    return bool(source) and (source == own or any(re.fullmatch(each, source) for each in spec.patterns()))


def _is_own_by_metadata(case: Case, spec: CrossSite) -> bool:
    request = case.request
    origin, site = request.value("origin"), request.value("sec-fetch-site")
    origin = None if origin == "null" else origin
    if request.method in ("GET", "HEAD", "OPTIONS") or origin in spec.origins:
        return True
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or origin == f"{scheme(request)}://{request.host}"


def _place(text: str | None) -> str:
    """Host and port of a URL; what is none as it is."""
    if not text:
        return ""
    return urlsplit(text).netloc if re.match("https?://", text, re.IGNORECASE) else text


# --- keys


def _line(case: Case, name: str) -> str:
    """A header's value as Envoy has it: lines of Authorization are joined, of other headers the first counts."""
    if name.lower() == "authorization":
        return case.request.value(name) or ""
    return next(iter(case.request.values(name)), "")


def key_in(case: Case, spec: ApiKeys) -> str | None:
    """The first key that is there."""
    for name in spec.headers:
        if value := _line(case, name):
            return value.removeprefix("Bearer ")
    query = parse_qsl(case.target.partition("?")[2], keep_blank_values=True, encoding="latin-1")  # as headers
    for name in spec.params:
        if value := next((value for key, value in query if key == name), ""):
            return value
    cookies = [part.strip().partition("=") for part in (case.request.value("cookie") or "").split(";")]
    for name in spec.cookies:
        if value := next((_unquoted(value) for key, _, value in cookies if key == name), ""):
            return value
    return None


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


MOST_KEY: Final = 4096
"""In bytes; as `gate.lua` has it."""


def _client(spec: ApiKeys, key: str) -> str | None:
    brought = key.encode("latin-1", "replace")
    digest = key_digest(brought)
    found = (client for client, known in spec.keys if hmac.compare_digest(known.reveal(), digest))
    return next(found, None) if len(brought) <= MOST_KEY else None


# --- names and passwords


def _basic(case: Case) -> tuple[str, str] | None:
    """RFC 7617, 2: name and password; None for what is none."""
    scheme, _, coded = _line(case, "authorization").partition(" ")
    bare = re.sub("={1,2}$", "", coded)
    if scheme != "Basic" or "=" in bare:  # Envoy takes no other spelling
        return None
    try:
        plain = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode("latin-1")
    except binascii.Error:
        return None
    name, colon, password = plain.partition(":")
    return (name, password) if colon else None


def _is_user(spec: BasicUsers, name: str, password: str) -> bool:
    digest = base64.b64encode(hashlib.sha1(password.encode("latin-1"), usedforsecurity=False).digest())
    known = dict(spec.users).get(name)
    return known is not None and hmac.compare_digest(known.reveal().encode(), digest)
