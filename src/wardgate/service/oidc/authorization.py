"""The address that a browser is sent to for a login, and what stands in it (OpenID Connect Core 1.0, 3.1.2.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from wardgate.policy import Provider

OURS: Final = frozenset(
    {
        *("client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method", "request", "request_uri", "client_secret"),
    }
)
"""Parameters of a login that nobody else may set (RFC 9700, 2.1)."""


def free_parameters(provider: Provider, parameters: Mapping[str, str]) -> dict[str, str | Sequence[str]]:
    """
    What a provider's configuration asks for, and over it what this login asks for; nothing of OURS. Several values of one
    name are a sequence (`resource`: RFC 8707, 2).
    """
    found: dict[str, str | Sequence[str]] = {}
    if provider.acr_values is not None:
        found["acr_values"] = provider.acr_values
    if provider.max_age is not None:
        found["max_age"] = str(int(provider.max_age.total_seconds()))
    configured: dict[str, list[str]] = {}
    for name, value in provider.authorization_parameters:
        configured.setdefault(name, []).append(value)
    given = {**configured, **parameters}
    return found | {name: value for name, value in given.items() if name not in OURS}


def with_query(address: str, asked: Mapping[str, str | Sequence[str]]) -> str:
    """An endpoint's address may have a query of its own, and no fragment (RFC 6749, 3.1)."""
    bare = address.partition("#")[0]
    return f"{bare}{'&' if '?' in bare else '?'}{urlencode(asked, doseq=True)}"
