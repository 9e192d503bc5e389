"""
Real proxies that ask Wardgate, each with the configuration of its example: tokens and logins of real Keycloak.

The table is S1's: who has which token, times which kind of path. Statuses are written from its text: a public path is
open to anyone, an unlisted one is closed, a token that does not verify is 401, one without the role 403.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import BrowserContext, expect
from ruamel.yaml import YAML

from tests.echo import Echo
from tests.holding.running import Running
from tests.parts import PROJECT
from tests.parts.chromium import tab
from tests.parts.loopback import free_port
from tests.parts.proxies import Proxy
from tests.real.application import Application, shown_header, shown_path
from tests.real.shop import Client, Person, Shop
from tests.real.visiting import fetch, fill_in, log_in
from tests.realm import GATEWAY_CLIENT, OTHER_CLIENT, SHORT_LIVED_CLIENT, Realm, unverified_claims
from tests.sending import Answer, send

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A folder of `examples`: `program` is the proxy, `file` its configuration."""

    program: str
    file: Path

    @property
    def wardgate(self) -> str:
        """Its wardgate.yaml."""
        return (PROJECT / "examples" / self.program / "wardgate.yaml").read_text("utf-8")


EXAMPLES: Final = {"nginx": "nginx.conf", "caddy": "Caddyfile", "haproxy": "haproxy.cfg"}
PROXY, GATEWAY, APPLICATION = 8080, 8081, 9000
LEEWAY_S: Final = 30

MAPPING: Final = {
    "/api/v1/admin": ["staff"],  # a role of the realm
    "/api/v1": ["user", "staff"],  # `user` is one of the client: the audience
    "/v3/api-docs": [],
}
PATHS: Final = {
    "protected": "/api/v1/orders?x=1",
    "admin": "/api/v1/admin/x",
    "public": "/v3/api-docs/x",
    "unlisted": "/elsewhere",
}
TABLE: Final = {
    "no token": {"protected": 401, "admin": 401, "public": 200, "unlisted": 401},
    "good": {"protected": 200, "admin": 200, "public": 200, "unlisted": 403},
    "wrong role": {"protected": 200, "admin": 403, "public": 200, "unlisted": 403},
    "expired": {"protected": 401, "admin": 401, "public": 200, "unlisted": 401},
    "forged": {"protected": 401, "admin": 401, "public": 200, "unlisted": 401},
    "other audience": {"protected": 401, "admin": 401, "public": 200, "unlisted": 401},
}


