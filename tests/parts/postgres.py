"""
Real Postgres on loopback: one server in a folder of its own, which ends with `stop()`. `kill()` is what a crash is.

It refuses to run as root; then it runs as the user whom its package brings along.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.parts import Missing
from tests.parts.loopback import free_port
from tests.parts.redis import wait_until

PLACES = "/usr/lib/postgresql"
USER = "postgres"


def programs() -> Path | None:
    """The folder of the newest version's programs."""
    found = sorted(Path(PLACES).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@dataclass(slots=True, kw_only=True)
class Postgres:
    """A running server with an empty database `aip`."""

    port: int
    folder: Path
    bin: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def start(cls) -> Self:
        where = programs()
        if where is None:
            raise Missing("Postgres is not installed: python -m tests.parts.install postgres")
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        server = cls(port=free_port(), folder=folder, bin=where)
        try:
            if server.user:
                shutil.chown(folder, server.user)
            server.run(
                "initdb", "-D", str(folder / "data"), "-U", "aip", "-A", "trust", "--no-sync", "-E", "UTF8"
            )
            server.restart()
            server.run("createdb", "-h", "127.0.0.1", "-p", str(server.port), "-U", "aip", "aip")
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def user(self) -> str | None:
        return USER if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://aip:secret-word@127.0.0.1:{self.port}/aip"

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            user=self.user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def query(self, text: str) -> str:
        return self.run(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "aip", "-Atc", text, "aip"
        ).strip()

    def restart(self) -> None:
        """Run again, with what is on disk; return when it answers."""
        command = [str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        command += ["-k", str(self.folder), "-c", "listen_addresses=127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                user=self.user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.answers, "Postgres answers", self.log)

    def answers(self) -> bool:
        ready = [str(self.bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, capture_output=True, check=False, timeout=10).returncode == 0

    def kill(self) -> None:
        """SIGKILL of the server and of those who serve its connections: a crash."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")[-3000:]

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
