"""
How the console looks: pages of HTML from `templates/`, and the parts of them that change while somebody looks.

Values are escaped always. One style, which stands in the page; one script, which makes a page that works without it live.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from wardgate.approvals.audit import Entry
from wardgate.approvals.records import AgentRequest, Phase, when
from wardgate.policy import CONSOLE_PATH
from wardgate.service.pages import colours, style_source

EVENTS: Final[Mapping[str, str]] = {
    "filed": "asked",
    "vote": "agreed",
    "approved": "approved",
    "denied": "denied",
    "revoked": "took the approval back",
    "expired": "expired",
    "granted": "was given a grant",
    "spent": "the grant was spent",
    "executing": "began",
    "completed": "finished",
    "failed": "failed",
}
"""What an entry of the record says that somebody did."""


@dataclass(frozen=True, slots=True)
class Screen:
    """
    One page: `name` is that of its template, `values` what it prints. `live`: where its changing part comes from, which is
    the template `_NAME`.
    """

    name: str
    title: str = ""
    live: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def document(screen: Screen, around: Mapping[str, Any], status: int = 200) -> Response:
    """The whole page. `around`: who looks, and what is the same on each."""
    given = {"who": "", "logout": "", "token": "", **around}
    text = (
        _templates()
        .get_template(f"{screen.name}.html")
        .render(
            **given,
            **screen.values,
            title=screen.title,
            at=screen.name,
            live=screen.live,
            console=CONSOLE_PATH,
            style=Markup(_style()),  # noqa: S704 - a file of ours
        )
    )
    policy = (
        f"default-src 'none'; {style_source(_style())}; script-src 'self'; connect-src 'self'; "
        "form-action 'self' https: http:; "  # "Sign out" goes on to the issuer, and browsers hold that to it, too
        "base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "cache-control": "no-store",
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "same-origin",  # with no-referrer a form is sent with `Origin: null`
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    return HTMLResponse(text, status, headers=headers)


def fragment(screen: Screen) -> str:
    """What changes of it."""
    template = _templates().get_template(f"_{screen.name}.html")
    return template.render(**screen.values, live=screen.live, console=CONSOLE_PATH)


def requests_view(
    found: Sequence[AgentRequest],
    mine: Collection[str],
    phase: Phase | None,
    agent: str,
    *,
    more: bool,
    query: str,
) -> Screen:
    """A list of requests, the newest first. `mine`: those that who looks cannot decide on."""
    older = (
        {"phase": phase.value if phase else "all", "agent": agent, "before": found[-1].id} if more else None
    )
    return Screen(
        "requests",
        title="Requests",
        live=f"{CONSOLE_PATH}/live" + (f"?{query}" if query else ""),
        values={
            "rows": [
                {
                    **one.as_data(),
                    "url": address(one.name),
                    "mine": one.name in mine,
                }
                for one in found
            ],
            "phase": phase.value if phase else "",
            "agent": agent,
            "phases": [each.value for each in Phase],
            "older": f"{CONSOLE_PATH}?{urlencode(older)}" if older else "",
        },
    )


def address(name: str) -> str:
    """The path of a request's page."""
    return f"{CONSOLE_PATH}/requests/{quote(name)}"


def history(entry: Entry) -> dict[str, Any]:
    """An entry of the record for people."""
    body = json.loads(entry.body)
    by = body.get("by", {})
    name, identity = by.get("name", ""), by.get("identity", "")
    result = body.get("result")
    return {
        "seq": entry.seq,
        "at": when(entry.at),
        "request": entry.request,
        "url": address(entry.request),
        "event": EVENTS.get(entry.event, entry.event),
        "who": name or identity,
        "identity": identity if name and name != identity else "",
        "reason": body.get("reason") or "",
        "result": json.dumps(result, ensure_ascii=False) if result else "",
        "hash": entry.hash,
    }


@cache
def script_text() -> str:
    """The text of the one script."""
    return _file("console.js")


@cache
def _style() -> str:
    return colours() + _file("console.css").strip()


def _file(name: str) -> str:
    return (files("wardgate.service.agents") / "templates" / name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    loader = PackageLoader("wardgate.service.agents", "templates")
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["moment"] = _moment
    return made


def _moment(at: str) -> Markup:
    """A point in time: as text here, and told by the script as how long ago."""
    shown = at.replace("T", " ").replace("Z", " UTC")
    return Markup('<time datetime="{}">{}</time>').format(at, shown)
