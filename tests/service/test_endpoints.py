"""The gateway's own paths: which there are, who one is there, and what holds of every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from tests.service.oidc.issuer import OidcIssuer, refused
from tests.service.standing import HOST, KEY, Browser, Gate, settings_of, standing
from wardgate.policy import ALIASES, Endpoints, Introspection, Secret
from wardgate.policy import Session as Terms
from wardgate.service.app import public_app
from wardgate.service.runtime import NoSessions, Runtime
from wardgate.service.serve import private_socket

PATHS = (
    "authorize",
    "start",
    "callback",
    "logout",
    "logged_out",
    "token",
    "userinfo",
    "expired",
    "discovery",
    "login",
)


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with OidcIssuer() as serving:
        yield serving


def run(
    tmp_path: Path, issuer: OidcIssuer, scenario: Callable[[Gate], Awaitable[None]], **fields: Any
) -> None:
    async def whole() -> None:
        async with standing(tmp_path, issuer, **fields) as gate:
            await scenario(gate)

    asyncio.run(whole())


async def logged_in(gate: Gate) -> Browser:
    browser = gate.browser()
    assert (await gate.log_in(browser)).status_code == 303
    return browser


# --- Which there are


def test_no_answer_is_kept_and_none_tells_where_one_was(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Every answer of every path and method carries no-store and a referrer policy, and none is 404 but unknown ones."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        for path in (
            *(f"/oauth/{name}" for name in PATHS),
            *ALIASES,
            "/oauth/backchannel_logout",
            "/oauth/none",
        ):
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
                answer = await browser.http.request(method, path)
                assert answer.headers["cache-control"] == "no-store", path
                assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin"), path
                assert (answer.status_code == 404) == path.endswith("/none"), (method, path)
                assert "wardgate" not in answer.headers.get("server", "")

    run(tmp_path, issuer, scenario)


@pytest.mark.parametrize(
    "path", ["/", "/oauth", "/oauth/", "/oauth/token/", "/OAuth/token", "/oauth//token", "/oauth2/x"]
)
def test_other_paths_are_404(tmp_path: Path, issuer: OidcIssuer, path: str) -> None:
    """Only the exact paths are endpoints; the answer is a problem document."""

    async def scenario(gate: Gate) -> None:
        answer = await gate.browser().get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "endpoint-unknown"

    run(tmp_path, issuer, scenario)


def test_the_prefix_is_configurable(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Below another prefix everything works, the redirect URI included, and `/oauth` is nothing."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        assert (await browser.get("/oauth/start")).status_code == 404
        answer = await browser.get("/_auth/start?rd=/oauth/x")
        assert "redirect_uri=https%3A%2F%2Fshop.example%2F_auth%2Fcallback" in answer.headers["location"]
        assert (await browser.get("/_auth/start?rd=/_auth/logout")).status_code == 400

    run(tmp_path, issuer, scenario, settings={"endpoints": Endpoints(prefix="/_auth")})


def test_discovery_says_where_they_are(tmp_path: Path, issuer: OidcIssuer) -> None:
    """In gatekeeper's words."""

    async def scenario(gate: Gate) -> None:
        found = (await gate.browser().get("/oauth/discovery")).json()
        assert found["expired_endpoint"] == "/oauth/expired"
        assert found["logout_endpoint"] == "/oauth/logout"
        assert found["token_endpoint"] == "/oauth/token"
        assert found["login_endpoint"] == "/oauth/login"

    run(tmp_path, issuer, scenario)


