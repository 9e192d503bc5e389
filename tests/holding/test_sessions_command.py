"""`wardgate sessions`: who is logged in at a running gateway, and ending it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.echo import Echo
from tests.gateway import COMMAND
from tests.holding.running import Running
from tests.login_page import sent
from wardgate.idp import IdpServer

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, idp: IdpServer, echo: Echo) -> Iterator[Running]:
    content = {
        "provider": {
            "issuer": idp.issuer,
            "audience": "demo-gateway",
            "client-id": "demo-gateway",
            "client-secret": "demo-secret",
        },
        "session": {"cookie": {"secure": False}, "redirection-url": "http://127.0.0.1:${GATEWAY_PORT}"},
        "upstream": echo.url,
        "routes": [{"path": "/**", "roles": ["user"]}],
    }
    with Running(tmp_path_factory.mktemp("sessions"), content) as running:
        yield running


LogIn = Callable[..., httpx.Client]


@pytest.fixture
def logged_in(gateway: Running) -> Iterator[LogIn]:
    """`logged_in("admin")`: a browser, scripts aside, that has logged in at the provider's page."""
    with ExitStack() as stack:

        def log_in(username: str = "user") -> httpx.Client:
            client = httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", headers=NAVIGATION, timeout=20)
            return _log_in(stack.enter_context(client), username)

        yield log_in


def _log_in(browser: httpx.Client, username: str) -> httpx.Client:
    page = browser.get("/start", follow_redirects=True)
    landed = sent(browser, page, username, follow_redirects=True)
    assert landed.status_code == 200, landed.text
    assert landed.json()["path"] == "/start"
    return browser


def sessions(gateway: Running, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(COMMAND), "sessions", *words, "--state-dir", str(gateway.folder / "state")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def listed(gateway: Running) -> list[dict[str, object]]:
    done = sessions(gateway, "list", "--output", "json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_who_is_logged_in_and_then_is_not(gateway: Running, logged_in: LogIn) -> None:
    """A session is listed by name and person; revoked, it is refused when the command returns, and others go on."""
    one, other = logged_in(), logged_in("admin")
    found = {str(session["username"]): session for session in listed(gateway)}
    assert set(found) == {"user", "admin"}
    text = sessions(gateway, "list").stdout
    assert str(found["user"]["name"]) in text
    assert all(browser.cookies["wardgate-session"] not in text for browser in (one, other))
    done = sessions(gateway, "revoke", str(found["user"]["name"]))
    assert (done.returncode, done.stdout) == (0, "1 session(s) ended\n")
    assert one.get("/x", headers={"Sec-Fetch-Mode": "cors"}).status_code == 401
    assert other.get("/x").status_code == 200
    done = sessions(gateway, "revoke", "--subject", str(found["admin"]["subject"]))
    assert done.stdout == "1 session(s) ended\n"
    assert other.get("/x", headers={"Sec-Fetch-Mode": "cors"}).status_code == 401
    assert listed(gateway) == []


def test_everyone_at_once(gateway: Running, logged_in: LogIn) -> None:
    """--all ends every session, and the next navigation is a login."""
    browsers = [logged_in() for _ in range(3)]
    assert sessions(gateway, "revoke", "--all").stdout == "3 session(s) ended\n"
    for browser in browsers:
        assert browser.get("/x", headers={"Sec-Fetch-Mode": "cors"}).status_code == 401
    assert sessions(gateway, "revoke", "n" * 32).stdout == "0 session(s) ended\n"


def test_what_is_not_said_is_asked(gateway: Running, tmp_path: Path) -> None:
    """Without saying whose, or where no gateway runs, the command says what to do and exits with 2."""
    done = sessions(gateway, "revoke")
    assert done.returncode == 2
    assert "[sessions-whose]" in done.stderr
    command = [str(COMMAND), "sessions", "list", "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "[sessions-gateway]" in done.stderr
