"""
What policies say of routes, whichever product they are written for: who may, what is asked of issuers, and which policy
holds where.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from wardgate import policy as model
from wardgate.cel import Answer
from wardgate.dialects._gateway_api_gateways import Section
from wardgate.dialects._gateway_api_objects import (
    CORE,
    GATEWAY,
    ROUTE_KINDS,
    Fields,
    Name,
    Object,
    held,
    selector,
)
from wardgate.dialects._gateway_api_routes import RouteRule
from wardgate.dialects._gateway_api_world import World
from wardgate.problems import ConfigError, Where
from wardgate.verify.keys import JwksRejected, clean_jwks


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A source of tokens as one policy writes it, without a name: policies that write the same share one provider."""

    issuer: str
    audiences: tuple[str, ...] = ()
    jwks_url: str | None = None
    jwks: str | None = None
    jwks_tls: model.ClientTls | None = None
    jwks_at_service: bool = False
    login: Login | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """Addresses that a policy writes and that are fetched; a Service is named, and is where the cluster says."""
        endpoints = [url for _, url in self.login.endpoints] if self.login else []
        discovered = self.login is not None or (self.jwks_url is None and self.jwks is None)
        keys = [] if self.jwks_url is None or self.jwks_at_service else [self.jwks_url]
        return (*([self.issuer] if discovered else []), *keys, *endpoints)

    def provider(self, name: str, where: Where) -> model.Provider:
        """Without its login. Raises ConfigError when it is none."""
        audience = model.Audiences(any_of=self.audiences) if self.audiences else model.UncheckedAudience()
        return model.Provider(
            name=name,
            issuer=self.issuer,
            audience=audience,
            jwks_url=self.jwks_url,
            jwks=self.jwks,
            tls=self.jwks_tls or model.ClientTls(),
            where=where,
        )


INTERNAL_NAMES: Final = ("localhost", "metadata.google.internal", "metadata")


def is_internal(url: str) -> bool:
    """
    Whether it is an address that only this machine should ask: loopback, link-local (where clouds keep their metadata),
    unspecified. Names are not looked up: a name that somebody else owns may point there all the same.
    """
    return _is_internal(urlsplit(url).hostname or "")


def _is_internal(host: str) -> bool:
    name = host.rstrip(".")
    if name in INTERNAL_NAMES or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(name))  # 127.1, 0x7f000001
        except OSError:
            return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified or mapped == ALIBABA


