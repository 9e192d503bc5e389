"""Where requests come in, from whoever calls and from other proxies that ask."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from wardgate.policy.base import place_field, refuse, require_unique
from wardgate.policy.routes import Host
from wardgate.policy.tls import HeldTls, ServerTls
from wardgate.problems import Where


class Errors(StrEnum):
    """Whose error bodies: our problem documents, or those of a product that is replaced."""

    PROBLEM = "problem"
    ROLE_MAPPING = "role-mapping"
    """`{"detail": …}`, and of what is allowed who calls (S1)."""

    AGENTGATEWAY = "agentgateway"
    """`authentication failure: …` as plain text, without a challenge (S4)."""

    AIP = "aip"
    """`{"error": …}`, in the words of the AIP gateway (S2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An IP address and a port; port 0 asks the kernel."""

    host: str
    port: int
    where: Where = place_field()

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            hint = "write an IP address: 127.0.0.1, 0.0.0.0 or [::]"
            raise refuse(
                "listen-address", "not an address to listen on", self.where, self.host, hint
            ) from None
        if not 0 <= self.port <= 65535:
            raise refuse("port", "a port is 0 to 65535", self.where, self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardAuth:
    """
    Where other proxies ask whether a request may pass (forward-auth, auth_request, ext_authz): `path`, and below it.

    `path` `/` is every path that is not ours, None only those of `by_headers`: there a question is told from a person's request
    by the headers that name the original one. `only`: the listener proxies nothing, and its routes name no upstream.
    """

    path: str | None = "/auth"
    by_headers: tuple[str, ...] = ()
    only: bool = True
    where: Where = place_field()

    def __post_init__(self) -> None:
        for path in filter(None, (self.path, *self.by_headers)):
            if not re.fullmatch(r"/|(?:/[0-9A-Za-z_.~-]+)+", path) or "/." in path:
                hint = "a path of letters, digits and - . _ ~ between slashes: /auth"
                raise refuse(
                    "forward-auth-path", "not a path that proxies can ask at", self.where, path, hint
                )

        if self.path == "/" and not self.only:
            hint = "name a path where proxies ask, such as /auth"
            message = "every path cannot be asked at on a listener that proxies"
            raise refuse("forward-auth-path", message, self.where, self.path, hint)

    @property
    def below(self) -> str | None:
        """What the path of a request begins with that has its original behind it."""
        return None if self.path is None else self.path.rstrip("/") + "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """
    `redirect_to_https`: a request whose scheme is http is redirected, the health endpoint aside. `errors` None: as the
    policy says. `tells_hops`: an upstream gets X-Request-ID and X-Forwarded-*, which say how the request came.
    """

    name: str
    address: Address
    hosts: tuple[Host, ...]
    tls: ServerTls | HeldTls | None = None
    redirect_to_https: bool = False
    proxy_protocol: bool = False
    forward_auth: ForwardAuth | None = None
    errors: Errors | None = None
    tells_hops: bool = True
    where: Where = place_field()

    @property
    def proxies(self) -> bool:
        """Whether requests go on to upstreams from here."""
        return self.forward_auth is None or not self.forward_auth.only

    def __post_init__(self) -> None:
        names = [(name.lower(), host.where) for host in self.hosts for name in host.names]
        require_unique("host-duplicate", "two hosts with one name", names)
