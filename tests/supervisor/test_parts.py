"""The parts that need no Envoy: addresses, folders, files, messages."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.parts.loopback import free_port
from tests.supervisor.trivial import policy
from wardgate.policy import Address
from wardgate.problems import ConfigError
from wardgate.supervisor import CODES, home, ports
from wardgate.supervisor.envoy import BURST, Messages, processors, program
from wardgate.supervisor.files import phases
from wardgate.supervisor.watch import Watch


def test_a_kernel_port_is_chosen_once() -> None:
    """Port 0 becomes a free one, and the same one the next time."""
    first = ports.settled(policy(0, 1), {})
    assert first.listeners[0].address.port > 0
    again = ports.settled(policy(0, 1), ports.addresses(first))
    assert again.listeners[0].address == first.listeners[0].address


def test_every_address_that_cannot_be_had_is_said_at_once() -> None:
    """Listeners and the admin listener are tried together; each problem has a known code."""
    with socket.socket() as one, socket.socket() as two:
        for taken in (one, two):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        admin = Address(host="127.0.0.1", port=two.getsockname()[1])
        wanted = replace(policy(one.getsockname()[1], 1), admin=admin)
        with pytest.raises(ConfigError) as refused:
            ports.check(wanted)
        assert [problem.code for problem in refused.value.problems] == ["port-in-use", "port-in-use"]
        assert f"listen-admin: {admin} is in use" in str(refused.value)
        ports.check(wanted, held=[admin, wanted.listeners[0].address])


def test_a_shared_port_counts_as_taken() -> None:
    """A socket that would share (SO_REUSEPORT), as Envoy's do, is in the way all the same."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError):
            ports.check(policy(taken.getsockname()[1], 1))


def test_an_address_of_another_machine_is_said() -> None:
    """An address that this machine does not have has a code and a hint of its own."""
    listener = replace(policy(80, 1).listeners[0], address=Address(host="192.0.2.1", port=free_port()))
    with pytest.raises(ConfigError) as refused:
        ports.check(replace(policy(80, 1), listeners=(listener,)))
    assert refused.value.problems[0].code == "address-unknown"
    assert "0.0.0.0" in refused.value.problems[0].hint


