"""
The issuer of the attacks: discovery, keys, and logins that go as a case wants them to go, on loopback.

Tokens that cases send by themselves are signed by `tokens.Mint` with the same keys. Each realm serves its own variant of
the key set or of the discovery document, so that one issuer serves every gateway of a run. A login is planned by its state
before the browser comes (`Plan`); whoever it is for is signed in at once. Every fetch is counted.

Source: OpenID Connect Core 1.0, 3.1; RFC 6749, 4.1 and 6; RFC 7636; RFC 9207.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode

from .cases import ASKED_ONLY, NO_STORE, NO_TRUST
from .http1 import Answer
from .keys import CLIENT_SECRET, Keys, base64url
from .tokens import AUDIENCE, Mint

REALMS = {"": "demo", "jwks_without_alg": "demo-without-alg"} | dict.fromkeys(
    (ASKED_ONLY, NO_TRUST, NO_STORE), "demo"
)
OTHER = "other"  # another issuer that the gateway trusts
WRONG = "wrong"  # its discovery document says that it is the first
CERTS = "/protocol/openid-connect/certs"

LIFE_SECONDS = 300
HANG_SECONDS = 60.0
REFRESH_SECONDS = 0.4  # long enough that requests which come at once meet the same refresh
FAULTS = ("", "500", "hangs", "redirects")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    How one login goes: who it is, and what is wrong with what the issuer answers.

    `id_token` and `access_token` are changes in the token language (`tokens.py`); `access_token: opaque` is no JWT.
    `answer` and `userinfo` are members that are set (None: removed). `refreshed` is the plan's change at a refresh.
    `fault` is one of FAULTS, at the token endpoint. `ignores_pkce`: an issuer that never heard of it.
    """

    base: str = "user"
    subject: str = "u-2"
    issuer_session: str = "sid"
    id_token: Mapping[str, Any] = field(default_factory=dict)
    access_token: Mapping[str, Any] | str = field(default_factory=dict)
    userinfo: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    refreshed: Mapping[str, Any] = field(default_factory=dict)
    expires_in: int = LIFE_SECONDS
    fault: str = ""
    ignores_pkce: bool = False


@dataclass(slots=True, kw_only=True)
class Grant:
    """A login at the issuer: what the gateway asked for, and how often it came for tokens."""

    plan: Plan
    issuer: str
    nonce: str
    challenge: str
    redirect_uri: str
    refresh_token: str = ""
    token_calls: int = 0
    refresh_calls: int = 0
    spent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    form: Mapping[str, str]


