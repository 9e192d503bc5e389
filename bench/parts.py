"""
The parts that are measured: a bare Envoy, Wardgate, and other gateways where their programs are on PATH.

Each is a command on the measured core before the same upstream; each is asked the same request, on a path that S0
protects, by the same person.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from issuer import CLIENT, Issuer
from processes import Cores, Part, pinned
from sessions import logged_in
from tests.parts.loopback import free_port

HERE = Path(__file__).parent
S0 = HERE.parent / "examples" / "s0-gatekeeper"
PATH = "/api/v1/user/x"
SECRET = "not-a-secret-on-loopback"
COOKIE_KEY = "0123456789abcdef0123456789abcdef"

ENVOY_LOG = {
    "name": "stdout",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all parts share. `command` starts Wardgate; `token` is whose requests are measured."""

    cores: Cores
    issuer: Issuer
    token: str
    folder: Path
    command: Sequence[str]
    upstream_port: int

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.upstream_port}"

    @property
    def headers(self) -> dict[str, str]:
        """As S0's requests come: from a proxy that ended TLS."""
        return {"Authorization": f"Bearer {self.token}", "X-Forwarded-Proto": "https"}

    def start(self, name: str, command: Iterable[str], port: int, path: str = PATH, **env: str) -> Part:
        log = self.folder / f"{name.replace(' ', '-').replace(',', '')}.log"
        url = f"http://127.0.0.1:{port}{path}"
        measured = pinned(self.cores.measured, list(command))
        return Part.start(name, measured, url, log, headers=self.headers, env=env)


@contextmanager
def prepared(command: Sequence[str]) -> Iterator[Bench]:
    """A folder, an issuer and the upstream, for as long as the block runs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wardgate-bench-")))
        issuer = stack.enter_context(Issuer())
        cores, port = Cores.of_this_machine(), free_port()
        config = envoy_config("upstream-envoy.json", port)
        serve = pinned(cores.upstream, envoy(folder, "upstream", config))
        upstream = Part.start("upstream", serve, f"http://127.0.0.1:{port}/", folder / "upstream.log")
        stack.callback(upstream.stop)
        token = issuer.tokens(1)[0]
        yield Bench(
            cores=cores, issuer=issuer, token=token, folder=folder, command=command, upstream_port=port
        )


def raw_envoy(bench: Bench, name: str = "raw Envoy", *, log: bool = False) -> Part:
    """`raw-envoy.json` as it is committed: default settings, one worker."""
    port = free_port()
    config = envoy_config("raw-envoy.json", port, bench.upstream_port)
    if log:
        connection_manager(config)["access_log"] = [ENVOY_LOG]
    return bench.start(name, envoy(bench.folder, name.replace(" ", "-"), config), port)


def wardgate_s0(bench: Bench, name: str = "Wardgate", *, log: bool = False) -> Part:
    """
    S0's policy from its own two files, with all its guards.

    `skip-authorization-header-identity` is off, since a bearer is what is measured; the rest is addresses.
    """
    files = ("gatekeeper.yaml", "gatekeeper-extra.yaml")
    settings = {
        "discovery-url": bench.issuer.discovery_url,
        "upstream-url": bench.upstream,
        "skip-authorization-header-identity": "false",
        "enable-logging": "true" if log else "false",
    }
    return wardgate(bench, name, [S0 / file for file in files], settings)


def wardgate_routes(bench: Bench, name: str, count: int) -> Part:
    """A policy of `count` routes, each with its own rule; the load goes to the last of them."""
    file = bench.folder / f"routes-{count}.yaml"
    file.write_text(_many_routes(bench, count), encoding="utf-8")
    return wardgate(bench, name, [file], {"access-log": "false"}, path=f"/r{count:05}/x")


def wardgate_sessions(bench: Bench, name: str, count: int) -> tuple[Part, list[str]]:
    """A policy like S0's with sessions on this machine, `count` of which are there: the part, and their cookies."""
    state = Path(tempfile.mkdtemp(prefix="state-", dir=bench.folder))
    cookies = logged_in(state / "sessions.sqlite", COOKIE_KEY, bench.issuer, count)
    file = bench.folder / "sessions.yaml"
    file.write_text(_with_sessions(bench), encoding="utf-8")
    return wardgate(bench, name, [file], {"access-log": "false"}, state=str(state)), cookies


SESSION = ("Cookie", "wardgate-session=")

HEADERS = {
    "X-Auth-Audience": "aud",
    "X-Auth-Email": "email",
    "X-Auth-ExpiresIn": "exp",
    "X-Auth-Groups": "groups",
    "X-Auth-Roles": "realm_access.roles",
    "X-Auth-Subject": "sub",
    "X-Auth-Userid": "preferred_username",
    "X-Auth-Name": "name",
}
"""Eight, as S0 has them."""


