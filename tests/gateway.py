"""
`wardgate run` as a process of its own, on free ports of 127.0.0.1: what the tests send their requests to.

Nothing of the gateway is imported: it is the installed command, judged from outside.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from tests.parts.loopback import answers, free_port

COMMAND = Path(sys.executable).with_name("wardgate")
READY_LIMIT = timedelta(seconds=40)  # the first keys may take 30 s (issue: lazy discovery)
STOP_LIMIT = timedelta(seconds=60)


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A running gateway: `port` is its listener's, `admin_port` serves /metrics."""

    port: int
    admin_port: int
    process: subprocess.Popen[bytes]
    folder: tempfile.TemporaryDirectory[str]

    @classmethod
    def start(cls, files: Sequence[Path], *arguments: str, env: Mapping[str, str]) -> Self:
        """
        Run with these configuration files, then `arguments`; return when /oauth/health answers.

        The addresses of both listeners are set here. Each run has a state folder of its own.
        """
        folder = tempfile.TemporaryDirectory(prefix="wardgate-")
        port, admin_port = free_port(), free_port()
        command = [str(COMMAND), "run", *(word for file in files for word in ("-c", str(file))), *arguments]
        command += ["--set", f"listen=127.0.0.1:{port}", "--set", f"listen-admin=127.0.0.1:{admin_port}"]
        with Path(folder.name, "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, "WARDGATE_STATE_DIR": f"{folder.name}/state", **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, children included
            )
        gateway = cls(port=port, admin_port=admin_port, process=process, folder=folder)
        try:
            gateway.wait_until(lambda: answers(f"http://127.0.0.1:{port}/oauth/health"), "it is ready")
        except BaseException:
            gateway.stop()
            raise
        return gateway

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Poll until `holds()`. Raises, with the log, when the gateway ends or it takes too long."""
        deadline = time.monotonic() + READY_LIMIT.total_seconds()
        while not holds():
            if self.process.poll() is not None:
                raise RuntimeError(f"the gateway ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {READY_LIMIT} until {what}; the gateway's log:\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        """Everything that it has said, on both of its outputs."""
        return Path(self.folder.name, "log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Ask it to end as a service manager would (SIGTERM), and return its exit code. Twice is nothing."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_LIMIT.total_seconds())
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()
        finally:
            self.folder.cleanup()
