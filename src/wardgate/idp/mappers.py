"""
Keycloak's protocol mappers: what a realm, a client and a user put into a token.

One function a mapper kind; `MAPPERS` names them all, and a realm file that uses another kind gets a warning.
How values are typed, split and nested follows Keycloak 26.7.3 (`tests/idp/mappers_table.py` compares the two).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from wardgate.idp.realm import Client, Mapper, Realm, RoleName, User


class Target(StrEnum):
    """Where claims go, by the setting of a mapper that says so."""

    ACCESS = "access.token.claim"
    ID = "id.token.claim"
    USERINFO = "userinfo.token.claim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a token is about and by which client it was asked for; `roles` are those that may enter it."""

    realm: Realm
    client: Client
    user: User
    roles: frozenset[RoleName]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Draft:
    """A token's claims while mappers write them."""

    target: Target
    claims: dict[str, Any] = field(default_factory=dict)
    audiences: list[str] = field(default_factory=list)

    def put(self, path: str, value: Any) -> None:
        """
        Write a claim at a dotted path; nothing when there is no value. `\\.` is a dot inside a name.

        A list that meets a list is added to it, so that two role mappers can share a claim.
        """
        if value is None or value == [] or not path:
            return
        *outer, last = [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path)]
        place = self.claims
        for name in outer:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                return
            place = inner
        before = place.get(last)
        if isinstance(before, list) and isinstance(value, list):
            place[last] = [*before, *(one for one in value if one not in before)]
        else:
            place[last] = value

    def add_audience(self, audience: str) -> None:
        if audience and audience not in self.audiences:
            self.audiences.append(audience)


def apply(mappers: Iterable[Mapper], draft: Draft, subject: Subject) -> None:
    """Let every mapper that is meant for the draft's target write into it; derived audiences come last."""
    for mapper in sorted(mappers, key=lambda mapper: mapper.kind == "oidc-audience-resolve-mapper"):
        write = MAPPERS.get(mapper.kind)
        if write is not None and _is_meant_for(mapper, draft.target):
            write(Writing(config=mapper.config, subject=subject, draft=draft))


def _is_meant_for(mapper: Mapper, target: Target) -> bool:
    only = _ONLY_FOR.get(mapper.kind)
    if only is not None and target not in only:
        return False
    setting = mapper.config.get(target)
    if target is Target.USERINFO and setting is None:
        setting = mapper.config.get(Target.ID)  # as Keycloak: old files know only the ID token's switch
    return setting == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """One mapper at work: its configuration, whom the token is about, and the token."""

    config: Mapping[str, str]
    subject: Subject
    draft: Draft

    def put(self, value: Any) -> None:
        """Write the claim that the configuration names."""
        self.draft.put(self.config.get("claim.name", ""), value)


Write = Callable[[Writing], None]


def _group_membership(at: Writing) -> None:
    full = at.config.get("full.path", "true") != "false"
    groups = [at.subject.realm.groups[path] for path in at.subject.user.groups]
    at.put([group.path if full else group.name for group in groups])


def _audience(at: Writing) -> None:
    at.draft.add_audience(
        at.config.get("included.client.audience") or at.config.get("included.custom.audience", "")
    )


def _audience_resolve(at: Writing) -> None:
    for client in sorted({role.client for role in at.subject.roles} - {"", at.subject.client.id}):
        at.draft.add_audience(client)


def _user_attribute(at: Writing) -> None:
    name = at.config.get("user.attribute", "")
    values = list(at.subject.user.attributes.get(name, ()))
    if not values or at.config.get("aggregate.attrs") == "true":
        lines = (at.subject.realm.group_line(path) for path in at.subject.user.groups)
        for group in (group for line in lines for group in line):
            values += [value for value in group.attributes.get(name, ()) if value not in values]
            if values and at.config.get("aggregate.attrs") != "true":
                break
    at.put(_typed(values, at.config))


def _user_property(at: Writing) -> None:
    if at.config.get("user.attribute") == "emailVerified":
        at.put(_one(str(at.subject.user.email_verified).lower(), at.config))
    elif at.config.get("user.attribute") == "id":
        at.put(_one(at.subject.user.id, at.config))
    else:
        _user_attribute(at)


def _full_name(at: Writing) -> None:
    parts = (at.subject.user.attribute("firstName"), at.subject.user.attribute("lastName"))
    at.draft.put("name", " ".join(part for part in parts if part) or None)


def _hardcoded_claim(at: Writing) -> None:
    at.put(_one(at.config.get("claim.value", ""), at.config))


def _realm_roles(at: Writing) -> None:
    prefix = at.config.get("usermodel.realmRoleMapping.rolePrefix", "")
    names = sorted(prefix + role.name for role in at.subject.roles if not role.client)
    at.put(_listed(names, at.config))


