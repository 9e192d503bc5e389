"""
Fields of a policy's values that are keys under the same name, as the native format writes them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

from wardgate import policy as model
from wardgate.dialects._native_write_rules import Keys, duration
from wardgate.dialects._native_yaml import Reference


def reference(secret: model.Secret, name: str) -> Reference:
    """The reference; a secret that came from elsewhere is asked of the environment by its key's name."""
    if re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", secret.reference):
        return Reference(secret.reference)
    return Reference(f"${{WARDGATE_{re.sub('[^A-Z0-9]+', '_', name.upper())}}}")


def changed(value: Any, *, only: Iterable[str] = (), skip: Iterable[str] = ()) -> Keys:
    """The fields that are not at their defaults, each as its key; None is never a key."""
    keys: Keys = {}
    for field in dataclasses.fields(value):
        content = getattr(value, field.name)
        if field.name in (*skip, "where") or (only and field.name not in only):
            continue
        if content is not None and content != default(type(value), field.name):
            keys[field.name.replace("_", "-")] = _plain(content)
    return keys


def default(kind: type[Any], name: str) -> Any:
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    factory: Callable[[], Any] | Any = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def _plain(content: Any) -> Any:
    match content:
        case bool() | int():
            return content
        case StrEnum():
            return content.value
        case str():
            return content
        case tuple():
            return list(content)
        case _:
            return duration(content)
