"""
Tokens that only their issuer can read: it is asked, and its answer remembered for a short while (RFC 7662).

What it calls active still has to be an access token, of this issuer, for us: some issuers call their ID and refresh
tokens active too. One question at a time about one token; tokens are remembered by their hash, accepted and refused
ones apart, so that a flood of nonsense forgets nobody.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from wardgate.policy import Provider
from wardgate.problems import TokenError, shown
from wardgate.service.oidc.access_token import expectation, require_no_login
from wardgate.service.oidc.flights import Flights
from wardgate.service.oidc.metadata import Metadata
from wardgate.service.oidc.refusals import IssuerAway
from wardgate.service.oidc.requests import ClientRequests, OAuthError, json_object
from wardgate.verify import TokenTypeRefused
from wardgate.verify.claims import require_claims

MAX_ASKED: Final = 256
"""Questions that are on their way at once."""

MAX_REMEMBERED: Final = 10_000
MAX_REMEMBERED_BYTES: Final = 16 * 1024 * 1024
"""Of answers, as they came."""

MAX_LIFETIME: Final = timedelta(days=3660)
"""The issuer is asked again and again; only an `exp` in milliseconds is to be noticed."""

TOKEN_TYPES: Final = frozenset({"bearer", "access_token"})
"""`token_type` of an access token for bearers, folded; Keycloak says ID or Refresh there, RFC 8693 access_token."""

TOKEN_USES: Final = frozenset({"access_token", "access"})
"""`token_use`, of Ory and Cognito."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspected:
    """An active access token. `expires`: seconds since 1970, None when the issuer does not say."""

    claims: Mapping[str, Any] = field(repr=False)
    expires: float | None


@dataclass(frozen=True, slots=True)
class _Remembered:
    result: Introspected | TokenError | None
    until: float
    size: int


class Introspection:
    """One provider's. `remember`: how long an answer is good for at most. `now`: seconds since 1970."""

    def __init__(
        self,
        provider: Provider,
        requests: ClientRequests,
        metadata: Metadata,
        *,
        remember: timedelta,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._requests = requests
        self._metadata = metadata
        self._remember_s = remember.total_seconds()
        self._now = now
        self._expect = expectation(provider, max_lifetime=MAX_LIFETIME)
        self._active = _Memory()
        self._refused = _Memory()
        self._flights: Flights[bytes, Introspected | TokenError | None] = Flights()

    async def ask(self, token: str) -> Introspected | None:
        """
        What the issuer says about a token; None when it is not active.

        Raises a TokenError for one that is active and is not an access token for us, IssuerAway when it cannot be told.
        """
        name = hashlib.sha256(token.encode()).digest()
        known = self._active.get(name, self._now()) or self._refused.get(name, self._now())
        if known is not None:
            return _outcome(known.result)
        if len(self._flights) >= MAX_ASKED and name not in self._flights:
            raise IssuerAway("issuer-busy", f"{MAX_ASKED} tokens are asked about already")
        return _outcome(await self._flights.join(name, lambda: self._asked(name, token)))

    async def close(self) -> None:
        await self._flights.close()

    async def _asked(self, name: bytes, token: str) -> Introspected | TokenError | None:
        asked = self._now()
        try:
            answer = await self._requests.post(
                await self._endpoint(), {"token": token, "token_type_hint": "access_token"}
            )
        except OAuthError as error:  # invalid_grant is no answer to this question
            raise self._requests.client_refused(error.message) from error
        content = json_object(answer)
        result: Introspected | TokenError | None
        try:
            result = self._judged(content)
        except TokenError as error:
            result = error
        until = asked + self._remember_s
        if isinstance(result, Introspected):
            if result.expires is not None:
                until = min(until, result.expires)
            self._active.keep(name, _Remembered(result, until, len(answer.body)))
        else:
            self._refused.keep(name, _Remembered(result, until, 0))
        return result

    async def _endpoint(self) -> str:
        found = self._provider.introspection_url or (await self._metadata.get()).introspection_endpoint
        if not found:
            message = "the issuer's discovery document names no introspection endpoint"
            raise IssuerAway("issuer-endpoint-missing", message, "set the provider's introspection-url")
        return found

    def _judged(self, content: Mapping[str, Any]) -> Introspected | None:
        active = content.get("active")
        if not isinstance(active, bool):
            message = f"the issuer's answer about a token has no boolean active, got {shown(active)}"
            raise IssuerAway("issuer-answer", message)
        if not active:
            return None
        _require_kind(content)
        # an answer may leave out who issued the token and until when (RFC 7662, 2.2), but not be wrong about it
        now = datetime.fromtimestamp(self._now(), UTC)
        assumed = {"iss": self._provider.issuer, "exp": (now + timedelta(minutes=1)).timestamp()}
        said = {name: value for name, value in content.items() if value is not None}
        require_claims({**assumed, **said}, expect=self._expect, key_id=None, now=now)
        claims = {name: value for name, value in said.items() if name not in ("active", "token_type")}
        return Introspected(claims=claims, expires=float(said["exp"]) if "exp" in said else None)


def _require_kind(content: Mapping[str, Any]) -> None:
    for name, accepted in (("token_type", TOKEN_TYPES), ("token_use", TOKEN_USES)):
        kind = content.get(name)
        if kind is not None and not (isinstance(kind, str) and kind.lower() in accepted):
            raise TokenTypeRefused(f"it is not an access token: the issuer says {name} {shown(kind)}")
    require_no_login(content)


def _outcome(result: Introspected | TokenError | None) -> Introspected | None:
    if isinstance(result, TokenError):
        raise type(result)(str(result))  # a new one: several may be raised from the one that is remembered
    return result


class _Memory:
    """Answers by the hash of their token; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._bytes = 0

    def get(self, name: bytes, now: float) -> _Remembered | None:
        found = self._kept.get(name)
        if found is not None and now >= found.until:
            self._forget(name)
            return None
        return found

    def keep(self, name: bytes, answer: _Remembered) -> None:
        self._forget(name)
        self._kept[name] = answer
        self._bytes += answer.size
        while len(self._kept) > MAX_REMEMBERED or self._bytes > MAX_REMEMBERED_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, name: bytes) -> None:
        gone = self._kept.pop(name, None)
        self._bytes -= gone.size if gone is not None else 0
