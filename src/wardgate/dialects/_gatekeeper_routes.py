"""
The entries of `resources` as routes: which path, which methods, who may.

Two readings. PRODUCT: `roles` are all needed unless `require-any-role`, a role is `client:role` or a realm role.
S0: any of the roles is enough, and an entry of the claim `groups` counts too. Safer than gatekeeper on purpose: a
method that a protected resource does not list is denied, and a protected `/x/*` covers `/x` too.

Source: gogatekeeper 4.11.0, pkg/proxy/middleware/security.go and pkg/keycloak/proxy/server.go; S0, "Basic
Gatekeeper Configuration".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from wardgate.dialects._gatekeeper_keys import GatekeeperReading
from wardgate.dialects._gatekeeper_resources import Resource
from wardgate.dialects._gatekeeper_settings import Findings, Settings
from wardgate.policy import (
    ANY_METHOD,
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
    Route,
    Rule,
)


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


def routes_of(resources: Sequence[Resource], terms: Terms, findings: Findings) -> tuple[Route, ...]:
    """The routes of the resources, without the default for the rest of the paths."""
    shared, uris = _shared_uris(resources), Counter(resource.uri for resource in resources)
    routes: list[Route] = []
    for resource in resources:
        for suffix, path in _paths(resource, resource.uri in shared, uris, findings):
            name = _name(resource, uris[resource.uri] == 1) + suffix
            built = findings.attempt(partial(_route, name, path, resource, terms))
            if built is not None:
                routes.append(built)
        if resource.uri:
            said = _said(resource, uris[resource.uri] == 1, terms)
            findings.note(f"resources[{resource.index}] {resource.uri}: {said}")
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


def _paths(
    resource: Resource, shared: bool, uris: Mapping[str, int], findings: Findings
) -> list[tuple[str, Path]]:
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
        itself = not resource.public and uri[:-2] not in uris
        wanted += [(" itself", PathKind.EXACT, uri[:-2])] if itself else []
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
        methods=terms.methods if resource.methods == ANY_METHOD else resource.methods,
        access=access,
        credentials=credentials,
        upstream=terms.upstream,
        identity=identity,
        body_limit=resource.body_limit,
        login_redirect=terms.login_redirect and not resource.no_redirect,
        where=resource.where,
    )


def _name(resource: Resource, alone: bool) -> str:
    """The uri as it is written; with the methods where several resources share it."""
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


def _said(resource: Resource, alone: bool, terms: Terms) -> str:
    """What a resource asks for, for people: the reading in force decides about roles."""
    methods = ", ".join(sorted(resource.methods)) + ("; other methods denied; " if alone else "; ")
    methods = "" if resource.methods == ANY_METHOD else methods
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
