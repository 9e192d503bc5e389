"""Markdown as the pages need it: a head, tables, code. Text comes as it is; only what breaks a table is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Made from the code by `make docs`: do not edit. -->"


def head(title: str, *paragraphs: str) -> list[str]:
    """The first lines of a page."""
    return [GENERATED, "", f"# {title}", "", *(line for text in paragraphs for line in (text, ""))]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table and the empty line after it; nothing at all without rows."""
    lines = [_row(row) for row in rows]
    return [_row(columns), _row(["---"] * len(columns)), *lines, ""] if lines else []


def code(text: str) -> str:
    """Text in code style; empty text stays empty."""
    return f"`{text}`" if text else ""


def page(lines: Iterable[str]) -> str:
    """The lines as a file: one newline at its end, never two empty lines."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def anchor(heading: str) -> str:
    """The name that a heading has in a link, as Git hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
