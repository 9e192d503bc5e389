"""
Hosts, routes, conditions, credentials and identity headers of a policy, as the keys of the native format.

Each function leaves out what its reader (`_native_rules`) would assume. Not here: the edges and the whole
(`_native_write`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar, assert_never

from wardgate import policy as model
from wardgate.dialects._native_rules import Defaults, route_name
from wardgate.dialects._native_schema_rules import LISTS
from wardgate.dialects._native_values import SIZES, UNITS, PathForm, short_path
from wardgate.dialects._native_yaml import Inline, Items
from wardgate.policy import Condition, Credentials, Mode

Keys = dict[str, Any]
Item = TypeVar("Item")

# --- Values -------------------------------------------------------------------------------------------------------


def duration(value: timedelta) -> str:
    """`30s`, `1h30m`, `24h`; days from two on."""
    left = value // timedelta(microseconds=1)
    if left and left % _MICROSECONDS["d"] == 0 and left > _MICROSECONDS["d"]:
        return f"{left // _MICROSECONDS['d']}d"
    parts = []
    for unit in ("h", "m", "s", "ms", "us"):
        whole, left = divmod(left, _MICROSECONDS[unit])
        if whole:
            parts.append(f"{whole}{unit}")
    return "".join(parts) or "0s"


_MICROSECONDS: Final = {unit: length // timedelta(microseconds=1) for unit, length in UNITS.items()}


def size(value: int) -> int | str:
    """`50MB`, `64KiB`, or bytes."""
    for unit in ("GB", "MB", "GiB", "MiB", "KiB", "kB"):
        if value and value % SIZES[unit] == 0:
            return f"{value // SIZES[unit]}{unit}"
    return value


def several(items: Sequence[str]) -> str | list[str]:
    """One without brackets, others as a list."""
    return items[0] if len(items) == 1 else list(items)


def pairs(found: Sequence[tuple[str, str]]) -> Keys | list[Keys]:
    """Names with values; as a list where a name is there twice."""
    if len({name for name, _ in found}) == len(found):
        return dict(found)
    return [Inline(name=name, value=value) for name, value in found]


def path(found: model.Path) -> str | Keys:
    """The short form, where it is read as the same."""
    return short_path(PathForm(found.kind, found.text)) or Inline({found.kind.value: found.text})


def claim_path(steps: tuple[str, ...]) -> str | list[str]:
    """Dots go inward, unless a step has one."""
    return ".".join(steps) if all(step and "." not in step for step in steps) else list(steps)


# --- Conditions ---------------------------------------------------------------------------------------------------


def condition(found: Condition) -> str | Keys:
    """One condition as `allow` takes it."""
    match found:
        case model.Authenticated():
            return "authenticated"
        case model.RealmRole(role=role):
            return Inline(role=role)
        case model.ClientRole(client=client, role=role):
            return Inline({"client-role": Inline(client=client, role=role)})
        case model.Group(name=name):
            return Inline(group=name)
        case model.Scope(name=name):
            return Inline(scope=name)
        case model.ClaimIs(path=steps, value=value):
            return Inline({"claim": claim_path(steps), "is": value})
        case model.ClaimMatches(path=steps, pattern=pattern):
            return Inline(claim=claim_path(steps), matches=pattern)
        case model.RequestHeader(name=name, values=values):
            return Inline({"header": name, "is": list(values)})
        case model.Not(condition=inner):
            return Inline({"not": condition(inner)})
        case model.AllOf(conditions=parts):
            return Inline(all=Items(condition(part) for part in parts))
        case model.AnyOf(conditions=parts):
            return _one_claim(parts) or Inline(any=Items(condition(part) for part in parts))
        case model.ClaimPresent() | model.RequestText() | model.ClientIn():
            raise ValueError("manifests alone say this, and are not written as wardgate.yaml")
        case _:
            assert_never(found)


def _one_claim(parts: tuple[Condition, ...]) -> Keys | None:
    """Several values of one claim: `{claim: tenant, is: [a, b]}`."""
    claims = [part for part in parts if isinstance(part, model.ClaimIs)]
    if len(claims) != len(parts) or len(claims) < 2 or len({claim.path for claim in claims}) > 1:
        return None
    return Inline({"claim": claim_path(claims[0].path), "is": [claim.value for claim in claims]})


def access(found: model.Access) -> Keys:
    match found:
        case model.Public():
            return {"public": True}
        case model.Denied(because=because) | model.Broken(because=because):
            return {"deny": because}
        case model.Rule(when=when):
            return _lists(when) or {"allow": condition(when)}
        case _:
            assert_never(found)


def _lists(when: Condition) -> Keys | None:
    """`roles`, `client-roles`, `groups`, `scopes`, where they are read as the same condition."""
    parts = when.conditions if isinstance(when, model.AllOf) else (when,)
    if isinstance(when, model.AllOf) and len(parts) == 1:
        return None
    found = [_list(part) for part in parts]
    known = [entry for entry in found if entry is not None]
    order = [LISTS.index(key) for key, _ in known]
    if len(known) < len(found) or order != sorted(set(order)):
        return None
    return dict(known)


def _list(part: Condition) -> tuple[str, Any] | None:
    """The short form of "any of these", all of one kind."""
    parts = part.conditions if isinstance(part, model.AnyOf) else (part,)
    if isinstance(part, model.AnyOf) and len(parts) == 1:
        return None
    roles = [one.role for one in parts if isinstance(one, model.RealmRole)]
    groups = [one.name for one in parts if isinstance(one, model.Group)]
    scopes = [one.name for one in parts if isinstance(one, model.Scope)]
    for key, names in (("roles", roles), ("groups", groups), ("scopes", scopes)):
        if len(names) == len(parts):
            return key, names
    return _client_list([one for one in parts if isinstance(one, model.ClientRole)], len(parts))


def _client_list(roles: list[model.ClientRole], expected: int) -> tuple[str, Keys] | None:
    by_client: dict[str, list[str]] = {}
    for one in roles:
        by_client.setdefault(one.client, []).append(one.role)
    order = [(client, role) for client, names in by_client.items() for role in names]
    if len(roles) != expected or order != [(one.client, one.role) for one in roles]:
        return None
    return "client-roles", Inline(by_client)


# --- Credentials and identity headers -------------------------------------------------------------------------------


def accepted(found: Credentials, usual: Credentials) -> Keys:
    """The kinds and providers that differ from what is usual."""
    keys: Keys = {}
    if found.kinds != usual.kinds:
        keys["kinds"] = sorted(found.kinds)
    if found.providers != usual.providers:
        keys["providers"] = list(found.providers)
    if found.introspect != usual.introspect:
        keys["introspect"] = found.introspect
    return keys


def usual_credentials(mode: Mode, defaults: Defaults) -> Credentials:
    """What the reader assumes where only the mode is given."""
    if mode is Mode.IGNORED:
        return Credentials(mode=mode)
    return Credentials(
        mode=mode, kinds=defaults.kinds, providers=defaults.providers, introspect=defaults.introspect
    )


def credentials(found: Credentials, mode: Mode, defaults: Defaults) -> str | Keys | None:
    """A word where only the mode differs from `mode`, keys where more does, None where nothing does."""
    keys = accepted(found, usual_credentials(found.mode, defaults))
    if found.mode is not mode or (keys and mode is Mode.IGNORED):
        return Inline({"mode": found.mode.value, **keys}) if keys else found.mode.value
    return Inline(keys) if keys else None


def fallback(found: Credentials, defaults: Defaults) -> Keys | None:
    keys = accepted(found, usual_credentials(found.mode, defaults))
    if found.mode is not Mode.REQUIRED:
        keys = {"mode": found.mode.value, **keys}
    return Inline(keys) if keys else None


def identity_headers(found: Sequence[model.IdentityHeader]) -> Keys | list[Keys]:
    if len({header.name for header in found}) == len(found):
        return {header.name: _identity_value(header.value) for header in found}
    return [Inline({"name": header.name, **_identity_keys(header.value)}) for header in found]


def _identity_value(value: model.ClaimValue | model.RawToken) -> str | Keys:
    keys = _identity_keys(value)
    short = keys.get("claim")
    return short if isinstance(short, str) and len(keys) == 1 else Inline(keys)


def _identity_keys(value: model.ClaimValue | model.RawToken) -> Keys:
    if isinstance(value, model.RawToken):
        return {"token": True if value.source is model.Source.ACCESS else value.source.value}
    keys: Keys = {"claim": claim_path(value.path)}
    if value.source is not model.Source.ACCESS:
        keys["from"] = value.source.value
    if value.separator != ",":
        keys["separator"] = value.separator
    return keys


def tells(route: model.Route) -> bool:
    """Whether the file's identity headers are on the route unless it says otherwise."""
    return route.credentials.mode is not Mode.IGNORED and not isinstance(route.access, model.Denied)


