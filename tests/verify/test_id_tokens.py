"""`verify_id_token` and `verify_logout_token` without a network: what each form of key and hash does."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from tests.verify.issuer import ALL_FORMS, EPOCH, ISSUER, NOW, Case, sign
from wardgate.problems import TokenError
from wardgate.verify import (
    ALGORITHMS,
    SignedClaims,
    TokenAudienceWrong,
    TokenTypeRefused,
    clean_jwks,
    verify_id_token,
)
from wardgate.verify.compact import encode_base64url
from wardgate.verify.id_tokens import require_same_login

CLIENT = "shop-web"


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "u-1",
        "typ": "ID",
        "iat": EPOCH,
        "exp": EPOCH + 300,
        "nonce": "n",
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def judged(case: Case, content: dict[str, Any], **expect: Any) -> SignedClaims:
    public = {**case.key.as_dict(private=False), "kid": case.kid, "alg": case.alg, "use": "sig"}
    token = sign(content, {"alg": case.alg, "typ": "JWT", "kid": case.kid}, case.key, case.alg)
    given: dict[str, Any] = {
        "issuer": ISSUER,
        "client_id": CLIENT,
        "algorithms": ALGORITHMS,
        "now": NOW,
        "nonce": "n",
    }
    return verify_id_token(token, keys=clean_jwks({"keys": [public]}), **{**given, **expect})


@pytest.mark.parametrize("case", ALL_FORMS, ids=lambda case: case.alg)
def test_at_hash_goes_by_the_algorithm(case: Case) -> None:
    """The hash is half of the one that the signature is made with; the other half, or another hash, is refused."""
    name = "sha" + (case.alg[2:] if case.alg != "EdDSA" else "512")
    digest = hashlib.new(name, b"access").digest()
    right = encode_base64url(digest[: len(digest) // 2])
    assert judged(case, claims(at_hash=right), access_token="access").subject == "u-1"
    for wrong in (encode_base64url(digest[len(digest) // 2 :]), right + "A", "", 5):
        with pytest.raises(TokenError) as caught:
            judged(case, claims(at_hash=wrong), access_token="access")
        assert caught.value.code == "token-at-hash"


def test_an_algorithm_that_is_not_allowed() -> None:
    """The provider's list holds for ID tokens, too."""
    with pytest.raises(TokenError) as caught:
        judged(ALL_FORMS[0], claims(), algorithms=frozenset({"ES256"}))
    assert caught.value.code == "token-algorithm"


def test_leeway_holds_at_both_ends() -> None:
    """A clock that differs by less than the leeway refuses nobody, one that differs by more does."""
    form = ALL_FORMS[0]
    leeway = timedelta(seconds=30)
    assert judged(form, claims(iat=EPOCH + 29), leeway=leeway)
    assert judged(form, claims(exp=EPOCH - 29), leeway=leeway)
    for changes in ({"iat": EPOCH + 31}, {"exp": EPOCH - 31}):
        with pytest.raises(TokenError):
            judged(form, claims(**changes), leeway=leeway)


def test_a_login_of_max_age_zero_is_a_new_one() -> None:
    """`max_age` 0 asks for a login now."""
    assert judged(ALL_FORMS[0], claims(auth_time=EPOCH), max_age=timedelta(0))
    with pytest.raises(TokenError):
        judged(ALL_FORMS[0], claims(auth_time=EPOCH - 60), max_age=timedelta(0))


def test_the_same_login() -> None:
    """Person, issuer and client stay; more audiences and a later authentication are no other login."""
    before = claims()
    require_same_login(claims(aud=[CLIENT, "x"], auth_time=5, nonce="m"), before)
    for changes, kind in (
        ({"sub": "u-2"}, TokenTypeRefused),
        ({"iss": "https://other.example"}, TokenTypeRefused),
        ({"aud": "x"}, TokenAudienceWrong),
    ):
        with pytest.raises(kind):
            require_same_login(claims(**changes), before)