def test_over_a_real_socket(tmp_path: Path, issuer: OidcIssuer) -> None:
    """As Envoy reaches it: uvicorn on a unix socket; HEAD has no body, two cookies of one name are refused."""

    async def scenario(gate: Gate) -> None:
        config = uvicorn.Config(gate.app, lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        path = str(tmp_path / "p")
        serving = asyncio.create_task(server.serve(sockets=[private_socket(path)]))
        transport = httpx.AsyncHTTPTransport(uds=path)
        try:
            async with httpx.AsyncClient(transport=transport, base_url=HOST.replace("https", "http")) as http:
                browser = await logged_in(gate)
                cookie = f"__Host-wardgate-session={browser.session}"
                assert (await http.get("/oauth/token", headers={"cookie": cookie})).json()["sub"] == "u-1"
                head = await http.head("/oauth/discovery")
                assert (head.status_code, head.content) == (200, b"")
                twice = await http.get("/oauth/token", headers={"cookie": f"{cookie}; {cookie}"})
                assert twice.status_code == 400
                for byte in (b"\x85", b"\xa0"):
                    odd = await http.get("/oauth/token", headers={b"cookie": byte + cookie.encode()})
                    assert odd.status_code == 401
        finally:
            server.should_exit = True
            await serving

    run(tmp_path, issuer, scenario)


# --- Who one is


def test_who_one_is_by_session_and_by_token(tmp_path: Path, issuer: OidcIssuer) -> None:
    """`token`, `userinfo`, `expired` and the aliases answer a session and a bearer token; no token's text is in them."""

    async def scenario(gate: Gate) -> None:
        browser, bearer = await logged_in(gate), f"Bearer {issuer.mint(issuer.access_claims())}"
        for answer in (
            await browser.get("/oauth/token"),
            await gate.browser().get("/oauth/token", authorization=bearer),
        ):
            assert answer.json()["realm_access"] == {"roles": ["user"]}
            assert "eyJ" not in answer.text
        assert (await browser.get("/oauth/userinfo")).json()["email"] == "a@shop.example"
        assert (await browser.get("/oauth2/userinfo")).json() == {"user": "u-1", "email": "a@shop.example"}
        assert (await browser.get("/oauth/expired")).status_code == 200
        assert (await browser.get("/oauth2/auth")).status_code == 202

    run(tmp_path, issuer, scenario)


def test_who_nobody_is(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Nobody is 401 with a challenge, a bad token 401, a session beside a token 400."""

    async def scenario(gate: Gate) -> None:
        browser, nobody = await logged_in(gate), gate.browser()
        bearer = f"Bearer {issuer.mint(issuer.access_claims())}"
        for path in ("/oauth/token", "/oauth/userinfo", "/oauth/expired", "/oauth2/auth", "/oauth2/userinfo"):
            answer = await nobody.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert (await browser.get(path, authorization=bearer)).status_code == 400
            assert (await nobody.get(path, cookie="__Host-wardgate-session=x")).status_code == 401
            assert (await nobody.get(path, cookie=f"wardgate-session={browser.session}")).status_code == 401
        wrong = [
            issuer.mint(issuer.access_claims(aud="other")),
            issuer.mint(issuer.access_claims(iss="http://evil.test")),
            issuer.mint(issuer.access_claims(), {"alg": "none"}),
            issuer.mint(issuer.access_claims(typ="ID")),
            "opaque",
        ]
        for token in wrong:
            assert (await nobody.get("/oauth/token", authorization=f"Bearer {token}")).status_code == 401
            assert (await nobody.get("/oauth/expired", authorization=f"Bearer {token}")).status_code == 403
        late = issuer.mint(issuer.access_claims(exp=1, iat=0))
        assert (await nobody.get("/oauth/expired", authorization=f"Bearer {late}")).status_code == 401
        assert (await nobody.get("/oauth/token", authorization="Basic dTpw")).status_code == 401

    run(tmp_path, issuer, scenario)


def test_opaque_tokens_are_asked_about(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With introspection an opaque bearer token is who its issuer says; one that is not active is 401."""
    issuer.active["good"] = {"active": True, "sub": "u-7", "aud": "shop", "iss": issuer.url}

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        assert (await browser.get("/oauth/token", authorization="Bearer good")).json()["sub"] == "u-7"
        assert (await browser.get("/oauth/token", authorization="Bearer bad")).status_code == 401
        issuer.answers["introspect"] = lambda _: refused(503, "x")
        assert (await browser.get("/oauth/token", authorization="Bearer other")).status_code == 503

    run(tmp_path, issuer, scenario, providers=(issuer.provider(introspection=Introspection.OPAQUE),))


# --- Logins by password


def test_password_logins_are_off(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Unless configured, 501, as gatekeeper."""

    async def scenario(gate: Gate) -> None:
        answer = await gate.browser().post("/oauth/login", {"username": "u", "password": "right"})
        assert answer.status_code == 501
        assert issuer.asked("token") == []

    run(tmp_path, issuer, scenario)


def test_a_password_login_makes_a_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A form or JSON with the right password: a session cookie and who it is, no token."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        answer = await browser.post("/oauth/login", {"username": "u", "password": "right"})
        assert answer.status_code == 200
        assert answer.json().keys() == {"sub", "provider", "ends"}
        assert (await browser.get("/oauth/token")).json()["sub"] == "u-1"
        before = browser.session
        answer = await browser.http.post("/oauth/login", json={"username": "u", "password": "right"})
        assert answer.status_code == 200
        assert browser.session != before
        assert gate.runtime.kept.logins.succeeded == 2

    run(tmp_path, issuer, scenario, password_login=True)


def test_a_password_login_that_fails(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Wrong is 401, incomplete 400, another site's page 403, an issuer that is away 503: no session in any."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        good = {"username": "u", "password": "right"}
        assert (await browser.post("/oauth/login", {**good, "password": "wrong"})).status_code == 401
        assert (await browser.post("/oauth/login", {"username": "u"})).status_code == 400
        assert (await browser.http.post("/oauth/login", json=["u"])).status_code == 400
        assert (await browser.http.post("/oauth/login", content=b"\xff\xfe")).status_code == 400
        assert (await browser.post("/oauth/login", good, origin="https://evil.test")).status_code == 403
        assert (await browser.post("/oauth/login", good, sec_fetch_site="cross-site")).status_code == 403
        assert (await browser.post("/oauth/login", {**good, "x": "y" * 20_000})).status_code == 413
        issuer.answers["token"] = lambda _: refused(500, "x")
        assert (await browser.post("/oauth/login", good)).status_code == 503
        assert browser.session is None

    run(tmp_path, issuer, scenario, password_login=True)


def test_passwords_are_not_guessed_at_speed(tmp_path: Path, issuer: OidcIssuer) -> None:
    """After ten wrong passwords for one name, or from one address, 429, and the issuer is not asked any more."""

    async def scenario(gate: Gate) -> None:
        one = gate.browser(address="203.0.113.1")
        wrong = {"username": "u", "password": "wrong"}
        statuses = [(await one.post("/oauth/login", wrong)).status_code for _ in range(14)]
        assert statuses == [401] * 10 + [429] * 4
        assert len(issuer.asked("token")) == 10
        other = gate.browser(address="203.0.113.2")
        assert (await other.post("/oauth/login", {"username": "U", "password": "right"})).status_code == 429
        assert (await other.post("/oauth/login", {"username": "v", "password": "right"})).status_code == 200

    run(tmp_path, issuer, scenario, password_login=True)


# --- The runtime


def test_a_change_of_settings_keeps_what_did_not_change(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Store, clients and figures are handed on; sessions go on; another key is another store's reader."""

    async def scenario(gate: Gate) -> None:
        browser, before = await logged_in(gate), gate.runtime
        terms = replace(before.session, idle=timedelta(minutes=5))
        gate.runtime = Runtime.build(
            replace(before.settings, session=terms), before, refreshers=gate.refreshers
        )
        await before.close(gate.runtime)
        assert gate.runtime.store is before.store
        assert gate.runtime.kept.logins.succeeded == 1
        assert (await browser.get("/oauth/token")).status_code == 200
        rotated = replace(terms, encryption_key=Secret("f" * 32, "${NEW}"), old_encryption_keys=(KEY,))
        last = gate.runtime
        gate.runtime = Runtime.build(
            replace(before.settings, session=rotated), last, refreshers=gate.refreshers
        )
        await last.close(gate.runtime)
        assert gate.runtime.store is not last.store
        assert (await browser.get("/oauth/token")).status_code == 200

    run(tmp_path, issuer, scenario)


def test_a_policy_without_a_session_has_no_endpoints(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Nothing can be logged in to, and nothing half-works: every path is 404."""

    async def scenario(gate: Gate) -> None:
        settings = replace(settings_of(tmp_path, session=Terms()), session=None)
        bare = Runtime.build(settings, refreshers=gate.refreshers)
        with pytest.raises(NoSessions):
            _ = bare.sessions
        browser = Browser(public_app(lambda: bare))
        for path in ("/oauth/start", "/oauth/token", "/oauth/backchannel_logout"):
            assert (await browser.get(path)).status_code == 404
        await browser.http.aclose()
        await bare.close()

    run(tmp_path, issuer, scenario)
