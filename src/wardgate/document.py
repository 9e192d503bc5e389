"""
Text into plain data that remembers its lines.

Not a schema: a `Document` knows nothing about keys or their meaning, only where each value stands. YAML 1.2
(JSON is a part of it), so `n`, `yes` and `1e3` mean what they look like. `${ENV}` and `${ENV:-default}` are
substituted after parsing, in scalar values only, and always give text: a dialect's schema decides what type it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from wardgate.problems import ConfigError, Problem, Where, shown

MAX_BYTES = 4 * 1024 * 1024
"""A configuration above this is a mistake (a log, a dump): the largest policy measured, 10 000 routes, has 1 MB."""

MAX_DEPTH = 64
"""Nesting above this is refused: no format that is read here needs a tenth of it."""

MAX_VALUES = 500_000
"""Ten times what 10 000 routes have. Aliases of aliases make more of a small file than memory can hold."""

CODES: Final[Mapping[str, str]] = {
    "duplicate-key": "A key stands twice in one mapping; YAML readers would silently take one of the two.",
    "file-encoding": "The file is not UTF-8 text.",
    "file-too-large": "The file is larger than any configuration is: a log or a dump?",
    "variable-unset": "An environment variable that `${NAME}` asks for is not set, or is empty, and there is no default.",
    "yaml-depth": "Keys and lists are nested too deeply, or a YAML alias holds itself.",
    "yaml-key": "A key that is a list or a mapping instead of plain text.",
    "yaml-size": "The file holds more values than any configuration does: aliases that repeat aliases?",
    "yaml-several-documents": "Several documents, divided by `---`, stand where one is read.",
    "yaml-syntax": "The file is not valid YAML (or JSON): indentation, quotes, brackets.",
    "yaml-tag": "A YAML tag such as `!include` that is not read here.",
    "yaml-value": "A value that is written as a number is none.",
}
"""What can be wrong with a file before anybody asks what its keys mean."""

Path = tuple[str | int, ...]

MERGE = "tag:yaml.org,2002:merge"
"""A plain `<<`; in quotes it is a key like any other."""

_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def path_text(path: Path) -> str:
    """`("resources", 3, "uri")` as `resources[3].uri`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "timestamp": str,
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": lambda text: int(
        text.replace("_", ""), 0 if text.lstrip("+-")[:2].lower() in ("0x", "0o") else 10
    ),
    "float": lambda text: float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan")),
}
"""YAML 1.2's core scalars; a date stays text, since no format read here has dates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """
    Plain data (dict, list, str, int, float, bool, None) and the place of every value in it.

    `places` maps a path to (file, line); `references` maps a path to the text before `${…}` was substituted.
    """

    file: str
    data: Any
    places: Mapping[Path, tuple[str, int]] = field(default_factory=dict)
    references: Mapping[Path, str] = field(default_factory=dict)

    def where(self, *path: str | int) -> Where:
        """The place of `path`, or of its nearest ancestor that is written down."""
        for size in range(len(path), -1, -1):
            if path[:size] in self.places:
                file, line = self.places[path[:size]]
                return Where(file=file, line=line, path=path_text(path))
        return Where(file=self.file, path=path_text(path))

    def reference(self, *path: str | int) -> str | None:
        """`${NAME}` as it was written at `path`, when the whole value came from the environment."""
        return self.references.get(path)


def read(text: str | bytes, file: str, environ: Mapping[str, str] | None = None) -> Document:
    """
    Read one YAML or JSON document.

    `environ` None leaves `${…}` alone (objects from a Kubernetes API are never substituted).
    Raises ConfigError with every problem: encoding, syntax, duplicate keys, unset variables.
    """
    documents = read_all(text, file, environ)
    if len(documents) > 1:
        second = documents[1]
        hint = "keep what stands above the ---, and write the rest to a file of its own"
        raise ConfigError(
            [_problem("yaml-several-documents", "holds more than one document", second.where(), hint=hint)]
        )
    return documents[0]


def read_all(text: str | bytes, file: str, environ: Mapping[str, str] | None = None) -> list[Document]:
    """Read every document of a file, divided by `---`; an empty file gives one document whose data is None."""
    content = _decoded(text, file)
    yaml = YAML(typ="safe", pure=True)
    try:
        nodes = list(yaml.compose_all(content))
    except MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, file)]) from error
    except ReaderError as error:
        raise ConfigError([_character_problem(error, content, file)]) from error
    except (YAMLError, ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition("\n")[0]
        hint = "is this the right file?"
        message = f"cannot be read as YAML: {what}"
        raise ConfigError([_problem("yaml-syntax", message, Where(file=file), hint=hint)]) from error
    readers = [_Reader(file, environ) for _ in nodes or [None]]
    documents = [reader.document(node) for reader, node in zip(readers, nodes or [None], strict=True)]
    problems = [problem for reader in readers for problem in reader.problems]
    if problems:
        raise ConfigError(problems)
    return documents


def merge(documents: list[Document]) -> Document:
    """
    Several files as one: later files override, key by key at the top level.

    A list or mapping that a later file gives replaces the earlier one whole, as gatekeeper users expect of
    `resources`. Every value keeps the file and line that it came from.
    """
    data: dict[str, Any] = {}
    places: dict[Path, tuple[str, int]] = {}
    references: dict[Path, str] = {}
    for document in documents:
        content = document.data if isinstance(document.data, dict) else {}
        for key in content:
            _forget(places, key)
            _forget(references, key)
        data.update(content)
        places.update(document.places)
        references.update(document.references)
    return Document(file=documents[0].file, data=data, places=places, references=references)


def with_value(document: Document, path: Path, value: Any, source: str) -> Document:
    """The document with one value set from outside the file (`--set`, an environment variable)."""
    data = _replaced(document.data if document.data is not None else {}, path, value)
    places = {known: place for known, place in document.places.items() if known[: len(path)] != path}
    references = {known: text for known, text in document.references.items() if known[: len(path)] != path}
    places[path] = (source, 0)
    return Document(file=document.file, data=data, places=places, references=references)


def scalar(text: str) -> Any:
    """The value that `text` has when it stands after a colon in YAML: `--set key=value` reads so."""
    yaml = YAML(typ="safe", pure=True)
    try:
        return yaml.load(text)
    except YAMLError:
        return text


def _replaced(data: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(head, int):
        items = list(data) if isinstance(data, list) else []
        items += [None] * (head + 1 - len(items))
        items[head] = _replaced(items[head], rest, value)
        return items
    fields = dict(data) if isinstance(data, dict) else {}
    fields[head] = _replaced(fields.get(head), rest, value)
    return fields


def _forget(known: dict[Path, Any], key: str) -> None:
    for path in [path for path in known if path and path[0] == key]:
        del known[path]


def _decoded(text: str | bytes, file: str) -> str:
    if len(text) > MAX_BYTES:
        hint = "is this the right file? A policy of 10 000 routes has about 1 MB"
        message = f"is larger than {MAX_BYTES // 1024 // 1024} MiB"
        raise ConfigError([_problem("file-too-large", message, Where(file=file), f"{len(text)} bytes", hint)])
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        where, hint = Where(file=file, line=line), "is this the right file? If it is, save it as UTF-8"
        raise ConfigError([_problem("file-encoding", "is not UTF-8 text", where, hint=hint)]) from error


def _problem(code: str, message: str, where: Where, got: str = "", hint: str = "") -> Problem:
    return Problem(code=code, message=message, where=where, got=got, hint=hint)


def _syntax_problem(error: MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 0
    message = " ".join(str(part) for part in (error.context, error.problem) if part) or "cannot be read"
    hint = "check the indentation and the quotes at this line"
    if "\t" in message:
        hint = "YAML takes spaces for indentation, never tabs"
    return _problem("yaml-syntax", f"is not valid YAML: {message}", Where(file=file, line=line), hint=hint)


def _character_problem(error: ReaderError, content: str, file: str) -> Problem:
    line = content.count("\n", 0, error.position) + 1
    message = f"holds the character U+{error.character:04X}, which no YAML file may hold"
    hint = "is this the right file? In quotes, YAML takes such characters as \\x00 or \\u0000"
    return _problem("yaml-syntax", message, Where(file=file, line=line), hint=hint)


class _Reader:
    """Turns the nodes of one document into data; collects places and problems on the way."""

    def __init__(self, file: str, environ: Mapping[str, str] | None) -> None:
        self.file = file
        self.environ = environ
        self.places: dict[Path, tuple[str, int]] = {}
        self.references: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._values = 0

    def document(self, node: Node | None) -> Document:
        data = None if node is None else self.value(node, ())
        return Document(file=self.file, data=data, places=self.places, references=self.references)

    def value(self, node: Node, path: Path) -> Any:
        self._count(node)
        self.places.setdefault(path, (self.file, node.start_mark.line + 1))
        if len(path) > MAX_DEPTH or id(node) in self._open:
            hint = "take some levels away; an alias must not hold itself"
            self._complain("yaml-depth", f"is nested more than {MAX_DEPTH} deep", node, path, hint)
            return None
        self._open.add(id(node))
        try:
            return self._value(node, path)
        finally:
            self._open.discard(id(node))

    def _count(self, node: Node) -> None:
        """Raises ConfigError, at once, when there are too many."""
        self._values += 1
        if self._values > MAX_VALUES:
            self._complain(
                "yaml-size", f"holds more than {MAX_VALUES} values", node, (), "is this the right file?"
            )
            raise ConfigError(self.problems)

    def _value(self, node: Node, path: Path) -> Any:
        match node:
            case MappingNode():
                return self._mapping(node, path)
            case SequenceNode():
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            case ScalarNode():
                return self._scalar(node, path)
            case _:  # pragma: no cover - YAML has three kinds of nodes
                raise AssertionError(node)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, ScalarNode) else "?"
            if key_node.tag == MERGE and isinstance(value_node, MappingNode):
                for name, value in self._mapping(value_node, path).items():
                    fields.setdefault(name, value)
                continue
            if not isinstance(key_node, ScalarNode):
                hint = "put it in quotes, if it is one"
                self._complain("yaml-key", "a key must be plain text", key_node, path, hint)
                continue
            inner = (*path, key)
            line = key_node.start_mark.line + 1
            if key in fields:
                before = self.places[inner][1]
                message = f"is given twice, first in line {before}"
                self._complain("duplicate-key", message, key_node, inner, "take one of the two away")
            self.places[inner] = (self.file, line)
            fields[key] = self.value(value_node, inner)
        return fields

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        text = str(node.value)
        if self.environ is not None and "${" in text:
            if _REFERENCE.fullmatch(text):
                self.references[path] = text
            return _REFERENCE.sub(self._substitute(node, path), text)
        kind = str(node.tag).rpartition(":")[2]
        if kind not in _SCALARS:
            return self._tagged(node, path)
        try:
            return _SCALARS[kind](text)
        except ValueError:
            self._complain("yaml-value", f"cannot be read: {shown(text)}", node, path)
            return None

    def _tagged(self, node: ScalarNode, path: Path) -> None:
        self._complain(
            "yaml-tag", f"the tag {node.tag} is not supported", node, path, "write the value itself"
        )

    def _substitute(self, node: ScalarNode, path: Path) -> Callable[[re.Match[str]], str]:
        def replace(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            value = (self.environ or {}).get(name, "")
            if value or default is not None:
                return value or str(default)
            hint = f"set it in the environment, or give a default: ${{{name}:-value}}"
            self._complain("variable-unset", f"the environment variable {name} is not set", node, path, hint)
            return ""

        return replace

    def _complain(self, code: str, message: str, node: Node, path: Path, hint: str = "") -> None:
        where = Where(file=self.file, line=node.start_mark.line + 1, path=path_text(path))
        self.problems.append(_problem(code, message, where, hint=hint))
