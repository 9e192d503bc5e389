"""
Plain data as YAML that a person would have written: blocks, short things in one line, quotes where they are needed.

Not a general emitter: it knows dict, list, str, int, bool and three marks of its own. What it writes reads the same
under YAML 1.1 and 1.2, so `n`, `yes`, `1.0` and `1e3` stand in quotes wherever they are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from ruamel.yaml.resolver import implicit_resolvers

WIDTH: Final = 100
"""What stands in one line is at most so wide."""


class Reference(str):
    """`${NAME}`: stands for what the environment has; other text is never taken for one."""

    __slots__ = ()


class Inline(dict[str, Any]):
    """Keys that stand in one line where they fit."""


class Items(list[Any]):
    """A list whose items, keys too, stand in one line where they fit."""


def yaml(data: Mapping[str, Any]) -> str:
    return "\n".join(_mapping(data, "")) + "\n"


def _mapping(data: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in data.items():
        head = f"{indent}{key(name)}:"
        line = _line(value)
        if (line is not None and len(head) + 1 + len(line) <= WIDTH) or _is_scalar(value):
            yield f"{head} {line}"
        elif isinstance(value, Mapping):
            yield head
            yield from _mapping(value, indent + "  ")
        else:
            yield head
            yield from _sequence(value, indent + "  ")


def _sequence(items: list[Any], indent: str) -> Iterator[str]:
    for item in items:
        line = _line(item)
        if (line is not None and len(indent) + 2 + len(line) <= WIDTH) or _is_scalar(item):
            yield f"{indent}- {line}"
            continue
        inner = indent + "  "
        lines = _mapping(item, inner) if isinstance(item, Mapping) else _sequence(item, inner)
        for number, text in enumerate(lines):
            yield text if number else f"{indent}- {text.removeprefix(inner)}"


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int)


def _line(value: Any) -> str | None:
    """The value in one line, or None for what stands in a block."""
    match value:
        case Reference():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return scalar(value)
        case dict() if not value or isinstance(value, Inline):
            parts = [(key(name), _inner(inner)) for name, inner in value.items()]
            if any(part is None for _, part in parts):
                return None
            return "{" + ", ".join(f"{name}: {part}" for name, part in parts) + "}"
        case list() if isinstance(value, Items) or all(_is_scalar(item) for item in value):
            lines = [_inner(item) for item in value]
            return None if None in lines else "[" + ", ".join(str(line) for line in lines) + "]"
        case _:
            return None


def _inner(value: Any) -> str | None:
    """The value inside brackets, where the `{` of a reference would begin keys."""
    return f'"{value}"' if isinstance(value, Reference) else _line(value)


_WORD: Final = r"(?:[\w/.+@*$()<>=~^-]|:(?=[\w/.*]))"
_PLAIN: Final = re.compile(rf"(?=[\w/.+$(~^]){_WORD}+(?: (?=[^:]){_WORD}+)*")
"""What stands without quotes, in a block and in one line: no sign that YAML could read."""

_OTHERWISE: Final = tuple(pattern for _, _, pattern, _ in implicit_resolvers)
"""What YAML 1.1 or 1.2 reads as anything but text."""

_REFERENCE_START: Final = re.compile(r"\$\{(?=[A-Za-z_])")
_LITERAL: Final = "${WARDGATE_DOLLAR:-$}{"
"""How text with `${` is written: as a variable that nobody sets, whose default is the sign itself."""


def scalar(text: str) -> str:
    """A value that is text."""
    return key(_REFERENCE_START.sub(lambda _: _LITERAL, text))


def key(text: str) -> str:
    """Text as YAML: plain where nothing can go wrong, else in quotes. Nothing is substituted in keys."""
    if _is_plain(text):
        return text
    if not all(_is_printable(letter) for letter in text):
        return _escaped(text)
    if "'" not in text and ('"' in text or "\\" in text):
        return f"'{text}'"
    return _escaped(text)


@lru_cache(maxsize=4096)
def _is_plain(text: str) -> bool:
    if not text.isprintable() or not _PLAIN.fullmatch(text):
        return False
    return text not in ("y", "Y", "n", "N") and not any(pattern.match(text) for pattern in _OTHERWISE)


def _is_printable(letter: str) -> bool:
    """Whether the letter can stand in quotes as it is; line breaks and what YAML folds cannot."""
    return letter == " " or (letter.isprintable() and letter != "\ufeff")


def _escaped(text: str) -> str:
    return '"' + "".join(_escape(letter) for letter in text) + '"'


def _escape(letter: str) -> str:
    named = {"\n": r"\n", "\t": r"\t", "\r": r"\r", '"': r"\"", "\\": r"\\"}
    if letter in named:
        return named[letter]
    if _is_printable(letter):
        return letter
    code = ord(letter)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
