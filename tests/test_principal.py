"""Claims: how they are found, and how they read as text."""

from __future__ import annotations

import pytest

from wardgate.policy import Kind
from wardgate.principal import MISSING, Principal, claim_text, number_text

CLAIMS = {"sub": "ann", "n": None, "deep": {"a.b": {"/": [1]}}, "list": ["x"]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("sub",), "ann"),
        (("n",), None),
        (("deep", "a.b", "/"), [1]),
        (("deep", "a", "b"), MISSING),
        (("sub", "x"), MISSING),
        (("list", "0"), MISSING),
        (("none",), MISSING),
        ((), MISSING),
    ],
)
def test_claim_by_path(path: tuple[str, ...], value: object) -> None:
    """Keys are taken as they are, through objects only; missing and null are told apart."""
    principal = Principal(provider="main", kind=Kind.BEARER, claims=CLAIMS)
    assert principal.claim(path) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ann, bob", "ann, bob"),
        ("", None),
        ("a\r\nb\0c\td\x7f", "a%0D%0Ab%00c\td%7F"),
        ("100%", "100%"),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (3.0, "3"),
        (1e21, "1000000000000000000000"),
        (1.5e-7, "0.00000015"),
        (2**53 + 1, "9007199254740992"),
        (-0.5, "-0.5"),
        (["a", "b"], "a,b"),
        (["a,b", "c\n"], "a%2Cb,c%0A"),
        ([1, True, None, {"k": [1, 2]}, ["x"], "y"], "1,true,y"),
        ([], None),
        ({"a": {"b": "ü"}}, None),
        ([{"a": "b"}], None),
        (None, None),
        (MISSING, None),
    ],
)
def test_claim_as_text(value: object, text: str | None) -> None:
    """Text as it is, numbers in full, lists joined, and nothing that could end a header line."""
    assert claim_text(value) == text


def test_separator_is_encoded_only_inside_lists() -> None:
    """Every character of the separator is encoded in an item, so the list can be taken apart again."""
    assert claim_text(["a|b", "c, d"], "|") == "a%7Cb|c, d"
    assert claim_text(["a, b", "c"], ", ") == "a%2C%20b, c"
    assert claim_text("a|b", "|") == "a|b"


def test_number_too_large_for_a_double_is_still_text() -> None:
    """Whatever number a token has, it prints."""
    assert number_text(10**400).startswith("1000")
    assert number_text(float("inf")) == "inf"


def test_token_never_prints() -> None:
    """A principal in a log does not show the caller's token."""
    assert "secret" not in repr(Principal(provider="p", kind=Kind.BEARER, claims={}, token="secret"))
