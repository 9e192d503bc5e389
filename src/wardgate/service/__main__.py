"""
`python -m wardgate.service`: the service. Three lines are its standard input: the file with its settings
(`settings.ServiceSettings`), the secret that its keys are made of, and the number of the one in force. It is started before there
are any, as most of a start is what comes before it reads them.
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

    told = sys.stdin.read()
    if not told:
        return 0  # there is to be no service after all
    try:
        file, secret, number = told.splitlines()
        uvloop.run(serve(Path(file), InForce(bytes.fromhex(secret), int(number))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        complain("the service cannot start", error=repr(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
