"""
The development identity provider's decisions: grants, refresh, userinfo, introspection.

Not HTTP (`app.py`) and not for production: it keeps sessions and keys in memory, compares passwords in the clear
and has no brute-force protection. Its answers, codes and status are those of Keycloak 26.7.3, read from a running
one; `tests/idp_table.py` is run against both.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from wardgate.idp.claims import (
    OFFLINE,
    OPENID,
    Login,
    access_claims,
    id_claims,
    refresh_claims,
    userinfo_claims,
)
from wardgate.idp.keys import Keys, sign
from wardgate.idp.realm import Client, Realm, RoleName, User
from wardgate.problems import TokenError
from wardgate.verify.compact import UnverifiedToken, read_unverified

MAX_SESSIONS = 10_000
"""Beyond this the oldest session is forgotten: a test that logs in forever must not eat the machine."""

Clock = Callable[[], datetime]
Form = Mapping[str, str]


def system_clock() -> datetime:
    return datetime.now(UTC)


class Refused(Exception):
    """An OAuth error answer (RFC 6749 5.2), with Keycloak's status and words."""

    def __init__(self, status: int, error: str, description: str) -> None:
        self.status = status
        self.error = error
        self.description = description
        super().__init__(f"{status} {error}: {description}")


BAD_CLIENT = "Invalid client or Invalid client credentials"


