"""
What every Keycloak realm has without being told: client scopes, the account client's roles, the default role.

Read from Keycloak 26.7.3 (admin API, a new realm). SAML, device and consent parts are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wardgate.idp.realm import ClientScope, Mapper, RoleName

ACCOUNT = "account"

BUILTIN_CLIENTS = (
    *(ACCOUNT, "account-console", "admin-cli", "broker", "realm-management", "security-admin-console"),
)
"""Clients that a realm file may mention without defining them."""

BUILTIN_ROLES: Mapping[RoleName, frozenset[RoleName]] = {
    RoleName("", "offline_access"): frozenset(),
    RoleName("", "uma_authorization"): frozenset(),
    RoleName(ACCOUNT, "manage-account"): frozenset({RoleName(ACCOUNT, "manage-account-links")}),
    RoleName(ACCOUNT, "manage-account-links"): frozenset(),
    RoleName(ACCOUNT, "manage-consent"): frozenset({RoleName(ACCOUNT, "view-consent")}),
    RoleName(ACCOUNT, "view-consent"): frozenset(),
    RoleName(ACCOUNT, "view-applications"): frozenset(),
    RoleName(ACCOUNT, "view-groups"): frozenset(),
    RoleName(ACCOUNT, "view-profile"): frozenset(),
    RoleName(ACCOUNT, "delete-account"): frozenset(),
}

DEFAULT_ROLE_PARTS = frozenset(
    {
        RoleName("", "offline_access"),
        RoleName("", "uma_authorization"),
        RoleName(ACCOUNT, "manage-account"),
        RoleName(ACCOUNT, "view-profile"),
    }
)
"""What `default-roles-<realm>` is composed of."""

DEFAULT_SCOPES = ("profile", "email", "roles", "web-origins", "acr", "basic")
OPTIONAL_SCOPES = ("offline_access", "address", "phone", "microprofile-jwt", "organization")
SERVICE_ACCOUNT_SCOPE = "service_account"

_EVERYWHERE = {"id.token.claim": "true", "access.token.claim": "true", "userinfo.token.claim": "true"}
_TOKENS = {"id.token.claim": "true", "access.token.claim": "true"}
_ACCESS = {"access.token.claim": "true"}

_PROFILE = (
    *(("username", "preferred_username"), ("firstName", "given_name"), ("lastName", "family_name")),
    *(("middleName", "middle_name"), ("nickname", "nickname"), ("profile", "profile")),
    *(("picture", "picture"), ("website", "website"), ("gender", "gender")),
    *(("birthdate", "birthdate"), ("zoneinfo", "zoneinfo"), ("locale", "locale")),
)


def builtin_scopes() -> dict[str, ClientScope]:
    """The client scopes of a new realm, by name."""
    scopes = (
        ClientScope(name="profile", mappers=tuple(_profile())),
        ClientScope(
            name="email",
            mappers=(
                _attribute("email", "email"),
                _mapper(
                    "oidc-usermodel-property-mapper",
                    _claim("email_verified", "boolean") | {"user.attribute": "emailVerified"} | _EVERYWHERE,
                ),
            ),
        ),
        ClientScope(name="roles", shown=False, mappers=tuple(_roles())),
        ClientScope(
            name="web-origins", shown=False, mappers=(_mapper("oidc-allowed-origins-mapper", _ACCESS),)
        ),
        ClientScope(name="acr", shown=False, mappers=(_mapper("oidc-acr-mapper", _TOKENS),)),
        ClientScope(
            name="basic",
            shown=False,
            mappers=(_mapper("oidc-sub-mapper", _ACCESS), _note("AUTH_TIME", "auth_time", "long")),
        ),
        ClientScope(
            name=SERVICE_ACCOUNT_SCOPE,
            shown=False,
            mappers=tuple(_note(name, name) for name in ("clientHost", "clientAddress", "client_id")),
        ),
        ClientScope(name="offline_access", role_scope=frozenset({RoleName("", "offline_access")})),
        ClientScope(name="address", mappers=(_mapper("oidc-address-mapper", _EVERYWHERE),)),
        ClientScope(
            name="phone",
            mappers=(
                _attribute("phoneNumber", "phone_number"),
                _attribute("phoneNumberVerified", "phone_number_verified", "boolean"),
            ),
        ),
        ClientScope(
            name="microprofile-jwt",
            mappers=(
                _attribute("username", "upn"),
                _mapper(
                    "oidc-usermodel-realm-role-mapper", _claim("groups") | {"multivalued": "true"} | _TOKENS
                ),
            ),
        ),
        ClientScope(name="organization"),
    )
    return {scope.name: scope for scope in scopes}


def _profile() -> Iterator[Mapper]:
    yield _mapper("oidc-full-name-mapper", _EVERYWHERE)
    for attribute, claim in _PROFILE:
        yield _attribute(attribute, claim)
    yield _attribute("updatedAt", "updated_at", "long")


def _roles() -> Iterator[Mapper]:
    several = {"multivalued": "true"}
    yield _mapper("oidc-usermodel-realm-role-mapper", _claim("realm_access.roles") | several | _ACCESS)
    yield _mapper(
        "oidc-usermodel-client-role-mapper", _claim("resource_access.${client_id}.roles") | several | _ACCESS
    )
    yield _mapper("oidc-audience-resolve-mapper", _ACCESS)


def _mapper(kind: str, config: Mapping[str, str]) -> Mapper:
    return Mapper(name=kind, kind=kind, config=config)


def _claim(name: str, kind: str = "String") -> dict[str, str]:
    return {"claim.name": name, "jsonType.label": kind}


def _attribute(attribute: str, claim: str, kind: str = "String") -> Mapper:
    config = _claim(claim, kind) | {"user.attribute": attribute} | _EVERYWHERE
    return _mapper("oidc-usermodel-attribute-mapper", config)


def _note(note: str, claim: str, kind: str = "String") -> Mapper:
    config = _claim(claim, kind) | {"user.session.note": note} | _TOKENS
    return _mapper("oidc-usersessionmodel-note-mapper", config)
