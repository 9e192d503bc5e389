"""
Configurations by number, and what an answer must be under each: the measure of whether a reload is one step.

The parity of the number shows in everything that a request can meet: the role that opens the route, the response
header, headers to the upstream, identity headers (of other names, one written by Envoy and one by Lua), the upstream
itself, the body limit, the provider's settings, and whether a second provider exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.echo import Echo
from tests.holding.load import Outcome, Request, request
from wardgate.idp import IdpServer

FORGED = "forged"
ROLES = {
    "even": ("role-0", "more"),
    "odd": ("role-1", "more"),
    "second": ("role-1", "more"),
    "upload": ("role-0", "role-1"),
}
"""Who asks, by kind of request."""


class Versions:
    """`first` issues the tokens of everybody but `second`, whose issuer is known to odd versions only."""

    def __init__(self, first: IdpServer, second: IdpServer, upstreams: tuple[Echo, Echo]) -> None:
        self._first = first
        self._second = second
        self._upstreams = upstreams

    def content(self, number: int) -> dict[str, Any]:
        odd = number % 2
        audience = ["demo-gateway", f"other-{odd}"]
        providers = {"first": {"issuer": self._first.issuer, "audience": audience, "leeway": f"{30 + odd}s"}}
        if odd:
            providers["second"] = {"issuer": self._second.issuer, "audience": audience}
        return {
            "providers": providers,
            "upstream": {"endpoints": self._upstreams[odd].url, "preserve-host": False},
            "identity-headers": {
                f"X-Person-{odd}": _claim(odd),
                f"X-List-{odd}": {"claim": "realm_access.roles", "separator": _separator(odd)},
            },
            "upstream-headers": {"X-Seen": str(number)},
            "response-headers": {"X-Version": str(number)},
            "routes": [
                {"path": "/**", "roles": [f"role-{odd}"], "body-limit": _body_limit(odd)},
                {"path": "/open", "public": True},
            ],
        }

    def requests(self) -> list[Request]:
        """One of each kind. Every one carries copies of its own of all identity headers that any version sets."""
        forged = [(f"X-{name}-{odd}", FORGED) for name in ("Person", "List") for odd in (0, 1)]

        def one(kind: str, target: str, token: str, **more: Any) -> Request:
            return request(kind, target, token, headers=forged, **more)

        return [
            one("even", "/a", self._token(self._first, "even")),
            one("odd", "/a", self._token(self._first, "odd")),
            one("second", "/a", self._token(self._second, "second")),
            one("upload", "/a", self._token(self._first, "upload"), method="POST", body=b"x" * 150),
            one("open", "/open", ""),
            one("anonymous", "/a", ""),
            one("expired", "/a", self._token(self._first, "even", exp=1)),
        ]

    def _token(self, idp: IdpServer, kind: str, **claims: Any) -> str:
        who = {"sub": f"sub-{kind}", "preferred_username": f"name-{kind}"}
        return idp.mint(idp.claims("user") | who | {"realm_access": {"roles": ROLES[kind]}} | claims)

    def fault(self, outcome: Outcome) -> str:
        """What is wrong with an answer; empty when every part of it belongs to the version that it names."""
        if outcome.failure:
            return outcome.failure
        kind, number = outcome.request.kind, int(outcome.headers.get("x-version", "-1"))
        expected = _expected(kind, number % 2)
        if number < 0 or outcome.status != expected:
            return f"{kind} under {number}: {outcome.status} instead of {expected}, {outcome.body!r}"
        return self._forwarding_fault(outcome, number) if outcome.status == 200 else ""

    def _forwarding_fault(self, outcome: Outcome, number: int) -> str:
        kind, odd, received = outcome.request.kind, number % 2, outcome.received()
        wanted: dict[str, str | None] = {
            "x-seen": str(number),
            "host": f"127.0.0.1:{self._upstreams[odd].port}",
            f"x-person-{odd}": None,
            f"x-list-{odd}": None,
        }
        if kind != "open":
            wanted[f"x-person-{odd}"] = f"{('sub', 'name')[odd]}-{kind}"
            wanted[f"x-list-{odd}"] = _separator(odd).join(ROLES[kind])
        wrong = {name: received.get(name) for name in wanted if received.get(name) != wanted[name]}
        return f"{kind} under {number} reached the application with {wrong}, not {wanted}" if wrong else ""


def _claim(odd: int) -> str:
    return ("sub", "preferred_username")[odd]


def _separator(odd: int) -> str:
    return ("|", ";")[odd]


def _body_limit(odd: int) -> int:
    return (100, 200)[odd]


_STATUS: dict[str, Callable[[int], int]] = {
    "even": lambda odd: 403 if odd else 200,
    "odd": lambda odd: 200 if odd else 403,
    "second": lambda odd: 200 if odd else 401,
    "upload": lambda odd: 200 if odd else 413,
    "open": lambda odd: 200,
    "anonymous": lambda odd: 401,
    "expired": lambda odd: 401,
}


def _expected(kind: str, odd: int) -> int:
    return _STATUS[kind](odd)
