"""
A reload under load: no request fails, and each is judged wholly by the old configuration or wholly by the new one.

In `make test` it is short. For 200 reloads in 60 s at 1 000 requests a second:

    HOLDING_SECONDS=60 HOLDING_RELOADS=200 HOLDING_RPS=1000 pytest -s --timeout 300 tests/holding -k under_load
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.echo import Echo
from tests.holding.conftest import Content
from tests.holding.load import Outcome, Steady, request
from tests.holding.running import IN_FORCE, NOT_TAKEN, Running
from tests.holding.versions import FORGED, Versions
from tests.parts.loopback import free_port
from tests.service.issuer import wait_for
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-reload")

SECONDS = float(os.environ.get("HOLDING_SECONDS", "8"))
RELOADS = int(os.environ.get("HOLDING_RELOADS", "25"))
RPS = float(os.environ.get("HOLDING_RPS", "300"))
CONNECTIONS = max(14, int(RPS / 25))


def test_a_reload_under_load_is_one_step(tmp_path: Path, idp: IdpServer) -> None:
    """Under steady load no reload fails a request, and everything that one changes comes to each request together."""
    with IdpServer() as other, Echo() as first, Echo() as second:
        versions = Versions(idp, other, (first, second))
        with (
            Running(tmp_path, versions.content(0)) as gateway,
            Steady(gateway.port, versions.requests(), rps=RPS, connections=CONNECTIONS) as load,
        ):
            times = _reload(gateway, versions)
    faults = [fault for outcome in load.outcomes if (fault := versions.fault(outcome))]
    assert not faults, f"{len(faults)} of {len(load.outcomes)}: {faults[:5]}"
    seen = {outcome.headers["x-version"] for outcome in load.outcomes}
    assert len(seen) > 0.9 * RELOADS, "versions that no request met"
    slowest = max(outcome.seconds for outcome in load.outcomes)
    print(
        f"\n{RELOADS} reloads, median {sorted(times)[len(times) // 2] * 1000:.0f} ms, slowest {max(times) * 1000:.0f} ms; "
        f"{len(load.outcomes)} requests in {SECONDS:g} s, {dict(load.statuses())}, slowest {slowest * 1000:.0f} ms, "
        f"{len({outcome.connection for outcome in load.outcomes})} connections"
    )


def _reload(gateway: Running, versions: Versions) -> list[float]:
    """RELOADS reloads, evenly over SECONDS; how long each took from the signal until it was said to be in force."""
    started, times = time.monotonic(), []
    pause = threading.Event()
    for number in range(1, RELOADS + 1):
        pause.wait(max(0.0, started + SECONDS * number / (RELOADS + 1) - time.monotonic()))
        begun = time.monotonic()
        gateway.reload(versions.content(number))
        times.append(time.monotonic() - begun)
    pause.wait(max(0.0, started + SECONDS - time.monotonic()))
    return times


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, simple: Content) -> Iterator[Running]:
    """One gateway for all tests below, with the simple configuration at the start of each."""
    with Running(tmp_path_factory.mktemp("kept"), simple) as gateway:
        yield gateway


@pytest.fixture
def gateway(kept: Running, simple: Content) -> Running:
    kept.reload(simple)
    return kept


def test_a_right_that_is_taken_away_is_gone_at_once(gateway: Running, simple: Content, token: str) -> None:
    """Once a reload is said to be in force, connections that were open before it are judged by it too."""
    connections = [gateway.keep() for _ in range(8)]
    assert {_status(connection, "/x", token) for connection in connections} == {200}
    gateway.reload({**simple, "routes": [{"path": "/**", "roles": ["admin"]}]})
    assert {_status(connection, "/x", token) for connection in connections} == {403}
    gateway.reload({**simple, "routes": [{"path": "/**", "deny": "closed for repairs"}]})
    assert {_status(connection, "/x", token) for connection in connections} == {403}
    for connection in connections:
        connection.close()


def _status(connection: HTTPConnection, target: str, token: str = "") -> int:
    connection.request("GET", target, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_a_new_identity_header_is_never_the_clients(gateway: Running, simple: Content, token: str) -> None:
    """While a reload makes a header an identity header, an open connection brings no copy of its own past the change."""
    own = [("X-Level", FORGED), ("x.level", FORGED), ("X-LEVEL", FORGED)]
    for name in ("X-Level", "X-Rank"):
        own += [(name, FORGED)]
        marked = {"response-headers": {"X-Version": name}, "identity-headers": {name: "email"}}
        asked = [request("user", "/x", token, headers=own), request("open", "/open/x", headers=own)]
        with Steady(gateway.port, asked, rps=200, connections=8) as load:
            gateway.reload({**simple, **marked})
            wait_for(lambda: sum("x-version" in one.headers for one in load.outcomes) > 40, "requests after")
        after = [one for one in load.outcomes if one.headers.get("x-version") == name]
        expected = {"user": ["user@demo.example"], "open": []}
        for one in after:
            assert one.status == 200
            assert _values(one, name) == expected[one.request.kind]


def _values(outcome: Outcome, name: str) -> list[str]:
    """All that the application could read as this header: any separator stands for any other."""
    wanted = name.lower().replace("-", "_")
    found = ((header.lower(), value) for header, value in outcome.json()["headers"])
    return [value for header, value in found if re.sub(r"[^a-z0-9]", "_", header) == wanted]


def test_a_reload_needs_no_issuer(tmp_path: Path, echo: Echo, simple: Content) -> None:
    """With the issuer away, reloads that change its provider, its routes and its neighbours refuse no valid token."""
    with IdpServer() as gone:
        base = {**simple, "provider": {"issuer": gone.issuer, "audience": "demo-gateway"}}
        content = {**base, "response-headers": {"X-Version": "0"}}
        with Running(tmp_path, content) as gateway:
            gone.stop()
            asked = [
                request("user", "/x", gone.token("user")),
                request("admin", "/admin/x", gone.token("admin")),
            ]
            with Steady(gateway.port, asked, rps=150) as load:
                for number, change in enumerate(_provider_changes(base["provider"]), start=1):
                    gateway.reload({**base, **change, "response-headers": {"X-Version": str(number)}})
            assert load.statuses() == {200: len(load.outcomes)}
            # the first may be gone before the first request
            assert {one.headers["x-version"] for one in load.outcomes} >= {"1", "2", "3"}
            gateway.signal("envoy", signal.SIGKILL)
            gateway.wait("Envoy is back")
            assert gateway.ask("/x", gone.token("user")).status == 200


def _provider_changes(provider: Content) -> Iterator[Content]:
    yield {"provider": {**provider, "leeway": "5s"}}
    yield {"provider": {**provider, "audience": ["demo-gateway", "more"], "max-lifetime": "20h"}}
    yield {"identity-headers": {"X-Other": "email"}, "compression": True}
    away = {"issuer": f"http://127.0.0.1:{free_port()}/realms/away", "audience": "demo-gateway"}
    yield {"provider": None, "providers": {"default": provider, "away": away}}


@pytest.mark.parametrize("how", ["SIGHUP", "a changed file"])
def test_a_bad_file_changes_nothing(gateway: Running, simple: Content, token: str, how: str) -> None:
    """However a bad file is noticed, all of its problems are said with their lines, and what was in force stays."""
    before = gateway.count("problem"), gateway.count(NOT_TAKEN)
    good = gateway.text(simple)
    bad = good.replace('"roles": [', '"rolls": [', 1).replace('"audience"', '"audiance"')
    gateway.write(bad)
    if how == "SIGHUP":
        gateway.hang_up()
    gateway.wait(NOT_TAKEN, count=before[1] + 1)
    problems = gateway.said("problem")[before[0] :]
    lines = {
        number for number, line in enumerate(bad.splitlines(), 1) if "audiance" in line or "rolls" in line
    }
    assert {problem["line"] for problem in problems} >= lines
    assert all(problem["text"].startswith(f"{gateway.file}:{problem['line']}: ") for problem in problems)
    assert gateway.ask("/x", token).status == 200
    assert gateway.ask("/admin/x", token).status == 403
    assert gateway.metrics()['wardgate_config_reloads_total{result="refused"}'] == before[1] + 1
    gateway.reload({**simple, "response-headers": {"X-Back": "yes"}})
    assert gateway.ask("/x", token).header("x-back") == "yes"


def test_a_file_that_is_gone_changes_nothing(gateway: Running, simple: Content, token: str) -> None:
    """A file that is removed is said, what was in force stays, and the file is taken when it is there again."""
    before, taken = gateway.count(NOT_TAKEN), gateway.count(IN_FORCE)
    gateway.file.unlink()
    gateway.wait(NOT_TAKEN, count=before + 1)
    assert "file-unreadable" in gateway.said("problem")[-1]["text"]
    assert gateway.ask("/x", token).status == 200
    gateway.write({**simple, "response-headers": {"X-Back": "again"}})
    gateway.wait(IN_FORCE, count=taken + 1)
    assert gateway.ask("/x", token).header("x-back") == "again"


def test_links_are_swapped_as_kubernetes_does(gateway: Running, simple: Content) -> None:
    """A mounted ConfigMap, whose `..data` link is renamed over, is noticed by itself each time."""
    folder = gateway.folder

    def mount(name: str) -> None:
        (folder / name).mkdir()
        content = {**simple, "response-headers": {"X-Mounted": name}}
        (folder / name / "wardgate.yaml").write_text(gateway.text(content), "utf-8")
        (folder / "..data_tmp").symlink_to(name)
        (folder / "..data_tmp").replace(folder / "..data")

    mount("..2026_one")
    (folder / "link").symlink_to("..data/wardgate.yaml")
    taken = gateway.count(IN_FORCE)
    (folder / "link").replace(gateway.file)
    for turn, name in enumerate(["..2026_one", "..2026_two", "..2026_three"], start=1):
        if turn > 1:
            mount(name)
        event = gateway.wait(IN_FORCE, count=taken + turn)
        assert event["because"] == ["file"]
        assert gateway.ask("/open/x").header("x-mounted") == name


def test_listeners_come_and_go(gateway: Running, simple: Content, token: str) -> None:
    """A reload adds a listener with routes of its own, and takes it away; the first one loses no request."""
    port = free_port()
    first = {"listen": f"127.0.0.1:{gateway.port}", "routes": simple["routes"]}
    second = {"listen": f"127.0.0.1:{port}", "routes": [{"path": "/second", "public": True}]}
    rest = {key: value for key, value in simple.items() if key != "routes"} | {"listen": None}
    with Steady(gateway.port, [request("user", "/x", token)], rps=100, connections=4) as load:
        gateway.reload({**rest, "listeners": {"main": first, "second": second}})
        assert gateway.ask("/second", port=port).status == 200
        assert gateway.ask("/second", token).status == 200
        assert gateway.ask("/x", token, port=port).status == 403
        gateway.reload({**rest, "listeners": {"main": first}})
        gateway.until(lambda: _refuses(port), "the second listener is gone")
    assert load.statuses() == {200: len(load.outcomes)}


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_settings_of_the_listener_fail_nothing(gateway: Running, simple: Content, token: str) -> None:
    """Changes that replace the listener's own filters (trusted proxies, reasons, log) fail no request under load."""
    with Steady(gateway.port, [request("user", "/x", token)], rps=150, connections=8) as load:
        for change in (
            {"trusted-proxies": ["127.0.0.9/32"]},
            {"expose-reasons": True},
            {"access-log": False},
        ):
            gateway.reload({**simple, **change})
        wait_for(lambda: len(load.outcomes) > 250, "more requests")
    assert load.statuses() == {200: len(load.outcomes)}
