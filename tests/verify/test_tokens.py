"""`verify`: what it accepts, and the code with which it refuses everything else."""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from wardgate.problems import TokenError
from wardgate.verify import ALGORITHMS, TokenExpired, UnsafeAnyAudience, verify
from wardgate.verify import errors as errors_module
from wardgate.verify.compact import encode_base64url

from .issuer import (
    ALL_FORMS,
    AUDIENCE,
    ED25519,
    EPOCH,
    ISSUER,
    NOW,
    OTHER_RSA,
    P256,
    RSA,
    Case,
    claims,
    expect,
    jwk,
    keys,
    sign,
    token,
)


def code_of(text: str, *, keyset: Any = None, **expectation: Any) -> str:
    """The code with which the token is refused, or `accepted`."""
    try:
        verify(text, keys=keyset or keys(), expect=expect(**expectation), now=NOW)
    except TokenError as error:
        return error.code
    return "accepted"


def test_a_good_token_gives_its_claims() -> None:
    """A good token gives its claims, typed and as they were."""
    found = verify(token(groups=["a"], aud=["account", AUDIENCE]), keys=keys(), expect=expect(), now=NOW)
    assert found.issuer == ISSUER
    assert found.audiences == ("account", AUDIENCE)
    assert found.subject == "u-1"
    assert found.expires_at == NOW + timedelta(seconds=300)
    assert found.key_id == "rsa"
    assert found.claims["groups"] == ["a"]


@pytest.mark.parametrize("form", ALL_FORMS, ids=lambda form: form.alg)
def test_every_algorithm_verifies(form: Case) -> None:
    """Each allowed algorithm is accepted with its own key, and refused when it is not allowed."""
    text = sign(claims(), {"alg": form.alg, "kid": form.kid}, form.key, form.alg)
    keyset = keys(jwk(form.key, kid=form.kid, alg=form.alg))
    assert code_of(text, keyset=keyset, algorithms=ALGORITHMS) == "accepted"
    assert code_of(text, keyset=keyset, algorithms=ALGORITHMS - {form.alg}) == "token-algorithm"
    flipped = text[:-20] + ("A" if text[-20] != "A" else "B") + text[-19:]
    assert code_of(flipped, keyset=keyset, algorithms=ALGORITHMS) == "token-signature"


