"""
A gatekeeper configuration as typed values: files, then `PROXY_*` variables, then `--set`, each above the one before.

Not their meaning: that a URL has a host or that two keys exclude each other is said in `gatekeeper`. Here a key is
known or not, and its value is of the type that the table of keys gives it.

Source: gogatekeeper 4.11.0, pkg/proxy/cli.go (precedence) and Go's time.ParseDuration and strconv.ParseBool.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from wardgate import document as documents
from wardgate.dialects import Options
from wardgate.dialects._gatekeeper_keys import ALIASES, KEYS, Key, KeyType, Value, environment_name
from wardgate.document import Document
from wardgate.policy import Secret
from wardgate.problems import ConfigError, Problem, Severity, Where, shown

T = TypeVar("T")

BY_NAME: Final[Mapping[str, Key]] = {key.name: key for key in KEYS}


@dataclass(slots=True, kw_only=True)
class Findings:
    """What reading a configuration has to say: problems in the order in which they were found, and notes."""

    problems: list[Problem] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def refuse(self, code: str, message: str, where: Where, got: object = "", hint: str = "") -> None:
        self._add(code, message, where, got, hint, Severity.ERROR)

    def warn(self, code: str, message: str, where: Where, got: object = "", hint: str = "") -> None:
        self._add(code, message, where, got, hint, Severity.WARNING)

    def note(self, text: str) -> None:
        """Said once, however often it is found."""
        self.notes[text] = None

    def attempt(self, build: Callable[[], T]) -> T | None:
        """What `build` makes, or None and its problems: a value of the policy checks itself."""
        try:
            return build()
        except ConfigError as error:
            self.problems += [known for known in error.problems if known not in self.problems]
            return None

    def _add(self, code: str, message: str, where: Where, got: object, hint: str, severity: Severity) -> None:
        text = shown(got) if got != "" else ""
        self.problems.append(
            Problem(code=code, message=message, where=where, got=text, hint=hint, severity=severity)
        )


class Mistyped(Exception):
    """A value that is not what its key takes; `path` leads from the key to the part that is wrong."""

    def __init__(
        self, code: str, expected: str, got: object, hint: str = "", path: documents.Path = ()
    ) -> None:
        super().__init__(expected)
        self.code, self.expected, self.got, self.hint, self.path = code, expected, got, hint, path


# --- One value --------------------------------------------------------------------------------------------------------

_TRUE: Final = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE: Final = frozenset({"0", "f", "false", "n", "no", "off"})
"""Go's ParseBool, and YAML 1.1's words, which gatekeeper's YAML reader takes for a boolean key."""

_UNITS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS["h"] = 3600 * 10**9
_SPAN: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST: Final = timedelta(days=36500)


def text(value: object) -> str:
    """A float or a boolean is refused: `1.10` and `True` are no longer what the file says."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Mistyped("value-type", "takes text", _kind(value), "write it in quotes" if _plain(value) else "")


def secret_text(value: object) -> str:
    """Only text: YAML reads `0123` as 123, and nobody would see it."""
    if isinstance(value, str):
        return value
    raise Mistyped("value-type", "takes text", _kind(value), "write it in quotes" if _plain(value) else "")


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise Mistyped("flag-form", "takes true or false", _kind(value))


def number(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        found = int(value)
    else:
        raise Mistyped("number-form", "takes a whole number", _kind(value))
    if found < 0:
        raise Mistyped("number-form", "takes a number that is not negative", found)
    return found


def duration(value: object) -> timedelta:
    """Go's form: `30s`, `1h30m`; a bare number is nanoseconds, and so small a time is refused as a mistake."""
    hint = "write a number with its unit: 30s, 5m, 720h"
    if isinstance(value, int) and not isinstance(value, bool):
        if value != 0 and abs(value) < 10**6:
            raise Mistyped("duration-form", "a bare number is nanoseconds", value, hint)
        nanoseconds = float(value)
    elif isinstance(value, str) and value.strip() == "0":
        nanoseconds = 0.0
    elif isinstance(value, str) and re.fullmatch(f"\\+?(?:{_SPAN.pattern})+", value):
        nanoseconds = sum(float(amount) * _UNITS[unit] for amount, unit in _SPAN.findall(value))
    else:
        raise Mistyped("duration-form", "takes a duration", _kind(value), hint)
    if nanoseconds < 0 or nanoseconds > _LONGEST.total_seconds() * 10**9:
        raise Mistyped("duration-form", "takes a duration of at most 100 years", value, hint)
    return timedelta(microseconds=nanoseconds / 1000)


