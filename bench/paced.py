"""
An open-loop HTTP client: requests leave on schedule, whether or not earlier ones were answered.

    paced.py URL REQUESTS_PER_SECOND SECONDS [HEADER...]

Prints one JSON object: the median and the 99th percentile, in microseconds, of the time from the moment a request was
due until its answer was complete, and how many were not answered by 200. wrk 4.1 has no such mode: it waits for an
answer before it asks again, so a server that stalls is asked less, and looks better than it is.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from urllib.parse import urlsplit

CONNECTIONS = 32
LONGEST_S = 5.0  # after the last request is due
WARM_SHARE = 0.1  # of all requests: connections and caches of both sides, not counted


class Client:
    """Connections that are free stand in a line; requests that found none are due all the same."""

    def __init__(self, url: str, headers: list[str]) -> None:
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or 80)
        lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *headers]
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self._free = deque(self._connected(address) for _ in range(CONNECTIONS))
        self._due: dict[socket.socket, float] = {}
        self._seen: dict[socket.socket, bytes] = {}
        self.delays: list[float] = []
        self.failed = 0

    @staticmethod
    def _connected(address: tuple[str, int]) -> socket.socket:
        connection = socket.create_connection(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def run(self, per_s: int, seconds: int) -> None:
        count = per_s * seconds
        begin = time.perf_counter()
        schedule = deque(begin + number / per_s for number in range(count))
        end = schedule[-1] + LONGEST_S
        while (schedule or self._due) and time.perf_counter() < end:
            self._send(schedule)
            until = schedule[0] if schedule and self._free else time.perf_counter() + 0.01
            # select, unlike epoll in Python, waits for less than a millisecond when told so
            ready, _, _ = select.select(self._due, (), (), max(0.0, until - time.perf_counter()))
            for connection in ready:
                self._read(connection)
        self.failed += len(schedule) + len(self._due)

    def _send(self, schedule: deque[float]) -> None:
        while schedule and self._free and schedule[0] <= time.perf_counter():
            connection = self._free.popleft()
            self._due[connection] = schedule.popleft()
            self._seen[connection] = b""
            connection.sendall(self._request)

    def _read(self, connection: socket.socket) -> None:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection")
        seen = self._seen[connection] + data
        if not _complete(seen):
            self._seen[connection] = seen
            return
        self.delays.append(time.perf_counter() - self._due.pop(connection))
        self.failed += not seen.startswith(b"HTTP/1.1 200")
        self._free.append(connection)


def _complete(seen: bytes) -> bool:
    """Whether this is a whole answer with a Content-Length, as those of `upstream-envoy.json` are."""
    head, end, body = seen.partition(b"\r\n\r\n")
    if not end:
        return False
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return len(body) >= int(rest.split(b"\r\n", 1)[0])


def main(url: str, per_s: str, seconds: str, *headers: str) -> None:
    client = Client(url, list(headers))
    client.run(int(per_s), int(seconds))
    counted = sorted(client.delays[int(len(client.delays) * WARM_SHARE) :])
    p50, p99 = (counted[int(len(counted) * share)] * 1e6 for share in (0.5, 0.99))
    print(json.dumps({"p50_us": p50, "p99_us": p99, "failed": client.failed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
