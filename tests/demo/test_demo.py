"""The demo as a newcomer meets it."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Self

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


class Person:
    """A browser without scripts at the demo, that follows every redirect."""

    def __init__(self, demo: Demo) -> None:
        self.origin = f"http://127.0.0.1:{demo.port}"
        self._http = httpx.Client(headers={"Accept": "text/html"}, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def open(self, path: str) -> httpx.Response:
        """Go to a path, as typed into the address bar."""
        return self._http.get(f"{self.origin}{path}", headers=NAVIGATION)

    def submit(self, page: httpx.Response, **form: str) -> httpx.Response:
        """Send the form of a page."""
        action = re.search(r'<form[^>]*action="([^"]+)"', page.text)
        assert action is not None, page.text
        origin = "/".join(str(page.url).split("/")[:3])
        headers = {**NAVIGATION, "Sec-Fetch-Site": "same-origin", "Origin": origin}
        return self._http.post(page.url.join(html.unescape(action[1])), data=form, headers=headers)

    def log_in(self, path: str = "/", user: str = "user") -> httpx.Response:
        """Go to a path, and log in there."""
        page = self.open(path)
        assert 'id="kc-form-login"' in page.text, page.text
        return self.submit(page, username=user, password=f"{user}-password")


NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}


def test_a_person_logs_in_and_out(demo: Demo) -> None:
    """A browser is sent to the login, comes back to its page, and after signing out has to log in again."""
    with Person(demo) as person:
        page = person.log_in("/api/me?x=1")
        assert str(page.url) == f"{person.origin}/api/me?x=1"
        assert '<span id="who">Uma User</span>' in page.text
        assert "X-Auth-Userid" in page.text
        assert person.open("/api/admin/users").status_code == 403
        assert "You are logged out" in person.submit(person.open("/")).text
        assert 'id="kc-form-login"' in person.open("/").text


def test_a_session_ended_at_the_identity_provider(demo: Demo) -> None:
    """When the issuer ends a session, the gateway hears of it and the page is gone."""
    with Person(demo) as person:
        assert "Ada Admin" in person.log_in(user="admin").text
        ended = httpx.post(f"http://127.0.0.1:{demo.idp}/realms/demo/-/end-sessions").json()
        assert ended["ended"] >= 1
        deadline = time.monotonic() + 10
        while "Ada Admin" in person.open("/").text:
            assert time.monotonic() < deadline


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
    lines = {
        "sent to the login": '{"status":303,"rule":"/","why":"ext_authz_denied"}',
        "the gateway itself": '{"status":303,"rule":"endpoint","why":"via_upstream"}',
        "session revoked": '{"status":401,"rule":"/","decided_by":"reject:session-revoked","why":"x"}',
    }
    for words, line in lines.items():
        assert words in readable(line, colour=False)
    assert "denied by r" in readable('{"status":403,"rule":"r","method":"GET","path":"/x"}', colour=False)
