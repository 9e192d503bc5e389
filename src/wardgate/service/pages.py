"""
The pages that people see: choosing where to sign in, what went wrong, signed out.

Plain HTML without scripts or anything from elsewhere, held to that by their content security policy. Values are escaped
always. Whoever runs the gateway can bring templates of their own (`session.pages`, Jinja); they run in a sandbox, and one
that fails gives way to ours, which is said.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from wardgate.events import warn
from wardgate.policy import Session

if TYPE_CHECKING:
    from jinja2 import Environment, Template

PAGES: Final = (
    *("sign-in", "forbidden", "error", "diagnosis", "onward", "logged-out", "confirm-logout", "unavailable"),
)

WITH_FORM: Final = frozenset({"sign-in", "confirm-logout"})

MAX_TEMPLATE_BYTES: Final = 256 * 1024

_GO_FIELD: Final = re.compile(r"\{\{(-?)\s*\.([A-Za-z_][A-Za-z0-9_]*)\s*(-?)\}\}")
"""`{{ .redirect }}`, `{{ .title }}`: all that most pages which were written for Gatekeeper have of Go's templates."""


class Pages:
    """The pages of one policy."""

    def __init__(self, session: Session) -> None:
        self._values = dict(session.page_values)
        self._own = {name: Path(file) for name, file in session.pages}

    def html(self, name: str, status: int = 200, *, request_id: str = "", **values: Any) -> Response:
        """
        One of PAGES. What a page prints of `values` is in its template; what is not given is left out.

        Templates of one's own are given the same, with `page_values` by their names and as `tags` (ours come first).
        """
        given = {"request_id": request_id, **values}
        text = self._custom(name, given) if name in self._own else None
        custom = text is not None
        if text is None:
            style = Markup(_style())  # noqa: S704 - a file of ours
            text = _ours().get_template(f"{name}.html").render({**given, "style": style})
        return HTMLResponse(text, status, headers=_headers(name, custom))

    def _custom(self, name: str, given: Mapping[str, Any]) -> str | None:
        values = {**self._values, **given, "tags": self._values}
        if given.get("providers"):
            # Gatekeeper's own name for where its only provider's login begins
            values["redirect"] = given["providers"][0]["url"]
        try:
            return _template(self._own[name]).render(values)
        except Exception as error:  # whatever somebody else's template can raise
            warn(
                "a page's own template cannot be used; ours is shown",
                page=name,
                file=str(self._own[name]),
                problem=f"{type(error).__name__}: {error}",
            )
            return None


def _headers(name: str, custom: bool) -> dict[str, str]:
    """A page of one's own may bring styles and pictures from its own host; scripts never run."""
    allowed = (
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'"
        if custom
        else style_source(_style())
    )
    form = custom or name in WITH_FORM
    # where there is a form its answer may be a redirect to an issuer, which browsers hold to form-action, too
    target = "form-action 'self' https: http:" if form else "form-action 'none'"
    policy = f"default-src 'none'; {allowed}; {target}; base-uri 'none'; frame-ancestors 'none'"
    return {
        "cache-control": "no-store",
        "content-security-policy": policy,
        # with no-referrer a form is sent with `Origin: null`, and a logout asks who sends it
        "referrer-policy": "same-origin" if form else "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


@cache
def colours() -> str:
    """The custom properties that all of our pages are drawn with, in light and in dark."""
    return (files("wardgate.service") / "templates" / "colours.css").read_text(encoding="utf-8")


@cache
def _style() -> str:
    return colours() + (files("wardgate.service") / "templates" / "style.css").read_text("utf-8").strip()


def style_source(style: str) -> str:
    """What a content security policy says of a page whose only style is this."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"style-src 'sha256-{digest}'"


@cache
def _ours() -> Environment:
    # with the first page: it is a quarter of the service's start
    from jinja2 import Environment, PackageLoader, Undefined

    loader = PackageLoader("wardgate.service", "templates")
    return Environment(loader=loader, autoescape=True, undefined=Undefined, trim_blocks=True)


def _template(file: Path) -> Template:
    """As it is now: a page is changed without a restart. Raises OSError, ValueError, TemplateError."""
    found = file.stat()
    return _compiled(file, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=8)
def _compiled(file: Path, changed: int, size: int) -> Template:  # noqa: ARG001 - `changed` is part of the key
    if size > MAX_TEMPLATE_BYTES:
        raise ValueError(f"larger than {MAX_TEMPLATE_BYTES} bytes")
    text = file.read_text("utf-8")
    from jinja2 import Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # no loader: it can include nothing
    theirs = ImmutableSandboxedEnvironment(autoescape=True, undefined=Undefined)
    return theirs.from_string(_GO_FIELD.sub(r"{{\1 \2 \3}}", text))
