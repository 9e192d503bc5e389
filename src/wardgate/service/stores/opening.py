"""Which store a policy asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from wardgate.policy import Session
from wardgate.service.sealing import Sealer
from wardgate.service.stores import SessionStore
from wardgate.service.stores.cookie import CookieStore
from wardgate.service.stores.local import LocalStore

FILE = "sessions.sqlite"


def open_store(
    session: Session,
    sealer: Sealer,
    state: Path,
    now: Callable[[], float] = time.time,
    before: SessionStore | None = None,
) -> SessionStore:
    """
    The store at `store_url`, or that of sessions in cookies, else a file in the state directory. Nothing is asked of it
    yet. `before`: the store of the settings before.
    """
    if session.store_url is not None:
        from wardgate.service.stores.redis import RedisStore

        return RedisStore(session, sealer, now)
    if session.in_cookies:
        return CookieStore(session, sealer, now, before if isinstance(before, CookieStore) else None)
    return LocalStore(state / FILE, sealer, now)
