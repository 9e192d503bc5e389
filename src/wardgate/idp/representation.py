"""
Keycloak's realm JSON, read: the file that `--import-realm` takes, of which the parts about tokens are used.

Shape: Keycloak's RealmRepresentation (26.x). Unknown members are normal (an export has hundreds) and are left
alone. Where Keycloak's import has a surprising default it is kept, since the same file is given to both: a realm
or user without `enabled` is disabled, and an imported user has no default roles unless it lists them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from wardgate import document
from wardgate.problems import ConfigError, Problem, Where, shown

MAX_BYTES = 16 * 1024 * 1024
"""A full export with some thousand users; a development provider needs no more."""


class _Rep(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, frozen=True)


class MapperRep(_Rep):
    name: str = ""
    protocol_mapper: str
    protocol: str = "openid-connect"
    config: dict[str, str | bool | int | None] = {}


class CompositesRep(_Rep):
    realm: list[str] = []
    client: dict[str, list[str]] = {}


class RoleRep(_Rep):
    name: str
    composites: CompositesRep = CompositesRep()


class RolesRep(_Rep):
    realm: list[RoleRep] = []
    client: dict[str, list[RoleRep]] = {}


class DefaultRoleRep(_Rep):
    name: str


class GroupRep(_Rep):
    name: str
    attributes: dict[str, list[str]] = {}
    realm_roles: list[str] = []
    client_roles: dict[str, list[str]] = {}
    sub_groups: list[GroupRep] = []


class CredentialRep(_Rep):
    type: str = "password"
    value: str | None = Field(default=None, repr=False)


class UserRep(_Rep):
    id: str | None = None
    username: str
    enabled: bool = False
    email: str | None = None
    email_verified: bool = False
    first_name: str | None = None
    last_name: str | None = None
    attributes: dict[str, list[str] | str] = {}
    credentials: list[CredentialRep] = []
    required_actions: list[str] = []
    realm_roles: list[str] = []
    client_roles: dict[str, list[str]] = {}
    groups: list[str] = []
    service_account_client_id: str | None = None


class ClientScopeRep(_Rep):
    name: str
    protocol: str = "openid-connect"
    attributes: dict[str, str | None] = {}
    protocol_mappers: list[MapperRep] = []


class ClientRep(_Rep):
    client_id: str
    enabled: bool = True
    protocol: str = "openid-connect"
    secret: str | None = Field(default=None, repr=False)
    public_client: bool = False
    bearer_only: bool = False
    direct_access_grants_enabled: bool = False
    service_accounts_enabled: bool = False
    standard_flow_enabled: bool = True
    frontchannel_logout: bool = False
    client_authenticator_type: str = "client-secret"
    full_scope_allowed: bool = True
    redirect_uris: list[str] = []
    web_origins: list[str] = []
    attributes: dict[str, str | None] = {}
    protocol_mappers: list[MapperRep] = []
    default_client_scopes: list[str] | None = None
    optional_client_scopes: list[str] | None = None


class ScopeMappingRep(_Rep):
    client: str | None = None
    client_scope: str | None = None
    roles: list[str]


class RealmRep(_Rep):
    realm: str = Field(min_length=1, pattern=r"^[^/?#\s]+$")
    enabled: bool = False
    access_token_lifespan: int = Field(default=300, gt=0)
    sso_session_idle_timeout: int = Field(default=1800, gt=0)
    sso_session_max_lifespan: int = Field(default=36000, gt=0)
    access_code_lifespan: int = Field(default=60, gt=0)
    access_code_lifespan_login: int = Field(default=1800, gt=0)
    revoke_refresh_token: bool = False
    refresh_token_max_reuse: int = Field(default=0, ge=0)
    display_name: str | None = None
    login_with_email_allowed: bool = True
    roles: RolesRep = RolesRep()
    default_role: DefaultRoleRep | None = None
    default_roles: list[str] = []
    groups: list[GroupRep] = []
    clients: list[ClientRep] = []
    users: list[UserRep] = []
    client_scopes: list[ClientScopeRep] | None = None
    default_default_client_scopes: list[str] | None = None
    default_optional_client_scopes: list[str] | None = None
    scope_mappings: list[ScopeMappingRep] = []
    client_scope_mappings: dict[str, list[ScopeMappingRep]] = {}


class Source:
    """The text of a realm file, which can tell the line of a place in it (read only when something is wrong)."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self._document: document.Document | None = None

    def where(self, *path: str | int) -> Where:
        if self._document is None:
            try:
                # JSON is YAML but for tabs, which JSON allows only between values.
                self._document = document.read(self.text.replace("\t", " "), self.file)
            except ConfigError:
                self._document = document.Document(file=self.file, data=None)
        return self._document.where(*path)


def read_file(path: Path) -> tuple[RealmRep, Source]:
    """Read a realm file. Raises ConfigError with every problem."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problem = Problem(
            code="file-unreadable", message=f"cannot be read: {reason}", where=Where(file=str(path))
        )
        raise ConfigError([problem]) from error
    return read_text(content, str(path))


def read_text(content: bytes | str, file: str) -> tuple[RealmRep, Source]:
    """Read the JSON of one realm. Raises ConfigError with every problem."""
    data, source = _parsed(content, file)
    try:
        representation = RealmRep.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_problem(found, source) for found in error.errors()) from error
    if not representation.enabled:
        message = "the realm is disabled (a realm without enabled: true is, in Keycloak too)"
        raise ConfigError(
            [
                Problem(
                    code="realm-disabled",
                    message=message,
                    where=source.where("enabled"),
                    hint='add "enabled": true',
                )
            ]
        )
    return representation, source


def _parsed(content: bytes | str, file: str) -> tuple[Any, Source]:
    def refuse(message: str, line: int = 0, hint: str = "") -> ConfigError:
        where = Where(file=file, line=line)
        return ConfigError([Problem(code="realm-json", message=message, where=where, hint=hint)])

    if len(content) > MAX_BYTES:
        raise refuse(f"has {len(content)} bytes; a realm of at most {MAX_BYTES} is read")
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise refuse(f"is not JSON: {error.msg}", error.lineno) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise refuse("is not JSON text in UTF-8") from error
    if isinstance(data, list):
        raise refuse(f"holds a list of {len(data)} realms", hint="give one realm: the object inside the list")
    if not isinstance(data, dict):
        raise refuse("is not a realm: expected one JSON object")
    return data, Source(text, file)


def _problem(found: Any, source: Source) -> Problem:
    """One complaint of pydantic as a problem. A value under a secret's name is not shown."""
    path = tuple(part for part in found["loc"] if not (isinstance(part, str) and part in _UNION_BRANCHES))
    secret = bool({"secret", "value", "credentials"} & set(path))
    given = "" if found["type"] == "missing" or secret else shown(found["input"])
    return Problem(
        code="realm-invalid", message=str(found["msg"]).lower(), where=source.where(*path), got=given
    )


_UNION_BRANCHES = frozenset({"str", "bool", "int", "none", "list[str]"})
"""Pydantic adds these to the path of a value that may have several types; they are no place in the file."""
