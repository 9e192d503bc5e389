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
