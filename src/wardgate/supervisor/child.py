"""
A child process that does not outlive us and does not hear our terminal's Ctrl-C.

Not a restart policy: `keeper.py` is. A child dies with the supervisor even when that is killed (Linux:
`PR_SET_PDEATHSIG`), so a port is never held by something that nobody governs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence

PR_SET_PDEATHSIG = 1
PIPE_BYTES = 1024 * 1024
"""Room in a child's stderr pipe: a burst of messages must not make Envoy wait for us."""

_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


async def spawn(
    args: Sequence[str], *, read_stderr: bool = False, listens: bool = False
) -> asyncio.subprocess.Process:
    """
    Start a program in a session of its own; its stdout is ours. `listens`: its standard input is written to (`tell`).

    Called on the main thread only: the kernel ties the death signal to the thread that started the child.
    """
    return await asyncio.create_subprocess_exec(
        *args,
        stdin=asyncio.subprocess.PIPE if listens else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE if read_stderr else None,
        start_new_session=True,
        preexec_fn=dies_with(os.getpid()),
    )


def tell(child: asyncio.subprocess.Process, text: str) -> None:
    """All of its standard input. One that has died hears nothing."""
    assert child.stdin is not None
    child.stdin.write(text.encode())
    child.stdin.close()


def widen(stream: asyncio.StreamReader) -> None:
    """Make the pipe behind a stream as large as an ordinary user may (Linux)."""
    transport = getattr(stream, "_transport", None)
    pipe = transport.get_extra_info("pipe") if transport is not None else None
    if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def dies_with(parent: int) -> Callable[[], None]:
    """What a child does before its program starts: it dies with its parent, and may open as many files as allowed."""

    def prepare() -> None:
        if _prctl is not None:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the supervisor died between the fork and the line above
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    return prepare


async def stop(child: asyncio.subprocess.Process, *, patience_s: float) -> None:
    """SIGTERM, and SIGKILL to one that does not go (a stopped process never hears the first)."""
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(patience_s):
            await child.wait()
    except TimeoutError:
        kill(child)
        await child.wait()


def kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
