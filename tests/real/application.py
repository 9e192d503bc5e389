"""
The application behind the gateway in the tests with a browser: pages for people, data for scripts.

    /api/...  JSON, as tests.echo answers      .../ws  a WebSocket that sends back what comes
    any other path: a page that shows its own path and query as they arrived, and every header; one below /kept/
    may be kept by browsers for an hour

What arrived is counted as in tests.echo: a page that never arrived was shown from a cache, or not at all.
"""

from __future__ import annotations

import html

from playwright.sync_api import Page

from tests.echo import Arrival, Echo

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Shop {path}</title><link rel="icon" href="data:,"></head>
<body>
<main>
<h1>The shop</h1>
<p>You are at <code id="path">{path}</code></p>
<form method="post" action="/oauth/logout"><button id="leave">Log out</button></form>
<table>{rows}</table>
</main>
</body>
</html>
"""
ROW = '<tr class="header"><th scope="row">{name}</th><td>{value}</td></tr>'


class Application(Echo):
    """The server, in a thread of its own: `with Application() as application:`."""

    def answer(self, arrival: Arrival) -> tuple[dict[str, str], bytes]:
        """A page, or data below /api."""
        if arrival.path.startswith("/api/"):
            return super().answer(arrival)
        rows = "\n".join(
            ROW.format(name=html.escape(name.lower()), value=html.escape(value))
            for name, value in arrival.headers
        )
        headers = {"Content-Type": "text/html; charset=utf-8"}
        if arrival.path.startswith("/kept/"):
            headers["Cache-Control"] = "private, max-age=3600"
        return headers, PAGE.format(path=html.escape(arrival.path), rows=rows).encode()


def shown_path(page: Page) -> str:
    """The path and query that the application says it was asked for; waits until such a page is there."""
    return page.locator("#path").inner_text()


def shown_header(page: Page, name: str) -> str | None:
    """The value of the header that reached the application with that page; None when there was none."""
    page.locator("#path").wait_for()
    cells = page.locator("tr.header", has=page.locator(f'th:text-is("{name.lower()}")')).locator("td")
    return cells.inner_text() if cells.count() else None
