"""Browser sessions, and the logins that they begin with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from wardgate.policy.base import Secret, place_field, refuse
from wardgate.policy.paths import Path, PathKind
from wardgate.policy.tls import ClientTls
from wardgate.problems import NOWHERE, Where


class SameSite(StrEnum):
    STRICT = "strict"
    LAX = "lax"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginParameter:
    """A query parameter that a login passes on to the issuer: any value, or `only` this one; `default` when absent."""

    name: str
    only: str | None = None
    default: str | None = None


class Outage(StrEnum):
    """What happens to a session whose tokens cannot be refreshed because the issuer does not answer."""

    CONTINUE = "continue"
    """It goes on with its last verified claims, until its own limits."""

    FAIL = "fail"
    """503 until the issuer is back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """
    Browser sessions: the cookie, the store, the login, the logout.

    They are kept on this machine, in the Redis at `store_url`, or, `in_cookies`, in the browser itself, encrypted.
    `attested` is how long a session is remembered before the store is asked again. `forward_authorization`: the
    session's access token goes to the upstream as `Authorization: Bearer`. `redirect_hosts` are the other hosts where a
    login may end (`rd`), exact names; those below `cookie_domain` may too. `login_patience`: how long a person may take at the
    issuer. `token_lifetime`: of access tokens of which nobody says it. `logout_by_get`: GET ends a session, too,
    when the browser says that its own site asks. `pages` are (`sign-in` | `forbidden` | `error`, file) pairs,
    `page_values` what their templates may print. `websockets` bounds how long one that a session opened outlives it.
    """

    cookie_name: str = "wardgate-session"
    cookie_domain: str | None = None
    cookie_path: str = "/"
    secure: bool = True
    same_site: SameSite = SameSite.LAX
    persistent: bool = False
    idle: timedelta = timedelta(minutes=30)
    lifetime: timedelta = timedelta(hours=12)
    attested: timedelta = timedelta(seconds=30)
    websockets: timedelta = timedelta(hours=1)
    store_url: Secret | None = None
    in_cookies: bool = False
    encryption_key: Secret | None = None
    old_encryption_keys: tuple[Secret, ...] = ()
    redirection_url: str | None = None
    redirect_hosts: tuple[str, ...] = ()
    redirect_http: bool = False
    post_logout_url: str | None = None
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    pkce: bool = True
    login_patience: timedelta = timedelta(minutes=10)
    token_lifetime: timedelta | None = None
    refresh: bool = True
    on_issuer_outage: Outage = Outage.CONTINUE
    password_login: bool = False
    login_parameters: tuple[LoginParameter, ...] = ()
    post_login_path: str | None = None
    logout_by_get: bool = False
    logout_at_issuer: bool = True
    revocation_url: str | None = None
    verified_email: bool = False
    forward_authorization: bool = True
    store_tls: ClientTls | None = None
    store_cluster: bool = False
    pages: tuple[tuple[str, str], ...] = ()
    page_values: tuple[tuple[str, str], ...] = ()
    where: Where = place_field()

    def __post_init__(self) -> None:
        if self.in_cookies and self.store_url is not None:
            hint = "remove one of the two"
            raise refuse(
                "session-store", "sessions are kept in one place", self.where, "cookie and a Redis", hint
            )
        if not timedelta(seconds=2) <= self.attested <= timedelta(minutes=5):
            hint = "from 2s to 5m; a session that ended elsewhere is noticed at the latest after so long"
            raise refuse("session-attested", "too short or too long", self.where, self.attested, hint)

    @property
    def cookie(self) -> str:
        """The cookie's name as browsers see it: `__Host-` where they can hold it to that (RFC 6265bis, 4.1.3.2)."""
        fits = self.secure and self.cookie_domain is None and self.cookie_path == "/"
        return (
            f"__Host-{self.cookie_name}"
            if fits and not self.cookie_name.startswith("__")
            else self.cookie_name
        )


OWN_COOKIES: Final = "wardgate-session-"
"""The cookie names of sessions that are not the policy's one begin so: no application sees any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """
    Logins by a client that shares the gateway with others (Gateway API, `SecurityPolicy.oidc`): its `session` is not theirs, and
    has another cookie. On the hosts of its routes browsers come back to the path `callback`, and log out at the path `logout`.
    """

    session: Session
    callback: str
    logout: str

    def __post_init__(self) -> None:
        if not self.session.cookie_name.startswith(OWN_COOKIES):
            raise refuse(
                "login-cookie", f"does not begin with {OWN_COOKIES}", NOWHERE, self.session.cookie_name
            )
        for path in (self.callback, self.logout):
            Path(kind=PathKind.EXACT, text=path)
