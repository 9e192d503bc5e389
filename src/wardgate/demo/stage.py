"""Sets the demo up, says what to try, shows decisions, and takes it down again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TextIO

from wardgate.demo.application import Application
from wardgate.demo.decisions import readable
from wardgate.idp import IdpServer, Realm, default_realm
from wardgate.problems import ConfigError, Problem, Unavailable
from wardgate.supervisor.child import dies_with

START_SECONDS = 30.0

CLIENT = "demo-gateway"

CODES: Mapping[str, str] = {
    "port-in-use": "Another program listens on one of the demo's ports; each has an option to change it.",
}
"""What can keep the demo from starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The demo's ports on 127.0.0.1, each with its own setting."""

    gateway: int = 3000
    metrics: int = 9090
    application: int = 8081
    idp: int = 9081

    def settings(self) -> Mapping[str, int]:
        return {
            "--port": self.gateway,
            "--metrics-port": self.metrics,
            "--application-port": self.application,
            "--idp-port": self.idp,
        }


def play(ports: Ports, out: TextIO) -> int:
    """Run the demo until Ctrl-C; the exit code. Raises ConfigError for a port in use."""
    _require_free(ports)
    for number in (signal.SIGINT, signal.SIGTERM):  # ended in order either way, in the background, too
        signal.signal(number, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        idp = stack.enter_context(IdpServer(_realm(ports.gateway), port=ports.idp))
        stack.enter_context(Application(ports.application))
        state = stack.enter_context(tempfile.TemporaryDirectory(prefix="wardgate-demo-"))
        config = stack.enter_context(as_file(files("wardgate.demo") / "wardgate.yaml"))
        gateway = stack.enter_context(_gateway(config, ports, idp.issuer, Path(state)))
        return _show(gateway, ports, idp.issuer, config, out)


def _realm(gateway: int) -> Realm:
    """The built-in realm, whose client is told of logouts at the gateway's port."""
    realm = default_realm()
    client = realm.clients[CLIENT]
    login = replace(client.login, backchannel_url=f"http://127.0.0.1:{gateway}/oauth/backchannel_logout")
    return replace(realm, clients={**realm.clients, CLIENT: replace(client, login=login)})


def _require_free(ports: Ports) -> None:
    problems = []
    for option, port in ports.settings().items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                hint = f"end the other program, or choose another port: wardgate demo {option} {port + 1000}"
                message = f"another program listens on 127.0.0.1:{port}"
                problems.append(Problem(code="port-in-use", message=message, hint=hint))
    if problems:
        raise ConfigError(problems)


@contextlib.contextmanager
def _gateway(config: Path, ports: Ports, issuer: str, state: Path) -> Iterator[subprocess.Popen[str]]:
    environ = os.environ | {
        "GATEWAY_PORT": str(ports.gateway),
        "METRICS_PORT": str(ports.metrics),
        "APPLICATION_PORT": str(ports.application),
        "ISSUER": issuer,
        "CLIENT_SECRET": default_realm().clients[CLIENT].secret or "",
    }
    command = [sys.executable, "-m", "wardgate", "run", "-c", str(config), "--state-dir", str(state)]
    log = (state / "gateway.log").open("w")
    # a group of its own: Ctrl-C reaches us, and we stop it in order
    child = subprocess.Popen(  # noqa: S603 - our own program, arguments as a list
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
        preexec_fn=dies_with(os.getpid()),  # it never outlives us
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        log.close()


def _show(gateway: subprocess.Popen[str], ports: Ports, issuer: str, config: Path, out: TextIO) -> int:
    if not _ready(gateway, ports.gateway):
        code = gateway.poll()
        raise Unavailable(
            f"the gateway did not start (exit code {code}); try `wardgate run -c {config}` to see why"
        )
    assert gateway.stdout is not None
    try:
        print(_what_to_try(ports, issuer), file=out, flush=True)
        for line in gateway.stdout:
            if f'"{HEALTH}"' not in line:
                print(readable(line, out.isatty()), file=out, flush=True)
    except KeyboardInterrupt:
        print("\nending …", file=out, flush=True)
        return 0
    return gateway.wait()


HEALTH = "/oauth/health"


def _ready(gateway: subprocess.Popen[str], port: int) -> bool:
    """Whether the gateway answers its health endpoint in time."""
    import time

    import httpx

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and gateway.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}{HEALTH}", timeout=1.0).status_code == 200:
                return True
        time.sleep(0.05)
    return False


def _what_to_try(ports: Ports, issuer: str) -> str:
    gateway = f"http://127.0.0.1:{ports.gateway}"
    token = "wardgate token get" if "VIRTUAL_ENV" in os.environ else ".venv/bin/wardgate token get"
    get = f"{token} --issuer {issuer} --client-id {CLIENT} --client-secret demo-secret --username"
    return f"""
Wardgate protects a sample application. In a browser, open

     {gateway}/          and log in as  user / user-password

  The page says who you are, what the gateway told the application, and where you may go. Sign out there; or end the
  session at the identity provider, and load the page again:
     curl -X POST {issuer}/-/end-sessions

Users: user / user-password (role user), admin / admin-password (roles user and admin)

Programs bring a token. Try, in another terminal:

  1. Nobody in particular:
     curl -i {gateway}/api/me
        401: no credential. The answer says so, with the id of the request.

  2. As `user`:
     TOKEN=$({get} user --password user-password)
     curl -i {gateway}/api/me -H "Authorization: Bearer $TOKEN"
        200: the application is told who calls, in X-Auth-* headers that no client can forge.

  3. The same user where only admins may go:
     curl -i {gateway}/api/admin/users -H "Authorization: Bearer $TOKEN"
        403, and which rule said so. Get a token as `admin`, and it is 200.

Why an answer came out as it did:  .venv/bin/wardgate explain --help
Metrics: http://127.0.0.1:{ports.metrics}/metrics     Identity provider: {issuer}
Ctrl-C ends everything. Decisions:
"""
