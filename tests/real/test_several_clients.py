"""
Several OIDC clients behind one gateway: applications on hosts of their own, and two on one host, each with a SecurityPolicy
that names its own client of the same real Keycloak. Who logs in at one is nobody at the others until they log in there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.holding.manifests import GATEWAY, Manifests, guarded
from tests.holding.running import IN_FORCE
from tests.parts.keycloak import Keycloak
from tests.parts.loopback import free_port
from tests.real.application import Application, shown_header, shown_path
from tests.real.shop import Client, Person, Shop
from tests.real.visiting import fetch
from tests.realm import unverified_claims
from tests.sending import send
from tests.service.issuer import wait_for

pytestmark = pytest.mark.timeout(300)

PLACES: Final = {
    "mail": ("mail.test", "/"),
    "wiki": ("wiki.test", "/"),
    "wiki-admin": ("wiki.test", "/admin"),
}
"""Of each application its host and its path."""

OIDC: Final = """
oidc:
  provider: {{issuer: "{issuer}"}}
  clientID: {client}
  clientSecret: {{name: {name}}}
  redirectURL: "http://{host}:{port}{below}/oauth2/callback"
  logoutPath: {below}/logout
  forwardAccessToken: true
"""
SECRET: Final = """
---
apiVersion: v1
kind: Secret
metadata: {{name: {name}}}
data: {{client-secret: {secret}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applications:
    gateway: Manifests
    shop: Shop
    issuer: str
    person: Person
    clients: dict[str, Client]

    def manifests(self, *names: str) -> str:
        return manifests(self.issuer, self.gateway.port, {name: self.clients[name] for name in names})

    def url(self, name: str, path: str = "") -> str:
        host, below = PLACES[name]
        return f"http://{host}:{self.gateway.port}{below.rstrip('/')}{path}"

    def visit(self, page: Page, name: str, path: str) -> None:
        page.goto(self.url(name, path))

    def is_in(self, page: Page, name: str) -> bool:
        """Whether the page that is shown came with a token of this application's client."""
        _, _, token = (shown_header(page, "authorization") or "").partition(" ")
        return bool(unverified_claims(token)["azp"] == self.clients[name].id)


def manifests(issuer: str, port: int, clients: dict[str, Client]) -> str:
    found = ""
    for name, client in clients.items():
        host, path = PLACES[name]
        secret = base64.b64encode(client.secret.encode()).decode()
        own = {"name": name, "host": host, "below": path.rstrip("/"), "client": client.id}
        oidc = OIDC.format(issuer=issuer, port=port, **own)
        found += guarded(name, "SecurityPolicy", oidc, host, path=path)
        found += SECRET.format(name=name, secret=secret)
    return found


@pytest.fixture(scope="module")
def applications(
    keycloak: Keycloak, application: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Applications]:
    shop, port = Shop(keycloak), free_port()
    clients = {
        name: shop.client(f"http://{host}:{port}", callback=f"{path.rstrip('/')}/oauth2/callback")
        for name, (host, path) in PLACES.items()
    }
    files = {"gateway.yaml": GATEWAY, "routes.yaml": manifests(shop.issuer, port, clients)}
    resolve = {"default/app:80": application.url.removeprefix("http://")}
    with Manifests(tmp_path_factory.mktemp("clients"), files, resolve, {}, port) as gateway:
        yield Applications(
            gateway=gateway, shop=shop, issuer=shop.issuer, person=shop.person(), clients=clients
        )


def log_in(page: Page, person: Person) -> None:
    page.locator("#username").fill(person.name)
    page.locator("#password").fill(person.password)
    with page.expect_navigation():
        page.locator("#kc-login").click()


def test_each_application_has_its_own_login(applications: Applications, profile: BrowserContext) -> None:
    """
    One password at Keycloak is enough for all of them, and each gets tokens of its own client; two on one host do not take
    turns, and neither sees the cookies of the other, nor its own.
    """
    page = profile.new_page()
    applications.visit(page, "mail", "/inbox?view=today")
    log_in(page, applications.person)
    assert shown_path(page) == "/inbox?view=today" and applications.is_in(page, "mail")
    for name, path, shown in (("wiki", "/page", "/page"), ("wiki-admin", "/people", "/admin/people")) * 2:
        applications.visit(page, name, path)
        assert shown_path(page) == shown and applications.is_in(page, name)
        assert "wardgate" not in (shown_header(page, "cookie") or "")
    ours = [one["name"] for one in profile.cookies() if "wardgate-session" in one["name"]]
    assert len(ours) == len(set(ours)) == 3


def test_a_logout_is_of_one_application(applications: Applications, profile: BrowserContext) -> None:
    """Of two on one host, too: the other goes on here, though Keycloak itself has logged out."""
    page = profile.new_page()
    for name in PLACES:
        applications.visit(page, name, "/x")
        if page.url.startswith(applications.issuer):
            log_in(page, applications.person)
        assert applications.is_in(page, name)
    applications.visit(page, "wiki-admin", "/logout")
    page.get_by_role("button", name="Sign out").click()  # over http browsers do not say who asks
    page.wait_for_url(f"{applications.issuer}/**")
    applications.visit(page, "wiki", "/x")
    assert applications.is_in(page, "wiki")
    applications.visit(page, "wiki-admin", "/x")
    expect(page.locator("#username")).to_be_visible()
    assert page.goto(applications.url("mail", "/x")) and applications.is_in(page, "mail")


def test_a_session_of_one_client_opens_nothing_of_another(
    applications: Applications, profile: BrowserContext
) -> None:
    """Whoever puts the value of one cookie into the other is nobody there."""
    page = profile.new_page()
    applications.visit(page, "wiki", "/x")
    log_in(page, applications.person)
    applications.visit(page, "wiki-admin", "/x")
    assert applications.is_in(page, "wiki-admin")
    kept = [one for one in profile.cookies(applications.url("wiki")) if "wardgate-session" in one["name"]]
    (one, first), (other, second) = ((each["name"], each["value"]) for each in kept)
    found: dict[str, set[int]] = {}
    for path in ("/x", "/admin/x"):
        for cookie in (f"{one}={first}", f"{other}={second}", f"{one}={second}", f"{other}={first}"):
            host = f"wiki.test:{applications.gateway.port}"
            answer = send(applications.gateway.port, "GET", path, [("Host", host), ("Cookie", cookie)])
            found.setdefault(cookie, set()).add(answer.status)
    assert [found[f"{name}={value}"] for name, value in ((one, first), (other, second))] == [{200, 401}] * 2
    assert [found[f"{name}={value}"] for name, value in ((one, second), (other, first))] == [{401}] * 2


def test_who_is_logged_in_stays_so_when_other_policies_come_and_go(
    applications: Applications, profile: BrowserContext
) -> None:
    page, gateway = profile.new_page(), applications.gateway
    applications.visit(page, "wiki-admin", "/x")
    log_in(page, applications.person)
    for names in (("wiki-admin", "wiki"), tuple(PLACES)):
        before = gateway.count(IN_FORCE)
        gateway.write({"routes.yaml": applications.manifests(*names)})
        wait_for(lambda before=before: gateway.count(IN_FORCE) > before, "in force", 20)
        assert fetch(page, "/admin/api/x")["status"] == 200


SUITE: Final = """
oidc:
  provider: {{issuer: "{issuer}"}}
  clientIDRef: {{name: mail}}
  clientSecret: {{name: mail}}
  cookieDomain: suite.test
  redirectURL: "http://one.suite.test:{port}/oauth2/callback"
  defaultRefreshTokenTTL: 24h
  forwardAccessToken: true
"""


def test_hosts_of_one_domain_share_a_login(applications: Applications, profile: BrowserContext) -> None:
    """The issuer sends browsers back to one of them, whichever was visited; the session is for both."""
    gateway, port = applications.gateway, applications.gateway.port
    client = applications.clients["mail"]
    back = [f"http://{host}:{port}/oauth2/callback" for host in ("mail.test", "one.suite.test")]
    told = applications.shop.admin("GET", f"/clients/{client.internal}")
    applications.shop.admin("PUT", f"/clients/{client.internal}", {**told, "redirectUris": back})
    known = base64.b64encode(client.id.encode()).decode()
    before = gateway.count(IN_FORCE)
    manifests = applications.manifests(*PLACES).replace(
        "{client-secret", f"{{client-id: {known}, client-secret", 1
    )
    oidc = SUITE.format(issuer=applications.issuer, port=port)
    suite = guarded("suite", "SecurityPolicy", oidc, "one.suite.test", "two.suite.test")
    gateway.write({"routes.yaml": manifests + suite})
    wait_for(lambda: gateway.count(IN_FORCE) > before, "in force", 20)
    page = profile.new_page()
    page.goto(f"http://two.suite.test:{port}/x?a=b")
    log_in(page, applications.person)
    page.wait_for_url(f"http://two.suite.test:{port}/x?a=b")
    assert applications.is_in(page, "mail")
    page.goto(f"http://one.suite.test:{port}/y")
    assert shown_path(page) == "/y" and applications.is_in(page, "mail")


def test_paths_of_the_gateway_are_those_of_its_policies_on_that_host(applications: Applications) -> None:
    """On a host where nobody logs in at /admin/logout, that path is the application's."""
    port = applications.gateway.port
    for host, path, status in (
        ("wiki.test", "/admin/oauth2/callback", 400),
        ("mail.test", "/oauth2/callback", 400),
        ("mail.test", "/admin/oauth2/callback", 401),
        ("mail.test", "/admin/logout", 401),
    ):
        assert send(port, "GET", path, [("Host", f"{host}:{port}")]).status == status, (host, path)
