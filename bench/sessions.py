"""
Sessions that are there before the first request: put into the file of the local store as the service would.

Logins are not what is measured. A session's tokens are those of the benchmark's issuer.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from issuer import LIFETIME_S, Issuer

from wardgate.service.sealing import Sealer, key_bytes
from wardgate.service.session import Session, Tokens, name_of, new_id
from wardgate.service.stores.local import LocalStore
from wardgate.verify import read_unverified


def logged_in(file: Path, key: str, issuer: Issuer, count: int) -> list[str]:
    """`count` people are logged in: what their cookies hold."""
    return asyncio.run(_logged_in(LocalStore(file, Sealer([key_bytes(key)])), issuer, count))


async def _logged_in(store: LocalStore, issuer: Issuer, count: int) -> list[str]:
    ids, now = [], time.time()
    for token in issuer.tokens(count):
        claims, session_id = dict(read_unverified(token).claims), new_id()
        tokens = Tokens(
            access_token=token,
            access_expires=now + LIFETIME_S,
            claims=claims,
            id_claims={"sub": claims["sub"]},
        )
        session = Session(
            name=name_of(session_id),
            provider="default",
            issuer=issuer.url,
            subject=str(claims["sub"]),
            issuer_session=None,
            created=now,
            used=now,
            ends=now + LIFETIME_S,
            tokens=tokens,
        )
        await store.create(session, expires=now + LIFETIME_S)
        ids.append(session_id)
    await store.close()
    return ids