class Issuer:
    """Serves `/realms/REALM/…`: discovery, keys, authorize, token and userinfo."""

    def __init__(self, keys: Keys) -> None:
        self.fetches: Counter[str] = Counter()
        self.canary_port = 0
        self.plans: dict[str, Plan] = {}
        self.grants: dict[str, Grant] = {}
        self._refreshes: dict[str, Grant] = {}
        self._accesses: dict[str, Grant] = {}
        self._keys = keys
        self._base = ""
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a port of the kernel's choice."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._base = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the listener and every connection, those that hang too."""
        assert self._server is not None
        self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def of(self, fixture: str) -> str:
        """The issuer identifier (`iss`) of the realm that a fixture needs."""
        return self.named(REALMS[fixture])

    def named(self, realm: str) -> str:
        """The issuer identifier of a realm."""
        return f"{self._base}/realms/{realm}"

    # --- HTTP

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            answer = await self._answer(await _read(reader))
            lines = [f"HTTP/1.1 {answer.status} ", *(f"{name}: {value}" for name, value in answer.headers)]
            lines += [f"Content-Length: {len(answer.body)}", "Connection: close", "", ""]
            writer.write("\r\n".join(lines).encode("latin-1") + answer.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a client that went away gets no answer, and so does one that waits at the end of the run
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, request: _Request) -> Answer:
        self.fetches[request.path] += 1
        realm, _, rest = request.path.removeprefix("/realms/").partition("/")
        match rest:
            case "protocol/openid-connect/certs":
                return _json(200, self._keys.jwks(without_alg=realm == REALMS["jwks_without_alg"]))
            case ".well-known/openid-configuration":
                return _json(200, self._discovery(realm))
            case "protocol/openid-connect/auth":
                return self._authorize(self.named(realm), request.query)
            case "protocol/openid-connect/token" if request.method == "POST":
                return await self._token(self.named(realm), request)
            case "protocol/openid-connect/userinfo":
                return self._userinfo(request)
            case _:
                return _json(404, {})

    def _discovery(self, realm: str) -> dict[str, Any]:
        issuer = endpoints = self.named(realm)
        if realm == WRONG:
            issuer, endpoints = self.of(""), f"http://127.0.0.1:{self.canary_port}"
        return {
            "issuer": issuer,
            "jwks_uri": endpoints + CERTS,
            "authorization_endpoint": f"{endpoints}/protocol/openid-connect/auth",
            "token_endpoint": f"{endpoints}/protocol/openid-connect/token",
            "userinfo_endpoint": f"{endpoints}/protocol/openid-connect/userinfo",
            "end_session_endpoint": f"{endpoints}/protocol/openid-connect/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "authorization_response_iss_parameter_supported": True,
        }

    # --- A login

    def _authorize(self, issuer: str, asked: Mapping[str, str]) -> Answer:
        """The person is signed in already; a login that no case planned is an error."""
        plan = self.plans.get(asked.get("state", ""))
        if plan is None or asked.get("client_id") != AUDIENCE or asked.get("response_type") != "code":
            return _json(400, {"error": "invalid_request"})
        code = secrets.token_urlsafe(24)
        self.grants[code] = Grant(
            plan=plan,
            issuer=issuer,
            nonce=asked["nonce"],
            challenge=asked["code_challenge"] if asked.get("code_challenge_method") == "S256" else "",
            redirect_uri=asked["redirect_uri"],
        )
        back = urlencode({"code": code, "state": asked["state"], "iss": issuer})
        return Answer(status=302, headers=(("Location", f"{asked['redirect_uri']}?{back}"),))

    async def _token(self, issuer: str, request: _Request) -> Answer:
        form = request.form
        renewal = form.get("grant_type") == "refresh_token"
        grant = (
            self._refreshes.get(form.get("refresh_token", ""))
            if renewal
            else self.grants.get(form.get("code", ""))
        )
        if grant is None:
            return _json(400, {"error": "invalid_grant"})
        if renewal:
            return await self._renewed(grant, form["refresh_token"])
        grant.token_calls += 1
        if request.headers.get("authorization") != _PROOF:
            return _json(401, {"error": "invalid_client"})
        if grant.plan.fault:
            return await self._fault(grant.plan.fault)
        if grant.spent or grant.issuer != issuer or not _redeemed(grant, form):
            return _json(400, {"error": "invalid_grant"})
        grant.spent = True
        return _json(200, self._tokens(grant, grant.plan, nonce=grant.nonce))

    async def _renewed(self, grant: Grant, token: str) -> Answer:
        """A refresh token works once (RFC 9700, 4.14.2)."""
        grant.refresh_calls += 1
        if token != grant.refresh_token:
            return _json(400, {"error": "invalid_grant"})
        grant.refresh_token = ""
        await asyncio.sleep(REFRESH_SECONDS)
        return _json(200, self._tokens(grant, _refreshed(grant.plan), nonce=None))

    async def _fault(self, fault: str) -> Answer:
        if fault == "hangs":
            await asyncio.sleep(HANG_SECONDS)
        if fault == "redirects":
            canary = f"http://127.0.0.1:{self.canary_port}/token"
            return Answer(status=302, headers=(("Location", canary),))
        return _json(500, {"error": "server_error"})

    def _tokens(self, grant: Grant, plan: Plan, *, nonce: str | None) -> dict[str, Any]:
        mint = Mint(keys=self._keys, issuer=grant.issuer, canary_port=self.canary_port)
        access = _access_token(mint, plan)
        refresh = secrets.token_urlsafe(24)
        grant.refresh_token = refresh
        self._refreshes[refresh] = self._accesses[access] = grant
        about: dict[str, Any] = {
            "typ": "ID",
            "azp": AUDIENCE,
            "sid": plan.issuer_session,
            "sub": plan.subject,
        }
        about |= {"email": f"{plan.subject}@corp.test", "email_verified": True}
        about |= {"nonce": nonce} if nonce else {}
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": plan.expires_in,
            "refresh_token": refresh,
            "id_token": mint.token(changed({"base": plan.base, "claims": about}, plan.id_token)),
        }
        return _without_none({**answer, **plan.answer})

    def _userinfo(self, request: _Request) -> Answer:
        grant = self._accesses.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if grant is None:
            return _json(401, {"error": "invalid_token"})
        subject = grant.plan.subject
        about = {"sub": subject, "email": f"{subject}@corp.test", "email_verified": True}
        return _json(200, _without_none({**about, "preferred_username": subject, **grant.plan.userinfo}))


_PROOF = "Basic " + b64encode(f"{AUDIENCE}:{CLIENT_SECRET}".encode()).decode()


def changed(description: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A token's description with the changes of another: their claims and headers stand over its own."""
    both = dict(description)
    for name, value in changes.items():
        both[name] = {**both.get(name, {}), **value} if isinstance(value, Mapping) else value
    return both


def _access_token(mint: Mint, plan: Plan) -> str:
    if isinstance(plan.access_token, str):
        return secrets.token_urlsafe(32)
    claims = {"sub": plan.subject, "sid": plan.issuer_session, "exp": f"now+{plan.expires_in}"}
    return mint.token(changed({"base": plan.base, "claims": claims}, plan.access_token))


def _refreshed(plan: Plan) -> Plan:
    """How the login goes on: with tokens of the usual life, and the plan's own change."""
    return replace(replace(plan, expires_in=LIFE_SECONDS), **plan.refreshed)


def challenge_of(verifier: str) -> str:
    """S256 (RFC 7636, 4.2)."""
    return base64url(sha256(verifier.encode()).digest())


def _redeemed(grant: Grant, form: Mapping[str, str]) -> bool:
    """Whether who comes for tokens is who began the login (RFC 7636, 4.6; RFC 6749, 4.1.3)."""
    challenge = challenge_of(form.get("code_verifier", ""))
    return form.get("redirect_uri") == grant.redirect_uri and (
        grant.plan.ignores_pkce or challenge == grant.challenge
    )


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _json(status: int, document: Mapping[str, Any]) -> Answer:
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return Answer(status=status, headers=headers, body=json.dumps(document).encode())


async def _read(reader: asyncio.StreamReader) -> _Request:
    start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    method, target, _ = start.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = target.partition("?")
    return _Request(
        method=method,
        path=path,
        query=dict(parse_qsl(query)),
        headers=headers,
        form=dict(parse_qsl(body.decode("latin-1"))),
    )
