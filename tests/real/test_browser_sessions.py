"""
What becomes of a browser's session: tokens that expire under it, the logout here, the logout elsewhere.

Real Chromium, real Keycloak, real Redis, two gateways that a balancer asks in turn. Refreshes are counted by
Keycloak, whose realm takes each refresh token once: a second use would be an event of its own, and end the session.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.parts.chromium import tab
from tests.parts.redis import Redis
from tests.real.application import Application, shown_path
from tests.real.gateways import Gateway, one, two
from tests.real.shop import Person, Shop
from tests.real.visiting import fetch, fill_in, headers_of, log_in, open_at_once, session_cookies, websocket
from tests.service.issuer import wait_for

# The first test waits for Keycloak, Redis, nginx and two gateways.
pytestmark = pytest.mark.timeout(300)

ACCESS_SECONDS = 8
BRIEF_SECONDS = 4
WEBSOCKETS_SECONDS = 4

NOT_SECURE = {"cookie": {"secure": False}}  # a name of one's own, over http


# --- Tokens that expire


@pytest.fixture(scope="module")
def hasty(
    tmp_path_factory: pytest.TempPathFactory, shop: Shop, application: Application, redis: Redis
) -> Iterator[Gateway]:
    """Two replicas whose access tokens live for 8 seconds."""
    folder = tmp_path_factory.mktemp("hasty")
    with two(folder, shop, application, store=redis.url, access_seconds=ACCESS_SECONDS) as gateway:
        yield gateway


def test_five_tabs_on_an_expired_token_make_one_refresh(
    hasty: Gateway, profile: BrowserContext, person: Person, shop: Shop
) -> None:
    """Five tabs that are opened at once when the token has expired end on their own pages, with one refresh."""
    log_in(profile, f"{hasty.url}/orders", person)
    expired = time.monotonic() + ACCESS_SECONDS
    links = [f"/orders/{number}?tab={number}" for number in range(5)]
    pages = [profile.new_page() for _ in links]
    wait_for(lambda: time.monotonic() > expired, "the token has expired", ACCESS_SECONDS + 5)
    before = len(shop.events("REFRESH_TOKEN", person))
    open_at_once(pages, [hasty.url + link for link in links])
    assert [shown_path(page) for page in pages] == links
    assert len(shop.events("REFRESH_TOKEN", person)) == before + 1
    assert shop.events("REFRESH_TOKEN_ERROR", person) == []
    assert len(shop.events("LOGIN", person)) == 1


def test_a_session_lives_across_ten_lifetimes_of_its_access_token(
    tmp_path_factory: pytest.TempPathFactory,
    shop: Shop,
    application: Application,
    redis: Redis,
    profile: BrowserContext,
    person: Person,
) -> None:
    """A person who works on through ten access tokens is never asked again, and each token is refreshed once."""
    folder = tmp_path_factory.mktemp("brief")
    with two(folder, shop, application, store=redis.url, access_seconds=BRIEF_SECONDS) as gateway:
        page = log_in(profile, f"{gateway.url}/orders", person)
        end = time.monotonic() + 10 * BRIEF_SECONDS
        statuses, tokens = [], set()
        while time.monotonic() < end:
            # both at once, so that replicas and workers meet
            answers = [fetch(page, f"/api/orders/{number}") for number in range(3)]
            statuses += [answer["status"] for answer in answers]
            tokens |= {headers_of(answer)["authorization"] for answer in answers if answer["status"] == 200}
            page.wait_for_timeout(200)
        assert set(statuses) == {200}
        assert len(tokens) >= 10
        assert len(shop.events("REFRESH_TOKEN", person)) <= len(tokens)
        assert shop.events("REFRESH_TOKEN_ERROR", person) == []
        assert len(shop.events("LOGIN", person)) == 1


def test_a_session_outlives_a_restart_of_every_replica(
    hasty: Gateway, profile: BrowserContext, person: Person
) -> None:
    """Sessions are in Redis: whoever was logged in still is when each gateway has been started anew."""
    page = log_in(profile, f"{hasty.url}/orders", person)
    for replica in hasty.replicas:
        replica.stop()
        replica.start()
        replica.ready()
    page.goto(f"{hasty.url}/orders/after")
    assert shown_path(page) == "/orders/after"
    assert len(hasty.shop.events("LOGIN", person)) == 1


# --- Logout here


@pytest.mark.parametrize("below", ["/orders", "/kept"])
def test_after_logout_the_back_button_shows_nothing(
    gateway: Gateway, profile: BrowserContext, person: Person, application: Application, below: str
) -> None:
    """What the back button showed without asking anybody, even what may be kept for an hour, is gone after logout."""
    page = log_in(profile, f"{gateway.url}{below}/1", person)
    page.goto(f"{gateway.url}{below}/2")
    arrived = len(application.arrivals())
    page.evaluate("history.back()")
    page.wait_for_url(f"**{below}/1", wait_until="commit")
    assert shown_path(page) == f"{below}/1"
    assert len(application.arrivals()) == arrived  # so it came from a cache: this test can fail
    page.evaluate("history.forward()")
    page.wait_for_url(f"**{below}/2", wait_until="commit")
    leave(page)
    assert gateway.shop.sessions(person) == []
    for number in (2, 1):
        with page.expect_request(f"**{below}/{number}"):
            page.evaluate("history.back()")
        expect(page.locator("#kc-form-login")).to_be_visible()
    assert len(application.arrivals()) == arrived


def test_logout_ends_every_tab_and_the_login_at_keycloak(
    gateway: Gateway, profile: BrowserContext, person: Person
) -> None:
    """Logout in one tab: scripts of the other get 401 on both replicas, the cookie is gone, a login asks again."""
    page = log_in(profile, f"{gateway.url}/orders", person)
    other = tab(profile, f"{gateway.url}/orders/other")
    cookie = session_cookies(profile, gateway)[0]
    leave(page)
    assert session_cookies(profile, gateway) == []
    assert [fetch(other, f"/api/orders/{number}")["status"] for number in range(6)] == [401] * 6
    # whoever kept the cookie has nothing
    header = ("Cookie", f"{cookie['name']}={cookie['value']}")
    kept = [replica.ask("/api/orders", headers=[header]).status for replica in gateway.replicas * 4]
    assert set(kept) == {401}
    other.goto(f"{gateway.url}/orders?page=9")
    fill_in(other, person)
    assert shown_path(other) == "/orders?page=9"


def test_another_site_cannot_log_anybody_out(
    gateway: Gateway, profile: BrowserContext, person: Person, application: Application
) -> None:
    """A form or a link of another origin that points at our logout ends nothing."""
    page = log_in(profile, f"{gateway.url}/orders", person)
    foreign = tab(profile, f"{application.url.replace('127.0.0.1', 'localhost')}/evil")
    near = tab(profile, f"{application.url}/evil")  # the same site by cookies, another origin
    for evil in (foreign, near):
        evil.evaluate(
            """url => { const form = document.createElement("form"); form.method = "post"; form.action = url;
            document.body.append(form); form.submit(); }""",
            f"{gateway.url}/oauth/logout",
        )
        evil.wait_for_url(f"{gateway.url}/**")
        evil.goto(f"{gateway.url}/oauth/logout")
    assert fetch(page, "/api/orders")["status"] == 200


# --- Logout elsewhere


def test_logout_by_keycloaks_admin_ends_the_session_within_two_seconds(
    gateway: Gateway, profile: BrowserContext, person: Person
) -> None:
    """When an administrator ends the login at Keycloak, every replica refuses the session within 2 seconds."""
    page = log_in(profile, f"{gateway.url}/orders", person)
    cookie = session_cookies(profile, gateway)[0]
    header = ("Cookie", f"{cookie['name']}={cookie['value']}")

    def statuses() -> set[int]:
        # several connections, so that each worker of each replica answers
        return {r.ask("/api/orders", headers=[header]).status for r in gateway.replicas for _ in range(6)}

    assert statuses() == {200}
    gateway.shop.log_out(person)  # returns when the back-channel call has been answered
    called = time.monotonic()
    wait_for(lambda: statuses() == {401}, "the session has ended on every worker", 10)
    assert time.monotonic() - called < 2
    # a worker that knew the session answers a page that goes on to the login by itself
    page.goto(f"{gateway.url}/orders?page=9")
    fill_in(page, person)
    assert shown_path(page) == "/orders?page=9"


@pytest.mark.parametrize("channel", ["back", "front"])
def test_logout_at_one_application_ends_the_other(
    gateway: Gateway,
    shop: Shop,
    application: Application,
    profile: BrowserContext,
    person: Person,
    tmp_path: Path,
    channel: str,
) -> None:
    """Who logs out at one gateway is out at the other that shares the login, told on either channel."""
    with one(tmp_path, shop, application, host="shop.test", session=NOT_SECURE) as other:
        if channel == "front":
            shop.use_front_channel(other.client, f"{other.url}/oauth/frontchannel_logout")
        page = log_in(profile, f"{gateway.url}/orders", person)
        second = tab(profile, f"{other.url}/orders")  # no form: Keycloak knows the person
        assert shown_path(second) == "/orders"
        leave(page)
        wait_for(lambda: fetch(second, "/api/orders")["status"] == 401, "the other has ended too", 10)


# --- WebSockets


def test_a_websocket_needs_the_session_and_our_own_origin(
    gateway: Gateway, profile: BrowserContext, person: Person, application: Application
) -> None:
    """A page of ours opens a WebSocket with its session; a page of another origin on this host, or nobody, does not."""
    url = gateway.url.replace("http", "ws") + "/orders/ws"
    assert websocket(tab(profile, f"{gateway.url}/open/shop"), url, "nobody")["answers"] == []
    page = log_in(profile, f"{gateway.url}/orders", person)
    assert websocket(page, url, "one", "two") == {"answers": ["one", "two"], "closed": None}
    # the same host: the browser sends the cookie along, and only Origin tells the two apart
    foreign = tab(profile, f"{application.url}/evil")
    refused = websocket(foreign, url, "evil")
    assert refused["answers"] == []
    assert refused["closed"] == 1006


def test_a_websocket_ends_soon_after_its_session(
    shop: Shop, application: Application, profile: BrowserContext, person: Person, tmp_path: Path
) -> None:
    """A WebSocket that a session opened ends at the latest so long after it as `websocket-limit` says."""
    with one(tmp_path, shop, application, session={"websocket-limit": f"{WEBSOCKETS_SECONDS}s"}) as gateway:
        page = log_in(profile, f"{gateway.url}/orders", person)
        other = tab(profile, f"{gateway.url}/orders/other")
        other.evaluate(
            """url => new Promise((open) => {
              const socket = new WebSocket(url);
              socket.onopen = open;
              socket.onclose = () => { window.ended = true; };
            })""",
            gateway.url.replace("http", "ws") + "/orders/ws",
        )
        leave(page)
        ended = time.monotonic()
        other.wait_for_function("window.ended")
        assert time.monotonic() - ended < WEBSOCKETS_SECONDS + 2


# --- Words of these tests


def leave(page: Page) -> None:
    """Press the page's own logout button, and confirm where a page asks; return when it is done."""
    with page.expect_navigation():
        page.locator("#leave").click()
    expect(
        page.get_by_role("heading", name=re.compile("You are (signed|logged) out|Logging out"))
    ).to_be_visible()
