"""127.0.0.1: a port that is free, and whether a server answers."""

from __future__ import annotations

import os
import random
import socket
import urllib.request

# Below what Linux gives out by itself (net.ipv4.ip_local_port_range begins at 32768): a server that needs
# seconds until it listens would else find its port taken by somebody's connection (seen: Keycloak, 2026-11-23),
# and who asks whether it listens could be connected with itself, and read its own request (seen: 2026-11-26).
PORTS = range(20_000, 32_000)


WORKERS = 4
"""Processes that run tests beside each other have ports of their own: between here and a server's start are seconds."""

_given: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on now, that nobody is given who asks for any, and that was not given here before."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    own = [port for port in PORTS if port % WORKERS == worker]
    if len(_given) > len(own) // 2:
        _given.clear()
    for port in random.sample(own, 50):
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port of 127.0.0.1 among {PORTS}")


def answers(url: str) -> bool:
    """Does a GET of `url` give a 2xx now?"""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:  # refused, reset, too slow, or any other status
        return False


def listens(port: int) -> bool:
    """Does anybody take a connection there now?"""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
