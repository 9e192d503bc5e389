"""
A real Envoy for tests: started from plain data, asked over its admin socket, its stdout read line by line.

Not the supervisor, which hands over one configuration safely; here many listeners stand in one process.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from wardgate.supervisor.envoy import program

DEADLINE_S = 90


class RunningEnvoy:
    """`with RunningEnvoy(directory, bootstrap) as envoy:`; one worker, so what is measured is deterministic."""

    def __init__(self, directory: Path, bootstrap: dict[str, Any]) -> None:
        self._directory = directory
        self._admin = directory / "admin.sock"
        self._bootstrap = {**bootstrap, "admin": {"address": {"pipe": {"path": str(self._admin)}}}}
        self.lines: deque[str] = deque()
        """What Envoy wrote to stdout and nobody has taken yet: one access log line each."""

    def __enter__(self) -> Self:
        config = self._directory / "bootstrap.json"
        config.write_text(json.dumps(self._bootstrap), encoding="utf-8")
        self._messages = (self._directory / "stderr").open("wb")
        self._child = subprocess.Popen(
            [
                program(),
                *("--config-path", str(config), "--disable-hot-restart", "--concurrency", "1"),
                *("--log-level", "warning", "--file-flush-interval-msec", "20"),
                *(
                    "--drain-time-s",
                    "1",
                    "--drain-strategy",
                    "immediate",
                ),  # removed listeners hold memory until then
            ],
            stdout=subprocess.PIPE,
            stderr=self._messages,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait(lambda: self.get("/ready").startswith("LIVE"), "Envoy is not ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        self._reader.join()
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._messages.close()

    def wait(self, done: Callable[[], bool], otherwise: str) -> None:
        """Until `done`; AssertionError with Envoy's own words when it dies or takes too long."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if done():
                    return
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{otherwise}:\n{self.messages()}")
            time.sleep(0.005)

    def messages(self) -> str:
        """The end of what Envoy wrote to stderr."""
        return (self._directory / "stderr").read_text("utf-8", "replace")[-4000:]

    def get(self, target: str) -> str:
        """What the admin interface answers."""
        connection = _UnixConnection(str(self._admin))
        with contextlib.closing(connection):
            connection.request("GET", target)
            return connection.getresponse().read().decode()

    def ports(self) -> dict[str, int]:
        """Where each listener listens."""
        found = json.loads(self.get("/listeners?format=json"))["listener_statuses"]
        return {entry["name"]: entry["local_address"]["socket_address"]["port_value"] for entry in found}

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self.lines.append(line.decode())


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("admin", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
