"""A whole gateway as a process: start, reload, accidents, drain."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.parts.loopback import free_port
from tests.service.issuer import Issuer, jwks, ok, wait_for
from tests.supervisor.process import Process, Upstream

BACK_S = 3.0


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as found:
        yield found


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One gateway for all tests that end as they began."""
    folder = tmp_path_factory.mktemp("steady")
    with Upstream() as upstream, Process(folder, upstream=upstream.port).ready() as found:
        yield found


@pytest.fixture
def gateway(steady: Process) -> Iterator[Process]:
    """The steady gateway with the mark `one`, and what it says from now on."""
    content = dict(steady.content)
    steady.events.clear()
    yield steady
    steady.content = content
    steady.change(marks={"mark": "one"})


def test_a_changed_file_comes_into_force(gateway: Process) -> None:
    """A new content is served without a signal; SIGHUP with the same content changes nothing."""
    gateway.write({**gateway.content, "marks": {"mark": "two"}})
    assert gateway.wait("configuration in force")["because"] == ["file"]
    assert gateway.get()[1]["x-route"] == "two"
    before = gateway.metrics()['wardgate_config_reloads_total{result="unchanged"}']
    gateway.hang_up()
    wait_for(lambda: gateway.count("configuration in force") == 2, "SIGHUP")
    assert gateway.said("configuration in force")[-1]["because"] == ["SIGHUP"]
    assert gateway.said("configuration in force")[-1]["files"] == []
    assert gateway.metrics()['wardgate_config_reloads_total{result="unchanged"}'] == before + 1


@pytest.mark.parametrize("bad", ["", '{"port": 1, "colour": 2, "size": 3}'])
def test_a_bad_file_changes_nothing(gateway: Process, bad: str) -> None:
    """Every problem is said with its file and line, the configuration before stays, and a good file is taken next."""
    gateway.write(bad)
    gateway.wait("the configuration was not taken; the one before stays in force")
    problems = gateway.said("problem")
    assert len(problems) == (2 if bad else 1)
    assert all(problem["text"].startswith(f"{gateway.file}:1: ") for problem in problems)
    assert gateway.get()[1]["x-route"] == "one"
    gateway.change(marks={"mark": "two"})
    assert gateway.get()[1]["x-route"] == "two"


def test_what_envoy_refuses_is_a_problem(gateway: Process) -> None:
    """A configuration that Envoy does not take is said with Envoy's reason and is not in force."""
    gateway.write({**gateway.content, "marks": {"broken": "routes"}})
    problem = gateway.wait("problem")
    assert problem["code"] == "envoy-refused"
    assert "missing" in problem["text"] or "regex" in problem["text"]
    assert gateway.get()[1]["x-route"] == "one"
    gateway.change(marks={"mark": "two"})
    assert gateway.get()[1]["x-route"] == "two"


def test_a_reload_may_move_the_listener(gateway: Process) -> None:
    """A new address is served after a reload; one that is taken is a problem that changes nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        gateway.write({**gateway.content, "port": taken.getsockname()[1]})
        assert gateway.wait("problem")["code"] == "port-in-use"
        assert gateway.serves()
    port = free_port()
    gateway.change(port=port)
    wait_for(gateway.serves, "the new address")


def test_metrics_and_nothing_else(gateway: Process) -> None:
    """The admin listener answers /metrics only; nothing of Envoy's admin interface is reachable."""
    answered = 'wardgate_requests_total{code_class="2xx"}'
    before = gateway.metrics()[answered]
    for _ in range(3):
        gateway.get()
    wait_for(lambda: gateway.metrics()[answered] == before + 3, "three requests")
    figures = gateway.metrics()
    assert figures['wardgate_process_up{process="envoy"}'] == 1
    assert figures["gatekeeper_login_failures_total"] == 0
    assert figures['gatekeeper_token_validation_duration_seconds_bucket{le="+Inf"}'] == 0
    admin = int(gateway.content["admin"])
    for path in ("/", "/stats", "/metrics/", "/config_dump", "/quitquitquit", "//metrics", "/METRICS"):
        assert gateway.get(path, admin)[0] == 404
    connection = HTTPConnection("127.0.0.1", admin)
    connection.request("POST", "/metrics")
    assert connection.getresponse().status == 405
    connection.close()
    with socket.create_connection(("127.0.0.1", admin)) as silly:
        silly.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert silly.recv(100).startswith(b"HTTP/1.1 400")