@pytest.fixture(scope="module")
def tokens(realm: Realm) -> dict[str, str]:
    """By who brings it; the expired one was asked for first."""
    expired = realm.token("admin", client=SHORT_LIVED_CLIENT).access
    good = realm.token("admin").access
    header, payload, signature = good.split(".")
    flipped = ("A" if signature[20] != "A" else "B").join((signature[:20], signature[21:]))
    return {
        "expired": expired,
        "good": good,
        "wrong role": realm.token("user").access,
        "forged": f"{header}.{payload}.{flipped}",
        "other audience": realm.token("admin", client=OTHER_CLIENT).access,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """The application that only the proxy reaches."""

    proxy: Proxy
    application: Echo

    def ask(self, path: str, token: str = "", *more: tuple[str, str], method: str = "GET") -> Answer:
        headers = [("Host", "app.test"), ("Connection", "close"), *more]
        headers += [("Authorization", f"Bearer {token}")] if token else []
        return send(self.proxy.port, method, path, headers)


@pytest.fixture(scope="module", params=sorted(EXAMPLES))
def example(request: pytest.FixtureRequest) -> Example:
    name: str = request.param
    return Example(program=name, file=PROJECT / "examples" / name / EXAMPLES[name])


@pytest.fixture(scope="module")
def behind(example: Example, realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """S1: a role mapping, its environment, and the proxy of an example in front of an application."""
    folder = tmp_path_factory.mktemp("mapping")
    server, _, name = realm.issuer.partition("/realms/")
    environment = {
        "KEYCLOAK_URL": server,
        "KEYCLOAK_REALM": name,
        "KEYCLOAK_AUDIENCE": GATEWAY_CLIENT,
        "WARDGATE_TRUSTED_PROXIES": "127.0.0.1/32",
    }
    port = free_port()
    with (
        Echo() as application,
        _mapped(folder, port, environment) as gateway,
        _proxy(example, gateway.port, application.url) as proxy,
    ):
        yield Behind(proxy=proxy, application=application)


@contextmanager
def _mapped(folder: Path, port: int, environment: dict[str, str]) -> Iterator[Running]:
    class Mapped(Running):
        def text(self, content: Any) -> str:
            return json.dumps(content)

    addresses = ("--set", f"listen=127.0.0.1:{port}", "--set", f"admin=127.0.0.1:{free_port()}")
    with Mapped(folder, MAPPING, *addresses, env=environment, port=port) as running:
        yield running


def _proxy(example: Example, gateway: int, application: str, port: int = 0) -> Proxy:
    behind = int(application.rpartition(":")[2])
    ports = {PROXY: port or free_port(), GATEWAY: gateway, APPLICATION: behind}
    return Proxy.start(example.program, example.file, ports)


def test_the_table(behind: Behind, tokens: dict[str, str]) -> None:
    """Every cell; whoever is refused never reaches the application."""
    wrong = []
    for who, row in TABLE.items():
        if who == "expired":
            _wait_until_over(tokens["expired"])
        for kind, status in row.items():
            before = len(behind.application.arrivals())
            answer = behind.ask(PATHS[kind], tokens.get(who, ""))
            arrived = len(behind.application.arrivals()) - before
            if (answer.status, arrived) != (status, int(status == 200)):
                wrong.append(f"{who} at {kind}: {answer.status} and {arrived} arrivals, expected {status}")
    assert not wrong, "\n".join([*wrong, behind.proxy.said()[-2000:]])


def _wait_until_over(token: str) -> None:
    time.sleep(max(0.0, unverified_claims(token)["exp"] + LEEWAY_S + 2 - time.time()))


def test_the_application_is_told_who_calls(behind: Behind, tokens: dict[str, str], realm: Realm) -> None:
    """By Wardgate, and never by the client: its own copies are gone, with a token and without."""
    forged = [
        ("X-User-Id", "root"),
        ("X-Auth-Roles", "admin"),
        ("X-Auth-Email", "root@app.test"),
        ("x-auth-user", "r"),
    ]
    assert behind.ask(PATHS["protected"], tokens["wrong role"], *forged).status == 200
    told = behind.application.arrivals()[-1]
    assert told.values("x-auth-user") == ["user"]
    assert len(told.values("x-user-id")) == 1 and told.values("x-user-id") != ["root"]
    assert all("root" not in value and value != "admin" for value in told.values("x-auth-roles"))
    assert behind.ask(PATHS["public"], "", *forged).status == 200
    anonymous = behind.application.arrivals()[-1]
    for name, _ in forged:
        assert not any(anonymous.values(name)), name


@pytest.mark.parametrize(
    "headers",
    [
        (("X-Forwarded-Uri", "/v3/api-docs/x"),),
        (
            ("X-Forwarded-Uri", "/v3/api-docs/x"),
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Host", "app.test"),
        ),
        (("X-Original-URL", "http://app.test/v3/api-docs/x"), ("X-Original-Method", "GET")),
        (("X-Original-URL", "/v3/api-docs/x"),),
        (("X-Forwarded-Prefix", "/v3/api-docs"), ("X-Rewrite-URL", "/v3/api-docs/x")),
        (("x-wardgate-decides", "forwarded"),),
    ],
)
def test_a_client_does_not_say_what_is_asked(
    behind: Behind, headers: tuple[tuple[str, str], ...], tokens: dict[str, str]
) -> None:
    """What is asked about is what the proxy serves, whatever a client says."""
    before = len(behind.application.arrivals())
    assert behind.ask("/api/v1/admin/x", "", *headers).status in (401, 403)
    assert behind.ask("/api/v1/admin/x", tokens["wrong role"], *headers).status == 403
    assert len(behind.application.arrivals()) == before


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v3/api-docs/../../api/v1/admin/x",
            "/v3/api-docs/%2e%2e/%2e%2e/api/v1/admin/x",
            "//v3/api-docs/x",
        ),
        *("/v3/api-docs/..;/api/v1/admin", "/api/v1/%61dmin/x", "/API/v1/admin/x", "/api/v1/admin%2fx"),
        *("/v3/api-docs/..%2f..%2fapi/v1/admin/x", "/v3/api-docs\\..\\..\\api", "/v3/api-docs/%zz"),
    ],
)
def test_a_path_that_reads_in_two_ways(behind: Behind, path: str) -> None:
    """
    The proxy serves what it makes of a path: where that could be another than was judged, nobody passes. A proxy that
    makes a plain one of it first (Traefik) asks about that, and serves it.
    """
    before = len(behind.application.arrivals())
    answer = behind.ask(path)
    arrived = behind.application.arrivals()[before:]
    assert answer.status in (200, 400, 401, 403, 404)
    assert len(arrived) == int(answer.status == 200)
    assert all(re.fullmatch(r"/v3/api-docs(/\w+)*", one.path) for one in arrived), arrived


