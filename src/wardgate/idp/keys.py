"""
The keys that the development identity provider signs with, and their rotation.

Made at start and kept in memory only. As Keycloak's: RS256 for access and ID tokens, an RSA-OAEP key that is
published and never used, HS512 for refresh tokens under a kid that is not published.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import Key, OctKey, RSAKey
from joserfc.jws import JWSRegistry

from wardgate.verify.compact import encode_base64url, read_jws


def _signing_key() -> RSAKey:
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"})
    key.ensure_kid()
    return key


def _encryption_key() -> RSAKey:
    key = RSAKey.generate_key(2048, {"use": "enc", "alg": "RSA-OAEP"}, private=False)
    key.ensure_kid()
    return key


@dataclass(slots=True)
class Keys:
    """`active` signs; `previous` are still published; `secret` signs refresh tokens."""

    active: RSAKey = field(default_factory=_signing_key)
    previous: tuple[RSAKey, ...] = ()
    encryption: RSAKey = field(default_factory=_encryption_key, repr=False)
    secret: OctKey = field(
        default_factory=lambda: OctKey.import_key(secrets.token_bytes(64), {"kid": str(uuid.uuid4())}),
        repr=False,
    )

    @property
    def kid(self) -> str:
        return str(self.active.kid)

    def rotate(self) -> str:
        """Sign with a new key from now on; the old one stays published. Returns the new kid."""
        new = _signing_key()
        self.previous = (self.active, *self.previous)
        self.active = new
        return self.kid

    def retire(self) -> None:
        """Publish the active key only: tokens of older keys cannot be verified any more."""
        self.previous = ()

    def signed(self, token: str, *, refresh: bool = False) -> bool:
        """Whether one of the published keys signed a well-formed token; `refresh`: the secret did."""
        jws = read_jws(token)
        keys: tuple[Key, ...] = (self.secret,) if refresh else (self.active, *self.previous)
        alg = "HS512" if refresh else "RS256"
        if jws.header.get("alg") != alg:
            return False
        model = JWSRegistry.algorithms[alg]
        return any(
            model.verify(jws.signing_input, jws.signature, key)
            for key in keys
            if key.kid == jws.header.get("kid")
        )

    def jwks(self) -> dict[str, Any]:
        published = (self.encryption, self.active, *self.previous)
        return {"keys": [dict(key.as_dict(private=False)) for key in published]}


def sign(header: Mapping[str, Any], claims: Mapping[str, Any], key: Key, alg: str) -> str:
    """
    A compact JWS with exactly this header and these claims.

    Nothing is checked: tests need tokens whose header lies.
    """
    parts = [encode_base64url(json.dumps(part, ensure_ascii=False).encode()) for part in (header, claims)]
    signature = JWSRegistry.algorithms[alg].sign(".".join(parts).encode(), key)
    return ".".join([*parts, encode_base64url(signature)])