ALIBABA: Final = ipaddress.ip_address("100.100.100.200")
"""Where that cloud keeps its metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """
    A client at an issuer, and where browsers come back to and log out. `session`: but for where sessions are kept. Policies that
    write the same share it.
    """

    issuer: str
    client_id: str
    client_secret: model.Secret
    callback: str
    logout: str
    session: model.Session
    resources: tuple[str, ...] = ()
    endpoints: tuple[tuple[str, str], ...] = ()

    @property
    def cookie_name(self) -> str:
        """
        Of all that policies write: two that differ never take each other's session for theirs. It stays when other policies come
        and go, and when the secret changes.
        """
        one = self.session
        written = (
            self.issuer,
            self.client_id,
            self.callback,
            self.logout,
            self.resources,
            one.redirection_url,
        )
        text = repr((*written, one.scopes, one.cookie_domain, one.same_site.value, one.secure, one.refresh))
        return model.OWN_COOKIES + hashlib.sha256(text.encode()).hexdigest()[:10]

    def provider(self, made: model.Provider, **kept: Any) -> model.Provider:
        """The provider with this client. `kept`: fields of the session that say where it is kept, and under which key."""
        session = replace(self.session, cookie_name=self.cookie_name, **kept)
        return replace(
            made,
            client_id=self.client_id,
            client_secret=self.client_secret,
            authorization_parameters=tuple(("resource", each) for each in self.resources),
            endpoints=self.endpoints,
            login=model.Login(session=session, callback=self.callback, logout=self.logout),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    What holds for the routes of a policy. `when`: what must hold beside what the mode asks for. `judges`: what is asked by
    several policies together, each with its action (`_gateway_api_agent.py`). `resource`: what is said of its routes as protected
    resources (RFC 9728, 2), None: nothing. `places_of`: whose tokens may be at each place, by issuer,
    None: those of all. `again`: routes are chosen again by who calls. `unsent`: with one of these headers nobody is sent to the login. `broken`: why they answer 500.
    """

    policy: Object
    mode: model.Mode = model.Mode.REQUIRED
    kinds: frozenset[model.Kind] = frozenset({model.Kind.BEARER})
    issuers: tuple[Issuer, ...] = ()
    identity: tuple[model.IdentityHeader, ...] = ()
    login: Login | None = None
    when: Answer = True
    judges: tuple[tuple[str, Answer], ...] = ()
    places: tuple[model.TokenPlace, ...] = (model.AUTHORIZATION,)
    places_of: Mapping[model.TokenPlace, tuple[str, ...]] | None = None
    cors: model.Cors | None = None
    unsent: tuple[model.HeaderIs, ...] = ()
    timeout: timedelta | None = None
    request_headers: model.HeaderEdits | None = None
    response_headers: model.HeaderEdits | None = None
    forward: bool = False
    hide: bool = False
    again: bool = False
    api_keys: model.ApiKeys | None = None
    basic_users: model.BasicUsers | None = None
    cross_site: model.CrossSite | None = None
    rate_limits: tuple[model.RateLimit, ...] | None = None
    external: model.ExternalAuth | None = None
    external_upstream: model.Upstream | None = None
    direct: model.DirectAnswer | None = None
    resource: Mapping[str, Any] | None = None
    broken: str | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether anybody may come, without a token, a key or a password."""
        keys = self.api_keys is not None and self.api_keys.mode is model.Mode.REQUIRED
        return isinstance(self.access, model.Public) and not (keys or self.basic_users)

    @property
    def access(self) -> model.Access:
        if self.broken is not None:
            return model.Broken(because=self.broken)
        if self.when is False:
            return model.Denied(because="the policy lets nobody in")
        if self.when is True:
            required = self.mode is model.Mode.REQUIRED
            return model.Rule(when=model.Authenticated()) if required else model.Public()
        return model.Rule(when=self.when)


GATES: Final = ("api_keys", "basic_users", "cross_site", "rate_limits", "external", "direct")
"""Terms that a route has as they are, where there are any."""

RANK = {"Gateway": 0, "Listener": 1, **dict.fromkeys(ROUTE_KINDS, 2), "RouteRule": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a policy is attached to. `section`: a listener of a Gateway, or a rule of a route."""

    kind: str
    namespace: str
    name: str
    section: str | None

    @property
    def level(self) -> str:
        if self.section is None:
            return self.kind
        return "Listener" if self.kind == "Gateway" else "RouteRule"

    @property
    def title(self) -> str:
        """As Envoy Gateway names it."""
        return f"{self.level} {self.name}" + (f"/{self.section}" if self.section else "")

    def is_gateway(self, section: Section) -> bool:
        return self.kind == "Gateway" and self._names(section.gateway, section.name)

    def is_route(self, rule: RouteRule) -> bool:
        return self.kind == rule.route.name.kind and self._names(rule.route, rule.name)

    def _names(self, owner: Object, section: str) -> bool:
        named = (owner.name.namespace, owner.name.name)
        return named == (self.namespace, self.name) and self.section in (None, section)

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}"
        return f"{self.level} {name}" + (f"/{self.section}" if self.section else "")


CEL_HINT: Final = "what is translated: docs/how-to/gateway-api.md"

DEPRECATED: Final = "spec.targetRef is deprecated, use spec.targetRefs instead"


def targets(world: World, policy: Object, spec: Fields) -> Iterator[Target]:
    """What a policy names, and what its selectors choose; each once. What cannot be told stops everything: it could be open."""
    found: dict[Target, None] = {}
    single = spec.one("targetRef")
    if single is not None:
        policy.say("Warning", True, "DeprecatedField", DEPRECATED)
    if single is None and "targetRefs" not in spec and "targetSelectors" not in spec:
        hint = "name the routes or Gateways in targetRefs: what it would protect could not be told"
        spec.complain("policy-target", "names no targetRefs", hint=hint, fatal=True)
    for fields in [*([single] if single else []), *spec.many("targetRefs")]:
        if _is_target(fields):
            name, section = fields.text("name", "") or "", fields.text("sectionName")
            kind = fields.text("kind", "") or ""
            found[Target(kind=kind, namespace=policy.name.namespace, name=name, section=section)] = None
    for fields in spec.many("targetSelectors"):
        if _is_target(fields):
            found.update(dict.fromkeys(_selected(world, policy, fields)))
    yield from found


