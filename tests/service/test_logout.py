"""
Logouts, whoever asks for them: the person, the issuer's server, the issuer's page; and everyone who may not.

The back-channel cases of class `login` in the shared list are among them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest

from tests.service.oidc.issuer import Login, OidcIssuer
from tests.service.standing import HOST, Browser, Gate, standing
from wardgate.service.settings import HostTerms

OURS = {"sec_fetch_site": "same-origin", "origin": HOST}
FORM = "application/x-www-form-urlencoded"


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


async def goes_on(gate: Gate, browser: Browser) -> bool:
    return (await browser.get("/oauth/expired")).status_code == 200


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


# --- By the person


def test_a_logout_ends_the_session_and_goes_on_to_the_issuer(tmp_path: Path, issuer: OidcIssuer) -> None:
    """The session ends in the store and at Envoy, cookie and cache go, and the issuer is asked to log out, too."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        session_id = browser.session
        answer = await browser.post("/oauth/logout", **OURS)
        assert answer.status_code == 303
        assert gate.envoy.asked == 1
        target = urlsplit(answer.headers["location"])
        asked = dict(parse_qsl(target.query))
        assert answer.headers["location"].startswith(f"{issuer.url}/logout?")
        assert asked["id_token_hint"].count(".") == 2
        assert asked["post_logout_redirect_uri"] == f"{HOST}/bye"
        assert answer.headers["clear-site-data"] == '"cache"'
        assert answer.headers["cache-control"] == "no-store"
        assert browser.session is None
        kept = await gate.browser().get("/oauth/token", cookie=f"__Host-wardgate-session={session_id}")
        assert kept.status_code == 401
        await until(lambda: len(issuer.asked("revoke")) == 1, "the refresh token is revoked")
        assert issuer.refresh == {}

    run(tmp_path, issuer, scenario, post_logout_url="/bye")


