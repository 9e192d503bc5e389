"""The login page of an identity provider as a test fills it in, without a browser; and the realm of the demo."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import httpx

import wardgate.idp

DEMO_REALM = Path(wardgate.idp.__file__).with_name("demo-realm.json")
"""Its users have the password `NAME-password`."""


def demo_realm() -> dict[str, Any]:
    """The realm, to be changed."""
    content: dict[str, Any] = json.loads(DEMO_REALM.read_text("utf-8"))
    return content


def action_of(page: str) -> str:
    """Where the page's form leads."""
    found = re.search(r'<form[^>]*\baction="([^"]+)"', page)
    assert found is not None, page
    return html.unescape(found[1])


def sent(
    browser: httpx.Client, page: httpx.Response, username: str = "user", **options: Any
) -> httpx.Response:
    """The answer to the page's form; it is relative to the page."""
    fields = {"username": username, "password": f"{username}-password"}
    return browser.post(page.url.join(action_of(page.text)), data=fields, **options)
