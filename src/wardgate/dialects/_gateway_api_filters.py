"""Filters of an HTTPRoute's rule (Gateway API v1): what it changes of requests and answers, and redirects."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta

from wardgate import policy as model
from wardgate.dialects._gateway_api_objects import Fields
from wardgate.problems import ConfigError


@dataclass(slots=True, kw_only=True)
class Filters:
    """What a rule changes of requests and answers. `rewrite` and `redirect` replace a prefix by what each match has for one."""

    request: model.HeaderEdits = field(default_factory=model.HeaderEdits)
    response: model.HeaderEdits = field(default_factory=model.HeaderEdits)
    rewrite: model.Rewrite | None = None
    redirect: model.Redirect | None = None
    cors: model.Cors | None = None
    mirrors: list[Fields] = field(default_factory=list)

    @property
    def replaces_prefix(self) -> bool:
        changes = [change.path for change in (self.rewrite, self.redirect) if change is not None]
        return any(path is not None and path.prefix is not None for path in changes)


def read(rule: Fields) -> Filters:
    """Each type once; one that is not read stays in the fields that are left, and closes the route."""
    found = Filters()
    for fields in rule.many("filters"):
        kind = fields.text("type", "") or ""
        match kind:
            case "RequestHeaderModifier":
                found.request = edits(_inside(fields, "requestHeaderModifier"))
            case "ResponseHeaderModifier":
                found.response = edits(_inside(fields, "responseHeaderModifier"))
            case "URLRewrite":
                found.rewrite = _rewrite(_inside(fields, "urlRewrite"))
            case "RequestRedirect":
                found.redirect = _redirect(_inside(fields, "requestRedirect"))
            case "RequestMirror":
                found.mirrors.append(_inside(fields, "requestMirror"))
            case "CORS":
                inside = _inside(fields, "cors")
                found.cors = cors(inside, timedelta(seconds=inside.number("maxAge") or 5))
            case _:
                fields.complain("manifest-unsupported", "is not enforced here", "type", got=kind)
    return found


def cors(fields: Fields, max_age: timedelta | None) -> model.Cors | None:
    """HTTPCORSFilter, and what the products make of it; None for one that is wrong, which is said."""
    origins = fields.texts("allowOrigins")
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"[a-z*][a-z0-9+.-]*://[0-9A-Za-z*.:\[\]-]+", origin):
            hint = "https://app.example.com, https://*.example.com or *"
            fields.complain("route-cors", "is no origin", "allowOrigins", got=origin, hint=hint)
    try:
        return model.Cors(
            origins=origins,
            methods=fields.texts("allowMethods"),
            headers=fields.texts("allowHeaders"),
            exposed=fields.texts("exposeHeaders"),
            credentials=fields.flag("allowCredentials"),
            max_age=max_age,
            where=fields.owner.where(*fields.path),
        )
    except ConfigError as error:
        fields.complain("route-cors", error.problems[0].message, hint=error.problems[0].hint)
        return None


def of_million(mirror: Fields) -> int:
    """How many requests a mirror gets: all, a `percent`, or a `fraction`."""
    percent, fraction = mirror.number("percent"), mirror.one("fraction")
    over, under = (percent, 100) if percent is not None else (1, 1)
    if fraction is not None:
        over, under = fraction.number("numerator") or 0, fraction.number("denominator") or 100
    if over < 0 or under < 1 or over > under or (percent is not None and fraction is not None):
        hint = "percent from 0 to 100, or a fraction"
        mirror.complain("route-filter", "is no part of all requests", got=f"{over}/{under}", hint=hint)
        return 0
    return round(1_000_000 * over / under)


def _inside(fields: Fields, key: str) -> Fields:
    """What a filter of that type says; when it says nothing, which closes the route, nothing."""
    inside = fields.one(key)
    if inside is None:
        fields.complain("route-filter", "is missing", key)
        return Fields(fields.owner, {}, (*fields.path, key))
    return inside


def joined(first: model.HeaderEdits, then: model.HeaderEdits) -> model.HeaderEdits:
    """Both; what `then` sets counts."""
    names = {name.lower() for name, _ in then.set}
    kept = tuple((name, value) for name, value in first.set if name.lower() not in names)
    return model.HeaderEdits(
        set=(*kept, *then.set),
        add=(*first.add, *then.add),
        remove=tuple(dict.fromkeys((*first.remove, *then.remove))),
        where=then.where,
    )


def edits(inside: Fields) -> model.HeaderEdits:
    new, more = (
        tuple((one.text("name", "") or "", one.text("value", "") or "") for one in inside.many(each))
        for each in ("set", "add")
    )
    gone, where = inside.texts("remove"), inside.owner.where(*inside.path)
    found = inside.made(
        "route-filter", lambda: model.HeaderEdits(set=new, add=more, remove=gone, where=where)
    )
    return found or model.HeaderEdits()


def _rewrite(inside: Fields) -> model.Rewrite:
    host, path = inside.text("hostname"), _new_path(inside)
    return inside.made("route-filter", lambda: model.Rewrite(host=host, path=path)) or model.Rewrite()


def _redirect(inside: Fields) -> model.Redirect:
    status, scheme = inside.number("statusCode") or 302, inside.text("scheme")
    if status not in model.REDIRECTS:
        inside.complain("route-filter", "is not a status that it redirects with", "statusCode", got=status)
        status = 302
    if scheme not in (None, "http", "https"):
        inside.complain("route-filter", "is no scheme", "scheme", got=scheme)
    host, port, path = inside.text("hostname"), inside.number("port"), _new_path(inside)
    found = inside.made(
        "route-filter",
        lambda: model.Redirect(scheme=scheme, host=host, port=port, path=path, status=status),
    )
    return found or model.Redirect()


def _new_path(fields: Fields) -> model.NewPath | None:
    """With `prefix` "/" where a prefix is replaced: which one, the match says (`of_match`)."""
    path = fields.one("path")
    if path is None:
        return None
    kind = path.text("type", "") or ""
    if kind == "ReplaceFullPath":
        whole = path.text("replaceFullPath", "/") or "/"
        return path.made("route-filter", lambda: model.NewPath(text=whole))
    if kind == "ReplacePrefixMatch":
        prefix = path.text("replacePrefixMatch", "/") or "/"
        return path.made("route-filter", lambda: model.NewPath(text=prefix, prefix="/"))
    path.complain("route-filter", "is no way to change a path", "type", got=kind)
    return None


def of_match(new: model.NewPath | None, path: model.Path) -> model.NewPath | None:
    """A change of the path as it is for one match of the rule."""
    return new if new is None or new.prefix is None else replace(new, prefix=path.text)
