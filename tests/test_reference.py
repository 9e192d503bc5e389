"""
The reference in `docs/reference` is what the code says, and lacks nothing that the code has.

The pages are made by `tests.reference`; `make docs` writes them anew (so does GOLDEN=rewrite). The second half asks
the code itself, by other ways than the pages are made, whether something is missing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import PROJECT
from tests.reference import FOLDER, PAGES, log, problems
from tests.reference.commands import commands
from tests.reference.literals import literals
from tests.reference.registries import known_codes, registries
from wardgate import metrics
from wardgate.authn import jwt
from wardgate.decision import RULES
from wardgate.dialects._gatekeeper_keys import KEYS, RESOURCE_KEYS
from wardgate.dialects._native_schema import File
from wardgate.dialects._native_schema import Keys as NativeKeys
from wardgate.envoy import logs, replies
from wardgate.problems import TokenError

REWRITE = os.environ.get("GOLDEN") == "rewrite"

PASSED_ON = {"envoy/replies.py"}
"""Files that make a code by rule: the names of statuses, which have a table of their own."""


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """What the pages must be now."""
    return {name: make() for name, make in PAGES.items()}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_page_is_what_the_code_says(name: str, pages: dict[str, str]) -> None:
    """A page in docs/reference is the one that the code makes; `make docs` writes it."""
    file = FOLDER / name
    if REWRITE:
        FOLDER.mkdir(parents=True, exist_ok=True)
        file.write_text(pages[name], "utf-8")
    assert file.exists(), f"{name} is missing: make docs"
    assert file.read_text("utf-8") == pages[name], f"{name} is older than the code: make docs"


def test_no_page_is_left_over() -> None:
    """Nothing stands in docs/reference that is not made: a page that was renamed is removed."""
    assert {path.name for path in FOLDER.iterdir()} - {"README.md"} == set(PAGES)


def test_make_docs_writes_the_pages(tmp_path: Path) -> None:
    """The module that `make docs` runs is there, and its target calls it."""
    assert "-m tests.reference" in (PROJECT / "Makefile").read_text("utf-8")
    script = f"from pathlib import Path; from tests.reference import write; write(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True)
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)


# --- Codes ------------------------------------------------------------------------------------------------------------


def test_every_code_in_the_source_is_explained() -> None:
    """Each code that the source can raise is in a registry `CODES`, or is a reason of an answer."""
    known = known_codes() | replies.REASONS.keys()
    unexplained = {code: places for code, places in literals().codes.items() if code not in known}
    assert unexplained == {}


def test_every_explained_code_is_raised() -> None:
    """No registry explains a code that nothing raises any more."""
    raised = literals().codes
    stale = {name: sorted(set(codes) - raised.keys()) for name, codes in registries().items()}
    assert {name: codes for name, codes in stale.items() if codes} == {}


def test_the_search_for_codes_understands_the_source() -> None:
    """Where a code is given, its text is found; a new way to give one is a reason to teach the search."""
    assert {place.partition(":")[0] for place in literals().unclear} <= PASSED_ON


@pytest.mark.parametrize(
    "text",
    [
        'Problem(code="new-code", message="x")',
        'def refuse(code, message): ...\nrefuse("new-code", "x")',
        'class F:\n def refuse(self, code): ...\ndef f(g):\n g.refuse("new-code")',
        'def f(g):\n match g:\n  case 1:\n   code, m = "new-code", 2\n  case _:\n   code, m = "b", 3\n Problem(code=code)',
        'def f(x):\n code = "new-code" if x else "b"\n return Problem(code=code)',
        'def f(x):\n code, m = ("b", 1) if x else ("new-code", 2)\n return Problem(code=code)',
        'class E(Exception):\n code = "new-code"',
        'class E(Exception):\n def __init__(self, code): ...\nE("new-code")',
        'class C:\n code: str\n at: int\nC("new-code", 1)',
    ],
)
def test_the_search_finds_a_code_in_every_form(text: str, tmp_path: Path) -> None:
    """The search itself: each way in which the source gives a code is seen."""
    (tmp_path / "some.py").write_text(text)
    found = literals(tmp_path)
    assert "new-code" in found.codes
    assert found.unclear == []


def test_the_search_says_what_it_does_not_understand(tmp_path: Path) -> None:
    """A code that is computed is listed, not passed over."""
    (tmp_path / "some.py").write_text('Problem(code="a-" + kind())')
    assert literals(tmp_path).unclear == ["some.py:1"]


def test_every_problem_of_the_golden_cases_is_listed(pages: dict[str, str]) -> None:
    """What the golden cases really print, code by code, is on the page of problems."""
    printed = {
        code
        for file in (PROJECT / "tests" / "golden").rglob("problems.txt")
        for code in re.findall(r"\[([a-z][a-z0-9-]+)\]$", file.read_text("utf-8"), re.MULTILINE)
    }
    assert len(printed) > 40
    assert {code for code in printed if f"`{code}`" not in pages["problems.md"]} == set()


def test_every_reason_of_an_answer_is_listed(pages: dict[str, str]) -> None:
    """Each reason code, each of Envoy's words for one, and each code of a plain status is on the page of problems."""
    wanted = [*replies.REASONS, *jwt.REASONS, *jwt.REASONS.values(), *problems.plain_codes().values()]
    assert [code for code in wanted if f"`{code}`" not in pages["problems.md"]] == []


