"""
The claims of each kind of token that Keycloak issues, as read from a running 26.7.3 (`tests/idp_table.py`).

Not signing and not sessions: given who logged in how, what do the tokens say?
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wardgate.idp.mappers import Draft, Subject, Target, apply
from wardgate.idp.realm import Client, Mapper, Realm, RoleName, User

OFFLINE = "offline_access"
OPENID = "openid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """
    Who is logged in, by which client, asking for what.

    `sid` None: a service account, which has no session. `scopes` are those asked for that exist, `openid` too.
    `auth_time` None: nobody typed a password into a page. `acr` is "0" where a session spared the user that.
    `reuse_id` names the line of refresh tokens, where they are counted.
    """

    realm: Realm
    client: Client
    user: User
    scopes: tuple[str, ...]
    grant: str
    started: datetime
    sid: str | None = None
    address: str = "127.0.0.1"
    auth_time: datetime | None = None
    acr: str = "1"
    nonce: str | None = None
    reuse_id: str | None = None

    @property
    def offline(self) -> bool:
        return OFFLINE in self.scopes

    @property
    def active_scopes(self) -> tuple[str, ...]:
        """Client scopes whose mappers apply: the client's default ones, and those asked for."""
        asked = [name for name in self.client.optional_scopes if name in self.scopes]
        return (*self.client.default_scopes, *asked)

    @property
    def scope_claim(self) -> str:
        """The `scope` of the token and of the answer."""
        shown = [name for name in self.active_scopes if self.realm.scopes[name].shown]
        return " ".join([OPENID, *shown] if OPENID in self.scopes else shown)

    @property
    def mappers(self) -> Iterable[Mapper]:
        for name in self.active_scopes:
            yield from self.realm.scopes[name].mappers
        yield from self.client.mappers

    @property
    def session_lifespan(self) -> timedelta:
        """How long a refresh token lives: the shortest of what realm and client say about sessions."""
        limits = (
            self.realm.session_idle,
            self.realm.session_max,
            self.client.session_idle,
            self.client.session_max,
        )
        return min(limit for limit in limits if limit is not None)

    @property
    def ends(self) -> datetime:
        """When the session ends, however often it is refreshed."""
        return self.started + min(self.realm.session_max, self.client.session_max or self.realm.session_max)

    def granted_roles(self) -> frozenset[RoleName]:
        """The user's roles that may enter this client's tokens."""
        roles = self.realm.roles_of(self.user)
        if self.client.role_scope is None:
            return roles
        mapped = [self.realm.scopes[name].role_scope for name in self.active_scopes]
        return roles & self.realm.expanded(self.client.role_scope.union(*mapped))


def access_claims(login: Login, issuer: str, now: datetime) -> dict[str, Any]:
    """An access token's claims (payload `typ` Bearer). `aud` is a list, one string, or absent."""
    draft = _draft(login, Target.ACCESS)
    audience = draft.audiences if len(draft.audiences) > 1 else "".join(draft.audiences)
    expires = now + (login.client.access_token_lifespan or login.realm.access_token_lifespan)
    if login.sid is not None and not login.offline:
        expires = min(expires, login.ends)
    return {
        "exp": _seconds(expires),
        "iat": _seconds(now),
        "jti": f"{_jti_kind(login)}:{uuid.uuid4()}",
        "iss": issuer,
        **({"aud": audience} if audience else {}),
        "typ": "Bearer",
        "azp": login.client.id,
        **({"sid": login.sid} if login.sid else {}),
        **draft.claims,
        "scope": login.scope_claim,
    }


