"""
Every page as it is drawn, with all that it can hold, in a real browser: light and dark, on a desk and on a phone.

Those that people reach in a login are looked at where they are reached (`test_browser_pages.py`); these are all of them.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from playwright.sync_api import BrowserContext, Route

from tests.real.reading import DESK, PHONE, faults
from wardgate.policy import Session
from wardgate.service.diagnosis import Cause
from wardgate.service.pages import PAGES, Pages

LOOKS: Final = (("light", DESK), ("dark", DESK), ("light", PHONE), ("dark", PHONE))

LONG: Final = "an-address-that-is-long-and-has-no-blank-in-it-where-a-line-could-end.example.com"
CAUSE: Final = Cause(
    title="The cookie's domain does not fit this address.",
    text=f"The cookie is for corp.example.com, and you are at {LONG}: browsers refuse it.",
    remedy=f"Set the session's cookie domain to one that {LONG} lies below, or leave it out.",
)
VALUES: Final[dict[str, dict[str, Any]]] = {
    "sign-in": {
        "providers": [{"title": title, "url": "/oauth/start"} for title in ("Staff", LONG, "Partners, suppliers")],
        "email_url": "/oauth/start",
        "email_fields": [("to", "x")],
    },
    "forbidden": {"who": f"somebody@{LONG}", "logout_url": "/oauth/logout"},
    "error": {
        "message": "The sign-in service could not sign you in.",
        "detail": f"access_denied: {LONG}",
        "code": "login-error",
        "again_url": "/oauth/start",
    },
    "diagnosis": {"causes": [CAUSE, CAUSE], "code": "login-loop", "again_url": "/oauth/start"},
    "onward": {"url": "https://gateway.test/next"},
    "logged-out": {"again_url": "/oauth/start"},
    "confirm-logout": {
        "action": "/oauth/logout",
        "fields": [("token", "x")],
        "at_issuer": True,
        "back_url": "/",
    },
    "unavailable": {"again_url": "/oauth/start"},
}  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_fault(profile: BrowserContext, name: str) -> None:
    """Nothing is wrong with it for eyes, ears and keys, in any look, and its own policy lets all of it in."""
    answer = Pages(Session()).html(name, request_id="4a1d2f6e-8a4b-4f0c-9f0e-3d3f6b2f7c11", **VALUES[name])
    headers = {key: value for key, value in answer.headers.items() if key != "content-length"}
    # the page that goes on by itself would be gone before it is judged
    body = bytes(answer.body).replace(b'content="0;url=', b'content="600;url=')
    page = profile.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)

    def give(route: Route) -> None:
        route.fulfill(status=200, headers=headers, body=body)

    page.route("**/*", give)
    found = []
    for colours, size in LOOKS:
        page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.goto("https://gateway.test/page")
        found += [f"{colours} {size['width']}: {fault}" for fault in faults(page)]
    assert found == []
    assert said == []
