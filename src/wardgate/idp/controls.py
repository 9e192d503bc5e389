"""
What tests and the demo turn at the identity provider, which Keycloak does not have: `/realms/R/-/…`.

    POST -/rotate, -/retire      sign with a new key; publish only the active one
    POST -/end-sessions          end everybody's sessions, or one user's (`username=`), and tell the clients
    GET  -/counts                how often each endpoint was asked, the token endpoint by grant type
    POST -/slow                  let an endpoint answer late: `endpoint=token`, `seconds=3` (0: at once again)
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wardgate.idp import forms
from wardgate.idp.provider import Provider
from wardgate.idp.refusals import OAuthRefusal
from wardgate.idp.signing_out import SigningOut

ENDPOINTS = (
    *("auth", "login", "token", "introspect", "userinfo", "certs", "discovery", "logout", "revoke", "par"),
)
MAX_SECONDS = 600.0


class Traffic:
    """How often each endpoint was asked, and how late it answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._grants: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}

    def counts(self) -> dict[str, int | dict[str, int]]:
        """By endpoint; `token` is by grant type. Only what was asked at all."""
        with self._lock:
            return {**self._asked, "token": dict(self._grants)}

    def slow(self, endpoint: str, seconds: float) -> None:
        """Let an endpoint answer so much later. Raises ValueError for an endpoint or a time that cannot be."""
        if endpoint not in ENDPOINTS:
            raise ValueError(f"no such endpoint; there are: {', '.join(ENDPOINTS)}")
        if not 0 <= seconds <= MAX_SECONDS:
            raise ValueError(f"seconds must be from 0 to {MAX_SECONDS:g}")
        self._seconds[endpoint] = seconds

    async def arrived(self, endpoint: str, grant: str = "") -> None:
        """A request has come: count it, and let it wait."""
        with self._lock:
            if endpoint == "token":
                self._grants[grant] += 1
            else:
                self._asked[endpoint] += 1
        await asyncio.sleep(self._seconds.get(endpoint, 0))


class Controls:
    """The endpoints below `-/`. Each refuses browsers."""

    def __init__(self, provider: Provider, traffic: Traffic, signing_out: SigningOut) -> None:
        self._provider = provider
        self._traffic = traffic
        self._signing_out = signing_out

    async def rotate(self, request: Request) -> Response:
        _refuse_browsers(request)
        return JSONResponse({"kid": self._provider.keys.rotate(), "published": self._kids()})

    async def retire(self, request: Request) -> Response:
        _refuse_browsers(request)
        self._provider.keys.retire()
        return JSONResponse({"kid": self._provider.keys.kid, "published": self._kids()})

    async def end_sessions(self, request: Request) -> Response:
        _refuse_browsers(request)
        username = (forms.query(request) | await forms.form(request)).get("username")
        ended = await asyncio.to_thread(self._signing_out.end_all, username)
        return JSONResponse({"ended": ended})

    async def counts(self, request: Request) -> Response:
        _refuse_browsers(request)
        return JSONResponse(self._traffic.counts())

    async def slow(self, request: Request) -> Response:
        _refuse_browsers(request)
        given = await _given(request)
        try:
            self._traffic.slow(str(given.get("endpoint", "")), float(str(given.get("seconds", ""))))
        except ValueError as error:
            raise OAuthRefusal(400, "invalid_request", str(error)) from error
        return JSONResponse({"endpoint": given["endpoint"], "seconds": float(str(given["seconds"]))})

    def _kids(self) -> list[str]:
        return [str(key["kid"]) for key in self._provider.keys.jwks()["keys"] if key["use"] == "sig"]


async def _given(request: Request) -> Mapping[str, object]:
    """The fields of a form, or the members of a JSON object."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return await forms.form(request)
    try:
        given = await request.json()
    except ValueError:
        given = None
    return given if isinstance(given, dict) else {}


def _refuse_browsers(request: Request) -> None:
    """A web page that someone has open must not be able to turn these: browsers say where a request comes from."""
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        raise HTTPException(403)