def id_claims(login: Login, issuer: str, now: datetime, access_token: str) -> dict[str, Any]:
    """An ID token's claims (payload `typ` ID), with the hash of the access token it came with."""
    draft = _draft(login, Target.ID)
    audiences = [login.client.id, *(one for one in draft.audiences if one != login.client.id)]
    lifespan = login.client.access_token_lifespan or login.realm.access_token_lifespan
    return {
        "exp": _seconds(now + lifespan),
        "iat": _seconds(now),
        "jti": str(uuid.uuid4()),
        "iss": issuer,
        "aud": audiences if len(audiences) > 1 else audiences[0],
        "sub": login.user.id,
        "typ": "ID",
        "azp": login.client.id,
        **({"nonce": login.nonce} if login.nonce else {}),
        **({"sid": login.sid} if login.sid else {}),
        "at_hash": _at_hash(access_token),
        **draft.claims,
    }


def refresh_claims(login: Login, issuer: str, now: datetime) -> dict[str, Any]:
    """A refresh token's claims (payload `typ` Refresh, or Offline, which has no `exp`)."""
    expires = min(now + login.session_lifespan, login.ends)
    return {
        **({} if login.offline else {"exp": _seconds(expires)}),
        "iat": _seconds(now),
        "jti": str(uuid.uuid4()),
        "iss": issuer,
        "aud": issuer,
        "sub": login.user.id,
        "typ": "Offline" if login.offline else "Refresh",
        "azp": login.client.id,
        "sid": login.sid,
        "scope": " ".join([*(one for one in login.scopes if one == OPENID), *login.active_scopes]),
        **({"reuse_id": login.reuse_id} if login.reuse_id else {}),
    }


def introspected_claims(login: Login, claims: Mapping[str, Any]) -> dict[str, Any]:
    """What introspection says about a token with these claims: those, and what an access token would say too."""
    draft = _draft(login, Target.ACCESS)
    audience = claims.get("aud", [])
    audiences = [audience] if isinstance(audience, str) else list(audience)
    audiences += [one for one in draft.audiences if one not in audiences]
    said = {name: value for name, value in claims.items() if name not in _NOT_INTROSPECTED}
    return {
        **draft.claims,
        **said,
        **({"aud": audiences if len(audiences) != 1 else audiences[0]} if audiences else {}),
    }


_NOT_INTROSPECTED = frozenset({"at_hash", "reuse_id"})


def logout_claims(client: Client, sid: str, user: User, issuer: str, now: datetime) -> dict[str, Any]:
    """A logout token's claims (OpenID Connect Back-Channel Logout 2.4), as Keycloak's: for two minutes."""
    return {
        "exp": _seconds(now + LOGOUT_TOKEN_LIFESPAN),
        "iat": _seconds(now),
        "jti": str(uuid.uuid4()),
        "iss": issuer,
        "aud": client.id,
        "sub": user.id,
        "typ": "Logout",
        **({"sid": sid} if client.login.backchannel_session else {}),
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }


LOGOUT_TOKEN_LIFESPAN = timedelta(seconds=120)


def userinfo_claims(login: Login) -> dict[str, Any]:
    """What the userinfo endpoint answers."""
    return {"sub": login.user.id, **_draft(login, Target.USERINFO).claims}


def _draft(login: Login, target: Target) -> Draft:
    notes = {"acr": login.acr} | ({"sid": login.sid} if login.sid else {})
    if login.auth_time is not None:
        notes["AUTH_TIME"] = str(_seconds(login.auth_time))
    if login.user == login.client.service_account:
        notes |= {"client_id": login.client.id, "clientHost": login.address, "clientAddress": login.address}
    subject = Subject(
        realm=login.realm,
        client=login.client,
        user=login.user,
        roles=login.granted_roles(),
        notes=notes,
    )
    draft = Draft(target)
    apply(login.mappers, draft, subject)
    return draft


def _jti_kind(login: Login) -> str:
    """Keycloak's prefix: session kind (online, offline, transient), token kind, grant."""
    session = "tr" if login.sid is None else "of" if login.offline else "on"
    return f"{session}rt{login.grant}"


def _at_hash(access_token: str) -> str:
    """OpenID Connect Core 3.1.3.6, for RS256."""
    half = hashlib.sha256(access_token.encode("ascii")).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode("ascii")


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
