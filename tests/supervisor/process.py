"""
`tests.supervisor.trivial_gateway` as a process: start it, read its events, change its file, hurt its children.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.parts.loopback import free_port
from tests.service.issuer import wait_for


class Upstream:
    """An application in a thread: `/slow` answers when `release` is set, every other path at once."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.slow = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/slow":
                    upstream.slow.set()
                    upstream.release.wait(30)
                with contextlib.suppress(OSError):  # the client, or the gateway, may be gone
                    self.send_response(200)
                    self.send_header("content-length", "5")
                    self.end_headers()
                    self.wfile.write(b"hello")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


class Process:
    """A gateway with the trivial compiler. `content` is its configuration file; `events` is what it has said."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None, **content: Any) -> None:
        self.folder = folder
        self.file = folder / "gateway.json"
        self.content = {"port": free_port(), "admin": free_port(), **content}
        self.events: list[dict[str, Any]] = []
        self.other: list[str] = []
        self.write(self.content)
        self.popen: subprocess.Popen[str] = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.supervisor.trivial_gateway",
                str(self.file),
                str(folder / "state"),
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environ or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self._reader.join(5)

    @property
    def port(self) -> int:
        return int(self.content["port"])

    def ready(self) -> Self:
        self.wait("ready", 30)
        return self

    def write(self, content: dict[str, Any] | str) -> None:
        """Replace the configuration file at once."""
        text = content if isinstance(content, str) else json.dumps(content)
        temporary = self.file.with_suffix(".new")
        temporary.write_text(text, "utf-8")
        temporary.replace(self.file)

    def change(self, **content: Any) -> None:
        """Change the file, and wait until the change is in force; nothing to do when it says so already."""
        self.content = {**self.content, **content}
        if self.file.read_text("utf-8") == json.dumps(self.content):
            return
        before = self.count("configuration in force")
        self.write(self.content)
        self.hang_up()
        wait_for(
            lambda: self.count("configuration in force") > before, f"{content} in force: {self.events[-5:]}"
        )

    def words(self) -> str:
        """After its end: what it has said that is no event."""
        self._reader.join(5)
        return "".join(self.other)

    def hang_up(self) -> None:
        self.popen.send_signal(signal.SIGHUP)

    def said(self, event: str) -> list[dict[str, Any]]:
        return [found for found in self.events if found["event"] == event]

    def count(self, event: str) -> int:
        return len(self.said(event))

    def wait(self, event: str, seconds: float = 15, count: int = 1) -> dict[str, Any]:
        wait_for(
            lambda: self.count(event) >= count or self._ended(), f"{event!r}: {self.events[-8:]}", seconds
        )
        found = self.said(event)
        assert found, f"the gateway ended without {event!r}: {self.events} {self.other}"
        return found[-1]

    def _ended(self) -> bool:
        return self.popen.poll() is not None and not self._reader.is_alive()

    def child(self, name: str) -> int:
        """The process id of `envoy` or `service`."""
        word = {"envoy": "--config-path", "service": "wardgate.service"}[name]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent(entry) == self.popen.pid and word in _command(entry):
                return int(entry.name)
        raise AssertionError(f"no child {name}")

    def signal_child(self, name: str, number: signal.Signals) -> int:
        pid = self.child(name)
        os.kill(pid, number)
        return pid

    def get(self, path: str = "/", port: int | None = None) -> tuple[int, dict[str, str], bytes]:
        """One request; raises OSError when nobody listens."""
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"connection": "close"})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def serves(self) -> bool:
        try:
            return self.get()[0] == 200
        except OSError:
            return False

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name and labels, as they are written."""
        status, _, body = self.get("/metrics", int(self.content["admin"]))
        assert status == 200
        lines = [line for line in body.decode().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def _read(self) -> None:
        assert self.popen.stderr is not None
        with self.popen.stderr as stream:
            for line in stream:
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    self.other.append(line)


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
