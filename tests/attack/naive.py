"""
A gateway with the logins that one writes in an afternoon: what the runner is tested against where plain Envoy has none.

It works, for who means well. It binds no login to its browser, verifies no token, goes on with the session that it is
shown, ends wherever it is told to, refreshes as often as it is asked, and tells the application whatever the client says.
Only for tests of the runner, on loopback, for seconds.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .issuer import OTHER, WRONG, challenge_of
from .keys import CLIENT_SECRET
from .lab import Launch, Place
from .tokens import AUDIENCE

COOKIE = "__Host-session"
NAMES = ("login", "callback", "logout", "backchannel", "frontchannel", "userinfo")
ENDPOINTS = {name: f"/auth/{name}" for name in NAMES}


def launch(place: Place) -> Launch:
    """This module as a program; its login's cookie says nothing of time, so it does not get older."""
    issuers = {"": place.issuer, **place.issuers}
    told = {"port": place.port, "issuers": issuers, "upstream": place.upstream_port}
    return Launch(
        command=(sys.executable, "-m", __name__),
        variables={"NAIVE": json.dumps(told), "PYTHONPATH": str(Path(__file__).parents[2])},
        endpoints=ENDPOINTS,
        aged=lambda value, _state, _seconds: value,
    )


@dataclass
class Login:
    """Where it ends, at which issuer it is, and what proves that we began it."""

    rd: str
    issuer: str
    verifier: str


@dataclass
class Session:
    """What the issuer gave; `claims` as the ID token has them. `ends`: seconds since 1970, of the access token."""

    issuer: str
    tokens: dict[str, Any]
    claims: dict[str, Any] = field(default_factory=dict)
    ends: float = 0.0

    def take(self, tokens: dict[str, Any]) -> None:
        self.tokens = tokens
        self.claims = payload(tokens.get("id_token") or tokens["access_token"])
        self.ends = time.time() + tokens["expires_in"]


class Naive:
    """All of it, in memory."""

    def __init__(self, issuers: dict[str, str], upstream: int) -> None:
        self.issuers = issuers
        self.upstream = f"http://127.0.0.1:{upstream}"
        self.http = httpx.AsyncClient(follow_redirects=True, timeout=12, auth=(AUDIENCE, CLIENT_SECRET))
        self.logins: dict[str, Login] = {}
        self.sessions: dict[str, Session] = {}

    async def login(self, request: Request) -> Response:
        provider = {"other": OTHER, "wrong": WRONG}.get(request.query_params.get("provider", ""), "")
        login = Login(request.query_params.get("rd", "/"), self.issuers[provider], secrets.token_urlsafe(32))
        state = secrets.token_urlsafe(12)
        self.logins[state] = login
        found = (await self.http.get(f"{login.issuer}/.well-known/openid-configuration")).json()
        host = request.headers.get("x-forwarded-host", request.headers["host"])
        asked = {
            "response_type": "code",
            "client_id": AUDIENCE,
            "redirect_uri": f"https://{host}{ENDPOINTS['callback']}",
            "state": state,
            "nonce": "n",
            "code_challenge": challenge_of(login.verifier),
            "code_challenge_method": "S256",
        }
        answer = _redirect(f"{found['authorization_endpoint']}?{urlencode(asked)}")
        answer.set_cookie("login", state)
        return answer

    async def callback(self, request: Request) -> Response:
        sent = (await request.body()).decode()
        query = dict(parse_qsl(sent or request.url.query))
        if "error" in query:
            return HTMLResponse(f"<p>{query['error']}: {query.get('error_description')}")
        login = self.logins.get(query.get("state", "")) or [*self.logins.values()][-1]
        form = {"grant_type": "authorization_code", "code": query.get("code", "")}
        form |= {"redirect_uri": f"https://{request.headers['host']}{ENDPOINTS['callback']}"}
        address = f"{login.issuer}/protocol/openid-connect/token"
        answered = await self.http.post(address, data={**form, "code_verifier": login.verifier})
        if answered.status_code != 200:
            return HTMLResponse("no")
        session = Session(login.issuer, {})
        session.take(answered.json())
        id_ = request.cookies.get(COOKIE) or secrets.token_urlsafe(32)
        self.sessions[id_] = session
        answer = _redirect(login.rd)
        answer.set_cookie(COOKIE, id_)
        return answer

    async def logout(self, request: Request) -> Response:
        self.sessions.pop(request.cookies.get(COOKIE, ""), None)
        return _redirect(request.query_params.get("rd", "/"))

    async def backchannel(self, request: Request) -> Response:
        body = (await request.body()).decode()
        token = request.query_params.get("logout_token") or body.partition("logout_token=")[2] or body
        said = payload(token.partition("&")[0])
        self._end(said.get("sid"), said.get("sub"))
        return Response()

    async def frontchannel(self, request: Request) -> Response:
        self._end(request.query_params.get("sid"), None)
        return Response()

    def _end(self, sid: object, sub: object) -> None:
        for id_, session in list(self.sessions.items()):
            if session.claims.get("sid") == sid or (sub is not None and session.claims.get("sub") == sub):
                del self.sessions[id_]

    async def userinfo(self, request: Request) -> Response:
        session = await self._session(request)
        return JSONResponse(session.claims if session is not None else {})

    async def everything(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").partition(" ")[2]
        session = await self._session(request)
        claims = session.claims if session is not None else payload(token)
        if not claims:
            return Response(status_code=401)
        if request.url.path.startswith("/api/v1/admin") and "admin" not in claims.get("roles", ()):
            return Response(status_code=403)
        told = [*request.headers.raw, (b"x-user-id", str(claims.get("sub")).encode())]
        url = f"{self.upstream}{request.url.path}?{request.url.query}"
        got = await self.http.request(request.method, url, headers=told, auth=None)
        return Response(got.content, got.status_code, dict(got.headers))

    async def _session(self, request: Request) -> Session | None:
        """By any cookie that looks like it."""
        values = [value.strip('"') for name, value in request.cookies.items() if "session" in name.lower()]
        session = next((self.sessions[value] for value in values if value in self.sessions), None)
        if session is not None and time.time() > session.ends:
            form = {"grant_type": "refresh_token", "refresh_token": session.tokens["refresh_token"]}
            answered = await self.http.post(f"{session.issuer}/protocol/openid-connect/token", data=form)
            if answered.status_code == 200:
                claims = session.claims
                session.take(answered.json())
                session.claims = claims  # who is logged in does not change
        return session


def payload(token: str) -> dict[str, Any]:
    """The claims of a token that nobody has verified; empty for what is none."""
    try:
        part = token.split(".")[1]
        claims: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError):
        return {}
    return claims


def _redirect(place: str) -> Response:
    """As it is: Starlette's own would repair it."""
    return Response(status_code=302, headers={"location": place})


def app(told: dict[str, Any]) -> Starlette:
    """The application of one run."""
    naive = Naive(told["issuers"], told["upstream"])
    methods = ["GET", "HEAD", "POST"]
    routes = [Route(path, getattr(naive, name), methods=methods) for name, path in ENDPOINTS.items()]
    return Starlette(routes=[*routes, Route("/{rest:path}", naive.everything, methods=methods)])


if __name__ == "__main__":
    settings = json.loads(os.environ["NAIVE"])
    uvicorn.run(app(settings), host="127.0.0.1", port=settings["port"], log_level="warning")
