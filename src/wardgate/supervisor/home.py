"""
Where a running gateway keeps its things: the state directory, one run directory per address, and the sockets.

State (issuers' keys; later sessions) is shared by the gateways of one user; the run directory (Envoy's files) belongs
to one gateway and is locked by it. Everything is for this user only: files 0600, folders 0700.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wardgate.compiler import Place
from wardgate.envoy.cluster import SYSTEM_CAS
from wardgate.problems import ConfigError, Problem

SOCKET_PATH_BYTES = 100
"""The kernel takes 107 bytes; longer state directories keep their sockets in a short folder elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The folders of one running gateway. `place` is what the compiler is told of them."""

    state: Path
    directory: Path
    keys: Path
    place: Place

    @property
    def service_settings(self) -> Path:
        return self.directory / "service.json"


def state_directory(chosen: str | None, environ: Mapping[str, str]) -> Path:
    """`--state-dir`, else WARDGATE_STATE_DIR, else the user's state folder (XDG Base Directory)."""
    given = chosen or environ.get("WARDGATE_STATE_DIR")
    if given:
        return Path(given).expanduser().absolute()
    base = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "wardgate"


@contextlib.contextmanager
def opened(state: Path, called: str, concurrency: int | None) -> Iterator[Home]:
    """The home of the gateway that is called so, or listens there, locked while it is open. Raises ConfigError."""
    name = re.sub(r"[^0-9A-Za-z.]+", "-", called).strip("-")
    directory, keys = state / "run" / name, state / "keys"
    try:
        state.mkdir(
            mode=0o700, parents=True, exist_ok=True
        )  # one that is there may be shared: it stays as it is
        for folder in (state / "run", directory, keys):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        lock = _locked(directory / "lock", called)
    except OSError as error:
        hint = "give another with --state-dir or WARDGATE_STATE_DIR"
        message = "the state directory cannot be used"
        problem = Problem(
            code="state-directory", message=message, got=f"{state}: {error.strerror}", hint=hint
        )
        raise ConfigError([problem]) from error
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, lock)
        sockets = stack.enter_context(_sockets(directory))
        place = Place(
            directory=str(directory),
            admin_socket=str(sockets / "admin.sock"),
            service_socket=str(sockets / "service.sock"),
            control_socket=str(sockets / "control.sock"),
            concurrency=concurrency,
            system_ca=next((path for path in SYSTEM_CAS if Path(path).is_file()), SYSTEM_CAS[0]),
        )
        yield Home(state=state, directory=directory, keys=keys, place=place)


def _locked(path: Path, called: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        message = f"another gateway runs for {called} in this state directory"
        hint = "stop it, or give this one another address (listen) or another --state-dir"
        problem = Problem(
            code="gateway-running", message=message, got=f"process {other}" if other else "", hint=hint
        )
        raise ConfigError([problem]) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


@contextlib.contextmanager
def _sockets(directory: Path) -> Iterator[Path]:
    """The folder of the sockets: the run directory, or a short one that is removed at the end."""
    if len(os.fsencode(directory / "control.sock")) <= SOCKET_PATH_BYTES:
        yield directory
        return
    candidates = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir())
    fitting = [base for base in candidates if len(base) <= SOCKET_PATH_BYTES - 32 and Path(base).is_dir()]
    folder = Path(tempfile.mkdtemp(prefix="wardgate-", dir=next(filter(None, fitting), "/tmp")))  # noqa: S108
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