def test_a_logout_only_here(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Where the issuer is not to be logged out at, a page says that one is signed out, or the configured place follows."""

    async def scenario(gate: Gate) -> None:
        answer = await (await logged_in(gate)).post("/oauth/logout", **OURS)
        assert answer.status_code == 200
        assert "signed out" in answer.text
        answer = await (await logged_in(gate)).post("/oauth/logout?rd=/start", **OURS)
        assert answer.headers["location"] == f"{HOST}/start"
        answer = await (await logged_in(gate)).post("/oauth/logout", **OURS, sec_fetch_mode="cors")
        assert answer.json() == {"logged_out": True, "continue": None}

    run(tmp_path, issuer, scenario, logout_at_issuer=False)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site", "origin": "https://evil.test"},
        {"sec_fetch_site": "same-site", "origin": "https://evil.shop.example"},
        {"sec_fetch_site": "cross-site", "origin": "null"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": "https://shop.example:8443"},
        {"origin": "http://shop.example"},
    ],
)
def test_another_sites_form_ends_nothing(tmp_path: Path, issuer: OidcIssuer, headers: dict[str, str]) -> None:
    """A POST that another origin made is 403 with a page that asks, and the session goes on."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        answer = await browser.post("/oauth/logout", {"token": "x"}, **headers)
        assert answer.status_code == 403
        assert 'name="token"' in answer.text
        assert await goes_on(gate, browser)

    run(tmp_path, issuer, scenario)


def test_another_site_takes_no_cookie_away(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Where SameSite keeps the session back from another site's request, the answer does not remove it, or say it is over."""

    async def scenario(gate: Gate) -> None:
        for ask in (gate.browser().post, gate.browser().get):
            answer = await ask("/oauth/logout", sec_fetch_site="cross-site", origin="https://evil.test")
            assert 'name="token"' in answer.text
            assert "set-cookie" not in answer.headers
            assert "clear-site-data" not in answer.headers

    run(tmp_path, issuer, scenario)


def test_the_page_that_asks_is_answered_by_its_form(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A link leads to a page; its form logs out even without Origin's word; its token is of this session only."""

    async def scenario(gate: Gate) -> None:
        browser, other = await logged_in(gate), await logged_in(gate)
        page = await browser.get("/oauth/logout?rd=/bye", sec_fetch_site="cross-site")
        assert page.status_code == 200
        assert 'name="rd" value="/bye"' in page.text
        form = {"token": page.text.partition('name="token" value="')[2].partition('"')[0]}
        assert (await other.post("/oauth/logout", form, origin="null")).status_code == 403
        assert await goes_on(gate, other)
        assert (await browser.post("/oauth/logout", form, origin="null")).status_code == 303
        assert browser.session is None

    run(tmp_path, issuer, scenario)


@pytest.mark.parametrize(
    ("site", "ends"), [("same-origin", True), ("none", True), ("cross-site", False), ("", False)]
)
def test_logout_by_get_is_for_ones_own_pages(
    tmp_path: Path, issuer: OidcIssuer, site: str, ends: bool
) -> None:
    """With `logout_by_get` a link of ours or a typed address logs out; another site's, or one of nobody knows whom, asks."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        headers = {"sec_fetch_site": site} if site else {}
        answer = await browser.get("/oauth/logout", **headers)
        assert answer.status_code == (303 if ends else 200)
        assert await goes_on(gate, browser) != ends

    run(tmp_path, issuer, scenario, logout_by_get=True)


def test_an_origin_that_cors_lets_in_may_log_out(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A single-page application on an origin that the host's CORS lists can post to the logout."""
    hosts = (HostTerms(names=("shop.example",), origins=("https://app.example",)),)

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        told = {"origin": "https://app.example", "sec_fetch_site": "cross-site", "sec_fetch_mode": "cors"}
        answer = await browser.post("/oauth/logout", **told)
        assert answer.json()["logged_out"] is True
        assert not await goes_on(gate, browser)

    run(tmp_path, issuer, scenario, settings={"hosts": hosts})


@pytest.mark.parametrize("rd", ["//evil.test", "https://evil.test/", "/\\evil.test", "/oauth/start"])
def test_a_logout_never_leads_elsewhere(tmp_path: Path, issuer: OidcIssuer, rd: str) -> None:
    """`rd` obeys what logins obey; with a bad one nothing ends."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        for name in ("rd", "redirect"):
            assert (
                await browser.post(f"/oauth/logout?{name}={quote(rd, safe='')}", **OURS)
            ).status_code == 400
        assert (await browser.post("/oauth/logout", {"rd": rd}, **OURS)).status_code == 400
        assert await goes_on(gate, browser)

    run(tmp_path, issuer, scenario)


def test_a_logout_waits_for_envoy(tmp_path: Path, issuer: OidcIssuer) -> None:
    """When Envoy does not say that it refuses the session, the answer is 503; in the store it has ended."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        gate.envoy.refuses = False
        answer = await browser.post("/oauth/logout", **OURS)
        assert answer.status_code == 503
        assert [one async for one in gate.runtime.sessions.list()] == []

    run(tmp_path, issuer, scenario)


def test_a_logout_that_the_store_cannot_record_is_none(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A store that is away makes it 503; cookie and session stay, so that it can be tried again."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        await gate.runtime.sessions.store.close()
        file = tmp_path / "state" / "sessions.sqlite"
        kept = file.rename(file.with_name("kept"))
        for rest in file.parent.glob("sessions.sqlite-*"):
            rest.unlink()
        file.mkdir()
        answer = await browser.post("/oauth/logout", **OURS)
        assert answer.status_code == 503
        assert browser.session
        file.rmdir()
        kept.rename(file)
        assert await goes_on(gate, browser)

    run(tmp_path, issuer, scenario)


def test_a_logout_without_a_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Who has no session any more is sent on all the same, and Envoy is not waited for."""

    async def scenario(gate: Gate) -> None:
        answer = await gate.browser().post("/oauth/logout", **OURS)
        assert answer.headers["location"].startswith(f"{issuer.url}/logout?client_id=")
        answer = await gate.browser().get("/oauth/logout")
        assert answer.status_code == 200
        assert gate.envoy.asked == 0

    run(tmp_path, issuer, scenario)


# --- By the issuer's server


async def called(
    gate: Gate, token: str, *, content_type: str = FORM, address: str = "192.0.2.1", body: str | None = None
) -> httpx.Response:
    headers = {"content-type": content_type, "x-forwarded-for": address, "host": "shop.example"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=gate.app), base_url=HOST) as http:
        content = body if body is not None else f"logout_token={token}"
        return await http.post("/oauth/backchannel_logout", content=content, headers=headers)


def test_a_logout_token_ends_the_login_it_names(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A good logout token is 200 when the session has ended and Envoy refuses it; other logins go on."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        issuer.id_changes = {"sid": "s-2"}
        other = await logged_in(gate)
        answer = await called(gate, issuer.mint(issuer.logout_claims()))
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert gate.envoy.asked == 1
        assert not await goes_on(gate, browser)
        assert await goes_on(gate, other)

    run(tmp_path, issuer, scenario)


def test_a_logout_token_of_a_person_ends_all_of_their_logins(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Without `sid` every session of the subject ends, nobody else's."""

    async def scenario(gate: Gate) -> None:
        first = await logged_in(gate)
        issuer.id_changes = {"sid": "s-2"}
        second = await logged_in(gate)
        issuer.id_changes = {"sid": "s-3", "sub": "u-2"}
        issuer.access_changes = {"sub": "u-2"}
        other = await logged_in(gate)
        assert (await called(gate, issuer.mint(issuer.logout_claims(sid=...)))).status_code == 200
        assert not await goes_on(gate, first)
        assert not await goes_on(gate, second)
        assert await goes_on(gate, other)

    run(tmp_path, issuer, scenario)


EVENT = "http://schemas.openid.net/event/backchannel-logout"

BAD: dict[str, Callable[[OidcIssuer], str]] = {
    "no events": lambda i: i.mint(i.logout_claims(events=...)),
    "an event that is no object": lambda i: i.mint(i.logout_claims(events={EVENT: "x"})),
    "another event": lambda i: i.mint(i.logout_claims(events={"x": {}})),
    "a nonce": lambda i: i.mint(i.logout_claims(nonce="x")),
    "another audience": lambda i: i.mint(i.logout_claims(aud="other")),
    "another issuer": lambda i: i.mint(i.logout_claims(iss="http://evil.test")),
    "neither sub nor sid": lambda i: i.mint(i.logout_claims(sub=..., sid=...)),
    "no jti": lambda i: i.mint(i.logout_claims(jti=...)),
    "two hours old": lambda i: i.mint(
        i.logout_claims(iat=int(time.time()) - 7200, exp=int(time.time()) + 60)
    ),
    "expired": lambda i: i.mint(i.logout_claims(exp=int(time.time()) - 60)),
    "an ID token": lambda i: i.mint(i.id_claims(Login(), "x")),
    "an access token": lambda i: i.mint(i.access_claims()),
    "unsigned": lambda i: i.mint(i.logout_claims(), {"alg": "none"}),
    "a signature of another token": lambda i: _grafted(i),
    "nothing": lambda _: "",
    "no token": lambda _: "abc",
}


def _grafted(issuer: OidcIssuer) -> str:
    good, other = issuer.mint(issuer.logout_claims()), issuer.mint(issuer.logout_claims(sub="u-2"))
    return ".".join([*other.split(".")[:2], good.split(".")[2]])


@pytest.mark.parametrize("kind", BAD)
def test_a_logout_token_with_any_defect_ends_nothing(tmp_path: Path, issuer: OidcIssuer, kind: str) -> None:
    """400 with no-store and a JSON error; the session goes on."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        answer = await called(gate, BAD[kind](issuer))
        assert answer.status_code == 400
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["error"] == "invalid_request"
        assert await goes_on(gate, browser)

    run(tmp_path, issuer, scenario)


def test_a_logout_token_works_once(tmp_path: Path, issuer: OidcIssuer) -> None:
    """The same token again is 400, and does not end a login that came after it."""

    async def scenario(gate: Gate) -> None:
        await logged_in(gate)
        token = issuer.mint(issuer.logout_claims())
        assert (await called(gate, token)).status_code == 200
        again = await logged_in(gate)
        assert (await called(gate, token)).status_code == 400
        assert await goes_on(gate, again)

    run(tmp_path, issuer, scenario)


def test_a_forged_token_does_not_use_up_a_jti(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A `jti` is remembered only when the signature was right: nobody can make a logout to come a replay."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        claims = issuer.logout_claims()
        forged = issuer.mint(claims)[:-8] + "AAAAAAAA"
        assert (await called(gate, forged)).status_code == 400
        assert (await called(gate, issuer.mint(claims))).status_code == 200
        assert not await goes_on(gate, browser)

    run(tmp_path, issuer, scenario)


def test_a_back_channel_logout_is_a_small_form_that_is_posted(tmp_path: Path, issuer: OidcIssuer) -> None:
    """GET is 405, JSON 415, more than 16 KB 413, two tokens 400; nothing ends."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        token = issuer.mint(issuer.logout_claims())
        assert (await browser.get(f"/oauth/backchannel_logout?logout_token={token}")).status_code == 405
        json = f'{{"logout_token": "{token}"}}'
        assert (await called(gate, "", content_type="application/json", body=json)).status_code == 415
        long = f"logout_token={token}&x={'y' * 17_000}"
        assert (await called(gate, "", body=long)).status_code == 413
        twice = f"logout_token={token}&logout_token={token}"
        assert (await called(gate, "", body=twice)).status_code == 400
        assert await goes_on(gate, browser)

    run(tmp_path, issuer, scenario)


def test_a_logout_that_is_not_in_force_is_never_200(tmp_path: Path, issuer: OidcIssuer) -> None:
    """503 when Envoy does not say that it refuses the session; the same token may be sent again, once it does."""

    async def scenario(gate: Gate) -> None:
        await logged_in(gate)
        token = issuer.mint(issuer.logout_claims())
        gate.envoy.refuses = False
        answer = await called(gate, token)
        assert answer.status_code == 503
        assert answer.headers["cache-control"] == "no-store"
        gate.envoy.refuses = True
        assert (await called(gate, token)).status_code == 200
        assert (await called(gate, token)).status_code == 400

    run(tmp_path, issuer, scenario)


def test_a_logout_that_the_store_cannot_record_is_503(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Never 200 while the store is away."""

    async def scenario(gate: Gate) -> None:
        (tmp_path / "state" / "sessions.sqlite").mkdir()
        assert (await called(gate, issuer.mint(issuer.logout_claims()))).status_code == 503

    run(tmp_path, issuer, scenario)


def test_who_sends_nonsense_is_not_listened_to(tmp_path: Path, issuer: OidcIssuer) -> None:
    """After twenty failures of one address it gets 429; the issuer's own address is heard all the same."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        statuses = [(await called(gate, "abc", address="203.0.113.9")).status_code for _ in range(30)]
        assert statuses[:20] == [400] * 20
        assert statuses[-1] == 429
        good = issuer.mint(issuer.logout_claims())
        assert (await called(gate, good, address="203.0.113.9")).status_code == 429
        assert await goes_on(gate, browser)
        assert (await called(gate, good)).status_code == 200

    run(tmp_path, issuer, scenario)


def test_an_issuer_may_end_many_logins_at_once(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Good logout tokens are never slowed down."""

    async def scenario(gate: Gate) -> None:
        for number in range(60):
            token = issuer.mint(issuer.logout_claims(sid=f"s-{number}"))
            assert (await called(gate, token)).status_code == 200

    run(tmp_path, issuer, scenario)


# --- By the issuer's page


def test_a_front_channel_logout_ends_the_login_it_names(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With the issuer and its name of the login, also without our cookie; only the issuer may frame the answer."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        target = f"/oauth/frontchannel_logout?iss={quote(issuer.url, safe='')}&sid=s-1"
        answer = await gate.browser().get(target)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert f"frame-ancestors http://127.0.0.1:{issuer.port}" in policy
        assert "x-frame-options" not in answer.headers
        assert not await goes_on(gate, browser)

    run(tmp_path, issuer, scenario)


@pytest.mark.parametrize(
    "query", ["", "?sid=s-1", "?iss={iss}", "?iss=http://evil.test&sid=s-1", "?iss={iss}&sid=s-1&sid=s-2"]
)
def test_a_front_channel_logout_names_its_login(tmp_path: Path, issuer: OidcIssuer, query: str) -> None:
    """Without issuer and login, or with another issuer's, nothing ends: any page can frame this address."""

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        target = "/oauth/frontchannel_logout" + query.format(iss=quote(issuer.url, safe=""))
        assert (await browser.get(target)).status_code == 400
        assert await goes_on(gate, browser)
        unknown = f"/oauth/frontchannel_logout?iss={quote(issuer.url, safe='')}&sid=guess"
        assert (await browser.get(unknown)).status_code == 200
        assert await goes_on(gate, browser)

    run(tmp_path, issuer, scenario)
