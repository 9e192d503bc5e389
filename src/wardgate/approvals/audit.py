"""
The record: what happened, in one order, each entry with a hash over itself and the one before.

Whoever changes, removes or puts in an entry has to write all that come after it anew; `verified` tells. That somebody cut the
end off shows only against a hash that was noted elsewhere: `wardgate aip audit verify` prints the last one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from wardgate.approvals.schema import canonical

FIRST: Final = "0" * 64
"""What stands before the first entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. `body` is JSON in canonical form; `at`: seconds since 1970."""

    seq: int
    at: float
    request: str
    event: str
    body: str
    previous: str
    hash: str


def entry(seq: int, previous: str, *, at: float, request: str, event: str, body: Mapping[str, Any]) -> Entry:
    """The entry that comes after `previous`."""
    text = canonical(body)
    return Entry(
        seq=seq,
        at=at,
        request=request,
        event=event,
        body=text,
        previous=previous,
        hash=_hash(seq, previous, at, request, event, text),
    )


class Broken(Exception):
    """The chain does not hold; the message says where, and how."""


def verified(entries: Iterable[Entry], seq: int = 0, previous: str = FIRST) -> tuple[int, str]:
    """The number and the hash of the last of `entries`, which begin after number `seq`. Raises Broken."""
    for each in entries:
        if each.seq != seq + 1:
            raise Broken(f"entry {seq + 1} is missing: {each.seq} comes after {seq}")
        if each.previous != previous:
            raise Broken(f"entry {each.seq} does not follow the one before it")
        found = _hash(each.seq, each.previous, each.at, each.request, each.event, each.body)
        if each.hash != found:
            raise Broken(f"entry {each.seq} ({each.event} of {each.request}) was changed")
        seq, previous = each.seq, each.hash
    return seq, previous


def _hash(seq: int, previous: str, at: float, request: str, event: str, body: str) -> str:
    text = canonical([seq, previous, repr(at), request, event, body])
    return hashlib.sha256(text.encode()).hexdigest()