def test_metrics_may_move_and_end(gateway: Process) -> None:
    """The admin listener follows the configuration: another port, or none."""
    first = int(gateway.content["admin"])
    gateway.change(admin=free_port())
    assert gateway.metrics()
    with pytest.raises(ConnectionRefusedError):
        gateway.get("/metrics", first)


def test_state_is_private(gateway: Process) -> None:
    """Every file is 0600, every folder 0700, every socket 0600."""
    state = gateway.folder / "state"
    found = [state, *state.rglob("*")]
    assert len(found) > 10
    for path in found:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_new_provider_has_keys_when_it_is_in_force(gateway: Process) -> None:
    """A reload that adds an issuer waits a moment for its keys, so that none of its tokens is refused."""
    with Issuer() as issuer:
        gateway.change(issuer=issuer.url)
        assert keys_in_force(gateway) == "kc"


def test_a_dead_envoy_is_back_within_seconds(tmp_path: Path, upstream: Upstream) -> None:
    """Killed, Envoy serves the last good configuration again, although the file on disk is broken by then."""
    with Process(tmp_path, upstream=upstream.port).ready() as gateway:
        gateway.change(marks={"mark": "two"})
        gateway.write("{")
        gateway.wait("the configuration was not taken; the one before stays in force")
        for turn in range(3):
            gateway.signal_child("envoy", signal.SIGKILL)
            died = time.monotonic()
            wait_for(lambda: not gateway.serves(), "death") if turn == 0 else None
            gateway.wait("Envoy is back", count=turn + 1)
            assert gateway.get()[1]["x-route"] == "two"
            assert time.monotonic() - died < BACK_S + turn
        assert gateway.metrics()['wardgate_process_restarts_total{process="envoy"}'] == 3


def test_the_service_is_not_on_the_path(tmp_path: Path, upstream: Upstream) -> None:
    """With the service stopped, traffic, reloads and figures go on; killed, it is started again."""
    with Process(tmp_path, upstream=upstream.port).ready() as gateway:
        gateway.signal_child("service", signal.SIGSTOP)
        assert gateway.serves()
        gateway.change(marks={"mark": "two"})
        assert gateway.get()[1]["x-route"] == "two"
        assert gateway.metrics()['wardgate_process_up{process="service"}'] == 0
        first = gateway.signal_child("service", signal.SIGKILL)
        gateway.wait("a process died and is started again")
        wait_for(lambda: gateway.metrics()['wardgate_process_up{process="service"}'] == 1, "the service")
        assert gateway.child("service") != first
        assert gateway.serves()


def test_a_stop_waits_for_requests(tmp_path: Path, upstream: Upstream) -> None:
    """SIGTERM lets the request that runs end, with an answer that closes its connection, and exits 0."""
    with Process(tmp_path, upstream=upstream.port, drain_s=20).ready() as gateway:
        answers: list[tuple[int, dict[str, str], bytes]] = []
        client = threading.Thread(target=lambda: answers.append(gateway.get("/slow")))
        client.start()
        assert upstream.slow.wait(10)
        gateway.popen.send_signal(signal.SIGTERM)
        gateway.wait("draining")
        assert gateway.popen.poll() is None
        upstream.release.set()
        client.join(10)
        assert answers[0][0] == 200
        assert gateway.popen.wait(10) == 0
        assert not gateway.serves()


def wait_in_vain(gateway: Process) -> None:
    """A client whose request will be cut."""

    def client() -> None:
        with contextlib.suppress(OSError):
            gateway.get("/slow")

    threading.Thread(target=client, daemon=True).start()