def _is_target(fields: Fields) -> bool:
    kind = fields.text("kind", "") or ""
    if fields.text("group", GATEWAY) == GATEWAY and kind in ("Gateway", *ROUTE_KINDS):
        return True
    hint = f"Gateway, {' or '.join(ROUTE_KINDS)}: what it would protect could not be told"
    message = "is not what a policy is attached to here"
    fields.complain("policy-target", message, "kind", got=kind, hint=hint, fatal=True)
    return False


def _selected(world: World, policy: Object, fields: Fields) -> Iterator[Target]:
    """Objects with these labels (metav1.LabelSelector), of the policy's namespace or of those that it names."""
    kind, section = fields.text("kind", "") or "", fields.text("sectionName")
    within, selects = _namespaces(world, policy, fields.one("namespaces")), selector(fields)
    if within is None or selects is None:
        hint = "labels, and namespaces.from Same, All or Selector: what it would protect could not be told"
        fields.complain("policy-target", "selects in a way that is not read here", hint=hint, fatal=True)
        return
    for one in world.of(GATEWAY, kind):
        if within(one.name.namespace) and selects(one.labels):
            if world.permitted(policy.name, one.name):
                yield Target(kind=kind, namespace=one.name.namespace, name=one.name.name, section=section)
            else:
                message = (
                    f"{kind} {one.name} is selected, and not attached to: no ReferenceGrant there permits it"
                )
                policy.notes.append(message)


def _namespaces(world: World, policy: Object, fields: Fields | None) -> Callable[[str], bool] | None:
    """Whether a namespace is one of a selector's; None for what cannot be read."""
    source = (fields.text("from", "Same") if fields else "Same") or "Same"
    inside = fields.one("selector") if fields else None
    if source == "Same":
        return lambda namespace: namespace == policy.name.namespace
    if source == "All":
        return lambda _: True
    selects = selector(inside) if inside is not None and source == "Selector" else None
    return None if selects is None else lambda namespace: selects(world.labels_of(namespace))


def secret(world: World, policy: Object, reference: Fields) -> tuple[Object | None, str | None]:
    """The Secret that a policy names, or why there is none: in its own namespace, or where a ReferenceGrant permits it."""
    reference.text("group")
    reference.text("kind")
    namespace = reference.text("namespace", policy.name.namespace) or policy.name.namespace
    wanted = Name(CORE, "Secret", namespace, reference.text("name", "") or "")
    if not world.permitted(policy.name, wanted):
        return None, f"ref to Secret {wanted} not permitted by any ReferenceGrant."
    found = world.find(wanted)
    return (found, None) if found is not None else (None, f"secret {wanted} does not exist.")


def value_in(secret: Object, key: str) -> tuple[model.Secret | None, str | None]:
    """What a Secret has at the key, or why it has nothing. It prints as where it came from."""
    try:
        plain = held(secret, key).strip("\n")
    except ValueError:
        return None, f"{key} in secret {secret.name} is no base64."
    if not plain:
        return None, f"{key.replace('-', ' ')} not found in secret {secret.name}."
    return model.Secret(plain, f"secret {secret.name} {key}"), None


def wrong_with_keys(jwks: str) -> str | None:
    """Why nobody could judge by keys that stand in a manifest; None for keys."""
    try:
        clean_jwks(jwks)
    except JwksRejected as error:
        return error.reason
    return None


NOBODYS_KEY: Final = {
    "kty": "EC",
    "crv": "P-256",
    "alg": "ES256",
    "use": "sig",
    "kid": "nobody",
    "x": "zW5zUDLYPAWSXGW4tq_6-GKGW1DBp31D0WCa4oeEpBg",
    "y": "0Jc0ng1Z__mACqbCnoBzSXqkG4jWyqsgKkVfHxQx8eM",
}
"""Its private half nobody has: x is the SHA-256 of `wardgate nobody 0`, and y what P-256 has for it. No token is signed with it."""


def nobodys_keys() -> str:
    """A JWKS with that key alone."""
    return json.dumps({"keys": [NOBODYS_KEY]})


def header(fields: Fields, name: str, claim: tuple[str, ...]) -> model.IdentityHeader | None:
    try:
        value = model.ClaimValue(path=claim)
        return model.IdentityHeader(name=name, value=value, where=fields.owner.where(*fields.path))
    except ConfigError as error:
        fields.complain("policy-header", error.problems[0].message, "header", got=name)
        return None
