"""
Who is calling, once that has been found out: nobody, someone with a bad credential, or a principal.

Not how it was found out (`authn`, `verify`) and not what they may do (`decision`). Claims are JSON values as
they came in a verified token; this module also says how a claim reads as text, in an identity header.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Final, Literal

from wardgate.policy import Kind, Source


class Missing(Enum):
    """The type of `MISSING`: a claim that is not there, which is not the same as one that is null."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credential was presented."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A credential of this kind was presented and refused; `reason` is a stable code such as `token-expired`."""

    reason: str
    kind: Kind = Kind.BEARER


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """
    A caller whose credential was verified.

    `provider` is the name of the configured source of the token. `token` is the bearer token itself, or a session's
    access token; None where there is none to hand on. `id_claims`, `userinfo` and `id_token` are a session's alone.
    `opaque`: a bearer token that is no JWT, which its issuer was asked about; `active`: what the issuer says, or would
    say, of a bearer token that it is asked about.
    """

    provider: str
    kind: Kind
    claims: Mapping[str, object]
    token: str | None = field(default=None, repr=False)
    id_claims: Mapping[str, object] | None = None
    userinfo: Mapping[str, object] | None = None
    id_token: str | None = field(default=None, repr=False)
    opaque: bool = False
    active: bool = True

    def claim(
        self, path: tuple[str, ...], source: Source = Source.ACCESS
    ) -> object | Literal[Missing.MISSING]:
        """
        The claim at `path`, each element the key of one object (so `/`, `.` and `:` in it mean nothing).

        MISSING when a key is not there, when a value on the way is no object, for the empty path, and when the caller
        has no such source.
        """
        sources = {Source.ACCESS: self.claims, Source.ID: self.id_claims, Source.USERINFO: self.userinfo}
        value: object = sources[source]
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                return MISSING
            value = value[key]
        return value if path else MISSING


Credential = Anonymous | Rejected | Principal


def claim_text(value: object, separator: str = ",") -> str | None:
    """
    A claim as an identity header says it; None where there is nothing to say and so no header.

    Text as it is, numbers in full, `true` and `false`, lists joined by `separator`. What is missing, null, empty or
    an object says nothing, and neither do nulls, lists and objects inside a list. Control characters (CR, LF, NUL,
    ...) are percent-encoded, and so is the separator inside an item of a list.
    """
    if isinstance(value, list | tuple):
        items = (_scalar_text(item) for item in value)
        encoded = (_percent_encode(item, _BREAKING + separator) for item in items if item is not None)
        return separator.join(encoded) or None
    text = _scalar_text(value)
    return _percent_encode(text, _BREAKING) if text else None


_BREAKING: Final = "".join(map(chr, range(32))).replace("\t", "") + "\x7f"
"""What no header value may hold (RFC 9110, 5.5): CR and LF would end the line, NUL the header."""


def _scalar_text(value: object) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
        case _:
            return None


def number_text(value: int | float) -> str:
    """
    A JSON number in full: no exponent, and no fraction where there is none.

    Envoy reads every number of a token as a double, so an integer above 2^53 loses its last digits here too.
    """
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return str(value)
    return str(int(number)) if number.is_integer() else f"{Decimal(repr(number)):f}"


def _percent_encode(text: str, characters: str) -> str:
    if not any(character in text for character in characters):
        return text
    return "".join(
        "".join(f"%{byte:02X}" for byte in character.encode()) if character in characters else character
        for character in text
    )
