"""Regular expressions: those that Envoy takes, read as it reads them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardgate.patterns import NoPattern, escape, matches, require, without


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


# --- Patterns for a path, asked of a path with its query

CHARACTERS = "aZ1/-]^.&?[ "
PIECES = st.sampled_from(
    [
        *(
            "a",
            "Z",
            "/",
            "1",
            "-",
            "&",
            "(",
            ")",
            "(?:",
            "(?i)",
            "(?i:",
            "(?P<n>",
            "|",
            "^",
            "$",
            ".",
            "*",
            "+",
            "?",
            "??",
            "{1,2}",
        ),
        *(
            "[^/]",
            "[^]a]",
            "[]a]",
            "[a-]",
            "[^a-]",
            "[^-a]",
            "[!-~]",
            "[!-?]",
            "[?-a]",
            "[>-?]",
            "[a-z&]",
            "[^&]",
            "[[:alpha:]-]",
        ),
        *(
            "[^[:alpha:]]",
            "[[:punct:]]",
            "[[:^alpha:]]",
            "[\\d/]",
            "[^\\D]",
            "[\\D]",
            "[\\]a]",
            "[^\\^]",
            "[",
            "]",
            "[^",
        ),
        *(
            "\\.",
            "\\?",
            "\\&",
            "\\d",
            "\\D",
            "\\W",
            "\\S",
            "\\w",
            "\\b",
            "\\B",
            "\\x3f",
            "\\077",
            "\\pP",
            "\\Q",
            "\\C",
            "\\z",
            "\\A",
        ),
    ]
)


@settings(max_examples=1000)
@given(
    st.lists(PIECES, min_size=1, max_size=7).map("".join),
    st.sampled_from("?&"),
    st.lists(st.text(CHARACTERS, max_size=6), min_size=4, max_size=12),
)
def test_a_pattern_without_a_mark(pattern: str, mark: str, texts: list[str]) -> None:
    """It matches what the pattern matches, and none of what stands behind the mark counts."""
    try:
        found = without(pattern, mark)
    except NoPattern:
        return
    whole = f"(?:{found})(?:{escape(mark)}(?s:.*))?"
    for text in texts:
        before = text.partition(mark)[0]
        assert matches(found, before) == matches(pattern, before), found
        assert matches(whole, text) == matches(pattern, before), found
        assert not matches(found, text) or mark not in text, found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"^/shop/.*\.html$", r"^/shop/[^\?]*\.html"),
        (r"/v[0-9]+(?:/[^/]*)?", r"/v[0-9]+(?:/[^/\?]*)?"),
        (r"^/a$|^/b/\w+$", r"^/a|^/b/\w+"),
        (r"/[!-~]+", r"/[!->@-~]+"),
        (r"/\S", r"/[^\s\?]"),
    ],
)
def test_what_becomes_of_a_pattern(pattern: str, found: str) -> None:
    assert without(pattern, "?") == found


@pytest.mark.parametrize(
    "pattern", [r"/a\?x", r"/[?]", r"(/a$)/b", r"/\x3f", r"/\Q?\E", r"/[[:punct:]]", r"(?m)/a", r"/\pP"]
)
def test_what_cannot_be_told(pattern: str) -> None:
    with pytest.raises(NoPattern):
        without(pattern, "?")
