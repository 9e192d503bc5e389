"""
`role_mapping.yaml` of a Traefik auth proxy (S1): URL prefixes, and the roles that open them.

The file says who may do what. Where tokens come from is said in the environment, as it was to the service that this
replaces: `KEYCLOAK_URL` and `KEYCLOAK_REALM`, or `KEYCLOAK_DISCOVERY_URL`, and `KEYCLOAK_AUDIENCE`. Nothing is proxied:
other proxies ask at `/auth`, on port 8081.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic_core import PydanticCustomError

from wardgate import policy as model
from wardgate.dialects import Options, Reading
from wardgate.dialects import _native_values as values
from wardgate.dialects._native_place import Building
from wardgate.document import Document
from wardgate.problems import ConfigError, Problem, Severity, Where, errors, shown

CODES: Final[Mapping[str, str]] = {
    "mapping-environment": "The environment does not say whose tokens are accepted, or says it wrongly.",
    "mapping-issuer": "The discovery document could not be read: the issuer is taken from where it stands.",
    "mapping-prefix": "A key of a role mapping is no URL prefix.",
    "mapping-public": "A list of roles holds `public` among others: is the path public, or is there such a role?",
    "mapping-role": "What opens a prefix is not a list of role names.",
    "mapping-setting": "--set names what a role mapping does not have, or gives it a wrong value.",
    "mapping-type": "The file is not a mapping from URL prefixes to roles.",
}
"""The problems that this format has beyond those of documents and of the model."""

PROVIDER: Final = "keycloak"
CREDENTIALS: Final = model.Credentials(kinds=frozenset({model.Kind.BEARER}), providers=(PROVIDER,))
LISTEN: Final = "0.0.0.0:8081"
DISCOVERY: Final = "/.well-known/openid-configuration"

IDENTITY: Final = {
    "X-User-Id": "sub",
    "X-Auth-User": "preferred_username",
    "X-Auth-Email": "email",
    "X-Auth-Roles": "realm_access.roles",
    "X-Auth-Scopes": "scope",
    "X-Auth-Request-User": "preferred_username",
    "X-Auth-Request-Email": "email",
    "X-Auth-Request-Groups": "groups",
}
"""Headers of the answer that lets a request pass, and the claims that they tell."""


class RoleMapping:
    """`role_mapping.yaml`."""

    name = "role_mapping"
    title = "role_mapping.yaml (S1)"

    def recognizes(self, document: Document) -> bool:
        data = document.data
        return isinstance(data, Mapping) and any(str(key).startswith("/") for key in data)

    def read(self, documents: Sequence[Document], options: Options) -> Reading:
        buildings = [Building(document=document) for document in documents]
        outside = _Outside(options)
        audience = outside.audience()
        routes = [route for building in buildings for route in _routes(building, audience)]
        policy = outside.policy(routes, buildings)
        found = [problem for building in buildings for problem in building.problems] + outside.problems
        problems = tuple(sorted(dict.fromkeys(found), key=lambda one: (one.where.file, one.where.line)))
        return Reading(policy=None if errors(problems) else policy, problems=problems)


DIALECT = RoleMapping()


# --- The file ---------------------------------------------------------------------------------------------------------


def _routes(building: Building, audience: str) -> Iterator[model.Route]:
    data = building.document.data
    if not isinstance(data, Mapping):
        hint = "write lines such as /api/v1/admin: [admin-role] into it"
        building.complain("mapping-type", "is no mapping from URL prefixes to roles", (), hint=hint)
        return
    for key, roles in data.items():
        path, access = _path(building, str(key)), _access(building, str(key), roles, audience)
        if path is None or access is None:
            continue
        public = isinstance(access, model.Public)
        yield model.Route(
            name=str(path),
            path=path,
            access=access,
            credentials=model.Credentials(mode=model.Mode.IGNORED) if public else CREDENTIALS,
            identity=() if public else _identity(),
            where=building.where((str(key),)),
        )


def _identity() -> tuple[model.IdentityHeader, ...]:
    return tuple(
        model.IdentityHeader(name=name, value=model.ClaimValue(path=tuple(claim.split("."))))
        for name, claim in IDENTITY.items()
    )


def _path(building: Building, key: str) -> model.Path | None:
    """`/a` holds for itself and everything below it, `/a/` only for what is below."""
    place = (key,)
    if not key.startswith("/"):
        hint = (
            f"write it as {shown('/' + key)}" if re.fullmatch(r"[\w/.-]+", key) else "such as /api/v1/admin"
        )
        building.complain("mapping-prefix", "a URL prefix starts with /", place, got=shown(key), hint=hint)
        return None
    if "*" in key:
        hint = "leave the * out: a prefix holds for everything below it"
        building.complain("mapping-prefix", "a URL prefix has no wildcards", place, got=shown(key), hint=hint)
        return None
    below = key != "/" and key.endswith("/")
    kind = model.PathKind.UNDER if below else model.PathKind.PREFIX
    text = key[:-1] if below else key
    return building.attempt(place, lambda: model.Path(kind=kind, text=text, where=building.where(place)))


PUBLIC: Final = "public"


def _access(building: Building, key: str, roles: object, audience: str) -> model.Public | model.Rule | None:
    place = (key,)
    if roles is None or roles in ([], [PUBLIC]):
        return model.Public()
    if not isinstance(roles, list):
        hint = (
            f"write [{roles}] in brackets"
            if isinstance(roles, str) and roles
            else "such as [admin-role]; [] is public"
        )
        building.complain("mapping-role", "is no list of roles", place, got=shown(str(roles)), hint=hint)
        return None
    good = True
    for index, role in enumerate(roles):
        if not isinstance(role, str) or not role.strip() or role != role.strip():
            hint = "a role is text: put numbers and true or false in quotes"
            got = "nothing" if role in (None, "") else shown(str(role))
            building.complain("mapping-role", "is no role name", (key, index), got=got, hint=hint)
            good = False
    if PUBLIC in roles:
        hint = "for a public path write [], for a role that is called public give it another name"
        building.complain("mapping-public", "public stands among roles", place, hint=hint)
        good = False
    if not good:
        return None
    wanted = [condition for role in dict.fromkeys(roles) for condition in _has(role, audience)]
    return model.Rule(when=model.AnyOf(tuple(wanted)))


def _has(role: str, audience: str) -> Iterator[model.Condition]:
    yield model.RealmRole(role)
    yield model.ClientRole(audience, role)


# --- The environment, and the command line ----------------------------------------------------------------------------


class _Outside:
    """What is not in the file; `problems` are those of the environment."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._environ = options.environ
        self.problems: list[Problem] = []

    def _complain(self, variable: str, message: str, hint: str, got: str = "") -> None:
        where = Where(file="environment", path=variable)
        self.problems.append(
            Problem(code="mapping-environment", message=message, where=where, got=got, hint=hint)
        )

    def _guessed(self, issuer: str) -> None:
        """Not an error: the issuer may be away for a while, and no key of another one is taken meanwhile."""
        self.problems.append(
            Problem(
                code="mapping-issuer",
                message="was not read, so that the issuer is taken from where it stands",
                where=Where(file="environment", path="KEYCLOAK_DISCOVERY_URL"),
                got=shown(issuer),
                hint="where tokens name another one, set KEYCLOAK_URL and KEYCLOAK_REALM, too, or reload later",
                severity=Severity.WARNING,
            )
        )

    def _value(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def audience(self) -> str:
        return self._value("KEYCLOAK_AUDIENCE") or "account"

    def policy(self, routes: list[model.Route], buildings: list[Building]) -> model.Policy | None:
        first = buildings[0]
        if not routes and not errors(self.problems) and not any(one.problems for one in buildings):
            hint = "without any prefix every path is refused"
            first.complain("mapping-type", "holds no prefix", (), hint=hint)
        provider, listener, trusted = self._provider(), self._listener(routes, first), self._trusted(first)
        admin = self._address("admin") or self._address("listen-admin")
        self._unknown_settings()
        if provider is None or listener is None:
            return None
        return first.attempt(
            (),
            lambda: model.Policy(
                dialect=RoleMapping.name,
                listeners=(listener,),
                providers=(provider,),
                trusted_proxies=trusted,
                admin=admin,
                access_log=self._flag("access-log", True),
                errors=model.Errors.ROLE_MAPPING,
                where=first.where(()),
            ),
        )

    def _provider(self) -> model.Provider | None:
        discovery = self._value("KEYCLOAK_DISCOVERY_URL") or None
        if discovery and not re.fullmatch(r"https?://[^\s/?#]+(?:[/?][^\s#]*)?", discovery):
            hint = f"such as https://auth.example.com/realms/shop{DISCOVERY}"
            self._complain("KEYCLOAK_DISCOVERY_URL", "is not an http(s) URL", hint, got=shown(discovery))
            return None
        issuer = self._issuer()
        if issuer is None:
            return None
        try:
            return model.Provider(
                name=PROVIDER,
                issuer=issuer,
                audience=model.Audiences(any_of=(self.audience(),)),
                discovery_url=discovery,
                where=Where(file="environment", path=self._issuer_variable()),
            )
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _issuer_variable(self) -> str:
        return "KEYCLOAK_URL" if self._value("KEYCLOAK_URL") else "KEYCLOAK_DISCOVERY_URL"

    def _issuer(self) -> str | None:
        """Named; or of the URL and the realm; or read from the discovery document; or where that stands."""
        url, realm = self._value("KEYCLOAK_URL").rstrip("/"), self._value("KEYCLOAK_REALM")
        discovery = self._value("KEYCLOAK_DISCOVERY_URL")
        if url and realm:
            return f"{url}/realms/{realm}"
        if url or (realm and not discovery):
            missing = "KEYCLOAK_REALM" if url else "KEYCLOAK_URL"
            self._complain(missing, "is not set", "the issuer is KEYCLOAK_URL/realms/KEYCLOAK_REALM")
            return None
        if discovery and (named := self._options.discover(discovery)):
            return named
        if discovery.endswith(DISCOVERY):
            issuer = discovery.removesuffix(DISCOVERY)
            self._guessed(issuer)
            return issuer
        if discovery:
            hint = f"it ends in {DISCOVERY}; or set KEYCLOAK_URL and KEYCLOAK_REALM, too"
            self._complain(
                "KEYCLOAK_DISCOVERY_URL", "does not say who the issuer is", hint, got=shown(discovery)
            )
            return None
        hint = "such as https://auth.example.com, with KEYCLOAK_REALM; or KEYCLOAK_DISCOVERY_URL alone"
        self._complain("KEYCLOAK_URL", "is not set: whose tokens are accepted?", hint)
        return None

    def _listener(self, routes: list[model.Route], building: Building) -> model.Listener | None:
        address = self._address("listen")
        if address is None:
            return None
        where = building.where(())
        host = building.attempt(
            (),
            lambda: model.Host(routes=tuple(routes), fallback=CREDENTIALS, where=where),
        )
        if host is None:
            return None
        asked = model.ForwardAuth(
            path="/auth", by_headers=model.asked_by_headers(model.Endpoints()), where=where
        )
        return model.Listener(name="main", address=address, hosts=(host,), forward_auth=asked, where=where)

    def _address(self, key: str) -> model.Address | None:
        """`listen` is always there; `admin` only when it is given."""
        given = dict(self._options.settings).get(key)
        if key == "listen":
            given = self._options.listen or given or LISTEN
        if given is None:
            return None
        try:
            host, port = values.host_port(given)
            return model.Address(host=host, port=port, where=Where(file="--set", path=key))
        except ConfigError as error:
            self.problems += error.problems
        except PydanticCustomError:
            hint = "write it as 0.0.0.0:8081 or [::]:8081, an address and a port"
            self._refuse(key, "is not an address and a port", hint, shown(given))
        return None

    def _flag(self, key: str, usual: bool) -> bool:
        given = dict(self._options.settings).get(key)
        if given not in (None, "true", "false"):
            self._refuse(key, "is not true or false", "write true or false", shown(str(given)))
        return usual if given is None else given == "true"

    def _unknown_settings(self) -> None:
        for key, _ in self._options.settings:
            if key not in ("listen", "admin", "listen-admin", "access-log"):
                hint = "listen, admin and access-log can be set; for more, `wardgate show` writes this as wardgate.yaml"
                self._refuse(key, "is not a setting here", hint)

    def _refuse(self, key: str, message: str, hint: str, got: str = "") -> None:
        where = Where(file="--set", path=key)
        self.problems.append(
            Problem(code="mapping-setting", message=message, where=where, got=got, hint=hint)
        )

    def _trusted(self, building: Building) -> tuple[str, ...]:
        trusted = self._options.trusted_proxies or ()
        if not trusted:
            building.complain(
                "forward-auth-trust",
                "nobody is trusted to ask: every question is answered with 403",
                (),
                hint="set --trusted-proxies (WARDGATE_TRUSTED_PROXIES) to the networks of the proxies that ask",
                severity=Severity.WARNING,
            )
        return trusted
