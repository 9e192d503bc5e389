"""
What the documentation says is true: links lead somewhere, commands and files are accepted, output is what is printed.

How a page marks its blocks is in `tests/documents.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
import typer.main
from ruamel.yaml import YAML

from tests.documents import (
    PAGES,
    Fence,
    anchors,
    command_lines,
    fences,
    linked,
    links,
    name,
    prose,
    steps,
    wardgate_calls,
)
from tests.parts import PROJECT
from tests.reference.registries import known_codes
from wardgate import metrics
from wardgate.cli import app, main
from wardgate.envoy import names, replies
from wardgate.envoy.listener import http_filters

OTHERS = {
    "envoy-ext-authz": {"istio.yaml"},
    "ingress-nginx": {"ingress.yaml"},
    "traefik": {"dynamic.yaml", "kubernetes.yaml", "traefik.yaml", "values.yaml"},
}
"""Files of other products in an example."""

EXAMPLES = sorted(path for path in (PROJECT / "examples").iterdir() if path.is_dir())

USUAL = """
listen: 127.0.0.1:3000
provider: {issuer: "https://id.example.com/realms/shop", audience: shop-api}
upstream: http://127.0.0.1:8000
routes: [{path: /, public: true}]
"""
"""What a `part` is completed with."""

ANY_VALUE = "0123456789abcdef"
"""What every variable of a page's files is set to: long enough for a key."""

RUN_HERE = ("check", "show", "explain")
"""Commands whose output is compared: they need nothing but files."""


@pytest.fixture(params=PAGES, ids=name)
def page(request: pytest.FixtureRequest) -> Path:
    """One Markdown file after another."""
    return Path(request.param)


def test_every_link_leads_somewhere(page: Path) -> None:
    """Each relative link names a file of the project, and each `#place` a heading of it."""
    broken = []
    for target in links(page):
        file, _, place = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        if not found.exists() or (place and place not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_found() -> None:
    """From the README a reader can get to every page of the documentation."""
    seen, waiting = set(), {PROJECT / "README.md"}
    while waiting:
        seen |= waiting
        waiting = {file for page in waiting if page.suffix == ".md" for file in linked(page)} - seen
    assert {name(page) for page in PAGES if page not in seen} == set()


def test_no_page_knows_this_machine(page: Path) -> None:
    """No path of a machine where it was written, and no host of a package registry."""
    text = page.read_text("utf-8")
    places = re.findall(r"(?<![\w.])/(?:work|root|home|tmp)/\S*", text)
    hosts = re.findall(
        r"\S*(?:pypi\.org|pythonhosted|npmjs|quay\.io|docker\.io|ghcr\.io|golang\.org|maven\.org)\S*", text
    )
    assert [*places, *hosts] == []


def test_every_command_line_is_accepted(page: Path) -> None:
    """Each `wardgate …` in a block has only commands, options and arguments that exist, and all that are required."""
    for line, command in command_lines(page):
        for arguments in wardgate_calls(command):
            try:
                _parse(arguments)
            except Exception as error:
                pytest.fail(f"{name(page)}:{line}: wardgate {shlex.join(arguments)}: {error}")


def _parse(arguments: list[str]) -> None:
    """Let the program's own parser take the arguments, and run nothing. Raises its UsageError."""
    given = ["run", *arguments] if arguments and arguments[0].startswith(("-c", "--config")) else arguments
    command = typer.main.get_command(app)
    context = None
    while given and hasattr(command, "commands"):
        if given[0] in ("--version", "--help"):
            return
        context = typer.Context(command, parent=context, info_name=given[0])
        assert given[0] in command.commands, f"no command {given[0]}"
        command, given = command.commands[given[0]], given[1:]
    if not hasattr(command, "commands") and given != ["--help"]:
        command.make_context("command", list(given), parent=context)


@pytest.mark.parametrize(
    "arguments",
    ["chekc -c x", "check --confg x", "check", "explain -c x GET", "show -c x --output json", "token gte"],
)
def test_a_command_line_that_is_wrong_is_noticed(arguments: str) -> None:
    """The test above can fail: a wrong command, an unknown option, a missing or a surplus argument."""
    with pytest.raises(Exception, match=r".+"):
        _parse(arguments.split())


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        ("wardgate check -c x", [["check", "-c", "x"]]),
        (".venv/bin/wardgate check -c x  # why", [["check", "-c", "x"]]),
        (
            "TOKEN=$(wardgate token get --issuer x) && A=b wardgate run -c y > log",
            [["run", "-c", "y"], ["token", "get", "--issuer", "x"]],
        ),
        ("echo wardgate; curl -i x | wardgate explain -", [["explain", "-"]]),
    ],
)
def test_calls_are_found_in_a_line(line: str, calls: list[list[str]]) -> None:
    """The search for calls: variables, pipes, `&&`, comments and `$(…)` are understood."""
    assert list(wardgate_calls(line)) == calls


