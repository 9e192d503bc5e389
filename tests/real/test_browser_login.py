"""
People log in with a real browser at real Keycloak, through two gateways behind a balancer that share one Redis.

Every test has a fresh profile and somebody new; what each is for is issue "Browser login and sessions", 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.holding.certificates import Authority
from tests.parts.chromium import Browser, tab
from tests.parts.keycloak import Keycloak
from tests.real.application import Application, shown_header, shown_path
from tests.real.gateways import ROUTES, Gateway, of_two_shops, one
from tests.real.shop import Person, Shop, elsewhere
from tests.real.visiting import (
    at_login,
    fetch,
    fill_in,
    headers_of,
    log_in,
    login_cookies,
    open_at_once,
    session_cookies,
    target,
)

# The first test waits for Keycloak, Redis, nginx and two gateways.
pytestmark = pytest.mark.timeout(300)

SESSION_ID = re.compile(r"[0-9A-Za-z_-]{43}")

DEEP_LINKS = {
    "path and query": "/orders/2026/11?page=2&sort=-date",
    "a query in capitals and small letters of its encoding": "/orders?q=%C3%BC%2f%2F&r=%26%3d%23",
    "plus and space": "/orders?q=a+b%20c",
    "the same name twice, one without a value": "/orders?tag=1&tag=2&tag=&flag",
    "an encoded path": "/caf%C3%A9/a%20b?x=1",
    "names that a login uses": "/orders?code=1&state=2&iss=3&rd=/elsewhere&error=none",
    "another address in the query": "/orders?next=https://evil.test/%0d%0aX:1&n=//evil.test",
    "question marks and an empty query": "/orders??a=?b",
    "a long one": "/orders?q=" + "x" * 1500,
}


# --- Where a login begins and ends


@pytest.mark.parametrize("link", DEEP_LINKS.values(), ids=DEEP_LINKS.keys())
def test_login_ends_on_the_deep_link_where_it_began(
    gateway: Gateway, profile: BrowserContext, person: Person, link: str
) -> None:
    """Path and query of the address that was asked for are there after the login, letter by letter."""
    page = log_in(profile, gateway.url + link, person)
    assert shown_path(page) == link
    assert target(page) == link


@pytest.mark.parametrize("start", ["/oauth/start?rd=", "/oauth2/start?rd="])
def test_a_login_that_is_begun_on_purpose(
    gateway: Gateway, profile: BrowserContext, person: Person, start: str
) -> None:
    """A page that begins a login itself says where it ends; an address elsewhere is refused."""
    page = log_in(profile, gateway.url + start + "%2Forders%3Fpage%3D8%26q%3D%252F", person)
    assert shown_path(page) == "/orders?page=8&q=%2F"
    answer = page.goto(gateway.url + start + "https%3A%2F%2Fevil.test%2F")
    assert answer is not None
    assert answer.status == 400
    assert page.url.startswith(gateway.url)


def test_wrong_password_then_right(gateway: Gateway, profile: BrowserContext, person: Person) -> None:
    """A wrong password stays at Keycloak; the right one after it ends on the page that was asked for."""
    page = tab(profile, f"{gateway.url}/orders?page=3")
    fill_in(page, person, password="wrong")
    expect(page.get_by_text("Invalid username or password.")).to_be_visible()
    assert not session_cookies(profile, gateway)
    fill_in(page, person)
    assert shown_path(page) == "/orders?page=3"


def test_five_tabs_without_a_session_end_on_their_own_pages(
    gateway: Gateway, profile: BrowserContext, person: Person
) -> None:
    """Five tabs that are opened at once before any login each end on their own page after one login."""
    links = [f"/orders/{number}?tab={number}" for number in range(5)]
    pages = [profile.new_page() for _ in links]
    open_at_once(pages, [gateway.url + link for link in links])
    for page in pages:
        expect(page.locator("#kc-form-login")).to_be_visible()
    # Keycloak itself: five first visits at once each set its cookie, and only the last one's form can be sent
    pages[2].reload()
    fill_in(pages[2], person)
    # Keycloak's forms look for a session every two seconds, and go on by themselves
    assert [shown_path(page) for page in pages] == links
    assert len(gateway.shop.events("LOGIN", person)) <= 5
    assert len(session_cookies(profile, gateway)) == 1
    assert not login_cookies(profile, gateway)


def test_logins_that_nobody_finishes_do_not_pile_up(gateway: Gateway, profile: BrowserContext) -> None:
    """However many pages are opened without logging in, the browser holds the cookies of five logins at most."""
    page = profile.new_page()
    for number in range(8):
        page.goto(f"{gateway.url}/orders/{number}")
        assert at_login(page)
    assert len(login_cookies(profile, gateway)) == 5


def test_login_again_is_silent_while_keycloak_remembers(
    gateway: Gateway, profile: BrowserContext, person: Person
) -> None:
    """Who is still logged in at Keycloak comes back without a form, to a session of another name."""
    log_in(profile, f"{gateway.url}/orders", person)
    (before,) = session_cookies(profile, gateway)
    profile.clear_cookies(name=before["name"])
    page = tab(profile, f"{gateway.url}/orders?again")
    assert shown_path(page) == "/orders?again"
    (after,) = session_cookies(profile, gateway)
    assert after["value"] != before["value"]


# --- What the browser holds, and what reaches the application


def test_the_browser_holds_one_small_opaque_cookie(
    gateway: Gateway, profile: BrowserContext, person: Person
) -> None:
    """After login the browser has one cookie of ours: random, for scripts unreadable, Lax, and no token in it."""
    page = log_in(profile, f"{gateway.url}/orders", person)
    (cookie,) = session_cookies(profile, gateway)
    assert SESSION_ID.fullmatch(cookie["value"])
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert cookie["path"] == "/"
    assert cookie["expires"] == -1  # it ends with the browser
    assert cookie["value"] not in page.evaluate("document.cookie")
    assert not login_cookies(profile, gateway)


def test_the_application_sees_the_person_and_not_our_cookie(
    gateway: Gateway, profile: BrowserContext, person: Person
) -> None:
    """The application gets identity headers and the access token; its own cookies come along, ours do not."""
    profile.add_cookies([{"name": "cart", "value": "7", "url": gateway.url}])
    page = log_in(profile, f"{gateway.url}/orders", person)
    assert shown_header(page, "x-auth-user") == person.name
    assert shown_header(page, "x-auth-subject") == person.id
    authorization = shown_header(page, "authorization") or ""
    assert re.fullmatch(r"Bearer [\w-]+\.[\w-]+\.[\w-]+", authorization)
    cookies = shown_header(page, "cookie") or ""
    (ours,) = session_cookies(profile, gateway)
    assert "cart=7" in cookies
    assert ours["name"] not in cookies
    assert ours["value"] not in cookies


def test_tokens_of_thirty_kilobytes_of_roles(
    shop: Shop, application: Application, profile: BrowserContext, tmp_path: Path
) -> None:
    """Somebody with 30 KB of roles logs in and works, and the browser's cookie is as small as everyone's."""
    person = shop.person_of_many_roles(30_000)
    # the access token is 44 KB as a header, and what the service vouches for as much again
    with one(tmp_path, shop, application) as gateway:
        page = log_in(profile, f"{gateway.url}/orders", person)
        assert shown_path(page) == "/orders"
        assert len(shown_header(page, "authorization") or "") > 40_000
        (cookie,) = session_cookies(profile, gateway)
        assert len(cookie["value"]) == 43
        assert all(fetch(page, f"/api/orders/{number}")["status"] == 200 for number in range(6))


def test_cookies_over_https_are_bound_to_the_host(
    browser: Browser, shop: Shop, application: Application, person: Person, tmp_path: Path
) -> None:
    """Over https the cookie is Secure and its name begins with `__Host-`; login works at a name of one's own."""
    Authority("tests").pair("shop.test").write(tmp_path)
    tls = {"certificate": f"{tmp_path}/tls.crt", "key": f"{tmp_path}/tls.key"}
    with (
        one(tmp_path / "gateway", shop, application, scheme="https", host="shop.test", tls=tls) as gateway,
        browser.visit(ignore_https_errors=True) as profile,
    ):
        page = log_in(profile, f"{gateway.url}/orders?page=4", person)
        assert shown_path(page) == "/orders?page=4"
        (cookie,) = session_cookies(profile, gateway)
        assert cookie["name"] == "__Host-wardgate-session"
        assert cookie["secure"]
        assert cookie["domain"] == "shop.test"


