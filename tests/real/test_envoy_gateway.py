"""
S3: a SecurityPolicy for each class of client, with real Keycloak and a browser. Browsers log in, mobile applications bring
their own tokens, discovery and health are for everyone; the application gets a token that was verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.holding.manifests import Manifests, example
from tests.parts.keycloak import Keycloak
from tests.parts.loopback import free_port
from tests.real.application import Application, shown_header, shown_path
from tests.real.shop import Client, Person, Shop, elsewhere
from tests.real.visiting import fetch
from tests.realm import unverified_claims
from tests.sending import Answer, send

pytestmark = pytest.mark.timeout(300)

CALLBACK: Final = "/oauth2/callback"
LIKE_A_BROWSER: Final = (
    ("Accept", "text/html"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    gateway: Manifests
    url: str
    shop: Shop
    client: Client
    person: Person
    application: Application

    def ask(self, path: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
        host = self.url.removeprefix("http://")
        return send(self.gateway.port, method, path, [("Host", host), ("Connection", "close"), *headers])

    def token(self) -> str:
        """As a mobile application gets one."""
        form = {
            "grant_type": "password",
            "client_id": self.client.id,
            "client_secret": self.client.secret,
            "username": self.person.name,
            "password": self.person.password,
            "scope": "openid",
        }
        answer = httpx.post(f"{self.shop.issuer}/protocol/openid-connect/token", data=form)
        return str(answer.raise_for_status().json()["access_token"])


@pytest.fixture(scope="module")
def site(
    keycloak: Keycloak, application: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The example's manifests; the Gateway's address is chosen first, as Keycloak has to know it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with elsewhere(keycloak, "gtd", keycloak.url) as shop:
        client = shop.client(url, callback=CALLBACK)
        told = shop.admin("GET", f"/clients/{client.internal}")
        shop.admin("PUT", f"/clients/{client.internal}", {**told, "directAccessGrantsEnabled": True})
        person = shop.person()
        shop.put_in_organization(client, person, "acme")
        env = {
            "KEYCLOAK_ISSUER": shop.issuer,
            "CLIENT_ID": client.id,
            "CLIENT_SECRET": client.secret,
            "REDIRECT_URL": f"{url}{CALLBACK}",
        }
        resolve = {"default/ktor-server:8080": application.url.removeprefix("http://")}
        folder = tmp_path_factory.mktemp("s3")
        with Manifests(folder, example("envoy-gateway"), resolve, env, port) as gateway:
            yield Site(
                gateway=gateway, url=url, shop=shop, client=client, person=person, application=application
            )


def log_in(page: Page, site: Site) -> None:
    """With organizations, Keycloak asks for the name first."""
    page.locator("#username").fill(site.person.name)
    if not page.locator("#password").count():
        page.locator("#kc-login").click()
    page.locator("#password").fill(site.person.password)
    with page.expect_navigation():
        page.locator("#kc-login").click()


def test_a_browser_logs_in_and_the_application_gets_the_token(site: Site, profile: BrowserContext) -> None:
    """It comes back to the page that it asked for, and the access token tells the organizations."""
    page = profile.new_page()
    page.goto(f"{site.url}/inbox?view=today")
    assert page.url.startswith(site.shop.issuer)
    log_in(page, site)
    assert shown_path(page) == "/inbox?view=today"
    scheme, _, token = (shown_header(page, "authorization") or "").partition(" ")
    told = unverified_claims(token)
    assert (scheme, told["iss"], told["sub"]) == ("Bearer", site.shop.issuer, site.person.id)
    assert list(told["organization"]) == ["acme"]
    assert "wardgate" not in (shown_header(page, "cookie") or "")
    answer = fetch(page, "/api/tasks")
    assert answer["status"] == 200 and "Bearer " in answer["body"]


def test_logout_where_the_policy_says(site: Site, profile: BrowserContext) -> None:
    """GET /logout ends the session, here and at Keycloak: the next page is the login again."""
    page = profile.new_page()
    page.goto(f"{site.url}/inbox")
    log_in(page, site)
    assert shown_path(page) == "/inbox"
    page.goto(f"{site.url}/logout")
    expect(page.get_by_role("heading", name=re.compile("You are (signed|logged) out"))).to_be_visible()
    page.goto(f"{site.url}/inbox")
    expect(page.locator("#username")).to_be_visible()


@pytest.mark.parametrize("path", ["/mobile/tasks", "/mcp"])
def test_native_clients_bring_a_token(site: Site, path: str) -> None:
    """401 without a redirect, whoever asks; with a token 200, and the application gets it as it came."""
    for headers in ((), LIKE_A_BROWSER):
        answer = site.ask(path, *headers)
        assert (answer.status, answer.header("location")) == (401, None)
    before = len(site.application.arrivals())
    value = f"Bearer {site.token()}"
    assert site.ask(path, ("Authorization", value)).status == 200
    assert site.ask(path, ("Authorization", value[:-8] + "AAAAAAAA")).status == 401
    (arrival,) = site.application.arrivals()[before:]
    assert arrival.values("authorization") == [value]


def test_a_session_opens_no_route_of_native_clients(site: Site, profile: BrowserContext) -> None:
    """The cookie that opens the pages is nobody there, and does not reach the application."""
    page = profile.new_page()
    page.goto(f"{site.url}/inbox")
    log_in(page, site)
    assert fetch(page, "/api/tasks")["status"] == 200
    assert fetch(page, "/mobile/tasks")["status"] == 401


def test_a_bearer_token_passes_where_browsers_log_in(site: Site) -> None:
    """`passThroughAuthHeader`: it is verified, not redirected; a bad one is 401 for a browser, too."""
    before = len(site.application.arrivals())
    value = f"Bearer {site.token()}"
    assert site.ask("/api/tasks", ("Authorization", value)).status == 200
    (arrival,) = site.application.arrivals()[before:]
    assert arrival.values("authorization") == [value]
    bad = site.ask("/api/tasks", ("Authorization", value[:-8] + "AAAAAAAA"), *LIKE_A_BROWSER)
    assert (bad.status, bad.header("location")) == (401, None)


def test_what_has_no_policy_is_open(site: Site) -> None:
    """Discovery and health answer anyone, and only their own paths."""
    for path in ("/.well-known/oauth-protected-resource", "/health"):
        assert site.ask(path).status == 200
    assert site.ask("/health/../inbox").status in (303, 400, 401)
    assert site.ask("/healthy", *LIKE_A_BROWSER).status == 303
    assert site.ask("/.well-known/%2e%2e/inbox", *LIKE_A_BROWSER).status in (303, 400)
