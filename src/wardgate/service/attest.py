"""
Attested tokens: the service's word on a credential, signed so that Envoy can judge by it (`authn/attested.py` says what
one holds and how it is verified).

The key is made of a secret that the supervisor gives to each service that it starts, and is never written anywhere: a
service that is started again signs what Envoy believes at once. Ed25519: a signature takes 50 microseconds.
Source: RFC 8037; design 3.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardgate.authn.attested import ISSUER
from wardgate.signing import JwtSigner, base64url, public_bytes


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
    """One signing key: the `number`th of a secret, the same under the same name whoever makes it."""

    def __init__(self, secret: bytes, number: int = 0) -> None:
        seed = hmac.digest(secret, b"attested-%d" % number, "sha256")
        key = Ed25519PrivateKey.from_private_bytes(seed)
        self._jwt = JwtSigner(key, base64url(sha256(public_bytes(key)).digest()[:12]), "JWT")
        self.kid = self._jwt.kid

    def public_jwk(self) -> dict[str, str]:
        return self._jwt.public_jwk()

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
        return self._jwt.sign(payload)