# --- Browsers


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    url: str
    gateway: Running
    client: Client
    store: str


@pytest.fixture(scope="module", params=["local", "cookie"])
def site(
    request: pytest.FixtureRequest,
    example: Example,
    shop: Shop,
    application: Application,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The example's wardgate.yaml, with its addresses changed, and sessions at the gateway or in the browser."""
    folder, own = tmp_path_factory.mktemp("site"), free_port()
    url = f"http://127.0.0.1:{own}"
    client = shop.client(url, access_seconds=5, weight=secrets.token_hex(1500))  # more than one cookie holds
    content = YAML(typ="safe").load(example.wardgate.replace(f"127.0.0.1:{PROXY}", f"127.0.0.1:{own}"))
    content.pop("listen")
    content["session"] |= {"remembered": "2s", "store": request.param, "encryption-key": "${SESSION_KEY}"}
    content["provider"] |= {"issuer": shop.issuer, "audience": client.id, "client-id": client.id}
    environment = {"CLIENT_SECRET": client.secret, "SESSION_KEY": "0123456789abcdef" * 2}
    with (
        Running(folder, content, env=environment) as gateway,
        _proxy(example, gateway.port, application.url, own),
    ):
        yield Site(url=url, gateway=gateway, client=client, store=request.param)


def test_a_person_logs_in_and_out(site: Site, profile: BrowserContext, person: Person) -> None:
    """From a deep link and back to it, on through a refresh of the tokens, and out again."""
    link = "/orders?page=2&sort=-date&q=%C3%BC%26"
    page = log_in(profile, site.url + link, person)
    assert shown_path(page) == link
    assert shown_header(page, "x-auth-user") == person.name
    profile.add_cookies([{"name": "flavour", "value": "oat", "url": site.url}])
    page.goto(site.url + link)
    assert shown_header(page, "cookie") == "flavour=oat"  # and not the session's
    begun = _session_cookies(profile)
    for _ in range(4):  # across the life of an access token, and of what is remembered
        time.sleep(2)
        page.goto(f"{site.url}/orders/1")
        assert shown_path(page) == "/orders/1"
        assert shown_header(page, "x-auth-user") == person.name
    held = _session_cookies(profile)
    assert {name for name in held if held[name] != begun[name]} == (
        set(held) if site.store == "cookie" else set()
    )
    assert (len(held) > 1) == (site.store == "cookie")
    assert fetch(page, "/api/orders")["status"] == 200
    assert fetch(page, "/api/admin/x")["status"] == 403
    other = tab(profile, f"{site.url}/public/x")
    with page.expect_navigation():
        page.locator("#leave").click()
    expect(page.get_by_role("heading", name=re.compile("You are (signed|logged) out"))).to_be_visible()
    assert fetch(other, "/api/orders")["status"] == 401
    other.goto(f"{site.url}/orders/2")
    expect(other.locator("#kc-form-login")).to_be_visible()


def _session_cookies(profile: BrowserContext) -> dict[str, str]:
    """By name, without what came back empty."""
    found = {one["name"]: one["value"] for one in profile.cookies()}
    return {name: value for name, value in found.items() if name.startswith("wardgate-session") and value}


def test_a_script_without_a_session_gets_401(site: Site, profile: BrowserContext, person: Person) -> None:
    """Only who opens a page is sent to the login."""
    page = profile.new_page()
    page.goto(f"{site.url}/public/x")
    assert shown_header(page, "x-auth-user") is None
    assert fetch(page, "/api/orders")["status"] == 401
    page.goto(f"{site.url}/orders")
    fill_in(page, person)
    assert shown_path(page) == "/orders"
