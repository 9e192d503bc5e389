"""
JWTs that the gateway itself signs, with Ed25519. What they say is said elsewhere: attested tokens in `service/attest.py`, grants
in `approvals/grants.py`. Source: RFC 7515, RFC 8037.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of its public half."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


class JwtSigner:
    """One key under its name, for tokens of one `typ`."""

    def __init__(self, key: Ed25519PrivateKey, kid: str, typ: str) -> None:
        self._key = key
        self.kid = kid
        self._header = _segment({"alg": "EdDSA", "kid": kid, "typ": typ})

    def public_jwk(self) -> dict[str, str]:
        return {
            "alg": "EdDSA",
            "crv": "Ed25519",
            "kid": self.kid,
            "kty": "OKP",
            "use": "sig",
            "x": base64url(public_bytes(self._key)),
        }

    def sign(self, claims: Mapping[str, Any]) -> str:
        text = f"{self._header}.{_segment(claims)}"
        return f"{text}.{base64url(self._key.sign(text.encode('ascii')))}"


def _segment(value: Mapping[str, Any]) -> str:
    # claims that were verified are read-only mappings
    return base64url(json.dumps(value, separators=(",", ":"), default=dict).encode())


def base64url(raw: bytes) -> str:
    """Without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
