"""
Hosts, routes, conditions, credentials and identity headers of the native format, as parts of a policy.

Not their keys (`_native_schema_rules`). What a route leaves out comes from its host, then from the file (`Defaults`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import TypeVar

from wardgate import policy as model
from wardgate.dialects import _native_schema as schema
from wardgate.dialects import _native_schema_rules as keys
from wardgate.dialects._native_place import Building
from wardgate.dialects._native_values import PathForm, short_path
from wardgate.document import Path
from wardgate.policy import Kind, Mode
from wardgate.problems import ConfigError, shown

Value = TypeVar("Value")

CHECKED = "the schema has checked that it is given"

BOTH_KINDS = frozenset({Kind.BEARER, Kind.SESSION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds where a route or a host says nothing. `upstream` None: every route has to name one."""

    upstream: str | None = None
    kinds: frozenset[Kind] = BOTH_KINDS
    providers: tuple[str, ...] = ()
    identity: tuple[model.IdentityHeader, ...] = ()
    login_redirect: bool = True
    introspect: bool = False
    cors: model.Cors | None = None
    fallback: model.Credentials | None = None


# --- Conditions ---------------------------------------------------------------------------------------------------


def condition(form: str | keys.Condition) -> model.Condition:
    """The condition that is written; its parts cannot be refused any more, but for empty lists."""
    if isinstance(form, str):
        return model.Authenticated()
    match form.head:
        case "not":
            inner = form.not_
            assert inner is not None, CHECKED
            return model.Not(condition(inner))
        case "all":
            return model.AllOf(tuple(condition(part) for part in form.all_ or ()))
        case "any":
            return model.AnyOf(tuple(condition(part) for part in form.any_ or ()))
        case _:
            return _leaf(form)


def _leaf(form: keys.Condition) -> model.Condition:
    match form.head:
        case "role":
            return model.RealmRole(_given(form.role))
        case "client-role":
            named = _given(form.client_role)
            return model.ClientRole(named.client, named.role)
        case "group":
            return model.Group(_given(form.group))
        case "scope":
            return model.Scope(_given(form.scope))
        case "header":
            return model.RequestHeader(_given(form.header), tuple(str(value) for value in form.is_ or ()))
        case _:
            return _claim(form)


def _claim(form: keys.Condition) -> model.Condition:
    path = _given(form.claim)
    if form.matches is not None:
        return model.ClaimMatches(path, form.matches)
    return any_of([model.ClaimIs(path, value) for value in form.is_ or ()])


def any_of(conditions: Iterable[model.Condition]) -> model.Condition:
    """One of several, or the only one."""
    parts = tuple(conditions)
    return parts[0] if len(parts) == 1 else model.AnyOf(parts)


def listed(route: keys.Route) -> model.Condition | None:
    """`roles`, `client-roles`, `groups`, `scopes`: any of each, and all of those that are given."""
    lists: list[model.Condition] = []
    if route.roles:
        lists.append(any_of(model.RealmRole(role) for role in route.roles))
    if route.client_roles:
        pairs = [(client, role) for client, roles in route.client_roles.items() for role in roles]
        lists.append(any_of(model.ClientRole(client, role) for client, role in pairs))
    if route.groups:
        lists.append(any_of(model.Group(name) for name in route.groups))
    if route.scopes:
        lists.append(any_of(model.Scope(name) for name in route.scopes))
    if not lists:
        return None
    return lists[0] if len(lists) == 1 else model.AllOf(tuple(lists))


def _given(value: Value | None) -> Value:
    assert value is not None, CHECKED
    return value


# --- Credentials and identity headers -------------------------------------------------------------------------------


def credentials(form: keys.Credentials | Mode | None, usual: Mode, defaults: Defaults) -> model.Credentials:
    """What is written, over `usual` and the file's own kinds and providers; ignored credentials have neither."""
    written = keys.Credentials.model_construct(mode=form) if isinstance(form, Mode) else form
    mode = (written.mode if written else None) or usual
    ignored = mode is Mode.IGNORED
    kinds = BOTH_KINDS if ignored else defaults.kinds
    providers = () if ignored else defaults.providers
    introspect = defaults.introspect and not ignored
    if written is not None:
        introspect = introspect if written.introspect is None else written.introspect
        kinds = kinds if written.kinds is None else frozenset(written.kinds)
        providers = providers if written.providers is None else written.providers
    return model.Credentials(mode=mode, kinds=kinds, providers=providers, introspect=introspect)


