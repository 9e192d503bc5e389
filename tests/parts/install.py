"""
`python -m tests.parts.install [PART ...]`: install what the tests with real parts need; by default all but what takes
minutes to build.

Quick when everything is there. Exits with 1 and says what is missing, and how to get it, when a part cannot
be installed on this machine.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tests.parts import Missing, debian, keycloak, kubernetes, traefik


def install_keycloak() -> None:
    """The server, built, and the realms of the tests imported: a test then starts it in seconds."""
    debian.require([debian.JAVA] if keycloak.is_installed() else [debian.JAVA, debian.MAVEN])
    keycloak.install()
    keycloak.prepare()


def install_wrk() -> None:
    """The load generator of the benchmarks."""
    debian.require([debian.WRK])


def install_chromium() -> None:
    """The browser of the login tests; Playwright, which drives it, is a Python package."""
    debian.require([debian.CHROMIUM])


def install_nginx() -> None:
    """The balancer in front of several gateways."""
    debian.require([debian.NGINX])


def install_caddy() -> None:
    """A proxy that asks gateways."""
    debian.require([debian.CADDY])


def install_haproxy() -> None:
    """Another."""
    debian.require([debian.HAPROXY])


def install_redis() -> None:
    """Redis, alone and as a cluster."""
    debian.require([debian.REDIS])


def install_postgres() -> None:
    """Where a fleet keeps the requests of agents."""
    debian.require([debian.POSTGRES])


def install_kubernetes() -> None:
    """The API server of a cluster, built, and etcd."""
    debian.require([debian.ETCD])
    kubernetes.install()


PARTS: Mapping[str, Callable[[], None]] = {
    "keycloak": install_keycloak,
    "wrk": install_wrk,
    "chromium": install_chromium,
    "nginx": install_nginx,
    "caddy": install_caddy,
    "haproxy": install_haproxy,
    "redis": install_redis,
    "postgres": install_postgres,
    "kubernetes": install_kubernetes,
}
SLOW: Mapping[str, Callable[[], None]] = {"traefik": traefik.install}
"""Only when they are named."""


def main(names: Sequence[str]) -> int:
    """Install each named part, or every part; go on after one that cannot be, so that all are said."""
    known = {**PARTS, **SLOW}
    if unknown := sorted(set(names) - set(known)):
        print(f"no such part: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    failed = False
    for name in names or PARTS:
        start = time.monotonic()
        try:
            known[name]()
        except Missing as problem:
            failed = True
            print(f"{name}: MISSING\n{problem}", file=sys.stderr, flush=True)
        else:
            print(f"{name}: ready after {time.monotonic() - start:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
