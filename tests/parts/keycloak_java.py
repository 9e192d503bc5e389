"""
The Java commands of Keycloak: where the distribution is, how it is built, how a server is started from it.

bin/kc.sh is not used: it takes the home from its own place, and here every server has a home of its own.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.parts import CACHE, Missing

VERSION = "26.7.3"
HOME = CACHE / f"keycloak-{VERSION}"

# What bin/kc.sh passes, with the heap, the collector and the compiler of a short run.
OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xms64m",
    "-Xmx512m",
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",
    "-Duser.country=US",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.util.concurrent.ForkJoinPool.common.threadFactory="
    "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
    "-Dpicocli.disable.closures=true",
)
# `--cache=local`: otherwise production mode listens for other nodes on every interface.
START = ("start", "--optimized", "--cache=local", "--http-enabled=true", "--http-host=127.0.0.1")

# A class archive that does not fit this Java is worth no word: Java does without.
_NO_WORD = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")


def start_command(home: Path, port: int, options: Sequence[str] = ()) -> list[str]:
    """The command of a server whose issuers begin with http://127.0.0.1:<port>."""
    told = [*START, f"--http-port={port}", f"--hostname=http://127.0.0.1:{port}", *options]
    archive = class_archive()
    java = [f"-XX:SharedArchiveFile={archive}", *_NO_WORD] if archive.exists() else []
    return _command(home, HOME / "lib", java, told)


def training_command(home: Path, port: int, archive: Path) -> list[str]:
    """The same with the import of data/import; at its end it leaves a class archive in the file `archive`."""
    command = start_command(home, port, ["--import-realm"])
    return [command[0], f"-XX:ArchiveClassesAtExit={archive}", *_NO_WORD, *command[1:]]


def build(home: Path) -> None:
    """Build the unpacked distribution `home` for the embedded database. Raises `Missing`."""
    command = _command(home, home / "lib", [], ["build", "--db=dev-file"])
    built = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    if built.returncode:
        raise Missing(f"Keycloak's build failed:\n{built.stdout[-3000:]}{built.stderr[-3000:]}")


def class_archive() -> Path:
    """Where the archive of loaded classes (CDS) of this Java is: it halves a start, and fits one Java only."""
    told = subprocess.run(["java", "-version"], capture_output=True, check=True).stderr
    return HOME / f"classes-{hashlib.sha256(told).hexdigest()[:12]}.jsa"


def _command(home: Path, library: Path, java: Sequence[str], told: Sequence[str]) -> list[str]:
    # `library` is never the link in a server's home: Java compares its path with the one in the class archive.
    return [
        "java",
        *java,
        *OPTIONS,
        f"-Dkc.home.dir={home}",
        f"-Djboss.server.config.dir={home / 'conf'}",
        "-cp",
        str(library / "quarkus-run.jar"),
        "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
        *told,
    ]
