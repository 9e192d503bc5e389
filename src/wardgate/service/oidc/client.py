"""
Our client at one identity provider: logins, renewals, userinfo, introspection, logout.

It decides what an issuer's answers are worth; it knows no cookies, no store and no browser. Each way to ask ends in
one of three ways: an answer that was judged, IssuerAway (nothing is decided), or GrantEnded, LoginRefused or TokenError.
Source: OpenID Connect Core 1.0; RFC 6749, 7009, 7636, 7662, 9126; OpenID Connect RP-Initiated and Back-Channel Logout.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from wardgate.events import warn
from wardgate.keystore import KeyStore, source_of
from wardgate.policy import Provider, Session
from wardgate.problems import TokenError
from wardgate.service.issuer_http import IssuerHttp, printable
from wardgate.service.oidc.access_token import expectation, verified
from wardgate.service.oidc.authorization import free_parameters, with_query
from wardgate.service.oidc.client_authentication import ClientProof
from wardgate.service.oidc.introspection import Introspected, Introspection
from wardgate.service.oidc.keys import Keys, Refetch
from wardgate.service.oidc.metadata import Metadata
from wardgate.service.oidc.person import person_of, require_person
from wardgate.service.oidc.refusals import GrantEnded, IssuerAway, LoginRefused
from wardgate.service.oidc.requests import ClientRequests, OAuthError, json_object
from wardgate.service.oidc.token_answer import TokenAnswer, read_token_answer
from wardgate.service.oidc.userinfo import Userinfo
from wardgate.service.session import Tokens
from wardgate.verify import (
    Discovery,
    KeySet,
    LogoutToken,
    TokenKeyUnknown,
    diagnose,
    read_unverified,
    verify_id_token,
    verify_logout_token,
)
from wardgate.verify.id_tokens import require_same_login

REMEMBERED: Final = timedelta(seconds=30)
"""How long an introspection is good for, where no session says how long things are."""

LONGEST_HINT: Final = 3500
"""Characters of an ID token in an address; servers (Keycloak's) take lines of 4 096."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _AsClient:
    """What needs a client id at the issuer."""

    id: str
    requests: ClientRequests
    introspection: Introspection
    userinfo: Userinfo


class OidcClient:
    """
    One provider's. `session` None: only what needs no session (bearer tokens, introspection) is asked of it.

    `refetch` fetches the provider's keys at once (`Refreshers.refetch`). `userinfo`: some route reads it, so it is
    fetched at each login. `now`: seconds since 1970. For one event loop; `close` ends its connections.
    """

    def __init__(
        self,
        provider: Provider,
        session: Session | None,
        *,
        store: KeyStore,
        refetch: Refetch,
        userinfo: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        source = source_of(provider)
        self.provider = provider
        self._session = session or Session()
        self._userinfo = userinfo
        self._now = now
        self._http = IssuerHttp(source)
        # a flood of opaque tokens must not keep people from logging in: connections of its own
        self._asking_http = IssuerHttp(source)
        self._metadata = Metadata(
            source,
            self._http,
            store.path,
            given=dict(provider.endpoints),
            keys_known=provider.jwks is not None or provider.jwks_url is not None,
        )
        self._keys = Keys(provider, store, refetch, now=now)
        self._said: set[str] = set()
        remember = session.attested if session is not None else REMEMBERED
        self._client = (
            self._as_client(provider.client_id, remember) if provider.client_id is not None else None
        )

    def _as_client(self, client_id: str, remember: timedelta) -> _AsClient:
        provider, now, proof = self.provider, self._now, ClientProof(self.provider)
        asking = ClientRequests(provider, self._asking_http, proof, now)
        return _AsClient(
            id=client_id,
            requests=ClientRequests(provider, self._http, proof, now),
            introspection=Introspection(provider, asking, self._metadata, remember=remember, now=now),
            userinfo=Userinfo(provider, client_id, http=self._http, metadata=self._metadata, keys=self._keys),
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.introspection.close()
        await asyncio.gather(self._keys.close(), self._metadata.close())
        await asyncio.gather(self._http.close(), self._asking_http.close())

    async def metadata(self) -> Discovery:
        """The issuer's endpoints, and whether its answers to logins name it. Raises IssuerAway."""
        return await self._metadata.get()

    # -- A login

    async def authorization_url(
        self,
        *,
        redirect_uri: str,
        state: str,
        nonce: str,
        challenge: str,
        parameters: Mapping[str, str] | None = None,
    ) -> str:
        """
        Where a browser is sent to log in. `challenge`: the S256 code challenge, left out where the session says so.

        `parameters` stand over those of the provider; none of them over ours. Raises IssuerAway.
        """
        found = await self._metadata.get()
        address = _endpoint(found.authorization_endpoint, "authorization")
        asked = free_parameters(self.provider, parameters or {}) | {
            "response_type": "code",
            "client_id": self._own.id,
            "redirect_uri": redirect_uri,
            "scope": self._scope,
            "state": state,
            "nonce": nonce,
        }
        if self._session.pkce:
            asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        if self.provider.pushed_authorization or found.pushed_only:
            asked = {"client_id": self._own.id, "request_uri": await self._pushed(found, asked)}
        return with_query(address, asked)

    async def exchange(
        self, code: str, *, redirect_uri: str, verifier: str | None, nonce: str | None
    ) -> Tokens:
        """The tokens of a login that came back with a code. Raises LoginRefused, IssuerAway."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        if verifier is not None and self._session.pkce:
            form["code_verifier"] = verifier
        try:
            return await self._logged_in(form, nonce=nonce, max_age=self.provider.max_age)
        except OAuthError as error:
            raise LoginRefused("login-code", error.message) from error

    async def password(self, username: str, password: str) -> Tokens:
        """The tokens of a person, by the password grant. Raises LoginRefused, IssuerAway."""
        form = {"grant_type": "password", "username": username, "password": password, "scope": self._scope}
        try:
            return await self._logged_in(form, nonce=None, max_age=None)
        except OAuthError as error:
            raise LoginRefused("login-password", error.message) from error

    async def _logged_in(
        self, form: Mapping[str, str], *, nonce: str | None, max_age: timedelta | None
    ) -> Tokens:
        asked = self._now()
        answer = await self._granted(form)
        if answer.id_token is None:
            raise LoginRefused("login-id-token-missing", "the issuer gave no ID token")
        try:
            id_claims = await self._id_claims(answer, nonce=nonce, max_age=max_age)
        except TokenError as error:
            raise LoginRefused(
                "login-id-token", f"the ID token is refused ({error.code}): {error}"
            ) from error
        access = await self._access_claims(answer.access_token)
        info = None
        if self._userinfo or access is None:
            info = await self._own.userinfo.of_person(answer.access_token, id_claims["sub"])
        require_person(id_claims, info, access, verified_email=self._session.verified_email)
        return Tokens(
            access_token=answer.access_token,
            access_expires=self._expires(asked, answer, access),
            refresh_token=answer.refresh_token,
            id_token=answer.id_token,
            claims=access if access is not None else person_of(id_claims, info),
            id_claims=id_claims,
            userinfo=info,
        )

    def _expires(self, asked: float, answer: TokenAnswer, access: Mapping[str, Any] | None) -> float | None:
        """The earlier of what the answer and the token itself say, counted from before it was asked for."""
        said = [asked + answer.expires_in] if answer.expires_in is not None else []
        if access is not None:
            said.append(float(access["exp"]))
        if not said and self._session.token_lifetime is not None:
            said.append(asked + self._session.token_lifetime.total_seconds())
        return min(said) if said else None

    # -- A session

    async def refresh(self, tokens: Tokens) -> Tokens:
        """
        The session's next tokens. Raises GrantEnded when there will be none, IssuerAway when nobody can tell.

        Once the issuer has answered, this returns: when what it gave cannot be judged now (its keys are away), the
        tokens are those of before with the new refresh token, and `access_expires` as it was. Do not cancel it.
        """
        if tokens.refresh_token is None:
            raise GrantEnded("grant-ended", "the session has no refresh token")
        asked = self._now()
        try:
            answer = await self._granted(
                {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
            )
        except OAuthError as error:
            raise GrantEnded("grant-ended", error.message) from error
        except LoginRefused as error:
            raise GrantEnded("grant-changed", error.message) from error
        kept = answer.refresh_token or tokens.refresh_token
        try:
            return await self._renewed(replace(tokens, refresh_token=kept), answer, asked)
        except IssuerAway as error:
            self._say_once("a renewed session keeps the claims of before", error.code, error.message)
            return replace(tokens, refresh_token=kept)
        except TokenError as error:
            message = f"the new ID token is refused ({error.code}): {error}"
            raise GrantEnded("grant-changed", message) from error
        except LoginRefused as error:
            raise GrantEnded("grant-changed", error.message) from error

    async def _renewed(self, tokens: Tokens, answer: TokenAnswer, asked: float) -> Tokens:
        id_claims = tokens.id_claims
        if answer.id_token is not None:
            id_claims = await self._id_claims(answer, nonce=None, max_age=None)
            require_same_login(id_claims, tokens.id_claims)
        access = await self._access_claims(answer.access_token)
        info = tokens.userinfo
        if self._userinfo or access is None:
            info = await self._newer_info(answer.access_token, id_claims["sub"], info)
        require_person(id_claims, info, access, verified_email=self._session.verified_email)
        return replace(
            tokens,
            access_token=answer.access_token,
            access_expires=self._expires(asked, answer, access),
            id_token=answer.id_token or tokens.id_token,
            claims=access if access is not None else person_of(id_claims, info),
            id_claims=id_claims,
            userinfo=info,
        )

    async def userinfo(self, access_token: str) -> Mapping[str, Any]:
        """
        What the issuer says about a token's person. Raises GrantEnded when it does not take the token, IssuerAway.

        Whose it is, is the caller's to compare (`sub`).
        """
        found = await self._own.userinfo.of_token(access_token)
        if found is None:
            raise IssuerAway("issuer-endpoint-missing", _missing("userinfo"))
        return found

    async def revoke(self, token: str) -> bool:
        """
        End a refresh token at the issuer (RFC 7009). False when the issuer has no such endpoint. Raises IssuerAway.

        The token is sent twice: by RFC 7009's name, and by that of Keycloak's logout endpoint, to which gatekeeper's
        `revocation-url` points. What an endpoint does not know it ignores (RFC 6749, 3.2).
        """
        address = self._session.revocation_url or (await self._metadata.get()).revocation_endpoint
        if not address:
            return False
        form = {"token": token, "token_type_hint": "refresh_token"}
        if self._session.revocation_url is not None:
            form["refresh_token"] = token
        try:
            await self._own.requests.post(address, form)
        except OAuthError:  # invalid_grant: it is no more already
            return True
        return True

    async def end_session_url(
        self, *, id_token: str | None, post_logout_url: str | None, state: str | None = None
    ) -> str | None:
        """
        Where a browser is sent to log out at the issuer, too; None when there is no such place, or nobody can tell:
        leaving the session here must not depend on it (OpenID Connect RP-Initiated Logout 1.0, 2).
        """
        try:
            address = (await self._metadata.get()).end_session_endpoint
        except IssuerAway:
            return None
        if not address:
            return None
        asked = {"client_id": self._own.id}
        if post_logout_url is not None:
            asked["post_logout_redirect_uri"] = post_logout_url
            if state is not None:
                asked["state"] = state
        if id_token is not None and len(id_token) + len(with_query(address, asked)) <= LONGEST_HINT:
            asked["id_token_hint"] = id_token
        return with_query(address, asked)

    # -- Tokens of others

    async def introspect(self, token: str) -> Introspected | None:
        """What the issuer says about a token; None: not active. Raises TokenError, IssuerAway."""
        return await self._own.introspection.ask(token)

    async def bearer(self, token: str) -> Mapping[str, Any]:
        """
        The claims of a JWT that is an access token for us, newer keys fetched for it if it names one.

        Raises a TokenError (`wardgate.verify.errors`), IssuerAway.
        """
        expect, now = expectation(self.provider), self._time()

        def judge(keys: KeySet) -> Mapping[str, Any]:
            return verified(token, keys, expect, now)

        try:
            return await self._keys.judged(judge, refetch=False)
        except TokenKeyUnknown:
            # keys are fetched for a token that could be right by them, not for any text
            if diagnose(read_unverified(token), expect=expect, now=now):
                raise
        return await self._keys.judged(judge)

    async def logout_token(self, token: str) -> LogoutToken:
        """What a back-channel logout token says; its `jti` is not remembered here. Raises TokenError, IssuerAway."""
        client_id, now = self._own.id, self._time()

        def judge(keys: KeySet) -> LogoutToken:
            return verify_logout_token(
                token,
                keys=keys,
                issuer=self.provider.issuer,
                client_id=client_id,
                algorithms=frozenset(self.provider.algorithms),
                leeway=self.provider.leeway,
                now=now,
            )

        # newer keys are fetched for a token that says that it is this issuer's, not for any text
        ours = read_unverified(token).claims.get("iss") == self.provider.issuer
        return await self._keys.judged(judge, refetch=ours)

    # -- Parts

    @property
    def _own(self) -> _AsClient:
        if self._client is None:
            raise RuntimeError(f"the provider {self.provider.name} has no client")
        return self._client

    @property
    def _scope(self) -> str:
        """`openid` is always asked for: without it there is no ID token, and so no login."""
        return " ".join(dict.fromkeys(("openid", *self._session.scopes)))

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    async def _pushed(self, found: Discovery, asked: Mapping[str, str | Sequence[str]]) -> str:
        """The name under which the issuer keeps the request (RFC 9126, 2)."""
        address = _endpoint(found.pushed_authorization_request_endpoint, "pushed authorization request")
        try:
            answer = await self._own.requests.post(address, asked)
        except OAuthError as error:
            raise self._own.requests.client_refused(error.message) from error
        name = json_object(answer).get("request_uri")
        if not isinstance(name, str) or not name:
            raise IssuerAway("issuer-answer", f"{printable(address)} answers without a request_uri")
        return name

    async def _granted(self, form: Mapping[str, str]) -> TokenAnswer:
        address = _endpoint((await self._metadata.get()).token_endpoint, "token")
        return read_token_answer(await self._own.requests.post(address, form))

    async def _id_claims(
        self, answer: TokenAnswer, *, nonce: str | None, max_age: timedelta | None
    ) -> dict[str, Any]:
        token, now = answer.id_token, self._time()
        assert token is not None

        def judge(keys: KeySet) -> dict[str, Any]:
            found = verify_id_token(
                token,
                keys=keys,
                issuer=self.provider.issuer,
                client_id=self._own.id,
                algorithms=frozenset(self.provider.algorithms),
                leeway=self.provider.leeway,
                now=now,
                nonce=nonce,
                max_age=max_age,
                access_token=answer.access_token,
            )
            return dict(found.claims)

        return await self._keys.judged(judge)

    async def _access_claims(self, token: str) -> dict[str, Any] | None:
        """The claims of an access token that is a JWT for us; None when it is not, and so opaque. Raises IssuerAway."""
        try:
            if read_unverified(token).claims.get("iss") != self.provider.issuer:
                return None
        except TokenError:
            return None
        expect, now = expectation(self.provider), self._time()
        try:
            return dict(await self._keys.judged(lambda keys: verified(token, keys, expect, now)))
        except TokenError as error:
            event = "the access token of a session is not for us; the ID token and userinfo are judged by"
            self._say_once(event, error.code, str(error))
            return None

    async def _newer_info(
        self, access_token: str, subject: str, before: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """Userinfo of a renewal; what was known when the issuer gives none now: the grant is not lost by that."""
        try:
            return await self._own.userinfo.of_person(access_token, subject)
        except IssuerAway as error:
            self._say_once("userinfo of a renewed session stays as it was", error.code, error.message)
            return before

    def _say_once(self, event: str, code: str, message: str) -> None:
        if f"{event} {code}" not in self._said:
            self._said.add(f"{event} {code}")
            warn(event, provider=self.provider.name, code=code, problem=message)


def _endpoint(address: str, name: str) -> str:
    if not address:
        raise IssuerAway("issuer-endpoint-missing", _missing(name))
    return address


def _missing(name: str) -> str:
    return f"the issuer's discovery document names no {name} endpoint"
