"""
A document against the schema of the native format: every problem, and as much of the file as can be looked at further.

Beyond what the schema says, here: values that are nothing, keys that exclude each other, and that a route says
exactly once who may. Those are asked of the plain data, so that one problem of a route does not hide another.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from wardgate.dialects import _native_schema as schema
from wardgate.dialects._native_problems import schema_problems, standing, stands
from wardgate.dialects._native_schema_rules import ACCESS, LISTS
from wardgate.document import Document, Path
from wardgate.problems import Problem

Found = tuple[Path, Problem]

PLACEHOLDER: Final = {"path": "/", "deny": ""}
"""Stands where a route was refused, so that the rest can be checked; it never reaches a policy."""

_CONFLICTS: Final = (
    ("listeners", ("listen", "tls", "redirect-to-https", "proxy-protocol")),
    ("provider", ("providers",)),
    ("hosts", ("routes",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """
    What the schema leaves: all of the file, or what can still be looked at of it, or (None) nothing.

    `skipped` are the refused routes: `file` has placeholders there. `partial`: some of its keys were refused and
    taken away, so only rules can be looked at, not whether the whole fits together.
    """

    file: schema.File | None
    problems: tuple[Problem, ...] = ()
    skipped: frozenset[Path] = frozenset()
    partial: bool = False


def check(document: Document) -> Checked:
    data = document.data or {}
    nothings = dict(_nothings(document, data, ()))
    found = [*nothings.items(), *_accesses(document), *_conflicts(document)]
    try:
        file = schema.File.model_validate(data)
    except ValidationError as error:
        found += [
            (path, problem) for path, problem in schema_problems(error, document) if path not in nothings
        ]
    else:
        if not found:
            return Checked(file=file)
    return _rest(data, found)


def _rest(data: Any, found: list[Found]) -> Checked:
    """What is left when refused routes are stood in for, and refused keys, or what needs them, are taken away."""
    problems = tuple(problem for _, problem in found)
    left = copy.deepcopy(data)
    skipped = frozenset(route for path, _ in found if (route := _route_of(path)) is not None)
    for route in skipped:
        _at(left, route[:-1])[route[-1]] = PLACEHOLDER
    partial = any(problem.code != "key-unknown" and _route_of(path) not in skipped for path, problem in found)
    faulty = [path for path, _ in found if _route_of(path) not in skipped]
    while all(faulty):
        for path in faulty:
            _take_away(left, path)
        try:
            file = schema.File.model_validate(left)
        except ValidationError as error:
            faulty = [_refused(detail, left) for detail in error.errors()]
        else:
            return Checked(file=file, problems=problems, skipped=skipped, partial=partial)
    return Checked(file=None, problems=problems)


def _refused(detail: ErrorDetails, data: Any) -> Path:
    """The place that has to go: of a key that is missing, that of the keys it is missing from."""
    path = standing(detail["loc"], data)
    return path[:-1] if detail["type"] == "missing" else path


def _take_away(data: Any, path: Path) -> None:
    """Without the key at `path`; of what is in a list, without the list, so that no other item moves."""
    whole = next((path[:index] for index, part in enumerate(path) if isinstance(part, int)), path)
    parent = _at(data, whole[:-1])
    if isinstance(parent, dict):
        parent.pop(whole[-1], None)


def _at(data: Any, path: Path) -> Any:
    """What stands at `path`; None where nothing does."""
    for part in path:
        if not stands(data, part):
            return None
        data = data[part]
    return data


def _route_of(path: Path) -> Path | None:
    """The route that `path` is, or is in."""
    for index, part in enumerate(path[:-1]):
        if part == "routes" and isinstance(path[index + 1], int):
            return path[: index + 2]
    return None


def _nothings(document: Document, data: Any, path: Path) -> Iterator[Found]:
    """Keys and items without a value: `methods:` with nothing after it is no way to say "any"."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        place = (*path, key)
        if value is None:
            hint = "give it a value, or leave it out"
            yield (
                place,
                Problem(code="value-empty", message="has no value", where=document.where(*place), hint=hint),
            )
        else:
            yield from _nothings(document, value, place)


def _routes(data: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every route that is written as keys, wherever routes can stand."""
    if not isinstance(data, dict):
        return
    yield from _entries(data, "routes", path)
    for place, host in _entries(data, "hosts", path):
        yield from _routes(host, place)
    listeners = data.get("listeners")
    for name, listener in listeners.items() if isinstance(listeners, dict) and not path else ():
        yield from _routes(listener, (*path, "listeners", name))


def _entries(data: dict[str, Any], key: str, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    entries = data.get(key)
    for index, entry in enumerate(entries) if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            yield (*path, key, index), entry


def _accesses(document: Document) -> Iterator[Found]:
    """Routes that do not say exactly once who may."""
    for path, route in _routes(document.data):
        said = [key for key in ACCESS if key in route and not _is_false(key, route[key])]
        lists = [key for key in LISTS if key in route]
        if len(said) + bool(lists) == 1:
            continue
        where = document.where(*path)
        if said or lists:
            hint = "keep one; conditions are joined inside allow: {all: [...]}, {any: [...]}"
            message = f"says more than once who may: {', '.join([*said, *lists])}"
            yield path, Problem(code="access-several", message=message, where=where, hint=hint)
        else:
            hint = "add public: true, or roles: [...], or allow: authenticated, or deny: why"
            message = "does not say who may"
            yield path, Problem(code="access-missing", message=message, where=where, hint=hint)


def _is_false(key: str, value: object) -> bool:
    return key == "public" and (value is False or str(value).lower() == "false")


def _conflicts(document: Document) -> Iterator[Found]:
    """Keys that cannot stand together, at the top, in listeners and in hosts."""
    data = document.data if isinstance(document.data, dict) else {}
    listeners = data.get("listeners")
    places: list[tuple[Path, Any]] = [((), data)]
    for name, listener in listeners.items() if isinstance(listeners, dict) else ():
        places.append((("listeners", name), listener))
    for path, keys in places:
        for one, others in _CONFLICTS if isinstance(keys, dict) else ():
            for other in others:
                if one in keys and other in keys:
                    where = document.where(*path, other)
                    message, hint = f"cannot stand beside {one}", "keep one of them"
                    yield (
                        (*path, other),
                        Problem(code="keys-conflict", message=message, where=where, hint=hint),
                    )
