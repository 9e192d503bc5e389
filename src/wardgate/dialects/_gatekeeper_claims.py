"""
`match-claims` as conditions: a regular expression that gatekeeper searches in a claim's text.

Go's expressions are those of RE2, which Envoy compares the whole text by.

Source: gogatekeeper 4.11.0, pkg/proxy/middleware/security.go and pkg/utils CheckClaim; the RE2 syntax page.
"""

from __future__ import annotations

from wardgate.dialects._gatekeeper_settings import Findings, Settings
from wardgate.patterns import NoPattern, require, searched
from wardgate.policy import ClaimMatches, Condition, Not


def claim_conditions(settings: Settings, findings: Findings) -> tuple[Condition, ...]:
    """A condition for each entry; what cannot be expressed is refused, since leaving it out would let others in."""
    conditions: list[Condition] = []
    for claim, text in settings.pairs("match-claims"):
        negated = text.startswith("!")
        pattern = whole(text[1:] if negated else text)
        if pattern is None or not claim:
            hint = "use what Go has: no look-around, no back references; or a role, or a group"
            message = "is no regular expression that can be enforced"
            where = settings.where("match-claims", claim)
            findings.refuse("claim-pattern", message, where, text, hint)
            continue
        match = ClaimMatches((claim,), pattern)
        conditions.append(Not(match) if negated else match)
    return tuple(conditions)


def whole(pattern: str) -> str | None:
    """A pattern that matches a whole text when `pattern` is found in it; None for one that gatekeeper could not read either."""
    try:
        found = searched(pattern)
        require(found)
    except NoPattern:
        return None
    return None if "\\C" in pattern.replace("\\\\", "") else found  # a byte, in RE2 alone