class Provider:
    """One realm under one issuer. Thread-safe enough for a test that talks to it while it serves."""

    def __init__(
        self, realm: Realm, issuer: str, *, keys: Keys | None = None, clock: Clock = system_clock
    ) -> None:
        self.realm = realm
        self.issuer = issuer
        self.keys = keys or Keys()
        self.clock = clock
        self._sessions: dict[str, Login] = {}

    # -- the token endpoint

    def token(self, client: Client, form: Form, address: str = "127.0.0.1") -> dict[str, Any]:
        """Answer a token request of an authenticated client. Raises Refused."""
        match form.get("grant_type", ""):
            case "password":
                return self._password(client, form)
            case "client_credentials":
                return self._client_credentials(client, form, address)
            case "refresh_token":
                return self._refresh(client, form)
            case "":
                raise Refused(400, "invalid_request", "Missing form parameter: grant_type")
            case _:
                raise Refused(400, "unsupported_grant_type", "Unsupported grant_type")

    def client(self, client_id: str, secret: str | None) -> Client:
        """The client that a request authenticates as. Raises Refused."""
        client = self.realm.clients.get(client_id)
        if client is None or not client.enabled:
            raise Refused(401, "invalid_client", BAD_CLIENT)
        if client.bearer_only:
            raise Refused(400, "invalid_client", "Bearer-only not allowed")
        if client.secret is not None and not _same(client.secret, secret or ""):
            raise Refused(401, "unauthorized_client", BAD_CLIENT)
        return client

    def _password(self, client: Client, form: Form) -> dict[str, Any]:
        if not client.direct_access:
            raise Refused(400, "unauthorized_client", "Client not allowed for direct access grants")
        scopes = self._scopes(client, form)
        if "username" not in form:
            raise Refused(401, "invalid_request", "Missing parameter: username")
        user = self.realm.user(form["username"])
        if user is None or user.password is None or not _same(user.password, form.get("password", "")):
            raise Refused(400, "invalid_grant", "Invalid user credentials")
        if not user.enabled:
            raise Refused(400, "invalid_grant", "Account disabled")
        if user.required_actions:
            raise Refused(400, "invalid_grant", "Account is not fully set up")
        return self.log_in(client, user, scopes)

    def log_in(self, client: Client, user: User, scopes: tuple[str, ...]) -> dict[str, Any]:
        """Start a session for a user who is known to be the one. Raises Refused (offline not allowed)."""
        login = Login(
            realm=self.realm,
            client=client,
            user=user,
            scopes=scopes,
            grant="ro",
            started=self.clock(),
            sid=secrets.token_urlsafe(18),
        )
        if login.offline and RoleName("", OFFLINE) not in login.granted_roles():
            raise Refused(400, "not_allowed", "Offline tokens not allowed for the user or client")
        self._remember(login)
        return self._answer(login)

    def _client_credentials(self, client: Client, form: Form, address: str) -> dict[str, Any]:
        if client.secret is None:
            raise Refused(401, "unauthorized_client", "Public client not allowed to retrieve service account")
        if client.service_account is None:
            raise Refused(401, "unauthorized_client", "Client not enabled to retrieve service account")
        return self.act_alone(client, self._scopes(client, form), address)

    def act_alone(
        self, client: Client, scopes: tuple[str, ...] = (), address: str = "127.0.0.1"
    ) -> dict[str, Any]:
        """Tokens for a client's own service account: no session, no refresh token."""
        assert client.service_account is not None
        login = Login(
            realm=self.realm,
            client=client,
            user=client.service_account,
            scopes=scopes,
            grant="cc",
            started=self.clock(),
            address=address,
        )
        if login.offline and RoleName("", OFFLINE) not in login.granted_roles():
            # Keycloak refuses a person here, and drops the scope for a service account
            login = replace(login, scopes=tuple(scope for scope in scopes if scope != OFFLINE))
        return self._answer(login)

    def _refresh(self, client: Client, form: Form) -> dict[str, Any]:
        if "refresh_token" not in form:
            raise Refused(400, "invalid_request", "No refresh token")
        token = self._signed(form["refresh_token"], refresh=True)
        if token is None or token.claims.get("typ") not in ("Refresh", "Offline"):
            raise Refused(400, "invalid_grant", "Invalid refresh token")
        if token.claims.get("azp") != client.id:
            words = "Invalid refresh token. Token client and authorized client don't match"
            raise Refused(400, "invalid_grant", words)
        login = self._sessions.get(str(token.claims.get("sid")))
        if self._has_expired(token) or login is None:
            raise Refused(400, "invalid_grant", "Token is not active")
        if "scope" in form:
            asked = self._scopes(client, form)
            login = replace(login, scopes=tuple(name for name in login.scopes if name in asked))
        return self._answer(replace(login, grant="rt"))

    def _scopes(self, client: Client, form: Form) -> tuple[str, ...]:
        """
        The scopes of a request, in its order; none when it asks for none.

        Raises Refused for a scope that the client does not have, and for an empty parameter.
        """
        if "scope" not in form:
            return ()
        names = tuple(dict.fromkeys(form["scope"].split()))
        known = {OPENID, *client.default_scopes, *client.optional_scopes}
        if not names or not known.issuperset(names):
            raise Refused(400, "invalid_scope", f"Invalid scopes: {form['scope']}")
        return names

    def _answer(self, login: Login) -> dict[str, Any]:
        now = self.clock()
        claims = access_claims(login, self.issuer, now)
        access_token = self.signed(claims, {"typ": login.client.header_type})
        answer: dict[str, Any] = {
            "access_token": access_token,
            "expires_in": claims["exp"] - claims["iat"],
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": login.scope_claim,
        }
        if OPENID in login.scopes:
            answer["id_token"] = self.signed(id_claims(login, self.issuer, now, access_token))
        if login.sid is not None:
            refresh = refresh_claims(login, self.issuer, now)
            answer["session_state"] = login.sid
            answer["refresh_token"] = self._refresh_token(refresh)
            answer["refresh_expires_in"] = refresh["exp"] - refresh["iat"] if "exp" in refresh else 0
        return answer

    # -- tokens

    def signed(self, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
        """
        Any claims, signed with the active key (RS256).

        `header` members are set over the usual ones; `...` removes one.
        """
        members = {"alg": "RS256", "typ": "JWT", "kid": self.keys.kid} | dict(header or {})
        kept = {name: value for name, value in members.items() if value is not ...}
        return sign(kept, claims, self.keys.active, "RS256")

    def _refresh_token(self, claims: Mapping[str, Any]) -> str:
        header = {"alg": "HS512", "typ": "JWT", "kid": self.keys.secret.kid}
        return sign(header, claims, self.keys.secret, "HS512")

    def _signed(self, text: str, *, refresh: bool = False) -> UnverifiedToken | None:
        """What a token of ours says, when it is one; by its signature only, it may have expired."""
        try:
            token = read_unverified(text)
        except TokenError:
            return None
        return token if self.keys.signed(text, refresh=refresh) else None

    def _has_expired(self, token: UnverifiedToken) -> bool:
        expires = token.claims.get("exp")
        return expires is not None and self.clock().timestamp() >= expires

    # -- userinfo and introspection

    def userinfo(self, access_token: str) -> dict[str, Any]:
        """The claims about the user of an access token. Raises Refused."""
        token = self._signed(access_token)
        login = self._login_of(token)
        if token is None or token.claims.get("typ") != "Bearer" or login is None:
            raise Refused(401, "invalid_token", "Token verification failed")
        if OPENID not in str(token.claims.get("scope", "")).split():
            raise Refused(403, "insufficient_scope", "Missing openid scope")
        return userinfo_claims(login)

    def introspect(self, caller: Client, text: str) -> dict[str, Any]:
        """
        RFC 7662. Active only when the caller is in the token's audience, as Keycloak since 26.6.2.

        An ID token is active too, as there: the caller must look at `typ`.
        """
        if caller.secret is None:
            raise Refused(403, "invalid_request", "Client not allowed.")
        token = self._signed(text)
        login = self._login_of(token)
        if token is None or login is None:
            return {"active": False}
        audience = token.claims.get("aud", [])
        if caller.id not in ([audience] if isinstance(audience, str) else audience):
            return {"active": False}
        return {
            **token.claims,
            "client_id": token.claims.get("azp"),
            "username": login.user.username,
            "token_type": token.claims.get("typ"),
            "active": True,
        }

    def _login_of(self, token: UnverifiedToken | None) -> Login | None:
        """The login that a token came from, while it lasts."""
        if token is None or self._has_expired(token):
            return None
        if "sid" in token.claims:
            return self._sessions.get(str(token.claims["sid"]))
        client = self.realm.clients.get(str(token.claims.get("azp")))
        if client is None or client.service_account is None:
            return None
        scopes = tuple(str(token.claims.get("scope", "")).split())
        return Login(
            realm=self.realm,
            client=client,
            user=client.service_account,
            scopes=scopes,
            grant="cc",
            started=self.clock(),
        )

    def log_out(self, sid: str) -> None:
        """End a session: its tokens are no longer active, its refresh token is refused."""
        self._sessions.pop(sid, None)

    def _remember(self, login: Login) -> None:
        assert login.sid is not None
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)), None)
        self._sessions[login.sid] = login


def _same(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode(), second.encode())
