"""
Real Redis on loopback: one server, with or without TLS, and a cluster of three masters with a replica each.

Everything lies in a folder of its own and ends with `stop()`. `kill()` is what a crash is: what the append-only file does
not hold yet is lost.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.parts import Missing
from tests.parts.loopback import free_port

START_S = 15.0
NODE_TIMEOUT_MS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files in PEM: the server's pair, and the authority of both sides' certificates."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(slots=True, kw_only=True)
class Redis:
    """A running server."""

    port: int
    folder: Path
    options: Sequence[str]
    tls: Certificates | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def start(
        cls, *options: str, port: int = 0, appendonly: bool = True, tls: Certificates | None = None
    ) -> Self:
        """A new server that answers; `options` are those of redis-server."""
        if shutil.which("redis-server") is None:
            raise Missing("Redis is not installed: python -m tests.parts.install redis")
        port = port or free_port()
        folder = Path(tempfile.mkdtemp(prefix="redis-"))
        written = ["--appendonly", "yes" if appendonly else "no", "--save", "", *options]
        server = cls(port=port, folder=folder, options=written, tls=tls)
        try:
            server.restart()
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def url(self) -> str:
        return f"redis{'s' if self.tls else ''}://127.0.0.1:{self.port}/0"

    def restart(self) -> None:
        """Run again, with what is on disk; return when it answers."""
        plain = 0 if self.tls else self.port
        command = ["redis-server", "--port", str(plain), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        if self.tls:
            command += ["--tls-port", str(self.port), "--tls-cert-file", str(self.tls.certificate)]
            command += ["--tls-key-file", str(self.tls.key), "--tls-ca-cert-file", str(self.tls.ca)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: self.ask("ping") == "PONG", "Redis answers", self.log)

    def ask(self, *words: str) -> str:
        """What redis-cli prints; empty when nobody answers."""
        command = ["redis-cli", "-p", str(self.port), *words]
        if self.tls:
            command[1:1] = ["--tls", "--cacert", str(self.tls.ca), "--cert", str(self.tls.certificate)]
            command[1:1] = ["--key", str(self.tls.key)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    def kill(self) -> None:
        """SIGKILL: a crash."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """It accepts connections and answers nothing."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")[-3000:]

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(slots=True, kw_only=True)
class RedisCluster:
    """Three masters with a replica each."""

    nodes: list[Redis]

    @classmethod
    def start(cls) -> Self:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        cluster = cls(nodes=[])
        try:
            for _ in range(6):
                cluster.nodes.append(Redis.start(*options, "--cluster-port", str(free_port())))
            addresses = [f"127.0.0.1:{node.port}" for node in cluster.nodes]
            create = [
                "redis-cli",
                "--cluster",
                "create",
                *addresses,
                "--cluster-replicas",
                "1",
                "--cluster-yes",
            ]
            subprocess.run(create, check=True, capture_output=True, timeout=60)
            wait_until(cluster.whole, "the cluster is whole", cluster.nodes[0].log)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @property
    def url(self) -> str:
        """Of one node that runs: the others are found through it."""
        return next(node for node in self.nodes if node.process and node.process.poll() is None).url

    def whole(self) -> bool:
        """Every node that runs says that all slots are served, and each master has its replica."""
        alive = [node for node in self.nodes if node.process and node.process.poll() is None]
        states = [node.ask("cluster", "info") for node in alive]
        links = sum("master_link_status:up" in node.ask("info", "replication") for node in alive)
        return all("cluster_state:ok" in state for state in states) and links >= 3

    def serves(self) -> bool:
        """All slots are served, by whichever nodes."""
        alive = [node for node in self.nodes if node.process and node.process.poll() is None]
        return all("cluster_state:ok" in node.ask("cluster", "info") for node in alive)

    def a_master(self) -> Redis:
        """One that runs."""
        for node in self.nodes:
            if (
                node.process
                and node.process.poll() is None
                and "role:master" in node.ask("info", "replication")
            ):
                return node
        raise RuntimeError("no master runs")

    def kill_master(self) -> Redis:
        """End one master at once; its replica takes over after the node timeout."""
        node = self.a_master()
        node.kill()
        return node

    def pause_master(self) -> Redis:
        """Let one master hang: connections to it are not refused. Its replica takes over all the same."""
        node = self.a_master()
        node.pause()
        return node

    def stop(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(OSError):
                node.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_until(holds: Callable[[], bool], what: str, log: Callable[[], str]) -> None:
    """Poll. Raises TimeoutError with the log."""
    deadline = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {START_S} s until {what}:\n{log()}")
        time.sleep(0.05)
