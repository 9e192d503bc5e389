"""A gateway that runs on a folder of Kubernetes manifests, as `wardgate run -c DIR` does without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Final, cast
from urllib.parse import urlsplit

from tests.holding.running import Content, Running
from tests.parts import PROJECT
from tests.parts.loopback import free_port
from tests.sending import Answer, Body

GATEWAY: Final = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public}
spec:
  gatewayClassName: any
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: app}
"""


VERSIONS: Final = {
    "SecurityPolicy": "gateway.envoyproxy.io/v1alpha1",
    "AgentgatewayPolicy": "agentgateway.dev/v1alpha1",
}


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

    def at(
        self, host: str, *headers: tuple[str, str], path: str = "/x", method: str = "GET", body: int = 0
    ) -> Answer:
        """One request for HOST.test."""
        sent = Body(size_bytes=body) if body else None
        return self.ask(
            path,
            method=method,
            headers=[("Host", f"{host}.test"), ("Connection", "close"), *headers],
            body=sent,
        )

    @property
    def command(self) -> list[str]:
        return [*super().command, f"--set=admin=127.0.0.1:{self.admin_port}"]

    def write(self, content: Any) -> None:
        self.file = self.folder / "manifests"
        self.file.mkdir(exist_ok=True)
        for name, text in content.items():
            (self.file / name).write_text(text, "utf-8")


def before_app(folder: Path, routes: str, ports: Mapping[str, str], **services: str) -> Manifests:
    """GATEWAY and these routes. `ports` of the Service app are at these URLs, port 80 of other Services at theirs."""
    found = {f"app:{port}": url for port, url in ports.items()}
    found |= {f"{service}:80": url for service, url in services.items()}
    resolve = {f"default/{service}": urlsplit(url).netloc for service, url in found.items()}
    return Manifests(folder, {"gateway.yaml": GATEWAY, "routes.yaml": routes}, resolve, {})


def routed(name: str, rules: str, *hosts: str) -> str:
    """An HTTPRoute with these rules on NAME.test, or these hosts."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: public}}]
  hostnames: [{", ".join(hosts or (f"{name}.test",))}]
  rules: {rules}
"""


def guarded(name: str, kind: str, spec: str, *hosts: str, path: str = "/") -> str:
    """
    An HTTPRoute from this path on NAME.test, or these hosts, to the Service app, and a policy of this kind for it: `spec` is what
    it says beside its target.
    """
    rules = f"[{{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: app, port: 80}}]}}]"
    return routed(name, rules, *hosts) + attached(name, kind, spec)


def attached(name: str, kind: str, spec: str) -> str:
    """A policy of this kind for the HTTPRoute of its name."""
    return f"""---
apiVersion: {VERSIONS[kind]}
kind: {kind}
metadata: {{name: {name}}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]
{indent(dedent(spec).strip(), "  ")}
"""


def placed(port: int, resolve: Mapping[str, str]) -> list[str]:
    """Port 80 of Gateways is `port` on loopback, and Services are where `resolve` says."""
    places = [f"--resolve={service}={place}" for service, place in resolve.items()]
    return [f"--listen-offset={port - 80}", "--set=listen-host=127.0.0.1", *places]


def example(name: str) -> dict[str, str]:
    """The manifests of a folder of `examples`."""
    return {file.name: file.read_text("utf-8") for file in (PROJECT / "examples" / name).glob("*.yaml")}
