"""
Draining: Envoy is told to send its clients away, and watched until nobody is left or the time is over.

SIGTERM alone would cut running requests (Envoy 1.40 exits within 10 ms). While it drains Envoy still takes new
connections, since a load balancer may need seconds to notice, and answers each with `connection: close`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from wardgate.supervisor.admin import Admin, Stats
from wardgate.supervisor.local_http import NoAnswer

POLL_S = 0.05
QUIET_S = 1.0
"""No request for so long means that what is still connected is idle."""

_FIGURES = r"^http\..*\.(downstream_cx_active|downstream_rq_active|downstream_rq_total)$"


async def drained(admin: Admin, limit: timedelta) -> None:
    """Returns when no connection is left, or none has a request for a while, or at the limit, or when Envoy is gone."""
    deadline = time.monotonic() + limit.total_seconds()
    try:
        await admin.drain()
        quiet_since, requests = time.monotonic(), -1
        while time.monotonic() < deadline:
            stats = _ours(await admin.stats(_FIGURES))
            if stats.total(".downstream_cx_active") == 0:
                return
            total = stats.total(".downstream_rq_total")
            if stats.total(".downstream_rq_active") or total != requests:
                quiet_since, requests = time.monotonic(), total
            elif time.monotonic() - quiet_since > QUIET_S:
                return
            await asyncio.sleep(POLL_S)
    except NoAnswer:
        return


def _ours(stats: Stats) -> Stats:
    """Without the connections to the admin interface: one of them is asking."""
    numbers = {name: value for name, value in stats.numbers.items() if not name.startswith("http.admin.")}
    return Stats(numbers=numbers, texts=stats.texts)
