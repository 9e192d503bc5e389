"""The demo as a newcomer meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.parts.loopback import free_port
from wardgate.demo.decisions import readable

pytestmark = pytest.mark.xdist_group("demo")


class Demo:
    """`wardgate demo` on ports of its own, what it printed, and how it ended."""

    def __init__(self) -> None:
        self.port, self.idp = free_port(), free_port()
        options = ["--metrics-port", str(free_port()), "--application-port", str(free_port())]
        command = [
            sys.executable,
            "-m",
            "wardgate",
            "demo",
            "--port",
            str(self.port),
            "--idp-port",
            str(self.idp),
        ]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        self.printed: list[str] = []

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def read_until(self, wanted: str) -> None:
        assert self.process.stdout is not None
        deadline = time.monotonic() + 60
        while not any(wanted in line for line in self.printed):
            line = self.process.stdout.readline()
            assert line and time.monotonic() < deadline, "".join(self.printed)
            self.printed.append(line)

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers)

    def token(self, user: str) -> str:
        """By the command that the demo prints, with another user."""
        text = "".join(self.printed)
        found = re.search(r"TOKEN=\$\(\S*wardgate (token get .*)\)", text)
        assert found is not None, text
        arguments = (
            found[1].replace(" user ", f" {user} ").replace("user-password", f"{user}-password").split()
        )
        result = subprocess.run(
            [sys.executable, "-m", "wardgate", *arguments], capture_output=True, text=True, check=True
        )
        return result.stdout.strip()


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    running = Demo()
    try:
        running.read_until("Decisions:")
        yield running
    finally:
        running.end()


def test_what_it_says_is_what_happens(demo: Demo) -> None:
    """The three things to try are answered as the demo says they are."""
    assert demo.get("/api/me").status_code == 401
    token = demo.token("user")
    told = demo.get("/api/me", token).json()["told"]
    assert told["x-auth-userid"] == "user"
    refused = demo.get("/api/admin/users", token)
    assert (refused.status_code, refused.json()["rule"]) == (403, "/api/admin/**")
    assert demo.get("/api/admin/users", demo.token("admin")).status_code == 200


def test_decisions_are_shown_as_they_happen(demo: Demo) -> None:
    """A request appears with its status, its rule and who made it."""
    demo.get("/api/shown")
    demo.read_until("GET /api/shown")
    line = next(line for line in demo.printed if "GET /api/shown" in line)
    assert "401" in line
    assert "anonymous" in line


def test_a_port_in_use_is_named(demo: Demo) -> None:
    """A second demo says which port is taken, and the option that changes it."""
    command = [
        sys.executable,
        "-m",
        "wardgate",
        "demo",
        "--port",
        str(demo.port),
        "--idp-port",
        str(free_port()),
    ]
    options = ["--metrics-port", str(free_port()), "--application-port", str(free_port())]
    result = subprocess.run([*command, *options], capture_output=True, text=True)
    assert result.returncode == 2
    assert f"127.0.0.1:{demo.port}" in result.stderr
    assert "--port" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(number: signal.Signals) -> None:
    """Ctrl-C (or SIGTERM) ends everything that was started, with exit code 0."""
    running = Demo()
    try:
        running.read_until("Decisions:")
        running.process.send_signal(number)
        assert running.process.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            running.get("/")
    finally:
        running.end()


def test_a_line_that_is_no_decision_is_shown_as_it_is() -> None:
    """Whatever else the gateway prints is not swallowed."""
    assert readable("something else\n", colour=False) == "something else"
    assert "denied by r" in readable('{"status":403,"rule":"r","method":"GET","path":"/x"}', colour=False)
