"""
Our cookies in a Cookie header, as the guard finds them: a name stands at the start or after `;` and blanks, and ends at
its `=`. Nothing else is trimmed, quoted or decoded: another reader's trimming is not ours.

Source: RFC 6265, 5.4; `cut` in `envoy/lua/gate.lua`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_LOGIN: Final = re.compile(r"(?:__Host-)?wardgate-login")
"""Cookies of logins on their way begin so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookies:
    """
    `session` is what the session cookie holds, None without one; `several`: it is there twice, and none of them counts.

    `others` are the cookies that the upstream gets, None for none.
    """

    session: str | None = None
    several: bool = False
    others: str | None = None


def read(header: str | None, name: str, *, chunks: bool, hidden: str | None = None) -> Cookies:
    """
    `name` is the session cookie's; `chunks`: its value may go on in `NAME-1`, `NAME-2`, ... No application sees cookies
    whose names begin with `hidden` either.
    """
    pairs = [part.lstrip(" \t") for part in (header or "").split(";")]
    values = [_value(pair) for pair in pairs if _name(pair) == name]
    pieces = [(_number(pair, name), _value(pair)) for pair in pairs if chunks and _number(pair, name)]
    others = [pair for pair in pairs if pair and not _is_ours(pair, name) and not _is_hidden(pair, hidden)]
    numbers = [number for number, _ in pieces]
    return Cookies(
        session=values[-1] + "".join(_in_a_row(dict(pieces))) if values else None,
        several=len(values) > 1 or len(set(numbers)) < len(numbers),
        others="; ".join(others) or None,
    )


def _is_hidden(pair: str, begin: str | None) -> bool:
    return begin is not None and (_name(pair) or "").removeprefix("__Host-").startswith(begin)


def _in_a_row(pieces: dict[int | None, str]) -> list[str]:
    """Up to the first that is missing."""
    return [pieces[n] for n in range(1, 10) if all(k in pieces for k in range(1, n + 1))]


def _name(pair: str) -> str | None:
    return pair.partition("=")[0] if "=" in pair else None


def _value(pair: str) -> str:
    return pair.partition("=")[2].rstrip(" \t")


def _number(pair: str, name: str) -> int | None:
    found = re.fullmatch(re.escape(name) + r"-([1-9])", _name(pair) or "")
    return int(found[1]) if found else None


def _is_ours(pair: str, name: str) -> bool:
    own = _name(pair)
    return own is not None and (own == name or bool(_LOGIN.match(own)) or _is_piece(own, name))


def _is_piece(own: str, name: str) -> bool:
    return re.fullmatch(re.escape(name) + r"-[0-9]", own) is not None
