"""
Project Wycheproof's JSON Web Signature and Key vectors, where they are present, and a small set of our own.

The vectors sign bytes such as `foo`, which are no claims, so they are judged by header, key and signature. The
folder is looked for beside the repository; without it the test still runs on the vectors made here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wardgate.problems import TokenError
from wardgate.verify import ALGORITHMS, JwksRejected, clean_jwks
from wardgate.verify.roca import _PRIMES, has_roca_fingerprint
from wardgate.verify.tokens import signed_payload

from .issuer import ALL_FORMS, EPOCH, RSA, Case, claims, expect, jwk, sign

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "security" / "wycheproof" / "testvectors_v1"
FILES = ("json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json")

DIFFERS = {
    "symmetric": "keys are public keys here: a set with a symmetric key is refused, as are its tokens",
    "empty payload": "RFC 7515 allows it, a token without claims is none",
    "Figure20": "the vector's key says PS256 and its token PS384; a key has one algorithm here",
    "ES521": "RFC 7520's examples name ES512 and no ES521 exists; a key with such an alg is not used",
}


def vectors() -> Iterator[Any]:
    """Every signature vector: the key set as it would be published, the token, and whether it is valid."""
    for form in ALL_FORMS:
        good = sign(claims(), {"alg": form.alg, "kid": form.kid}, form.key, form.alg)
        entry = jwk(form.key, kid=form.kid, alg=form.alg)
        yield pytest.param({"keys": [entry]}, good, True, id=f"own-{form.alg}-valid")
        yield pytest.param({"keys": [entry]}, _resigned(form), False, id=f"own-{form.alg}-modified")
    for name in FILES:
        path = VECTORS / name
        if path.exists():
            yield from _of_file(path)


def _resigned(form: Case) -> str:
    """The signature of one payload under another."""
    parts = sign(claims(exp=EPOCH), {"alg": form.alg, "kid": form.kid}, form.key, form.alg).split(".")
    other = sign(claims(), {"alg": form.alg, "kid": form.kid}, form.key, form.alg).split(".")
    return f"{parts[0]}.{parts[1]}.{other[2]}"


def _of_file(path: Path) -> Iterator[Any]:
    for group in json.loads(path.read_text(encoding="utf-8"))["testGroups"]:
        key = group.get("public") or group.get("private")
        document = key if "keys" in key else {"keys": [key]}
        for test in group["tests"]:
            if isinstance(test.get("jws"), str):
                name = f"{path.stem}-{test['tcId']}-{test['comment'].replace(' ', '_')}"
                yield pytest.param(document, test["jws"], _is_valid_here(document, test), id=name)


def _is_valid_here(document: dict[str, Any], test: dict[str, Any]) -> bool:
    """The vector's own verdict, except where `DIFFERS` says that we are stricter."""
    keys = document["keys"]
    stricter = (
        any(key.get("kty") == "oct" or key.get("alg") == "ES521" for key in keys)
        or ".." in test["jws"]
        or test["comment"] == "Figure20"
    )
    return test["result"] == "valid" and not stricter


@pytest.mark.parametrize(("document", "token", "valid"), list(vectors()))
def test_vector(document: dict[str, Any], token: str, valid: bool) -> None:
    """The signature of a valid vector is accepted; an invalid one is refused, never with a crash."""
    try:
        signed_payload(token, keys=clean_jwks(document), expect=expect(algorithms=ALGORITHMS))
    except (JwksRejected, TokenError):
        assert not valid
    else:
        assert valid


def test_roca_fingerprint() -> None:
    """A product of powers of 65537 modulo the small primes is recognized; a sound modulus is not."""
    primorial = math.prod(_PRIMES)
    flawed = (pow(65537, 12345, primorial) + primorial * 7) * (pow(65537, 999, primorial) + primorial * 8)
    assert has_roca_fingerprint(flawed)
    assert not has_roca_fingerprint(flawed + 2)
    assert not has_roca_fingerprint(RSA.public_key.public_numbers().n)
