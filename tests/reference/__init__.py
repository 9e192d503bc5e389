"""
The reference in `docs/reference`, made from the code: nothing in these pages is written twice.

One module a page. `python -m tests.reference` (`make docs`) writes them; `tests/test_reference.py` fails when a page
is not what the code says now, and when the code has a key, a code, a figure or an option that no page can know of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.parts import PROJECT
from tests.reference import commands, gatekeeper, log, metrics, native, problems

FOLDER = PROJECT / "docs" / "reference"

PAGES: Mapping[str, Callable[[], str]] = {
    "commands.md": commands.text,
    "gatekeeper.md": gatekeeper.text,
    "log.md": log.text,
    "metrics.md": metrics.text,
    "native.md": native.text,
    "problems.md": problems.text,
}
"""File name -> what makes its text."""


def write(folder: Path = FOLDER) -> None:
    """Write every page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")
