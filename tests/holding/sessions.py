"""
Sessions that are simply there: logins that were not clicked through but put into the gateway's store, as the service
would have.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wardgate.policy import Secret
from wardgate.policy import Session as Terms
from wardgate.service.sealing import Sealer
from wardgate.service.session import Session, Tokens, name_of, new_id
from wardgate.service.stores.local import LocalStore
from wardgate.service.stores.opening import FILE
from wardgate.verify import read_unverified

KEY = "0123456789abcdef0123456789abcdef"
COOKIE = "wardgate-session"

TERMS: Mapping[str, Any] = {
    "cookie": {"secure": False},
    "encryption-key": KEY,
    "redirection-url": "http://app.test",
}
"""The `session` of a file whose sessions `put` makes; what a test says beside that is added."""

CLIENT: Mapping[str, Any] = {
    "audience": "demo-gateway",
    "client-id": "demo-gateway",
    "client-secret": "demo-secret",
}
"""The gateway as the demo's realm knows it."""

Answer = Mapping[str, Any]


def tokens(issuer: str, username: str = "user") -> Answer:
    """A login at a development identity provider with the demo's realm: what its token endpoint answers."""
    fields = {"grant_type": "password", "scope": "openid", "username": username}
    fields |= {
        "password": f"{username}-password",
        "client_id": "demo-gateway",
        "client_secret": "demo-secret",
    }
    body = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(f"{issuer}/protocol/openid-connect/token", body, timeout=30) as answer:
        found: Answer = json.load(answer)
    return found


def begun(answer: Answer, *, provider: str = "default", **changes: Any) -> tuple[str, Session]:
    """What the browser holds, and the session, of a login with these tokens; `changes` are to the session."""
    session_id, now = new_id(), time.time()
    claims, about = (read_unverified(answer[name]).claims for name in ("access_token", "id_token"))
    given: dict[str, Any] = {
        "name": name_of(session_id),
        "provider": provider,
        "issuer": str(about["iss"]),
        "subject": str(about["sub"]),
        "issuer_session": str(about["sid"]),
        "created": now,
        "used": now,
        "ends": now + 3600,
        "tokens": Tokens(
            access_token=answer["access_token"],
            access_expires=float(claims["exp"]),
            refresh_token=answer["refresh_token"],
            id_token=answer["id_token"],
            claims=dict(claims),
            id_claims=dict(about),
        ),
    }
    return session_id, Session(**{**given, **changes})


def put(state: Path, *sessions: Session) -> None:
    """Into the file of sessions of a gateway with this state directory."""
    sealer = Sealer.of(Terms(encryption_key=Secret(KEY, "KEY")), state)

    async def kept() -> None:
        store = LocalStore(state / FILE, sealer)
        for session in sessions:
            await store.create(session, expires=session.expires(1800))
        await store.close()

    asyncio.run(kept())


def person(state: Path, issuer: str, username: str = "user", *, provider: str = "default") -> tuple[str, str]:
    """Somebody who is logged in, as the header that their browser sends."""
    session_id, session = begun(tokens(issuer, username), provider=provider)
    put(state, session)
    return cookie(session_id)


def cookie(value: str) -> tuple[str, str]:
    return "Cookie", f"{COOKIE}={value}"
