"""
JSON that every reader reads the same way (RFC 8725 2.4, RFC 8259).

Not a schema: only the grammar. Duplicate keys, NaN and Infinity, numbers that overflow, text that is not UTF-8,
a byte order mark and lone surrogates are all refused, because two parsers would disagree about them.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


class NotStrictJson(ValueError):
    """The text is not JSON, or is JSON that two readers could read differently; says why."""


def parse(text: bytes | str) -> Any:
    """The one value that `text` holds. Raises NotStrictJson."""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(
            decoded,
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_constant=_constant,
        )
        if (
            isinstance(text, str) or "\\u" in decoded
        ):  # half of a surrogate pair has no UTF-8, so it is escaped there
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except NotStrictJson:
        raise
    except UnicodeDecodeError as error:
        raise NotStrictJson("not UTF-8 text") from error
    except UnicodeEncodeError as error:
        raise NotStrictJson("holds half of a surrogate pair") from error
    except json.JSONDecodeError as error:
        raise NotStrictJson(f"not JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise NotStrictJson("nested too deeply") from error
    except ValueError as error:  # Python refuses integers of more than 4 300 digits
        raise NotStrictJson("holds a number that is too long") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise NotStrictJson("has a key twice")
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrictJson("holds a number that is too large")
    return number


def _constant(text: str) -> NoReturn:
    raise NotStrictJson(f"holds {text}, which is not JSON")
