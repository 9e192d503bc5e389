"""
The problem codes that the source can raise, found in its text.

A code is whatever is given to a parameter, or a field, called `code`: as a literal, as one of two literals, or by a
local name that literals are assigned to. What only passes a code on (`error.code`, a parameter called `code`, a
pattern that captured it) raises none. What is neither is listed as unclear: then this file has something to learn.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.parts import PROJECT

SOURCE = PROJECT / "src" / "wardgate"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class Literals:
    """Code -> the places that raise it; and the places where no literal was found."""

    codes: dict[str, list[str]] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)


@cache
def literals(folder: Path = SOURCE) -> Literals:
    """All of a folder's Python files."""
    files = {path: ast.parse(path.read_text("utf-8")) for path in sorted(folder.rglob("*.py"))}
    takers = {path: _takers(tree) for path, tree in files.items()}
    everywhere = {
        key: taker for own in takers.values() for key, taker in own.items() if not key[0].startswith("_")
    }
    found = Literals()
    for path, tree in files.items():
        hidden = _names(tree)
        known = {key: taker for key, taker in everywhere.items() if key[0] not in hidden} | takers[path]
        for scope, call in _calls(tree):
            value = _given(call, known)
            if value is not None:
                _take(value, scope, f"{path.relative_to(folder)}:{call.lineno}", found)
        for line, code in _class_codes(tree):
            found.codes.setdefault(code, []).append(f"{path.relative_to(folder)}:{line}")
    return found


@dataclass(frozen=True, slots=True)
class Taker:
    """A function with a parameter `code`: its place among a call's positional arguments, and whether it is a method."""

    position: int
    method: bool


Known = Mapping[tuple[str, bool], Taker]
"""By name and whether it is a method: one of them does not hide the other."""


def _takers(tree: ast.Module) -> dict[tuple[str, bool], Taker]:
    """Those of one file; a class that is built with a code goes by its own name."""
    found: dict[tuple[str, bool], Taker] = {}
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function) and "code" in (names := [arg.arg for arg in child.args.args]):
                method = names[0] == "self"
                built = isinstance(node, ast.ClassDef) and child.name == "__init__"
                name = node.name if built else child.name  # type: ignore[attr-defined]
                found[name, method and not built] = Taker(names.index("code") - method, method and not built)
        if isinstance(node, ast.ClassDef) and "code" in (fields := _fields(node)):
            found[node.name, False] = Taker(fields.index("code"), False)
    return found


def _fields(node: ast.ClassDef) -> list[str]:
    """The fields of a dataclass."""
    lines = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
    return [target.id for target in lines if isinstance(target, ast.Name)]


def _names(tree: ast.Module) -> set[str]:
    """What the file itself calls functions, inner ones and parameters too: these hide others' of the same name."""
    functions = {node.name for node in ast.walk(tree) if isinstance(node, Function)}
    return functions | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def _calls(tree: ast.Module) -> Iterator[tuple[Function | None, ast.Call]]:
    """Every call with the innermost function around it."""

    def walk(node: ast.AST, scope: Function | None) -> Iterator[tuple[Function | None, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield scope, child
            yield from walk(child, child if isinstance(child, Function) else scope)

    yield from walk(tree, None)


def _given(call: ast.Call, known: Known) -> ast.expr | None:
    """What a call gives as `code`."""
    for keyword in call.keywords:
        if keyword.arg == "code":
            return keyword.value
    as_method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    taker = (known.get((name, True)) if as_method else None) or known.get((name, False))
    if taker is None or len(call.args) <= taker.position:
        return None
    return call.args[taker.position]


def _take(value: ast.expr, scope: Function | None, place: str, found: Literals) -> None:
    match value:
        case ast.Constant(value=str(code)):
            found.codes.setdefault(code, []).append(place)
        case ast.IfExp():
            _take(value.body, scope, place, found)
            _take(value.orelse, scope, place, found)
        case ast.Attribute(attr="code"):
            pass  # another's
        case ast.Name(id=name):
            _take_name(name, scope, place, found)
        case _:
            found.unclear.append(place)


def _take_name(name: str, scope: Function | None, place: str, found: Literals) -> None:
    if scope is None:
        found.unclear.append(place)
        return
    values = list(_assigned(name, scope))
    captured = any(isinstance(node, ast.MatchAs) and node.name == name for node in ast.walk(scope))
    passed_on = name in [arg.arg for arg in (*scope.args.args, *scope.args.kwonlyargs)]
    for value in values:
        _take(value, scope, place, found)
    if not (values or captured or passed_on):
        found.unclear.append(place)


def _assigned(name: str, scope: Function) -> Iterator[ast.expr]:
    """What a local name is set to, alone or beside others."""
    for node in ast.walk(scope):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and target.id == name:
                yield node.value
            elif isinstance(target, ast.Tuple):
                places = [one.id if isinstance(one, ast.Name) else "" for one in target.elts]
                if name in places:
                    yield from _at(places.index(name), node.value)


def _at(place: int, value: ast.expr) -> Iterator[ast.expr]:
    """The part of a tuple, or of either of two tuples."""
    match value:
        case ast.Tuple(elts=parts):
            yield parts[place]
        case ast.IfExp():
            yield from _at(place, value.body)
            yield from _at(place, value.orelse)


def _class_codes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """`code = "…"` in the body of a class: an error that carries its code."""
    for node in ast.walk(tree):
        for line in node.body if isinstance(node, ast.ClassDef) else ():
            match line:
                case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                    yield line.lineno, code
