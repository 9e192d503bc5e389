"""
Real Keycloak on loopback: installed once, prepared once for its realm files, started in seconds.

    install()           the distribution, unpacked and built:   .cache/parts/keycloak-26.7.3
    prepare(realms)     a database with the realms imported:    .cache/parts/keycloak-data-<hash>
    Keycloak.start(...) a copy of that database in a folder of its own, on a free port

So each start sees each realm as its file has it, whatever an earlier run changed. It is production mode with
the embedded H2 database: `start-dev` builds again at its first start, `--db=dev-mem` imports at each.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from tests.parts import CACHE, PROJECT, Missing, maven
from tests.parts.keycloak_java import HOME, VERSION, build, class_archive, start_command, training_command
from tests.parts.loopback import answers, free_port

# What every server of the tests knows, unless a test says otherwise.
REALMS = tuple(sorted((PROJECT / "tests" / "realms").glob("*.json")))

ADMIN = "admin"
ADMIN_PASSWORD = "admin-password"

# Part of the hash of prepared data: raise it when what `prepare` does changes.
PREPARED_FORMAT = "1"

START_LIMIT = timedelta(minutes=4)
STOP_LIMIT = timedelta(minutes=2)  # the training run writes 120 MB at its end


def is_installed() -> bool:
    """Is the distribution there? (It is moved into place when it is complete.)"""
    return HOME.is_dir()


def install() -> None:
    """Fetch, unpack and build the distribution. Raises `Missing`."""
    with _one_at_a_time():
        if is_installed():
            return
        with _folder_that_becomes(HOME) as folder:
            archive = maven.fetch(f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip", folder)
            print("keycloak: unpacking", flush=True)
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)
            archive.unlink()
            unpacked = folder / f"keycloak-{VERSION}"
            for entry in unpacked.iterdir():
                entry.rename(folder / entry.name)
            unpacked.rmdir()
            print("keycloak: building (about 20 s)", flush=True)
            build(folder)


def prepare(realms: Sequence[Path] = REALMS) -> Path:
    """Import the realm files into a database, once for each content of theirs; return the data folder."""
    data = CACHE / f"keycloak-data-{_data_hash(realms)}"
    with _one_at_a_time():
        if not data.is_dir():
            names = ", ".join(realm.name for realm in realms)
            print(f"keycloak: importing {names} (about 30 s)", flush=True)
            with _folder_that_becomes(data) as folder:
                _import(realms, folder)
    return data


@dataclass(slots=True, kw_only=True)
class Keycloak:
    """A running server. `url` ends without a slash, and every issuer begins with it."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    _admin_token: str = field(default="", repr=False)
    _admin_until: float = 0

    @classmethod
    def start(cls, realms: Sequence[Path] = REALMS, *, port: int = 0) -> Self:
        """Start with the content of the realm files on `port` (0: any free one); return when it answers."""
        if not is_installed():
            raise Missing("Keycloak is not installed: python -m tests.parts.install keycloak")
        data = prepare(realms)
        home = Path(tempfile.mkdtemp(prefix="keycloak-"))
        shutil.copytree(data, home / "data")
        port = port or free_port()
        return cls.launch(home, port, start_command(home, port))

    @classmethod
    def launch(cls, home: Path, port: int, command: Sequence[str]) -> Self:
        """Run `command` in `home`, which the server then owns; return when it answers on `port`."""
        for part in ("lib", "conf", "providers", "themes"):
            (home / part).symlink_to(HOME / part)
        admin = {"KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN_PASSWORD}
        with (home / "keycloak.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=home,
                env={**os.environ, **admin},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        server = cls(url=f"http://127.0.0.1:{port}", home=home, process=process)
        try:
            server._wait_until_ready()
        except BaseException:
            server.stop()
            raise
        return server

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT.total_seconds()
        while not answers(f"{self.url}/realms/master"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Keycloak did not start; the end of its log:\n{self.log()[-4000:]}")
            time.sleep(0.05)

    def log(self) -> str:
        """What the server has said so far."""
        return (self.home / "keycloak.log").read_text(encoding="utf-8", errors="replace")

    def issuer(self, realm: str) -> str:
        """The `iss` of the tokens of that realm."""
        return f"{self.url}/realms/{realm}"

    def admin(self, method: str, path: str, body: object = None) -> Any:
        """
        One call of the admin REST API, as in `admin("GET", "/improwised-production/clients")`.

        `path` begins with the realm. Returns the JSON of the answer, None when it has no body.
        Raises `urllib.error.HTTPError` for any status of 400 and above.
        """
        request = urllib.request.Request(
            f"{self.url}/admin/realms{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token_of_admin()}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def _token_of_admin(self) -> str:
        if time.monotonic() > self._admin_until:
            form = {"grant_type": "password", "client_id": "admin-cli"}
            form |= {"username": ADMIN, "password": ADMIN_PASSWORD}
            url = f"{self.issuer('master')}/protocol/openid-connect/token"
            with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=30) as answer:
                self._admin_token = json.load(answer)["access_token"]
            self._admin_until = time.monotonic() + 30  # it lives for 60 s
        return self._admin_token

    def rotate_key(self, realm: str, *, keep_old: bool = True) -> None:
        """
        Sign with a new RSA key from now on; the old one stays in the JWKS, or leaves it at once.

        Of the active keys the one with the highest priority signs; one that is not enabled leaves the JWKS.
        """
        kind = "org.keycloak.keys.KeyProvider"
        keys = self.admin("GET", f"/{realm}/components?type={kind}")
        old = [key for key in keys if key["providerId"] == "rsa-generated"]
        priority = 1 + max(int(key["config"].get("priority", ["0"])[0]) for key in old)
        config = {"priority": [str(priority)], "keySize": ["2048"], "algorithm": ["RS256"]}
        new = {
            "name": f"rsa-{priority}",
            "providerId": "rsa-generated",
            "providerType": kind,
            "config": config,
        }
        self.admin("POST", f"/{realm}/components", new)
        for key in old:
            key["config"] |= {"active": ["false"], "enabled": ["true" if keep_old else "false"]}
            self.admin("PUT", f"/{realm}/components/{key['id']}", key)

    def end(self) -> None:
        """End the process, and leave its folder."""
        self.process.terminate()  # nothing, when it has ended
        try:
            self.process.wait(STOP_LIMIT.total_seconds())
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End the process and remove its folder. Stopping twice is nothing."""
        self.end()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _import(realms: Sequence[Path], folder: Path) -> None:
    """Import the realm files into `folder`/h2. The first import for a Java also leaves the class archive."""
    with tempfile.TemporaryDirectory(prefix="keycloak-import-") as home:
        imports = Path(home, "data", "import")
        imports.mkdir(parents=True)
        for realm in realms:
            shutil.copy(realm, imports)
        _run_once(Path(home))
        shutil.copytree(Path(home, "data", "h2"), folder / "h2")


def _run_once(home: Path) -> None:
    port, archive = free_port(), class_archive()
    partial = archive.with_suffix(".partial")
    if archive.exists():
        command = start_command(home, port, ["--import-realm"])
    else:
        command = training_command(home, port, partial)
    server = Keycloak.launch(home, port, command)
    server.admin("GET", "/master")  # so that the classes that issue and read a token are in the archive
    server.end()
    if server.process.returncode != 143:  # what Java gives after SIGTERM when it ended in order
        raise RuntimeError(f"Keycloak ended with {server.process.returncode}:\n{server.log()[-4000:]}")
    if partial.exists():
        partial.rename(archive)


def _data_hash(realms: Sequence[Path]) -> str:
    content = hashlib.sha256(f"{PREPARED_FORMAT} {VERSION} {ADMIN} {ADMIN_PASSWORD} ".encode())
    for realm in realms:
        content.update(hashlib.sha256(realm.read_bytes()).digest())
    return content.hexdigest()[:16]


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two runs in one checkout do not prepare the same thing twice."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _folder_that_becomes(final: Path) -> Iterator[Path]:
    """A folder to fill: renamed to `final` when all went well, removed when not. `final` is never half done."""
    partial = final.with_name(f"{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
