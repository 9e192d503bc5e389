"""
Logins through the service's real endpoints, with a real issuer behind: what ends in a session, and all that does not.

The cases of class `login` in the shared list (callback, fake issuer, open redirects, fixation) are among them.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import pytest

from tests.service.oidc.issuer import OidcIssuer, ok, refused
from tests.service.standing import HOST, Browser, Gate, asked_of, asking, standing
from wardgate.policy import LoginParameter, SameSite
from wardgate.service.answers import CODES
from wardgate.service.oidc import CODES as OIDC_CODES
from wardgate.service.session import new_id
from wardgate.service.settings import HostTerms

Scenario = Callable[[Gate], Awaitable[None]]


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with OidcIssuer() as serving:
        yield serving


def run(tmp_path: Path, issuer: OidcIssuer, scenario: Scenario, **fields: Any) -> None:
    async def whole() -> None:
        async with standing(tmp_path, issuer, **fields) as gate:
            await scenario(gate)

    asyncio.run(whole())


def _other(tmp_path: Path) -> Path:
    """A folder for another service."""
    other = tmp_path / "other"
    other.mkdir()
    return other


async def no_session(gate: Gate, browser: Browser, answer: httpx.Response, *statuses: int) -> None:
    """The login was refused: nothing in the store, no cookie, one failure counted, nothing kept by caches."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert browser.session is None
    assert [one async for one in gate.runtime.sessions.list()] == []
    assert answer.headers["cache-control"] == "no-store"
    counted = gate.runtime.kept.logins
    assert counted.succeeded == 0
    assert counted.failed.total() == 1
    assert set(counted.failed) <= set(CODES) | set(OIDC_CODES) | {
        "issuer-status",
        "issuer-slow",
        "issuer-redirect",
    }


# --- What is asked of the issuer


def test_a_login_asks_with_state_nonce_and_pkce(tmp_path: Path, issuer: OidcIssuer) -> None:
    """The authorization request has a random state, nonce and S256 challenge, and our exact redirect URI."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        first, second = await gate.started(browser), await gate.started(browser)
        assert first["redirect_uri"] == f"{HOST}/oauth/callback"
        assert first["response_type"] == "code"
        assert first["code_challenge_method"] == "S256"
        for name in ("state", "nonce", "code_challenge"):
            assert len(first[name]) >= 32
            assert first[name] != second[name]
        assert len(browser.pending) == 2

    run(tmp_path, issuer, scenario)


def test_pkce_can_be_turned_off(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With `pkce: false` no challenge is sent, and the login works."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        request = await gate.started(browser)
        assert "code_challenge" not in request
        assert (await browser.get(gate.answered(request))).status_code == 303
        assert browser.session

    run(tmp_path, issuer, scenario, pkce=False)


def test_parameters_are_passed_on_as_configured(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Only configured parameters reach the issuer, one with a fixed value only with that, and defaults when absent."""
    known = (
        LoginParameter(name="kc_idp_hint"),
        LoginParameter(name="prompt", only="login"),
        LoginParameter(name="ui_locales", default="de"),
    )

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        request = await gate.started(
            browser, kc_idp_hint="google", prompt="none", acr_values="9", state="mine"
        )
        assert request["kc_idp_hint"] == "google"
        assert "prompt" not in request
        assert "acr_values" not in request
        assert request["ui_locales"] == "de"
        assert request["state"] != "mine"
        request = await gate.started(browser, prompt="login", ui_locales="fr")
        assert (request["prompt"], request["ui_locales"]) == ("login", "fr")
        deep = await gate.runtime.login.begin(
            asking("/x?kc_idp_hint=github"), landing=f"{HOST}/x?kc_idp_hint=github", reason="test"
        )
        assert "kc_idp_hint=github" in deep.headers["location"]

    run(tmp_path, issuer, scenario, login_parameters=known)


