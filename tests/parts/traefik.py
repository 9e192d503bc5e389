"""
Traefik, built from the Go module proxy: there is no package of it. It takes minutes, so only `make test-traefik` asks
for it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Final

from tests.parts import CACHE, Missing

VERSION: Final = "3.6.12"
FOLDER: Final = CACHE / f"traefik-{VERSION}"
PROGRAM: Final = FOLDER / "traefik"
GO: Final = (1, 26)

# Traefik's own go.mod replaces these, and only the main module's replacements count.
MODULE: Final = f"""
module wardgate.test/traefik

go 1.26

require github.com/traefik/traefik/v3 v{VERSION}

replace (
\tgithub.com/abbot/go-http-auth => github.com/containous/go-http-auth v0.4.1-0.20200324110947-a37a7636d23e
\tgithub.com/gorilla/mux => github.com/containous/mux v0.0.0-20250523120546-41b6ec3aed59
\tgithub.com/mailgun/minheap => github.com/containous/minheap v0.0.0-20190809180810-6e71eb837595
)

exclude github.com/tencentcloud/tencentcloud-sdk-go v3.0.83+incompatible
"""
SUMS: Final = f"""
github.com/traefik/traefik/v3 v{VERSION} h1:6pe4s7aaDTQs+AsF7KP3sM/xnq7zOVvibRQe5tw9eFo=
github.com/traefik/traefik/v3 v{VERSION}/go.mod h1:CAiMG7xwkYlNbIKsFzvgxSuHCqZ2KI/0DTQVkvS5Nuo=
"""
LIMIT_S: Final = 3600


def install() -> None:
    """Raises `Missing` without a Go that is new enough, or when the build fails, with what it said."""
    if PROGRAM.exists():
        return
    _require_go()
    building = FOLDER.with_name(f"{FOLDER.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    (building / "go.mod").write_text(MODULE.lstrip(), "utf-8")
    (building / "go.sum").write_text(SUMS.lstrip(), "utf-8")
    print("building Traefik, 4 minutes on two cores ...", flush=True)
    command = ["go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", "traefik"]
    command.append("github.com/traefik/traefik/v3/cmd/traefik")
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
    built = subprocess.run(
        command, cwd=building, env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    if built.returncode:
        raise Missing(f"Traefik does not build:\n{built.stderr[-2000:]}")
    building.rename(FOLDER)


def _require_go() -> None:
    wanted = ".".join(map(str, GO))
    if shutil.which("go") is None:
        raise Missing(f"Go {wanted} or newer builds Traefik and is not here: https://go.dev/dl")
    said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    found = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if found < GO:
        raise Missing(f"Go {wanted} or newer builds Traefik, {said.strip()} was found: https://go.dev/dl")
