"""A gateway that serves a cluster, as `wardgate kubernetes` does, and what the cluster says of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.gateway import COMMAND
from tests.holding.running import Running
from tests.parts import PROJECT
from tests.parts.kubernetes import Kubernetes, Object
from tests.parts.loopback import free_port

CONTROLLER = "wardgate.dev/gateway-controller"
DEPLOY = PROJECT / "deploy" / "kubernetes"
USER = "wardgate"


class InCluster(Running):
    """Gateways listen on port 80, which is `port` here; Services are where `resolve` says (`NAMESPACE/NAME:PORT`)."""

    def __init__(
        self,
        folder: Path,
        cluster: Kubernetes,
        resolve: Mapping[str, str],
        *arguments: str,
        port: int = 0,
        user: str = USER,
    ) -> None:
        port = port or free_port()
        told = [f"--resolve={service}={place}" for service, place in resolve.items()]
        self.admin = free_port()
        settings = ("--set", "listen-host=127.0.0.1", "--set", f"admin=127.0.0.1:{self.admin}")
        where = (
            "--allow-internal-issuers",
            "--kubeconfig",
            str(cluster.kubeconfig(user)),
            "--lease",
            "wardgate/lease",
        )
        offset = f"--listen-offset={port - 80}"
        super().__init__(folder, {}, *where, offset, *settings, *told, *arguments, port=port)

    def start(self) -> None:
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [str(COMMAND), "kubernetes", *self._arguments],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )


def deployed(file: str) -> list[Object]:
    """The manifests of a file of `deploy/kubernetes`."""
    text = (DEPLOY / file).read_text("utf-8")
    return [
        json.loads(json.dumps(one, default=str)) for one in YAML(typ="safe", pure=True).load_all(text) if one
    ]


def conditions(found: Object) -> dict[str, tuple[str, str]]:
    """Status and reason by type, of the only parent or ancestor, or of the object itself."""
    status: dict[str, Any] = found.get("status") or {}
    entries = (*status.get("parents", ()), *status.get("ancestors", ()))
    ours = [one for one in entries if one["controllerName"] == CONTROLLER]
    said = ours[0]["conditions"] if ours else status.get("conditions", ())
    return {one["type"]: (one["status"], one["reason"]) for one in said}