def test_eddsa_is_an_option() -> None:
    """EdDSA is refused unless it was allowed by name."""
    assert "EdDSA" not in expect().algorithms
    text = sign(claims(), {"alg": "EdDSA", "kid": "ed"}, ED25519, "Ed25519")
    assert code_of(text, keyset=keys(jwk(ED25519))) == "token-algorithm"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "accepted"),
        ({"typ": "JWT"}, "accepted"),
        ({"typ": "at+jwt"}, "accepted"),
        ({"typ": "application/at+jwt"}, "accepted"),
        ({"typ": "AT+JWT"}, "accepted"),
        ({"typ": ...}, "accepted"),
        ({"kid": ...}, "accepted"),
        ({"x5t": "abc"}, "accepted"),
        ({"typ": "logout+jwt"}, "token-type"),
        ({"typ": "dpop+jwt"}, "token-type"),
        ({"typ": "JWE"}, "token-type"),
        ({"typ": ""}, "token-type"),
        ({"typ": 5}, "token-type"),
        ({"typ": None}, "token-type"),
        ({"alg": ...}, "token-algorithm"),
        ({"alg": "none"}, "token-algorithm"),
        ({"alg": "nOnE"}, "token-algorithm"),
        ({"alg": "rs256"}, "token-algorithm"),
        ({"alg": "RS1"}, "token-algorithm"),
        ({"alg": "HS256"}, "token-algorithm"),
        ({"alg": "ES256K"}, "token-algorithm"),
        ({"alg": ["RS256"]}, "token-algorithm"),
        ({"alg": {"RS256": 1}}, "token-algorithm"),
        ({"alg": None}, "token-algorithm"),
        ({"alg": "RS512"}, "token-algorithm"),
        ({"crit": ["x-unknown"], "x-unknown": 1}, "token-critical"),
        ({"crit": []}, "token-critical"),
        ({"crit": "b64"}, "token-critical"),
        ({"crit": None}, "token-critical"),
        ({"b64": False}, "token-critical"),
        ({"b64": True}, "token-critical"),
        ({"zip": "DEF"}, "token-critical"),
        ({"jwk": {}}, "token-brings-key"),
        ({"jku": "http://127.0.0.1/jwks"}, "token-brings-key"),
        ({"x5u": "https://id.example/c"}, "token-brings-key"),
        ({"x5c": ["MII"]}, "token-brings-key"),
        ({"kid": 1}, "token-malformed"),
        ({"kid": ""}, "token-malformed"),
        ({"kid": None}, "token-malformed"),
        ({"kid": ["rsa"]}, "token-malformed"),
        ({"kid": "zzz"}, "token-key-unknown"),
        ({"kid": "rsa\u0000"}, "token-key-unknown"),
        ({"kid": "a" * 20_000}, "token-key-unknown"),
        ({"kid": "../../dev/null"}, "token-key-unknown"),
    ],
    ids=str,
)
def test_headers(changes: dict[str, Any], code: str) -> None:
    """A header is accepted or refused with its own code, whatever the signature over it."""
    assert code_of(token(header=changes)) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": AUDIENCE}, "accepted"),
        ({"aud": ["account", AUDIENCE]}, "accepted"),
        ({"aud": ...}, "token-audience"),
        ({"aud": []}, "token-audience"),
        ({"aud": ""}, "token-audience"),
        ({"aud": AUDIENCE + "-evil"}, "token-audience"),
        ({"aud": AUDIENCE.title()}, "token-audience"),
        ({"aud": f"account {AUDIENCE}"}, "token-audience"),
        ({"aud": f"http://{AUDIENCE}"}, "token-audience"),
        ({"aud": f"{AUDIENCE}/"}, "token-audience"),
        ({"aud": [1, AUDIENCE]}, "token-malformed"),
        ({"aud": 1}, "token-malformed"),
        ({"aud": None}, "token-malformed"),
        ({"aud": {AUDIENCE: 1}}, "token-malformed"),
        ({"aud": [[AUDIENCE]]}, "token-malformed"),
        ({"iss": ...}, "token-issuer"),
        ({"iss": None}, "token-issuer"),
        ({"iss": [ISSUER]}, "token-issuer"),
        ({"iss": ISSUER.upper()}, "token-issuer"),
        ({"iss": ISSUER + "/"}, "token-issuer"),
        ({"iss": "https://evil.example"}, "token-issuer"),
        ({"typ": ...}, "accepted"),
        ({"typ": "bearer"}, "accepted"),
        ({"typ": "ID"}, "token-type"),
        ({"typ": "Refresh"}, "token-type"),
        ({"typ": "Offline"}, "token-type"),
        ({"typ": "Logout"}, "token-type"),
        ({"typ": "DPoP"}, "token-type"),
        ({"typ": "dpop"}, "token-type"),
        ({"typ": None}, "token-type"),
        ({"typ": ["Bearer"]}, "token-type"),
        ({"nonce": "n"}, "accepted"),
        ({"at_hash": "x"}, "token-type"),
        ({"c_hash": "x"}, "token-type"),
        ({"events": {}}, "token-type"),
        ({"cnf": {"jkt": "x"}}, "token-bound"),
        ({"cnf": None}, "token-bound"),
        ({"exp": EPOCH + 300.5}, "accepted"),
        ({"exp": EPOCH - 29}, "accepted"),
        ({"exp": EPOCH - 30}, "token-expired"),
        ({"exp": 0}, "token-expired"),
        ({"exp": ...}, "token-no-expiry"),
        ({"exp": None}, "token-malformed"),
        ({"exp": str(EPOCH + 300)}, "token-malformed"),
        ({"exp": True}, "token-malformed"),
        ({"exp": -1}, "token-malformed"),
        ({"exp": [EPOCH + 300]}, "token-malformed"),
        ({"exp": EPOCH + 86_400}, "accepted"),
        ({"exp": EPOCH + 86_400 + 31}, "token-lifetime"),
        ({"exp": (EPOCH + 300) * 1000}, "token-lifetime"),
        ({"exp": 10**30}, "token-lifetime"),
        ({"nbf": EPOCH + 30}, "accepted"),
        ({"nbf": EPOCH + 31}, "token-not-yet-valid"),
        ({"nbf": "soon"}, "token-malformed"),
        ({"nbf": 10**30}, "token-not-yet-valid"),
        ({"iat": ...}, "accepted"),
        ({"iat": EPOCH + 30}, "accepted"),
        ({"iat": EPOCH + 31}, "token-not-yet-valid"),
        ({"iat": -5}, "token-malformed"),
        ({"sub": ...}, "accepted"),
        ({"sub": 5}, "token-malformed"),
        ({"auth_time": "yesterday"}, "token-malformed"),
    ],
    ids=str,
)
def test_claims(changes: dict[str, Any], code: str) -> None:
    """A claim is accepted or refused with its own code."""
    assert code_of(token(**changes)) == code