# --- Who is not redirected, and who may not


def test_a_script_gets_401_and_never_a_redirect(
    gateway: Gateway, profile: BrowserContext, person: Person
) -> None:
    """A script's request without a session is 401 where it was sent; with the session it is answered."""
    page = tab(profile, f"{gateway.url}/open/shop")
    for options in ({}, {"method": "POST", "body": "x"}, {"headers": {"accept": "text/html"}}):
        answer = fetch(page, "/api/orders", **options)
        assert (answer["status"], answer["redirected"]) == (401, False)
        assert answer["url"] == f"{gateway.url}/api/orders"
    assert not login_cookies(profile, gateway)
    log_in(profile, f"{gateway.url}/orders", person)
    assert headers_of(fetch(page, "/api/orders"))["x-auth-user"] == person.name


def test_images_and_frames_are_not_sent_to_the_login(gateway: Gateway, profile: BrowserContext) -> None:
    """An image or a frame that needs a session is 401: only what a person navigates to begins a login."""
    page = tab(profile, f"{gateway.url}/open/shop")
    statuses: dict[str, int] = {}
    page.on("response", lambda answer: statuses.setdefault(answer.url.rpartition("/")[2], answer.status))
    page.evaluate("""() => Promise.all(["img", "iframe"].map((kind) => new Promise((done) => {
        const element = document.createElement(kind);
        element.onload = element.onerror = done;
        element.src = "/orders/" + kind;
        document.body.append(element);
    })))""")
    assert statuses == {"img": 401, "iframe": 401}


