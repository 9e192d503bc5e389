"""
One of several replicas writes statuses: whoever holds a Lease (coordination.k8s.io/v1). All replicas serve, whoever it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from wardgate.events import say
from wardgate.kubernetes.client import ApiError, Away, Client, Object

LEASE_S: Final = 15
RENEW_S: Final = 5.0


@dataclass(slots=True, kw_only=True)
class Election:
    """`leads` is true while the Lease is ours; it ends by itself when it cannot be renewed in time."""

    client: Client
    namespace: str
    name: str
    identity: str
    _until: float = 0.0
    _seen: tuple[str, float] = ("", 0.0)

    @property
    def leads(self) -> bool:
        return asyncio.get_running_loop().time() < self._until

    async def run(self) -> None:
        while True:
            before = self.leads
            try:
                await self._try()
            except (Away, ApiError) as error:
                if before:
                    say(
                        "the lease could not be renewed",
                        lease=f"{self.namespace}/{self.name}",
                        error=str(error),
                    )
            if self.leads != before:
                say("statuses are written here" if self.leads else "another replica writes statuses")
            await asyncio.sleep(RENEW_S)

    async def release(self) -> None:
        """At the end, so that another one goes on at once. Raises Away or ApiError."""
        if self.leads:
            await self._write(await self.client.ask("GET", self._path), holder="")

    @property
    def _folder(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._folder}/{self.name}"

    async def _try(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            lease = await self.client.ask("GET", self._path)
        except ApiError as error:
            if error.status != 404:
                raise
            metadata = {"name": self.name, "namespace": self.namespace}
            new = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": metadata,
                "spec": self._spec({}),
            }
            await self.client.ask("POST", self._folder, json=new)
        else:
            if not self._is_free(lease):
                return
            await self._write(lease, holder=self.identity)
        self._until = began + LEASE_S

    def _is_free(self, lease: Object) -> bool:
        """By our own clock: when another's renewal was seen here for the first time."""
        spec = lease.get("spec") or {}
        holder, renewed = spec.get("holderIdentity") or "", str(spec.get("renewTime") or "")
        if holder in ("", self.identity):
            return True
        now = asyncio.get_running_loop().time()
        if self._seen[0] != f"{holder} {renewed}":
            self._seen = f"{holder} {renewed}", now
        return now - self._seen[1] > float(spec.get("leaseDurationSeconds") or LEASE_S)

    async def _write(self, lease: Object, holder: str) -> None:
        """Raises ApiError with 409 when another one was faster."""
        spec = {**self._spec(lease.get("spec") or {}), "holderIdentity": holder}
        changed = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
        await self.client.patch(self._path, changed)

    def _spec(self, before: Object) -> Object:
        text = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": before.get("acquireTime") if ours else text,
            "renewTime": text,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if ours or not before else 1),
        }
