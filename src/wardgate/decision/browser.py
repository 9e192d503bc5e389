"""
What a request says about the browser that sent it: whether a person will look at the answer, and which page opens a
WebSocket. Only what the guard and Envoy read, nothing guessed.
"""

from __future__ import annotations

from wardgate.decision.model import Request
from wardgate.policy import Cors, Host, Route


def navigates(request: Request) -> bool:
    """A top-level navigation (Fetch metadata); of a browser too old to say so, a GET that asks for HTML."""
    if request.asked == "nginx" or request.method not in (
        "GET",
        "HEAD",
    ):  # nginx takes no redirect for an answer
        return False
    mode = request.value("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate" and request.value("sec-fetch-dest") == "document"
    return "text/html" in (request.value("accept") or "")


def upgrades(request: Request) -> bool:
    """An upgrade is one only where Connection says so, too (RFC 9110, 7.8)."""
    tokens = {token.strip().lower() for token in (request.value("connection") or "").split(",")}
    return bool(request.value("upgrade")) and "upgrade" in tokens


def opens_websocket(request: Request) -> bool:
    """An upgrade, or one that another proxy asks about: it does not send Upgrade itself (RFC 6455, 4.1)."""
    return upgrades(request) or bool(request.asked and request.value("sec-websocket-key"))


def scheme(request: Request) -> str:
    """Of the connection, or what a trusted proxy says of the client's."""
    forwarded = request.forwarded_proto if request.trusted_peer else None
    return (forwarded or request.scheme).lower()


def cors_of(host: Host, route: Route | None) -> Cors | None:
    """What holds for a route: its own, else its host's."""
    return route.cors if route is not None and route.cors is not None else host.cors


def origin_allowed(request: Request, cors: Cors | None) -> bool:
    """
    Whether the page that opens a WebSocket with a session is of this very host, or one that CORS lets in by name.

    A browser sends cookies along from every page, and no CORS keeps that page from reading what comes back.
    """
    origin = request.value("origin")
    named = [each for each in cors.origins if "*" not in each] if cors else []
    return origin is not None and (origin in named or origin == f"{scheme(request)}://{request.host}")
