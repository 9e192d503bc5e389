"""`read_discovery`: whose document it is, and what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wardgate.verify import DiscoveryRejected, read_discovery
from wardgate.verify.discovery import address_of

from .issuer import ISSUER

GOOD: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/certs", "token_endpoint": f"{ISSUER}/token"}


def test_endpoints() -> None:
    """Named endpoints are read, the others are empty."""
    found = read_discovery(json.dumps(GOOD | {"claims_supported": ["sub"]}), issuer=ISSUER)
    assert (found.issuer, found.jwks_uri, found.token_endpoint) == (
        ISSUER,
        f"{ISSUER}/certs",
        f"{ISSUER}/token",
    )
    assert found.userinfo_endpoint == ""


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (GOOD | {"issuer": "https://evil.example"}, "its issuer is 'https://evil.example', expected"),
        (GOOD | {"issuer": ISSUER + "/"}, "its issuer is"),
        (GOOD | {"issuer": None}, "its issuer is None"),
        ({"issuer": ISSUER}, "no jwks_uri"),
        (GOOD | {"jwks_uri": 5}, "jwks_uri must be text"),
        (GOOD | {"jwks_uri": "file:///etc/passwd"}, "not an http(s) address"),
        (GOOD | {"token_endpoint": "http://"}, "not an http(s) address"),
        ([], "not a JSON object"),
    ],
)
def test_refused(document: Any, why: str) -> None:
    """A document for another issuer, or without usable keys, is refused with a reason."""
    with pytest.raises(DiscoveryRejected) as caught:
        read_discovery(json.dumps(document), issuer=ISSUER)
    assert why in caught.value.reason


@pytest.mark.parametrize("text", ["", "<html>", " " * 300_000, '{"issuer":"a","issuer":"b"}'])
def test_not_a_document(text: str) -> None:
    """What is not one JSON object of a sensible size is refused."""
    with pytest.raises(DiscoveryRejected):
        read_discovery(text, issuer=ISSUER)


def test_address() -> None:
    """The document is below the issuer, with one slash between."""
    assert address_of("https://id.example/r/") == "https://id.example/r/.well-known/openid-configuration"
