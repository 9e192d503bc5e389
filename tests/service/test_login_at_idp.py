"""
A person's whole way: through our endpoints, the login page of the development provider, and back; and out again.

The provider speaks as Keycloak does; both sides are real, only the browser runs no scripts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.idp.visitor import Page, Told, Visitor
from tests.service.standing import HOST, Browser, Gate, standing
from wardgate.idp import IdpServer
from wardgate.policy import Audiences, Provider, Secret

OURS = {"sec_fetch_site": "same-origin", "origin": HOST}


def realm(told: str, access_seconds: int) -> str:
    audience = {
        "name": "audience",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {"included.client.audience": "shop", "access.token.claim": "true"},
    }
    attributes = {
        "post.logout.redirect.uris": f"{HOST}/*",
        "backchannel.logout.url": told,
        "backchannel.logout.session.required": "true",
        "access.token.lifespan": str(access_seconds),
    }
    client = {
        "clientId": "shop",
        "secret": "shop-secret",
        "redirectUris": [f"{HOST}/oauth/callback"],
        "protocolMappers": [audience],
        "attributes": attributes,
    }
    user = {
        "username": "pat",
        "enabled": True,
        "email": "pat@shop.test",
        "credentials": [{"type": "password", "value": "correct-horse"}],
    }
    return json.dumps(
        {"realm": "shop", "enabled": True, "sslRequired": "none", "clients": [client], "users": [user]}
    )


def run(
    tmp_path: Path,
    scenario: Callable[[Gate, Browser, Visitor, Told], Awaitable[None]],
    access_seconds: int = 300,
    **session: str,
) -> None:
    async def whole(issuer: str, told: Told) -> None:
        provider = Provider(
            name="own",
            issuer=issuer,
            audience=Audiences(any_of=("shop",)),
            client_id="shop",
            client_secret=Secret("shop-secret", "${SECRET}"),
        )
        with Visitor(issuer) as visitor:
            async with standing(tmp_path, None, providers=(provider,), **session) as gate:  # type: ignore[arg-type]
                await scenario(gate, gate.browser(), visitor, told)

    with Told() as told:
        file = tmp_path / "realm.json"
        file.write_text(realm(f"{told.url}/told", access_seconds))
        with IdpServer(file) as server:
            asyncio.run(whole(f"{server.base_url}/realms/shop", told))


async def log_in(browser: Browser, visitor: Visitor, rd: str = "/orders?page=2") -> httpx.Response:
    """Our answer to the callback."""
    begun = await browser.get(f"/oauth/start?rd={rd}")
    page = await asyncio.to_thread(visitor.go, begun.headers["location"])
    if page.asks:
        page = await asyncio.to_thread(visitor.submit, page, "pat", "correct-horse")
    return await browser.get(back(page))


def back(page: Page) -> str:
    """Path and query of the address of ours that the provider sends the browser to."""
    assert page.location.startswith(HOST), (page.status, page.words)
    parts = urlsplit(page.location)
    return f"{parts.path}?{parts.query}"


def test_wrong_password_then_right_and_out_again(tmp_path: Path) -> None:
    """The deep link is reached, the session is the person's, and a logout ends it here and at the provider."""

    async def scenario(gate: Gate, browser: Browser, visitor: Visitor, _: Told) -> None:
        begun = await browser.get("/oauth/start?rd=/orders?page=2")
        page = await asyncio.to_thread(visitor.go, begun.headers["location"])
        page = await asyncio.to_thread(visitor.submit, page, "pat", "wrong")
        assert page.asks
        page = await asyncio.to_thread(visitor.submit, page, "pat", "correct-horse")
        answer = await browser.get(back(page))
        assert answer.headers["location"] == f"{HOST}/orders?page=2"
        assert (await browser.get("/oauth/userinfo")).json()["email"] == "pat@shop.test"
        answer = await browser.post("/oauth/logout", **OURS)
        assert answer.status_code == 303
        left = await asyncio.to_thread(visitor.go, answer.headers["location"])
        assert left.location == f"{HOST}/oauth/logged_out"
        page = await browser.get("/oauth/logged_out")
        assert "signed out" in page.text
        begun = await browser.get("/oauth/start?rd=/")
        assert (await asyncio.to_thread(visitor.go, begun.headers["location"])).asks

    run(tmp_path, scenario, post_logout_url="/oauth/logged_out")


def test_who_is_logged_in_at_the_provider_is_not_asked_again(tmp_path: Path) -> None:
    """A second login is silent, and its session another one."""

    async def scenario(gate: Gate, browser: Browser, visitor: Visitor, _: Told) -> None:
        await log_in(browser, visitor)
        before = browser.session
        begun = await browser.get("/oauth/start?rd=/")
        page = await asyncio.to_thread(visitor.go, begun.headers["location"])
        assert not page.asks
        await browser.get(back(page))
        assert browser.session not in (None, before)

    run(tmp_path, scenario)


def test_a_logout_at_the_provider_is_told_and_obeyed(tmp_path: Path) -> None:
    """The provider's own logout token, as it sends it, ends the session; once."""

    async def scenario(gate: Gate, browser: Browser, visitor: Visitor, told: Told) -> None:
        await log_in(browser, visitor)
        session = [one async for one in gate.runtime.sessions.list()]
        (kept,) = session
        found = await gate.runtime.sessions.store.read(kept.name)
        assert found is not None
        assert found.tokens.id_token is not None
        await asyncio.to_thread(visitor.log_out, id_token_hint=found.tokens.id_token)
        ((_, token),) = told.calls
        form = {"logout_token": token}
        assert (await gate.browser().post("/oauth/backchannel_logout", form)).status_code == 200
        assert (await browser.get("/oauth/token")).status_code == 401
        assert (await gate.browser().post("/oauth/backchannel_logout", form)).status_code == 400

    run(tmp_path, scenario)


def test_a_session_outlives_its_access_tokens(tmp_path: Path) -> None:
    """With tokens of seconds the session goes on, each time with claims that the provider has just signed."""

    async def scenario(gate: Gate, browser: Browser, visitor: Visitor, _: Told) -> None:
        await log_in(browser, visitor)
        ends = set()
        for _number in range(400):
            answer = await browser.get("/oauth/token")
            assert answer.status_code == 200
            ends.add(answer.json()["exp"])
            if len(ends) >= 3:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"only these tokens: {ends}")

    run(tmp_path, scenario, access_seconds=4)
