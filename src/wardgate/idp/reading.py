"""
From Keycloak's representation to a resolved `Realm`: every name is looked up, every surprise is said.

What Keycloak's import refuses is a problem here too (an unknown group, a role of an unknown client); what it
makes up on the way (a role that only a user mentions) is made up here as well, with a warning.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from importlib import resources
from pathlib import Path

from wardgate.idp.builtin import (
    BUILTIN_CLIENTS,
    BUILTIN_ROLES,
    DEFAULT_ROLE_PARTS,
    DEFAULT_SCOPES,
    OPTIONAL_SCOPES,
    SERVICE_ACCOUNT_SCOPE,
    builtin_scopes,
)
from wardgate.idp.client_settings import client_keys, login_settings
from wardgate.idp.mappers import MAPPERS, WITHOUT_EFFECT, origins
from wardgate.idp.realm import Client, ClientScope, Group, Mapper, Realm, RoleName, User
from wardgate.idp.representation import (
    ClientRep,
    GroupRep,
    MapperRep,
    RealmRep,
    RoleRep,
    Source,
    UserRep,
    read_file,
    read_text,
)
from wardgate.problems import ConfigError, Problem, Severity, errors, shown

Roles = dict[RoleName, frozenset[RoleName]]
Place = tuple[str | int, ...]


def read_realm(path: Path) -> Realm:
    """The realm of a file. Raises ConfigError with every problem, with its line."""
    return _Resolver(*read_file(path)).realm()


def realm_of(text: str | bytes, file: str = "realm.json") -> Realm:
    """The realm of JSON text. Raises ConfigError."""
    return _Resolver(*read_text(text, file)).realm()


def default_realm() -> Realm:
    """The realm that is served when none is named: `demo`, with the users `user` and `admin`."""
    text = resources.files("wardgate.idp").joinpath("demo-realm.json").read_bytes()
    return realm_of(text, "demo-realm.json")


class _Resolver:
    """Builds the parts of a realm in the order in which they need each other; collects problems on the way."""

    def __init__(self, rep: RealmRep, source: Source) -> None:
        self.rep = rep
        self.source = source
        self.problems: list[Problem] = []
        self.client_ids = {client.client_id for client in rep.clients}.union(BUILTIN_CLIENTS)
        self.default_role = RoleName(
            "", rep.default_role.name if rep.default_role else f"default-roles-{rep.realm.lower()}"
        )
        self.roles: Roles = {}

    def realm(self) -> Realm:
        self.roles = self._defined_roles()
        groups = {group.path: group for group in self._groups(self.rep.groups, "", ("groups",))}
        scopes = self._scopes()
        clients = {client.id: client for client in self._clients(scopes, groups)}
        users = tuple(self._users(groups))
        self._refuse_twice()
        if errors(self.problems):
            raise ConfigError(self.problems)
        return Realm(
            name=self.rep.realm,
            title=self.rep.display_name or self.rep.realm,
            roles=self.roles,
            groups=groups,
            scopes=scopes,
            clients=clients,
            users=users,
            access_token_lifespan=timedelta(seconds=self.rep.access_token_lifespan),
            session_idle=timedelta(seconds=self.rep.sso_session_idle_timeout),
            session_max=timedelta(seconds=self.rep.sso_session_max_lifespan),
            code_lifespan=timedelta(seconds=self.rep.access_code_lifespan),
            login_lifespan=timedelta(seconds=self.rep.access_code_lifespan_login),
            refresh_reuse=self.rep.refresh_token_max_reuse if self.rep.revoke_refresh_token else None,
            login_with_email=self.rep.login_with_email_allowed,
            warnings=tuple(self.problems),
        )

    def _defined_roles(self) -> Roles:
        found: Roles = dict(BUILTIN_ROLES)
        found[self.default_role] = DEFAULT_ROLE_PARTS | {
            RoleName("", name) for name in self.rep.default_roles
        }
        for client, role in self._role_reps():
            parts = frozenset(RoleName("", name) for name in role.composites.realm)
            for owner, names in role.composites.client.items():
                parts |= {RoleName(owner, name) for name in names}
            found[RoleName(client, role.name)] = parts
        return found

    def _role_reps(self) -> Iterator[tuple[str, RoleRep]]:
        yield from (("", role) for role in self.rep.roles.realm)
        for client, roles in self.rep.roles.client.items():
            self._known_client(client, ("roles", "client", client))
            yield from ((client, role) for role in roles)

    def _groups(self, reps: Iterable[GroupRep], parent: str, above: Place) -> Iterator[Group]:
        for index, rep in enumerate(reps):
            place = (*above, index)
            group_path = f"{parent}/{rep.name}"
            yield Group(
                path=group_path,
                roles=self._given_roles(rep.realm_roles, rep.client_roles, place),
                attributes={name: tuple(values) for name, values in rep.attributes.items()},
            )
            yield from self._groups(rep.sub_groups, group_path, (*place, "subGroups"))

    def _scopes(self) -> dict[str, ClientScope]:
        """The file's client scopes, or (as Keycloak) the built-in ones when the file has none."""
        if self.rep.client_scopes is None:
            return builtin_scopes()
        return {
            rep.name: ClientScope(
                name=rep.name,
                shown=(rep.attributes.get("include.in.token.scope") or "true") == "true",
                mappers=tuple(self._mappers(rep.protocol_mappers, ("clientScopes", index))),
                role_scope=self._mapped_roles(scope=rep.name),
            )
            for index, rep in enumerate(self.rep.client_scopes)
            if rep.protocol == "openid-connect"
        }

    def _clients(self, scopes: Mapping[str, ClientScope], groups: Mapping[str, Group]) -> Iterator[Client]:
        for index, rep in enumerate(self.rep.clients):
            if rep.protocol == "openid-connect":
                yield self._client(rep, ("clients", index), scopes, groups)

    def _client(
        self, rep: ClientRep, place: Place, scopes: Mapping[str, ClientScope], groups: Mapping[str, Group]
    ) -> Client:
        signs = rep.client_authenticator_type == "client-jwt"
        if not (rep.public_client or rep.bearer_only or rep.secret or signs):
            hint = 'give it a "secret", or "publicClient": true'
            message = f"the client {shown(rep.client_id)} has no secret, and no way to get one here"
            self._complain("realm-client-secret", message, place, hint)
        default, optional = self._scopes_of(rep, place, scopes)
        return Client(
            id=rep.client_id,
            enabled=rep.enabled,
            bearer_only=rep.bearer_only,
            secret=None if rep.public_client or signs else rep.secret,
            keys=self._keys(rep, place) if signs and not rep.public_client else None,
            direct_access=rep.direct_access_grants_enabled,
            login=login_settings(rep),
            service_account=self._service_account(rep, groups),
            role_scope=None if rep.full_scope_allowed else self._narrow_scope(rep.client_id),
            default_scopes=default,
            optional_scopes=optional,
            mappers=tuple(self._mappers(rep.protocol_mappers, place)),
            web_origins=origins(rep.web_origins, rep.redirect_uris),
            header_type=_header_type(rep),
            access_token_lifespan=self._seconds(rep, "access.token.lifespan", place),
            session_idle=self._seconds(rep, "client.session.idle.timeout", place),
            session_max=self._seconds(rep, "client.session.max.lifespan", place),
        )

    def _keys(self, rep: ClientRep, place: Place) -> tuple[Mapping[str, object], ...]:
        """The keys of a client that signs; without a usable one nobody can be that client, which is said."""
        try:
            return client_keys(rep)
        except ValueError as error:
            message = f"the client {shown(rep.client_id)} cannot authenticate: {error}"
            hint = 'give "use.jwks.string": "true" and "jwks.string", or "jwt.credential.public.key"'
            self._complain("realm-client-keys", message, place, hint, severity=Severity.WARNING)
            return ()

    def _scopes_of(
        self, rep: ClientRep, place: Place, scopes: Mapping[str, ClientScope]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """
        A client's default and optional scopes: its own lists, or the realm's.

        Keycloak gives `service_account` to a client whose service account it makes itself, and not where the
        file brings the account as a user.
        """
        default = _either(rep.default_client_scopes, self.rep.default_default_client_scopes, DEFAULT_SCOPES)
        optional = _either(
            rep.optional_client_scopes, self.rep.default_optional_client_scopes, OPTIONAL_SCOPES
        )
        made = rep.service_accounts_enabled and self._account_rep(rep.client_id) is None
        if made and rep.default_client_scopes is None:
            default = (*default, SERVICE_ACCOUNT_SCOPE)
        for name in (*(rep.default_client_scopes or ()), *(rep.optional_client_scopes or ())):
            if name not in scopes:
                self._unknown("client scope", name, scopes, (*place, "defaultClientScopes"))
        known = tuple(name for name in default if name in scopes)
        return known, tuple(name for name in optional if name in scopes and name not in known)

    def _narrow_scope(self, client_id: str) -> frozenset[RoleName]:
        """What a client without full scope may see: its own roles, and those mapped to it."""
        own = frozenset(role for role in self.roles if role.client == client_id)
        return own | self._mapped_roles(client=client_id)

    def _mapped_roles(self, *, client: str = "", scope: str = "") -> frozenset[RoleName]:
        """The roles that the file's scope mappings give to a client or to a client scope."""
        mappings = {"": self.rep.scope_mappings, **self.rep.client_scope_mappings}
        return frozenset(
            RoleName(owner, name)
            for owner, reps in mappings.items()
            for rep in reps
            if (client and rep.client == client) or (scope and rep.client_scope == scope)
            for name in rep.roles
        )

    def _mappers(self, reps: Iterable[MapperRep], place: Place) -> Iterator[Mapper]:
        for index, rep in enumerate(reps):
            if rep.protocol_mapper not in WITHOUT_EFFECT.union(MAPPERS):
                message = f"the mapper kind {shown(rep.protocol_mapper)} is not supported: it adds nothing"
                where = (*place, "protocolMappers", index)
                self._complain("realm-mapper-unsupported", message, where, severity=Severity.WARNING)
            config = {name: _text(value) for name, value in rep.config.items() if value is not None}
            yield Mapper(name=rep.name, kind=rep.protocol_mapper, config=config)

    def _users(self, groups: Mapping[str, Group]) -> Iterator[User]:
        for index, rep in enumerate(self.rep.users):
            yield self._user(rep, ("users", index), groups)

    def _user(self, rep: UserRep, place: Place, groups: Mapping[str, Group]) -> User:
        paths = tuple(f"/{path.strip('/')}" for path in rep.groups)
        for number, path in enumerate(paths):
            if path not in groups:
                self._unknown("group", path, groups, (*place, "groups", number))
        return User(
            id=rep.id or _made_id(self.rep.realm, rep.username),
            username=rep.username,
            enabled=rep.enabled,
            password=self._password(rep, place),
            email_verified=rep.email_verified,
            attributes=_attributes(rep),
            roles=self._given_roles(rep.realm_roles, rep.client_roles, place),
            groups=tuple(path for path in paths if path in groups),
            required_actions=tuple(rep.required_actions),
        )

    def _password(self, rep: UserRep, place: Place) -> str | None:
        passwords = [credential for credential in rep.credentials if credential.type == "password"]
        plain = [credential.value for credential in passwords if credential.value]
        if passwords and not plain:
            message = f"the password of {shown(rep.username)} is a hash, which is not supported: no login"
            hint = 'give it in the clear: {"type": "password", "value": "..."}'
            self._complain(
                "realm-password-hashed", message, (*place, "credentials"), hint, severity=Severity.WARNING
            )
        return plain[0] if plain else None

    def _service_account(self, rep: ClientRep, groups: Mapping[str, Group]) -> User | None:
        if not rep.service_accounts_enabled:
            return None
        given = self._account_rep(rep.client_id)
        if given is not None:
            return self._user(given, ("users", self.rep.users.index(given)), groups)
        username = f"service-account-{rep.client_id.lower()}"
        return User(
            id=_made_id(self.rep.realm, username),
            username=username,
            enabled=True,
            attributes={"username": (username,)},
            roles=frozenset({self.default_role}),
        )

    def _account_rep(self, client_id: str) -> UserRep | None:
        return next((user for user in self.rep.users if user.service_account_client_id == client_id), None)

    def _given_roles(
        self, realm_roles: Iterable[str], client_roles: Mapping[str, Iterable[str]], place: Place
    ) -> frozenset[RoleName]:
        """Roles that a user or group lists. One that nobody defined is made, as Keycloak does, and said."""
        found = {RoleName("", name) for name in realm_roles}
        for client, names in client_roles.items():
            self._known_client(client, (*place, "clientRoles", client))
            found |= {RoleName(client, name) for name in names}
        for role in sorted(found - set(self.roles), key=str):
            if role.client in BUILTIN_CLIENTS:
                continue
            known = [str(one) for one in self.roles]
            message = f"the role {shown(str(role))} is defined nowhere; it is made, as Keycloak does"
            self._complain(
                "realm-role-undefined", message, place, _near(str(role), known), severity=Severity.WARNING
            )
        return frozenset(found)

    def _refuse_twice(self) -> None:
        named = (
            ("clients", "client", [client.client_id for client in self.rep.clients]),
            ("users", "user", [user.username.lower() for user in self.rep.users]),
        )
        for member, kind, names in named:
            for index, name in enumerate(names):
                if name in names[:index]:
                    message = f"the {kind} {shown(name)} is given twice"
                    self._complain("realm-duplicate", message, (member, index))

    def _known_client(self, client: str, place: Place) -> None:
        if client not in self.client_ids:
            self._unknown("client", client, self.client_ids, place)

    def _seconds(self, rep: ClientRep, name: str, place: Place) -> timedelta | None:
        text = rep.attributes.get(name) or ""
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or int(text) == 0:
            self._complain(
                "realm-invalid", "must be a number of seconds", (*place, "attributes", name), got=shown(text)
            )
            return None
        return timedelta(seconds=int(text))

    def _unknown(self, kind: str, name: str, known: Iterable[str], place: Place) -> None:
        hint = _near(name, known)
        self._complain("realm-reference", f"there is no {kind} of this name", place, hint, got=shown(name))

    def _complain(
        self,
        code: str,
        message: str,
        place: Place,
        hint: str = "",
        got: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        where = self.source.where(*place)
        self.problems.append(
            Problem(code=code, message=message, where=where, got=got, hint=hint, severity=severity)
        )


def _attributes(rep: UserRep) -> Mapping[str, tuple[str, ...]]:
    """A user's attributes, among which Keycloak counts the names and the e-mail address."""
    own = {
        "username": rep.username,
        "email": rep.email,
        "firstName": rep.first_name,
        "lastName": rep.last_name,
    }
    given = {
        name: (values,) if isinstance(values, str) else tuple(values)
        for name, values in rep.attributes.items()
    }
    return given | {name: (value,) for name, value in own.items() if value}


def _header_type(rep: ClientRep) -> str:
    return "at+jwt" if rep.attributes.get("access.token.header.type.rfc9068") == "true" else "JWT"


def _either(*choices: Iterable[str] | None) -> tuple[str, ...]:
    """The first list that was given at all; an empty one counts."""
    return next((tuple(choice) for choice in choices if choice is not None), ())


def _text(value: str | bool | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _made_id(realm: str, username: str) -> str:
    """An id for a user whose file gives none: the same at every start, so that `sub` is stable."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{realm}/{username}"))


def _near(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {shown(found[0])}?" if found else ""
