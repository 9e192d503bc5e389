"""
Kubernetes objects as they stand in manifests: what they are called, where their fields stand, what became of them.

Nothing here knows what a field means. A reader takes fields by `Fields`, which remembers what was taken: what is left is a
field that is not enforced, and is said, never ignored.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from wardgate.document import Document, Path
from wardgate.problems import ConfigError, Problem, Severity, Where, shown

SELECTING: Final = (
    "targetRef",
    "targetRefs",
    "targetSelectors",
    "matchLabels",
    "matches",
    "rules",
    "parentRefs",
    "hostnames",
)
"""Fields that say what others hold for: what they mean cannot be guessed."""

GATEWAY: Final = "gateway.networking.k8s.io"
CORE: Final = ""
GRPC: Final = "GRPCRoute"
ROUTE_KINDS: Final = ("HTTPRoute", GRPC)


@dataclass(frozen=True, slots=True)
class Name:
    """What one object is called: API group, kind, namespace and name."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """
    One condition of an object's status (metav1.Condition). `parent`: of a route the Gateway, of a Gateway the listener that
    it is said of; "" for the object itself.
    """

    type: str
    status: bool
    reason: str
    message: str
    parent: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class Object:
    """
    One manifest. `conditions` and `problems` grow while it is read, and `notes`: what somebody who expects more of it should
    know. `partly`: what is wrong with a part of it, without which the rest goes on.
    """

    name: Name
    document: Document
    problems: list[Problem] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    partly: list[str] = field(default_factory=list)

    @property
    def data(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.document.data
        return found

    @property
    def labels(self) -> Mapping[str, str]:
        found = self.data["metadata"].get("labels")
        return found if isinstance(found, Mapping) else {}

    @property
    def fatal(self) -> bool:
        """Whether something is wrong with it that others could suffer from."""
        return any(one.severity is Severity.ERROR for one in self.problems)

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts the oldest first; of one age, and of none, by namespace and name."""
        created = self.data["metadata"].get("creationTimestamp") or ""
        return str(created), self.name.namespace, self.name.name

    def where(self, *path: str | int) -> Where:
        return self.document.where(*path)

    def complain(
        self, code: str, message: str, path: Path, *, got: object = "", hint: str = "", fatal: bool = False
    ) -> None:
        """
        What is wrong with this object. It stops the object, not the others; `fatal`: all of them, since what would go on
        without it cannot be told, and could be open.
        """
        text = shown(got) if got != "" else ""
        severity = Severity.ERROR if fatal else Severity.WARNING
        where = self.where(*path)
        self.add(Problem(code=code, message=message, where=where, got=text, hint=hint, severity=severity))

    def add(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def said(self, *except_codes: str) -> str:
        """Its problems in one line, as a condition tells them; empty without any."""
        return "; ".join(_told(one) for one in self.problems if one.code not in except_codes)

    def say(self, kind: str, status: bool, reason: str, message: str, parent: str = "") -> None:
        """Sets a condition."""
        self.conditions = [one for one in self.conditions if (one.type, one.parent) != (kind, parent)]
        self.conditions.append(
            Condition(type=kind, status=status, reason=reason, message=message, parent=parent)
        )

    @property
    def spec(self) -> Fields:
        return Fields(self, self.data.get("spec") or {}, ("spec",))


Made = TypeVar("Made")


class Fields:
    """
    One mapping of a manifest, taken field by field. A value of another type than asked for is a problem of the object, and
    counts as absent.
    """

    def __init__(self, owner: Object, data: object, path: Path) -> None:
        self.owner = owner
        self.path = path
        self.data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        self._taken: set[str] = set()
        self._inside: dict[str, list[Fields]] = {}
        if not isinstance(data, Mapping):
            fatal = any(part in SELECTING for part in path)
            owner.complain("manifest-type", "is no mapping", path, got=data, fatal=fatal)

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def _value(self, key: str, kind: type[Any], called: str) -> Any:
        self._taken.add(key)
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            at = (*self.path, key)
            self.owner.complain("manifest-type", f"is no {called}", at, got=value, fatal=key in SELECTING)
            return None
        return value

    def text(self, key: str, usual: str | None = None) -> str | None:
        value: str | None = self._value(key, str, "text")
        return usual if value is None else value

    def number(self, key: str) -> int | None:
        found: int | None = self._value(key, int, "number")
        return found

    def flag(self, key: str) -> bool:
        return self._value(key, bool, "true or false") is True

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._value(key, list, "list") or []
        for index, value in enumerate(values):
            if not isinstance(value, str):
                at = (*self.path, key, index)
                self.owner.complain("manifest-type", "is no text", at, got=value, fatal=key in SELECTING)
        return tuple(value for value in values if isinstance(value, str))

    def one(self, key: str) -> Fields | None:
        self._taken.add(key)
        if self.data.get(key) is None:
            return None
        if key not in self._inside:
            self._inside[key] = [Fields(self.owner, self.data[key], (*self.path, key))]
        return self._inside[key][0]

    def many(self, key: str) -> list[Fields]:
        values = self._value(key, list, "list") or []
        if key not in self._inside:
            self._inside[key] = [
                Fields(self.owner, value, (*self.path, key, index)) for index, value in enumerate(values)
            ]
        return self._inside[key]

    def plain(self) -> Mapping[str, Any]:
        """All of it, as it is."""
        self._taken.update(map(str, self.data))
        return self.data

    def complain(
        self,
        code: str,
        message: str,
        *path: str | int,
        got: object = "",
        hint: str = "",
        fatal: bool = False,
    ) -> None:
        self.owner.complain(code, message, (*self.path, *path), got=got, hint=hint, fatal=fatal)

    def made(self, code: str, make: Callable[[], Made]) -> Made | None:
        """What is made of these fields; None where a value of the model refuses it, which is said."""
        try:
            return make()
        except ConfigError as error:
            for problem in error.problems:
                where, severity = self.owner.where(*self.path), Severity.WARNING
                self.owner.add(replace(problem, code=code, where=where, hint="", severity=severity))
            return None

    def left(self) -> Iterator[Path]:
        """Fields that nobody has taken, here and inside of what was taken."""
        for key, value in self.data.items():
            if str(key) not in self._taken and value is not None:
                yield (*self.path, str(key))
        for inside in self._inside.values():
            for each in inside:
                yield from each.left()

    def finish(self) -> None:
        """Says of every field that was not taken that it is not enforced."""
        for path in self.left():
            hint = "remove it, or keep the gateway that enforces it in front"
            self.owner.complain("manifest-unsupported", "is not enforced here", path, hint=hint)


def held(secret: Object, key: str) -> str:
    """A text of a Secret; empty without one. Raises ValueError for what is no base64 of a text."""
    plain, coded = secret.data.get("stringData"), secret.data.get("data")
    if isinstance(plain, Mapping) and plain.get(key) is not None:
        return str(plain[key])
    value = coded.get(key) if isinstance(coded, Mapping) else None
    # UnicodeDecodeError and binascii.Error are ValueErrors
    return "" if value is None else base64.b64decode(str(value), validate=True).decode("utf-8")


def selector(fields: Fields | None) -> Callable[[Mapping[str, str]], bool] | None:
    """
    Whether labels are selected (metav1.LabelSelector); None for one that cannot be read, which is said. None at all, and an
    empty one, select everything.
    """
    if fields is None:
        return lambda _: True
    labels = fields.one("matchLabels")
    wanted = {key: labels.text(key) for key in labels.data} if labels else {}
    asked = []
    for each in fields.many("matchExpressions"):
        key, operator, values = (
            each.text("key", "") or "",
            each.text("operator", "") or "",
            each.texts("values"),
        )
        if operator not in OPERATORS or (operator in ("In", "NotIn")) != bool(values):
            each.complain("manifest-selector", "is no selector", got=operator, hint=", ".join(OPERATORS))
            return None
        asked.append((key, operator, values))
    if None in wanted.values():
        return None

    def selects(has: Mapping[str, str]) -> bool:
        return wanted.items() <= has.items() and all(_holds(has, *each) for each in asked)

    return selects


OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


def _holds(has: Mapping[str, str], key: str, operator: str, values: Sequence[str]) -> bool:
    match operator:
        case "In":
            return has.get(key) in values
        case "NotIn":
            return has.get(key) not in values
        case "Exists":
            return key in has
        case _:
            return key not in has


PRODUCT_WORDS: Final = ("OIDC: ", "JWT: ", "ExtAuth: ", "No section name ")
"""How Envoy Gateway begins what it says: its whole sentences stand in conditions as they are."""


def _told(problem: Problem) -> str:
    if problem.message.startswith(PRODUCT_WORDS):
        return problem.message
    got = f", got {problem.got}" if problem.got else ""
    return f"{problem.where.path} {problem.message}{got}"


def parent_of(reference: Mapping[str, object], namespace: str) -> str:
    """What conditions call a parent: its Gateway, and the listener or port of it that is named, if any."""
    named = f"{reference.get('namespace') or namespace}/{reference.get('name')}"
    section, port = reference.get("sectionName"), reference.get("port")
    return named + (f"/{section}" if section else "") + (f":{port}" if port else "")


def objects(documents: Sequence[Document]) -> list[Object]:
    """Every manifest that has a kind and a name; items of a List too are not looked into."""
    found = []
    for document in documents:
        data = document.data
        if not isinstance(data, Mapping) or not isinstance(data.get("metadata"), Mapping):
            continue
        version, kind = str(data.get("apiVersion", "")), str(data.get("kind", ""))
        group = version.partition("/")[0] if "/" in version else CORE
        metadata = data["metadata"]
        name = Name(group, kind, str(metadata.get("namespace") or "default"), str(metadata.get("name") or ""))
        found.append(Object(name=name, document=document))
    return found
