"""
WebSockets that a session opens: only from a page of ours, and not much longer than the session; and what of that does
not hold for anything else.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.echo import Arrival, Echo
from tests.echo_websocket import frame
from tests.holding.conftest import Content
from tests.holding.running import Running
from tests.holding.sessions import CLIENT, TERMS, person
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-websockets")

LIMIT_S = 2.0
SLOW_S = 2 * LIMIT_S
OURS = ("Origin", "http://app.test")


class Slowly(Echo):
    """The application, which takes its time below /slow/."""

    def answer(self, arrival: Arrival) -> tuple[dict[str, str], bytes]:
        if arrival.path.startswith("/slow/"):
            time.sleep(SLOW_S)
        return super().answer(arrival)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, simple: Content, idp: IdpServer) -> Iterator[Running]:
    with Slowly() as slowly:
        content = {
            **simple,
            "upstream": slowly.url,
            "provider": {"issuer": idp.issuer, **CLIENT},
            "session": {**TERMS, "websocket-limit": f"{LIMIT_S:g}s"},
            "cors": {"origins": ["https://partner.test"], "credentials": True},
        }
        with Running(tmp_path_factory.mktemp("websockets"), content) as running:
            yield running


@pytest.fixture(scope="module")
def cookie(gateway: Running, idp: IdpServer) -> tuple[str, str]:
    return person(gateway.folder / "state", idp.issuer)


class Opened:
    """A handshake: the head of its answer, and the connection."""

    def __init__(self, gateway: Running, *headers: tuple[str, str]) -> None:
        lines = ["GET /x/ws HTTP/1.1", "Host: app.test", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        lines += [f"{name}: {value}" for name, value in headers]
        self.since = time.monotonic()
        self.connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self.connection.makefile("rb")
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            line = self._file.readline()
            assert line, self.head
            self.head += line

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    def talks(self, message: bytes = b"hello") -> bool:
        """False when it has ended."""
        expected = frame(0x81, message)
        try:
            self.connection.sendall(frame(0x81, message, os.urandom(4)))
            return self._file.read(len(expected)) == expected
        except OSError:
            return False

    def lives(self, at_most: float) -> float:
        """Talk all the time until it ends: when it last answered."""
        answered = 0.0
        while self.talks():
            answered = time.monotonic() - self.since
            assert answered < at_most, "it does not end"
            time.sleep(0.05)
        return answered

    def ends(self) -> float:
        """Say nothing, and wait until it ends: how long it lived."""
        assert self._file.read(1) == b""
        return time.monotonic() - self.since

    def close(self) -> None:
        self._file.close()
        self.connection.close()


def opened(gateway: Running, *headers: tuple[str, str]) -> int:
    socket = Opened(gateway, *headers)
    socket.close()
    return socket.status


@pytest.mark.parametrize(
    ("origins", "status"),
    [
        ([OURS], 101),
        ([("Origin", "https://partner.test")], 101),
        ([], 403),
        ([("Origin", "https://evil.test")], 403),
        ([("Origin", "https://app.test")], 403),
        ([("Origin", "http://app.test:8080")], 403),
        ([("Origin", "http://app.test.evil.test")], 403),
        ([("Origin", "http://APP.test")], 403),
        ([("Origin", "null")], 403),
        ([("Origin", "")], 403),
        ([OURS, ("Origin", "https://evil.test")], 403),
        (
            [
                ("Origin", "https://evil.test"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "evil.test"),
            ],
            403,
        ),
    ],
)
def test_a_session_opens_one_from_our_pages_only(
    gateway: Running, cookie: tuple[str, str], origins: Sequence[tuple[str, str]], status: int
) -> None:
    """From this very host, or an origin that CORS lists; any other, none or two: 403, and nothing reaches the upstream."""
    assert opened(gateway, cookie, *origins) == status


def test_the_reason_is_in_the_log(gateway: Running, cookie: tuple[str, str]) -> None:
    """`origin`."""
    assert opened(gateway, cookie, ("Origin", "https://evil.test"), ("X-Request-Id", "x")) == 403
    gateway.until(lambda: any(line["guard"] == "origin" for line in gateway.log()), "it is logged")


def test_a_token_needs_no_origin(gateway: Running, token: str) -> None:
    """A page of another site has no token to send."""
    bearer = ("Authorization", f"Bearer {token}")
    assert opened(gateway, bearer) == 101
    assert opened(gateway, bearer, ("Origin", "https://evil.test")) == 101


def test_nobody_opens_one(gateway: Running) -> None:
    """Without a session, and with one that is none, it is 401 from our own pages too."""
    assert opened(gateway, OURS) == 401
    assert opened(gateway, OURS, ("Cookie", f"wardgate-session={'x' * 43}")) == 401


def test_one_ends_after_the_limit(gateway: Running, cookie: tuple[str, str], token: str) -> None:
    """Busy or silent, one that a session opened ends after `websocket-limit`; one that a token opened goes on."""
    by_token = Opened(gateway, ("Authorization", f"Bearer {token}"))
    silent = Opened(gateway, cookie, OURS)
    busy = Opened(gateway, cookie, OURS)
    lived = busy.lives(LIMIT_S + 5)
    assert silent.ends() < LIMIT_S + 5
    assert LIMIT_S - 0.5 < lived < LIMIT_S + 1
    assert by_token.talks()
    assert time.monotonic() - by_token.since > LIMIT_S
    for one in (by_token, silent, busy):
        one.close()
    print(f"\nlimit {LIMIT_S:g} s: a busy one answered for {lived:.2f} s")


def test_a_long_answer_is_not_cut(gateway: Running, cookie: tuple[str, str]) -> None:
    """What is no WebSocket may take longer, whatever it says that it would like to become."""
    for extra in ([], [("Connection", "Upgrade"), ("Upgrade", "h2c"), OURS]):
        began = time.monotonic()
        answer = gateway.ask("/slow/x", headers=[cookie, *extra])
        assert answer.status in (200, 403)
        if not extra:
            assert answer.status == 200
            assert time.monotonic() - began >= SLOW_S
