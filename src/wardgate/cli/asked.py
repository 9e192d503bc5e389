"""
What `explain` is asked: the request for a URL, and the credential of a token or of a file of claims.

Loaded only when it is used: verification brings cryptography along, which no other command waits for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from wardgate.cli.token import read
from wardgate.decision import Request
from wardgate.keystore import source_of
from wardgate.policy import Audiences, Kind, Policy, Provider
from wardgate.principal import Anonymous, Credential, Principal, Rejected
from wardgate.problems import ConfigError, Problem, TokenError, Where
from wardgate.verify import Expectation, KeySet, UnsafeAnyAudience, clean_jwks, read_unverified, verify

CODES: Final[Mapping[str, str]] = {
    "claims-form": "The file of --claims is not one JSON object.",
    "no-login": "Nobody can have a session: the configuration, or the provider that is named, has no login.",
    "file-unreadable": "The file of --token or --claims does not exist, or this user may not read it.",
}
"""What can be wrong with the question."""


def request_of(method: str, url: str, lines: list[str]) -> Request:
    """The request for a URL (or a path alone, by http to no particular host) as a client would send it."""
    found = re.fullmatch(r"(?:(?P<scheme>https?)://(?P<host>[^/?#]*))?(?P<target>.*)", url, re.DOTALL)
    assert found is not None
    headers = tuple(
        (name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
    )
    forwarded = [value for name, value in headers if name.lower() == "x-forwarded-proto"]
    clients = [value for name, value in headers if name.lower() == "x-forwarded-for"]
    return Request(
        method=method.upper(),
        scheme=found["scheme"] or "http",
        host=found["host"] or "localhost",
        target=found["target"] or "/",
        headers=headers,
        trusted_peer=bool(forwarded),
        forwarded_proto=forwarded[0] if forwarded else None,
        client=address(clients),
    )


def address(forwarded_for: Sequence[str]) -> str:
    """The client's, as a trusted proxy says it in these lines of X-Forwarded-For; empty without one that is an address."""
    last = ",".join(forwarded_for).rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(last))
    except ValueError:
        return ""


def credential_of(
    policy: Policy, token: str | None, claims: str | None, name: str | None, *, session: bool = False
) -> Credential:
    """`session`: the claims are a session's, of its access token as of its ID token and userinfo."""
    if claims is not None:
        said = _json(claims)
        source = _named(policy, name) if name is not None else _issuer_of(policy, said, session)
        if session:
            return _session(policy, source, said)
        return Principal(provider=source.name, kind=Kind.BEARER, claims=said, token="TOKEN")  # noqa: S106
    if token is None:
        return Anonymous()
    text = read(token).removeprefix("Bearer ")
    try:
        issuer = read_unverified(text).claims.get("iss")
        matching = [found for found in policy.providers if found.issuer == issuer]
        if not matching:
            return Rejected(reason="token-issuer")
        source = matching[0]
        signed = verify(text, keys=_keys(source), expect=expectation(source), now=datetime.now(UTC))
    except TokenError as error:
        return Rejected(reason=error.code)
    return Principal(provider=source.name, kind=Kind.BEARER, claims=signed.claims, token=text)


def _issuer_of(policy: Policy, claims: Mapping[str, Any], session: bool) -> Provider:
    """Whose claims these are by their `iss`, else the first provider's (at which one can log in)."""
    for provider in policy.providers:
        if provider.issuer == claims.get("iss"):
            return provider
    login = policy.login_providers()
    return login[0] if session and login else _named(policy, None)


def _session(policy: Policy, source: Provider, claims: Mapping[str, Any]) -> Principal:
    if source not in policy.login_providers():
        hint = "a session needs `session` in the configuration, and a provider with a client-id"
        problem = Problem(
            code="no-login",
            message="nobody can have such a session",
            where=Where(file="--session"),
            got=repr(source.name),
            hint=hint,
        )
        raise ConfigError([problem])
    return Principal(
        provider=source.name,
        kind=Kind.SESSION,
        claims=claims,
        token="TOKEN",  # noqa: S106
        id_claims=claims,
        userinfo=claims,
        id_token="TOKEN",  # noqa: S106
    )


def _named(policy: Policy, name: str | None) -> Provider:
    """The provider whose token the claims are said to be. Raises ConfigError."""
    for provider in policy.providers:
        if name in (None, provider.name):
            return provider
    known = ", ".join(provider.name for provider in policy.providers) or "none"
    message = f"no such provider; the configuration has: {known}"
    raise ConfigError(
        [Problem(code="provider-unknown", message=message, where=Where(file="--provider"), got=repr(name))]
    )


def expectation(provider: Provider) -> Expectation:
    """What the provider's tokens must be, in the terms of `wardgate.verify`."""
    audience = provider.audience
    return Expectation(
        issuer=provider.issuer,
        audiences=audience.any_of if isinstance(audience, Audiences) else UnsafeAnyAudience(),
        algorithms=frozenset(provider.algorithms),
        leeway=provider.leeway,
        max_lifetime=provider.max_lifetime,
    )


def _keys(provider: Provider) -> KeySet:
    if provider.jwks is not None:
        return clean_jwks(provider.jwks)
    from wardgate.service.fetch import fetch

    return asyncio.run(fetch(source_of(provider))).keys


def _file(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError(
            [Problem(code="file-unreadable", message=message, where=Where(file=name))]
        ) from error


def _json(name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(sys.stdin.read() if name == "-" else _file(name))
    except ValueError as error:
        raise ConfigError(
            [Problem(code="claims-form", message=str(error), where=Where(file=name))]
        ) from error
    if not isinstance(found, dict):
        message = "claims are one JSON object"
        raise ConfigError([Problem(code="claims-form", message=message, where=Where(file=name))])
    return found
