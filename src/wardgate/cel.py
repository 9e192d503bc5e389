"""
CEL expressions as conditions: what a policy of another product asks in CEL, Envoy is asked in its own words.

CEL has three answers, true, false and error (a claim that is not there), and products take an error for false. So each
expression becomes two conditions, when it is true and when it is false; where neither holds it is an error, and `!`, `&&`
and `||` mean what they mean in CEL. What cannot be translated is refused: nothing is evaluated per request.

    jwt.sub == "a"      "admin" in jwt.realm_access.roles      jwt.email.endsWith("@a.test")      has(jwt.azp)
    request.method in ["GET", "HEAD"]      request.path.startsWith("/a")      request.headers["x-team"] == "red"
    source.address == "10.0.0.1"      cidr("10.0.0.0/8").containsIP(source.address)

Source: the CEL language definition (github.com/google/cel-spec), Logical Operators; names of variables: agentgateway.
"""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from wardgate.patterns import NoPattern, escape, require, searched
from wardgate.policy import (
    AllOf,
    AnyOf,
    ClaimIs,
    ClaimMatches,
    ClaimPresent,
    ClientIn,
    Condition,
    How,
    Not,
    Part,
    RequestText,
)
from wardgate.problems import ConfigError

if TYPE_CHECKING:
    from lark import Tree

MOST: Final = 4096
"""Characters of one expression."""


class Untranslatable(Exception):
    """What cannot be asked of Envoy, or is no CEL; the message is for people."""


Answer = bool | Condition
"""A condition, or what it always is."""


class Names(StrEnum):
    """Whose variables an expression has: `request.path` is the path without its query in one, and with it in the other."""

    AGENTGATEWAY = "jwt, request (method, path, headers) and source.address"
    ENVOY = "request (method, url_path, headers)"


@lru_cache(1000)
def condition(text: str, names: Names) -> Answer:
    """When the expression is true. Raises Untranslatable. Remembered: a cluster's policies are all read at every change."""
    try:
        return _truth(_Reading(names).value(parsed(text))).yes
    except RecursionError as error:
        raise Untranslatable("is nested too deeply") from error
    except NoPattern as error:
        raise Untranslatable(f"holds no pattern: {error}") from error
    except ConfigError as error:  # of the conditions
        raise Untranslatable(f"{error.problems[0].message}, got {error.problems[0].got}") from error


def text_or_claim(text: str, names: Names) -> str | tuple[str, ...]:
    """What a value is: a text as it stands, or the claim at a path. Raises Untranslatable for any other."""
    match _Reading(names).value(parsed(text)):
        case str(found):
            return found
        case _Claim(path):
            return path
        case _:
            raise Untranslatable("is neither a text nor a claim")


def syntax_error(text: str) -> str:
    """Why it is no CEL; empty for what is."""
    try:
        parsed(text)
    except Untranslatable as error:
        return str(error)
    return ""


@cache
def _parser() -> Any:
    from celpy.celparser import CELParser  # a quarter of a second, for those who write CEL

    return CELParser()


def parsed(text: str) -> Tree[Any]:
    """The expression as celpy has it. Raises Untranslatable for what is none, and for more than is read."""
    from celpy.celparser import CELParseError

    if len(text) > MOST:
        raise Untranslatable(f"has more than {MOST} characters")
    try:
        found: Tree[Any] = _parser().parse(text)
    except CELParseError as error:
        raise Untranslatable("is no CEL expression") from error
    except RecursionError as error:
        raise Untranslatable("is nested too deeply") from error
    return found


# --- Values that are known when the policy is read


@dataclass(frozen=True, slots=True)
class _Truth:
    """`yes`: when it is true; `no`: when it is false."""

    yes: Answer
    no: Answer

    @property
    def denied(self) -> _Truth:
        return _Truth(self.no, self.yes)


@dataclass(frozen=True, slots=True)
class _Root:
    """`jwt`, `request`, `source`, and what has no meaning until a field of it is named."""

    name: str


@dataclass(frozen=True, slots=True)
class _Claim:
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    """Any item of the list at a claim."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _OfItems:
    """When one of them is such."""

    when: Answer


@dataclass(frozen=True, slots=True)
class _Text:
    """A part of the request."""

    part: Part
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Address:
    """The client's."""


@dataclass(frozen=True, slots=True)
class _Network:
    text: str