def _client_roles(at: Writing) -> None:
    prefix = at.config.get("usermodel.clientRoleMapping.rolePrefix", "")
    wanted = at.config.get("usermodel.clientRoleMapping.clientId", "")
    for client in sorted({role.client for role in at.subject.roles if role.client}):
        if wanted in ("", client):
            names = sorted(prefix + role.name for role in at.subject.roles if role.client == client)
            path = at.config.get("claim.name", "").replace("${client_id}", client.replace(".", "\\."))
            at.draft.put(path, _listed(names, at.config))


def _session_note(at: Writing) -> None:
    value = at.subject.notes.get(at.config.get("user.session.note", ""))
    at.put(None if value is None else _one(value, at.config))


def _session_state(at: Writing) -> None:
    at.draft.put("session_state", at.subject.notes.get("sid"))


def _subject(at: Writing) -> None:
    at.draft.put("sub", at.subject.user.id)


def _acr(at: Writing) -> None:
    at.draft.put("acr", at.subject.notes.get("acr", "1"))


def _allowed_origins(at: Writing) -> None:
    at.draft.put("allowed-origins", list(at.subject.client.web_origins))


def _address(at: Writing) -> None:
    names = ("formatted", "street", "locality", "region", "postal_code", "country")
    found = {name: at.subject.user.attribute(at.config.get(f"user.attribute.{name}", name)) for name in names}
    address = {{"street": "street_address"}.get(name, name): value for name, value in found.items() if value}
    at.draft.put("address", address or None)


MAPPERS: Mapping[str, Write] = {
    "oidc-group-membership-mapper": _group_membership,
    "oidc-audience-mapper": _audience,
    "oidc-audience-resolve-mapper": _audience_resolve,
    "oidc-usermodel-attribute-mapper": _user_attribute,
    "oidc-usermodel-property-mapper": _user_property,
    "oidc-usermodel-realm-role-mapper": _realm_roles,
    "oidc-usermodel-client-role-mapper": _client_roles,
    "oidc-usersessionmodel-note-mapper": _session_note,
    "oidc-session-state-mapper": _session_state,
    "oidc-hardcoded-claim-mapper": _hardcoded_claim,
    "oidc-full-name-mapper": _full_name,
    "oidc-address-mapper": _address,
    "oidc-sub-mapper": _subject,
    "oidc-acr-mapper": _acr,
    "oidc-allowed-origins-mapper": _allowed_origins,
}

WITHOUT_EFFECT = frozenset(
    {
        "oidc-nonce-backwards-compatible-mapper",
        "oidc-claims-param-token-mapper",
        "oidc-claims-param-value-idtoken-mapper",
        "oidc-organization-membership-mapper",
    }
)
"""Mappers about what no grant here has: a nonce, requested claims, organizations."""

_ONLY_FOR: Mapping[str, frozenset[Target]] = {
    "oidc-audience-mapper": frozenset({Target.ACCESS, Target.ID}),
    "oidc-audience-resolve-mapper": frozenset({Target.ACCESS}),
    "oidc-allowed-origins-mapper": frozenset({Target.ACCESS}),
    "oidc-sub-mapper": frozenset({Target.ACCESS}),
    "oidc-acr-mapper": frozenset({Target.ACCESS, Target.ID}),
}


def origins(web_origins: Iterable[str], redirect_uris: Iterable[str]) -> tuple[str, ...]:
    """A client's allowed origins: `+` stands for the origins of its redirect URIs."""
    found: list[str] = []
    for origin in web_origins:
        parts = [urlsplit(uri) for uri in redirect_uris] if origin == "+" else []
        found += [f"{part.scheme}://{part.netloc}" for part in parts if part.scheme and part.netloc]
        found += [origin] if origin != "+" else []
    return tuple(dict.fromkeys(found))


def _listed(names: list[str], config: Mapping[str, str]) -> Any:
    """Role names as a list; where `multivalued` is off, one of them."""
    return names if config.get("multivalued") == "true" or not names else names[0]


def _typed(values: list[str], config: Mapping[str, str]) -> Any:
    if config.get("multivalued") == "true":
        return [_one(value, config) for value in values]
    return _one(values[0], config) if values else None


def _one(text: str, config: Mapping[str, str]) -> Any:
    """A text as the JSON type that the mapper asks for. A value that is not of the type is left out."""
    try:
        match config.get("jsonType.label", "String"):
            case "int" | "long":
                return int(text)
            case "boolean":
                return text.lower() == "true"
            case "JSON":
                return json.loads(text)
            case _:
                return text
    except ValueError:
        return None
