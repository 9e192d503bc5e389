"""
Our own pages, in a real browser: light and dark, on a desk and on a phone, for eyes, ears and keys.

Each page is reached as people reach it. Pictures of each land in the folder that SCREENSHOTS names, for somebody to
look at; without it they go with the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Response, expect

from tests.parts.keycloak import Keycloak
from tests.real.application import Application
from tests.real.gateways import Gateway, of_two_shops, one
from tests.real.reading import look
from tests.real.shop import Shop, elsewhere
from tests.real.visiting import log_in

# The first test waits for Keycloak, Redis, nginx and two gateways.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def choosing(
    tmp_path_factory: pytest.TempPathFactory, keycloak: Keycloak, shop: Shop, application: Application
) -> Iterator[Gateway]:
    """A gateway with two providers."""
    folder = tmp_path_factory.mktemp("choosing")
    with (
        elsewhere(keycloak, "shop-pages", keycloak.url.replace("127.0.0.1", "localhost")) as far,
        of_two_shops(folder, shop, far, application) as gateway,
    ):
        yield gateway


@contextmanager
def _seen(profile: BrowserContext) -> Iterator[list[str]]:
    """What the browser complains about: scripts, styles and addresses that our own policy forbids, errors."""
    said: list[str] = []
    profile.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    profile.on("weberror", lambda error: said.append(str(error.error)))
    yield said


def _is_ours(answer: Response | None, status: int) -> None:
    """Our pages are never kept, framed, or taken for something else, and load nothing from anywhere."""
    assert answer is not None
    assert answer.status == status
    headers = answer.headers
    assert headers["content-type"].startswith("text/html")
    assert "no-store" in headers["cache-control"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")


def test_the_chooser(choosing: Gateway, profile: BrowserContext, pictures: Path) -> None:
    """The page that asks where to log in names both providers as buttons or links, and can be used by keys alone."""
    page = profile.new_page()
    with _seen(profile) as said:
        answer = page.goto(f"{choosing.url}/orders?page=7")
        _is_ours(answer, 200)
        look(page, "chooser", pictures)
        page.get_by_role("link", name="Far shop").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#kc-form-login")).to_be_visible()
        assert "localhost" in page.url
    assert [text for text in said if "127.0.0.1" in text and "favicon" not in text] == []


def test_denied(gateway: Gateway, profile: BrowserContext, shop: Shop, pictures: Path) -> None:
    """A person who may not see a page is told so, on a page, and can go elsewhere or log out."""
    page = log_in(profile, f"{gateway.url}/orders", shop.person())
    answer = page.goto(f"{gateway.url}/admin/secret-plans")
    _is_ours(answer, 403)
    assert "secret-plans" not in page.locator("main").inner_text()
    look(page, "denied", pictures)


def test_logged_out(
    shop: Shop, application: Application, profile: BrowserContext, tmp_path: Path, pictures: Path
) -> None:
    """After a logout that ends here, a page says so."""
    with one(tmp_path, shop, application, session={"logout-at-issuer": False}) as gateway:
        page = log_in(profile, f"{gateway.url}/orders", shop.person())
        with page.expect_navigation() as left:
            page.locator("#leave").click()
        expect(page.locator("h1")).to_have_text("You are signed out")
        assert page.url.startswith(gateway.url)
        _is_ours(left.value, 200)
        look(page, "logged-out", pictures)


def test_the_diagnosis(
    shop: Shop, application: Application, profile: BrowserContext, tmp_path: Path, pictures: Path
) -> None:
    """The page that ends a loop names what is wrong in words, for the person and for who runs the gateway."""
    session = {"cookie": {"domain": "other.test"}}
    with one(tmp_path, shop, application, session=session) as gateway:
        page = log_in(profile, f"{gateway.url}/orders", shop.person())
        expect(page.locator("h1")).to_be_visible()
        look(page, "diagnosis", pictures)


def test_a_login_that_the_issuer_refused(gateway: Gateway, profile: BrowserContext, pictures: Path) -> None:
    """A callback that nobody here began ends on a page that offers to begin again, and shows nothing that it was told."""
    page = profile.new_page()
    answer = page.goto(f"{gateway.url}/oauth/callback?error=%3Cb%3Ex&error_description=%3Cscript%3E&state=x")
    assert answer is not None
    _is_ours(answer, answer.status)
    assert answer.status in (400, 401, 403)
    assert "<script>" not in page.content()
    look(page, "refused", pictures)