def test_whoever_lacks_the_role_is_told_so(gateway: Gateway, profile: BrowserContext, person: Person) -> None:
    """A person without the role of a page gets 403 and is not sent to the login again."""
    page = log_in(profile, f"{gateway.url}/orders", person)
    answer = page.goto(f"{gateway.url}/admin/x")
    assert answer is not None
    assert answer.status == 403
    assert target(page) == "/admin/x"


def test_a_page_can_ask_who_it_is_for(gateway: Gateway, profile: BrowserContext, person: Person) -> None:
    """Scripts learn the claims of their session, and never its tokens; without a session they get 401."""
    page = tab(profile, f"{gateway.url}/open/shop")
    assert fetch(page, "/oauth/token")["status"] == 401
    log_in(profile, f"{gateway.url}/orders", person)
    for path in ("/oauth/token", "/oauth/userinfo", "/oauth2/userinfo"):
        answer = fetch(page, path)
        assert answer["status"] == 200
        assert person.name in answer["body"]
        assert not re.search(r"eyJ[\w-]+\.", answer["body"])


# --- Other sites, other issuers


@pytest.fixture(scope="module")
def far_shop(keycloak: Keycloak) -> Iterator[Shop]:
    """The same realm once more, which Keycloak says is on `localhost`: another site than 127.0.0.1."""
    with elsewhere(keycloak, "shop-far", keycloak.url.replace("127.0.0.1", "localhost")) as shop:
        yield shop


def test_strict_cookies_with_an_issuer_on_another_site(
    far_shop: Shop, application: Application, profile: BrowserContext, tmp_path: Path
) -> None:
    """With `same-site: strict` and Keycloak on another site the login ends logged in, on the deep link."""
    person = far_shop.person()
    session = {"cookie": {"same-site": "strict"}}
    with one(tmp_path, far_shop, application, session=session) as gateway:
        page = tab(profile, f"{gateway.url}/orders?page=5&q=%2F")
        assert page.url.startswith("http://localhost:")
        fill_in(page, person)
        assert shown_path(page) == "/orders?page=5&q=%2F"
        (cookie,) = session_cookies(profile, gateway)
        assert cookie["sameSite"] == "Strict"
        assert len(gateway.redirects()) == 1