# --- Routes and hosts -------------------------------------------------------------------------------------------------


def route(found: model.Route, defaults: Defaults) -> Keys:
    mode = Mode.IGNORED if isinstance(found.access, model.Public) else Mode.REQUIRED
    identity = defaults.identity if tells(found) else ()
    keys: Keys = {"path": path(found.path)}
    if found.name != route_name(PathForm(found.path.kind, found.path.text), found.methods):
        keys["name"] = found.name
    if found.methods != model.ANY_METHOD:
        keys["methods"] = sorted(found.methods, key=_usual_order)
    keys |= access(found.access)
    if found.upstream and found.upstream != defaults.upstream:
        keys["upstream"] = found.upstream
    asked = credentials(found.credentials, mode, defaults)
    if asked is not None:
        keys["credentials"] = asked
    if found.identity != identity:
        keys["identity-headers"] = identity_headers(found.identity)
    if found.body_limit is not None:
        keys["body-limit"] = size(found.body_limit)
    if not found.websockets:
        keys["websockets"] = False
    if found.timeout is not None:
        keys["timeout"] = duration(found.timeout)
    if found.login_redirect != defaults.login_redirect:
        keys["login-redirect"] = found.login_redirect
    if found.forward_authorization is not None:
        keys["forward-authorization"] = found.forward_authorization
    if found.require_grant:
        keys["require-grant"] = True
    return keys


