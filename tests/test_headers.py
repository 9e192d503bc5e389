"""Which of a client's headers stay, by the regexes that Envoy is given."""

from __future__ import annotations

import re

import pytest

from wardgate.envoy import headers


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("x-aip-authorization", False),
        ("x-aip-authorizatio", True),
        ("x-aip-authorizations", True),
        ("x-aip-authorizatiom", True),
        ("x-aip-", True),
        ("x-aip-agent", True),
        ("x-aip-a", True),
        ("x_aip_authorization", True),
        ("x-aip.authorization", True),
        ("x.aip-authorization", True),
        ("x!aip!authorization", True),
        ("x-aip-authorization-x", True),
        ("x-aipauthorization", False),
        ("authorization", False),
    ],
)
def test_a_grant_stays_and_nothing_that_looks_like_it(name: str, goes: bool) -> None:
    regex = headers.removal((), headers.all_but(headers.GRANT))["remove_on_match"]["key_matcher"][
        "safe_regex"
    ]
    assert bool(re.fullmatch(regex["regex"].replace("(?i)(?:|", "(?i)(?:"), name)) == goes
