"""
`wardgate run` on a file that the test writes: change the file, hurt the processes, read what is said.

Not `tests.gateway`, which runs given files: here the file is the test's own and changes. What goes to stdout (the
access log) and to stderr (events) is kept apart, as an operator would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

from tests.gateway import COMMAND
from tests.parts.loopback import free_port
from tests.sending import Answer, Body, send
from tests.service.issuer import wait_for

IN_FORCE = "configuration in force"
NOT_TAKEN = "the configuration was not taken; the one before stays in force"
NOT_FETCHED = "keys not fetched; those of before stay in force"

Content = Mapping[str, Any]


class Running:
    """
    One gateway in a folder of its own. `content` is its file, without the two addresses, which are set here;
    a key with None is left out. In it, ${GATEWAY_PORT} is `port`, any free one unless given.

    `with Running(folder, {...}) as gateway:` has it serving from the first line on.
    """

    def __init__(
        self, folder: Path, content: Content, *arguments: str, env: Mapping[str, str] = {}, port: int = 0
    ) -> None:
        self.folder = folder
        self.file = folder / "wardgate.yaml"
        self.port, self.admin_port = port or free_port(), free_port()
        self._arguments = arguments
        own = {"WARDGATE_STATE_DIR": str(folder / "state"), "GATEWAY_PORT": str(self.port)}
        self._env = {**os.environ, **own, **env}
        self.content = content
        self.write(content)
        self.start()

    @property
    def command(self) -> list[str]:
        return ["run", "-c", str(self.file)]

    def start(self) -> None:
        """Run; the events and the access log of an earlier run are gone."""
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [str(COMMAND), *self.command, *self._arguments],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def ready(self) -> Self:
        self.wait("ready", seconds=40)
        return self

    def stop(self) -> int:
        """SIGTERM, and the exit code; twice is nothing."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        try:
            return self.ready()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- its file

    def text(self, content: Content) -> str:
        """The file for `content`: JSON is YAML, and nothing in it can be misread."""
        addresses = {"listen": f"127.0.0.1:{self.port}", "admin": f"127.0.0.1:{self.admin_port}"}
        given = {**addresses, **content}
        return json.dumps({key: value for key, value in given.items() if value is not None}, indent=1)

    def write(self, content: Content | str) -> None:
        """Replace the file at once."""
        text = content if isinstance(content, str) else self.text(content)
        temporary = self.file.with_name(".new")
        temporary.write_text(text, "utf-8")
        temporary.replace(self.file)

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def reload(self, content: Content | str) -> dict[str, Any]:
        """Write the file, hang up, and wait until that is in force; returns the event that says so."""

        def answered() -> list[dict[str, Any]]:
            # the change is noticed by itself too, a moment later: that event is not the answer to ours
            return [event for event in self.said(IN_FORCE) if "SIGHUP" in event["because"]]

        before = len(answered())
        self.write(content)
        self.hang_up()
        wait_for(lambda: len(answered()) > before, f"in force: {self.errors()[-2000:]}", 20)
        return answered()[before]

    # --- what it says

    def events(self) -> list[dict[str, Any]]:
        lines = (self.folder / "err").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def errors(self) -> str:
        """Everything on stderr."""
        return (self.folder / "err").read_text("utf-8")

    def log(self) -> list[dict[str, Any]]:
        """The access log's lines; raises `ValueError` when one is no JSON."""
        text = (self.folder / "out").read_text("utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [found for found in self.events() if found["event"] == event]

    def count(self, event: str) -> int:
        return len(self.said(event))

    def wait(self, event: str, *, count: int = 1, seconds: float = 20) -> dict[str, Any]:
        """The event that makes it `count` of its name. Fails when the gateway ends without it."""
        wait_for(lambda: self.count(event) >= count or self.process.poll() is not None, f"{event!r}", seconds)
        found = self.said(event)
        assert len(found) >= count, f"the gateway ended without {event!r}:\n{self.errors()[-3000:]}"
        return found[count - 1]

    # --- asking it

    def ask(
        self,
        target: str,
        token: str = "",
        *,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: Body | None = None,
        port: int | None = None,
        source: str = "127.0.0.1",
    ) -> Answer:
        """One request on a connection of its own, from that address."""
        named = {name.lower() for name, _ in headers}
        lines = [] if "host" in named else [("Host", "app.test")]
        if token:
            lines.append(("Authorization", f"Bearer {token}"))
        return send(port or self.port, method, target, [*lines, *headers], body, source)

    def keep(self) -> HTTPConnection:
        """A connection that stays open."""
        return HTTPConnection("127.0.0.1", self.port, timeout=20)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name and labels, as they are written."""
        answer = self.ask("/metrics", port=self.admin_port)
        assert answer.status == 200
        lines = [line for line in answer.body.decode().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    # --- its processes

    def child(self, name: str) -> int:
        """The process id of `envoy` or `service`."""
        word = {"envoy": "--config-path", "service": "wardgate.service"}[name]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent(entry) == self.process.pid and word in _command(entry):
                return int(entry.name)
        raise AssertionError(f"no child {name}")

    def signal(self, name: str, number: signal.Signals) -> int:
        pid = self.child(name)
        os.kill(pid, number)
        return pid

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
        """Poll, also while nobody listens."""

        def tried() -> bool:
            try:
                return holds()
            except OSError:
                return False

        wait_for(tried, what, seconds)


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _command(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []
