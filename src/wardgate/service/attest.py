"""
Attested tokens: the service's word on a credential, signed so that Envoy can judge by it (`authn/attested.py` says what
one holds and how it is verified).

The key is random, of this process alone, and never written anywhere. Ed25519: a signature takes 50 microseconds.
Source: RFC 8037; design 3.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wardgate.authn.attested import ISSUER


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """
    What is attested. `via` is `session:PROVIDER`, `bearer:PROVIDER` or `checked:PROVIDER`; `session` is the session's
    name, None for tokens. `ends`: seconds since 1970, whole.
    """

    via: str
    subject: str | None
    ends: int
    claims: Mapping[str, Any] = field(repr=False)
    session: str | None = None
    id_claims: Mapping[str, Any] | None = field(default=None, repr=False)
    userinfo: Mapping[str, Any] | None = field(default=None, repr=False)


class Signer:
    """One signing key."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.kid = secrets.token_urlsafe(12)
        self._header = _segment({"alg": "EdDSA", "kid": self.kid, "typ": "JWT"})

    def public_jwk(self) -> dict[str, str]:
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {
            "alg": "EdDSA",
            "crv": "Ed25519",
            "kid": self.kid,
            "kty": "OKP",
            "use": "sig",
            "x": _base64(raw),
        }

    def sign(self, attested: Attested, now: float) -> str:
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "iat": int(now),
            "exp": attested.ends,
            "via": attested.via,
            "claims": attested.claims,
        }
        optional = {
            "sub": attested.subject,
            "sid": attested.session,
            "id": attested.id_claims,
            "userinfo": attested.userinfo,
        }
        payload |= {name: value for name, value in optional.items() if value is not None}
        text = f"{self._header}.{_segment(payload)}"
        return f"{text}.{_base64(self._key.sign(text.encode('ascii')))}"


def _segment(value: Mapping[str, Any]) -> str:
    # claims that were verified are read-only mappings
    return _base64(json.dumps(value, separators=(",", ":"), default=dict).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