def spellings() -> dict[str, str]:
    """The good token, written in other ways."""
    text = token()
    header, payload, signature = text.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    noncanonical = last[last.index(signature[-1]) ^ 1]
    return {
        "as it is": text,
        "empty": "",
        "two parts": f"{header}.{payload}",
        "four parts": f"{text}.",
        "five parts": f"{text}.a.b",
        "no signature": f"{header}.{payload}.",
        "no payload": f"{header}..{signature}",
        "leading dot": f".{text}",
        "double dot": text.replace(".", "..", 1),
        "padded header": f"{header}=.{payload}.{signature}",
        "quoted": f'"{text}"',
        "leading space": f" {text}",
        "line break at the end": f"{text}\n",
        "line break inside": f"{header}\n.{payload}.{signature}",
        "standard alphabet": text.replace("-", "+").replace("_", "/") + "+",
        "unused bits set": f"{header}.{payload}.{signature[:-1]}{noncanonical}",
        "impossible length": f"{header}.{payload}.{signature[:-1]}",
        "not ASCII": f"{header}.{payload}.{signature[:-1]}é",
        "two tokens": f"{text},{text}",
    }


WRONG_SPELLINGS = [name for name in spellings() if name != "as it is"]


@pytest.mark.parametrize("change", WRONG_SPELLINGS)
def test_one_spelling(change: str) -> None:
    """A token has one spelling: every other way to write the same bytes is malformed."""
    assert code_of(spellings()["as it is"]) == "accepted"
    assert code_of(spellings()[change]) == "token-malformed"


GOOD_HEADER = b'{"alg":"RS256","kid":"rsa"}'


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b'{"alg":"none","alg":"RS256","kid":"rsa"}', None),
        (b'["RS256"]', None),
        (b'"x"', None),
        (b"null", None),
        (b"", None),
        (GOOD_HEADER, b'"x"'),
        (GOOD_HEADER, b"[1]"),
        (GOOD_HEADER, b"{'iss':'x'}"),
        (GOOD_HEADER, b"\xef\xbb\xbf" + json.dumps(claims()).encode()),
        (GOOD_HEADER, b"\xff" + json.dumps(claims()).encode()),
        (GOOD_HEADER, json.dumps(claims()).encode("utf-16")),
        (GOOD_HEADER, json.dumps(claims()).replace('"exp"', '"exp":1,"exp"').encode()),
        (GOOD_HEADER, json.dumps(claims(x={"a": 1})).replace('"a"', '"a":2,"a"').encode()),
        (GOOD_HEADER, json.dumps(claims(exp=float("nan"))).encode()),
        (GOOD_HEADER, json.dumps(claims(exp=float("inf"))).encode()),
        (GOOD_HEADER, json.dumps(claims()).replace(str(EPOCH + 300), "1e400").encode()),
        (GOOD_HEADER, json.dumps(claims()).replace(str(EPOCH + 300), "9" * 5000).encode()),
        (GOOD_HEADER, json.dumps(claims(name="\ud800")).encode()),
        (GOOD_HEADER, b'{"a":' * 9000 + b"1" + b"}" * 9000),
        (GOOD_HEADER, json.dumps(claims()).encode() + b"{}"),
    ],
)
def test_json_that_two_readers_read_differently(header: bytes, payload: bytes | None) -> None:
    """Properly signed bytes that are not one strict JSON object each are malformed."""
    text = sign(claims() if payload is None else payload, header)
    assert code_of(text) in ("token-malformed", "token-too-large")


