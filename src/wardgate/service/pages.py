"""
The pages that people see: choosing where to sign in, what went wrong, signed out.

Plain HTML without scripts or anything from elsewhere, held to that by their content security policy. Values are escaped
always. Whoever runs the gateway can bring templates of their own (`session.pages`, Jinja); they run in a sandbox, and one
that fails gives way to ours, which is said.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, Template, TemplateError, Undefined
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from wardgate.events import warn
from wardgate.policy import Session

PAGES: Final = (
    *("sign-in", "forbidden", "error", "diagnosis", "onward", "logged-out", "confirm-logout", "unavailable"),
)


class Pages:
    """The pages of one policy."""

    def __init__(self, session: Session) -> None:
        self._values = dict(session.page_values)
        self._own = {name: Path(file) for name, file in session.pages}

    def html(self, name: str, status: int = 200, *, request_id: str = "", **values: Any) -> Response:
        """One of PAGES. What a page prints of `values` is in its template; what is not given is left out."""
        shown = {"request_id": request_id, "tags": self._values, **self._values, **values}
        text = self._custom(name, shown) if name in self._own else None
        custom = text is not None
        if text is None:
            text = _ours().get_template(f"{name}.html").render(**shown, style=Markup(_style()))  # noqa: S704 - a file of ours
        return HTMLResponse(text, status, headers=_headers(custom))

    def _custom(self, name: str, values: Mapping[str, Any]) -> str | None:
        try:
            template: Template = _theirs().from_string(self._own[name].read_text("utf-8"))
            return template.render(**values)
        except (OSError, ValueError, TemplateError, ArithmeticError, TypeError) as error:
            warn(
                "a page's own template cannot be used; ours is shown",
                page=name,
                file=str(self._own[name]),
                problem=str(error),
            )
            return None


def _headers(custom: bool) -> dict[str, str]:
    """A page of one's own may bring styles and pictures from its own host; scripts never run."""
    allowed = (
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'"
        if custom
        else _style_source()
    )
    return {
        "cache-control": "no-store",
        "content-security-policy": f"default-src 'none'; {allowed}; base-uri 'none'; frame-ancestors 'none'",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


@cache
def _style() -> str:
    return (files("wardgate.service") / "templates" / "style.css").read_text(encoding="utf-8").strip()


@cache
def _style_source() -> str:
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"style-src 'sha256-{digest}'"


@cache
def _ours() -> Environment:
    loader = PackageLoader("wardgate.service", "templates")
    return Environment(loader=loader, autoescape=True, undefined=Undefined, trim_blocks=True)


@cache
def _theirs() -> Environment:
    return SandboxedEnvironment(autoescape=True, undefined=Undefined)
