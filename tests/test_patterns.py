"""Regular expressions: those that Envoy takes, read as it reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.patterns import NoPattern, escape, matches, require


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "[",
        "a**",
        r"a\Z",
        "a++",
        "(?>a)",
        "(?=a)",
        "(?<!a)",
        r"(a)\1",
        "a{1001}",
        "(?a)a",
        r"\u00e9",
        "\udc80",
    ],
)
def test_what_envoy_would_refuse_is_refused(pattern: str) -> None:
    """Python takes most of them: a configuration with one would be taken back by Envoy, with everything else in it."""
    with pytest.raises(NoPattern) as caught:
        require(pattern)
    assert str(caught.value)
    assert not matches(pattern, "a")


def test_what_is_too_large_is_refused() -> None:
    require("0[a-z]{1000}")
    with pytest.raises(NoPattern, match="too large"):
        require("|".join(f"{number}[a-z]{{1000}}" for number in range(101)))


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("a.*", "abc", True),
        ("a.*", "a\nc", False),
        ("(?s:a.*)", "a\nc", True),
        ("b", "abc", False),
        (r"\d", "٣", False),
        ("[[:alpha:]]+", "abc", True),
        ("(?i)ABC", "abc", True),
        ("[^a]", "é", True),
        ("a", "\ud800", False),
    ],
)
def test_the_whole_text_counts_in_re2s_reading(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


@given(st.text())
def test_a_text_is_a_pattern_for_itself(text: str) -> None:
    """Also beyond ASCII, where RE2 takes no backslash: Envoy would refuse everything that comes with such a pattern."""
    require(escape(text))
    assert matches(escape(text), text)
    assert not matches(escape(text), text + "x")
