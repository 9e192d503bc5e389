"""
A realm as the development identity provider serves it: people, groups, roles, clients, mappers.

Not Keycloak's JSON (`representation.py` reads that) and not a token (`claims.py` makes those): frozen data that
is resolved, so every name in it exists. Words are Keycloak's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from wardgate.problems import Problem


@dataclass(frozen=True, slots=True)
class RoleName:
    """A role: of a client, or of the realm (`client` is then empty)."""

    client: str
    name: str

    def __str__(self) -> str:
        return f"{self.client}/{self.name}" if self.client else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapper:
    """A protocol mapper: `kind` is Keycloak's id such as `oidc-audience-mapper`; `config` is as written."""

    name: str
    kind: str
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientScope:
    """A named set of mappers; `shown` says whether the token's `scope` claim names it."""

    name: str
    shown: bool = True
    mappers: tuple[Mapper, ...] = ()
    role_scope: frozenset[RoleName] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group by its full path; `roles` and `attributes` are its own, without those of its parents."""

    path: str
    roles: frozenset[RoleName] = frozenset()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a service account. `password` None: nobody can log in as this user."""

    id: str
    username: str
    enabled: bool
    password: str | None = field(default=None, repr=False)
    email_verified: bool = False
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roles: frozenset[RoleName] = frozenset()
    groups: tuple[str, ...] = ()
    required_actions: tuple[str, ...] = ()

    def attribute(self, name: str) -> str:
        """The first value of an attribute, or empty; `email`, `firstName`, … are attributes too."""
        return next(iter(self.attributes.get(name, ())), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLogin:
    """
    What a client may do in a browser, and how it hears of a logout.

    `pkce` is the method that the client must use, "" when it may choose. `post_logout_uris` None: as Keycloak, the
    redirect URIs count. `backchannel_url` and `frontchannel_url` are "" where there is none.
    """

    allowed: bool = True
    redirect_uris: tuple[str, ...] = ()
    post_logout_uris: tuple[str, ...] | None = None
    pkce: str = ""
    pushed_only: bool = False
    backchannel_url: str = ""
    backchannel_session: bool = False
    frontchannel: bool = False
    frontchannel_url: str = ""
    frontchannel_session: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """
    An application. `secret` None: a public client, or one that signs (`keys`, a JWK set; RFC 7523).

    `role_scope` None: every role of a user enters its tokens (Keycloak's fullScopeAllowed).
    """

    id: str
    enabled: bool = True
    bearer_only: bool = False
    secret: str | None = field(default=None, repr=False)
    keys: Sequence[Mapping[str, Any]] | None = None
    direct_access: bool = False
    login: ClientLogin = ClientLogin()
    service_account: User | None = None
    role_scope: frozenset[RoleName] | None = None
    default_scopes: tuple[str, ...] = ()
    optional_scopes: tuple[str, ...] = ()
    mappers: tuple[Mapper, ...] = ()
    web_origins: tuple[str, ...] = ()
    header_type: str = "JWT"
    access_token_lifespan: timedelta | None = None
    session_idle: timedelta | None = None
    session_max: timedelta | None = None

    @property
    def public(self) -> bool:
        """Whether anybody can say to be this client."""
        return self.secret is None and self.keys is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Realm:
    """
    Everything the provider knows. `warnings` are what the file holds and this provider does not do.

    `refresh_reuse` is how often a refresh token may be used again, None when that is not counted (Keycloak's
    `revokeRefreshToken: false`). `code_lifespan` is that of an authorization code, `login_lifespan` that of a form.
    """

    name: str
    title: str = ""
    roles: Mapping[RoleName, frozenset[RoleName]]
    groups: Mapping[str, Group]
    scopes: Mapping[str, ClientScope]
    clients: Mapping[str, Client]
    users: tuple[User, ...]
    access_token_lifespan: timedelta
    session_idle: timedelta
    session_max: timedelta
    code_lifespan: timedelta = timedelta(seconds=60)
    login_lifespan: timedelta = timedelta(minutes=30)
    refresh_reuse: int | None = None
    login_with_email: bool = True
    warnings: tuple[Problem, ...] = ()

    def user(self, login: str) -> User | None:
        """Whom a username (or an e-mail address, where the realm allows it) names; letter case does not count."""
        wanted = login.lower()
        for user in self.users:
            if user.username.lower() == wanted:
                return user
        for user in self.users:
            if self.login_with_email and user.attribute("email").lower() == wanted:
                return user
        return None

    def expanded(self, roles: Iterable[RoleName]) -> frozenset[RoleName]:
        """Roles with all that they are composed of."""
        found: set[RoleName] = set()
        waiting = list(roles)
        while waiting:
            role = waiting.pop()
            if role not in found:
                found.add(role)
                waiting += self.roles.get(role, frozenset())
        return frozenset(found)

    def roles_of(self, user: User) -> frozenset[RoleName]:
        """Every role a user has: given, by group (and the groups above it), and by composition."""
        groups = [group for path in user.groups for group in self.group_line(path)]
        return self.expanded(user.roles.union(*(group.roles for group in groups)))

    def group_line(self, path: str) -> tuple[Group, ...]:
        """A group and the groups above it, nearest first."""
        line = [self.groups[path]]
        while (path := path.rpartition("/")[0]) in self.groups:
            line.append(self.groups[path])
        return tuple(line)