@pytest.mark.parametrize("near", [True, False], ids=["issuer on this host", "issuer on another site"])
def test_strict_cookies_and_a_link_on_another_site(
    shop: Shop,
    far_shop: Shop,
    application: Application,
    profile: BrowserContext,
    tmp_path: Path,
    near: bool,
) -> None:
    """With `same-site: strict` a link on another site leads to the page, for the first time and for the next."""
    realm = shop if near else far_shop
    elsewhere = application.url.replace("127.0.0.1", "localhost")
    with one(tmp_path, realm, application, session={"cookie": {"same-site": "strict"}}) as gateway:
        page = tab(profile, f"{elsewhere}/blog")
        page.evaluate("url => location.assign(url)", f"{gateway.url}/orders?from=blog")
        fill_in(page, realm.person())
        assert shown_path(page) == "/orders?from=blog"
        page.goto(f"{elsewhere}/blog")
        # the cookie is not sent with a link of another site: Keycloak, which knows the person, is asked again
        page.evaluate("url => location.assign(url)", f"{gateway.url}/orders?again")
        assert shown_path(page) == "/orders?again"


def test_two_providers_and_a_chooser(
    shop: Shop, far_shop: Shop, application: Application, browser: Browser, tmp_path: Path
) -> None:
    """Where two providers can log in, a page asks which; each choice ends on the deep link, as that person."""
    with of_two_shops(tmp_path, shop, far_shop, application) as gateway:
        for title, issuer, realm in (
            ("Near shop", shop.issuer, shop),
            ("Far shop", far_shop.issuer, far_shop),
        ):
            person = realm.person()
            with browser.visit() as profile:
                page = tab(profile, f"{gateway.url}/orders?page=6")
                page.get_by_text(title).first.click()
                expect(page.locator("#kc-form-login")).to_be_visible()
                assert page.url.startswith(issuer)
                fill_in(page, person)
                assert shown_path(page) == "/orders?page=6"
                assert shown_header(page, "x-auth-user") == person.name


# --- Logins that cannot work


def test_a_cookie_domain_that_does_not_fit_ends_in_a_diagnosis(
    shop: Shop, application: Application, profile: BrowserContext, person: Person, tmp_path: Path
) -> None:
    """Where the browser refuses our cookie for its domain, the loop ends on a page that says so."""
    session = {"cookie": {"domain": "other.test"}}
    with one(tmp_path, shop, application, session=session) as gateway:
        page = log_in(profile, f"{gateway.url}/orders", person)
        assert_diagnosis(page, gateway, "domain", "other.test")


def test_a_secure_cookie_over_http_ends_in_a_diagnosis(
    shop: Shop, application: Application, profile: BrowserContext, person: Person, tmp_path: Path
) -> None:
    """Where the browser refuses a Secure cookie that came over http, the loop ends on a page that says so."""
    hosts = [{"names": ["shop.test"], "routes": list(ROUTES)}]
    with one(tmp_path, shop, application, host="shop.test", hosts=hosts, routes=None) as gateway:
        page = log_in(profile, f"{gateway.url}/orders", person)
        assert_diagnosis(page, gateway, "secure", "https")


def assert_diagnosis(page: Page, gateway: Gateway, *words: str) -> None:
    """The browser stands still on a page of ours that names the cause, after at most two redirects."""
    text = page.locator("body").inner_text().lower()
    for word in words:
        assert word in text
    assert page.url.startswith(gateway.url)
    assert not at_login(page)
    assert len(gateway.redirects()) <= 2


# --- What is logged


def test_each_redirect_is_one_line_and_no_secret_is_said(
    shop: Shop, application: Application, profile: BrowserContext, person: Person, tmp_path: Path
) -> None:
    """A login logs one line with `redirect` and its reason; no token, code, cookie or secret is ever logged."""
    asked: list[str] = []
    profile.on("request", lambda request: asked.append(request.url))
    with one(tmp_path, shop, application) as gateway:
        page = log_in(profile, f"{gateway.url}/orders?secret-of-the-query", person)
        authorization = shown_header(page, "authorization") or ""
        (redirect,) = gateway.redirects()
        assert redirect["reason"]
        said = gateway.everything_said()
        (cookie,) = session_cookies(profile, gateway)
        (callback,) = [url for url in asked if "/oauth/callback?" in url]
        code = re.search(r"[?&]code=([^&]+)", callback)
        assert code
        secrets = [cookie["value"], code[1], authorization.removeprefix("Bearer "), gateway.client.secret]
        assert [secret for secret in secrets if secret in said] == []
        assert json.dumps(person.password) not in said
