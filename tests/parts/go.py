"""
Programs in Go that no package brings: built from the module proxy, which takes minutes, and kept.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.parts import Missing

VERSION: Final = (1, 26)
LIMIT_S: Final = 3600


def build(program: Path, package: str, module: str, sums: str = "", *, minutes: int) -> None:
    """
    Build `package` to `program`, in a module of its own with this go.mod and go.sum. Raises `Missing` without a Go that is
    new enough, or when the build fails, with what it said.
    """
    if program.exists():
        return
    require()
    building = program.parent.with_name(f"{program.parent.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    (building / "go.mod").write_text(module.lstrip(), "utf-8")
    (building / "go.sum").write_text(sums.lstrip(), "utf-8")
    print(f"building {program.name}, {minutes} minutes on two cores ...", flush=True)
    command = ["go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", program.name, package]
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
    built = subprocess.run(
        command, cwd=building, env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    if built.returncode:
        raise Missing(f"{program.name} does not build:\n{built.stderr[-2000:]}")
    building.rename(program.parent)


def module(path: str, version: str, into: Path) -> Path:
    """The folder of a module's source. Raises `Missing` when it cannot be had."""
    require()
    into.mkdir(parents=True, exist_ok=True)
    command = ["go", "mod", "download", "-json", f"{path}@{version}"]
    done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise Missing(f"{path} {version} cannot be fetched:\n{(done.stdout + done.stderr)[-2000:]}")
    return Path(json.loads(done.stdout)["Dir"])


def require() -> None:
    """Raises `Missing` without a Go that is new enough."""
    wanted = ".".join(map(str, VERSION))
    if shutil.which("go") is None:
        raise Missing(f"Go {wanted} or newer is needed and is not here: https://go.dev/dl")
    said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    found = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if found < VERSION:
        raise Missing(f"Go {wanted} or newer is needed, {said.strip()} was found: https://go.dev/dl")