def test_a_drain_has_an_end(tmp_path: Path, upstream: Upstream) -> None:
    """A request that never ends is cut at the limit, and the exit code is still 0."""
    with Process(tmp_path, upstream=upstream.port, drain_s=1).ready() as gateway:
        wait_in_vain(gateway)
        assert upstream.slow.wait(10)
        started = time.monotonic()
        gateway.popen.send_signal(signal.SIGTERM)
        assert gateway.popen.wait(15) == 0
        assert time.monotonic() - started > 0.9


def test_idle_connections_do_not_hold_a_stop(tmp_path: Path, upstream: Upstream) -> None:
    """A browser's kept connection does not make Ctrl-C wait for the whole drain time."""
    with Process(tmp_path, upstream=upstream.port, drain_s=60).ready() as gateway:
        connection = HTTPConnection("127.0.0.1", gateway.port)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        gateway.popen.send_signal(signal.SIGINT)
        assert gateway.popen.wait(15) == 0
        connection.close()


def test_a_second_signal_stops_at_once(tmp_path: Path, upstream: Upstream) -> None:
    """Who cannot wait for the drain sends the signal again; that requests were cut shows in the exit code."""
    with Process(tmp_path, upstream=upstream.port, drain_s=60).ready() as gateway:
        wait_in_vain(gateway)
        assert upstream.slow.wait(10)
        gateway.popen.send_signal(signal.SIGTERM)
        gateway.wait("draining")
        gateway.popen.send_signal(signal.SIGTERM)
        assert gateway.popen.wait(10) == 1


def test_children_die_with_a_killed_supervisor(tmp_path: Path, upstream: Upstream) -> None:
    """SIGKILL of the supervisor leaves nothing behind that holds the port."""
    with Process(tmp_path, upstream=upstream.port).ready() as gateway:
        children = [gateway.child("envoy"), gateway.child("service")]
        gateway.popen.kill()
        gateway.popen.wait()
        wait_for(lambda: not any(_lives(pid) for pid in children), "the children's end")


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_port_in_use_is_named(tmp_path: Path, upstream: Upstream) -> None:
    """The address, the setting and how to change it are said; exit code 2; nothing was started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Process(tmp_path, upstream=upstream.port, port=port) as gateway:
            assert gateway.popen.wait(20) == 2
            text = gateway.words()
            assert f"{gateway.file}:1: port: 127.0.0.1:{port} is in use" in text
            assert "[port-in-use]" in text
            assert f"--set listen=127.0.0.1:{port + 1}" in text


def test_two_gateways_do_not_share_a_port(tmp_path: Path, gateway: Process, upstream: Upstream) -> None:
    """The second one for the same address refuses, although Envoy would let both listen."""
    with Process(tmp_path, upstream=upstream.port, port=gateway.port) as second:
        assert second.popen.wait(20) == 2
        assert gateway.serves()


def test_two_gateways_run_side_by_side(tmp_path: Path, gateway: Process, upstream: Upstream) -> None:
    """Gateways with other addresses share a state directory and do not disturb each other."""
    (tmp_path / "state").symlink_to(gateway.folder / "state")
    with Process(tmp_path, upstream=upstream.port).ready() as second:
        assert gateway.serves()
        assert second.serves()
        second.popen.terminate()
        assert second.popen.wait(10) == 0
        assert gateway.serves()


def test_port_zero_stays_the_same(tmp_path: Path, upstream: Upstream) -> None:
    """The kernel chooses once: the address is said, and kept over reloads and Envoy's death."""
    with Process(tmp_path, upstream=upstream.port, port=0).ready() as gateway:
        address = gateway.said("ready")[0]["listening"][0]
        port = int(address.rpartition(":")[2])
        assert gateway.get(port=port)[0] == 200
        gateway.change(marks={"mark": "two"})
        gateway.signal_child("envoy", signal.SIGKILL)
        gateway.wait("Envoy is back")
        assert gateway.get(port=port)[1]["x-route"] == "two"


