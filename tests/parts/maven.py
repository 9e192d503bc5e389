"""Files from Maven Central, by their coordinates, through the ordinary `mvn`."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.parts import Missing

# Pinned, so that the same command is run everywhere.
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


def fetch(coordinates: str, into: Path) -> Path:
    """Copy the artifact `group:name:version:type` into the folder `into`; return the file."""
    print(f"maven: fetching {coordinates}", flush=True)
    command = ["mvn", "--batch-mode", "--no-transfer-progress", "--quiet", COPY]
    command += [f"-Dartifact={coordinates}", f"-DoutputDirectory={into}", "-Dmdep.useBaseVersion=true"]
    # In an empty folder: beside a pom.xml, Maven would read that first.
    with tempfile.TemporaryDirectory() as empty:
        if subprocess.run(command, cwd=empty, check=False).returncode:
            raise Missing(
                f"maven could not fetch {coordinates}: see its output above (is Maven Central reachable?)"
            )
    _, name, version, kind = coordinates.split(":")
    return into / f"{name}-{version}.{kind}"