def test_a_huge_token_is_refused_before_it_is_read() -> None:
    """Above 64 KiB nothing is decoded; below it size does not matter."""
    assert code_of(token(x="a" * 40_000)) == "accepted"
    assert code_of(token(x="a" * 50_000)) == "token-too-large"
    assert code_of("a" * 10_000_000) == "token-too-large"


def test_hmac_with_the_public_key() -> None:
    """The public key, in any encoding, is never an HMAC secret."""
    secrets = [RSA.as_pem(), RSA.as_pem().strip(), RSA.as_der(), json.dumps(jwk(RSA)).encode(), b"\0"]
    for secret in secrets:
        start = token(header={"alg": "HS256"}).rpartition(".")[0]
        mac = encode_base64url(hmac.digest(secret, start.encode(), "sha256"))
        assert code_of(f"{start}.{mac}") == "token-algorithm"


def test_the_key_decides_the_algorithm() -> None:
    """A key is used with its one algorithm only, even where the expectation allows more."""
    text = sign(claims(), {"alg": "PS256", "kid": "rsa"}, RSA, "PS256")
    assert code_of(text) == "token-algorithm"
    assert code_of(text, keyset=keys(jwk(RSA, alg=...))) == "token-algorithm"
    assert code_of(text, keyset=keys(jwk(RSA, alg="PS256"))) == "accepted"


def test_a_foreign_key_under_a_known_kid() -> None:
    """Another issuer's signature under our kid is a wrong signature, not an unknown key."""
    assert code_of(sign(claims(), {"alg": "RS256", "kid": "rsa"}, OTHER_RSA)) == "token-signature"


def test_a_token_without_kid() -> None:
    """Without a kid a token is accepted if its algorithm leaves one key, else it names none."""
    text = token(header={"kid": ...})
    assert code_of(text, keyset=keys(jwk(RSA), jwk(P256))) == "accepted"
    assert code_of(text, keyset=keys(jwk(RSA), jwk(OTHER_RSA))) == "token-key-unknown"
    assert code_of(text, keyset=keys(jwk(OTHER_RSA))) == "token-signature"


def test_a_key_without_kid_answers_to_every_name() -> None:
    """A set of one key without a kid verifies tokens whether they name a kid or not."""
    keyset = keys(jwk(RSA, kid=...))
    assert code_of(token(), keyset=keyset) == "accepted"
    assert code_of(token(header={"kid": ...}), keyset=keyset) == "accepted"


@pytest.mark.parametrize("forged", [bytes(64), b"\x00" * 63 + b"\x01", bytes(63), bytes(65)])
def test_psychic_signatures(forged: bytes) -> None:
    """ECDSA signatures of zeros and of wrong lengths are wrong signatures (CVE-2022-21449)."""
    text = sign(claims(), {"alg": "ES256", "kid": "p256"}, P256, "ES256")
    start = text.rpartition(".")[0]
    assert code_of(text, keyset=keys(jwk(P256))) == "accepted"
    assert code_of(f"{start}.{encode_base64url(forged)}", keyset=keys(jwk(P256))) == "token-signature"