def test_one_gateway_per_address_and_state_directory(tmp_path: Path) -> None:
    """The second one is told whose directory it is; when the first is gone it may."""
    address = Address(host="127.0.0.1", port=3000)
    with home.opened(tmp_path, str(address), None) as first:
        assert Path(first.place.directory).is_dir()
        with pytest.raises(ConfigError) as refused, home.opened(tmp_path, str(address), None):
            pass
        assert refused.value.problems[0].code == "gateway-running"
        assert str(os.getpid()) in str(refused.value)
    with home.opened(tmp_path, str(address), None):
        pass


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file in its place is a problem with a hint, not a traceback."""
    (tmp_path / "file").write_text("", "utf-8")
    with (
        pytest.raises(ConfigError) as refused,
        home.opened(tmp_path / "file", "[::1]:1", None),
    ):
        pass
    assert refused.value.problems[0].code == "state-directory"
    assert "--state-dir" in refused.value.problems[0].hint


def test_where_the_state_is(tmp_path: Path) -> None:
    """The option wins over the variable, the variable over the user's state folder."""
    environ = {"WARDGATE_STATE_DIR": "/var/lib/w", "XDG_STATE_HOME": str(tmp_path)}
    assert home.state_directory("/x", environ) == Path("/x")
    assert home.state_directory(None, environ) == Path("/var/lib/w")
    assert home.state_directory(None, {"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "wardgate"
    assert home.state_directory(None, {}).parts[-3:] == (".local", "state", "wardgate")


def test_a_change_counts_when_the_file_stands_still(tmp_path: Path) -> None:
    """A file is taken when two looks see the same; touching it, or writing the same, is no change."""
    file = tmp_path / "w.yaml"
    file.write_text("a", "utf-8")
    watch = Watch(lambda: sorted(tmp_path.glob("*.yaml")))
    assert not watch.changed()
    file.write_text("ab", "utf-8")
    assert not watch.changed()
    file.write_text("abc", "utf-8")
    assert not watch.changed()
    assert watch.changed()
    assert not watch.changed()
    os.utime(file, (1, 1))
    assert [watch.changed() for _ in range(3)] == [False, False, False]


def test_what_is_read_anyway_is_no_change(tmp_path: Path) -> None:
    """After SIGHUP has made us read the files, their new content does not make us read them again."""
    file = tmp_path / "w.yaml"
    file.write_text("a", "utf-8")
    watch = Watch(lambda: [file])
    file.write_text("b", "utf-8")
    watch.read()
    assert [watch.changed() for _ in range(3)] == [False, False, False]


def test_new_lost_and_swapped_files_are_changes(tmp_path: Path) -> None:
    """A file that comes or goes is a change, and so is a link that points elsewhere (Kubernetes)."""
    for name, text in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.yaml").write_text(text, "utf-8")
    link = tmp_path / "now"
    link.symlink_to("one")
    watch = Watch(lambda: sorted((tmp_path / "now").glob("*.yaml")))
    swap = tmp_path / "next"
    swap.symlink_to("two")
    swap.replace(link)
    assert [watch.changed() for _ in range(3)] == [False, True, False]
    (tmp_path / "two" / "x.yaml").write_text("x", "utf-8")
    assert [watch.changed() for _ in range(2)] == [False, True]
    (tmp_path / "two" / "x.yaml").unlink()
    assert [watch.changed() for _ in range(2)] == [False, True]


def test_envoys_messages_become_events(capsys: pytest.CaptureFixture[str]) -> None:
    """Level and logger are kept; what is no log line of Envoy's is said as it is."""
    messages = Messages()
    messages.take("warning|config|Filesystem config update rejected: because")
    messages.take("terminate called without an active exception")
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["level"], one["logger"]) for one in said] == [("warning", "config"), ("warning", "")]
    assert list(messages.rejections) == ["Filesystem config update rejected: because"]


def test_a_flood_of_messages_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages that differ in numbers only are said a few times."""
    messages = Messages()
    for turn in range(1000):
        messages.take(f"error|filter|body of request {turn} is too large")
    messages.take("error|filter|something else")
    assert len(capsys.readouterr().err.splitlines()) == BURST + 1


def test_steps_add_before_they_use_and_remove_last() -> None:
    """Filters and clusters of both come first, then routes, then listeners, then what only the new one needs."""
    old = {"lds.json": "l", "cds.json": "c", "rds-m.json": "r", "ecds-f.json": "f", "ecds-g.json": "g"}
    new = {**old, "cds.json": "C", "rds-m.json": "R", "ecds-f.json": "F", "lds.json": "L"}
    both = {**old, "cds.json": "cC", "ecds-f.json": "F"}
    steps = [(step.name, dict(step.texts)) for step in phases(old, new, both, new)]
    assert steps == [
        ("add", {"cds.json": "cC", "ecds-f.json": "F"}),
        ("routes", {"rds-m.json": "R"}),
        ("listeners", {"lds.json": "L"}),
        ("remove", {"cds.json": "C"}),
    ]
    assert list(phases(old, old, both, old)) == []


def test_envoy_is_installed_and_has_workers() -> None:
    """The wheel holds the program; there is at least one processor for it."""
    assert os.access(program(), os.X_OK)
    assert processors() >= 1


def test_every_code_is_explained() -> None:
    """Codes are lower case with dashes, and each has a sentence."""
    for code, text in CODES.items():
        assert code.replace("-", "").isalpha()
        assert text.endswith(".")


def test_a_shared_folder_is_not_closed(tmp_path: Path) -> None:
    """A state directory that exists keeps its mode; what is made inside is ours alone."""
    tmp_path.chmod(0o755)
    with home.opened(tmp_path, "127.0.0.1:3000", None) as opened:
        assert tmp_path.stat().st_mode & 0o777 == 0o755
        assert opened.keys.stat().st_mode & 0o777 == 0o700
        assert opened.directory.stat().st_mode & 0o777 == 0o700
