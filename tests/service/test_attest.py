"""Attested tokens, read as Envoy reads them."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wardgate.authn.attested import ISSUER
from wardgate.service.attest import Attested, Signer
from wardgate.verify.compact import read_jws


def test_an_attested_token_is_a_jwt_of_the_signers_key() -> None:
    """What is signed verifies with the public key and says what was attested, nothing more."""
    signer = Signer()
    attested = Attested(
        via="session:kc",
        subject="u-1",
        ends=1030,
        claims={"roles": ["a"]},
        session="n" * 32,
        id_claims={"email": "e"},
    )
    token = read_jws(signer.sign(attested, 1000.9))
    key = base64.urlsafe_b64decode(signer.public_jwk()["x"] + "=")
    Ed25519PublicKey.from_public_bytes(key).verify(token.signature, token.signing_input)
    assert token.header == {"alg": "EdDSA", "kid": signer.kid, "typ": "JWT"}
    assert json.loads(token.payload) == {
        "iss": ISSUER,
        "iat": 1000,
        "exp": 1030,
        "via": "session:kc",
        "sub": "u-1",
        "sid": "n" * 32,
        "claims": {"roles": ["a"]},
        "id": {"email": "e"},
    }


def test_no_two_signers_have_one_key() -> None:
    """Each start has a key of its own, and what prints shows no claims."""
    assert Signer().public_jwk()["x"] != Signer().public_jwk()["x"]
    assert "secret" not in repr(Attested(via="v", subject=None, ends=1, claims={"a": "secret"}))
