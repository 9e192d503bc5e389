"""
A real Kubernetes API: kube-apiserver, built from its Go module, on Debian's etcd, both on loopback.

No controller runs beside them: nothing collects garbage, and no Service has endpoints unless somebody writes them. Requests
are authorized by RBAC; `admin` may do everything.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tests.parts import CACHE, Missing, go
from tests.parts.loopback import free_port

VERSION: Final = "1.36.3"
GATEWAY_API: Final = "1.4.1"
FOLDER: Final = CACHE / f"kubernetes-{VERSION}"
PROGRAM: Final = FOLDER / "kube-apiserver"
CRDS: Final = CACHE / f"gateway-api-{GATEWAY_API}"
START_S: Final = 60.0

Object = dict[str, Any]


def install() -> None:
    """Raises `Missing` when it cannot be built here."""
    if not PROGRAM.exists():
        source = go.module("k8s.io/kubernetes", f"v{VERSION}", CACHE)
        go.build(PROGRAM, "k8s.io/kubernetes/cmd/kube-apiserver", _module(source), minutes=5)
    if not CRDS.exists():
        source = go.module("sigs.k8s.io/gateway-api", f"v{GATEWAY_API}", CACHE)
        partial = CRDS.with_suffix(".copying")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in (source / "config" / "crd" / "standard").glob("gateway.networking.k8s.io_*.yaml"):
            (partial / file.name).write_bytes(file.read_bytes())
        partial.rename(CRDS)


def _module(source: Path) -> str:
    """A module that requires the API server: its own go.mod points at folders beside it for what is staged there."""
    staged = re.findall(r"^\s*(k8s\.io/\S+) => \./staging", (source / "go.mod").read_text("utf-8"), re.M)
    version = f"v0.{VERSION.partition('.')[2]}"
    replaced = "\n".join(f"\t{one} => {one} {version}" for one in staged)
    return f"""
module wardgate.test/kubernetes

go 1.26

require k8s.io/kubernetes v{VERSION}

replace (
{replaced}
)
"""


class Refused(Exception):
    """The API server's answer to a request that it did not do."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:2000]}")
        self.status = status
        self.body = body


@dataclass(slots=True, kw_only=True)
class Kubernetes:
    """A running API server."""

    folder: Path
    port: int
    etcd_port: int
    token: str
    users: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False)

    @classmethod
    def start(cls, users: Sequence[str] = ()) -> Self:
        """A new, empty one, with the Gateway API's CRDs. `users` have a token each, and may do what RBAC says."""
        if not PROGRAM.exists() or shutil.which("etcd") is None:
            raise Missing("kube-apiserver is not installed: python -m tests.parts.install kubernetes")
        server = cls(
            folder=Path(tempfile.mkdtemp(prefix="kubernetes-")),
            port=free_port(),
            etcd_port=free_port(),
            token=secrets.token_hex(16),
            users={name: secrets.token_hex(16) for name in users},
        )
        try:
            server._prepare()
            server.restart()
            server.apply_folder(CRDS)
        except BaseException:
            server.stop()
            raise
        return server

    def _prepare(self) -> None:
        from tests.holding.certificates import Authority

        authority = Authority("kubernetes").write(self.folder / "ca.pem")
        authority.pair("127.0.0.1").write(self.folder)
        tokens = [f'{self.token},admin,1,"system:masters"']
        tokens += [f"{token},{name},{name}" for name, token in self.users.items()]
        (self.folder / "tokens.csv").write_text("\n".join(tokens), "utf-8")

    def restart(self) -> None:
        """Run both; return when the API server says that it is ready."""
        peer = free_port()
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        if "etcd" not in self.processes:
            self._run(
                "etcd",
                "etcd",
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-cluster=default=http://127.0.0.1:{peer}",
                "--unsafe-no-fsync",
            )
        self._run(
            "kube-apiserver",
            str(PROGRAM),
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.folder / 'tls.crt'}",
            f"--tls-private-key-file={self.folder / 'tls.key'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'tls.crt'}",
            f"--service-account-signing-key-file={self.folder / 'tls.key'}",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        )
        self._wait()

    def _run(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.ask("GET", "/readyz")
                return
            except (OSError, Refused) as error:
                process = self.processes["kube-apiserver"]
                if time.monotonic() > deadline or process.poll() is not None:
                    log = (self.folder / "kube-apiserver.log").read_text("utf-8", "replace")[-3000:]
                    raise TimeoutError(f"the API server is not ready ({error}):\n{log}") from error
                time.sleep(0.1)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig(self, user: str = "admin") -> Path:
        """A file that lets a client in as this user."""
        token = self.token if user == "admin" else self.users[user]
        path = self.folder / f"kubeconfig-{user}"
        path.write_text(kubeconfig(self.url, token, self.folder / "ca.pem"), "utf-8")
        return path

    # --- requests

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        """What the API answers. Raises `Refused`, or OSError when nobody does."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", kind)
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode("utf-8", "replace")) from error
        return json.loads(content) if content[:1] in (b"{", b"[") else content.decode()

    def apply(self, *objects: Object) -> None:
        """Server-side apply, as `kubectl apply --server-side --force-conflicts`."""
        for one in objects:
            path = f"{self.path(one)}?fieldManager=test&force=true"
            self._patiently("PATCH", path, one, "application/apply-patch+yaml")

    def _patiently(self, method: str, path: str, body: object, kind: str) -> None:
        """A kind whose CRD came a moment ago is not there yet."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.ask(method, path, body, kind)
                return
            except Refused as error:
                if error.status not in (404, 429, 500, 503) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def apply_folder(self, folder: Path) -> None:
        """Every manifest of a folder, by name."""
        from ruamel.yaml import YAML

        for file in sorted(folder.glob("*.yaml")):
            for one in YAML(typ="safe", pure=True).load_all(file.read_text("utf-8")):
                if one:
                    self.apply(json.loads(json.dumps(one, default=str)))

    def get(self, one: Object) -> Object:
        found: Object = self.ask("GET", self.path(one))
        return found

    def delete(self, one: Object) -> None:
        self.ask("DELETE", self.path(one))

    @staticmethod
    def path(one: Object) -> str:
        """The URL path of an object."""
        version, kind, metadata = one["apiVersion"], one["kind"], one["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        return f"{root}{namespace}/{plural(kind)}/{metadata['name']}"

    # --- faults

    def stop_api(self) -> None:
        """The API server ends; etcd keeps what there is."""
        process = self.processes.pop("kube-apiserver")
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def kubeconfig(server: str, token: str, authority: Path | None = None) -> str:
    """What lets a client in with this token, at a server whose certificate that authority signed."""
    cluster = {"server": server} | ({"certificate-authority": str(authority)} if authority else {})
    written = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    return json.dumps(written)


def plural(kind: str) -> str:
    lower = kind.lower()
    if lower.endswith("y") and not lower.endswith("ay"):
        return lower[:-1] + "ies"
    return lower + ("es" if lower.endswith(("s", "x")) else "s")
