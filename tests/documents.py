"""
The project's Markdown, taken apart for the tests: links, headings, fenced blocks, command lines.

What a fence is for stands after its language:

    ```yaml file=wardgate.yaml      a complete file, written where the page's commands run; `check` accepts it,
                                    unless the next console block shows that it does not
    ```json file=claims.json        any other file
    ```yaml part                    some top-level keys of a wardgate.yaml, which `check` accepts with the usual ones
    ```console                      `$ command` and what it prints; `…` stands for lines that are left out
    ```sh                           commands alone
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.parts import PROJECT
from tests.reference.markdown import anchor

PAGES = tuple(
    sorted(
        [
            *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
            *(PROJECT / "docs").rglob("*.md"),
            *(PROJECT / "examples").rglob("*.md"),
        ]
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A fenced block: `words` are what stands after the three backticks."""

    words: tuple[str, ...]
    text: str
    line: int

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def file(self) -> str | None:
        """The name of the file that the block is."""
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)


def name(page: Path) -> str:
    """How a test calls a page."""
    return str(page.relative_to(PROJECT))


def fences(page: Path) -> list[Fence]:
    """Every fenced block of a page."""
    found, opened, lines = [], None, []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.startswith("```") and opened is None:
            opened, lines = (number, tuple(line[3:].split())), []
        elif line.startswith("```") and opened is not None:
            text = "".join(f"{inner}\n" for inner in lines)
            found.append(Fence(words=opened[1], text=text, line=opened[0]))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{name(page)}:{opened[0]}: a block that does not end" if opened else ""
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """The targets of links to other files or places."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The places of a page that a link can name."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {anchor(re.sub(r"[`*]", "", heading)) for heading in headings}


def linked(page: Path) -> set[Path]:
    """The files that a page links to."""
    return {(page.parent / target.partition("#")[0]).resolve() for target in links(page) if target[0] != "#"}


# --- Commands -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a console block, and what it is said to print."""

    command: str
    output: str


def steps(fence: Fence) -> list[Step]:
    """`$ command` lines (a `\\` at the end goes on) with the lines after each."""
    found: list[Step] = []
    for part in re.split(r"^\$ ", fence.text, flags=re.MULTILINE)[1:]:
        command, _, output = re.sub(r"\\\n\s*", " ", part).partition("\n")
        found.append(Step(command=command, output=output))
    return found


def command_lines(page: Path) -> Iterator[tuple[int, str]]:
    """Every command line of a page's `sh` and `console` blocks, continued lines joined."""
    for fence in fences(page):
        if fence.language == "sh":
            joined = re.sub(r"\\\n\s*", " ", fence.text)
            yield from ((fence.line, line.strip()) for line in joined.splitlines() if line.strip())
        elif fence.language == "console":
            yield from ((fence.line, step.command) for step in steps(fence))


def wardgate_calls(line: str) -> Iterator[list[str]]:
    """The arguments of every `wardgate …` in a command line, those inside `$(…)` too."""
    inner = re.findall(r"\$\(([^()]*)\)", line)
    outer = re.sub(r"\$\([^()]*\)", "VALUE", line)
    for command in (outer, *inner):
        yield from _calls(command)


def _calls(command: str) -> Iterator[list[str]]:
    words = shlex.split(command, comments=True)
    for part in _parts(words):
        while part and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", part[0], re.DOTALL):
            part = part[1:]  # a variable for this command
        if part and part[0].rpartition("/")[2] == "wardgate":
            yield part[1:]


def _parts(words: list[str]) -> Iterator[list[str]]:
    """Divided where the shell divides commands; redirections and what follows them are no arguments."""
    part: list[str] = []
    for word in [*words, ";"]:
        if word in ("|", "&&", "||", ";", "&", ">", "2>", ">>", "<"):
            yield part
            part = []
        else:
            part = [*part, word]
