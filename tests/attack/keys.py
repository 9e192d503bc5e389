"""
The keys of the attacks: those that the issuer publishes, and the one that only an attacker has.

k1 (RS256) and e1 (ES256) sign, kenc only encrypts. Everything is made anew for each run and stays in memory.
Signing is done with primitives on purpose: a JOSE library would refuse to make most of what is sent here.

Source: `jwks_fixture` of the shared case file; RFC 7518 sections 3.2 to 3.5.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "1": hashes.SHA1,
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
CLIENT_SECRET = "the-secret-of-the-gateway-client"  # known to the gateway's configuration, signs no token

_new_rsa = partial(rsa.generate_private_key, public_exponent=65537, key_size=2048)
_new_ec = partial(ec.generate_private_key, ec.SECP256R1())


def base64url(data: bytes) -> str:
    """RFC 7515 base64url: no padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _rsa_jwk(key: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}


def _ec_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    x, y = (base64url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Every private key of a run, by the names that the cases use."""

    idp: rsa.RSAPrivateKey = field(default_factory=_new_rsa)
    idp_enc: rsa.RSAPrivateKey = field(default_factory=_new_rsa)
    idp_ec: ec.EllipticCurvePrivateKey = field(default_factory=_new_ec)
    attacker: rsa.RSAPrivateKey = field(default_factory=_new_rsa)
    attacker_ec: ec.EllipticCurvePrivateKey = field(default_factory=_new_ec)

    def jwks(self, *, without_alg: bool = False) -> dict[str, Any]:
        """The key set that the issuer publishes; some issuers leave out `alg` and `use`."""
        keys = [
            {"kid": "k1", "alg": "RS256", "use": "sig"} | _rsa_jwk(self.idp),
            {"kid": "kenc", "alg": "RSA-OAEP", "use": "enc"} | _rsa_jwk(self.idp_enc),
            {"kid": "e1", "alg": "ES256", "use": "sig"} | _ec_jwk(self.idp_ec),
        ]
        if without_alg:
            keys = [{name: key[name] for name in key if name not in ("alg", "use")} for key in keys]
        return {"keys": keys}

    def attacker_jwk(self, kty: str = "RSA") -> dict[str, str]:
        """The attacker's public key, as a token header would offer it."""
        return _rsa_jwk(self.attacker) if kty == "RSA" else _ec_jwk(self.attacker_ec)

    def sign(self, alg: str, key: str, text: bytes, *, encoding: str = "") -> bytes:
        """A signature of `text`: `alg` by its JOSE name (also RS1), ES* raw unless `encoding` is `der`."""
        chosen = getattr(self, f"{key}_ec" if alg.startswith("ES") and key == "attacker" else key)
        digest = HASHES[alg[2:]]()
        if alg.startswith("ES"):
            signature = chosen.sign(text, ec.ECDSA(digest))
            return signature if encoding == "der" else raw_ecdsa(signature)
        if alg.startswith("PS"):
            pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
            return bytes(chosen.sign(text, pss, digest))
        return bytes(chosen.sign(text, padding.PKCS1v15(), digest))

    def secret(self, name: str) -> bytes:
        """The octets that an attacker would feed to HMAC: all of them public, guessable or empty."""
        if name.startswith("ascii:"):
            return name.removeprefix("ascii:").encode("ascii")
        public = self.idp.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        jwk = json.dumps(_rsa_jwk(self.idp), separators=(",", ":"))
        modulus = public.public_numbers().n
        return {
            "rsa_public_pem": pem,
            "rsa_public_pem_stripped": pem.strip(),
            "rsa_public_der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            "rsa_public_jwk_json": jwk.encode("ascii"),
            "rsa_modulus_bytes": modulus.to_bytes((modulus.bit_length() + 7) // 8, "big"),
            "nul_byte": b"\0",
            "empty": b"",
            "client_secret": CLIENT_SECRET.encode("ascii"),
        }[name]


def hmac_signature(alg: str, secret: bytes, text: bytes) -> bytes:
    """HS256, HS384 or HS512."""
    return hmac.digest(secret, text, getattr(hashlib, f"sha{alg[2:]}"))


def raw_ecdsa(der: bytes) -> bytes:
    """The form of RFC 7518 section 3.4 (r and s, 32 bytes each) of a DER signature on P-256."""
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
