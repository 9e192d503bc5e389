"""
The entries of `resources` as routes: which path, which methods, who may.

Two readings. PRODUCT: `roles` are all needed unless `require-any-role`, a role is `client:role` or a realm role.
S0: any of the roles is enough, and an entry of the claim `groups` counts too; `headers` is a mapping whose
Content-Length is the largest body. Safer than gatekeeper on purpose: a method that a protected resource does not
list is denied, and a protected `/x/*` covers `/x` too.

Source: gogatekeeper 4.11.0, pkg/config/core/resource.go and pkg/proxy/middleware/security.go; S0, "Basic Gatekeeper
Configuration".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from wardgate.dialects._gatekeeper_keys import RESOURCE_KEYS, GatekeeperReading, KeyType
from wardgate.dialects._gatekeeper_settings import (
    Findings,
    Mistyped,
    Settings,
    number,
    read_value,
    text,
)
from wardgate.policy import (
    ANY_METHOD,
    REFUSED_METHODS,
    STANDARD_METHODS,
    TOKEN,
    Access,
    AllOf,
    AnyOf,
    Authenticated,
    ClaimIs,
    ClientRole,
    Condition,
    Credentials,
    Denied,
    Group,
    IdentityHeader,
    Mode,
    Path,
    PathKind,
    Public,
    RealmRole,
    RequestHeader,
    Route,
    Rule,
)
from wardgate.problems import Where

FIELDS: Final = {key.name: key for key in RESOURCE_KEYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One entry, typed. `needed` are request headers and their allowed values; `body_limit` is in bytes."""

    index: int
    where: Where
    uri: str
    methods: frozenset[str]
    roles: tuple[str, ...] = ()
    any_role: bool = False
    groups: tuple[str, ...] = ()
    needed: tuple[RequestHeader, ...] = ()
    body_limit: int | None = None
    acr: tuple[str, ...] = ()
    white_listed: bool = False
    anonymous: bool = False
    no_redirect: bool = False

    @property
    def public(self) -> bool:
        return self.white_listed or self.anonymous


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every route of a configuration shares."""

    reading: GatekeeperReading
    upstream: str
    required: Credentials
    claims: tuple[Condition, ...] = ()
    identity: tuple[IdentityHeader, ...] = ()
    methods: frozenset[str] = ANY_METHOD
    login_redirect: bool = True


# --- Reading ----------------------------------------------------------------------------------------------------------


def has_header_mapping(item: object) -> bool:
    """S0's form of `headers`, which gatekeeper refuses to start with."""
    return isinstance(item, dict) and isinstance(item.get("headers"), dict)


def read_resources(
    settings: Settings, reading: GatekeeperReading, findings: Findings
) -> tuple[Resource, ...]:
    """Every entry that could be read; what could not is in the findings, and the configuration is then refused."""
    name = "resources"
    content = settings.document.data.get(name) if isinstance(settings.document.data, dict) else None
    if content is None:
        return ()
    if not isinstance(content, list):
        hint = "write one resource after each -"
        findings.refuse("value-type", "takes a list of resources", settings.where(name), hint=hint)
        return ()
    known = frozenset(settings.texts("custom-http-methods")) | STANDARD_METHODS
    found = [
        _Entry(settings, reading, findings, index, item, known).read() for index, item in enumerate(content)
    ]
    resources = tuple(resource for resource in found if resource is not None)
    _no_duplicates(resources, known, findings)
    return resources


