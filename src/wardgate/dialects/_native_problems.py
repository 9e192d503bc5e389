"""
What pydantic says about a document, in our words: code, place, what was found, what to do.

Not the checks themselves. A secret is never repeated, and of an unknown key only the key is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from wardgate.dialects._native_schema import json_schema
from wardgate.dialects._native_types import Schema
from wardgate.document import Document, Path
from wardgate.problems import Problem, shown

SECRETS = frozenset(
    {"client-secret", "encryption-key", "old-encryption-keys", "store", "headers", "jwks", "proxy"}
)
"""Below these nothing that was found is repeated."""

_USERINFO = re.compile(r"//[^/@\s]*@")


def schema_problems(error: ValidationError, document: Document) -> Iterator[tuple[Path, Problem]]:
    """Every error of the schema at its place in the document."""
    for detail in error.errors(include_url=False):
        path = standing(detail["loc"], document.data)
        yield path, _problem(detail, path, document)


def standing(loc: Path, data: Any) -> Path:
    """`loc` without what is no place: the names of forms, and items of a list that was written without brackets."""
    path: Path = ()
    for index, part in enumerate(loc):
        last = index == len(loc) - 1 and not str(part).startswith("<")
        if stands(data, part):
            data = data[part]
        elif not (isinstance(data, dict) and last):
            continue
        path = (*path, part)
    return path


def stands(data: Any, part: str | int) -> bool:
    """Whether `data` is keys that have `part`, or a list that reaches so far."""
    if isinstance(data, dict):
        return part in data
    return isinstance(data, list) and isinstance(part, int) and part < len(data)


def _problem(detail: ErrorDetails, path: Path, document: Document) -> Problem:
    context: Mapping[str, Any] = detail.get("ctx", {})
    where = document.where(*path)
    found = safe(detail["input"], path, document)
    match detail["type"]:
        case "missing":
            hint = _example(path)
            return Problem(code="key-missing", message="is required", where=where, hint=hint)
        case "extra_forbidden":
            return Problem(code="key-unknown", message="is not a key here", where=where, hint=_near(path))
        case "model_type" | "dict_type" | "model_attributes_type":
            return Problem(code="value-type", message="takes keys", where=where, got=found)
        case "list_type" | "tuple_type":
            return Problem(code="value-type", message="takes a list", where=where, got=found)
        case "too_short":
            hint = "name at least one, or leave the key out"
            return Problem(code="list-empty", message="is an empty list", where=where, hint=hint)
        case "literal_error":
            hint = "write `authenticated`, or a condition such as {role: admin}"
            return Problem(
                code="condition-form", message="is no condition", where=where, got=found, hint=hint
            )
        case code:
            hint = str(context.get("hint", ""))
            found = found if code == "value-type" or not isinstance(detail["input"], dict | list) else ""
            return Problem(code=code, message=detail["msg"], where=where, got=found, hint=hint)


def safe(value: object, path: Path, document: Document) -> str:
    """What was found, as a message may print it."""
    if isinstance(value, Mapping):
        return "keys"
    if isinstance(value, list | tuple):
        return "a list"
    reference = document.reference(*path)
    if reference is not None:
        return re.sub(r":-[^}]*", "", reference)
    if SECRETS & {part for part in path if isinstance(part, str)}:
        return "[redacted]"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return _USERINFO.sub("//[redacted]@", shown(value))


def _near(path: Path) -> str:
    known = sorted(keys_at(path[:-1]))
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"the keys here are {', '.join(known)}" if len(known) <= 12 else ""


_EXAMPLES: Mapping[str, str] = {
    "audience": "the name that tokens for this application carry in `aud`, or `unchecked`",
    "issuer": "the `iss` of the tokens: https://HOST/realms/REALM",
    "path": "for example path: /api/**",
    "endpoints": "for example endpoints: http://app:8080",
    "listen": "for example listen: 0.0.0.0:3000",
    "routes": "list the rules; an empty list denies everything",
}


def _example(path: Path) -> str:
    return _EXAMPLES.get(str(path[-1]), "")


def keys_at(path: Path) -> set[str]:
    """The keys that may stand in the mapping at `path`, of every form that it can have."""
    root = json_schema()
    nodes = list(_branches(root, root))
    for part in path:
        nodes = [branch for node in nodes for inner in _step(node, part) for branch in _branches(inner, root)]
    return {key for node in nodes for key in node.get("properties", {})}


def _step(node: Schema, part: str | int) -> Iterator[Schema]:
    if isinstance(part, int):
        inner = node.get("items")
    else:
        inner = node.get("properties", {}).get(part, node.get("additionalProperties"))
    if isinstance(inner, dict):
        yield inner


def _branches(node: Schema, root: Schema) -> Iterator[Schema]:
    reference = node.get("$ref")
    if reference is not None:
        yield from _branches(root["$defs"][reference.rpartition("/")[2]], root)
        return
    yield node
    for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _branches(choice, root)
