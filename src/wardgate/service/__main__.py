"""
`python -m wardgate.service FILE`: the service with the settings in FILE (`settings.ServiceSettings`). On its standard input
are the secret that its keys are made of and the number of the one in force.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main() -> int:
    modules: dict[str, Any] = dict.fromkeys(["httpx._main"])
    # httpx brings a command line along, and with it rich, click and pygments: a quarter of the start, which a service
    # that died has to be through in time; None is Python's way to say that a module is not there
    sys.modules.update(modules)
    import uvloop

    from wardgate.events import complain
    from wardgate.service.in_force import InForce
    from wardgate.service.serve import serve

    if len(sys.argv) != 2:
        complain("the service is started by the supervisor", usage="python -m wardgate.service FILE")
        return 2
    try:
        secret, number = sys.stdin.read().split()
        uvloop.run(serve(Path(sys.argv[1]), InForce(bytes.fromhex(secret), int(number))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        complain("the service cannot start", error=repr(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
