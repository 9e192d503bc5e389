"""
A real browser: Debian's Chromium, driven by Playwright, with a profile of its own for each visit.

    with Browser() as browser:
        with browser.visit() as profile:      # a Playwright BrowserContext: tabs are profile.new_page()
            profile.new_page().goto(url)

Not Playwright's own build, and not its incognito contexts: a profile on disk has what people's browsers have,
the HTTP cache and the back/forward cache, and a logout has to hold against both.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright

from tests.parts import Missing

PROGRAM: Final = Path("/usr/bin/chromium")

OPTIONS: Final = (
    "--no-sandbox",  # root has no sandbox; nothing but our own loopback servers is ever visited
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Names below .test are this machine; any other name is nobody, so that no test leaves it.
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP localhost 127.0.0.1, EXCLUDE 127.0.0.1, MAP * ~NOTFOUND",
)

# Playwright switches it off to be quick; browsers have it, and it is what the back button shows first.
UNWANTED: Final = ("--disable-back-forward-cache",)

PATIENCE_MS: Final = 15_000  # for a page on a machine that has two cores and more than one test


class Browser:
    """The driver, once for all tests; each visit starts a Chromium of its own (half a second)."""

    _driver: Playwright

    def __enter__(self) -> Self:
        if not PROGRAM.exists():
            raise Missing("Chromium is not installed: python -m tests.parts.install chromium")
        self._manager = sync_playwright()
        self._driver = self._manager.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.stop()

    @contextlib.contextmanager
    def visit(self, **options: Any) -> Iterator[BrowserContext]:
        """
        A fresh profile, closed and forgotten at the end; `options` are those of a Playwright context.

        It has no page yet: Chromium's first blank one is closed.
        """
        with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
            profile = self._driver.chromium.launch_persistent_context(
                folder,
                executable_path=PROGRAM,
                args=OPTIONS,
                ignore_default_args=UNWANTED,
                headless=True,
                **options,
            )
            profile.set_default_timeout(PATIENCE_MS)
            try:
                yield profile
            finally:
                profile.close()


def tab(profile: BrowserContext, url: str) -> Page:
    """A new tab on that address."""
    page = profile.new_page()
    page.goto(url)
    return page
