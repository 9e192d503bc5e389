"""
How long a change in a cluster takes to its effect, and to its status: `make bench-cluster`.

A real API server with many HTTPRoutes and policies, and one gateway, all on loopback. Absolute figures are those of this machine,
of which the API server takes its part. Prints Markdown. Takes about two minutes; `python -m tests.parts.install kubernetes` comes first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.echo import Echo
from tests.holding.cluster import CONTROLLER, DEPLOY, InCluster, conditions
from tests.parts.kubernetes import Kubernetes, Object
from tests.sending import send
from tests.service.issuer import wait_for

from wardgate.idp import IdpServer

API = "gateway.networking.k8s.io"
PATIENCE_S = 120.0


def route(number: int, hostname: str | None = None) -> Object:
    spec = {
        "parentRefs": [{"name": "public"}],
        "hostnames": [hostname or f"r{number}.test"],
        "rules": [{"backendRefs": [{"name": "app", "port": 80}]}],
    }
    return _object(f"{API}/v1", "HTTPRoute", f"r{number}", spec)


def policy(number: int, issuer: str) -> Object:
    provider = {
        "name": "idp",
        "issuer": issuer,
        "remoteJWKS": {"uri": f"{issuer}/protocol/openid-connect/certs"},
    }
    target = {"group": API, "kind": "HTTPRoute", "name": f"r{number}"}
    spec = {"targetRefs": [target], "jwt": {"providers": [provider]}}
    return _object("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy", f"r{number}", spec)


def _object(version: str, kind: str, name: str, spec: Object) -> Object:
    metadata = {"name": name} if kind == "GatewayClass" else {"name": name, "namespace": "default"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def status(port: int, host: str) -> int:
    """0 as long as nobody listens."""
    try:
        return send(port, "GET", "/", [("Host", host), ("Connection", "close")]).status
    except ConnectionRefusedError:
        return 0


def until(holds: Callable[[], bool]) -> None:
    wait_for(holds, "the change", PATIENCE_S)


class Table:
    """One cluster and one gateway."""

    def __init__(self, cluster: Kubernetes, gateway: InCluster, issuer: str) -> None:
        self.cluster = cluster
        self.gateway = gateway
        self.issuer = issuer

    def said(self, one: Object) -> bool:
        """Whether the status of the object as it is now says that it is accepted."""
        found = self.cluster.get(one)
        entries = found.get("status", {}).get("parents") or found.get("status", {}).get("ancestors") or []
        seen = [each["observedGeneration"] for entry in entries for each in entry["conditions"]]
        accepted = conditions(found).get("Accepted", ("", ""))[0] == "True"
        return accepted and set(seen) == {found["metadata"]["generation"]}

    def change(self, one: Object, holds: Callable[[], bool]) -> tuple[float, float]:
        """To effect, and to status."""
        began = time.monotonic()
        self.cluster.apply(one)
        until(holds)
        effect = time.monotonic() - began
        until(lambda: self.said(one))
        return effect, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=500)
    parser.add_argument("--policies", type=int, default=200)
    parser.add_argument("--changes", type=int, default=15)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Kubernetes.start(["wardgate"]) as cluster,
        Echo() as echo,
        IdpServer() as idp,
    ):
        cluster.apply_folder(DEPLOY / "crds")
        prepare(cluster)
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        gateway = {"gatewayClassName": "wardgate", "listeners": [listener]}
        objects = [route(number) for number in range(given.routes)]
        objects += [policy(number, idp.issuer) for number in range(given.policies)]
        cluster.apply(
            _object(f"{API}/v1", "GatewayClass", "wardgate", {"controllerName": CONTROLLER}),
            _object(f"{API}/v1", "Gateway", "public", gateway),
            _object("v1", "Service", "app", {"ports": [{"port": 80}]}),
        )
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(cluster.apply, objects))
        place = {"default/app:80": f"127.0.0.1:{echo.port}"}
        began = time.monotonic()
        with InCluster(Path(folder), cluster, place, "--set", "access-log=false") as running:
            table = Table(cluster, running, idp.issuer)
            ready = time.monotonic() - began
            until(lambda: status(running.port, f"r{given.routes - 1}.test") == 200)
            effect = time.monotonic() - began
            for one in (objects[0], objects[given.routes - 1], objects[-1]):
                until(lambda one=one: table.said(one))  # type: ignore[misc]
            written = time.monotonic() - began
            print(f"\n{given.routes} HTTPRoutes, {given.policies} SecurityPolicies\n")
            print("| from an empty start | seconds |\n| --- | --- |")
            print(f"| serving | {ready:.2f} |\n| the last route answers | {effect:.2f} |")
            print(f"| all statuses written | {written:.2f} |\n")
            changes(table, given)


def changes(table: Table, given: argparse.Namespace) -> None:
    """One object at a time, while all the others are there."""
    port, last = table.gateway.port, given.routes - 1
    routes = [
        table.change(route(last, f"new{n}.test"), lambda n=n: status(port, f"new{n}.test") == 200)  # type: ignore[misc]
        for n in range(given.changes)
    ]
    policies = []
    for n in range(given.changes):
        changed = policy(0, table.issuer)
        changed["spec"]["jwt"]["optional"] = n % 2 == 0
        wanted = 200 if n % 2 == 0 else 401
        policies.append(table.change(changed, lambda wanted=wanted: status(port, "r0.test") == wanted))  # type: ignore[misc]
    print("| a change, median of", given.changes, "(longest) | to effect | to status |\n| --- | --- | --- |")
    for name, found in (("one HTTPRoute", routes), ("one SecurityPolicy", policies)):
        cells = [
            f"{statistics.median(times) * 1000:.0f} ms ({max(times) * 1000:.0f})"
            for times in zip(*found, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def prepare(cluster: Kubernetes) -> None:
    """The gateway's rights are not what is measured."""
    binding = _object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "all", {})
    del binding["spec"], binding["metadata"]["namespace"]
    binding["roleRef"] = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "cluster-admin",
    }
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "wardgate"}
    cluster.apply(
        {**binding, "subjects": [subject]},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "wardgate"}},
    )


if __name__ == "__main__":
    main()
