"""The real parts themselves: what tests with a browser and a balancer take for granted."""

from __future__ import annotations

from playwright.sync_api import BrowserContext

from tests.parts.chromium import Browser, tab
from tests.parts.nginx import Balancer
from tests.real.application import Application, shown_header, shown_path
from tests.real.visiting import fetch, headers_of, websocket


def test_the_balancer_asks_in_turn_and_says_who_asks(profile: BrowserContext) -> None:
    """Requests go to both in turn over kept connections, with the client's scheme and address said by the balancer."""
    with Application() as one, Application() as two, Balancer((one.port, two.port)) as balancer:
        page = tab(profile, f"{balancer.url}/a%20b?x=%2f&y")
        assert shown_path(page) == "/a%20b?x=%2f&y"
        headers = headers_of(fetch(page, "/api/x", headers={"X-Forwarded-For": "192.0.2.1"}))
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "http"
        assert headers["host"] == f"127.0.0.1:{balancer.port}"
        assert "connection" not in headers
        for number in range(8):
            fetch(page, f"/api/{number}")
        assert abs(len(one.arrivals()) - len(two.arrivals())) <= 1
        assert websocket(page, f"ws://127.0.0.1:{balancer.port}/ws", "hello")["answers"] == ["hello"]


def test_each_visit_has_a_profile_of_its_own(browser: Browser, application: Application) -> None:
    """A cookie of one visit is unknown to the next."""
    with browser.visit() as first:
        first.add_cookies([{"name": "cart", "value": "7", "url": application.url}])
        assert shown_header(tab(first, application.url), "cookie") == "cart=7"
    with browser.visit() as second:
        assert shown_header(tab(second, application.url), "cookie") is None
