"""
Differences between `decide` and the compiled gateway that are known and wait for the compiler.

In both the gateway is the stricter side. This list is meant to be empty.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.differential.comparison import Compared
from wardgate.policy import Mode


def pending(compared: Compared) -> str | None:
    """The name of the known difference that this is, if it is one."""
    return next((name for name, is_it in KNOWN.items() if is_it(compared)), None)


def _permissive_audience(compared: Compared) -> bool:
    """Who passes there as nobody, or is denied as nobody by a rule."""
    route = compared.decision.route
    permissive = route is not None and route.credentials.mode is Mode.PERMISSIVE
    denied = route is None and compared.python.status in (301, 302, 403) and compared.envoy.status == 401
    return compared.probe.state == "audience-alias" and (permissive or denied)


KNOWN: dict[str, Callable[[Compared], bool]] = {
    "a preflight with a malformed credential is refused before CORS": lambda c: (
        c.python.rule == "cors-preflight" and c.envoy.status in (400, 401)
    ),
    "a loosely equal audience is 401 on a permissive route": _permissive_audience,
}
