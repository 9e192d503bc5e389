"""
Every security case against `wardgate run`: our own, and the shared ones where they are present.

All selected cases run once per session, many at a time; each test looks up one verdict. A failed "should"
needs a reason in `known.yaml`, a failed "must" has no excuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from .cases import CLASSES, OWN_FILE, SECURITY, SHARED_FILE, Case, load, over_http2
from .runner import Result

KNOWN: Mapping[str, str] = YAML(typ="safe").load(Path(__file__).with_name("known.yaml"))

OWN_CASES = [
    case for case in load(OWN_FILE) if "file" not in case.token or (SECURITY / case.token["file"]).is_file()
]
SHARED_CASES = list(load(SHARED_FILE)) if SHARED_FILE.is_file() else []
CASES = OWN_CASES + SHARED_CASES
HTTP2_CASES = [twin for case in CASES if (twin := over_http2(case)) is not None]


def _judge(case: Case, result: Result) -> None:
    reason = KNOWN.get(case.listed_as)
    if case.tier == "info":
        return  # it was answered; what was answered is only recorded
    if case.tier == "must" or reason is None:
        assert not result.failures, str(result)
    else:
        assert result.failures, f"{case.listed_as} passes now: take it out of known.yaml ({reason})"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, results: Mapping[str, Result]) -> None:
    """The gateway answers the case as expected, and nothing happens that must not."""
    _judge(case, results[case.id])


@pytest.mark.parametrize("case", HTTP2_CASES, ids=lambda case: case.id)
def test_case_over_http2(case: Case, results: Mapping[str, Result]) -> None:
    """The same request over HTTP/2 is judged the same, or refused as malformed."""
    _judge(case, results[case.id])


def test_reasons_belong_to_cases() -> None:
    """Each reason in known.yaml is a text for a "should" case that exists."""
    tiers = {case.id: case.tier for case in CASES}
    for name, reason in KNOWN.items():
        assert isinstance(reason, str) and len(reason) > 20, f"{name}: a reason is a sentence"
        if SHARED_CASES or name.startswith("OWN-"):
            assert tiers.get(name) == "should", f"{name} is no case of the tier should"


def test_every_class_has_own_cases() -> None:
    """The project's own cases cover every class, so that it is tested where the shared file is absent."""
    assert {case.kind for case in OWN_CASES} == set(CLASSES)
    assert len(OWN_CASES) >= 60
    assert len([case for case in OWN_CASES if case.kind == "login"]) >= 100
