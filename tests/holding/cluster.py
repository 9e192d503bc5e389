"""A gateway that serves a cluster, as `wardgate kubernetes` does, and what the cluster says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.holding.manifests import placed
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
        user: str = USER,
    ) -> None:
        port = free_port()
        where = ("--kubeconfig", str(cluster.kubeconfig(user)), "--lease", "wardgate/lease")
        places = placed(port, resolve)
        super().__init__(folder, {}, "--allow-internal-issuers", *where, *places, *arguments, port=port)

    @property
    def command(self) -> list[str]:
        return ["kubernetes", f"--set=admin=127.0.0.1:{self.admin_port}"]


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
