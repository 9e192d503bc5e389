"""
Regular expressions as Envoy takes them, by RE2 itself: what is accepted here Envoy accepts, and what matches here matches there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

MOST_STEPS: Final = 100_000
"""The size of a compiled program that Envoy is told to accept (`re2.max_program_size.error_level`)."""


class NoPattern(ValueError):
    """What RE2 says about it."""


def escape(text: str) -> str:
    """A pattern for this text alone. RE2 takes no backslash before what is not ASCII."""
    return re.sub(r"([^0-9A-Za-z_/\x80-\U0010ffff-])", r"\\\1", text)


def searched(pattern: str) -> str:
    """A pattern that matches a whole text when `pattern` is found in it. Raises NoPattern."""
    require(
        pattern
    )  # by itself: what closes a group that it did not open means something else in another pattern
    return f"(?s:.*)(?:{pattern})(?s:.*)"


def require(pattern: str) -> None:
    """Raises NoPattern."""
    if _compiled(pattern).programsize > MOST_STEPS:
        raise NoPattern("it is too large")


def matches(pattern: str, text: str) -> bool:
    """Whether it matches the whole text. A pattern that cannot be read matches nothing, and half a character is none."""
    try:
        return _compiled(pattern).fullmatch(text) is not None
    except (NoPattern, UnicodeEncodeError):
        return False


@lru_cache(1000)
def _compiled(pattern: str) -> Any:
    import re2  # type: ignore[import-untyped]  # a sixtieth of a second, for those who write patterns

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        raise NoPattern(said.decode() if isinstance(said, bytes) else str(said)) from error
    except UnicodeEncodeError as error:
        raise NoPattern("it is no text") from error


@lru_cache(1000)
def without(pattern: str, mark: str) -> str:
    """
    A pattern for the same texts but those with a `mark` in them (one ASCII character), which may be followed by a `mark` and what
    comes after it: so a pattern for a path is asked of a path with its query. Raises NoPattern, also where it cannot be told.
    """
    require(pattern)
    found = _Without(pattern, mark).whole()
    require(found)
    return found


_SHORTER: Final = {"D": "\\d", "W": "\\w", "S": "\\s"}
_KINDS: Final = frozenset({"alpha", "digit", "alnum", "upper", "lower", "space", "blank", "word", "xdigit"})
"""Named classes of letters, digits and blanks: no mark is in them."""


class _Without:
    """RE2's syntax, read from left to right; what may match a mark no longer does."""

    def __init__(self, pattern: str, mark: str) -> None:
        self.text, self.mark, self.at = pattern, mark, 0

    def whole(self) -> str:
        found, depth = [], 0
        while self.at < len(self.text):
            rest = self.text[self.at :]
            if rest[0] == "(":
                opened = re.match(r"\((?:\?(?:P?<\w+>|[is]*:|[is]+\)))?", rest)
                assert opened is not None
                if rest.startswith("(?") and opened[0] == "(":
                    raise NoPattern(f"what begins with {rest[:3]} is not understood here")
                depth += not opened[0].endswith(")")
                found.append(self._take(len(opened[0])))
            elif rest[0] == "$":
                if depth or not (rest == "$" or rest.startswith("$|")):
                    raise NoPattern("a $ that is not at the end")
                self.at += 1  # the whole text is matched anyway
            elif rest[0] == ".":
                found.append(f"[^{self._escaped(self.mark)}]")
                self.at += 1
            elif rest[0] == "[":
                found.append(self._class())
            elif rest[0] == "\\":
                found.append(self._escape(self._take(2)[1:]))
            else:
                depth -= rest[0] == ")"
                if rest[0] == self.mark and self.mark != "?":  # `?` by itself counts what is before it
                    raise NoPattern(f"it asks for a {self.mark}, which ends what is compared")
                found.append(self._take(1))
        return "".join(found)

    def _take(self, count: int) -> str:
        found = self.text[self.at : self.at + count]
        self.at += count
        return found

    def _escape(self, letter: str) -> str:
        if letter in _SHORTER:
            return f"[^{_SHORTER[letter]}{self._escaped(self.mark)}]"
        if letter == self.mark:
            raise NoPattern(f"it asks for a {self.mark}, which ends what is compared")
        if letter not in "dwsbBAaftnrv" and (letter.isalnum() or not letter.isascii()):
            raise NoPattern(f"\\{letter} is not understood here")
        return "\\" + letter

    def _class(self) -> str:
        self.at += 1
        negated = self.text.startswith("^", self.at)
        self.at += negated
        parts: list[str] = []
        while not parts or not self.text.startswith("]", self.at):
            parts.append(self._part(negated))
        self.at += 1
        return (
            "["
            + ("^" if negated else "")
            + "".join(parts)
            + (self._escaped(self.mark) if negated else "")
            + "]"
        )

    def _part(self, negated: bool) -> str:
        """A named class, a class by a letter, one character, or a range of them."""
        if named := re.match(r"\[:(\^?)(\w+):\]", self.text[self.at :]):
            if not negated and (named[1] or named[2] not in _KINDS):
                raise NoPattern(f"{named[0]} is not understood here")
            return self._take(len(named[0]))
        if letter := re.match(r"\\[dwsDWS]", self.text[self.at :]):
            if not negated and letter[0][1] in _SHORTER:
                raise NoPattern(f"{letter[0]} in a class is not understood here")
            return self._take(2)
        first = last = self._character()
        if self.text.startswith("-", self.at) and not self.text.startswith("-]", self.at):
            self.at += 1
            last = self._character()
        return "".join(self._ranges(first, last, negated))

    def _character(self) -> str:
        one = self._take(1)
        if one != "\\":
            return one
        one = self._take(1)
        if one.isalnum():
            raise NoPattern(f"\\{one} in a class is not understood here")
        return one

    def _ranges(self, first: str, last: str, negated: bool) -> list[str]:
        if negated or not first <= self.mark <= last:
            return [self._range(first, last)]
        below, above = chr(ord(self.mark) - 1), chr(ord(self.mark) + 1)
        found = [self._range(first, below)] if first <= below else []
        found += [self._range(above, last)] if above <= last else []
        if not found:
            raise NoPattern(f"it asks for a {self.mark}, which ends what is compared")
        return found

    def _range(self, first: str, last: str) -> str:
        return self._escaped(first) + (f"-{self._escaped(last)}" if first != last else "")

    @staticmethod
    def _escaped(one: str) -> str:
        return "\\" + one if one in "]^-\\[?&" else one
