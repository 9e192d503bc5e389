"""`native.md`: every key of wardgate.yaml, from the JSON Schema that is made from the models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.reference.markdown import anchor, code, head, page, table
from wardgate.dialects._native_schema import json_schema

COLUMNS = ("Key", "Takes", "Default", "Meaning")

TOP = "The file"

Schema = dict[str, Any]


def text() -> str:
    """The page."""
    intro = head(
        "wardgate.yaml",
        "Every key. A key in **bold** is required. A key that is not listed is an error, and so is a key without a "
        "value.",
        "Durations carry their unit: `30s`, `5m`, `1h30m`, `250ms`. Sizes are bytes, or carry a unit: `50MB` is "
        "50 000 000, `64KiB` is 65 536. `${NAME}` and `${NAME:-default}` in a value stand for environment variables.",
        "The most specific path decides: the longest text, and of one text the exact path, then `/x/*`, `/x/**`, "
        "`/x*`. What no route lists is denied. Several `-c` files are merged: a top-level key of a later file "
        "replaces the earlier one.",
    )
    sections = dict(definitions())
    lines = [*intro, *(line for title in sections for line in _section(title, sections))]
    return page(lines)


def definitions() -> Iterator[tuple[str, Schema]]:
    """The title of each section, and the mapping whose keys it lists."""
    schema = json_schema()
    yield TOP, schema
    yield from ((_title(name), definition) for name, definition in schema["$defs"].items())


def _section(title: str, sections: dict[str, Schema]) -> Iterator[str]:
    schema = sections[title]
    yield from (f"## {title}", "", schema.get("description", ""), "")
    base = _base(title, sections)
    known = sections[base]["properties"] if base else {}
    if base:
        yield from (f"The keys of [{base}](#{anchor(base)}), and:", "")
    required = schema.get("required", ())
    keys = schema["properties"].items()
    yield from table(COLUMNS, [_row(name, key, name in required) for name, key in keys if name not in known])


def _base(title: str, sections: dict[str, Schema]) -> str | None:
    """Another section whose keys are all here too, with the same meaning."""
    own = sections[title]["properties"]
    for other, schema in sections.items():
        keys = schema["properties"]
        if (
            other not in (title, TOP)
            and len(keys) > 1
            and keys.items() <= own.items()
            and len(keys) < len(own)
        ):
            return other
    return None


def _title(name: str) -> str:
    """`ServerTls` as `Server TLS`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("tls", "TLS")
    return words[0].upper() + words[1:]


def _row(name: str, key: Schema, required: bool) -> tuple[str, str, str, str]:
    bold = f"**{code(name)}**" if required else code(name)
    return bold, _takes(key), _default(key), key.get("description", "")


def _default(key: Schema) -> str:
    match key.get("default"):
        case None | [] | ():
            return ""
        case str(value):
            return code(value)
        case [*values]:
            return code(", ".join(values))
        case value:
            return code(json.dumps(value))


def _takes(key: Schema) -> str:
    return ", or ".join(dict.fromkeys(_kinds(key)))


def _kinds(key: Schema) -> Iterator[str]:
    """What may stand there, in words: the forms of one kind once, variables (`${…}`) never."""
    if "$ref" in key:
        title = _title(key["$ref"].rpartition("/")[2])
        yield f"[{title}](#{anchor(title)})"
    elif "const" in key:
        yield _literals([key["const"]])
    elif "enum" in key:
        yield _literals(key["enum"])
    elif "anyOf" in key or "oneOf" in key:
        for option in key.get("anyOf", key.get("oneOf")):
            yield from _kinds(option)
    elif key.get("type") == "array":
        yield "a list of " + " or ".join(dict.fromkeys(_kinds(key.get("items", {}))))
    elif isinstance(key.get("additionalProperties"), dict):
        yield "names, each with " + " or ".join(dict.fromkeys(_kinds(key["additionalProperties"])))
    elif isinstance(key.get("type"), list):
        yield from (_WORDS[kind] for kind in key["type"])
    elif not _only_a_variable(key):
        yield _scalar(key)


def _only_a_variable(key: Schema) -> bool:
    """The form that stands beside every number and flag: text that `${NAME}` is put into."""
    pattern = key.get("pattern", "")
    return bool(re.search(pattern, "${NAME}")) and not key.get("examples") and not re.search(pattern, "name")


def _literals(values: list[object]) -> str:
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values)
    return ", ".join(dict.fromkeys(code(text) for text in texts))


_WORDS = {
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "`true`, `false`",
    "object": "keys",
}


def _scalar(key: Schema) -> str:
    word = _WORDS.get(key.get("type", ""), "any value")
    examples = ", ".join(code(str(example)) for example in key.get("examples", [])[:2])
    return f"{word} ({examples})" if examples else word
