"""
Python is not on the path of requests: the service may be stopped or dead, and Envoy is back soon when it died.

In `make test` it is short. For 100 000 requests:

    HOLDING_REQUESTS=100000 pytest -s --timeout 600 tests/holding -k stopped_service
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.holding.conftest import Content, Minted
from tests.holding.load import Request, Steady, all_of, request
from tests.holding.running import NOT_TAKEN, Running
from tests.service.issuer import wait_for

pytestmark = pytest.mark.xdist_group("holding-service")

REQUESTS = int(os.environ.get("HOLDING_REQUESTS", "5000"))
USERS = 10
BACK_S = 3.0
UP = 'wardgate_process_up{process="service"}'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, simple: Content) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("service"), simple) as found:
        yield found


def test_a_stopped_service_is_not_missed(gateway: Running, simple: Content, minted: Minted) -> None:
    """With the service stopped, ten users' requests are answered as before, and reloads come into force."""
    service = gateway.signal("service", signal.SIGSTOP)
    try:
        began = time.monotonic()
        answers = asyncio.run(all_of(gateway.port, itertools.islice(_asked(minted), REQUESTS)))
        took = time.monotonic() - began
        wrong = [one for one in answers if (one.request.kind, one.status) not in EXPECTED]
        assert not wrong, f"{len(wrong)} of {len(answers)}: {wrong[:3]}"
        people = Counter(
            one.received()["x-person"] for one in answers if one.status == 200 and b"x-person" in one.body
        )
        assert set(people) == {f"name-{number}" for number in range(USERS)}
        for value in ("one", "two"):
            gateway.reload({**simple, "response-headers": {"X-Version": value}})
            assert gateway.ask("/open/x").header("x-version") == value
        assert gateway.metrics()[UP] == 0
        print(f"\n{len(answers)} requests of {USERS} users in {took:.1f} s, {len(wrong)} answered otherwise")
    finally:
        os.kill(service, signal.SIGCONT)
    gateway.until(lambda: gateway.metrics()[UP] == 1, "it goes on")


EXPECTED = {("user", 200), ("admin", 200), ("lacking", 403), ("anonymous", 401), ("open", 200)}


def _asked(minted: Minted) -> Iterator[Request]:
    """For ever: mostly users who may, some who may not, some without a token."""
    tokens = [minted(f"sub-{n}", "user", preferred_username=f"name-{n}") for n in range(USERS)]
    admin = minted("sub-0", "admin", "user", preferred_username="name-0")
    users = [request("user", "/x", token) for token in tokens]
    others = [
        request("admin", "/admin/x", admin),
        request("lacking", "/admin/x", tokens[1]),
        request("anonymous", "/x"),
        request("open", "/open/x"),
    ]
    return itertools.cycle([*users * 4, *others])


def test_a_dead_service_is_started_again(gateway: Running, token: str) -> None:
    """Killed under load, the service is back by itself, and no request notices."""
    restarts = 'wardgate_process_restarts_total{process="service"}'
    before = gateway.metrics()[restarts]
    with Steady(gateway.port, [request("user", "/x", token), request("open", "/open/x")], rps=200) as load:
        gateway.signal("service", signal.SIGKILL)
        gateway.until(lambda: gateway.metrics()[restarts] == before + 1, "it was started")
        gateway.until(lambda: gateway.metrics()[UP] == 1, "it answers")
    assert load.statuses() == {200: len(load.outcomes)}


def test_a_dead_envoy_is_back_within_three_seconds(gateway: Running, simple: Content, token: str) -> None:
    """Killed, Envoy serves the last good configuration again within 3 s, although the file is broken by then."""
    gateway.reload({**simple, "response-headers": {"X-Version": "good"}})
    refused = gateway.count(NOT_TAKEN)
    gateway.write("routes: [")
    gateway.wait(NOT_TAKEN, count=refused + 1)
    died = gateway.signal("envoy", signal.SIGKILL)
    began = time.monotonic()
    gateway.until(lambda: gateway.ask("/x", token).status == 200, "it is back")
    took = time.monotonic() - began
    assert gateway.child("envoy") != died
    assert gateway.ask("/x", token).header("x-version") == "good"
    assert gateway.ask("/x").status == 401
    assert took < BACK_S
    print(f"\nEnvoy was back after {took:.2f} s")
    gateway.reload(simple)


def test_a_dead_gateway_leaves_nothing(gateway: Running) -> None:
    """After SIGKILL of the supervisor no child holds the port, and the same command starts again."""
    children = [gateway.child("envoy"), gateway.child("service")]
    gateway.kill()
    wait_for(lambda: not any(_lives(pid) for pid in children), "the children's end")
    gateway.start()
    gateway.ready()
    assert gateway.ask("/open/x").status == 200


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
