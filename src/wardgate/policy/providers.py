"""Sources of tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from wardgate.policy.base import Secret, place_field, refuse
from wardgate.policy.session import Login
from wardgate.policy.tls import ClientTls
from wardgate.problems import NOWHERE, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Audiences:
    """The token's `aud` holds one of these."""

    any_of: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.any_of:
            raise refuse("audience-empty", "an empty list of audiences accepts no token", NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedAudience:
    """Whatever `aud` says is accepted: a token made for another application opens this one."""


ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class ClientAuthentication(StrEnum):
    """How we prove to the issuer that we are our client (OpenID Connect Core 1.0, 9)."""

    BASIC = "basic"
    POST = "post"
    PRIVATE_KEY_JWT = "private-key-jwt"


class Introspection(StrEnum):
    """
    Which bearer tokens the issuer is asked about (RFC 7662).

    OPAQUE: those that are no JWT. ALWAYS: every one, and the access tokens of sessions, so that a login that ended at
    the issuer is noticed.
    """

    OFF = "off"
    OPAQUE = "opaque"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """
    One configured source of tokens: the `iss` that they carry, and where its keys are.

    `discovery_url` defaults to the issuer's own; `jwks_url` skips discovery; `jwks` are keys in the file itself.
    With a `client_id` browsers can log in here (where the policy has a `session`). `client_key` is a file in PEM, for
    `private-key-jwt`. `title` is what a person reads who has to choose between providers; `email_domains` and `hosts`
    choose without asking. `authorization_parameters` are sent with every login (`ui_locales`, `prompt`, ...). `endpoints` are
    addresses by their names in a discovery document (`token_endpoint`, ...), and stand over what that says. `login`: its
    logins have a session of their own; None: the policy's.
    """

    name: str
    issuer: str
    audience: Audiences | UncheckedAudience
    discovery_url: str | None = None
    jwks_url: str | None = None
    jwks: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256")
    leeway: timedelta = timedelta(seconds=30)
    max_lifetime: timedelta = timedelta(hours=24)
    keys_refresh: timedelta = timedelta(seconds=60)
    timeout: timedelta = timedelta(seconds=10)
    client_id: str | None = None
    client_secret: Secret | None = None
    client_authentication: ClientAuthentication = ClientAuthentication.BASIC
    client_key: str | None = None
    pushed_authorization: bool = False
    acr_values: str | None = None
    max_age: timedelta | None = None
    authorization_parameters: tuple[tuple[str, str], ...] = ()
    endpoints: tuple[tuple[str, str], ...] = ()
    title: str | None = None
    email_domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    introspection: Introspection = Introspection.OFF
    introspection_url: str | None = None
    tls: ClientTls = field(default_factory=ClientTls)
    headers: tuple[tuple[str, str], ...] = ()
    proxy: str | None = None
    login: Login | None = None
    where: Where = place_field()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^\s?#]+", self.issuer):
            hint = "the iss of the tokens, as in the discovery document: https://HOST/realms/REALM"
            raise refuse("issuer-form", "an issuer is an http(s) URL", self.where, self.issuer, hint)
        for algorithm in self.algorithms:
            if algorithm not in ALGORITHMS:
                hint = f"one of {', '.join(ALGORITHMS)}"
                raise refuse("algorithm", "an algorithm that is not accepted", self.where, algorithm, hint)
        by_key = self.client_authentication is ClientAuthentication.PRIVATE_KEY_JWT
        if by_key and self.client_key is None:
            hint = "name the file with our private key (client-key)"
            raise refuse("client-key", "private-key-jwt needs a key", self.where, self.name, hint)
        if self.introspection is not Introspection.OFF and self.client_id is None:
            hint = "set client-id and client-secret: the issuer answers its own clients only"
            raise refuse("introspection-client", "introspection needs a client", self.where, self.name, hint)

    def discovery(self) -> str:
        """Where the discovery document is (OpenID Connect Discovery 1.0, 4)."""
        return self.discovery_url or self.issuer.rstrip("/") + "/.well-known/openid-configuration"