Literal = str | int | bool | None
_Value = _Truth | _Root | _Claim | _Item | _OfItems | _Text | _Address | _Network | Literal | list[Any]


class _Reading:
    def __init__(self, names: Names, items: Mapping[str, _Item] | None = None) -> None:
        self._names = names
        self._items = items or {}

    def value(self, tree: Tree[Any]) -> _Value:
        children = tree.children
        match tree.data:
            case "expr" if len(children) > 1:
                asked, one, other = map(self._operand, children)
                yes = _or(_and(asked.yes, one.yes), _and(asked.no, other.yes))
                return _Truth(yes, _or(_and(asked.yes, one.no), _and(asked.no, other.no)))
            case "conditionalor" if len(children) == 2 and self._items:
                return _OfItems(any_of([_of_items(self.value(each)) for each in children]))
            case "conditionalor" if len(children) == 2:
                one, other = map(self._operand, children)
                return _Truth(_or(one.yes, other.yes), _and(one.no, other.no))
            case "conditionaland" if len(children) == 2:
                one, other = map(self._operand, children)
                return _Truth(_and(one.yes, other.yes), _or(one.no, other.no))
            case "relation" if len(children) == 2:
                compared: Any = children[0]
                return _relation(compared.data, self.value(compared.children[0]), self.value(children[1]))
            case "unary" if len(children) == 2:
                if children[0].data != "unary_not":
                    raise Untranslatable("a minus is not translated")
                return self._operand(children[1]).denied
            case "addition" | "multiplication" if len(children) == 2:
                raise Untranslatable("arithmetic is not translated")
            case "member_dot":
                return self._field(self.value(children[0]), str(children[1]))
            case "member_index":
                return self._index(self.value(children[0]), self.value(children[1]))
            case "member_dot_arg" if str(children[1]) == "exists":
                return self._exists(self.value(children[0]), children[2].children)
            case "member_dot_arg":
                arguments = [self.value(each) for each in children[2].children] if len(children) > 2 else []
                return _method(self.value(children[0]), str(children[1]), arguments)
            case "ident":
                return self._root(str(children[0]))
            case "ident_arg":
                arguments = [self.value(each) for each in children[1].children] if len(children) > 1 else []
                return _call(str(children[0]), arguments)
            case "literal":
                token: Any = children[0]
                return _literal(token.type, str(token))
            case "list_lit":
                return [self.value(each) for each in children[0].children] if children else []
            case _ if len(children) == 1 and hasattr(children[0], "data"):
                return self.value(children[0])
            case kind:
                raise Untranslatable(f"{kind} is not translated")

    def _exists(self, of: _Value, arguments: Sequence[Tree[Any]]) -> _Truth:
        """Of a list that is a claim: whether one of its items is such, or such, or such (not: such and such, nor: not such)."""
        name = _name(arguments[0]) if len(arguments) == 2 else None
        if not isinstance(of, _Claim) or name is None:
            raise Untranslatable("exists() is translated for claims: jwt.a.exists(x, x == 'b')")
        reading = _Reading(self._names, {**self._items, name: _Item(of.path)})
        return _of_claim(of.path, _of_items(reading.value(arguments[1])))

    def _operand(self, tree: Tree[Any]) -> _Truth:
        return _truth(self.value(tree))

    def _root(self, name: str) -> _Value:
        if (item := self._items.get(name)) is not None:
            return item
        known = ("request",) if self._names is Names.ENVOY else ("jwt", "request", "source")
        if name not in known:
            raise Untranslatable(f"{name} is not known here: {self._names} are")
        return _Root(name)

    def _field(self, of: _Value, name: str) -> _Value:
        match of, name:
            case _Root("jwt"), _:
                return _Claim((name,))
            case _Claim(path), _:
                return _Claim((*path, name))
            case _Root("request"), "method":
                return _Text(Part.METHOD)
            case _Root("request"), "path" if self._names is Names.AGENTGATEWAY:
                return _Text(Part.PATH)
            case _Root("request"), "url_path" if self._names is Names.ENVOY:
                return _Text(Part.PATH)
            case _Root("request"), "headers":
                return _Root("headers")
            case _Root("source"), "address":
                return _Address()
            case _Root("headers"), _:
                return _Text(Part.HEADER, name.lower())
            case _:
                raise Untranslatable(f".{name} is not translated: {self._names} are")

    def _index(self, of: _Value, key: _Value) -> _Value:
        if not isinstance(key, str):
            raise Untranslatable("an index that is no text is not translated")
        if isinstance(of, _Root) and of.name not in ("jwt", "headers"):
            raise Untranslatable(f"[{key!r}] of {of.name} is not translated")
        return self._field(of, key)


