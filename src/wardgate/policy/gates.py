"""What a route asks beside who calls: keys, passwords, pages, another service, how often; and what it answers by itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from wardgate.policy.access import Mode
from wardgate.policy.base import Secret, check_header_name, refuse
from wardgate.policy.cors import origin_pattern
from wardgate.problems import NOWHERE


def key_digest(key: str | bytes) -> str:
    """What is kept of a key: its SHA-256 in hexadecimal. Keys are long and random, so that nobody finds one by trying."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeys:
    """
    A request must bring one of these keys: of each the client whose it is, and its SHA-256 in hexadecimal (`key_digest`). They are looked
    for in `headers` (behind `Bearer`, too), query parameters (`params`) and `cookies`, in this order, and the first that is there
    counts. `mode`: OPTIONAL lets pass who brings none, PERMISSIVE also who brings another. `strip`: the upstream does not see it;
    `told`: the header by which it is told the client.
    """

    keys: tuple[tuple[str, Secret], ...]
    mode: Mode = Mode.REQUIRED
    headers: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    strip: bool = False
    told: str | None = None

    def __post_init__(self) -> None:
        digests = [digest.reveal() for _, digest in self.keys]
        if key_digest("") in digests or len(set(digests)) < len(digests):
            raise refuse("api-keys", "a key is empty, or there twice", NOWHERE)
        if not (self.headers or self.params or self.cookies) or "" in (*self.params, *self.cookies):
            raise refuse("api-keys", "nothing says where a key is looked for", NOWHERE)
        for name in (*self.headers, *([self.told] if self.told else [])):
            check_header_name(name, NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicUsers:
    """
    A request must bring the name and the password of one of these (RFC 7617). Each name stands beside the SHA-1 of its password in
    base64 (what Envoy can compare). `told`: the header by which the upstream is told the name.
    """

    users: tuple[tuple[str, Secret], ...]
    told: str | None = None

    def __post_init__(self) -> None:
        names = [name for name, _ in self.users]
        wrong = [name for name in names if not name or ":" in name or "\n" in name]
        if wrong or len(set(names)) < len(names):
            raise refuse("basic-users", "a name is none, or there twice", NOWHERE)
        if self.told is not None:
            check_header_name(self.told, NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossSite:
    """
    A request that changes something must come from a page of its own host, or of one of these origins.

    Usually (Envoy Gateway) that is POST, PUT, PATCH and DELETE; origins may have `*` for what it is of any name; browsers say where
    a page is by Origin, or Referer, of which the scheme does not count, and who says neither is refused. `by_metadata`
    (agentgateway): it is any method but GET, HEAD and OPTIONS; Sec-Fetch-Site counts before Origin, and who says neither is no
    browser and may pass.
    """

    origins: tuple[str, ...] = ()
    by_metadata: bool = False

    def patterns(self) -> tuple[str, ...]:
        """RE2 of these origins without their schemes."""
        return tuple(origin_pattern(origin.partition("://")[2] or origin) for origin in self.origins)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAuth:
    """
    Another service is asked whether a request may pass, after its credential was verified and before rules are judged (Envoy's
    ext_authz): by gRPC, or in HTTP with the request's method and its path behind `path`.

    By HTTP it is told the headers `told` beside Host, Content-Length and Authorization, and the upstream gets the headers `taken`
    of its answer; a client's own copies of those never arrive, unless they are `told`. By gRPC it is told all headers, and
    `context`. `body_bytes`: so much of the body (larger ones are 413); None: nothing of it. Without an answer in time it is 403, or,
    `fail_open`, the request passes.
    """

    upstream: str
    grpc: bool = False
    path: str = ""
    told: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    body_bytes: int | None = None
    timeout: timedelta = timedelta(seconds=10)
    fail_open: bool = False
    context: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.told, *self.taken):
            check_header_name(name, NOWHERE)
        if self.body_bytes is not None and not 0 < self.body_bytes <= MOST:
            raise refuse("external-body", f"is no number of bytes from 1 to {MOST}", NOWHERE, self.body_bytes)


MOST: Final = 2**31 - 1
"""Of bytes and of requests: what can be counted."""

MOST_BODY: Final = 64 * 1024
"""Characters of an answer that needs no application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `burst` requests at once, and `requests` more in each time `per`, of all callers together in one gateway: 429."""

    requests: int
    per: timedelta
    burst: int

    def __post_init__(self) -> None:
        if not 0 < self.requests <= self.burst <= MOST:
            raise refuse("rate-limit", f"is no limit from 1 to {MOST}", NOWHERE, self.burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectAnswer:
    """
    What a request that may pass is answered with, instead of an upstream. `kind` is the body's media type. Where the answer
    `tells_origin`, ORIGIN in its body is the origin that was asked.
    """

    status: int
    body: str = ""
    kind: str = "text/plain"
    tells_origin: bool = False

    def __post_init__(self) -> None:
        if len(self.body.encode()) > MOST_BODY:
            raise refuse(
                "direct-body", f"has more than {MOST_BODY} bytes", NOWHERE, f"{len(self.body)} characters"
            )


ORIGIN: Final = "{origin}"
RESOURCES: Final = "/.well-known/oauth-protected-resource"
"""Below it are the descriptions of protected resources (RFC 9728, 3)."""
