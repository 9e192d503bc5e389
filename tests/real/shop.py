"""
The realm `shop` of a running Keycloak (tests/realms/login.json): people, clients and what happened there.

Each gateway has a client of its own, made for the address that it turns out to have, and each test people of its
own: tests share the server and nothing in it. What happened is read from Keycloak's own events.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.parts import PROJECT
from tests.parts.keycloak import Keycloak

FILE: Final = PROJECT / "tests" / "realms" / "login.json"
PASSWORD: Final = "correct-horse"

# Of a realm role's name; 30 KB of roles are 600 of them with the rest of the JSON.
ROLE_BYTES: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who can log in; `id` is the `sub` of their tokens."""

    id: str
    name: str
    password: str = PASSWORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client as the gateway is told of it; `internal` is what Keycloak's admin API calls it."""

    id: str
    secret: str
    internal: str


class Shop:
    """The realm `name` on that server; `issuer` is where browsers and gateways reach it."""

    def __init__(self, keycloak: Keycloak, name: str = "shop", url: str = "") -> None:
        self.keycloak = keycloak
        self.name = name
        self.issuer = f"{url or keycloak.url}/realms/{name}"

    def admin(self, method: str, path: str, body: object = None) -> Any:
        """`Keycloak.admin` below this realm."""
        return self.keycloak.admin(method, f"/{self.name}{path}", body)

    # --- People

    def person(self, *roles: str) -> Person:
        """Somebody new with these realm roles; `user` unless others are named."""
        name = f"person-{secrets.token_hex(4)}"
        told = {
            "username": name,
            "enabled": True,
            "email": f"{name}@shop.test",
            "emailVerified": True,
            "firstName": "Pat",
            "lastName": "Person",
            "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
        }
        self.admin("POST", "/users", told)
        found = self.admin("GET", f"/users?exact=true&username={name}")
        person = Person(id=found[0]["id"], name=name)
        self._give(person, [self.admin("GET", f"/roles/{role}") for role in roles or ("user",)])
        return person

    def person_of_many_roles(self, size_bytes: int) -> Person:
        """Somebody whose roles take that many bytes of every token."""
        person = self.person()
        have = [f"role-{i:04d}-".ljust(ROLE_BYTES, "x") for i in range(size_bytes // ROLE_BYTES)]
        wanted = {"realm": [{"name": role} for role in have]}
        self.admin("POST", "/partialImport", {"ifResourceExists": "SKIP", "roles": wanted})
        listed = self.admin("GET", "/roles?max=5000&briefRepresentation=true")
        self._give(person, [role for role in listed if role["name"] in set(have)])
        return person

    def _give(self, person: Person, roles: Sequence[Mapping[str, Any]]) -> None:
        self.admin("POST", f"/users/{person.id}/role-mappings/realm", list(roles))

    def log_out(self, person: Person) -> None:
        """As an administrator does: every session of theirs ends, and back-channel calls are made before it returns."""
        self.admin("POST", f"/users/{person.id}/logout")

    def sessions(self, person: Person) -> list[Mapping[str, Any]]:
        """Their logins at Keycloak that go on."""
        return list(self.admin("GET", f"/users/{person.id}/sessions"))

    # --- Clients

    def client(
        self,
        *addresses: str,
        access_seconds: int | None = None,
        callback: str = "/oauth/callback",
        weight: str = "",
    ) -> Client:
        """
        A new client like `shop-web`, for gateways at these addresses, which end without a slash. `callback` is where logins
        come back to there.

        `access_seconds` is how long its access tokens live; the realm's 300 unless given. `weight` is a claim of theirs.
        """
        name = f"shop-{secrets.token_hex(4)}"
        told = _like_shop_web(name)
        told["redirectUris"] = [f"{address}{callback}" for address in addresses]
        attributes = {"post.logout.redirect.uris": "##".join(f"{address}/*" for address in addresses)}
        if access_seconds is not None:
            attributes["access.token.lifespan"] = str(access_seconds)
        told["attributes"] |= attributes
        if weight:
            told["protocolMappers"].append(_claim("weight", weight))
        self.admin("POST", "/clients", told)
        internal = self.admin("GET", f"/clients?clientId={name}")[0]["id"]
        return Client(id=name, secret=told["secret"], internal=internal)

    def change_client(self, client: Client, **attributes: str) -> None:
        """Set attributes, `.` in their names written `__`: `backchannel__logout__url=...`."""
        told = self.admin("GET", f"/clients/{client.internal}")
        told["attributes"] |= {name.replace("__", "."): value for name, value in attributes.items()}
        self.admin("PUT", f"/clients/{client.internal}", told)

    def put_in_organization(self, client: Client, person: Person, name: str) -> None:
        """A new organization with that member, which the client's tokens tell when `organization:*` is asked for."""
        realm = self.admin("GET", "")
        self.admin("PUT", "", {**realm, "organizationsEnabled": True})
        self.admin(
            "POST", "/organizations", {"name": name, "alias": name, "domains": [{"name": f"{name}.test"}]}
        )
        (found,) = self.admin("GET", f"/organizations?search={name}")
        self.admin("POST", f"/organizations/{found['id']}/members", person.id)
        scopes = {one["name"]: one["id"] for one in self.admin("GET", "/client-scopes")}
        self.admin("PUT", f"/clients/{client.internal}/optional-client-scopes/{scopes['organization']}")

    def use_front_channel(self, client: Client, address: str) -> None:
        """Let a logout be told to that client by the browser, in a frame, instead of by Keycloak itself."""
        told = self.admin("GET", f"/clients/{client.internal}")
        told["frontchannelLogout"] = True
        told["attributes"] |= {
            "frontchannel.logout.url": address,
            "frontchannel.logout.session.required": "true",
            "backchannel.logout.url": "",
        }
        self.admin("PUT", f"/clients/{client.internal}", told)

    # --- What happened

    def events(self, kind: str, person: Person | None = None, client: Client | None = None) -> list[Any]:
        """Events of one type (`LOGIN`, `REFRESH_TOKEN`, ...), of that person and by that client."""
        query = f"type={kind}&max=500" + (f"&user={person.id}" if person else "")
        return list(self.admin("GET", f"/events?{query}" + (f"&client={client.id}" if client else "")))


def _like_shop_web(name: str) -> dict[str, Any]:
    """The client of the realm file by another name: its audience is its own."""
    (found,) = json.loads(FILE.read_text(encoding="utf-8"))["clients"]
    told: dict[str, Any] = json.loads(json.dumps(found).replace("shop-web", name))
    return told


def _claim(name: str, value: str) -> dict[str, Any]:
    """A mapper that writes it into every access token."""
    config = {
        "claim.name": name,
        "claim.value": value,
        "jsonType.label": "String",
        "access.token.claim": "true",
    }
    return {
        "name": name,
        "protocol": "openid-connect",
        "protocolMapper": "oidc-hardcoded-claim-mapper",
        "config": config,
    }


@contextmanager
def elsewhere(keycloak: Keycloak, name: str, url: str) -> Iterator[Shop]:
    """
    The same realm by another name, which Keycloak says is at `url`: another site for browsers, the same server.

    Its issuer begins with `url` (Keycloak's "frontend URL" of a realm).
    """
    told = json.loads(FILE.read_text(encoding="utf-8").replace("roles-shop", f"roles-{name}"))
    for user in told["users"]:
        del user["id"]  # ids are unique in the whole server
    keycloak.admin("POST", "", {**told, "realm": name, "attributes": {"frontendUrl": url}})
    try:
        yield Shop(keycloak, name, url)
    finally:
        keycloak.admin("DELETE", f"/{name}")
