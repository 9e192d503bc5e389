"""
The gateway under test: `wardgate run` on the policy beside this file.

The command is the one that people use, from the environment that the tests run in; what differs from run to
run (ports, addresses, the folder for state) comes by environment variables.
"""

from __future__ import annotations

import json
import secrets
import sys
from functools import partial
from pathlib import Path

from tests.parts.loopback import free_port
from wardgate.service.sealing import LOGIN_COOKIE, Sealer

from .cases import ASKED_ONLY, NO_STORE, NO_TRUST
from .issuer import OTHER, WRONG
from .keys import CLIENT_SECRET
from .lab import Launch, Place

CONFIG = Path(__file__).with_name("wardgate.yaml")

ENDPOINTS = {
    "login": "/oauth/start",
    "callback": "/oauth/callback",
    "logout": "/oauth/logout",
    "backchannel": "/oauth/backchannel_logout",
    "frontchannel": "/oauth/frontchannel_logout",
    "userinfo": "/oauth/userinfo",
    "forward_auth": "/auth/verify",
}


_COMMAND = (str(Path(sys.executable).parent / "wardgate"), "run", "-c", str(CONFIG))


def launch(place: Place) -> Launch:
    """`wardgate run -c wardgate.yaml`, with everything that it writes below the place's folder."""
    key, only = secrets.token_hex(16), str(place.fixture == ASKED_ONLY).lower()
    return Launch(
        command=(
            *_COMMAND,
            "--set",
            f"forward-auth.only={only}",
            "--trusted-proxies",
            "" if place.fixture == NO_TRUST else "127.0.0.1/32",
        ),
        variables={
            "GATEWAY_PORT": str(place.port),
            "METRICS_PORT": str(free_port()),
            "ISSUER": place.issuer,
            "OTHER_ISSUER": place.issuers[OTHER],
            "WRONG_ISSUER": place.issuers[WRONG],
            "UPSTREAM": f"http://127.0.0.1:{place.upstream_port}",
            "CLIENT_SECRET": CLIENT_SECRET,
            "ENCRYPTION_KEY": key,
            # nobody listens there: a store that has stopped
            "STORE": f"redis://127.0.0.1:{free_port()}" if place.fixture == NO_STORE else "local",
            "WARDGATE_STATE_DIR": str(place.folder / "state"),
        },
        endpoints=ENDPOINTS,
        aged=partial(aged, Sealer([key.encode()])),
    )


def aged(sealer: Sealer, value: str, state: str, by_s: float) -> str:
    """The sealed cookie of a login (`service/pending.py`), with the same key and another beginning: no clock is turned."""
    login = json.loads(sealer.open_text(LOGIN_COOKIE, value.partition(".")[2], state))
    login["started"] -= by_s
    return f"{int(login['started'])}.{sealer.seal_text(LOGIN_COOKIE, json.dumps(login).encode(), state)}"
