"""How a gateway ends: what runs may finish, and what is told to go goes."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.holding.awkward import Awkward
from tests.holding.conftest import Content
from tests.holding.running import Running
from tests.sending import Answer
from tests.service.issuer import wait_for

pytestmark = pytest.mark.xdist_group("holding-drain")

DRAIN_S = 20


@pytest.fixture(scope="module")
def awkward() -> Iterator[Awkward]:
    with Awkward() as found:
        yield found


@pytest.fixture(scope="module")
def stoppable(
    tmp_path_factory: pytest.TempPathFactory, simple: Content, awkward: Awkward
) -> Iterator[Running]:
    content = {**simple, "upstream": awkward.url, "limits": {"drain": f"{DRAIN_S}s"}}
    with Running(tmp_path_factory.mktemp("drain"), content) as found:
        yield found


@pytest.fixture
def gateway(stoppable: Running) -> Running:
    """Running, also when a test before has ended it."""
    if stoppable.process.poll() is not None:
        stoppable.start()
        stoppable.ready()
    return stoppable


class Asking(threading.Thread):
    """A request in a thread of its own, until it is answered or cut."""

    def __init__(self, gateway: Running, target: str) -> None:
        super().__init__(daemon=True)
        self.answer: Answer | None = None
        self.failure: BaseException | None = None
        self._gateway, self._target = gateway, target
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._gateway.ask(self._target)
        except Exception as failure:
            self.failure = failure


def test_a_running_request_may_finish(gateway: Running, awkward: Awkward) -> None:
    """After SIGTERM a request that runs is answered whole, idle connections hold nothing up, and the exit code is 0."""
    idle = gateway.keep()
    idle.request("GET", "/open/x")
    assert idle.getresponse().read() == b"hello"
    asking = Asking(gateway, "/open/drip")
    wait_for(lambda: awkward.asked["/open/drip"] == 1, "the request is with the application")
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait("draining")
    late = gateway.ask("/open/x")
    assert (late.status, late.header("connection")) == (200, "close"), "whoever still comes is told to go"
    asking.join(DRAIN_S)
    assert asking.answer is not None, asking.failure
    assert asking.answer.body == b"." * 30
    assert gateway.process.wait(DRAIN_S) == 0
    assert time.monotonic() - began < DRAIN_S / 2
    assert gateway.events()[-1]["event"] == "stopped"
    for port in (gateway.port, gateway.admin_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    assert _logged(gateway, "/open/drip") == [200]
    idle.close()


def _logged(gateway: Running, path: str) -> list[int]:
    return [line["status"] for line in gateway.log() if line["path"] == path]


def test_a_second_signal_ends_it_at_once(gateway: Running, awkward: Awkward) -> None:
    """SIGTERM again does not wait for what runs: it is cut, nothing is left, and the exit code says so."""
    children = [gateway.child("envoy"), gateway.child("service")]
    before = awkward.asked["/open/never"]
    asking = Asking(gateway, "/open/never")
    wait_for(lambda: awkward.asked["/open/never"] > before, "the request is with the application")
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait("draining")
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(DRAIN_S) == 1
    assert time.monotonic() - began < DRAIN_S / 2
    asking.join(DRAIN_S)
    assert asking.answer is None
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert all(json.loads(line) for line in gateway.errors().splitlines()), (
        "a traceback, or a message of no form"
    )


def test_ctrl_c_ends_it_like_sigterm(gateway: Running) -> None:
    """SIGINT with nothing running ends the gateway soon, with exit code 0 and without a word about exceptions."""
    assert gateway.ask("/open/x").status == 200
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.process.wait(DRAIN_S) == 0
    assert all(json.loads(line) for line in gateway.errors().splitlines())


def test_a_start_can_be_interrupted(stoppable: Running) -> None:
    """SIGTERM while it starts leaves no process behind, and the next start works."""
    if stoppable.process.poll() is None:
        stoppable.stop()
    stoppable.start()
    wait_for(lambda: stoppable.events() != [] or _has_child(stoppable), "it is on its way")
    stoppable.process.send_signal(signal.SIGTERM)
    assert stoppable.process.wait(DRAIN_S) in (0, -signal.SIGTERM)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", stoppable.port), timeout=5)
    stoppable.start()
    assert stoppable.ready().ask("/open/x").status == 200


def _has_child(gateway: Running) -> bool:
    try:
        return gateway.child("service") > 0
    except AssertionError:
        return False
