"""`python -m wardgate.service FILE`: the service with the settings in FILE (`keystore.ServiceSettings`)."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from wardgate.events import complain
from wardgate.service.serve import serve


def main() -> int:
    if len(sys.argv) != 2:
        complain("the service is started by the supervisor", usage="python -m wardgate.service FILE")
        return 2
    try:
        uvloop.run(serve(Path(sys.argv[1])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        complain("the service cannot start", error=repr(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