def test_each_redirect_is_one_line_with_its_reason(
    tmp_path: Path, issuer: OidcIssuer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A login logs one line that holds `redirect` and why; neither the query nor any secret is in it."""

    async def scenario(gate: Gate) -> None:
        answer = await gate.runtime.login.begin(
            asking("/orders?secret=7"), landing=f"{HOST}/orders?secret=7", reason="no session"
        )
        assert answer.status_code == 303

    run(tmp_path, issuer, scenario)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (redirect,) = [line for line in lines if "redirect" in line["event"]]
    assert (redirect["reason"], redirect["path"], redirect["request_id"]) == ("no session", "/orders", "r-1")
    assert "secret=7" not in json.dumps(lines)


# --- Where it ends


@pytest.mark.parametrize(
    "target",
    [
        "/orders?page=2&q=%2F&next=https://a.example//b",
        "/a%20b/%C3%BC?x=%25&x=",
        "/",
        "/x?f=a|b^{c}&d=`",
        "/%40me;v=1?a;b",
    ],
)
def test_a_login_ends_on_the_page_that_was_asked_for(tmp_path: Path, issuer: OidcIssuer, target: str) -> None:
    """Path and query of the page are there after the login, letter by letter."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        asked = asking(target)
        begun = await gate.runtime.login.begin(asked, landing=asked.url, reason="no session")
        for cookie in begun.headers.getlist("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            browser.http.cookies.set(name, value, domain="shop.example", path="/")
        answer = await browser.get(gate.answered(asked_of(begun)))  # type: ignore[arg-type]
        assert answer.headers["location"] == HOST + target

    run(tmp_path, issuer, scenario)


def test_a_login_from_the_root_can_end_elsewhere(tmp_path: Path, issuer: OidcIssuer) -> None:
    """`post_login_path` replaces `/`, and nothing else."""

    async def scenario(gate: Gate) -> None:
        assert (await gate.log_in(gate.browser(), "/")).headers["location"] == f"{HOST}/home?tab=1"
        assert (await gate.log_in(gate.browser(), "/a")).headers["location"] == f"{HOST}/a"
        assert (await gate.log_in(gate.browser(), "/?a=1")).headers["location"] == f"{HOST}/?a=1"

    run(tmp_path, issuer, scenario, post_login_path="/home?tab=1")


REDIRECTS = [
    *(
        "///evil.test",
        "\\\\evil.test",
        "/%09/evil.test",
        "/%5cevil.test",
        "/%2f%2fevil.test",
        "/.//evil.test",
    ),
    *("http:evil.test", "https:/evil.test", "https://gw.test@evil.test/", "https://gw.test.evil.test/"),
    *("https://evil.test#gw.test", "https://evil.test?gw.test", "javascript:alert(1)", "data:text/html,x"),
    *("/%0d%0aLocation:%20https://evil.test", "//gw.test:80@evil.test", "https://evil%E3%80%82test/"),
    *("/oauth/start?rd=//evil.test", "/oauth/logout", "/OAUTH/logout", "http://shop.example/"),
]


@pytest.mark.parametrize("rd", REDIRECTS)
def test_rd_never_leads_elsewhere(tmp_path: Path, issuer: OidcIssuer, rd: str) -> None:
    """A landing on another host, or one that could be read as one, is 400; so is one on our own endpoints."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        for path in ("/oauth/start", "/oauth/authorize", "/oauth2/start"):
            answer = await browser.get(f"{path}?rd={quote(rd, safe='')}")
            assert answer.status_code == 400
            assert not browser.pending

    run(tmp_path, issuer, scenario)


def test_hosts_that_are_listed_are_places_to_end(tmp_path: Path, issuer: OidcIssuer) -> None:
    """`rd` may name a listed host and those below the cookie's domain."""

    async def scenario(gate: Gate) -> None:
        for rd in ("https://other.example/x", "https://a.shop.example/y?z=1"):
            browser = gate.browser()
            assert (await gate.log_in(browser, rd)).headers["location"] == rd

    run(tmp_path, issuer, scenario, redirect_hosts=("other.example",), cookie_domain="shop.example")


def test_strict_cookies_go_on_by_a_page(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With SameSite=Strict and an issuer on another host, the callback answers a page that goes on by itself."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        answer = await gate.log_in(browser, "/orders?a=1&b=2")
        assert answer.status_code == 200
        assert f'content="0;url={HOST}/orders?a=1&amp;b=2"' in answer.text
        assert browser.session
        assert "SameSite=Strict" in answer.headers["set-cookie"]

    run(tmp_path, issuer, scenario, same_site=SameSite.STRICT)


# --- Whose session it is


def test_the_session_is_a_new_one_and_the_old_one_is_over(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Each login makes a new id; what the browser presented, planted or its own, is worth nothing afterwards."""

    async def scenario(gate: Gate) -> None:
        attacker, victim = gate.browser(), gate.browser()
        await gate.log_in(attacker)
        planted = attacker.session
        assert planted
        request = await gate.started(victim)
        target = gate.answered(request)
        cookies = "; ".join(f"{name}={value}" for name, value in victim.cookies.items())
        answer = await Browser(gate.app).get(target, cookie=f"{cookies}; __Host-wardgate-session={planted}")
        assert answer.status_code == 303
        assert planted not in "".join(answer.headers.get_list("set-cookie"))
        assert (await attacker.get("/oauth/token")).status_code == 401

    run(tmp_path, issuer, scenario)


def test_an_unknown_id_that_was_planted_never_becomes_a_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """An id that somebody made up is not taken over by the login."""

    async def scenario(gate: Gate) -> None:
        browser, planted = gate.browser(), new_id()
        browser.http.cookies.set("__Host-wardgate-session", planted, domain="shop.example", path="/")
        await gate.log_in(browser)
        stranger = gate.browser()
        assert (
            await stranger.get("/oauth/token", cookie=f"__Host-wardgate-session={planted}")
        ).status_code == 401

    run(tmp_path, issuer, scenario)


def test_cookies_have_the_attributes_of_the_policy(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Name, Domain, Secure, SameSite and Max-Age are as configured; the pending login's cookie is gone."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        answer = await gate.log_in(browser)
        (session,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith("app=")]
        assert "; Domain=shop.example" in session
        assert "; Secure; HttpOnly; SameSite=None" in session
        assert "; Max-Age=3600" in session or "; Max-Age=3599" in session
        assert not browser.pending

    terms = {"cookie_name": "app", "cookie_domain": "shop.example", "same_site": SameSite.NONE}
    run(tmp_path, issuer, scenario, persistent=True, lifetime=timedelta(hours=1), **terms)


# --- What is refused at the callback


async def wrong_callback(gate: Gate, change: Callable[[dict[str, str]], str]) -> None:
    browser = gate.browser()
    request = await gate.started(browser)
    await no_session(gate, browser, await browser.get(change(request)), 400, 401, 403)


@pytest.mark.parametrize(
    "target",
    [
        "/oauth/callback?code=abc&state=",
        "/oauth/callback?code=abc",
        "/oauth/callback?code=abc&state=AAAA",
        "/oauth/callback?error=access_denied&state=AAAA",
        "/oauth/callback",
    ],
)
def test_a_state_that_was_not_begun_here(tmp_path: Path, issuer: OidcIssuer, target: str) -> None:
    """Without a pending login of this browser for exactly this state there is no session."""

    async def scenario(gate: Gate) -> None:
        await wrong_callback(gate, lambda _: target)

    run(tmp_path, issuer, scenario)


def test_a_login_of_another_browser(tmp_path: Path, issuer: OidcIssuer) -> None:
    """The right code and state in a browser that did not begin the login (login CSRF) are refused."""

    async def scenario(gate: Gate) -> None:
        target = gate.answered(await gate.started(gate.browser()))
        victim = gate.browser()
        await no_session(gate, victim, await victim.get(target), 400)

    run(tmp_path, issuer, scenario)


def test_a_login_works_once(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A callback that is opened again, with the cookie of the pending login kept, gives no session: it leads to the page."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        request = await gate.started(browser)
        kept = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        assert (await browser.get(gate.answered(request))).status_code == 303
        asked, twice = len(issuer.seen), gate.browser()
        again = await twice.get(gate.answered(request), cookie=kept)
        assert again.status_code == 303
        assert again.headers["location"] == HOST + "/orders"
        assert twice.session is None
        assert len(issuer.seen) == asked
        assert gate.runtime.kept.logins.succeeded == 1

    run(tmp_path, issuer, scenario)


def test_a_login_that_took_too_long(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A pending login of more than ten minutes ago is refused."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        login = gate.runtime.login
        login._now = login.pending._now = lambda: time.time() - 700
        target = gate.answered(await gate.started(browser))
        login._now = login.pending._now = time.time
        await no_session(gate, browser, await browser.get(target), 400)

    run(tmp_path, issuer, scenario)


@pytest.mark.parametrize(
    "changes",
    [
        {"code": ...},
        {"code": ""},
        {"code": "made-up"},
        {"iss": "http://evil.test"},
        {"iss": ""},
    ],
)
def test_answers_that_are_not_the_issuers(
    tmp_path: Path, issuer: OidcIssuer, changes: dict[str, Any]
) -> None:
    """No code, a wrong one, or another issuer's name (RFC 9207): no session."""

    async def scenario(gate: Gate) -> None:
        await wrong_callback(gate, lambda request: gate.answered(request, **changes))

    run(tmp_path, issuer, scenario)


def test_parameters_that_come_twice(tmp_path: Path, issuer: OidcIssuer) -> None:
    """An answer with two codes or two states is refused."""

    async def scenario(gate: Gate) -> None:
        await wrong_callback(gate, lambda request: gate.answered(request) + "&code=other")

    run(tmp_path, issuer, scenario)


def test_an_issuer_that_names_itself_must(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Where the metadata announces `iss` in answers, one without it is refused; where not, it may be absent."""
    issuer.discovery_changes = {"authorization_response_iss_parameter_supported": True}

    async def scenario(gate: Gate) -> None:
        await wrong_callback(gate, lambda request: gate.answered(request, iss=...))

    run(tmp_path, issuer, scenario)
    issuer.discovery_changes = {}

    async def silent(gate: Gate) -> None:
        assert (await gate.log_in(gate.browser(), iss=...)).status_code == 303

    run(_other(tmp_path), issuer, silent)


def test_an_error_of_the_issuer_is_shown_and_not_reflected(tmp_path: Path, issuer: OidcIssuer) -> None:
    """The issuer's error is on the page as text; nothing of it becomes markup or an address."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        request = await gate.started(browser)
        said = {"error": "access_denied", "error_description": "<script>alert(1)</script>"}
        answer = await browser.get("/oauth/callback?" + urlencode({**said, "state": request["state"]}))
        assert "<script>" not in answer.text
        assert "&lt;script&gt;" in answer.text
        assert "location" not in answer.headers
        await no_session(gate, browser, answer, 403)

    run(tmp_path, issuer, scenario)


def test_codes_of_two_logins_cannot_be_exchanged(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A code of another login with this login's state fails: by PKCE, and without it by the nonce."""

    async def scenario(gate: Gate) -> None:
        attacker, victim = gate.browser(), gate.browser()
        theirs, own = await gate.started(attacker), await gate.started(victim)
        stolen = gate.answered(theirs, state=own["state"])
        await no_session(gate, victim, await victim.get(stolen), 403)

    run(tmp_path, issuer, scenario)
    run(_other(tmp_path), issuer, scenario, pkce=False)


def test_a_callback_is_a_get(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A form that is posted to the callback is 405."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        request = await gate.started(browser)
        answer = await browser.post("/oauth/callback", {"code": "abc", "state": request["state"]})
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET"
        assert browser.session is None

    run(tmp_path, issuer, scenario)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("id_changes", {"aud": "other"}),
        ("id_changes", {"iss": "http://evil.test"}),
        ("id_changes", {"exp": 1}),
        ("id_changes", {"nonce": "other"}),
        ("id_changes", {"nonce": ...}),
        ("id_changes", {"email": "a@evil@corp.test"}),
        ("id_changes", {"email_verified": False}),
        ("id_header", {"alg": "none"}),
        ("answer_changes", {"id_token": ...}),
        ("answer_changes", {"token_type": "mac"}),
        ("answer_changes", {"expires_in": 0}),
    ],
)
def test_what_an_issuer_gives_that_is_wrong(
    tmp_path: Path, issuer: OidcIssuer, field: str, changes: dict[str, Any]
) -> None:
    """ID tokens that are not this login's, and tokens that were over when they came, make no session."""
    setattr(issuer, field, changes)

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        await no_session(gate, browser, await gate.log_in(browser), 400, 401, 403, 502)

    run(tmp_path, issuer, scenario, verified_email=True)


def test_userinfo_of_somebody_else(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Userinfo whose `sub` differs from the ID token's makes no session."""
    issuer.info = {"sub": "u-2"}

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        await no_session(gate, browser, await gate.log_in(browser), 403)

    run(tmp_path, issuer, scenario, settings={"userinfo": True})


@pytest.mark.parametrize("kind", ["500", "redirect", "hangs"])
def test_a_token_endpoint_that_fails(tmp_path: Path, issuer: OidcIssuer, kind: str) -> None:
    """A token endpoint that answers 500, redirects, or does not answer is 503, and nothing is followed."""
    hang = threading.Event()

    def fails(_: Any) -> Any:
        if kind == "hangs":
            hang.wait(20)
        return (302, {"location": issuer.url + "/canary"}, b"") if kind == "redirect" else refused(500, "x")

    issuer.answers = {"token": fails, "canary": lambda _: ok({})}

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        answer = await gate.log_in(browser)
        hang.set()
        await no_session(gate, browser, answer, 503)
        assert "retry-after" in answer.headers
        assert issuer.asked("canary") == []

    run(tmp_path, issuer, scenario, providers=(issuer.provider(timeout=timedelta(seconds=1)),))


def test_an_issuer_whose_document_names_another(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Where the discovery document is another issuer's, no login begins: 503."""
    issuer.discovery_changes = {"issuer": "http://evil.test"}

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        answer = await browser.get("/oauth/start?rd=/")
        assert answer.status_code == 503
        assert not browser.pending

    run(tmp_path, issuer, scenario)


def test_a_store_that_is_away_makes_no_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """When the store cannot keep the session, the login is 503 and sets no session cookie."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        request = await gate.started(browser)
        (tmp_path / "state" / "sessions.sqlite").mkdir()
        answer = await browser.get(gate.answered(request))
        assert answer.status_code == 503
        assert browser.session is None

    run(tmp_path, issuer, scenario)


# --- Tabs and loops


def test_tabs_that_begin_together_each_end_on_their_own_page(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Five logins of one browser at once are five cookies, and each callback ends on its page; nothing is left."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        requests = [await gate.started(browser, f"/tab/{number}") for number in range(5)]
        ends = [(await browser.get(gate.answered(request))).headers["location"] for request in requests]
        assert ends == [f"{HOST}/tab/{number}" for number in range(5)]
        assert not browser.pending
        assert len([one async for one in gate.runtime.sessions.list()]) == 1

    run(tmp_path, issuer, scenario)


def test_a_browser_that_loses_its_session_stops_at_a_page(tmp_path: Path, issuer: OidcIssuer) -> None:
    """After two completed logins without a session that stays, the third ends on a page that names the cause."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        login = gate.runtime.login
        for _ in range(2):
            assert not login.pending.loops(_header(browser).encode())
            await gate.log_in(browser)
        asked = asking(cookie=_header(browser))
        answer = await login.begin(asked, landing=asked.url, reason="no session")
        assert answer.status_code == 403
        text = bytes(answer.body).decode()
        assert "other.test" in text
        assert "domain" in text
        assert "/oauth/start?to=" in text

    run(tmp_path, issuer, scenario, cookie_domain="other.test")


def test_a_loop_through_another_proxy_stops_at_a_page(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A proxy that sends a browser to our own endpoint again and again stops there; a person who wants to goes on."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        for _ in range(2):
            await gate.log_in(browser)
        answer = await browser.get("/oauth/start?rd=/orders")
        assert answer.status_code == 403
        again = re.search(r'href="(/oauth/start\?to=[^"]*again=1)"', answer.text)
        assert again is not None, answer.text
        on = await browser.get(html.unescape(again[1]))
        assert on.status_code == 303
        assert on.headers["location"].startswith(issuer.url)

    run(tmp_path, issuer, scenario, cookie_domain="other.test")


def test_a_login_for_another_proxy_begins_at_our_own_endpoint(tmp_path: Path, issuer: OidcIssuer) -> None:
    """The browser is sent there, on our own host, and comes back to the page that was asked about, letter by letter."""

    async def scenario(gate: Gate) -> None:
        browser, login = gate.browser(), gate.runtime.login
        asked = replace(asking(), target="/orders?a=1&b=%26&rd=//evil.test")
        sent = login.elsewhere(asked, ())
        assert sent.status_code == 302
        there = sent.headers["location"]
        assert there.startswith(f"{HOST}/oauth/start?to=")
        begun = await browser.get(there.removeprefix(HOST))
        ended = await browser.get(gate.answered(asked_of(begun)))
        assert ended.headers["location"] == f"{HOST}/orders?a=1&b=%26&rd=//evil.test"
        # nginx cannot encode a query: it says the page in a header, which only trusted proxies can
        begun = await browser.get("/oauth/start", x_forwarded_uri="/orders?a=1&b=%26")
        ended = await browser.get(gate.answered(asked_of(begun)))
        assert ended.headers["location"] == f"{HOST}/orders?a=1&b=%26"

    run(tmp_path, issuer, scenario)


def _header(browser: Browser) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def test_a_lost_login_names_secure_over_http(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A callback over http with Secure cookies, none of which came back, says that the cookie needs https."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser(host="http://shop.example")
        answer = await browser.get("/oauth/callback?code=a&state=b")
        assert answer.status_code == 400
        assert "Secure" in answer.text
        assert "https" in answer.text

    run(tmp_path, issuer, scenario)


# --- Hosts


def test_an_address_that_is_not_configured_begins_no_login(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Where the policy names no host and no redirection URL, a page says what to set; Host is not believed."""

    async def scenario(gate: Gate) -> None:
        answer = await gate.browser(host="https://evil.test").get("/oauth/start?rd=/")
        assert answer.status_code == 400
        assert "redirection-url" in answer.text
        loopback = await gate.browser(host="http://127.0.0.1:8080").get("/oauth/start?rd=/")
        assert asked_of(loopback)["redirect_uri"] == "http://127.0.0.1:8080/oauth/callback"

    run(tmp_path, issuer, scenario, settings={"hosts": (HostTerms(names=("*", "*.example")),)})


def test_the_redirection_url_is_what_the_issuer_is_told(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With `redirection-url` that is the redirect URI, whatever host the request names."""

    async def scenario(gate: Gate) -> None:
        browser = gate.browser(host="https://inside.test")
        asked = asking(host="inside.test")
        answer = await gate.runtime.login.begin(asked, landing=asked.url, reason="test")
        assert asked_of(answer)["redirect_uri"] == f"{HOST}/oauth/callback"  # type: ignore[arg-type]
        request = await gate.started(browser)
        assert (await browser.get(gate.answered(request))).headers["location"] == f"{HOST}/orders"

    run(tmp_path, issuer, scenario, redirection_url=HOST)


def test_a_login_for_another_host_of_the_domain_begins_where_it_comes_back(
    tmp_path: Path, issuer: OidcIssuer
) -> None:
    """Its cookie has to be there when the issuer sends the browser back; then it goes on to the page that was asked for."""

    async def scenario(gate: Gate) -> None:
        asked = asking(host="two.suite.test")
        answer = await gate.runtime.login.begin(asked, landing=asked.url, reason="test")
        location = answer.headers["location"]
        assert (
            location.startswith("https://one.suite.test/oauth/start?") and "set-cookie" not in answer.headers
        )
        browser = gate.browser(host="https://one.suite.test")
        started = await browser.get(location.removeprefix("https://one.suite.test"))
        ended = await browser.get(gate.answered(asked_of(started)))
        assert ended.headers["location"] == asked.url

    run(
        tmp_path,
        issuer,
        scenario,
        redirection_url="https://one.suite.test",
        cookie_domain="suite.test",
    )


# --- Several providers


def two(issuer: OidcIssuer) -> tuple[Any, Any]:
    near = issuer.provider(name="near", title="Near <b>", email_domains=("near.test",))
    return near, replace(
        near, name="far", title="Far", issuer=issuer.url + "x", hosts=("far.example",), email_domains=()
    )


def test_several_providers_are_chosen_from(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With two providers a page asks; the choice, an e-mail domain, a host, or the route's own list answers it."""

    async def scenario(gate: Gate) -> None:
        browser, login = gate.browser(), gate.runtime.login
        page = await browser.get("/oauth/start?rd=/orders")
        assert page.status_code == 200
        assert "Near &lt;b&gt;" in page.text
        assert 'name="email"' in page.text
        assert not browser.pending
        hop = await login.begin(asking(), landing=asking().url, reason="no session")
        assert hop.status_code == 303
        assert hop.headers["location"].startswith("/oauth/start?to=")
        assert (await browser.get(hop.headers["location"])).status_code == 200
        for chosen in ("&provider=near", "&email=me%40NEAR.test"):
            answer = await browser.get(hop.headers["location"] + chosen)
            assert answer.headers["location"].startswith(issuer.url + "/auth?")
        assert (await browser.get("/oauth/start?rd=/&provider=none")).status_code == 400
        only = await login.begin(asking(), landing=asking().url, allowed=("near",), reason="no session")
        assert only.headers["location"].startswith(issuer.url + "/auth?")

    run(tmp_path, issuer, scenario, providers=two(issuer))


def test_a_sign_in_page_of_ones_own_is_shown_before_the_only_provider(
    tmp_path: Path, issuer: OidcIssuer
) -> None:
    """As gatekeeper does: with a `sign-in` page it comes first, and its link begins the login."""
    page = tmp_path / "sign-in.html"
    page.write_text('<a href="{{ redirect }}">Come in</a>')

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        answer = await browser.get("/oauth/start?rd=/orders")
        assert answer.status_code == 200
        link = answer.text.partition('href="')[2].partition('"')[0].replace("&amp;", "&")
        assert "Come in" in answer.text
        assert (await browser.get(link)).headers["location"].startswith(issuer.url + "/auth?")

    run(tmp_path, issuer, scenario, pages=(("sign-in", str(page)),))


def test_a_sealed_place_cannot_be_made_up(tmp_path: Path, issuer: OidcIssuer) -> None:
    """`to` that was not sealed here is 400."""

    async def scenario(gate: Gate) -> None:
        assert (await gate.browser().get("/oauth/start?to=aHR0cHM6Ly9ldmlsLnRlc3Q")).status_code == 400

    run(tmp_path, issuer, scenario)


def test_machines_get_problems_not_pages(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Whoever does not accept HTML gets a problem document with the same status and code."""

    async def scenario(gate: Gate) -> None:
        answer = await gate.browser().get("/oauth/callback?code=a&state=b", accept="application/json")
        assert answer.status_code == 400
        assert answer.json()["code"] == "login-state"
        assert urlsplit(str(answer.url)).path == "/oauth/callback"

    run(tmp_path, issuer, scenario)
