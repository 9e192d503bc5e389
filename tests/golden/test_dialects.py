"""Golden cases of every dialect, found by looking."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta

import pytest

from tests.golden import golden
from wardgate import document
from wardgate.dialects import Options, dialects, native

CASES = golden.cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: golden.Case) -> None:
    """A dialect makes of the documents exactly the problems, notes and policy that stand beside them."""
    found = golden.outputs(golden.read(case))
    if golden.REWRITE:
        golden.rewrite(case, found)
    assert found == golden.expected(case)


def test_no_orphans() -> None:
    """Each case has an input, and each folder belongs to a dialect that exists."""
    empty = [str(case) for case in CASES if not any(case.folder.glob("*.yaml"))]
    strays = sorted({case.dialect for case in CASES} - dialects().keys())
    assert (empty, strays) == ([], [])


@pytest.mark.parametrize("dialect", sorted(dialects()))
@pytest.mark.parametrize("name", ["minimal", "every-key", "unknown-key", "lossy"])
def test_each_dialect_has_the_first_cases(dialect: str, name: str) -> None:
    """No dialect is without the cases that every dialect begins with."""
    assert f"{dialect}/{name}" in {str(case) for case in CASES}


def test_a_changed_policy_is_seen() -> None:
    """The runner itself: one value that changes deep inside a policy changes what is printed."""
    policy = golden.read(next(case for case in CASES if case.name == "minimal")).policy
    assert policy is not None
    provider = dataclasses.replace(policy.providers[0], leeway=timedelta(minutes=1))
    changed = dataclasses.replace(policy, providers=(provider,))
    assert "leeway=60s" in golden.printed(changed)
    assert golden.printed(changed) != golden.printed(policy)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_show_loses_nothing(case: golden.Case) -> None:
    """Whatever format a policy came from, wardgate.yaml as `show` prints it is read back as the same policy."""
    policy = golden.read(case).policy
    if policy is None or policy.dialect in native.NOT_SHOWN:
        return
    text = native.write(policy)
    redis = ("STORE_URL", "WARDGATE_STORE_URL", "WARDGATE_CONSOLE_SESSIONS")
    values = dict.fromkeys(redis, "redis://redis.example.com:6379")
    values |= dict.fromkeys(("APPROVALS_STORE", "WARDGATE_STORE"), "postgresql://db/aip")
    environ = (
        dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
        | values
    )
    found = native.DIALECT.read([document.read(text, "shown.yaml", environ)], Options(allow_insecure=True))
    assert found.policy is not None, found.problems
    assert dataclasses.replace(found.policy, dialect=policy.dialect) == policy


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_secret_is_printed(case: golden.Case) -> None:
    """Cases write `never-printed` into their secrets: it is in no problem, no note and no policy."""
    texts = "".join(golden.outputs(golden.read(case)).values())
    assert "never-printed" not in texts
