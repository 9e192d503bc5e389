"""
The gateway under test: `wardgate run` on the policy beside this file.

The command is the one that people use, from the environment that the tests run in; what differs from run to
run (ports, addresses, the folder for state) comes by environment variables.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .keys import CLIENT_SECRET
from .lab import Launch, Place, free_port

CONFIG = Path(__file__).with_name("wardgate.yaml")


def launch(place: Place) -> Launch:
    """`wardgate run -c wardgate.yaml`, with everything that it writes below the place's folder."""
    return Launch(
        command=(str(Path(sys.executable).parent / "wardgate"), "run", "-c", str(CONFIG)),
        variables={
            "GATEWAY_PORT": str(place.port),
            "METRICS_PORT": str(free_port()),
            "ISSUER": place.issuer,
            "UPSTREAM": f"http://127.0.0.1:{place.upstream_port}",
            "CLIENT_SECRET": CLIENT_SECRET,
            "WARDGATE_STATE_DIR": str(place.folder / "state"),
        },
    )
