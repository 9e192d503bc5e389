"""The client against the development identity provider, which answers as Keycloak does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.realm import GATEWAY_CLIENT, S0_REALM
from tests.service.oidc.conftest import client_of
from wardgate.idp import IdpServer
from wardgate.keystore import KeyStore
from wardgate.policy import Audiences, Provider, Secret
from wardgate.problems import TokenError
from wardgate.service.oidc import GrantEnded, IssuerAway, LoginRefused
from wardgate.verify import read_unverified


@pytest.fixture
def idp() -> Iterator[IdpServer]:
    with IdpServer(S0_REALM) as serving:
        yield serving


def provider(idp: IdpServer, **fields: Any) -> Provider:
    secret = idp.realm.clients[GATEWAY_CLIENT].secret
    assert secret is not None
    audience = read_unverified(idp.token("user", client_id=GATEWAY_CLIENT)).claims["aud"]
    named = tuple(audience) if isinstance(audience, list) else (str(audience),)
    given = {
        "name": "idp",
        "issuer": idp.issuer,
        "audience": Audiences(any_of=named),
        "client_id": GATEWAY_CLIENT,
        "client_secret": Secret(secret, "${S}"),
    }
    return Provider(**{**given, **fields})


def password(idp: IdpServer, username: str) -> str:
    user = idp.realm.user(username)
    assert user is not None
    assert user.password is not None
    return user.password


def test_a_session_from_password_to_end(idp: IdpServer, store: KeyStore) -> None:
    """Password, renewal, userinfo, introspection; when the issuer ends the session, the next renewal says so."""

    async def scenario() -> None:
        async with client_of(provider(idp), store, userinfo=True) as client:
            tokens = await client.password("user", password(idp, "user"))
            assert tokens.id_claims["preferred_username"] == "user"
            assert tokens.userinfo is not None
            assert tokens.claims["typ"] == "Bearer"
            renewed = await client.refresh(tokens)
            assert renewed.access_token != tokens.access_token
            assert renewed.id_claims["sub"] == tokens.id_claims["sub"]
            assert (await client.bearer(renewed.access_token))["sub"] == tokens.id_claims["sub"]
            idp.provider.log_out(str(tokens.id_claims["sid"]))
            with pytest.raises(GrantEnded):
                await client.refresh(renewed)
            with pytest.raises(GrantEnded):
                await client.userinfo(renewed.access_token)
            with pytest.raises(LoginRefused) as caught:
                await client.password("user", "wrong")
            assert caught.value.code == "login-password"

    asyncio.run(scenario())


def test_introspection_refuses_id_tokens(idp: IdpServer, store: KeyStore) -> None:
    """The issuer calls its ID token active, as Keycloak does; it opens nothing."""

    async def scenario() -> None:
        async with client_of(provider(idp, audience=Audiences(any_of=(GATEWAY_CLIENT,))), store) as client:
            tokens = idp.tokens("user", client_id=GATEWAY_CLIENT)
            with pytest.raises(TokenError) as caught:
                await client.introspect(tokens["id_token"])
            assert caught.value.code == "token-type"
            assert await client.introspect("nonsense") is None

    asyncio.run(scenario())


def test_a_rotation_refuses_no_token(idp: IdpServer, store: KeyStore) -> None:
    """Tokens of the new key are judged at once, those of the old one until it is withdrawn."""

    async def scenario() -> None:
        async with client_of(provider(idp), store) as client:
            old = idp.token("user", client_id=GATEWAY_CLIENT)
            assert await client.bearer(old)
            idp.rotate()
            assert await client.bearer(idp.token("user", client_id=GATEWAY_CLIENT))
            assert await client.bearer(old)

    asyncio.run(scenario())


def test_an_issuer_that_comes_back(idp: IdpServer, store: KeyStore) -> None:
    """While it is stopped a renewal is IssuerAway, and the same refresh token works when it serves again."""

    async def scenario() -> None:
        async with client_of(provider(idp), store) as client:
            tokens = await client.password("user", password(idp, "user"))
            await asyncio.to_thread(idp.stop)
            with pytest.raises(IssuerAway):
                await client.refresh(tokens)
            await asyncio.to_thread(idp.start)
            assert await client.refresh(tokens)

    asyncio.run(scenario())


def test_a_secret_that_is_rotated_ends_no_session(idp: IdpServer, store: KeyStore) -> None:
    """Another secret at the issuer than ours is a misconfiguration: said loudly, and nobody is logged out."""

    async def scenario() -> None:
        async with client_of(provider(idp), store) as client:
            tokens = await client.password("user", password(idp, "user"))
        async with client_of(provider(idp, client_secret=Secret("other", "${S}")), store) as client:
            with pytest.raises(IssuerAway) as caught:
                await client.refresh(tokens)
            assert caught.value.code == "client-refused"

    asyncio.run(scenario())
