"""
The development identity provider's decisions: grants, refresh, revocation, userinfo, introspection.

Not HTTP (`app.py`), not the browser's part (`signing_in.py`, `signing_out.py`), and not for production: it keeps
sessions and keys in memory, compares passwords in the clear and has no brute-force protection. Its answers, codes
and status are those of Keycloak 26.7.3, read from a running one; `tests/idp_table.py` and
`tests/idp_login_table.py` are run against both.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from wardgate.idp.authorization import prove
from wardgate.idp.claims import (
    OFFLINE,
    OPENID,
    Login,
    access_claims,
    id_claims,
    introspected_claims,
    logout_claims,
    refresh_claims,
    userinfo_claims,
)
from wardgate.idp.client_authentication import ClientAuthentication, Credentials
from wardgate.idp.codes import Code, Codes
from wardgate.idp.keys import Keys, sign
from wardgate.idp.realm import Client, Realm, RoleName, User
from wardgate.idp.refusals import BAD_CLIENT, OAuthRefusal
from wardgate.idp.scopes import named_again, read_scopes
from wardgate.idp.sessions import ClientSession, Line, Sessions, UserSession, new_line
from wardgate.problems import TokenError
from wardgate.verify.compact import UnverifiedToken, read_unverified

MAX_REVOKED = 10_000

Clock = Callable[[], datetime]
Form = Mapping[str, str]

NO_CLIENT_SESSION = "Session doesn't have required client"
SESSION_NOT_ACTIVE = "Session not active"


def system_clock() -> datetime:
    return datetime.now(UTC)


class Provider:
    """One realm under one issuer. Thread-safe enough for a test that talks to it while it serves."""

    def __init__(
        self, realm: Realm, issuer: str, *, keys: Keys | None = None, clock: Clock = system_clock
    ) -> None:
        self.realm = realm
        self.issuer = issuer
        self.keys = keys or Keys()
        self.clock = clock
        self.sessions = Sessions(realm, clock)
        self.codes = Codes(realm.code_lifespan, clock)
        self._clients = ClientAuthentication(realm, _audiences(issuer))
        self._revoked: dict[str, None] = {}

    # -- the token endpoint

    def token(self, client: Client, form: Form, address: str = "127.0.0.1") -> dict[str, Any]:
        """Answer a token request of an authenticated client. Raises OAuthRefusal."""
        match form.get("grant_type", ""):
            case "authorization_code":
                return self._code(client, form)
            case "password":
                return self._password(client, form)
            case "client_credentials":
                return self._client_credentials(client, form, address)
            case "refresh_token":
                return self._refresh(client, form)
            case "":
                raise OAuthRefusal(400, "invalid_request", "Missing form parameter: grant_type")
            case _:
                raise OAuthRefusal(400, "unsupported_grant_type", "Unsupported grant_type")

    def client(self, given: Credentials) -> Client:
        """The client that a request authenticates as. Raises OAuthRefusal."""
        return self._clients.client(given, self.clock())

    def _code(self, client: Client, form: Form) -> dict[str, Any]:
        if "code" not in form:
            raise OAuthRefusal(400, "invalid_request", "Missing parameter: code")
        code, again = self.codes.take(form["code"])
        session = self.sessions.online(code.sid) if code is not None else None
        if again and session is not None and code is not None:
            self.sessions.leave(session, code.asked.client.id)
        if code is None or again or session is None or code.asked.client.id not in session.clients:
            raise OAuthRefusal(400, "invalid_grant", "Code not valid")
        if code.asked.client.id != client.id:
            raise OAuthRefusal(400, "invalid_grant", "Auth error: Found different client_id in clientSession")
        if form.get("redirect_uri") != code.asked.redirect_uri:
            raise OAuthRefusal(400, "invalid_grant", "Incorrect redirect_uri")
        prove(code.asked, form.get("code_verifier"))
        return self._answer_code(session, code)

    def _answer_code(self, session: UserSession, taken: Code) -> dict[str, Any]:
        joined = session.clients[taken.asked.client.id]
        login = self._login(session, joined, scopes=taken.asked.scopes, grant="ac")
        login = replace(login, acr=taken.acr, nonce=taken.asked.nonce)
        if login.offline:
            self._go_offline(login, session)
        return self._answer(login)

    def _password(self, client: Client, form: Form) -> dict[str, Any]:
        if not client.direct_access:
            raise OAuthRefusal(400, "unauthorized_client", "Client not allowed for direct access grants")
        scopes = read_scopes(client, form)
        if "username" not in form:
            raise OAuthRefusal(401, "invalid_request", "Missing parameter: username")
        user = self.known(form["username"], form.get("password", ""))
        if user is None:
            raise OAuthRefusal(400, "invalid_grant", "Invalid user credentials")
        if not user.enabled:
            raise OAuthRefusal(400, "invalid_grant", "Account disabled")
        if user.required_actions:
            raise OAuthRefusal(400, "invalid_grant", "Account is not fully set up")
        return self.log_in(client, user, scopes)

    def known(self, username: str, password: str) -> User | None:
        """Whom name and password belong to; nobody when one of them is wrong. The account may be disabled."""
        user = self.realm.user(username)
        if user is None or user.password is None or not _same(user.password, password):
            return None
        return user

    def log_in(self, client: Client, user: User, scopes: tuple[str, ...]) -> dict[str, Any]:
        """Start a session for a user who is known to be the one. Raises OAuthRefusal (offline not allowed)."""
        session = self.sessions.start(user)
        login = self._login(session, session.join(client, scopes), scopes=scopes, grant="ro")
        if login.offline:
            self.sessions.end(session.sid)
            self._go_offline(login, session)
        return self._answer(login)

    def _go_offline(self, login: Login, session: UserSession) -> None:
        if RoleName("", OFFLINE) not in login.granted_roles():
            raise OAuthRefusal(400, "not_allowed", "Offline tokens not allowed for the user or client")
        self.sessions.start_offline(session).join(login.client, login.scopes, login.acr)

    def _client_credentials(self, client: Client, form: Form, address: str) -> dict[str, Any]:
        if client.public:
            raise OAuthRefusal(
                401, "unauthorized_client", "Public client not allowed to retrieve service account"
            )
        if client.service_account is None:
            raise OAuthRefusal(401, "unauthorized_client", "Client not enabled to retrieve service account")
        return self.act_alone(client, read_scopes(client, form), address)

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
            raise OAuthRefusal(400, "invalid_request", "No refresh token")
        token, session, joined = self._refreshable(client, form["refresh_token"])
        reuse_id = self._count_use(session, joined, token)
        scopes = named_again(client, str(token.claims.get("scope", "")))
        if "scope" in form:
            asked = read_scopes(client, form)
            scopes = tuple(name for name in scopes if name in asked)
        self.sessions.touch(session)
        login = self._login(session, joined, scopes=scopes, grant="rt")
        return self._answer(replace(login, reuse_id=reuse_id))

    def _refreshable(self, client: Client, text: str) -> tuple[UnverifiedToken, UserSession, ClientSession]:
        """A client's refresh token and what it belongs to. Raises OAuthRefusal."""
        token = self._signed(text, refresh=True)
        if token is None or token.claims.get("typ") not in ("Refresh", "Offline"):
            raise OAuthRefusal(400, "invalid_grant", "Invalid refresh token")
        if token.claims.get("azp") != client.id:
            words = "Invalid refresh token. Token client and authorized client don't match"
            raise OAuthRefusal(400, "invalid_grant", words)
        if self._has_expired(token):
            raise OAuthRefusal(400, "invalid_grant", "Token is not active")
        sid = str(token.claims.get("sid"))
        offline = token.claims["typ"] == "Offline"
        session = self.sessions.offline(sid) if offline else self.sessions.online(sid)
        if session is None:
            raise OAuthRefusal(400, "invalid_grant", SESSION_NOT_ACTIVE)
        joined = session.clients.get(client.id)
        if joined is None:
            raise OAuthRefusal(400, "invalid_grant", NO_CLIENT_SESSION)
        return token, session, joined

    def session_of(self, client: Client, refresh_token: str) -> str:
        """The session that a client's refresh token is of. Raises OAuthRefusal."""
        return self._refreshable(client, refresh_token)[1].sid

    def _count_use(self, session: UserSession, joined: ClientSession, token: UnverifiedToken) -> str | None:
        """Where the realm counts: note one more use; beyond what is allowed the client's tokens end."""
        allowed = self.realm.refresh_reuse
        if allowed is None:
            return None
        reuse_id, identity = str(token.claims.get("reuse_id")), str(token.claims.get("jti"))
        line = joined.lines.setdefault(reuse_id, Line(identity))
        if identity in line.stale:
            self.sessions.leave(session, joined.client.id)
            raise OAuthRefusal(400, "invalid_grant", "Stale token")
        if identity != line.current:
            line.stale.add(line.current)
            line.current, line.uses = identity, 0
        if line.uses > allowed:
            self.sessions.leave(session, joined.client.id)
            raise OAuthRefusal(400, "invalid_grant", "Maximum allowed refresh token reuse exceeded")
        line.uses += 1
        return reuse_id

    def _login(
        self, session: UserSession, joined: ClientSession, *, scopes: tuple[str, ...], grant: str
    ) -> Login:
        return Login(
            realm=self.realm,
            client=joined.client,
            user=session.user,
            scopes=scopes,
            grant=grant,
            started=session.started,
            sid=session.sid,
            auth_time=session.auth_time,
            acr=joined.acr,
            reuse_id=None if self.realm.refresh_reuse is None else new_line(),
        )

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

    def logout_token(self, client: Client, session: UserSession) -> str:
        """What tells a client that a session has ended (OpenID Connect Back-Channel Logout)."""
        claims = logout_claims(client, session.sid, session.user, self.issuer, self.clock())
        return self.signed(claims, {"typ": "logout+jwt"})

    def hinted(self, id_token: str) -> tuple[Client, str] | None:
        """The client and the session of an ID token of ours, however old; None for anything else."""
        token = self._signed(id_token)
        if token is None or token.claims.get("typ") != "ID":
            return None
        client = self.realm.clients.get(str(token.claims.get("azp")))
        return None if client is None else (client, str(token.claims.get("sid", "")))

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

    # -- revocation, userinfo and introspection

    def revoke(self, caller: Client, text: str) -> None:
        """RFC 7009: an access token alone, or, by a refresh token, the client's part of a session."""
        refresh = self._signed(text, refresh=True)
        token = refresh or self._signed(text)
        if token is None:
            raise OAuthRefusal(200, "invalid_token", "Invalid token")
        if token.claims.get("typ") not in ("Refresh", "Offline", "Bearer"):
            raise OAuthRefusal(400, "unsupported_token_type", "Unsupported token type")
        if token.claims.get("azp") != caller.id:
            raise OAuthRefusal(400, "invalid_request", "Unmatching clients")
        if refresh is None:
            self._revoke_one(str(token.claims.get("jti")))
            return
        sid = str(token.claims.get("sid"))
        offline = token.claims["typ"] == "Offline"
        session = self.sessions.offline(sid) if offline else self.sessions.online(sid)
        if session is None or caller.id not in session.clients:
            raise OAuthRefusal(200, "invalid_token", "Invalid token")
        self.sessions.leave_for_good(session, caller.id)

    def _revoke_one(self, identity: str) -> None:
        while len(self._revoked) >= MAX_REVOKED:
            self._revoked.pop(next(iter(self._revoked)))
        self._revoked[identity] = None

    def userinfo(self, access_token: str) -> dict[str, Any]:
        """The claims about the user of an access token. Raises OAuthRefusal."""
        token = self._active(access_token)
        if token is None or token.claims.get("typ") != "Bearer":
            raise OAuthRefusal(401, "invalid_token", "Token verification failed")
        login = self._login_of(token)
        if login is None:
            raise OAuthRefusal(401, "invalid_token", "user_session_not_found")
        if OPENID not in str(token.claims.get("scope", "")).split():
            raise OAuthRefusal(403, "insufficient_scope", "Missing openid scope")
        return userinfo_claims(login)

    def introspect(self, caller: Client, text: str, hint: str = "") -> dict[str, Any]:
        """
        RFC 7662. Active only when the caller is in the token's audience, as Keycloak since 26.6.2.

        An ID token is active too, as there: the caller must look at `typ`. A refresh token is, for its own client,
        when the hint says that it is one.
        """
        if caller.public:
            raise OAuthRefusal(403, "invalid_request", "Client not allowed.")
        refresh = hint == "refresh_token"
        token = self._active(text, refresh=refresh)
        login = self._login_of(token)
        if token is None or login is None or not _is_for(caller, token, refresh=refresh):
            return {"active": False}
        return {
            **introspected_claims(login, token.claims),
            "client_id": token.claims.get("azp"),
            "username": login.user.username,
            "token_type": token.claims.get("typ"),
            "active": True,
        }

    def _active(self, text: str, *, refresh: bool = False) -> UnverifiedToken | None:
        """A token of ours that has neither expired nor been revoked."""
        token = self._signed(text, refresh=refresh)
        if token is None or self._has_expired(token) or token.claims.get("jti") in self._revoked:
            return None
        return token

    def _login_of(self, token: UnverifiedToken | None) -> Login | None:
        """The login that a token came from, while it lasts."""
        if token is None:
            return None
        client = self.realm.clients.get(str(token.claims.get("azp")))
        if client is None:
            return None
        scopes = named_again(client, str(token.claims.get("scope", "")))
        if "sid" in token.claims:
            return self._login_in_session(client, str(token.claims["sid"]), scopes)
        if client.service_account is None:
            return None
        return Login(
            realm=self.realm,
            client=client,
            user=client.service_account,
            scopes=scopes,
            grant="cc",
            started=self.clock(),
        )

    def _login_in_session(self, client: Client, sid: str, scopes: tuple[str, ...]) -> Login | None:
        for session in (self.sessions.online(sid), self.sessions.offline(sid)):
            joined = session.clients.get(client.id) if session is not None else None
            if session is not None and joined is not None:
                return self._login(session, joined, scopes=scopes, grant="rt")
        return None

    def log_out(self, sid: str) -> None:
        """End a session: its tokens are no longer active, its refresh token is refused. Nobody is told."""
        self.sessions.forget(sid)


def _is_for(caller: Client, token: UnverifiedToken, *, refresh: bool) -> bool:
    if refresh:
        return token.claims.get("azp") == caller.id
    audience = token.claims.get("aud", [])
    return caller.id in ([audience] if isinstance(audience, str) else audience)


def _audiences(issuer: str) -> frozenset[str]:
    """What a client's signed JWT may be meant for, as Keycloak takes it."""
    protocol = f"{issuer}/protocol/openid-connect"
    return frozenset(
        {issuer, *(f"{protocol}/{name}" for name in ("token", "token/introspect", "ext/par/request"))}
    )


def _same(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode(), second.encode())


__all__ = ["BAD_CLIENT", "Clock", "OAuthRefusal", "Provider", "system_clock"]
