"""
`match-claims` as conditions: a regular expression that gatekeeper searches in a claim's text.

The policy's `ClaimMatches` compares the whole text by RE2, as Envoy does, and Python must give the same answer
(`decision`): a pattern is taken only where Go, RE2 and Python agree on what it means, and refused otherwise.

Source: gogatekeeper 4.11.0, pkg/proxy/middleware/security.go and pkg/utils CheckClaim; the RE2 syntax page.
"""

from __future__ import annotations

import re
import warnings
from typing import Final

from wardgate.dialects._gatekeeper_settings import Findings, Settings
from wardgate.policy import ClaimMatches, Condition, Not

_NOT_SHARED: Final = re.compile(
    r"""
      \(\?(?![:)imsP]|P<)      # look-around, atomic groups, conditions, comments; U of Go
    | \(\?P[=>]                # back references by name
    | \(\?[a-zA-Z-]*[^imsP:)<a-zA-Z-]
    | \\[1-9pPQEzZCKRGX]       # back references, and escapes that one of the three does not have
    | \\x\{
    | \[\[[:=.]                # classes by name
    | [*+?}][*+]               # possessive
    """,
    re.VERBOSE,
)
_FLAGS: Final = re.compile(r"\(\?([ims]+)\)")
_REPEATS: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_MOST_REPEATS: Final = 1000
"""RE2's own maximum."""

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
    """A pattern that holds for the whole text when `pattern` is found in it; None when it cannot be told."""
    flags = _FLAGS.match(pattern)
    body = pattern[flags.end() :] if flags else pattern
    if not _is_shared(body):
        return None
    plain = "|" not in body
    from_start = plain and body.startswith("^")
    to_end = plain and _ends_with_anchor(body)
    inner = body[1 if from_start else 0 : len(body) - 1 if to_end else len(body)]
    if not _compiles(inner):
        return None
    inner = f"(?{flags[1]}:{inner})" if flags else f"(?:{inner})" if not plain else inner
    return ("" if from_start else _ANY) + inner + ("" if to_end else _ANY)


def _ends_with_anchor(body: str) -> bool:
    slashes = len(body) - 1 - len(body[:-1].rstrip("\\"))
    return body.endswith("$") and slashes % 2 == 0


def _is_shared(body: str) -> bool:
    plain = body.replace("\\\\", "")
    if _NOT_SHARED.search(plain) or _FLAGS.search(plain):
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
