"""
What a person does with a browser: fills in Keycloak's form, sees where they are, opens tabs.

Words for tests; nothing here asserts.
"""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
from typing import Any, Final

from playwright.sync_api import BrowserContext, Error, Page

from tests.real.gateways import Gateway
from tests.real.shop import Person

# What a script of a page gets: {"status": 200, "type": "basic", "redirected": false, "body": "..."}
FETCH: Final = """async ([url, options]) => {
  const answer = await fetch(url, options);
  return {
    status: answer.status, type: answer.type, redirected: answer.redirected, url: answer.url,
    challenge: answer.headers.get("www-authenticate"), body: await answer.text(),
  };
}"""

# Opens a WebSocket, sends each text, collects as many answers; "closed" is the code when it ends before that.
WEBSOCKET: Final = """([url, texts]) => new Promise((done) => {
  const socket = new WebSocket(url), answers = [];
  socket.onopen = () => texts.forEach((text) => socket.send(text));
  socket.onmessage = (message) => {
    answers.push(message.data);
    if (answers.length === texts.length) { done({answers, closed: null}); socket.close(); }
  };
  socket.onclose = (event) => done({answers, closed: event.code});
})"""


def at_login(page: Page) -> bool:
    """Is this Keycloak's login form?"""
    return bool(page.locator("#kc-form-login").count())


def fill_in(page: Page, person: Person, *, password: str = "") -> None:
    """Fill in Keycloak's login form and send it; return when the next page is there."""
    page.locator("#username").fill(person.name)
    page.locator("#password").fill(password or person.password)
    with page.expect_navigation():
        page.locator("#kc-login").click()


def log_in(profile: BrowserContext, url: str, person: Person) -> Page:
    """A new tab on `url`, through the login there; the page where that ends."""
    page = profile.new_page()
    page.goto(url)
    fill_in(page, person)
    return page


def fetch(page: Page, path: str, **options: Any) -> dict[str, Any]:
    """What a script of the page gets from that path; `options` are those of `fetch`."""
    answer: dict[str, Any] = page.evaluate(FETCH, [path, options])
    return answer


def websocket(page: Page, url: str, *texts: str) -> dict[str, Any]:
    """What a WebSocket that the page opens answers to these texts."""
    answer: dict[str, Any] = page.evaluate(WEBSOCKET, [url, list(texts)])
    return answer


def headers_of(answer: dict[str, Any]) -> dict[str, str]:
    """The headers that reached the application, which told them in that answer's body."""
    return {name.lower(): value for name, value in json.loads(answer["body"])["headers"]}


def target(page: Page) -> str:
    """Path and query of the address bar."""
    parts = urllib.parse.urlsplit(page.url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def shown(profile: BrowserContext) -> str:
    """Every tab, its address and its text, and the cookies' names: for people who ask why a test failed."""
    lines = []
    for page in profile.pages:
        with contextlib.suppress(Error):  # it may be on its way
            lines += [page.url, page.locator("body").inner_text(timeout=500)[:1500], ""]
    cookies = (f"{cookie['name']} ({cookie['domain']}{cookie['path']})" for cookie in profile.cookies())
    return "\n".join([*lines, "cookies: " + ", ".join(cookies)])


def session_cookies(profile: BrowserContext, gateway: Gateway) -> list[Any]:
    """The session cookies that the browser would send to the gateway."""
    return [cookie for cookie in profile.cookies(gateway.url) if cookie["name"] in gateway.cookie_names]


def login_cookies(profile: BrowserContext, gateway: Gateway) -> list[str]:
    """The names of the cookies of logins that have begun and are not finished."""
    names = (cookie["name"] for cookie in profile.cookies(gateway.url))
    return sorted(name for name in names if "wardgate-login-" in name)


def open_at_once(pages: list[Page], urls: list[str]) -> None:
    """Send every tab on its way before the first has arrived, as a restored window does."""
    for page, url in zip(pages, urls, strict=True):
        page.evaluate("url => { setTimeout(() => location.assign(url), 0) }", url)
    for page in pages:
        page.wait_for_url(re.compile("^http"))
        page.wait_for_load_state()
