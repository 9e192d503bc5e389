"""
`match-claims` as conditions: a regular expression that gatekeeper searches in a claim's text.

The policy's `ClaimMatches` compares the whole text by RE2, as Envoy does, and Python must give the same answer
(`decision`): a pattern is taken only where Go, RE2 and Python agree on what it means, and refused otherwise.

Source: gogatekeeper 4.11.0, pkg/proxy/middleware/security.go and pkg/utils CheckClaim; the RE2 syntax page.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Final

from wardgate.dialects._gatekeeper_settings import Findings, Settings
from wardgate.policy import ClaimMatches, Condition, Not

_NOT_SHARED: Final = re.compile(
    r"""
      \(\?(?!:|[ims]+:|P<)     # look-around, atomic groups, conditions, comments, flags in the middle
    | \\[0-9pPQEzZCKRGXNuU]    # back references, and escapes that one of the three does not have
    | \\x\{
    | \[[^\]]*\[               # classes by name, and what Python may read as a set of sets
    | [*+?}][*+]               # possessive
    """,
    re.VERBOSE,
)
_FLAGS: Final = re.compile(r"\(\?([ims]+)\)")
_REPEATS: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_MOST_REPEATS: Final = 1000
"""RE2's own maximum."""

_PIECES: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
"""An escape, a class, or one character."""

_ANY: Final = "(?s:.*)"


def claim_conditions(settings: Settings, findings: Findings) -> tuple[Condition, ...]:
    """A condition for each entry; what cannot be expressed is refused, since leaving it out would let others in."""
    conditions: list[Condition] = []
    for claim, text in settings.pairs("match-claims"):
        negated = text.startswith("!")
        pattern = whole(text[1:] if negated else text)
        if pattern is None or not claim:
            hint = "use what RE2 has: no look-around, no back references, no named classes; or a role, or a group"
            message = "is no regular expression that can be enforced"
            where = settings.where("match-claims", claim)
            findings.refuse("claim-pattern", message, where, text, hint)
            continue
        match = ClaimMatches((claim,), pattern)
        conditions.append(Not(match) if negated else match)
    return tuple(conditions)


def whole(pattern: str) -> str | None:
    """A pattern that matches a whole text when `pattern` is found in it; None when it cannot be told."""
    flags = _FLAGS.match(pattern)
    body = pattern[flags.end() :] if flags else pattern
    if not _is_shared(body) or not _compiles(body):
        return None
    lines = flags is not None and "m" in flags[1]
    branches = [_whole_branch(branch, lines) for branch in _branches(body)]
    found = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    found = f"(?{flags[1]}:{found})" if flags else found
    return found if _compiles(found) else None


def _whole_branch(branch: list[str], lines: bool) -> str:
    """One alternative; its own ^ and $ become the borders, unless the m flag makes them those of lines."""
    from_start = not lines and branch[:1] == ["^"]
    to_end = not lines and branch[-1:] == ["$"] and len(branch) > from_start
    inner = "".join(branch[1 if from_start else 0 : len(branch) - 1 if to_end else len(branch)])
    if not inner and not from_start and not to_end:
        return _ANY
    return ("" if from_start else _ANY) + inner + ("" if to_end else _ANY)


def _branches(body: str) -> Iterator[list[str]]:
    """The alternatives at the top level, each as its pieces."""
    depth, branch = 0, list[str]()
    for piece in _PIECES.findall(body):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "|" and depth == 0:
            yield branch
            branch = []
        else:
            branch.append(piece)
    yield branch


def _is_shared(body: str) -> bool:
    plain = body.replace("\\\\", "")
    if _NOT_SHARED.search(plain):
        return False
    counts = [int(count) for pair in _REPEATS.findall(plain) for count in pair if count]
    return all(count <= _MOST_REPEATS for count in counts)


def _compiles(pattern: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            re.compile(pattern)
        except (re.error, Warning, OverflowError, RecursionError):
            return False
    return True
