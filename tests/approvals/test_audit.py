"""The chain of the record holds, and shows what was done to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wardgate.approvals.audit import FIRST, Broken, Entry, entry, verified


def chain(length: int) -> list[Entry]:
    found: list[Entry] = []
    for seq in range(1, length + 1):
        previous = found[-1].hash if found else FIRST
        found.append(
            entry(seq, previous, at=1.5 * seq, request=f"r{seq}", event="filed", body={"n": seq, "a": "é"})
        )
    return found


def test_a_whole_chain() -> None:
    whole = chain(5)
    assert verified(whole) == (5, whole[-1].hash)
    assert verified(whole[2:], 2, whole[1].hash) == (5, whole[-1].hash)
    assert verified([]) == (0, FIRST)


@pytest.mark.parametrize("field", ["at", "request", "event", "body", "previous", "hash"])
def test_a_changed_entry(field: str) -> None:
    whole = chain(5)
    value: object = 99.0 if field == "at" else "0" * 64 if field in ("previous", "hash") else "x"
    whole[2] = replace(whole[2], **{field: value})  # type: ignore[arg-type]
    with pytest.raises(Broken, match=r"entry 3|entry 4"):
        verified(whole)


def test_an_entry_that_is_gone_or_moved() -> None:
    whole = chain(5)
    with pytest.raises(Broken, match="entry 3 is missing"):
        verified([*whole[:2], *whole[3:]])
    with pytest.raises(Broken, match="entry 2 is missing"):
        verified([whole[0], whole[2], whole[1]])
    with pytest.raises(Broken, match="entry 3 does not follow"):
        verified([*whole[:2], entry(3, FIRST, at=1, request="x", event="y", body={})])


def test_who_writes_one_anew_has_to_write_the_rest() -> None:
    whole = chain(5)
    whole[2] = entry(3, whole[1].hash, at=1, request="x", event="approved", body={})
    with pytest.raises(Broken, match="entry 4 does not follow"):
        verified(whole)
