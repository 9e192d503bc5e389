"""Back-channel logout tokens through the client: right ones, and each that is not (Back-Channel Logout 2.6)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.service.oidc.conftest import client_of
from tests.service.oidc.issuer import Login, OidcIssuer
from wardgate.keystore import KeyStore
from wardgate.problems import TokenError
from wardgate.verify import LogoutToken

EVENT = "http://schemas.openid.net/event/backchannel-logout"


def told(issuer: OidcIssuer, store: KeyStore, token: str) -> LogoutToken:
    async def scenario() -> LogoutToken:
        async with client_of(issuer.provider(), store) as client:
            return await client.logout_token(token)

    return asyncio.run(scenario())


@pytest.mark.parametrize("header", [{}, {"typ": "logout+jwt"}, {"typ": ...}])
def test_a_logout_token_names_the_login(issuer: OidcIssuer, store: KeyStore, header: dict[str, Any]) -> None:
    """Issuer, person, session and the token's own name, and until when that name must be remembered."""
    claims = issuer.logout_claims()
    found = told(issuer, store, issuer.mint(claims, header))
    assert (found.issuer, found.subject, found.issuer_session) == (issuer.url, "u-1", "s-1")
    assert found.jti == claims["jti"]
    assert time.time() + 100 < found.expires.timestamp() < time.time() + 160


@pytest.mark.parametrize("changes", [{"sid": ...}, {"sub": ...}, {"exp": ...}, {"typ": ...}])
def test_what_a_logout_token_may_leave_out(
    issuer: OidcIssuer, store: KeyStore, changes: dict[str, Any]
) -> None:
    """One of person and session is enough; without an end it is good for two minutes."""
    found = told(issuer, store, issuer.mint(issuer.logout_claims(**changes)))
    assert found.subject or found.issuer_session
    assert found.expires.timestamp() < time.time() + 160


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no events": ({"events": ...}, {}, "token-type"),
    "events of another kind": ({"events": {"http://other": {}}}, {}, "token-type"),
    "events as text": ({"events": EVENT}, {}, "token-type"),
    "an event that is no object": ({"events": {EVENT: True}}, {}, "token-type"),
    "a nonce": ({"nonce": "n"}, {}, "token-type"),
    "wrong aud": ({"aud": "other"}, {}, "token-audience"),
    "wrong iss": ({"iss": "https://other.example"}, {}, "token-issuer"),
    "neither sub nor sid": ({"sub": ..., "sid": ...}, {}, "token-malformed"),
    "a sub that is no text": ({"sub": 5}, {}, "token-malformed"),
    "an empty sid": ({"sid": "", "sub": ...}, {}, "token-malformed"),
    "two hours old": ({"iat": 7200, "exp": ...}, {}, "token-expired"),
    "two hours old with a long end": ({"iat": 7200}, {}, "token-expired"),
    "from the future": ({"iat": -3600}, {}, "token-not-yet-valid"),
    "expired": ({"exp": 5}, {}, "token-expired"),
    "without a time": ({"iat": ...}, {}, "token-malformed"),
    "no jti": ({"jti": ...}, {}, "token-malformed"),
    "a jti that is no text": ({"jti": 5}, {}, "token-malformed"),
    "an ID token by typ": ({"typ": "ID"}, {}, "token-type"),
    "an access token by typ": ({"typ": "Bearer"}, {}, "token-type"),
    "an access token by header": ({}, {"typ": "at+jwt"}, "token-type"),
    "crit": ({}, {"crit": ["x"], "x": 1}, "token-critical"),
    "not signed": ({}, {"alg": "none"}, "token-malformed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_logout_token_that_is_wrong_is_refused(issuer: OidcIssuer, store: KeyStore, case: str) -> None:
    """Each defect is refused with its own reason."""
    changes, header, code = WRONG[case]
    if isinstance(changes.get("iat"), int):
        changes = {**changes, "iat": int(time.time()) - changes["iat"]}
    with pytest.raises(TokenError) as caught:
        told(issuer, store, issuer.mint(issuer.logout_claims(**changes), header))
    assert caught.value.code == code


def test_other_tokens_of_the_issuer_are_no_logout_tokens(issuer: OidcIssuer, store: KeyStore) -> None:
    """An ID token and an access token for us, rightly signed, log nobody out."""
    for claims in (issuer.id_claims(Login(), "x"), issuer.access_claims(aud="shop:web")):
        with pytest.raises(TokenError) as caught:
            told(issuer, store, issuer.mint(claims))
        assert caught.value.code in ("token-type", "token-malformed")


def test_a_logout_token_of_another_key_is_refused(issuer: OidcIssuer, store: KeyStore) -> None:
    """Signed by a key that is not the issuer's, though it says so."""
    from tests.service.oidc.issuer import signing_key

    with pytest.raises(TokenError) as caught:
        told(issuer, store, issuer.mint(issuer.logout_claims(), {"kid": "k1"}, signing_key("evil")))
    assert caught.value.code == "token-signature"
