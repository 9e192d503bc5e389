"""
What people get wrong: each mistake has a message with file and line, a hint, exit code 2, and nothing secret in it.

`check` runs in this process, as the script's entry point; `run` is a process of its own, which must end by itself.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway import COMMAND
from tests.holding.conftest import Content
from tests.holding.running import NOT_FETCHED, Running
from tests.parts.loopback import free_port
from tests.service.issuer import Issuer, ok
from wardgate.cli import main

pytestmark = pytest.mark.xdist_group("holding-bad-input")

SECRET = "hunter2-of-ours"
QUICK_S = 5.0

GOOD = f"""\
listen: 127.0.0.1:0
provider:
  issuer: https://id.example/realms/r
  audience: app
  client-secret: {SECRET}
upstream: http://127.0.0.1:8080
routes:
  - path: /a
    roles: [user]
"""

GATEKEEPER = f"""\
discovery-url: https://id.example/realms/r
client-id: app
client-secret: {SECRET}
listen: 127.0.0.1:0
upstream-url: http://127.0.0.1:8080
resources:
  - uri: /a/*
    roles: [user]
"""


ALIASES = "listen: 127.0.0.1:0\na: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
"""A hundred million values in half a kilobyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A file's content, and what must be said: each (line, code); line 0 is no line."""

    name: str
    content: str | bytes
    said: tuple[tuple[int, str], ...]
    words: tuple[str, ...] = ()
    unhinted: int = 0
    """So many of them say what to do by saying what is taken."""


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


MISTAKES = (
    Mistake(name="empty", content="", said=((0, "config-empty"),)),
    Mistake(name="only comments", content="# later\n", said=((0, "config-empty"),)),
    Mistake(name="yaml error", content=changed("[user]", "[user"), said=((10, "yaml-syntax"),)),
    Mistake(name="tabs", content=changed("  audience", "\taudience"), said=((4, "yaml-syntax"),)),
    Mistake(name="control characters", content="listen: \x00\x01\n", said=((1, "yaml-syntax"),)),
    Mistake(name="not text", content=b"\x7fELF\x02\xff\xfe", said=((1, "file-encoding"),)),
    Mistake(name="no configuration", content="hello\n", said=((1, "dialect-unclear"),)),
    Mistake(
        name="unknown keys",
        content=changed("    roles: [user]", "    rolls: [user]\n    timeuot: 5s"),
        said=((8, "access-missing"), (9, "key-unknown"), (10, "key-unknown")),
        words=("rolls", "did you mean roles?", "timeuot", "did you mean timeout?"),
    ),
    Mistake(
        name="wrong types",
        content=changed("audience: app", "audience: 7").replace("[user]", "[1e3, yes, [x]]"),
        said=((4, "not-text"), (9, "not-text"), (9, "value-type")),
        unhinted=1,
    ),
    Mistake(
        name="secret of a wrong type",
        content=changed(f"client-secret: {SECRET}", f"client-secret: [{SECRET}]"),
        said=((5, "value-type"),),
        unhinted=1,
    ),
    Mistake(
        name="secret beside an unset variable",
        content=changed("https://id.example", "${ISSUER_HOST}") + "admin: ${ADMIN}\n",
        said=((3, "variable-unset"), (10, "variable-unset")),
        words=("ISSUER_HOST", "ADMIN"),
    ),
    Mistake(
        name="encryption key of a wrong length",
        content=GOOD + f"session:\n  encryption-key: {SECRET}\n",
        said=((10, "login-provider"), (11, "encryption-key")),
    ),
    Mistake(
        name="two rules for one path",
        content=GOOD + "  - path: /a\n    roles: [admin]\n",
        said=((10, "route-duplicate"),),
        words=(":8",),
    ),
    Mistake(
        name="a key twice", content=GOOD + "upstream: http://127.0.0.1:1\n", said=((10, "duplicate-key"),)
    ),
    Mistake(name="aliases of aliases", content=ALIASES, said=((2, "yaml-size"),)),
    Mistake(name="too large", content=GOOD + "# padding\n" * 1_050_000, said=((0, "file-too-large"),)),
    Mistake(
        name="gatekeeper: two resources for one uri",
        content=GATEKEEPER + "  - uri: /a/*\n    roles: [admin]\n",
        said=((9, "resource-duplicate"), (9, "route-name")),
        words=(":7",),
    ),
    Mistake(
        name="gatekeeper: unknown key",
        content=changed("client-id", "client-idd", GATEKEEPER),
        said=((1, "key-missing"), (2, "key-unknown")),
        words=("did you mean client-id?",),
    ),
    Mistake(
        name="gatekeeper: wrong type",
        content=changed("roles: [user]", "methods: {GET: yes}", GATEKEEPER),
        said=((8, "value-type"),),
    ),
)


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`wardgate check` with these arguments: its exit code, and all that it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["check", *arguments])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return run


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """`wardgate run` with these arguments, which ends by itself: its exit code, and all that it printed."""
    command = [str(COMMAND), "run", *arguments, "--state-dir", str(folder / "state")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_explained(
    tmp_path: Path, check: Callable[..., tuple[int, str]], mistake: Mistake
) -> None:
    """Every problem of a file is printed with its line and a hint, by both commands alike, at once and with code 2."""
    file = tmp_path / "gateway.yaml"
    content = mistake.content if isinstance(mistake.content, bytes) else mistake.content.encode()
    file.write_bytes(content)
    began = time.monotonic()
    checked, said = check("-c", str(file))
    assert time.monotonic() - began < QUICK_S
    ran, said_running = run(tmp_path, "-c", str(file))
    assert (checked, ran) == (2, 2)
    for printed in (said, said_running):
        problems = list(_problems(printed, file))
        assert sorted(problem[:2] for problem in problems) == sorted(mistake.said), printed
        assert sum(not hint for _, _, hint in problems) == mistake.unhinted, printed
        assert all(word in printed for word in mistake.words), printed
        assert SECRET not in printed
        assert "Traceback" not in printed
    assert not (tmp_path / "state").exists(), "something was started"


def _problems(printed: str, file: Path) -> Iterator[tuple[int, str, str]]:
    """Line, code and hint of each error of the file; warnings are left out."""
    form = rf"^{re.escape(str(file))}:(?:(\d+):)? (?!warning: ).*\[([a-z-]+)\]$(?:\n    hint: (.*))?"
    for match in re.finditer(form, printed, re.MULTILINE):
        yield int(match[1] or 0), match[2], match[3] or ""


def test_a_missing_file_is_named(tmp_path: Path, check: Callable[..., tuple[int, str]]) -> None:
    """A file that is not there, or is no file, is named with the reason; others are still read."""
    other = tmp_path / "other.yaml"
    other.write_text("listen: [\n")
    for missing in (tmp_path / "missing.yaml", other / "below", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        arguments = ("-c", str(missing), "-c", str(other))
        for code, printed in (check(*arguments), run(tmp_path, *arguments)):
            assert code == 2
            assert f"{missing}: " in printed
            assert f"{other}:2: " in printed
            assert printed.count("hint: ") == 2


def test_bad_arguments_are_explained(check: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """An override that is none, an unknown format or an unknown option is exit code 2 and no traceback."""
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD)
    for arguments in (
        ("--set", "listen"),
        ("--set", "listne=1"),
        ("--set", "listen=nowhere"),
        ("--dialect", "nginx"),
        ("--trusted-proxies", "everyone"),
        ("--no-such-option",),
    ):
        for code, printed in (check("-c", str(file), *arguments), run(tmp_path, "-c", str(file), *arguments)):
            assert code == 2, (arguments, printed)
            assert arguments[-1].partition("=")[0].lstrip("-") in printed
            assert "Traceback" not in printed
            assert SECRET not in printed


def test_an_insecure_setting_needs_the_word(tmp_path: Path, check: Callable[..., tuple[int, str]]) -> None:
    """What turns a check off is refused by name, and taken with --allow-insecure, which says it."""
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD.replace("  audience: app", "  audience: app\n  tls: {verify: false}"))
    code, printed = check("-c", str(file))
    assert code == 2
    assert f"{file}:5: provider.tls.verify" in printed
    assert "--allow-insecure" in printed
    code, printed = check("-c", str(file), "--allow-insecure")
    assert code == 0
    assert "provider.tls.verify" in printed


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """Another program's port is named with its line and how to change it; so is the metrics port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = tmp_path / "gateway.yaml"
        for text, line, setting in (
            (changed("listen: 127.0.0.1:0", f"listen: 127.0.0.1:{port}"), 1, "listen"),
            (GOOD + f"admin: 127.0.0.1:{port}\n", 10, "admin"),
        ):
            file.write_text(text)
            code, printed = run(tmp_path, "-c", str(file))
            assert code == 2
            assert re.search(
                rf"{re.escape(str(file))}:{line}: .*{setting}: 127.0.0.1:{port} is in use", printed
            )
            assert f"127.0.0.1:{port + 1}" in printed.partition("hint: ")[2]
            assert "Traceback" not in printed


def test_a_role_named_n_is_a_role(check: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """YAML 1.1 would make false of `n`; here it is the role's name."""
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD.replace("[user]", "[n, y, on, NO, 'null', '1e3']"))
    assert check("-c", str(file))[0] == 0


def test_an_upstream_that_is_down_is_a_problem_document(tmp_path: Path, simple: Content, token: str) -> None:
    """Without the application the gateway answers 502 with a document that says so; wrong names too."""
    nobody = f"http://127.0.0.1:{free_port()}"
    routes = [{"path": "/name/**", "public": True, "upstream": "name"}, *simple["routes"]]
    upstreams = {"down": nobody, "name": "http://no-such-host.invalid:80"}
    routes = [{"upstream": "down", **route} for route in routes]
    content = {**simple, "upstream": None, "upstreams": upstreams, "routes": routes}
    with Running(tmp_path, content) as gateway:
        for target, credential in (("/x", token), ("/open/x", ""), ("/name/x", "")):
            answer = gateway.ask(target, credential)
            assert answer.status == 502
            assert answer.header("content-type") == "application/problem+json"
            document = json.loads(answer.body)
            assert document["code"] == "upstream-unreachable"
            assert document["request_id"] == answer.header("x-request-id")
        assert gateway.ask("/x").status == 401


def test_a_wrong_issuer_is_said(tmp_path: Path, simple: Content) -> None:
    """An issuer value that differs from the discovery document's is said with both; its routes answer 503."""
    with Issuer() as issuer:
        real = "https://real.example/realms/r"
        document = json.dumps({"issuer": real, "jwks_uri": f"{issuer.url}/keys"}).encode()
        issuer.discovery = lambda: ok(document)
        provider = {"name": "corporate", "issuer": issuer.url, "audience": "app"}
        with Running(tmp_path, {**simple, "provider": provider}) as gateway:
            said = gateway.wait(NOT_FETCHED)
            assert said["provider"] == "corporate"
            assert real in said["problem"]
            assert said["hint"]
            assert gateway.said("ready")[0]["without_keys"] == ["corporate"]
            assert gateway.ask("/x", "e30.e30.c2ln").status == 503
            assert gateway.ask("/open/x").status == 200
