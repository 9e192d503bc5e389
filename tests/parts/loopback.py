"""127.0.0.1: a port that is free, and whether a server answers."""

from __future__ import annotations

import socket
import urllib.request


def free_port() -> int:
    """A port that nothing listens on now, chosen by the kernel."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Does a GET of `url` give a 2xx now?"""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:  # refused, reset, too slow, or any other status
        return False
