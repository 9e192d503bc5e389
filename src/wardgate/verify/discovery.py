"""
An issuer's discovery document, read (OpenID Connect Discovery 1.0, section 3).

Not a client: the document comes in as bytes. The one check that matters is that it speaks for the issuer that
was asked (section 4.3), or anybody who answers at an address could hand out keys for another issuer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from wardgate.problems import Unavailable, shown
from wardgate.verify.strict_json import NotStrictJson, parse

MAX_BYTES = 256 * 1024
"""Keycloak's has 7 KB."""

WELL_KNOWN = "/.well-known/openid-configuration"


class DiscoveryRejected(Unavailable):
    """A discovery document that cannot be used; `reason` is one sentence for people."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the discovery document is refused: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """
    What is used of a discovery document. Endpoints that it does not name are empty.

    `names_itself`: its answers to a login carry `iss`, so one without it is refused (RFC 9207, 2.4).
    `pushed_only`: a login has to begin with a pushed authorization request (RFC 9126, 5).
    """

    issuer: str
    jwks_uri: str
    token_endpoint: str = ""
    authorization_endpoint: str = ""
    introspection_endpoint: str = ""
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    revocation_endpoint: str = ""
    pushed_authorization_request_endpoint: str = ""
    names_itself: bool = False
    pushed_only: bool = False

    def endpoints(self) -> tuple[tuple[str, str], ...]:
        """The addresses that it names: (member, address)."""
        return tuple((name, getattr(self, name)) for name in _ENDPOINTS if getattr(self, name))


_ENDPOINTS = (
    *("jwks_uri", "token_endpoint", "authorization_endpoint", "introspection_endpoint", "userinfo_endpoint"),
    *("end_session_endpoint", "revocation_endpoint", "pushed_authorization_request_endpoint"),
)


def address_of(issuer: str) -> str:
    """Where an issuer's discovery document is (section 4: appended after a trailing slash is removed)."""
    return issuer.removesuffix("/") + WELL_KNOWN


def read_discovery(document: bytes | str, *, issuer: str) -> Discovery:
    """Read the document that was fetched for `issuer`. Raises DiscoveryRejected."""
    content = _parsed(document)
    said = content.get("issuer")
    if said != issuer:
        raise DiscoveryRejected(f"its issuer is {shown(said)}, expected {shown(issuer)}")
    endpoints = {name: _endpoint(content, name) for name in _ENDPOINTS}
    if not endpoints["jwks_uri"]:
        raise DiscoveryRejected("it has no jwks_uri")
    return Discovery(
        issuer=issuer,
        names_itself=content.get("authorization_response_iss_parameter_supported") is True,
        pushed_only=content.get("require_pushed_authorization_requests") is True,
        **endpoints,
    )


def _parsed(document: bytes | str) -> Mapping[str, Any]:
    if len(document) > MAX_BYTES:
        raise DiscoveryRejected(f"it has {len(document)} bytes; at most {MAX_BYTES} are read")
    try:
        content = parse(document)
    except NotStrictJson as error:
        raise DiscoveryRejected(f"it cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DiscoveryRejected("it is not a JSON object")
    return content


def _endpoint(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str):
        raise DiscoveryRejected(f"its {name} must be text, got {shown(value)}")
    if value and not is_address(value):
        raise DiscoveryRejected(f"its {name} is not an http(s) address, got {shown(value)}")
    return value


def is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable()
