"""
Envoy's question whether a request may pass that requires a grant: it is held against the grant, and spends it.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from wardgate.approvals.desk import Desk
from wardgate.approvals.grants import Call, Grant, NoGrant, read
from wardgate.approvals.targets import NoTarget
from wardgate.envoy import names
from wardgate.envoy.grants import PATH_PREFIX
from wardgate.envoy.headers import GRANT
from wardgate.events import complain, say, warn
from wardgate.problems import TokenError, Unavailable
from wardgate.service.agents.keeping import Agents
from wardgate.service.answers import problem
from wardgate.service.asking import target_of
from wardgate.verify import TokenKeyUnknown

CODES: Final = {
    "grant-missing": "A route requires a grant, and the request brings none, or several.",
    "grant-invalid": "A grant is none, or not one of this gateway's, or has expired.",
    "grant-mismatch": "A grant is for another request: another method, host, path, query or body.",
    "grant-holder": "A grant is somebody else's.",
    "grant-spent": "A grant was spent before, or what it grants was taken back.",
    "grant-away": "Whether a grant is good cannot be told now: nothing passes.",
}
"""What is answered in place of an upstream that requires grants."""


class Granting:
    """Answers Envoy: 200, and the grant is spent; or why the request does not pass."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    async def __call__(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except NoGrant as refused:
            warn("a request without a good grant", code=refused.code, why=str(refused), **_about(request))
            return _refused(refused.code, str(refused))
        except Unavailable as error:
            complain("whether a grant is good cannot be told", why=str(error), **_about(request))
        except Exception as error:  # whatever goes wrong here must be no answer, never an open door
            complain(
                "a fault of the gateway itself while a grant was looked at",
                error=repr(error),
                **_about(request),
            )
        # a 5xx is no answer to Envoy: it says 503 by itself
        return problem(503, "grant-away", CODES["grant-away"])

    async def _answer(self, request: Request) -> Response:
        if self._agents.terms is None:
            raise NoGrant("grant-invalid", "nobody gives grants here")
        desk = await self._agents.desk()
        call = await _made(request)
        token = _brought(request)
        grant = await self._read(desk, token, call)
        issuer, subject = _caller(request)
        spent = await desk.spend(grant, issuer, subject)
        self._agents.watching.changed()
        say("a grant was spent", request=spent.name, subject=subject, **_about(request))
        return Response(status_code=200)

    async def _read(self, desk: Desk, token: str, call: Call) -> Grant:
        keys = self._agents.grant_keys
        now = time.time()
        try:
            known = await keys.all(desk.store)
            if known is None:
                raise NoGrant("grant-invalid", "nobody has given a grant yet")
            try:
                return read(token, known, now, call)
            except TokenKeyUnknown:
                known = await keys.all(desk.store, anew=True)
                assert known is not None, "keys stay"
                return read(token, known, now, call)
        except TokenError as error:
            code = "grant-mismatch" if error.code == "token-audience" else "grant-invalid"
            raise NoGrant(code, str(error)) from error


async def _made(request: Request) -> Call:
    """The request as the upstream would get it. Raises NoGrant."""
    target = target_of(request, PATH_PREFIX)
    body = hashlib.sha256(await request.body()).hexdigest()
    try:
        return Call.of(request.method, f"https://{request.headers.get('host', '')}{target}", body)
    except NoTarget as error:
        raise NoGrant("grant-mismatch", f"the address {error}") from error


def _brought(request: Request) -> str:
    found = request.headers.getlist(GRANT)
    if len(found) != 1:
        raise NoGrant("grant-missing", "the request brings no grant, or several")
    scheme, _, token = found[0].strip().rpartition(" ")
    if scheme and scheme.lower() != "bearer":
        raise NoGrant("grant-invalid", "the header holds a JWT, and nothing else")
    return token


def _caller(request: Request) -> tuple[str, str]:
    """Issuer and subject, as Envoy has verified them (`envoy/claims.py`): no client can set this header."""
    items = request.headers.get(names.CLAIMS, "").split("|")
    found = {}
    for claim in ("iss", "sub"):
        texts = [item.removeprefix(f"{claim}=s") for item in items if item.startswith(f"{claim}=s")]
        if len(texts) != 1:
            raise NoGrant("grant-holder", f"who makes the request has no {claim}")
        found[claim] = unquote(texts[0], errors="strict")
    return found["iss"], found["sub"]


def _about(request: Request) -> dict[str, Any]:
    return {"method": request.method, "request_id": request.headers.get("x-request-id", "")}


def _refused(code: str, words: str) -> Response:
    return problem(
        403, code, words[:1].upper() + words[1:] + ".", {"cache-control": "no-store"}, title="Forbidden"
    )
