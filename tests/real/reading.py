"""
What somebody who sees little, or uses no mouse, needs of a page: judged in a real browser, without a library.

`faults(page)` is a list of sentences, empty for a good page. The rules are those of WCAG 2.2 that a program can
judge: 1.1.1, 1.3.1, 1.4.3 (contrast), 1.4.10 (no scrolling sideways at phone width), 2.1.1 and 2.4.7 (keyboard, focus
that is seen), 2.4.2, 2.5.8 (size of targets), 3.1.1, 4.1.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

PHONE: Final = {"width": 360, "height": 740}
DESK: Final = {"width": 1280, "height": 800}

LOOKS: Final = {
    "light": ("light", DESK),
    "dark": ("dark", DESK),
    "phone": ("light", PHONE),
    "dark-phone": ("dark", PHONE),
}

_JUDGE: Final = """() => {
  const faults = [], say = (text) => faults.push(text);
  const all = (query) => [...document.querySelectorAll(query)].filter((e) => e.getClientRects().length);
  const shown = (e) => e.tagName.toLowerCase() + ' "' + (e.innerText || e.value || "").trim().slice(0, 40) + '"';

  if (!document.title.trim()) say("no title");
  if (!document.documentElement.lang) say("no language");
  if (!document.querySelector('meta[name="viewport"]')) say("no viewport: phones show it small");
  if (all("h1").length !== 1) say(`${all("h1").length} first headings`);
  if (all("main").length !== 1) say(`${all("main").length} main landmarks`);
  const levels = all("h1, h2, h3, h4").map((e) => Number(e.tagName[1]));
  levels.forEach((level, i) => { if (level > (levels[i - 1] ?? 0) + 1) say(`heading ${level} follows ${levels[i - 1] ?? 0}`); });
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) say("an id twice");

  const named = (e) => (e.getAttribute("aria-label") || e.title || e.innerText || e.alt || "").trim()
    || [...(e.labels ?? [])].some((label) => label.innerText.trim())
    || (e.getAttribute("aria-labelledby") ?? "").split(" ").some((id) => document.getElementById(id)?.innerText.trim())
    || (["submit", "button"].includes(e.type) && e.value);
  for (const e of all("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    if (!named(e)) say(`without a name: ${e.outerHTML.slice(0, 80)}`);
    if (e.tabIndex > 0) say(`an order of its own: ${shown(e)}`);
    const box = e.getBoundingClientRect(), inText = getComputedStyle(e).display === "inline";
    if (!inText && (box.height < 24 || box.width < 24)) say(`too small to touch: ${shown(e)} ${box.width}x${box.height}`);
  }
  for (const e of all("img, svg")) {
    if (!e.hasAttribute("alt") && !e.ariaLabel && e.getAttribute("aria-hidden") !== "true") say(`a picture without words: ${e.outerHTML.slice(0, 60)}`);
  }
  if (document.documentElement.scrollWidth > window.innerWidth) {
    say(`scrolls sideways: ${document.documentElement.scrollWidth} > ${window.innerWidth}`);
  }

  const numbers = (color) => (color.match(/[0-9.]+/g) ?? []).map(Number);
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor, [, , , alpha = 1] = numbers(color);
      if (alpha > 0) return color;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches
      && getComputedStyle(document.documentElement).colorScheme.includes("dark") ? "rgb(18, 18, 18)" : "rgb(255, 255, 255)";
  };
  const light = (color) => {
    const [r, g, b] = numbers(color).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const e of all("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const style = getComputedStyle(e), [a, b] = [light(style.color), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), big = parseFloat(style.fontSize) >= 24;
    if (ratio < (big ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}: ${shown(e)} ${style.color} on ${behind(e)}`);
  }
  return faults;
}"""

_TARGETS: Final = """() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
  .filter((e) => e.getClientRects().length && !e.disabled).map((e) => e.outerHTML.slice(0, 80))"""

_FOCUSED: Final = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  const seen = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  return [e === document.body ? null : e.outerHTML.slice(0, 80), seen];
}"""


def look(page: Page, name: str, pictures: Path) -> None:
    """A picture of the page in every look; fails with every fault of every look. It stays at a desk, in the light."""
    found = []
    for named, (colours, size) in LOOKS.items():
        page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.screenshot(path=pictures / f"{name}-{named}.png", full_page=True)
        found += [f"{named}: {fault}" for fault in faults(page)]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    assert found == [], "\n".join(found)


def faults(page: Page) -> list[str]:
    """What is wrong with the page as it stands, in its colours and its width, for eyes, ears and keys."""
    return [*page.evaluate(_JUDGE), *_by_keyboard(page)]


def _by_keyboard(page: Page) -> list[str]:
    """Tab from the beginning: every target comes, in the order in which it is written, and is seen."""
    wanted: list[str] = page.evaluate(_TARGETS)
    page.evaluate(
        "() => { document.activeElement.blur(); window.getSelection().removeAllRanges(); scrollTo(0, 0); }"
    )
    page.mouse.click(1, 1)
    reached, unseen = [], []
    for _ in wanted:
        page.keyboard.press("Tab")
        found: tuple[Any, bool] = page.evaluate(_FOCUSED)
        reached.append(found[0])
        if not found[1]:
            unseen.append(f"its focus is not seen: {found[0]}")
    order = [] if reached == wanted else [f"the Tab key reaches {reached} instead of {wanted}"]
    return [*order, *unseen]
