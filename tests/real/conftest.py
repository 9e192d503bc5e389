"""Real Keycloak with the realms of the tests, once for all tests of this folder; and what browsers need."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from tests.parts.chromium import Browser
from tests.parts.keycloak import Keycloak
from tests.parts.redis import Redis
from tests.real.aip import aip_realm
from tests.real.application import Application
from tests.real.gateways import Gateway, two
from tests.real.shop import Person, Shop
from tests.real.visiting import shown
from tests.realm import Realm


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what its browser shows."""
    report = yield
    if report.when == "call" and report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, BrowserContext):
                report.sections.append((f"in the browser: {name}", shown(value)))
    return report


@pytest.fixture(scope="session")
def keycloak() -> Iterator[Keycloak]:
    """A running server. A test that changes its realms (but for `shop`) starts one of its own."""
    with Keycloak.start() as server:
        yield server


@pytest.fixture(scope="session")
def realm(keycloak: Keycloak) -> Iterator[Realm]:
    """S0's realm on it."""
    with Realm(keycloak.url) as realm:
        yield realm


@pytest.fixture(scope="session")
def aip(keycloak: Keycloak) -> str:
    """The issuer of S2's realm on it."""
    return aip_realm(keycloak)


@pytest.fixture(scope="session")
def shop(keycloak: Keycloak) -> Shop:
    """The realm for logins on it: each gateway has a client of its own there, each test people of its own."""
    return Shop(keycloak)


@pytest.fixture(scope="session")
def application() -> Iterator[Application]:
    """The application behind every gateway here."""
    with Application() as application:
        yield application


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The driver of browsers. It keeps an event loop running in this thread: for a file of tests, no longer."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile, in a Chromium of its own."""
    with browser.visit() as profile:
        yield profile


@pytest.fixture
def person(shop: Shop) -> Person:
    """Somebody new, who has the role `user`."""
    return shop.person()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages go: the folder that SCREENSHOTS names, for somebody to look at; else with the tests."""
    named = os.environ.get("SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("pages")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A real Redis with nothing in it."""
    with Redis.start() as server:
        yield server


@pytest.fixture(scope="session")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, shop: Shop, application: Application, redis: Redis
) -> Iterator[Gateway]:
    """Two replicas on one real Redis behind nginx: what most tests here use, as nothing may need less."""
    with two(tmp_path_factory.mktemp("gateway"), shop, application, store=redis.url) as gateway:
        yield gateway
