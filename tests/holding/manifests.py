"""A gateway that runs on a folder of Kubernetes manifests, as `wardgate run -c DIR` does without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tests.holding.running import Content, Running
from tests.parts import PROJECT
from tests.parts.loopback import free_port


class Manifests(Running):
    """`files` are manifests by file name. Gateways listen on port 80, which is `port` here; Services are where `resolve` says."""

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, str],
        resolve: Mapping[str, str],
        env: Mapping[str, str],
        port: int = 0,
    ) -> None:
        port = port or free_port()
        super().__init__(folder, cast(Content, files), *placed(port, resolve), env=env, port=port)

    @property
    def command(self) -> list[str]:
        return [*super().command, f"--set=admin=127.0.0.1:{self.admin_port}"]

    def write(self, content: Any) -> None:
        self.file = self.folder / "manifests"
        self.file.mkdir(exist_ok=True)
        for name, text in content.items():
            (self.file / name).write_text(text, "utf-8")


def placed(port: int, resolve: Mapping[str, str]) -> list[str]:
    """Port 80 of Gateways is `port` on loopback, and Services are where `resolve` says."""
    places = [f"--resolve={service}={place}" for service, place in resolve.items()]
    return [f"--listen-offset={port - 80}", "--set=listen-host=127.0.0.1", *places]


def example(name: str) -> dict[str, str]:
    """The manifests of a folder of `examples`."""
    return {file.name: file.read_text("utf-8") for file in (PROJECT / "examples" / name).glob("*.yaml")}