def _with_sessions(bench: Bench) -> str:
    """JSON, which is YAML."""
    return json.dumps(
        {
            "provider": {
                "issuer": bench.issuer.url,
                "audience": CLIENT,
                "client-id": CLIENT,
                "client-secret": SECRET,
            },
            "session": {
                "cookie": {"secure": False},
                "encryption-key": COOKIE_KEY,
                "redirection-url": "http://127.0.0.1:3000",
                "forward-authorization": False,
            },
            "upstream": bench.upstream,
            "identity-headers": HEADERS,
            "routes": [
                {"path": "/health", "public": True},
                {"path": "/api/v1/public/*", "public": True},
                {"path": "/api/v1/admin/*", "roles": ["admin"]},
                {"path": "/api/v1/user/*", "roles": ["offline_access", "admin"]},
            ],
        }
    )


def wardgate(
    bench: Bench,
    name: str,
    files: Iterable[Path],
    settings: dict[str, str],
    path: str = PATH,
    state: str = "",
) -> Part:
    port, admin = free_port(), free_port()
    addresses = {"listen": f"127.0.0.1:{port}", _admin_key(settings): f"127.0.0.1:{admin}"}
    command = [*bench.command, "run", "--concurrency", "1", "--trusted-proxies", "127.0.0.1/32"]
    command += [word for file in files for word in ("-c", str(file))]
    command += [
        word for key, value in {**settings, **addresses}.items() for word in ("--set", f"{key}={value}")
    ]
    state = state or tempfile.mkdtemp(prefix="state-", dir=bench.folder)
    env = {
        "WARDGATE_STATE_DIR": state,
        "KEYCLOAK_CLIENT_SECRET": SECRET,
        "ENCRYPTION_KEY": COOKIE_KEY,
    }
    return bench.start(name, command, port, path, **env)


def _admin_key(settings: dict[str, str]) -> str:
    return "listen-admin" if "discovery-url" in settings else "admin"


def _many_routes(bench: Bench, count: int) -> str:
    routes = [f"  - {{path: /r{number:05}/**, roles: [offline_access]}}" for number in range(1, count + 1)]
    head = [
        f"provider: {{issuer: {bench.issuer.url}, audience: {CLIENT}}}",
        f"upstream: {bench.upstream}",
        "routes:",
    ]
    return "\n".join([*head, *routes, ""])


# --- other gateways


def others(bench: Bench) -> Iterator[Callable[[], Part]]:
    """How those are started whose programs are here: they let the same bearer through to the same upstream."""
    if shutil.which("gatekeeper"):
        yield lambda: _gatekeeper(bench)
    if shutil.which("oauth2-proxy"):
        yield lambda: _oauth2_proxy(bench)


def _gatekeeper(bench: Bench) -> Part:
    port = free_port()
    options = (
        f"--discovery-url={bench.issuer.url}",
        f"--client-id={CLIENT}",
        f"--client-secret={SECRET}",
        f"--encryption-key={COOKIE_KEY}",
        f"--listen=127.0.0.1:{port}",
        f"--upstream-url={bench.upstream}",
        "--no-redirects=true",
        "--enable-logging=false",
        "--resources=uri=/api/v1/user/*",
    )
    return bench.start("gatekeeper", ["gatekeeper", *options], port, GOMAXPROCS="1")


def _oauth2_proxy(bench: Bench) -> Part:
    port = free_port()
    options = (
        "--provider=oidc",
        f"--oidc-issuer-url={bench.issuer.url}",
        f"--client-id={CLIENT}",
        f"--client-secret={SECRET}",
        f"--cookie-secret={COOKIE_KEY}",
        f"--http-address=127.0.0.1:{port}",
        f"--upstream={bench.upstream}",
        "--skip-jwt-bearer-tokens=true",
        "--email-domain=*",
        "--request-logging=false",
        "--auth-logging=false",
    )
    return bench.start("oauth2-proxy", ["oauth2-proxy", *options], port, GOMAXPROCS="1")


# --- Envoy


_numbers = itertools.count()
"""No two Envoys of one machine may have the same."""


def envoy(folder: Path, name: str, config: dict[str, Any]) -> list[str]:
    """The same binary that Wardgate runs, started beside any other."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    binary = str(Path(sys.executable).with_name("envoy"))
    identity = str(os.getpid() * 100 % 10**8 + next(_numbers))
    return [binary, "-c", str(file), "--concurrency", "1", "--base-id", identity, "--log-level", "warning"]


def envoy_config(file: str, port: int, upstream_port: int = 0) -> dict[str, Any]:
    """A committed configuration with the ports of this run."""
    config: dict[str, Any] = json.loads((HERE / file).read_text(encoding="utf-8"))
    listener = config["static_resources"]["listeners"][0]
    listener["address"]["socket_address"]["port_value"] = port
    for cluster in config["static_resources"].get("clusters", []):
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = upstream_port
    return config


def connection_manager(config: dict[str, Any]) -> dict[str, Any]:
    filters = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    manager: dict[str, Any] = filters[0]["typed_config"]
    return manager
