"""
As much of JSON Schema (draft 2020-12) as the published schema uses, to see that it means something.

An unknown keyword is an error: a check that is skipped would be a check that nobody makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

NOTES = frozenset({"$schema", "$defs", "title", "description", "examples", "default"})
TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}


def faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str = "$") -> Iterator[str]:
    """What the schema has against the value; nothing when it is valid."""
    for keyword, wanted in schema.items():
        if keyword not in NOTES:
            yield from CHECKS[keyword](value, wanted, schema, root, at)


def _valid(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    return next(faults(value, schema, root), None) is None


def _reference(value: Any, wanted: str, schema: Any, root: Any, at: str) -> Iterator[str]:
    yield from faults(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, at)


def _type(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    names = wanted if isinstance(wanted, list) else [wanted]
    if not any(TYPES[name](value) for name in names):
        yield f"{at}: not {' or '.join(names)}"


def _properties(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for name, inner in wanted.items():
        if isinstance(value, dict) and name in value:
            yield from faults(value[name], inner, root, f"{at}.{name}")


def _additional(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for name in set(value) - set(schema.get("properties", ())) if isinstance(value, dict) else ():
        if wanted is False:
            yield f"{at}: unknown key {name}"
        else:
            yield from faults(value[name], wanted, root, f"{at}.{name}")


def _required(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for name in wanted:
        if isinstance(value, dict) and name not in value:
            yield f"{at}: {name} is missing"


def _items(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for index, item in enumerate(value) if isinstance(value, list) else ():
        yield from faults(item, wanted, root, f"{at}[{index}]")


def _any_of(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    if not any(_valid(value, one, root) for one in wanted):
        yield f"{at}: fits none of {len(wanted)} forms"


def _one_of(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    fitting = sum(_valid(value, one, root) for one in wanted)
    if fitting != 1:
        yield f"{at}: fits {fitting} forms"


def _size(kind: type, low: bool) -> Callable[..., Iterator[str]]:
    def check(value: Any, wanted: int, schema: Any, root: Any, at: str) -> Iterator[str]:
        if isinstance(value, kind) and (len(value) < wanted if low else len(value) > wanted):
            yield f"{at}: has {len(value)}"

    return check


def _simple(holds: Callable[[Any, Any], bool]) -> Callable[..., Iterator[str]]:
    def check(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
        if not holds(value, wanted):
            yield f"{at}: {value!r} against {wanted!r}"

    return check


CHECKS: Mapping[str, Callable[..., Iterator[str]]] = {
    "$ref": _reference,
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "required": _required,
    "items": _items,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": lambda value, wanted, schema, root, at: iter(
        [f"{at}: fits what it must not"] if _valid(value, wanted, root) else []
    ),
    "enum": _simple(lambda value, wanted: value in wanted),
    "const": _simple(lambda value, wanted: value == wanted and type(value) is type(wanted)),
    "minimum": _simple(lambda value, wanted: not isinstance(value, int) or value >= wanted),
    "pattern": _simple(lambda value, wanted: not isinstance(value, str) or bool(re.search(wanted, value))),
    "minItems": _size(list, True),
    "minProperties": _size(dict, True),
    "maxProperties": _size(dict, False),
    "minLength": _size(str, True),
}
