"""How TLS is served, and how it is spoken to others."""

from __future__ import annotations

from dataclasses import dataclass

from wardgate.policy.base import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """Files in PEM; `minimum` is `1.2` or `1.3`; `client_ca` asks clients for a certificate."""

    certificate: str
    key: str
    minimum: str = "1.3"
    client_ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A chain of certificates and its key: the texts themselves, in PEM."""

    certificate: str
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTls:
    """
    Certificates that are part of the policy. Who asks for a name (SNI) is shown the one that is made for it, who asks for no
    name, or for one that none is made for, the first.
    """

    pairs: tuple[KeyPair, ...]
    minimum: str = "1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """
    How we speak TLS to another server; files in PEM. `ca_pem`: authorities as they are, without a file. `verify` False is unsafe
    and is said at start.
    """

    ca: str | None = None
    ca_pem: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None
    verify: bool = True
