"""
Whose request it is, where one of our own endpoints is asked: by session or by bearer token, never by both.

The same answers as at a route, made in Python: these endpoints are not behind Envoy's filters. What is said is claims
that were verified; a token's text never leaves the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wardgate.policy import Introspection
from wardgate.problems import TokenError
from wardgate.service import cookies
from wardgate.service.asking import Asking
from wardgate.service.runtime import Browsers, Runtime
from wardgate.service.session import Session
from wardgate.verify import read_unverified
from wardgate.verify.errors import TokenMalformed

_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


class NoCredential(Exception):
    """Nobody says who they are."""


class TwoCredentials(Exception):
    """A session and a token, or two sessions: nobody could say whose request it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """
    `claims` are those that rules are judged by. `session` None: by a bearer token. `cookies` are Set-Cookie values that
    go with the answer.
    """

    claims: Mapping[str, Any] = field(repr=False)
    session: Session | None = None
    cookies: tuple[str, ...] = field(default=(), repr=False)

    def known(self) -> dict[str, Any]:
        """Everything that the issuer said of the person: userinfo before the ID token before the access token."""
        if self.session is None:
            return dict(self.claims)
        tokens = self.session.tokens
        return {**tokens.claims, **tokens.id_claims, **(tokens.userinfo or {})}


async def caller(runtime: Runtime, browsers: Browsers, asking: Asking) -> Caller:
    """`browsers`: whose session counts. Raises NoCredential, TwoCredentials, SessionOver, TokenError, Unavailable."""
    ids = cookies.session_values(asking.cookies, browsers.terms)
    authorization = asking.headers.get("authorization")
    if len(ids) + (authorization is not None) > 1:
        raise TwoCredentials
    if ids:
        session = await browsers.sessions.current(ids[0])
        renewed = browsers.sessions.cookies_to_renew(session.name, ids[0])
        return Caller(claims=session.tokens.claims, session=session, cookies=renewed)
    if authorization is None:
        raise NoCredential
    bearer = _BEARER.fullmatch(authorization)
    if bearer is None:
        raise TokenMalformed("Authorization holds no bearer token")
    return Caller(claims=await _bearer(runtime, bearer[1]))


async def _bearer(runtime: Runtime, token: str) -> Mapping[str, Any]:
    try:
        issuer = read_unverified(token).claims.get("iss")
    except TokenError:
        return await _opaque(runtime, token)
    refused = TokenError("nobody here trusts its issuer")
    for client in runtime.clients.values():
        if client.provider.issuer == issuer:
            try:
                claims = await client.bearer(token)
            except TokenError as error:
                refused = error  # another provider of this issuer may take tokens for another audience
                continue
            asked = client.provider.introspection is Introspection.ALWAYS
            if asked and await client.introspect(token) is None:
                raise TokenError("its issuer says that it is not active")
            return claims
    raise refused


async def _opaque(runtime: Runtime, token: str) -> Mapping[str, Any]:
    for client in runtime.clients.values():
        if client.provider.introspection is not Introspection.OFF:
            found = await client.introspect(token)
            if found is not None:
                return found.claims
    raise TokenError("no issuer knows it")
