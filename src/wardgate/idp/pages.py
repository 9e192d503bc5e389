"""
The identity provider's pages: plain HTML that works without scripts, in light and dark, on a phone.

Their words and ids are Keycloak's (`kc-form-login`, `username`, `password`, `kc-login`), so that a test which signs in
needs not know which of the two it meets.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from wardgate.idp.signing_in import AGAIN, Form
from wardgate.idp.signing_out import Done, Question

ONWARD_SECONDS = 2
"""How long the applications in a front-channel logout have before the browser goes on."""


class Pages:
    """The pages of one realm; `title` is its name for people."""

    def __init__(self, title: str) -> None:
        self._title = title

    def login(self, form: Form, action: str) -> Response:
        """Name and password, with what was wrong the last time."""
        return self._page(
            "login",
            "Sign in to your account",
            action=action,
            error=form.error,
            wrong=form.error not in ("", AGAIN),
            username=form.user.username if form.user is not None else form.tried,
            fixed=form.user is not None,
        )

    def stopped(self, status: int, words: str) -> Response:
        """What went wrong, when nobody may be sent anywhere."""
        return self._page("message", "We are sorry...", status=status, words=words, wrong=True)

    def question(self, question: Question, action: str) -> Response:
        """Whether to log out."""
        return self._page("logout-confirm", "Logging out", action=action, ticket=question.ticket)

    def logged_out(self) -> Response:
        return self._page("message", "You are logged out", words="You are logged out", wrong=False)

    def frames(self, done: Done) -> Response:
        """The applications that hear of the logout by the browser, and the way on."""
        hosts = [urlsplit(address).netloc for _, address in done.frames]
        return self._page(
            "logout-frames",
            "Logging out",
            framed=hosts,
            frames=done.frames,
            url=done.url,
            seconds=ONWARD_SECONDS,
        )

    def _page(
        self, template: str, title: str, *, status: int = 200, framed: Iterable[str] = (), **values: object
    ) -> Response:
        html = (
            _templates()
            .get_template(f"{template}.html")
            .render(
                title=title,
                realm=self._title,
                style=Markup(_style()),  # noqa: S704 - a file of ours
                **values,
            )
        )
        return HTMLResponse(html, status, headers=_headers(framed))


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("wardgate.idp"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


@cache
def _style() -> str:
    return files("wardgate.idp").joinpath("templates", "style.css").read_text("utf-8")


def _headers(framed: Iterable[str]) -> dict[str, str]:
    """Keycloak's, and no scripts. No `form-action`: Chromium would hold the redirect after the form to it too."""
    style = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode("ascii")
    frames = " ".join(("'self'", *framed))
    policy = f"default-src 'none'; style-src 'sha256-{style}'; frame-src {frames}; frame-ancestors 'self'; base-uri 'none'"
    return {
        "cache-control": "no-store, must-revalidate, max-age=0",
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN",
        "x-robots-tag": "none",
    }
