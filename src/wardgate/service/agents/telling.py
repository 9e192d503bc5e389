"""
The webhook: whoever runs the gateway is told of requests that wait for people.

What is to be told stands in the store from the moment that a request is filed, in the same transaction, so it outlives whatever is
killed. Of several replicas one tells it; one that does not get an answer of 2xx tries again, ever more rarely, as long as the
request waits. A receiver may hear of one twice, under the same `webhook-id`. Source: Standard Webhooks 1.0.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx

from wardgate.approvals.desk import Desk
from wardgate.approvals.records import AgentRequest, Phase, when
from wardgate.approvals.store import Delivery, StoreAway
from wardgate.events import complain, say, warn
from wardgate.policy import Secret, Webhook

EVENT: Final = "agent-request.pending"
LOOK_S: Final = 2.0
AT_ONCE: Final = 16
PATIENCE_S: Final = 10.0

AGAIN_S: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""How long after an attempt comes the next; the last holds for all that follow."""


def signature(secret: Secret, name: str, at: int, body: bytes) -> str:
    """The `webhook-signature` of a body (Standard Webhooks, 1.0): `whsec_` and base64, or any text, is the secret."""
    given = secret.reveal()
    key = given.encode()
    if given.startswith("whsec_"):
        with contextlib.suppress(binascii.Error):  # else it is text that happens to begin so
            key = base64.b64decode(given.removeprefix("whsec_"), validate=True)
    digest = hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode("ascii")


class Telling:
    """`desk` is that of the settings in force, None where there is none; `page` the address of a request in the console, or none."""

    def __init__(self, desk: Callable[[], Awaitable[Desk | None]], page: Callable[[str], str | None]) -> None:
        self._desk = desk
        self._page = page
        self._http: httpx.AsyncClient | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.tell()
            except StoreAway:
                pass  # whoever asks hears of it
            except Exception as error:
                complain("a fault of the gateway itself while a webhook is told", error=repr(error))
            await asyncio.sleep(LOOK_S)

    async def tell(self) -> None:
        """Once all that is due. Raises StoreAway."""
        desk = await self._desk()
        webhook = desk.terms.webhook if desk is not None else None
        if desk is None or webhook is None:
            return
        due = await desk.store.due_deliveries(time.time(), AT_ONCE)
        await asyncio.gather(*(self._one(desk, webhook, delivery) for delivery in due))

    async def _one(self, desk: Desk, webhook: Webhook, delivery: Delivery) -> None:
        now = time.time()
        again = now + PATIENCE_S + AGAIN_S[min(delivery.attempts, len(AGAIN_S) - 1)]
        request = await desk.store.read(delivery.request)
        if request is None or request.phase is not Phase.PENDING or request.is_over(now):
            await desk.store.end_delivery(delivery)
            return
        if not await desk.store.take_delivery(delivery, again):
            return
        why = await self._sent(webhook, request, int(now))
        about: dict[str, Any] = {"request": request.name, "attempt": delivery.attempts + 1}
        if why is None:
            await desk.store.end_delivery(delivery)
            say("the webhook was told of a request", **about)
        else:
            warn("the webhook could not be told of a request; it is tried again", why=why, **about)

    async def _sent(self, webhook: Webhook, request: AgentRequest, now: int) -> str | None:
        """None: it was taken; else why not."""
        page = self._page(request.name)
        data = {**request.as_data(), **({"url": page} if page is not None else {})}
        body = json.dumps({"type": EVENT, "timestamp": when(now), "data": data}, ensure_ascii=False).encode()
        headers = {
            "content-type": "application/json",
            "webhook-id": request.name,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(webhook.secret, request.name, now, body),
        }
        if self._http is None:
            self._http = httpx.AsyncClient(timeout=PATIENCE_S, follow_redirects=False, trust_env=False)
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._http.post(webhook.url, content=body, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            return f"{type(error).__name__}: no answer"
        return None if answer.is_success else f"it answers {answer.status_code}"

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