@dataclass(slots=True)
class _Entry:
    """Reads one entry."""

    settings: Settings
    reading: GatekeeperReading
    findings: Findings
    index: int
    item: Any
    known: frozenset[str]
    values: dict[str, Any] = field(default_factory=dict)

    def read(self) -> Resource | None:
        if isinstance(self.item, str):
            self.item = self._flags(self.item)
        if not isinstance(self.item, dict):
            self.findings.refuse("value-type", "takes a mapping with a uri", self.where())
            return None
        for name, value in self.item.items():
            self._field(name, value)
        resource = self._resource()
        self._complain(resource)
        return resource

    def where(self, *rest: str | int) -> Where:
        return self.settings.where("resources", self.index, *rest)

    def _flags(self, text_form: str) -> dict[str, Any] | None:
        """gatekeeper's form of a flag: `uri=/x*|methods=GET,PUT|roles=a,b`."""
        fields: dict[str, Any] = {}
        for part in text_form.split("|"):
            name, equals, value = part.partition("=")
            if not equals:
                return None
            lists = name in FIELDS and FIELDS[name].type is KeyType.TEXTS
            fields[name] = value.split(",") if lists else value
        return fields

    def _field(self, name: str, value: object) -> None:
        key = FIELDS.get(name)
        if key is None:
            near = difflib.get_close_matches(name.lower().replace("_", "-"), FIELDS, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(FIELDS)}"
            self.findings.refuse("key-unknown", "is no field of a resource", self.where(name), hint=hint)
        elif value is not None and not (name == "headers" and isinstance(value, dict)):
            read = read_value(key.type, value, lambda *rest: self.where(name, *rest), self.findings)
            self.values[name] = key.default if read is None else read

    def _resource(self) -> Resource:
        needed, body_limit = self._headers()
        return Resource(
            index=self.index,
            where=self.where(),
            uri=str(self.values.get("uri", "")),
            methods=self._methods(),
            roles=self.values.get("roles", ()),
            any_role=self.values.get("require-any-role", False),
            groups=self.values.get("groups", ()),
            needed=needed,
            body_limit=body_limit,
            acr=self.values.get("acr", ()),
            white_listed=self.values.get("white-listed", False),
            anonymous=self.values.get("white-listed-anon", False),
            no_redirect=self.values.get("no-redirect", False),
        )

    def _methods(self) -> frozenset[str]:
        given = self.values.get("methods", ())
        everything = self.known if self.known != STANDARD_METHODS else ANY_METHOD
        if not given or (len(given) == 1 and given[0].lower() in ("any", "*")):
            return everything
        methods = {method for index, method in enumerate(given) if self._is_method(index, method)}
        if not methods and all(method in REFUSED_METHODS for method in given):
            hint = "list other methods, or remove the resource"
            self.findings.refuse(
                "method-name", "lists no method that is forwarded", self.where("methods"), hint=hint
            )
        return frozenset(methods) or everything

    def _is_method(self, index: int, method: str) -> bool:
        where = self.where("methods", index)
        if method == "TRACE":
            hint = "TRACE shows a request's headers to whoever asks: it is denied on every path"
            self.findings.warn("differs", "is never forwarded", where, method, hint)
            return False
        if method in REFUSED_METHODS or not TOKEN.fullmatch(method):
            self.findings.refuse("method-name", "is no method that can be forwarded", where, method)
            return False
        if method not in self.known:
            upper = method.upper()
            hint = f"write {upper}" if upper in self.known else "name it in custom-http-methods"
            self.findings.refuse("method-name", "is no known method", where, method, hint)
            return False
        return True

    def _headers(self) -> tuple[tuple[RequestHeader, ...], int | None]:
        value = self.item.get("headers")
        if isinstance(value, dict):
            return self._header_mapping(value)
        allowed: dict[str, list[str]] = {}
        for index, item in enumerate(self.values.get("headers", ())):
            name, colon, content = item.partition(":")
            if not colon or not TOKEN.fullmatch(name.strip()):
                hint = "write the header's name, a colon, and the value that it must have"
                self.findings.refuse(
                    "header-form", "takes name:value", self.where("headers", index), item, hint
                )
                continue
            allowed.setdefault(name.strip().lower(), []).append(content.strip())
        needed = (RequestHeader(name=name, values=tuple(values)) for name, values in allowed.items())
        return tuple(needed), None

    def _header_mapping(self, value: Mapping[str, object]) -> tuple[tuple[RequestHeader, ...], int | None]:
        if self.reading is GatekeeperReading.PRODUCT:
            hint = "write `- name:value`; S0's mapping needs --gatekeeper-reading s0"
            self.findings.refuse("value-type", "takes a list", self.where("headers"), hint=hint)
            return (), None
        limit: int | None = None
        needed: list[RequestHeader] = []
        for name, content in value.items():
            try:
                if name.lower() == "content-length":
                    limit = number(content)
                elif TOKEN.fullmatch(name):
                    needed.append(RequestHeader(name=name.lower(), values=(text(content),)))
                else:
                    self.findings.refuse("header-form", "is not a header name", self.where("headers", name))
            except Mistyped as wrong:
                self.findings.refuse(
                    wrong.code, wrong.expected, self.where("headers", name), wrong.got, wrong.hint
                )
        return tuple(needed), limit

    def _complain(self, resource: Resource) -> None:
        """What gatekeeper refuses at start, and what it would take without the meaning that it seems to have."""
        refuse, warn = self.findings.refuse, self.findings.warn
        _check_uri(resource, self.where("uri"), self.findings)
        if resource.white_listed and resource.anonymous:
            message = "white-listed and white-listed-anon exclude each other"
            refuse("white-listed-twice", message, self.where("white-listed-anon"), hint="keep one of the two")
        if resource.public:
            self._complain_of_public()
            return
        for name in ("roles", "groups", "acr"):
            if self.values.get(name) == () and name in self.item:
                hint = f"name some, or remove {name}: any valid token passes"
                warn("value-empty", "is an empty list and asks for nothing", self.where(name), hint=hint)
        if resource.acr and not self.settings.flag("enable-loa"):
            hint = "set enable-loa: true, or remove acr"
            message = "gatekeeper ignores acr without enable-loa: say which is meant"
            refuse("acr-without-loa", message, self.where("acr"), hint=hint)

    def _complain_of_public(self) -> None:
        for name in ("roles", "groups", "acr", "headers"):
            if self.item.get(name):
                hint = "remove white-listed to protect the path, or remove the condition"
                message = "has no effect: the resource is public"
                self.findings.warn("white-listed-rule", message, self.where(name), hint=hint)