_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _usual_order(method: str) -> tuple[int, str]:
    """As people list methods; their own come last."""
    return (_METHODS.index(method) if method in _METHODS else len(_METHODS)), method


def cors(found: model.Cors) -> Keys:
    keys: Keys = {"origins": list(found.origins)}
    for key, values in (("methods", found.methods), ("headers", found.headers), ("exposed", found.exposed)):
        if values:
            keys[key] = list(values)
    if found.max_age is not None:
        keys["max-age"] = duration(found.max_age)
    if found.credentials:
        keys["credentials"] = True
    return keys


def hosts(found: tuple[model.Host, ...], defaults: Defaults) -> Keys:
    """`routes` where there is one host for every name, else `hosts`."""
    if len(found) == 1 and found[0].names == ("*",):
        return host(found[0], defaults)
    return {"hosts": [_named_host(one, defaults) for one in found]}


def _named_host(found: model.Host, defaults: Defaults) -> Keys:
    used = most_common([one.upstream for one in found.routes], defaults.upstream)
    keys: Keys = {"names": several(found.names)}
    if used and used != defaults.upstream:
        keys["upstream"] = used
    return keys | host(found, replace(defaults, upstream=used))


def host(found: model.Host, defaults: Defaults) -> Keys:
    keys: Keys = {}
    if found.cors is not None:
        keys["cors"] = cors(found.cors)
    unlisted = fallback(found.fallback, defaults)
    if unlisted is not None:
        keys["fallback"] = unlisted
    return keys | {"routes": [route(one, defaults) for one in found.routes]}


def most_common(items: Iterable[Item], otherwise: Item) -> Item:
    """What most of them are, the first of equals; `otherwise` where there are none."""
    counted = Counter(items).most_common(1)
    return counted[0][0] if counted else otherwise