def test_every_make_target_exists(page: Path) -> None:
    """Each `make …` that a page tells to run is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = page.read_text("utf-8")
    told = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^(?:\$ )?make ([a-z-]+)", text, re.MULTILINE)
    assert set(told) <= targets


def test_every_yaml_and_json_block_can_be_read(page: Path) -> None:
    """A block that says it is YAML or JSON is."""
    for fence in fences(page):
        if fence.language == "yaml":
            list(YAML(typ="safe", pure=True).load_all(fence.text))
        elif fence.language == "json":
            json.loads(fence.text)


def test_every_figure_exists(page: Path) -> None:
    """Each metric that a page names is served, under that name."""
    known = {metric.name for metric in metrics.METRICS}
    known |= {f"{metric}_{part}" for metric in known for part in ("bucket", "sum", "count")}
    told = set(re.findall(r"\b(?:gatekeeper|wardgate)_[a-z_]+", page.read_text("utf-8")))
    assert {figure for figure in told if figure not in known and not figure.endswith("_")} == set()


def test_every_code_exists(page: Path) -> None:
    """Each `"code": "…"` of an answer that a page shows is a code that the gateway gives."""
    plain = {title.lower().replace(" ", "-") for title in replies.TITLES.values()}
    told = set(re.findall(r'"code":\s*"([a-z-]+)"', page.read_text("utf-8")))
    assert told <= replies.REASONS.keys() | plain | known_codes()


# --- Files and what commands print about them ---------------------------------------------------------------------------


def test_files_and_output_are_true(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a page shows is accepted as it stands; what `check`, `show` and `explain` print is what is shown."""
    monkeypatch.chdir(tmp_path)
    blocks = fences(page)
    for variable in re.findall(
        r"\$\{([A-Z_]+)\}", "".join(fence.text for fence in blocks if fence.language == "yaml")
    ):
        monkeypatch.setenv(variable, ANY_VALUE)
    for fence, after in zip_longest(blocks, blocks[1:]):
        if fence.file is not None:
            Path(fence.file).write_text(fence.text, encoding="utf-8")
            if fence.language == "yaml" and not _shows_its_problems(after, fence.file):
                _accepted(["-c", fence.file], f"{name(page)}:{fence.line}")
        elif "part" in fence.words:
            Path("usual.yaml").write_text(USUAL, encoding="utf-8")
            Path("part.yaml").write_text(fence.text, encoding="utf-8")
            _accepted(["-c", "usual.yaml", "-c", "part.yaml"], f"{name(page)}:{fence.line}")
        elif fence.language == "console":
            _same_output(fence, name(page))


def _shows_its_problems(after: Fence | None, file: str) -> bool:
    return after is not None and after.language == "console" and f"-c {file}" in after.text


def _accepted(files: list[str], place: str) -> None:
    status, output = _run(["check", *files])
    assert status == 0, f"{place}: {output}"