def texts(value: object) -> tuple[str, ...]:
    """A list; one text alone is a list of one, as `--set` and `${NAME}` give it."""
    items = [value] if isinstance(value, str) and value else value
    if not isinstance(items, list):
        raise Mistyped("value-type", "takes a list", _kind(value), "write one entry a line, each after a -")
    return tuple(_inside(index, item, _filled) for index, item in enumerate(items))


def pairs(value: object) -> tuple[tuple[str, str], ...]:
    """A mapping of text to text, in its order."""
    if not isinstance(value, dict):
        raise Mistyped("value-type", "takes a mapping", _kind(value), "write `name: value`, one a line")
    return tuple((name, _inside(name, item, text)) for name, item in value.items())


def _filled(value: object) -> str:
    if value == "":
        raise Mistyped("value-empty", "is empty text", "", "an environment variable that is set to nothing?")
    return text(value)


def _inside(step: str | int, value: object, read: Callable[[object], T]) -> T:
    try:
        return read(value)
    except Mistyped as wrong:
        wrong.path = (step, *wrong.path)
        raise


def _plain(value: object) -> bool:
    return isinstance(value, bool | int | float)


def _kind(value: object) -> object:
    """What a message shows of a value: scalars as they are, the rest by its kind."""
    if isinstance(value, dict):
        return _Said("a mapping")
    if isinstance(value, list):
        return _Said("a list")
    if isinstance(value, bool):
        return _Said(str(value).lower())
    return _Said("nothing") if value is None else value


class _Said(str):
    """Words that a message prints without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


READERS: Final[Mapping[KeyType, Callable[[Any], Value]]] = {
    KeyType.TEXT: text,
    KeyType.FILE: text,
    KeyType.SECRET: secret_text,
    KeyType.FLAG: flag,
    KeyType.NUMBER: number,
    KeyType.DURATION: duration,
    KeyType.TEXTS: texts,
    KeyType.PAIRS: pairs,
}


def read_value(kind: KeyType, value: object, where: Callable[..., Where], findings: Findings) -> Value | None:
    """The typed value, or None and a problem at the part that is wrong; a secret's value is never in it."""
    try:
        return READERS[kind](value)
    except Mistyped as wrong:
        got = (
            ""
            if kind is KeyType.SECRET and isinstance(wrong.got, str) and wrong.got != "nothing"
            else wrong.got
        )
        if kind is KeyType.SECRET and _plain(value):
            got = _Said("a number or a boolean")
        findings.refuse(wrong.code, wrong.expected, where(*wrong.path), got, wrong.hint)
        return None


# --- All of them --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    What is set, by the current name of its key. `written` is the name that was used (an older one, an alias),
    `variables` the `PROXY_*` variables that set keys.
    """

    document: Document
    values: Mapping[str, Value]
    written: Mapping[str, str]
    variables: Mapping[str, str]

    def given(self, name: str) -> bool:
        """Whether somebody wrote the key, rightly or not."""
        return name in self.written

    def where(self, name: str, *rest: str | int) -> Where:
        return self.document.where(self.written.get(name, name), *rest)

    def text(self, name: str) -> str:
        value = self._value(name)
        return value if isinstance(value, str) else ""

    def flag(self, name: str) -> bool:
        return self._value(name) is True

    def number(self, name: str) -> int:
        value = self._value(name)
        return value if isinstance(value, int) else 0

    def duration(self, name: str) -> timedelta:
        value = self._value(name)
        return value if isinstance(value, timedelta) else timedelta(0)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._value(name)
        return tuple(str(item) for item in value) if isinstance(value, tuple) else ()

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        value = self._value(name)
        return tuple((str(item[0]), str(item[1])) for item in value) if isinstance(value, tuple) else ()

    def file(self, name: str) -> str | None:
        """The name of a file, inside `file-root` where that is set; None when the key is absent or empty."""
        path, root = self.text(name), self.text("file-root")
        return posixpath.join(root, path) if path and root else path or None

    def secret(self, name: str) -> Secret | None:
        """The secret; `show` prints it as the variable that it came from, or as one to fill in."""
        value = self.text(name)
        if not value:
            return None
        variable = self.variables.get(name, "WARDGATE_" + name.upper().replace("-", "_"))
        reference = self.document.reference(self.written[name]) or f"${{{variable}}}"
        return Secret(value, reference)

    def _value(self, name: str) -> Value:
        return self.values.get(name, BY_NAME[name].default)


def read_settings(found: Sequence[Document], options: Options, findings: Findings) -> Settings:
    """The documents and what overrides them, typed; unknown keys and wrong types are in the findings."""
    document, variables = _with_environment(_merged(found, findings), options)
    document, variables = _with_settings(document, variables, options, findings)
    content: Mapping[str, Any] = document.data if isinstance(document.data, dict) else {}
    values: dict[str, Value] = {}
    written: dict[str, str] = {}
    for name in sorted(content, key=lambda name: _rank(document, name)):
        key = BY_NAME.get(ALIASES.get(name, name))
        if key is None:
            _unknown(name, document, findings)
        elif content[name] is not None:
            _take(key, name, document, values, written, findings)
    return Settings(document=document, values=values, written=written, variables=variables)


def _rank(document: Document, name: str) -> tuple[bool, str, int]:
    """Older names last, so that today's name holds when both are there; else by place."""
    key = BY_NAME.get(name)
    where = document.where(name)
    return (key is not None and bool(key.until), where.file, where.line)


