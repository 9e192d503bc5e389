"""
What Envoy has to know of sessions, and whether it does: the signing key, and which sessions ended.

The supervisor asks (`wait_for_news`), puts what it hears into Envoy, and asks again, saying what is in force. So nothing is
signed with a key that Envoy does not have, and a logout answers when Envoy refuses the session.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wardgate.events import warn
from wardgate.problems import Unavailable
from wardgate.service.attest import Attested, Signer

MAX_DENIED = 10_000
"""A longer list takes seconds to load; then all attested tokens end instead, by another key."""

PATIENCE_S = 2.0


class NotInForce(Unavailable):
    """Envoy does not have our key: nothing that we sign would be believed."""


class InForce:
    """
    Versions count what was said; `applied` is the newest that Envoy has. `secret`: what keys are made of; `number`: which
    of them was in force last.
    """

    def __init__(self, secret: bytes, number: int = 0, now: Callable[[], float] = time.time) -> None:
        self._secret, self._number = secret, number
        self._now = now
        self._life = secrets.token_urlsafe(9)
        self._signer = Signer(secret, number)
        self._denied: tuple[str, ...] | None = None
        self._version, self._applied, self._signable = 1, 0, 1
        self._changed = asyncio.Condition()
        self._kids: dict[str, frozenset[str]] = {}

    # --- for the supervisor

    async def wait_for_news(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What is to be in force, as soon as it is another version than the one that the supervisor names."""
        ours = told.get("life") == self._life
        async with self._changed:
            self._kids = {str(name): frozenset(kids) for name, kids in told.get("keys", {}).items()}
            self._applied = int(told.get("version", 0)) if ours else 0
            self._changed.notify_all()
            if self._applied == self._version:
                await self._until(lambda: self._applied != self._version, float(told.get("wait_s", 0)))
            return {
                "life": self._life,
                "version": self._version,
                "key": self._signer.public_jwk(),
                "number": self._number,
                # None until the store has said: what Envoy denies by then stays denied
                "denied": None if self._denied is None else list(self._denied),
            }

    def judges(self, provider: str, kid: str) -> bool:
        """Whether Envoy has this key of the provider, so that it judges the provider's tokens by itself."""
        return kid in self._kids.get(provider, frozenset())

    # --- for the service

    async def ready(self, patience_s: float = PATIENCE_S) -> None:
        """
        Raises NotInForce when Envoy does not have our key by then. Waiting does not help every request: it keeps the
        filters that it came in with, and so the keys of that moment (run on 1.40).
        """
        async with self._changed:
            if not await self._until(lambda: self._applied >= self._signable, patience_s):
                raise NotInForce("Envoy does not have the key of attested tokens yet")

    def sign(self, attested: Attested) -> str:
        """Raises NotInForce."""
        if self._applied < self._signable:
            raise NotInForce("Envoy has no key of attested tokens any more")
        return self._signer.sign(attested, self._now())

    async def deny(self, sessions: Iterable[str]) -> bool:
        """Make this the deny list; True when Envoy has it, False when that takes too long."""
        denied = tuple(sorted(set(sessions)))
        async with self._changed:
            if len(denied) > MAX_DENIED:
                warn(
                    "more sessions ended at once than a list can hold: all attested tokens end",
                    ended=len(denied),
                )
                self._another_key()
                denied = ()
            if denied != self._denied:
                self._denied = denied
                self._version += 1
                self._changed.notify_all()
            wanted = self._version
            return await self._until(lambda: self._applied >= wanted, PATIENCE_S)

    async def deny_nothing(self) -> bool:
        """There are no sessions."""
        return await self.deny(())

    async def end_all(self) -> bool:
        """End every attested token: sessions are read again. True when it is in force."""
        async with self._changed:
            self._another_key()
            wanted = self._version
            return await self._until(lambda: self._applied >= wanted, PATIENCE_S)

    def _another_key(self) -> None:
        self._number += 1
        self._signer = Signer(self._secret, self._number)
        self._version += 1
        self._signable = self._version
        self._changed.notify_all()

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Inside the condition."""
        if holds():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait_for(holds)
        except TimeoutError:
            return False
        return True