def _same_output(fence: Fence, page: str) -> None:
    for step in steps(fence):
        arguments = shlex.split(step.command)
        if arguments[0] == "wardgate" and arguments[1] in RUN_HERE and "--token" not in arguments:
            _, printed = _run(arguments[1:])
            assert _matches(step.output, printed), f"{page}:{fence.line}: $ {step.command}\n{printed}"


def _matches(shown: str, printed: str) -> bool:
    """Line by line; a line `…` is any number of lines."""
    wanted = [line.rstrip() for line in shown.strip("\n").splitlines()]
    pattern = "".join(r"(?:[^\n]*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in wanted)
    lines = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch(pattern, lines) is not None


def _run(arguments: list[str]) -> tuple[int, str]:
    """The command in this process: its exit code, and what it says on both outputs."""
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    return int(ended.value.code or 0), said.getvalue()


@pytest.mark.parametrize(
    ("shown", "same"),
    [
        ("a\nb\n", True),
        ("a\n…\n", True),
        ("…\nb\n", True),
        ("a\n", False),
        ("a\nc\n", False),
        ("", False),
        ("…", True),
    ],
)
def test_output_is_compared(shown: str, same: bool) -> None:
    """The comparison: every line counts but those that `…` stands for."""
    assert _matches(shown, "a\nb\n") is same


def test_a_file_that_is_wrong_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of files can fail."""
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text("listen: here\nroutes: []\n")
    with pytest.raises(AssertionError, match="address-form"):
        _accepted(["-c", "wrong.yaml"], "here")


def test_the_page_of_architecture_has_the_filters_in_their_order() -> None:
    """The table of filters is the chain that Envoy is given; those of one family are one row."""
    page = (PROJECT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    told = re.findall(r"^\| `(wardgate\.[a-z]+)", page, re.MULTILINE)
    chain = [entry["name"].partition("-")[0] for entry in http_filters(lambda name: name)]
    assert told == list(dict.fromkeys(chain))


def test_the_page_of_body_limits_has_their_number() -> None:
    """How many different limits there can be is said as it is."""
    page = (PROJECT / "docs" / "how-to" / "body-limits.md").read_text("utf-8")
    assert f"Up to {names.BODY_SLOTS} different limits" in page


# --- Examples -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.name))
def test_an_example_is_explained_and_accepted(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example has a README, and `check` accepts its files as the README says, with the variables it says."""
    monkeypatch.chdir(example)
    readme = example / "README.md"
    lines = [line for _, line in command_lines(readme)]
    for line in lines:
        for variable, value in _exports(line):
            monkeypatch.setenv(variable, value if value.startswith(("http", "/")) else ANY_VALUE)
    checks = [call for line in lines for call in wardgate_calls(line) if call[0] == "check"]
    assert checks, "the README says no `wardgate check`"
    named = {word for call in checks for word in call if word.endswith(".yaml")}
    ours = {path.name for path in example.glob("*.yaml")} - OTHERS.get(example.name, set())
    assert named == ours
    for call in checks:
        status, output = _run(call)
        assert status == 0, output


def _exports(line: str) -> Iterator[tuple[str, str]]:
    if line.startswith("export "):
        yield from (word.split("=", 1) for word in shlex.split(line)[1:] if "=" in word)  # type: ignore[misc]


def test_a_page_shows_all_it_should() -> None:
    """The README's first lines hold the two commands; its file is one that a newcomer can write by hand."""
    readme = PROJECT / "README.md"
    first = "\n".join(readme.read_text("utf-8").splitlines()[:25])
    assert "make demo" in first
    assert "make test" in first
    file = next(fence for fence in fences(readme) if fence.file == "wardgate.yaml")
    assert len(file.text.splitlines()) <= 20
    assert "browser" in prose(readme).lower()
    assert os.access(PROJECT / ".ci" / "run", os.X_OK)