def _check_uri(resource: Resource, where: Where, findings: Findings) -> None:
    uri = resource.uri
    if not uri:
        findings.refuse("resource-uri", "a resource needs a uri", where, hint="uri: /path, /path* or /path/*")
    elif not uri.startswith("/"):
        findings.refuse("resource-uri", "a uri starts with /", where, uri, f"write /{uri}")
    elif "*" in uri[:-1]:
        hint = "name the path up to the star, or each path by itself"
        findings.refuse("resource-uri", "a * stands only at the end of a uri", where, uri, hint)
    elif "{" in uri or "}" in uri:
        hint = "write the part before the brace with a * and check the rest in the application"
        findings.refuse("resource-uri", "patterns in braces are not supported", where, uri, hint)
    elif uri.endswith("/") and uri != "/" and not resource.white_listed:
        hint = f"write {uri}* for everything below, or {uri.rstrip('/')} for this path alone"
        findings.refuse("resource-uri", "a protected uri does not end with /", where, uri, hint)


def _no_duplicates(resources: Sequence[Resource], known: frozenset[str], findings: Findings) -> None:
    """One uri and one method in two resources: gatekeeper lets the last hold; nobody reading the file can tell."""
    seen: dict[tuple[str, str], Resource] = {}
    for resource in resources:
        methods = sorted(known if resource.methods == ANY_METHOD else resource.methods)
        firsts = [seen[key] for method in methods if (key := (resource.uri.lower(), method)) in seen]
        if firsts:
            hint = f"the first is at {firsts[0].where}: merge the two, or give each methods of its own"
            message = "two resources for one uri and method"
            findings.refuse("resource-duplicate", message, resource.where, resource.uri, hint)
        for method in methods:
            seen.setdefault((resource.uri.lower(), method), resource)


