"""
How we prove to an issuer that we are our client: what is added to a form or to its headers.

`basic` and `post` send the secret (RFC 6749, 2.3.1), `private-key-jwt` a statement signed by our own key (RFC 7523, 2.2;
OpenID Connect Core 1.0, 9). A client without a secret says only who it is.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from wardgate.policy import ClientAuthentication, Provider
from wardgate.service.issuer_http import IssuerAway
from wardgate.verify.compact import encode_base64url

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

ASSERTION_LIFE: Final = timedelta(seconds=60)

MIN_RSA_BITS: Final = 2048

_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a request to the issuer carries beside its own fields."""

    form: dict[str, str]
    headers: dict[str, str]


class ClientProof:
    """Proofs of one provider's client. The key file is read again when it changes."""

    def __init__(self, provider: Provider) -> None:
        assert provider.client_id is not None
        self._provider = provider
        self._client_id = provider.client_id
        self._key: tuple[tuple[int, int], _SigningKey] | None = None

    def make(self, now: float) -> Proof:
        """A proof for one request. Raises IssuerAway (`client-key-file`) when our key cannot be read."""
        match self._provider.client_authentication:
            case ClientAuthentication.PRIVATE_KEY_JWT:
                return self._by_key(now)
            case ClientAuthentication.BASIC | ClientAuthentication.POST if (
                self._provider.client_secret is None
            ):
                return Proof(form={"client_id": self._client_id}, headers={})
            case ClientAuthentication.POST:
                return Proof(form={"client_id": self._client_id, "client_secret": self._secret()}, headers={})
            case ClientAuthentication.BASIC:
                # form-urlencoded before base64 (RFC 6749, 2.3.1): a colon in an id would end it
                pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret())}"
                value = base64.b64encode(pair.encode()).decode("ascii")
                return Proof(form={}, headers={"authorization": f"Basic {value}"})

    def _secret(self) -> str:
        assert self._provider.client_secret is not None
        return self._provider.client_secret.reveal()

    def _by_key(self, now: float) -> Proof:
        """
        The audience is the issuer as it is configured, alone, for every endpoint. Not the token endpoint: that comes
        from the issuer's metadata, and a hostile issuer could name another issuer's there and use our statement at it
        (draft-ietf-oauth-rfc7523bis, 4; FAPI 2.0 Security Profile, 5.3.3.1).
        """
        key = self._signing_key()
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._provider.issuer,
            "jti": secrets.token_urlsafe(24),
            "iat": int(now),
            "exp": int(now + ASSERTION_LIFE.total_seconds()),
        }
        form = {
            "client_id": self._client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": key.sign(claims),
        }
        return Proof(form=form, headers={})

    def _signing_key(self) -> _SigningKey:
        file = Path(self._provider.client_key or "")
        try:
            status = file.stat()
            mark = (status.st_mtime_ns, status.st_ino)
            if self._key is None or self._key[0] != mark:
                self._key = (mark, _read(file.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            message = f"our key for the provider {self._provider.name} cannot be used ({file}): {error}"
            hint = "a private key in PEM without a password: RSA of 2048 bits, EC (P-256, P-384, P-521) or Ed25519"
            raise IssuerAway("client-key-file", message, hint) from error
        return self._key[1]


@dataclass(frozen=True, slots=True)
class _SigningKey:
    """No `kid` is said: the issuer knows this client by one key, and every issuer names keys in its own way."""

    alg: str
    key: RSAKey | ECKey | OKPKey

    def sign(self, claims: Mapping[str, Any]) -> str:
        parts = ({"alg": self.alg, "typ": "JWT"}, claims)
        text = ".".join(encode_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
        # RFC 9864's name of what issuers know as `EdDSA` (RFC 8037); the header says what they know
        model = JWSRegistry.algorithms["Ed25519" if self.alg == "EdDSA" else self.alg]
        return f"{text}.{encode_base64url(model.sign(text.encode('ascii'), self.key))}"


def _read(pem: bytes) -> _SigningKey:
    """The key, and the algorithm that its kind is used with. Raises ValueError and TypeError."""
    found = load_pem_private_key(pem, password=None)
    match found:
        case RSAPrivateKey():
            if found.key_size < MIN_RSA_BITS:
                raise ValueError(f"it has {found.key_size} bits; {MIN_RSA_BITS} is the least (RFC 7518, 3.3)")
            return _SigningKey("RS256", RSAKey.import_key(pem))
        case EllipticCurvePrivateKey() if found.curve.name in _CURVES:
            return _SigningKey(_CURVES[found.curve.name], ECKey.import_key(pem))
        case Ed25519PrivateKey():
            return _SigningKey("EdDSA", OKPKey.import_key(pem))
        case _:
            raise ValueError("a key of a kind that issuers do not know")
