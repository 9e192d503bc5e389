"""
The entries of `resources`, read and checked.

Not what they mean for a request: that is `_gatekeeper_routes`. Two forms of `headers`: gatekeeper's list of
`name:value`, and S0's mapping, whose Content-Length is the largest body.

Source: gogatekeeper 4.11.0, pkg/config/core/resource.go; S0, "Basic Gatekeeper Configuration".
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    RequestHeader,
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
        if not given or (len(given) == 1 and given[0].lower() in ("any", "*")):
            return ANY_METHOD
        methods = {method for index, method in enumerate(given) if self._is_method(index, method)}
        if not methods and all(method in REFUSED_METHODS for method in given):
            hint = "list other methods, or remove the resource"
            self.findings.refuse(
                "method-name", "lists no method that is forwarded", self.where("methods"), hint=hint
            )
        return frozenset(methods) or ANY_METHOD

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
            if self.item.get(name) == []:
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
