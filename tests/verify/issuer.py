"""A local issuer that signs whatever it is told to, with keys of its own: right tokens and wrong ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from wardgate.verify import Expectation, KeySet, clean_jwks
from wardgate.verify.compact import encode_base64url

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())
ISSUER = "https://id.example/realms/shop"
AUDIENCE = "orders"

RSA = RSAKey.generate_key(2048, {"kid": "rsa", "alg": "RS256", "use": "sig"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa-2", "alg": "RS256", "use": "sig"})
P256 = ECKey.generate_key("P-256", {"kid": "p256"})
P384 = ECKey.generate_key("P-384", {"kid": "p384"})
P521 = ECKey.generate_key("P-521", {"kid": "p521"})
ED25519 = OKPKey.generate_key("Ed25519", {"kid": "ed"})


def sign(
    claims: dict[str, Any] | bytes,
    header: dict[str, Any] | bytes,
    key: Key = RSA,
    alg: str = "RS256",
) -> str:
    """A compact JWS over exactly these bytes; the header may lie about the algorithm."""
    alg = "Ed25519" if alg == "EdDSA" else alg  # the same signature; joserfc warns of the older name
    first, second = (
        encode_base64url(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, claims)
    )
    model = JWSRegistry.algorithms[alg]
    signature = model.sign(f"{first}.{second}".encode(), key)
    return f"{first}.{second}.{encode_base64url(signature)}"


def claims(**changes: Any) -> dict[str, Any]:
    """A good access token's claims; a change to `...` removes the claim."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "u-1",
        "typ": "Bearer",
        "iat": EPOCH,
        "exp": EPOCH + 300,
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def token(*, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """An access token signed with RS256; header members may be changed, or removed by `...`."""
    members = {"alg": "RS256", "typ": "JWT", "kid": "rsa"} | (header or {})
    kept = {name: value for name, value in members.items() if value is not ...}
    return sign(claims(**changes), kept)


@dataclass(frozen=True)
class Case:
    """One token form: the key and the header algorithm it is signed with."""

    alg: str
    key: Key
    kid: str = field(default="k")


ALL_FORMS = (
    *(Case(alg, RSA) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    Case("ES256", P256),
    Case("ES384", P384),
    Case("ES512", P521),
    Case("EdDSA", ED25519),
)


def jwk(key: Key, **changes: Any) -> dict[str, Any]:
    """The public JWK of a key, with members changed, or removed by `...`."""
    members = dict(key.as_dict(private=False)) | changes
    return {name: value for name, value in members.items() if value is not ...}


def keys(*entries: dict[str, Any]) -> KeySet:
    """A cleaned set; the issuer's RSA key when none is given."""
    return clean_jwks({"keys": list(entries) or [jwk(RSA)]})


def expect(**changes: Any) -> Expectation:
    """What the good token fulfils."""
    return Expectation(**({"issuer": ISSUER, "audiences": (AUDIENCE,)} | changes))