def _name(tree: Tree[Any]) -> str | None:
    """Of an expression that is a name alone."""
    found: Any = tree
    while hasattr(found, "data") and len(found.children) == 1:
        found = found.children[0]
    return str(found) if getattr(found, "type", "") == "IDENT" else None


def _of_items(found: _Value) -> Answer:
    match found:
        case _OfItems(when):
            return when
        case _:
            raise Untranslatable(
                "in exists() an item is compared with texts, numbers and booleans, joined by ||"
            )


def _truth(found: _Value) -> _Truth:
    """As a condition by itself."""
    match found:
        case _Truth():
            return found
        case bool():
            return _always(found)
        case _Claim(path):
            return _Truth(ClaimIs(path, True), ClaimIs(path, False))
        case _:
            raise Untranslatable("compares nothing: what is true of it?")


def _literal(kind: str, text: str) -> Literal:
    match kind:
        case "BOOL_LIT":
            return text == "true"
        case "INT_LIT":
            return int(text, 0)
        case "NULL_LIT":
            return None
        case "STRING_LIT" | "MLSTRING_LIT" if text[0] in "rR" or not re.search(_NOT_PYTHON, text):
            found: str = ast.literal_eval(text)
            return found
        case _:
            raise Untranslatable(f"{text} is not translated")


_NOT_PYTHON: Final = r"""(?<!\\)(?:\\\\)*\\[^abfnrtv\\'"0-7xuU]"""
"""An escape that is none in Python, or another one."""


# --- What is asked of it


def _call(name: str, arguments: Sequence[_Value]) -> _Value:
    match name, arguments:
        case "has", [_Claim(path)]:
            return _always(ClaimPresent(path))
        case "has", [_Text(Part.HEADER) as header]:
            return _always(_there(header))
        case "cidr", [str(text)]:
            return _Network(_network(text))
        case _:
            raise Untranslatable(f"{name}() is not translated")


def _within_path(pattern: str) -> str:
    """A pattern for a whole path in which `pattern` is found: its ends are written, as a path's may be followed by a query."""
    require(pattern)
    if "|" in pattern or "\\" in pattern[-2:-1]:
        return searched(pattern)
    begin, end = pattern.startswith("^"), pattern.endswith("$")
    inside = pattern[begin : len(pattern) - end]
    return ("" if begin else "(?s:.*)") + f"(?:{inside})" + ("" if end else "(?s:.*)")


def _method(of: _Value, name: str, arguments: Sequence[_Value]) -> _Truth | _OfItems:
    match of, name, arguments:
        case _Network(text), "containsIP", [_Address()]:
            return _always(ClientIn((text,)))
        case _Item(path), _, [str(text)] if name in _PATTERNS:
            return _OfItems(ClaimMatches(path, _PATTERNS[name](text)))
        case _Claim(path), _, [str(text)] if name in _PATTERNS:
            return _of_claim(path, ClaimMatches(path, _PATTERNS[name](text)))
        case _Text() as part, "matches", [str(text)] if part.part is Part.PATH:
            return _of_text(part, RequestText(part.part, How.MATCHES, _within_path(text)))
        case _Text() as part, "matches", [str(text)]:
            return _of_text(part, RequestText(part.part, How.MATCHES, searched(text), part.name))
        case _Text() as part, _, [str(text)] if name in _HOWS:
            if not text:
                return _Truth(_there(part), False)
            return _of_text(part, RequestText(part.part, _HOWS[name], text, part.name))
        case _:
            raise Untranslatable(f".{name}() is not translated here")


_HOWS: Final = {"startsWith": How.PREFIX, "endsWith": How.SUFFIX, "contains": How.CONTAINS}


_PATTERNS: Final[dict[str, Callable[[str], str]]] = {
    "startsWith": lambda text: f"{escape(text)}(?s:.*)",
    "endsWith": lambda text: f"(?s:.*){escape(text)}",
    "contains": lambda text: f"(?s:.*){escape(text)}(?s:.*)",
    "matches": searched,
}


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise Untranslatable(f"{text!r} is no range of addresses") from error