def test_every_token_error_is_listed(pages: dict[str, str]) -> None:
    """Each kind of TokenError that exists has its code on the page of problems."""
    codes = {kind.code for kind in _subclasses(TokenError)}
    assert len(codes) > 10
    assert {code for code in codes if f"| `{code}` |" not in pages["problems.md"]} == set()


def _subclasses(kind: type[TokenError]) -> set[type[TokenError]]:
    below = {kind for kind in kind.__subclasses__() if kind.__module__.startswith("wardgate.")}
    return below.union(*(_subclasses(each) for each in below))


def test_every_registry_has_a_title() -> None:
    """A reader is told what a group of codes is about."""
    assert set(problems.TITLES) == set(registries())


# --- Everything else -----------------------------------------------------------------------------------------------


def test_every_native_key_is_listed(pages: dict[str, str]) -> None:
    """Each attribute of the models that read wardgate.yaml is a key on its page."""
    models = [File, *_models(NativeKeys)]
    names = {
        NativeKeys.model_config["alias_generator"](field) for model in models for field in model.model_fields
    }  # type: ignore[operator]
    assert len(names) > 80
    missing = {name for name in names if f"`{name}`" not in pages["native.md"]}
    assert missing == set()


def _models(kind: type[NativeKeys]) -> set[type[NativeKeys]]:
    return set(kind.__subclasses__()).union(*(_models(each) for each in kind.__subclasses__()))


def test_every_gatekeeper_key_is_listed_once(pages: dict[str, str]) -> None:
    """Each key of the table has one row, and so has each field of a resource."""
    rows = re.findall(
        r"^\| `([^`]+)` \|", pages["gatekeeper.md"].partition("## Two spellings")[0], re.MULTILINE
    )
    assert sorted(rows) == sorted(key.name for key in (*KEYS, *RESOURCE_KEYS))


def test_every_key_of_the_product_is_listed(pages: dict[str, str]) -> None:
    """Each key of gogatekeeper 4.11's own source is on the page, whatever our table says."""
    listed = (PROJECT / "tests" / "dialects" / "gatekeeper-4.11-keys.txt").read_text("utf-8")
    keys = [line.split()[0] for line in listed.splitlines() if line.strip() and not line.startswith("#")]
    assert len(keys) == 164
    assert [key for key in keys if f"`{key}`" not in pages["gatekeeper.md"]] == []


def test_a_key_that_is_not_honoured_says_what_to_do(pages: dict[str, str]) -> None:
    """No row says only that a key differs or is unsupported."""
    rows = [
        line for line in pages["gatekeeper.md"].splitlines() if re.search(r"\| (differs|unsupported)", line)
    ]
    assert len(rows) > 60
    assert [row for row in rows if not re.search(r"(What to do|Differs): \S", row)] == []


def test_every_metric_is_listed(pages: dict[str, str]) -> None:
    """Each figure has its row, with each of its labels."""
    for metric in metrics.METRICS:
        rows = [row for row in pages["metrics.md"].splitlines() if row.startswith(f"| `{metric.name}` |")]
        assert len(rows) == 1, metric.name
        assert all(f"`{label}`" in rows[0] for label in metric.labels), metric.name


def test_every_command_and_option_is_listed(pages: dict[str, str]) -> None:
    """Each command that the program offers has a section, each of its options and arguments a row there."""
    sections = dict(
        re.findall(r"^## (wardgate.*?)\n(.*?)(?=^## |\Z)", pages["commands.md"], re.MULTILINE | re.DOTALL)
    )
    assert sections.keys() == {command.words for command in commands()}
    for command in commands():
        for option in command.options():
            assert all(f"`{name}`" in sections[command.words] for name in option.opts), (
                command.words,
                option.name,
            )
        for argument in command.arguments():
            assert f"`{argument.metavar}`" in sections[command.words], (command.words, argument.name)


def test_help_names_the_listed_commands() -> None:
    """What `wardgate --help` prints and what the reference lists are the same commands."""
    result = subprocess.run(
        [Path(sys.executable).with_name("wardgate"), "--help"], capture_output=True, text=True, check=True
    )
    block = result.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    printed = {f"wardgate {name}" for name in re.findall(r"^  ([a-z-]+) ", block, re.MULTILINE)}
    assert printed == {command.words for command in commands() if command.words.count(" ") == 1}


def test_every_field_of_the_log_is_explained() -> None:
    """The words for log fields and for rules are those of the code, no more and no fewer."""
    assert log.MEANINGS.keys() == logs.FIELDS.keys()
    assert log.RULE_MEANINGS.keys() == RULES