def test_claims_are_looked_at_after_the_signature() -> None:
    """An expired token with a wrong signature is a wrong signature: nothing unproven is read."""
    text = sign(claims(exp=1), {"alg": "RS256", "kid": "rsa"}, OTHER_RSA)
    assert code_of(text) == "token-signature"


def test_leeway_is_a_setting() -> None:
    """The leeway widens and narrows both ends of a token's life."""
    none = timedelta(0)
    assert code_of(token(exp=EPOCH), leeway=none) == "token-expired"
    assert code_of(token(exp=EPOCH + 1), leeway=none) == "accepted"
    assert code_of(token(nbf=EPOCH + 1), leeway=none) == "token-not-yet-valid"
    assert code_of(token(exp=EPOCH - 59), leeway=timedelta(minutes=1)) == "accepted"


def test_age_of_the_login() -> None:
    """`auth_time` is judged when a maximum age is set; without it a token passes unless it is required."""
    eight_hours = timedelta(hours=8)
    old = token(auth_time=EPOCH - 8 * 3600 - 31)
    assert code_of(old) == "accepted"
    assert code_of(old, max_auth_age=eight_hours) == "token-too-old"
    assert code_of(token(auth_time=EPOCH - 8 * 3600), max_auth_age=eight_hours) == "accepted"
    assert code_of(token(), max_auth_age=eight_hours) == "accepted"
    assert code_of(token(), max_auth_age=eight_hours, auth_time_required=True) == "token-too-old"


def test_any_audience_must_be_asked_for() -> None:
    """Not checking the audience takes its own type; nothing empty means everyone."""
    assert code_of(token(aud=...), audiences=UnsafeAnyAudience()) == "accepted"
    assert code_of(token(aud=3), audiences=UnsafeAnyAudience()) == "token-malformed"
    assert code_of(token(), audiences=("other", AUDIENCE)) == "accepted"


@pytest.mark.parametrize(
    "wrong",
    [
        {"audiences": ()},
        {"audiences": ("",)},
        {"audiences": "orders"},
        {"issuer": ""},
        {"algorithms": frozenset()},
        {"algorithms": frozenset({"none"})},
        {"algorithms": frozenset({"HS256"})},
        {"leeway": timedelta(seconds=-1)},
        {"max_lifetime": timedelta(0)},
    ],
    ids=str,
)
def test_an_expectation_that_checks_nothing(wrong: dict[str, Any]) -> None:
    """An expectation that asks for nothing, or for an unsafe algorithm, cannot be built."""
    with pytest.raises(ValueError, match=r"\w"):
        expect(**wrong)


def test_codes_are_distinct_and_stable() -> None:
    """Every error class has a code of its own that starts with `token-`."""
    classes = [
        thing
        for thing in vars(errors_module).values()
        if isinstance(thing, type) and issubclass(thing, TokenError) and thing is not TokenError
    ]
    codes = [thing.code for thing in classes]
    assert sorted(codes) == sorted(errors_module.CODES)
    assert len(set(codes)) == len(codes)
    assert all(code.startswith("token-") for code in codes)


def test_messages_say_got_and_expected_and_no_token() -> None:
    """A message names what was found and expected, and never a signature."""
    text = token(exp=EPOCH - 90)
    with pytest.raises(TokenExpired, match=r"expired at 2026-03-01T11:58:30Z, 0:01:30 ago") as caught:
        verify(text, keys=keys(), expect=expect(), now=NOW)
    assert text.rpartition(".")[2] not in str(caught.value)


def test_the_verifier_needs_nothing_of_the_gateway() -> None:
    """Importing the SDK loads no other module of the gateway than problems."""
    script = "import sys, wardgate.verify; print(sorted(m for m in sys.modules if m.startswith('wardgate')))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    loaded = {name.split(".")[1] for name in json.loads(shown.replace("'", '"')) if "." in name}
    assert loaded == {"problems", "verify"}
