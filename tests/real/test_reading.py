"""The judge of pages finds each fault that it looks for, and none in a good page."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.real.reading import PHONE, faults

GOOD = """<!doctype html><html lang="en"><head><title>Good</title><meta name="viewport" content="width=device-width">
<style>:root {color-scheme: light dark} a, button, input {display: inline-block; min-height: 2rem; min-width: 2rem}</style>
</head><body><main><h1>Good</h1><p>Words <a href="/x">a link</a></p>
<form><label>Name <input name="a"></label> <button>Send</button></form></main></body></html>"""

BAD = {
    "no title": ("<title>Good</title>", ""),
    "no language": (' lang="en"', ""),
    "no viewport": ('<meta name="viewport" content="width=device-width">', ""),
    "2 first headings": ("<h1>Good</h1>", "<h1>Good</h1><h1>Again</h1>"),
    "0 main landmarks": ("main>", "div>"),
    "heading 3 follows 1": ("<p>Words", "<h3>Deep</h3><p>Words"),
    "an id twice": ("<p>Words", '<p id="a"></p><p id="a"></p><p>Words'),
    "without a name": ("<label>Name ", "<label>"),
    "an order of its own": ("<button>", '<button tabindex="3">'),
    "too small to touch": ("min-height: 2rem", "height: 1rem; box-sizing: border-box; padding: 0"),
    "a picture without words": ("<p>Words", '<img src="data:," width="9" height="9"><p>Words'),
    "scrolls sideways": ("<p>Words", '<p style="width: 800px">Words'),
    "contrast 1": ("<p>Words", '<p style="color: #ddd; background: #fff">Words'),
    "its focus is not seen": ("a, button", "*:focus {outline: none} a, button"),
    "the Tab key reaches": ("<button>", '<button tabindex="-1">'),
}


@pytest.fixture
def page(profile: BrowserContext) -> Page:
    """A page on a phone."""
    page = profile.new_page()
    page.set_viewport_size(PHONE)
    return page


def test_a_good_page_has_no_fault(page: Page) -> None:
    """Nothing is found in a good page, in neither colours."""
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        page.set_content(GOOD)
        assert faults(page) == []


def test_each_fault_is_found(page: Page) -> None:
    """Each change for the worse is found, by its own words."""
    for words, (good, bad) in BAD.items():
        assert good in GOOD
        page.set_content(GOOD.replace(good, bad))
        assert any(fault.startswith(words) for fault in faults(page)), (words, faults(page))
