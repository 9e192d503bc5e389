"""
Commands that come from Debian: which are absent, and their installation by apt.

apt is asked only when a command is absent, so a machine that has its own Java or Maven keeps it, and a
machine that has everything needs no root. What a package would start as a service is not started.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parts import Missing

# Debian asks this program before a package starts its service; 101 means "do not" (invoke-rc.d(8)).
POLICY = Path("/usr/sbin/policy-rc.d")
OLDEST_JAVA = 17  # what Keycloak 26 runs on


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that a part needs: `package` is Debian's; `other` is how to get it where there is no apt."""

    name: str
    package: str
    other: str
    usable: Callable[[], bool]


def java_version() -> int:
    """The feature version of the `java` on PATH; 0 when there is none that runs."""
    if shutil.which("java") is None:
        return 0
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found[1]) if found else 0


JAVA = Command(
    name="java",
    package="openjdk-17-jre-headless",
    other=f"put a Java of version {OLDEST_JAVA} or newer on PATH",
    usable=lambda: java_version() >= OLDEST_JAVA,
)
MAVEN = Command(
    name="mvn",
    package="maven",
    other="put Maven 3.6 or newer on PATH",
    usable=lambda: shutil.which("mvn") is not None,
)
WRK = Command(
    name="wrk",
    package="wrk",
    other="put wrk 4 on PATH",
    usable=lambda: shutil.which("wrk") is not None,
)

CHROMIUM = Command(
    name="chromium",
    package="chromium",
    other="put a Chromium at /usr/bin/chromium",
    usable=lambda: shutil.which("/usr/bin/chromium") is not None,
)
REDIS = Command(
    name="redis-server",
    package="redis-server",
    other="put Redis 7 or newer on PATH, redis-cli with it",
    usable=lambda: shutil.which("redis-server") is not None and shutil.which("redis-cli") is not None,
)
POSTGRES = Command(
    name="postgres",
    package="postgresql",
    other="put Postgres 13 or newer below /usr/lib/postgresql/VERSION/bin",
    usable=lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
)
NGINX = Command(
    name="nginx",
    package="nginx-light",
    other="put nginx 1.18 or newer at /usr/sbin/nginx",
    usable=lambda: shutil.which("/usr/sbin/nginx") is not None,
)
CADDY = Command(
    name="caddy",
    package="caddy",
    other="put Caddy 2.6 or newer at /usr/bin/caddy",
    usable=lambda: shutil.which("/usr/bin/caddy") is not None,
)
HAPROXY = Command(
    name="haproxy",
    package="haproxy",
    other="put HAProxy 2.6 or newer, with Lua, at /usr/sbin/haproxy",
    usable=lambda: shutil.which("/usr/sbin/haproxy") is not None,
)
ETCD = Command(
    name="etcd",
    package="etcd-server",
    other="put etcd 3.4 or newer on PATH",
    usable=lambda: shutil.which("etcd") is not None,
)


def require(commands: Sequence[Command]) -> None:
    """Install what is absent among `commands`. Raises `Missing`, naming every one that cannot be had."""
    absent = [command for command in commands if not command.usable()]
    if not absent:
        return
    if obstacle := _obstacle():
        raise Missing("\n".join(_advice(command, obstacle) for command in absent))
    _install([command.package for command in absent])
    if still := [command for command in absent if not command.usable()]:
        raise Missing(
            "\n".join(
                _advice(command, "apt-get installed it and it is still not usable") for command in still
            )
        )


def _obstacle() -> str:
    if shutil.which("apt-get") is None:
        return "there is no apt-get on this machine"
    if os.geteuid() != 0:
        return "apt-get needs root and this is not root"
    return ""


def _advice(command: Command, obstacle: str) -> str:
    return (
        f"{command.name}: not usable here, and {obstacle}.\n"
        f"    as root on Debian: apt-get update && apt-get install -y --no-install-recommends {command.package}\n"
        f"    elsewhere: {command.other}"
    )


def _install(packages: Sequence[str]) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"apt-get: installing {' '.join(packages)}", flush=True)
    with no_services():
        for step in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
            if subprocess.run(["apt-get", *step], env=quiet, check=False).returncode:
                raise Missing(f"apt-get {' '.join(step)}: failed, see its output above")


@contextlib.contextmanager
def no_services() -> Iterator[None]:
    """While this lasts, no package starts a service. A machine's own policy is left as it is."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
