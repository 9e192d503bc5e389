"""Services behind the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from wardgate.policy.base import place_field, refuse
from wardgate.policy.tls import ClientTls
from wardgate.problems import Where


class UpstreamProtocol(StrEnum):
    HTTP1 = "http1"
    HTTP2 = "http2"
    """Cleartext with prior knowledge, or ALPN h2 over TLS: gRPC needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of an upstream. `weight`: its share of the requests, beside those of the others."""

    host: str
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A service behind the gateway; several endpoints are used in turn. `keepalive` None: one request a connection."""

    name: str
    endpoints: tuple[Endpoint, ...]
    tls: ClientTls | None = None
    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1
    connect_timeout: timedelta = timedelta(seconds=10)
    response_timeout: timedelta = timedelta(seconds=60)
    keepalive: timedelta | None = timedelta(seconds=60)
    preserve_host: bool = True
    where: Where = place_field()

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise refuse("upstream-empty", "an upstream needs an endpoint", self.where, self.name)