def identity_headers(
    building: Building, form: keys.IdentityForms, path: Path
) -> tuple[model.IdentityHeader, ...]:
    named: list[tuple[str, Path, keys.IdentityValue | tuple[str, ...]]]
    if isinstance(form, dict):
        named = [(name, (*path, name), value) for name, value in form.items()]
    else:
        named = [(value.name, (*path, index), value) for index, value in enumerate(form)]
    headers = (
        building.attempt(place, partial(_identity_header, building, name, place, value))
        for name, place, value in named
    )
    return tuple(header for header in headers if header is not None)


def _identity_header(
    building: Building, name: str, path: Path, form: keys.IdentityValue | tuple[str, ...]
) -> model.IdentityHeader:
    value: model.ClaimValue | model.RawToken
    if isinstance(form, tuple):
        value = model.ClaimValue(path=form)
    elif form.token is not None:
        value = model.RawToken(source=form.token)
    else:
        value = model.ClaimValue(path=_given(form.claim), separator=form.separator, source=form.from_)
    return model.IdentityHeader(name=name, value=value, where=building.where(path))


# --- Routes and hosts -------------------------------------------------------------------------------------------------


def access(form: keys.Route) -> model.Access:
    """Exactly one is given: whoever reads the document has checked that."""
    if form.public:
        return model.Public()
    if form.deny is not None:
        return model.Denied(because=form.deny)
    when = condition(form.allow) if form.allow is not None else listed(form)
    assert when is not None, CHECKED
    return model.Rule(when=when)


def route_name(form: PathForm, methods: frozenset[str]) -> str:
    """The name of a route that has none: its methods and its path, as the file says them."""
    text = short_path(form) or f"{form.kind} {form.text}"
    return text if methods == model.ANY_METHOD else f"{' '.join(sorted(methods))} {text}"


def routes(
    building: Building, forms: tuple[keys.Route, ...], path: Path, defaults: Defaults
) -> tuple[model.Route, ...]:
    given = _given_names(building, forms, path)
    used: set[str] = set()
    found = []
    for index, form in enumerate(forms):
        place = (*path, index)
        if place in building.skipped:
            continue
        name = form.name if form.name is not None and form.name not in used else None
        made = building.attempt(place, partial(_route, building, form, place, defaults))
        if made is not None:
            named = replace(made, name=name or _unused(made.name, given | used))
            used.add(named.name)
            found.append(named)
    return tuple(found)


def _given_names(building: Building, forms: tuple[keys.Route, ...], path: Path) -> set[str]:
    """The names that are given; one that is given twice is a problem of its own, beside those of the routes."""
    first: dict[str, int] = {}
    for index, form in enumerate(forms):
        if form.name is not None and first.setdefault(form.name, index) != index:
            hint = f"the first is at {building.where((*path, first[form.name]))}"
            place = (*path, index, "name")
            building.complain(
                "route-name", "two routes with one name", place, got=shown(form.name), hint=hint
            )
    return set(first)


def _route(building: Building, form: keys.Route, path: Path, defaults: Defaults) -> model.Route | None:
    """The route, named after its methods and its path."""
    methods = frozenset(form.methods) if form.methods is not None else model.ANY_METHOD
    granted = access(form)
    asked = _asked(building, form, granted, path, defaults)
    upstream = form.upstream or defaults.upstream
    if upstream is None:
        hint = "name one of upstreams here, or for the whole host"
        building.complain("upstream-missing", "the route does not say which upstream it has", path, hint=hint)
        return None
    return model.Route(
        name=route_name(form.path, methods),
        path=model.Path(kind=form.path.kind, text=form.path.text, where=building.where((*path, "path"))),
        methods=methods,
        access=granted,
        credentials=asked,
        upstream=upstream,
        identity=_identity(building, form, path, asked, granted, defaults),
        body_limit=form.body_limit,
        websockets=form.websockets,
        timeout=form.timeout,
        login_redirect=defaults.login_redirect if form.login_redirect is None else form.login_redirect,
        forward_authorization=form.forward_authorization,
        require_grant=form.require_grant,
        where=building.where(path),
    )


