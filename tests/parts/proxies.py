"""
Other proxies, each on a configuration file of `examples/` with its addresses changed: they ask Wardgate about requests.

    with Proxy.start("nginx", file, {8080: port, 8081: gateway.port, 9000: application.port}) as proxy:
        requests go to proxy.url

Every `:N` (in JSON `"port_value": N`) in the file stands for the port that is given for N; the first that is given is where the proxy listens.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from tests.parts import Missing, traefik
from tests.parts.loopback import listens

START_LIMIT: Final = timedelta(seconds=20)

PROGRAMS: Final[Mapping[str, Sequence[str]]] = {
    "nginx": (
        "/usr/sbin/nginx",
        "-p",
        "{folder}",
        "-c",
        "{file}",
        "-e",
        "{folder}/error.log",
        "-g",
        "{globals}",
    ),
    "caddy": ("/usr/bin/caddy", "run", "--config", "{file}", "--adapter", "caddyfile"),
    "haproxy": ("/usr/sbin/haproxy", "-db", "-f", "{file}"),
    "traefik": (str(traefik.PROGRAM), "--configFile={file}"),
    "envoy": (
        str(Path(sys.executable).with_name("envoy")),
        "-c",
        "{file}",
        "--base-id",
        "{number}",
        "-l",
        "warning",
    ),
}


class Proxy:
    """One that runs; `url` ends without a slash."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
        self._process = process
        self._folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @classmethod
    def start(cls, program: str, file: Path, ports: Mapping[int, int]) -> Self:
        """Copies the file's whole folder, so that what it includes is beside it."""
        command = PROGRAMS[program]
        if shutil.which(command[0]) is None:
            raise Missing(f"{program} is not installed: python -m tests.parts.install {program}")
        folder = Path(tempfile.mkdtemp(prefix=f"{program}-"))
        folder.chmod(0o755)  # as root, nginx's worker is another user
        written = re.compile(rf"(:|port_value\": )({'|'.join(map(str, ports))})\b")
        for one in file.parent.iterdir():
            text = written.sub(lambda found: f"{found[1]}{ports[int(found[2])]}", one.read_text("utf-8"))
            (folder / one.name).write_text(text, "utf-8")
        user = "user nobody nogroup; " if os.geteuid() == 0 else ""
        words = {
            "folder": str(folder),
            "file": str(folder / file.name),
            "number": str(ports[next(iter(ports))]),
            "globals": f"{user}daemon off; pid {folder}/pid;",
        }
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(
                [word.format(**words) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=folder,
                env={**os.environ, "HOME": str(folder)},
            )
        running = cls(process, folder, ports[next(iter(ports))])
        running._wait()
        return running

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def said(self) -> str:
        logs = [self._folder / name for name in ("said", "error.log")]
        return "".join(log.read_text("utf-8", "replace") for log in logs if log.exists())

    def _knows_nothing(self) -> bool:
        """Traefik listens before it has read what it serves, and says 404 meanwhile."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            return connection.getresponse().status == 404

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT.total_seconds()
        while not listens(self.port) or self._knows_nothing():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self.said()
                self.__exit__()
                raise RuntimeError(f"it did not start; it said:\n{said}")
            time.sleep(0.02)
