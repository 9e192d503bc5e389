"""Targets have one spelling; what has two is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.approvals.targets import NoTarget, normalized


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("k8s://prod/default/deployment/payment-api", "k8s://prod/default/deployment/payment-api"),
        ("K8S://Prod/Default/", "k8s://prod/Default/"),
        (
            "https://api.example.com:8443/v1/items?x=1&y=%c3%a9",
            "https://api.example.com:8443/v1/items?x=1&y=%C3%A9",
        ),
        ("github://org", "github://org"),
        ("https://[2001:db8::1]/a", "https://[2001:db8::1]/a"),
    ],
)
def test_one_spelling(text: str, found: str) -> None:
    assert normalized(text) == found
    assert normalized(found) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "prod", "k8s:/prod", "k8s://", "k8s:///x", "://x/y", "k8s://prod/a b", "k8s://prod/a\nb"),
        *(
            "k8s://prod/../dev",
            "k8s://prod/./x",
            "k8s://prod//x",
            "k8s://prod/%2e%2e/dev",
            "k8s://prod/a%2fb",
        ),
        *(
            "k8s://prod/a%5cb",
            "k8s://prod\\x",
            "k8s://prod/%00",
            "k8s://prod/%252e",
            "k8s://prod/%zz",
            "k8s://prod/%",
        ),
        *("https://user@host/x", "https://host/x#y", "https://host:port/x", "https://[::1/x", "k8s://prod/é"),
        *("k8s://prod/%ff", "javascript:alert(1)", "k8s://prod/" + "a" * 2048),
    ],
)
def test_what_could_be_read_in_two_ways(text: str) -> None:
    with pytest.raises(NoTarget):
        normalized(text)


@given(st.text(alphabet="k8s:/.%2e5fF?#@[]ab \\", max_size=40))
def test_a_spelling_is_its_own(text: str) -> None:
    try:
        found = normalized(text)
    except NoTarget:
        return
    assert normalized(found) == found
    assert "/../" not in found and "//" not in found.partition("://")[2]
