"""
Instructions of a request, counted by callgrind: `make bench-instructions` (needs valgrind).

They do not depend on what else a machine does, so that a change by a hundredth is seen, where rates differ by a tenth from one
minute to the next. What they do not show is the kernel, and what waits for memory. Counted is Envoy's worker alone, asked one request
after the other: a copy of the Envoy that a part runs, with its configuration on another port. Prints Markdown.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import forward_auth
from processes import Part, family
from tests.parts.loopback import free_port

import parts
from parts import Bench

WARM_UP, COUNTED = 3000, 1000
READY_S = 120


def instructions(part: Part, folder: Path) -> int:
    """A request, of the part's own kind."""
    args, copy = _copied(part, folder)
    output = folder / "callgrind"
    options = ["--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", "-q"]
    command = ["valgrind", *options, f"--callgrind-out-file={output}", *args]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(copy)
        _ask(copy, WARM_UP)
        for option, requests in ((["-i", "on"], 20), (["-z"], COUNTED), (["-d", "counted"], 0)):
            subprocess.run(["callgrind_control", *option, str(process.pid)], check=True, capture_output=True)
            _ask(copy, requests)
        _wait_for_dump(folder)
    finally:
        process.terminate()
        process.wait(60)
    # one file a thread, of each dump: the first is what was counted, and the worker is who did most
    threads = folder.glob("callgrind.1-*")
    return max(_summary(thread.read_text("utf-8", "replace")) for thread in threads) // COUNTED


def _wait_for_dump(folder: Path) -> None:
    """It is written when the threads next run."""
    deadline = time.monotonic() + READY_S
    while not any(folder.glob("callgrind.1-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)


def _summary(text: str) -> int:
    found = re.search(r"^summary: (\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _copied(part: Part, folder: Path) -> tuple[list[str], Part]:
    """The command of the part's Envoy with a copy of its files on another port, and the part as it is asked there."""
    args = next(args for args in map(_command, family(part.process.pid)) if Path(args[0]).name == "envoy")
    at = next(i for i, arg in enumerate(args) if arg in ("-c", "--config-path")) + 1
    config = Path(args[at])
    own, port, new = config.parent, urlsplit(part.url).port, free_port()
    texts = {f'"port_value":{space}{port}': f'"port_value": {new}' for space in ("", " ")}
    files = [config]
    if config.name == "bootstrap.json":  # it names files beside it
        texts[own.as_posix()] = folder.as_posix()
        files = list(own.rglob("*"))
    for file in files:
        there = folder / file.relative_to(own)
        if file.is_socket():  # the service is asked where it is
            there.symlink_to(file)
        elif file.is_file():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_text(_replaced(file.read_text("utf-8"), texts), encoding="utf-8")
    (folder / "admin.sock").unlink(missing_ok=True)
    changed = [*args[:at], str(folder / config.name), *args[at + 1 :]]
    if "--base-id" in changed:
        changed[changed.index("--base-id") + 1] = str(new)
    return changed, replace(part, url=part.url.replace(f":{port}", f":{new}"))


def _command(pid: int) -> list[str]:
    """With the program itself, not what started it: valgrind stays with what it is given."""
    arguments = Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")[1:-1]
    return [str(Path(f"/proc/{pid}/exe").resolve()), *arguments]


def _replaced(text: str, texts: Mapping[str, str]) -> str:
    for old, new in texts.items():
        text = text.replace(old, new)
    return text


def _wait(part: Part) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            return _ask(part, 1)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _ask(part: Part, requests: int) -> None:
    """Raises RuntimeError for an answer that is not 200."""
    url = urlsplit(part.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=READY_S)
    for _ in range(requests):
        connection.request("GET", url.path, headers=dict(part.headers))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{part.name} answers {answer.status}")
    connection.close()


@contextmanager
def started(start: Callable[[], Part]) -> Iterator[Part]:
    part = start()
    try:
        yield part
    finally:
        part.stop()


def _session(bench: Bench) -> Part:
    part, cookies = parts.wardgate_sessions(bench, "sessions", 1)
    return part.asked_by("Wardgate, a session", parts.SESSION, cookies[0])


def main() -> int:
    if not shutil.which("valgrind"):
        sys.exit("not on PATH: valgrind (Debian: apt-get install valgrind)")
    command = [str(Path(sys.executable).with_name("wardgate"))]
    with parts.prepared(command) as bench:
        measured: dict[str, Callable[[], Part]] = {
            "raw Envoy": lambda: parts.raw_envoy(bench),
            "Wardgate, S0's policy": lambda: parts.wardgate_s0(bench),
            "Wardgate, S0's policy, access log": lambda: parts.wardgate_s0(bench, "log", log=True),
            "Wardgate, a session": lambda: _session(bench),
            "Wardgate asked": lambda: forward_auth.wardgate_mapping(bench, "asked"),
        }
        base = 0
        print("| part | instructions a request | of a bare Envoy's |\n|---|--:|--:|")
        for number, (name, start) in enumerate(measured.items()):
            with started(start) as part:
                folder = bench.folder / f"counted-{number}"
                folder.mkdir()
                found = instructions(part, folder)
            base = base or found
            print(f"| {name} | {found / 1000:.0f} 000 | {base / found:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
