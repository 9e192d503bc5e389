"""Who asks for a login or a logout, from the headers that Envoy sets."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from wardgate.service.asking import Asking


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9,10.0.0.7", "203.0.113.9"),
        (", 10.0.0.7", "10.0.0.7"),
        ("", ""),
    ],
)
def test_the_address_is_that_of_the_proxy_s_client(forwarded: str, address: str) -> None:
    """Behind a trusted proxy, whose own address stands last, it is its client's; else the peer's."""
    headers = [(b"x-forwarded-for", forwarded.encode()), (b"host", b"shop.example")]
    scope = {"type": "http", "method": "GET", "raw_path": b"/", "query_string": b"", "headers": headers}
    assert Asking.of(Request(scope)).address == address