# --- Routes -----------------------------------------------------------------------------------------------------------


def routes_of(resources: Sequence[Resource], terms: Terms, findings: Findings) -> tuple[Route, ...]:
    """The routes of the resources, without the default for the rest of the paths."""
    shared = _shared_uris(resources)
    routes: list[Route] = []
    for resource in resources:
        for suffix, path in _paths(resource, resource.uri in shared, findings):
            name = _name(resource, resources) + suffix
            built = findings.attempt(partial(_route, name, path, resource, terms))
            if built is not None:
                routes.append(built)
        findings.note(f"resources[{resource.index}] {resource.uri}: {_said(resource, terms)}")
    return tuple(routes)


def default_route(
    settings: Settings, resources: Sequence[Resource], terms: Terms, findings: Findings
) -> Route | None:
    """What holds for paths that no resource names; None when the user's own `/*` says it."""
    strict, deny = settings.flag("enable-default-deny-strict"), settings.flag("enable-default-deny")
    name = "enable-default-deny-strict" if strict else "enable-default-deny"
    own = next((resource for resource in resources if resource.uri == "/*"), None)
    if own is not None and (strict or deny):
        hint = (
            "set enable-default-deny: false: the resource then is the default" if not strict else "remove one"
        )
        message = f"/* and {name} both say what holds for the rest of the paths"
        findings.refuse("default-deny-conflict", message, own.where, own.uri, hint)
    if own is not None:
        return None
    where = settings.where(name)
    access: Access
    if strict:
        access, credentials = (
            Denied(because="no resource names this path (enable-default-deny-strict)"),
            terms.required,
        )
    elif deny:
        access, credentials = _rule([*terms.claims]), terms.required
    else:
        access, credentials = Public(), Credentials(mode=Mode.IGNORED)
        findings.note("enable-default-deny is false: every path that no resource names is public")
    return Route(
        name="default-deny" if strict or deny else "default-public",
        path=Path(kind=PathKind.PREFIX, text="/", where=where),
        methods=terms.methods,
        access=access,
        credentials=credentials,
        upstream=terms.upstream,
        identity=terms.identity if deny and not strict else (),
        login_redirect=terms.login_redirect,
        where=where,
    )


def _shared_uris(resources: Sequence[Resource]) -> frozenset[str]:
    """`/x/*` that are public for some methods and protected for others: both must then be one path of the policy."""
    public = {resource.uri for resource in resources if resource.public}
    return frozenset(resource.uri for resource in resources if not resource.public and resource.uri in public)


def _paths(resource: Resource, shared: bool, findings: Findings) -> list[tuple[str, Path]]:
    """The paths of a resource, each with what its route's name gets; none when the uri is refused."""
    uri, where = resource.uri, resource.where
    if not uri.startswith("/"):
        return []
    wanted = [("", PathKind.EXACT, uri)]
    if uri == "/*":
        wanted = [("", PathKind.PREFIX, "/")]
    elif uri.endswith("/*") and not resource.public and not shared:
        wanted = [("", PathKind.PREFIX, uri[:-2])]
    elif uri.endswith("/*"):
        wanted = [("", PathKind.UNDER, uri[:-2])]
        wanted += [] if resource.public else [(" itself", PathKind.EXACT, uri[:-2])]
    elif uri.endswith("*"):
        wanted = [("", PathKind.TEXT, uri[:-1])]
    paths = []
    for suffix, kind, prefix in wanted:
        path = findings.attempt(partial(Path, kind=kind, text=prefix, where=where))
        paths += [(suffix, path)] if path is not None else []
    return paths


