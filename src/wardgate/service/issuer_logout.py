"""
Logouts that the issuer tells of: from its server (back-channel) and through the browser (front-channel).

A back-channel call is believed for its signature alone, and answered 200 only when the store has recorded the end of
every session that it names and Envoy refuses them; 503 lets the issuer try again with the same token. Both endpoints
work without any cookie of ours.
Source: OpenID Connect Back-Channel Logout 1.0, 2.5 to 2.8; OpenID Connect Front-Channel Logout 1.0, 2.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from wardgate.events import say, warn
from wardgate.problems import TokenError, Unavailable
from wardgate.service.asking import Asking
from wardgate.service.buckets import Buckets
from wardgate.service.oidc import OidcClient
from wardgate.service.sessions import Sessions
from wardgate.verify import LogoutToken, read_unverified

MAX_BODY: Final = 16 * 1024
FORM: Final = "application/x-www-form-urlencoded"

UNFINISHED_MANY: Final = 1_000


class IssuerLogout:
    """`clients` by the provider's name; `refusals` counts failures by the caller's address, and outlives settings."""

    def __init__(
        self,
        sessions: Sessions,
        clients: Mapping[str, OidcClient],
        refusals: Buckets,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._clients = clients
        self._refusals = refusals
        self._now = now
        self._unfinished: dict[str, float] = {}

    # --- Back-channel

    async def back_channel(self, request: Request) -> Response:
        """POST, a form of at most 16 KB with one `logout_token`. 200, 400, 413, 415, 429 or 503."""
        address = Asking.of(request).address
        if self._refusals.full(address):
            return _error(429, "slow_down", "too many logout tokens that were refused", {"retry-after": "5"})
        answer = await self._back_channel(request)
        if 400 <= answer.status_code < 500:
            self._refusals.failed(address)
        return answer

    async def _back_channel(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            return _error(415, "invalid_request", f"a logout token comes as {FORM}")
        body = await read_body(request, MAX_BODY)
        if body is None:
            return _error(413, "invalid_request", f"more than {MAX_BODY} bytes")
        token = _logout_token(body)
        if token is None:
            return _error(400, "invalid_request", "one logout_token is asked for")
        try:
            client = self._client_of(token)
            told = await client.logout_token(token)
            return await self._obeyed(client, told)
        except TokenError as error:
            warn("a logout token was refused", code=error.code, problem=str(error))
            return _error(400, "invalid_request", f"the logout token is refused: {error.code}")
        except Unavailable as error:
            warn("a logout that the issuer asked for is not recorded", problem=str(error))
            return _error(503, "temporarily_unavailable", "it cannot be recorded now", {"retry-after": "1"})

    def _client_of(self, token: str) -> OidcClient:
        """Of several at one issuer that which the token is for, if it is."""
        said = read_unverified(token).claims
        issuer, audience = said.get("iss"), said.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        found = [one for one in self._clients.values() if one.provider.issuer == issuer]
        found = [one for one in found if one.provider.client_id is not None]
        if not found:
            raise TokenError("nobody here trusts its issuer")
        return next((one for one in found if one.provider.client_id in named), found[0])

    async def _obeyed(self, client: OidcClient, told: LogoutToken) -> Response:
        once = _name(told)
        seconds = max(1.0, told.expires.timestamp() - self._now())
        first = await self._sessions.store.first_time("logout-token", once, seconds=seconds)
        if not first and once not in self._unfinished:
            return _error(400, "invalid_request", "the logout token was used before")
        self._remember_unfinished(once, told.expires.timestamp())
        ended = await self._sessions.end_login(
            told.issuer,
            subject=told.subject,
            issuer_session=told.issuer_session,
            reason="the issuer told us (back-channel)",
        )
        if not await self._sessions.refused_by_envoy():
            raise Unavailable("Envoy does not say in time that it refuses the session")
        self._unfinished.pop(once, None)
        say("back-channel logout", provider=client.provider.name, sessions=ended)
        return Response(status_code=200)

    def _remember_unfinished(self, once: str, until: float) -> None:
        """A token whose logout did not come to its end may be sent again: only here, only until it expires."""
        now = self._now()
        if len(self._unfinished) >= UNFINISHED_MANY:
            self._unfinished = {name: end for name, end in self._unfinished.items() if end > now}
        if len(self._unfinished) < UNFINISHED_MANY:
            self._unfinished[once] = until

    # --- Front-channel

    async def front_channel(self, request: Request) -> Response:
        """
        GET with `iss` and `sid`, in a frame of the issuer's logout page. Without both anybody's page could end sessions.

        Raises Unavailable.
        """
        pairs = request.query_params.multi_items()
        issuers = [value for name, value in pairs if name == "iss"]
        sids = [value for name, value in pairs if name == "sid"]
        client = next(
            (c for c in self._clients.values() if issuers == [c.provider.issuer] and c.provider.client_id),
            None,
        )
        if client is None or len(sids) != 1 or not 0 < len(sids[0]) <= 255:
            return _error(400, "invalid_request", "iss and sid of a login are asked for")
        issuer = client.provider.issuer
        ended = await self._sessions.end_login(
            issuer, subject=None, issuer_session=sids[0], reason="the issuer told us (front-channel)"
        )
        if ended and not await self._sessions.refused_by_envoy():
            raise Unavailable("Envoy does not say in time that it refuses the session")
        parts = urlsplit(issuer)
        framed = f"default-src 'none'; frame-ancestors {parts.scheme}://{parts.netloc}"
        return HTMLResponse(
            "<!doctype html><title>Logged out</title>", headers={"content-security-policy": framed}
        )


async def read_body(request: Request, limit: int) -> bytes | None:
    """The body; None when it is longer than `limit` bytes, as soon as that is seen."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > limit:
                return None
    except ClientDisconnect:
        return None
    return body


def _logout_token(body: bytes) -> str | None:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        return None
    found = [value for name, value in pairs if name == "logout_token"]
    return found[0] if len(found) == 1 and found[0] else None


def _name(told: LogoutToken) -> str:
    """A token's name in the store: of a fixed form, whatever the issuer calls it."""
    digest = hashlib.sha256(f"{told.issuer}\n{told.jti}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode("ascii")


def _error(status: int, error: str, words: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": error, "error_description": words}, status, headers=headers)
