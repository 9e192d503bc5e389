"""
A login by user name and password, for programs that have no browser (gatekeeper's `/oauth/login`). Off unless configured:
whoever types a password into anything but the issuer's own page gets used to it.

The session is the same as that of any login. Guessing is slowed down for each address and for each user name.
Source: RFC 6749, 4.3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wardgate.events import say, warn
from wardgate.policy import Session as Terms
from wardgate.service import cookies
from wardgate.service.answers import CHALLENGE, problem
from wardgate.service.asking import Asking
from wardgate.service.buckets import Buckets
from wardgate.service.callback import Logins
from wardgate.service.issuer_logout import read_body
from wardgate.service.logout import asked_by_us
from wardgate.service.oidc import LoginRefused, OidcClient
from wardgate.service.sessions import Sessions
from wardgate.service.stores.cookie import SessionTooLarge

MAX_BODY: Final = 16 * 1024
MAX_FIELDS: Final = 20


class PasswordLogin:
    """`clients` by the provider's name; `refusals` counts wrong passwords, and outlives settings."""

    def __init__(
        self,
        terms: Terms,
        clients: Mapping[str, OidcClient],
        sessions: Sessions,
        logins: Logins,
        refusals: Buckets,
    ) -> None:
        self._terms = terms
        self._clients = clients
        self._sessions = sessions
        self._logins = logins
        self._refusals = refusals

    async def __call__(self, request: Request, asking: Asking) -> Response:
        """
        POST `username`, `password` and, where there are several, `provider`, as a form or as JSON.

        200 with the session cookie and who it is; 400, 401, 403, 413, 429, 501. Raises IssuerAway, StoreAway.
        """
        if not self._terms.password_login:
            return problem(501, "password-login-off", "Logins by password are not enabled here.")
        if not asked_by_us(asking, frozenset({asking.origin}), self._terms.same_site):
            return problem(403, "login-foreign", "Another site may not log anybody in here.")
        body = await read_body(request, MAX_BODY)
        if body is None:
            return problem(413, "endpoint-body", f"More than {MAX_BODY} bytes.")
        fields = _fields(asking, body)
        username, password = fields.get("username"), fields.get("password")
        if not username or not password:
            return problem(400, "login-fields", "username and password are asked for.")
        client = self._client(fields.get("provider"))
        if client is None:
            return problem(400, "login-provider", "Name the provider to log in at.")
        keys = (f"from {asking.address}", f"as {username.casefold()}")
        if any(self._refusals.full(key) for key in keys):
            return problem(429, "login-slow", "Too many wrong passwords.", {"retry-after": "10"})
        try:
            tokens = await client.password(username, password)
        except LoginRefused as refused:
            for key in keys:
                self._refusals.failed(key)
            self._logins.failed[refused.code] += 1
            warn("a login failed", code=refused.code, problem=refused.message, request_id=asking.request_id)
            return problem(401, refused.code, "The user name and the password are not accepted.", CHALLENGE)
        presented = cookies.session_values(asking.cookies, self._terms)
        try:
            session_id, session = await self._sessions.begin(tokens, client.provider.name, presented)
        except SessionTooLarge as error:
            self._logins.failed["login-size"] += 1
            warn("a login failed", code="login-size", problem=str(error), request_id=asking.request_id)
            return problem(403, "login-size", "The session does not fit into cookies.")
        self._logins.succeeded += 1
        say("logged in", provider=session.provider, session=session.name, subject=session.subject)
        answer = JSONResponse(
            {"sub": session.subject, "provider": session.provider, "ends": int(session.ends)}
        )
        for cookie in self._sessions.cookies_of(session_id, session):
            answer.headers.append("set-cookie", cookie)
        return answer

    def _client(self, named: str | None) -> OidcClient | None:
        able = {name: c for name, c in self._clients.items() if c.provider.client_id is not None}
        if named is not None:
            return able.get(named)
        return next(iter(able.values())) if len(able) == 1 else None


def _fields(asking: Asking, body: bytes) -> dict[str, str]:
    """The fields of a form or of a JSON object; none when it cannot be read."""
    try:
        if asking.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            found = json.loads(body)
            return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}
        return dict(parse_qsl(body.decode("utf-8"), max_num_fields=MAX_FIELDS))
    except ValueError:
        return {}
