"""`gatekeeper.md`: every key of a gatekeeper file and what becomes of it, from the table that the dialect reads by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from tests.reference.markdown import code, head, page, table
from wardgate.dialects._gatekeeper_keys import (
    ALIASES,
    KEYS,
    RESOURCE_KEYS,
    Key,
    KeyType,
    Say,
    Status,
    Value,
    environment_name,
)

COLUMNS = ("Key", "Takes", "Default", "Here", "Meaning, and what to do")


def text() -> str:
    """The page."""
    current = [key for key in KEYS if not key.until and key.since != "S0"]
    lines = [*_intro(current)]
    lines += ["## Keys", "", *table(COLUMNS, map(_row, current))]
    lines += ["## Fields of a resource", "", *table(COLUMNS, map(_row, RESOURCE_KEYS))]
    lines += ["## Keys of older versions", "", "Each is reported as `key-old`.", ""]
    lines += table(COLUMNS, [_row(key) for key in KEYS if key.until])
    lines += ["## Keys that no gatekeeper has", ""]
    lines += ["They are read, and each of them means that the file is read as `s0`.", ""]
    lines += table(COLUMNS, [_row(key) for key in KEYS if key.since == "S0"])
    lines += ["## Two spellings", "", *table(("Written", "Means"), _aliases())]
    return page([*lines, *_variables()])


def _intro(current: Iterable[Key]) -> list[str]:
    counts = Counter(key.status for key in current)
    figures = ", ".join(f"{counts[status]} {status.value}" for status in Status)
    return head(
        "Gatekeeper keys",
        f"Every key of gogatekeeper 4.11 ({figures}), of older versions back to keycloak-proxy, and what Wardgate "
        "does with it. Defaults are those of 4.11. How to move a file: [From Gatekeeper](../how-to/gatekeeper.md).",
        "**honoured**: does what gatekeeper does. **differs**: has another effect, which stands after “Differs”. "
        "**unsupported**: has no effect. What differs or is unsupported is reported by `wardgate check` as a warning, "
        "as a note where nobody needs to act, and as an error where leaving it out would let someone in. "
        "A key that is not listed here is an error (`key-unknown`).",
        "Durations are Go's (`30s`, `1h30m`). A list or mapping that a later file gives replaces the earlier one.",
    )


def _row(key: Key) -> tuple[str, str, str, str, str]:
    return code(key.name), key.type.value, _default(key), _here(key), " ".join(_meaning(key))


def _here(key: Key) -> str:
    if key.status is Status.HONOURED:
        return "honoured"
    return f"{key.status.value} ({key.say.value})" if key.say is not Say.WARNING else key.status.value


def _meaning(key: Key) -> Iterable[str]:
    yield key.meaning
    if key.until:
        yield f"Versions {key.since} to {key.until}."
    elif key.since not in ("1.0", "S0"):
        yield f"Since {key.since}."
    if key.instead and key.instead != key.name:
        yield f"Today: `{key.instead}`."
    if key.status is Status.DIFFERS:
        yield f"Differs: {key.hint}."
    elif key.hint:
        yield f"What to do: {key.hint}."
    if key.reading is not None:
        yield f"Reported under the {key.reading.value} reading."


def _default(key: Key) -> str:
    return code(_value(key.default))


def _value(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return _duration(value)
        case tuple():
            return ", ".join(str(item) for item in value)
        case 0:
            return "0"
        case _:
            return str(value)


def _duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    if seconds and seconds % 3600 == 0:
        return f"{seconds // 3600}h"
    return f"{seconds}s"


def _aliases() -> list[tuple[str, str]]:
    return [(code(written), code(meant)) for written, meant in ALIASES.items()]


def _variables() -> list[str]:
    odd = [(code(key.name), code(environment_name(key) or "")) for key in KEYS if _is_odd(key)]
    without = " or a ".join(kind.value for kind in (KeyType.TEXTS, KeyType.PAIRS))
    words = (
        "`PROXY_` and the key in capitals, `-` as `_`, sets a key over the files: `PROXY_LISTEN` sets `listen`. "
        f"`--set key=value` wins over both. Keys that take a {without} have no variable. These have another name:"
    )
    return ["## Environment variables", "", words, "", *table(("Key", "Variable"), odd)]


def _is_odd(key: Key) -> bool:
    name = environment_name(key)
    return name is not None and name != "PROXY_" + key.name.upper().replace("-", "_")