def test_a_long_state_directory_is_no_problem(tmp_path: Path, upstream: Upstream) -> None:
    """Sockets move to a short folder when the kernel would not take their paths; nothing is left of it."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with tempfile.TemporaryDirectory() as short:  # pytest's own folders are too long for sockets
        environ = {"TMPDIR": short, "XDG_RUNTIME_DIR": ""}
        with Process(folder, environ, upstream=upstream.port).ready() as gateway:
            assert gateway.serves()
            assert len(list(Path(short).glob("wardgate-*/admin.sock"))) == 1
        assert not list(Path(short).glob("wardgate-*"))


# --- keys


def keys_in_force(gateway: Process) -> str:
    return gateway.get()[1].get("x-keys", "")


def test_keys_are_there_when_it_listens(tmp_path: Path, upstream: Upstream) -> None:
    """With the issuer in reach, the first request already finds its keys."""
    with Issuer() as issuer, Process(tmp_path, upstream=upstream.port, issuer=issuer.url).ready() as gateway:
        assert gateway.said("ready")[0]["without_keys"] == []
        assert keys_in_force(gateway) == "kc"
        wait_for(lambda: gateway.metrics().get('wardgate_issuer_keys{provider="kc"}') == 1, "the figure")
        assert gateway.metrics()['wardgate_issuer_fetches_total{provider="kc",result="ok"}'] == 1


def test_keys_arrive_when_the_issuer_comes_back(tmp_path: Path, upstream: Upstream) -> None:
    """An issuer that is away at start delays nothing; its keys are in force seconds after it is back."""
    with Issuer() as issuer:
        url, port = issuer.url, issuer.port
    with Process(tmp_path, upstream=upstream.port, issuer=url).ready() as gateway:
        assert gateway.said("ready")[0]["without_keys"] == ["kc"]
        assert keys_in_force(gateway) == ""
        with Issuer(port=port):
            back = time.monotonic()
            wait_for(lambda: keys_in_force(gateway) == "kc", "the keys", 30)
            assert time.monotonic() - back < 15


def test_the_last_good_keys_outlive_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    """With the issuer away, a new start uses the copy on disk at once."""
    with Issuer() as issuer, Process(tmp_path, upstream=upstream.port, issuer=issuer.url).ready() as gateway:
        content = gateway.content
    with Process(tmp_path, **content).ready() as gateway:
        assert keys_in_force(gateway) == "kc"


def test_a_broken_issuer_takes_no_keys_away(tmp_path: Path, upstream: Upstream) -> None:
    """Whatever the issuer answers later, keys that were good stay in force over a reload; the reason is said."""
    broken = {"HTML": b"<html>", "1024 KiB": b" " * 50_000_000}
    with (
        Issuer() as issuer,
        Process(tmp_path, upstream=upstream.port, issuer=issuer.url, refresh_s=0.1).ready() as gateway,
    ):
        for reason, keys in broken.items():
            issuer.keys = lambda answer=keys: ok(answer)
            wait_for(lambda text=reason: any(text in said["problem"] for said in failures(gateway)), reason)
            gateway.change(marks={"mark": reason})
            assert keys_in_force(gateway) == "kc"
        figures = gateway.metrics()
        assert figures['wardgate_issuer_fetches_total{provider="kc",result="issuer-keys"}'] >= 1
        assert figures['wardgate_issuer_fetches_total{provider="kc",result="issuer-answer"}'] >= 1
        pages = int(Path(f"/proc/{gateway.child('service')}/statm").read_text("ascii").split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 100_000_000  # 50 MB were not read into memory


def failures(gateway: Process) -> list[dict[str, Any]]:
    return gateway.said("keys not fetched; those of before stay in force")


def test_a_rotation_reaches_envoy(tmp_path: Path, upstream: Upstream) -> None:
    """New keys of a known issuer come into force by themselves, soon after the service has fetched them."""
    with (
        Issuer() as issuer,
        Process(tmp_path, upstream=upstream.port, issuer=issuer.url, refresh_s=0.1).ready() as gateway,
    ):
        issuer.keys = lambda: ok(jwks("k2"))
        assert gateway.wait("configuration in force")["because"] == ["keys"]
