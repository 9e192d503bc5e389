"""
The keys of grants. The private one is a file of this machine alone; its public half goes to the store, where every replica finds
it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from wardgate.approvals.grants import Signer
from wardgate.approvals.store import Store
from wardgate.service.sealing import own_key
from wardgate.verify import KeySet, clean_jwks

FILE: Final = "grants.key"


class GrantKeys:
    """This machine's key, and the others that are verified by. For one event loop."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._signer: Signer | None = None
        self._published = ""
        self._known: KeySet | None = None

    async def signer(self, store: Store) -> Signer:
        """Ours, which all replicas know by now. Raises StoreAway, OSError."""
        if self._signer is None:
            self._signer = Signer(own_key(self._state / FILE))
        if self._published != store.url:
            await store.publish_key(self._signer.kid, self._signer.public_jwk(), time.time())
            self._published = store.url
        return self._signer

    async def all(self, store: Store, *, anew: bool = False) -> KeySet | None:
        """Those that are verified by; `anew`: one has not been known. None: nobody has given a grant yet."""
        if self._known is None or anew:
            jwks = await store.grant_keys()
            self._known = clean_jwks({"keys": jwks}) if jwks else None
        return self._known