def _take(
    key: Key,
    name: str,
    document: Document,
    values: dict[str, Value],
    written: dict[str, str],
    findings: Findings,
) -> None:
    today = key.instead or key.name
    if today in written:
        message = f"is not read: {written[today]} says the same"
        findings.warn("key-twice", message, document.where(name), hint="remove one of the two")
        return
    written[today] = name
    if key.type is KeyType.RESOURCES:
        return
    value = read_value(key.type, document.data[name], lambda *rest: document.where(name, *rest), findings)
    if value is not None:
        values[today] = value
    if key.until and (key.instead or value != key.default):
        _say_old(key, document.where(name), findings)


def _say_old(key: Key, where: Where, findings: Findings) -> None:
    lived = f"until {key.until}" if key.until != "0.x" else "of keycloak-proxy 0.x"
    message = f"is a key of older gatekeepers ({lived})"
    findings.warn("key-old", message, where, hint=key.hint)


def _unknown(name: str, document: Document, findings: Findings) -> None:
    near = difflib.get_close_matches(name.lower().replace("_", "-"), [*BY_NAME, *ALIASES], n=1, cutoff=0.7)
    hint = (
        f"did you mean {near[0]}?" if near else "gatekeeper itself ignores it; remove it, or correct its name"
    )
    findings.refuse("key-unknown", "is no key of gatekeeper", document.where(name), hint=hint)


def _merged(found: Sequence[Document], findings: Findings) -> Document:
    for document in found:
        if document.data is not None and not isinstance(document.data, dict):
            hint = "write `key: value` lines"
            findings.refuse(
                "value-type", "is not a mapping of keys", document.where(), _kind(document.data), hint
            )
    return documents.merge(list(found)) if found else Document(file="", data={})


def _with_environment(document: Document, options: Options) -> tuple[Document, dict[str, str]]:
    variables: dict[str, str] = {}
    for key in KEYS:
        variable = environment_name(key)
        value = options.environ.get(variable, "") if variable and key.until != "0.x" else ""
        if variable and value:
            document = documents.with_value(document, (key.name,), value, f"environment {variable}")
            variables[key.name] = variable
    return document, variables


_SETTING: Final = re.compile(
    r"(?P<key>[^.\[\]]+)(?:\[(?P<index>[0-9]{1,6})\]\.(?P<field>[^.]+)|\.(?P<inner>.+))?"
)


def _with_settings(
    document: Document, variables: dict[str, str], options: Options, findings: Findings
) -> tuple[Document, dict[str, str]]:
    pairs = [*options.settings, *([("listen", options.listen)] if options.listen is not None else [])]
    for name, value in pairs:
        path = _setting_path(name, document)
        if path is None:
            where = Where(file="--set", path=name)
            hint = (
                "write KEY=VALUE, headers.NAME=VALUE or resources[0].roles=[a, b], of a resource that exists"
            )
            findings.refuse("set-form", "is not the name of a setting", where, hint=hint)
            continue
        head = str(path[0])
        document = documents.with_value(document, path, _setting_value(path, value), "--set")
        variables = {key: variable for key, variable in variables.items() if key != head}
    return document, variables


def _setting_path(name: str, document: Document) -> documents.Path | None:
    match = _SETTING.fullmatch(name)
    if match is None:
        return None
    if match["index"] is not None:
        known = document.data.get(match["key"]) if isinstance(document.data, dict) else None
        index = int(match["index"])
        if not isinstance(known, list) or index >= len(known):
            return None
        return (match["key"], index, match["field"])
    return (match["key"], match["inner"]) if match["inner"] else (match["key"],)


def _setting_value(path: documents.Path, value: str) -> Any:
    """Lists, mappings and resources are read as YAML; other values are text, of which each type reads its own."""
    key = BY_NAME.get(ALIASES.get(str(path[0]), str(path[0])))
    structured = key is not None and key.type in (KeyType.TEXTS, KeyType.PAIRS, KeyType.RESOURCES)
    if not structured or (key is not None and key.type is KeyType.PAIRS and len(path) > 1):
        return value
    return documents.scalar(value)