# --- Comparisons


def _relation(kind: str, left: _Value, right: _Value) -> _Truth | _OfItems:
    match kind:
        case "relation_ne" if isinstance(left, _Item) or isinstance(right, _Item):
            raise Untranslatable("in exists() != is not translated")
        case "relation_eq":
            return _equal(left, right)
        case "relation_ne":
            found = _equal(left, right)
            assert isinstance(found, _Truth)
            return found.denied
        case "relation_in":
            return _in(left, right)
        case _:
            raise Untranslatable("an order (<, <=, >, >=) is not translated")


def _equal(left: _Value, right: _Value) -> _Truth | _OfItems:
    match left, right:
        case ((str() | bool() | int() | None), (str() | bool() | int() | None)):
            same = type(left) is type(right) and left == right
            return _always(same)
        case ((str() | bool() | int()), _):
            return _one_of(right, [left])
        case _, (str() | bool() | int()):
            return _one_of(left, [right])
        case _:
            raise Untranslatable(
                "compares what is not told apart here: one side has to be a text, a number or a boolean"
            )


def _in(left: _Value, right: _Value) -> _Truth | _OfItems:
    match left, right:
        case ((str() | bool() | int()), _Claim()):
            return _one_of(right, [left])
        case str(), _Root("headers"):
            return _truth(_call("has", [_Text(Part.HEADER, left.lower())]))
        case _, list():
            return _one_of(left, right)
        case _:
            raise Untranslatable("`in` is translated for lists of literals, claims and request.headers")


def _one_of(subject: _Value, values: Sequence[_Value]) -> _Truth | _OfItems:
    literals = [each for each in values if isinstance(each, str | bool | int)]
    if len(literals) != len(values):
        raise Untranslatable("is not a list of texts, numbers and booleans")
    match subject:
        case _Claim(path):
            return _of_claim(path, any_of([ClaimIs(path, each) for each in literals]))
        case _Item(path):
            return _OfItems(any_of([ClaimIs(path, each) for each in literals]))
        case _Text() as part:
            texts = [each for each in literals if isinstance(each, str)]
            return _of_text(
                part, any_of([RequestText(part.part, How.EXACT, each, part.name) for each in texts])
            )
        case _Address():
            addresses = [_address(each) for each in literals if isinstance(each, str)]
            return _always(ClientIn(tuple(addresses)) if addresses else False)
        case _:
            raise Untranslatable("compares what has no value here")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise Untranslatable(f"{text!r} is no address") from error


def _of_claim(path: tuple[str, ...], when: Answer) -> _Truth:
    """False only where the claim is there."""
    return _Truth(when, _and(ClaimPresent(path), negated(when)))


def _of_text(part: _Text, when: Answer) -> _Truth:
    return _Truth(when, _and(_there(part), negated(when)))


def _there(part: _Text) -> Answer:
    """A request has a method and a path, and may have the header."""
    return RequestText(part.part, How.MATCHES, "(?s:.*)", part.name) if part.part is Part.HEADER else True


def _always(when: Answer) -> _Truth:
    """Of what is never an error."""
    return _Truth(when, negated(when))


def _and(one: Answer, other: Answer) -> Answer:
    if isinstance(one, bool):
        return other if one else False
    if isinstance(other, bool):
        return one if other else False
    parts = [each.conditions if isinstance(each, AllOf) else (each,) for each in (one, other)]
    return AllOf((*parts[0], *parts[1]))


def _or(one: Answer, other: Answer) -> Answer:
    if isinstance(one, bool):
        return True if one else other
    if isinstance(other, bool):
        return True if other else one
    parts = [each.conditions if isinstance(each, AnyOf) else (each,) for each in (one, other)]
    return AnyOf((*parts[0], *parts[1]))


def all_of(answers: Sequence[Answer]) -> Answer:
    found: Answer = True
    for each in answers:
        found = _and(found, each)
    return found


def any_of(answers: Sequence[Answer]) -> Answer:
    found: Answer = False
    for each in answers:
        found = _or(found, each)
    return found


def negated(answer: Answer) -> Answer:
    """Not true: false, or an error."""
    return not answer if isinstance(answer, bool) else Not(answer)