def _unused(name: str, names: set[str]) -> str:
    """A made-up name never clashes: two routes of one path are refused for that, and not for their names."""
    numbered = (f"{name} ({number})" for number in count(2))
    return next(free for free in chain([name], numbered) if free not in names)


def _asked(
    building: Building, form: keys.Route, granted: model.Access, path: Path, defaults: Defaults
) -> model.Credentials:
    public = isinstance(granted, model.Public)
    written = form.credentials
    asked = credentials(written, Mode.IGNORED if public else Mode.REQUIRED, defaults)
    place = (*path, "credentials")
    if public and isinstance(written, keys.Credentials) and written.mode is None:
        message = "a public route looks at credentials only with a mode"
        hint = "add mode: optional (a bad one is 401) or mode: permissive (a bad one is ignored)"
        building.complain("credentials-mode", message, place, hint=hint)
    elif public and asked.mode is Mode.REQUIRED:
        hint = "write allow: authenticated instead of public"
        building.complain("credentials-mode", "a public route cannot require a credential", place, hint=hint)
    elif not public and asked.mode is not Mode.REQUIRED:
        message, got = "a route that is not public requires a credential", shown(asked.mode.value)
        building.complain("credentials-mode", message, place, got=got, hint="leave the mode out")
    else:
        return asked
    return model.Credentials(mode=Mode.IGNORED if public else Mode.REQUIRED)


def _identity(
    building: Building,
    form: keys.Route,
    path: Path,
    asked: model.Credentials,
    granted: model.Access,
    defaults: Defaults,
) -> tuple[model.IdentityHeader, ...]:
    """The file's headers, on routes that look at credentials and that someone can pass."""
    if form.identity_headers is not None:
        return identity_headers(building, form.identity_headers, (*path, "identity-headers"))
    looks = asked.mode is not Mode.IGNORED and not isinstance(granted, model.Denied)
    return defaults.identity if looks else ()


def hosts(
    building: Building, form: schema.Listener | schema.File, path: Path, defaults: Defaults
) -> tuple[model.Host, ...]:
    """The hosts of a listener, or those that the file gives to every listener."""
    below = replace(
        defaults,
        cors=cors(building, form.cors, (*path, "cors"), defaults.cors),
        fallback=credentials(form.fallback, Mode.REQUIRED, defaults) if form.fallback else defaults.fallback,
    )
    if form.hosts is None:
        everywhere = keys.Host.model_construct(routes=form.routes or ())
        found = [building.attempt(path, partial(_host, building, everywhere, path, below))]
    else:
        places = [(*path, "hosts", index) for index in range(len(form.hosts))]
        found = [
            building.attempt(place, partial(_host, building, host, place, below))
            for place, host in zip(places, form.hosts, strict=True)
        ]
    return tuple(host for host in found if host is not None)


def _host(building: Building, form: keys.Host, path: Path, defaults: Defaults) -> model.Host:
    own = replace(defaults, upstream=form.upstream or defaults.upstream)
    fallback = credentials(form.fallback, Mode.REQUIRED, defaults) if form.fallback else defaults.fallback
    make = partial(
        model.Host,
        names=form.names,
        fallback=fallback or credentials(None, Mode.REQUIRED, defaults),
        cors=cors(building, form.cors, (*path, "cors"), defaults.cors),
        where=building.where(path),
    )
    rules = routes(building, form.routes, (*path, "routes"), own)
    try:
        return make(routes=rules)
    except ConfigError as error:
        building.problems.extend(error.problems)
        refused = {problem.where for problem in error.problems}
        return make(routes=tuple(route for route in rules if route.where not in refused))


def cors(
    building: Building, form: keys.Cors | bool | None, path: Path, usual: model.Cors | None
) -> model.Cors | None:
    """The rules that are written; `false` is none, and nothing is `usual`."""
    if not isinstance(form, keys.Cors):
        return None if form is False else usual
    return building.attempt(
        path,
        lambda: model.Cors(
            origins=form.origins,
            methods=form.methods,
            headers=form.headers,
            exposed=form.exposed,
            max_age=form.max_age,
            credentials=form.credentials,
            where=building.where(path),
        ),
    )