def _route(name: str, path: Path, resource: Resource, terms: Terms) -> Route:
    access: Access = Public()
    credentials, identity = Credentials(mode=Mode.IGNORED), terms.identity
    if resource.anonymous:
        credentials = Credentials(
            mode=Mode.OPTIONAL, kinds=terms.required.kinds, providers=terms.required.providers
        )
    elif resource.white_listed:
        identity = ()
    else:
        access, credentials = _rule(_conditions(resource, terms)), terms.required
    return Route(
        name=name,
        path=path,
        methods=resource.methods,
        access=access,
        credentials=credentials,
        upstream=terms.upstream,
        identity=identity,
        body_limit=resource.body_limit,
        login_redirect=terms.login_redirect and not resource.no_redirect,
        where=resource.where,
    )


def _name(resource: Resource, resources: Iterable[Resource]) -> str:
    """The uri as it is written; with the methods where several resources share it."""
    alone = sum(other.uri == resource.uri for other in resources) == 1
    return resource.uri if alone else f"{resource.uri} {_methods_text(resource)}"


def _methods_text(resource: Resource) -> str:
    return "any method" if resource.methods == ANY_METHOD else ",".join(sorted(resource.methods))


# --- Rules ------------------------------------------------------------------------------------------------------------


def _rule(conditions: Sequence[Condition]) -> Rule:
    if not conditions:
        return Rule(when=Authenticated())
    return Rule(when=conditions[0] if len(conditions) == 1 else AllOf(tuple(conditions)))


def _conditions(resource: Resource, terms: Terms) -> list[Condition]:
    found: list[Condition] = []
    forms = [_role_forms(role, terms.reading) for role in resource.roles]
    if resource.any_role or terms.reading is GatekeeperReading.S0:
        found += _any([form for role in forms for form in role])
    else:
        found += [condition for role in forms for condition in _any(role)]
    found += _any([Group(name) for name in resource.groups])
    found += resource.needed
    found += _any([ClaimIs(("acr",), level) for level in resource.acr])
    return [*found, *terms.claims]


def _role_forms(role: str, reading: GatekeeperReading) -> list[Condition]:
    """
    What a role's text may mean: gatekeeper has one list of realm roles and `client:role`s, and compares whole texts.

    A colon may belong to the client's id, to the role's name, or to a realm role: each is tried.
    """
    splits = [match.start() for match in re.finditer(":", role)]
    forms: list[Condition] = [
        ClientRole(role[:at], role[at + 1 :]) for at in splits if role[:at] and role[at + 1 :]
    ]
    forms.append(RealmRole(role))
    if reading is GatekeeperReading.S0:
        forms.append(Group(role))
    return forms


def _any(conditions: Sequence[Condition]) -> list[Condition]:
    """One condition that holds when any of these does; nothing when there are none to ask for."""
    if len(conditions) < 2:
        return list(conditions)
    return [AnyOf(tuple(dict.fromkeys(conditions)))]


def _said(resource: Resource, terms: Terms) -> str:
    """What a resource asks for, for people: the reading in force decides about roles."""
    methods = (
        ""
        if resource.methods == ANY_METHOD
        else f"{', '.join(sorted(resource.methods))}; other methods denied; "
    )
    limit = f"; body at most {resource.body_limit} bytes" if resource.body_limit is not None else ""
    if resource.white_listed:
        return f"{methods}public{limit}"
    if resource.anonymous:
        return f"{methods}public, a credential that is sent is checked{limit}"
    wanted = []
    if resource.roles:
        some = resource.any_role or terms.reading is GatekeeperReading.S0
        word = "" if len(resource.roles) == 1 else "any of " if some else "all of "
        wanted.append(word + ", ".join(resource.roles))
    if resource.groups:
        wanted.append("a group of " + ", ".join(resource.groups))
    wanted += [f"header {header.name}" for header in resource.needed]
    if resource.acr:
        wanted.append("acr " + " or ".join(resource.acr))
    return f"{methods}{' and '.join(wanted) or 'any valid token'}{limit} ({terms.reading} reading)"
