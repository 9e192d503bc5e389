"""
Bearer JWTs, verified by Envoy's `jwt_authn` with keys that we put in (design 4).

Security defaults are written out even where they are Envoy's own. What `jwt_authn` does not judge (`crit`, header
and payload `typ`, `cnf`, strict JSON) is refused before it, by the guard; exact audiences after it, by RBAC,
since Envoy compares `aud` without its scheme and last slash (run on 1.40).

Source: RFC 7519, RFC 8725, RFC 9068; design 3, 4 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from wardgate.authn import attested
from wardgate.envoy import HTTP_FILTERS, Json, claims, digest, duration, matching, names, typed
from wardgate.policy import Audiences, Credentials, Introspection, Kind, Mode, Provider

CACHE_TOKENS = 10_000
"""Verified tokens remembered by each worker: without it every request pays an RSA verification (0.4 of the speed)."""

CACHE_TOKEN_BYTES = 8192
"""A longer token is verified each time: the cache is bounded in bytes by this times CACHE_TOKENS."""

NO_KEYS = '{"keys":[{"alg":"EdDSA","crv":"Ed25519","kid":"nobody","kty":"OKP","use":"sig","x":"ab5xSUIhuY3Ukog4U-WI2qiRvqJIC4GXkqcVcfUzFx4"}]}'
"""
A key set that verifies nothing: Envoy refuses an empty one. Its point is SHA-256 of "wardgate: nobody has this key",
so no private key to it is known to anyone.
"""


class Reading(StrEnum):
    """Where a provider looks for the token, and what it leaves of it."""

    FIRST = "first"
    """In Authorization; the payload goes to metadata, to be written as text. Each token comes this way once."""

    KNOWN = "known"
    """In the guard's own header, when the guard brings the claims of a credential that was verified before."""

    PERMISSIVE = "permissive"
    """In the guard's own header on permissive routes, which the guard leaves out for a malformed token."""


_HEADERS = {
    Reading.FIRST: {"name": "Authorization", "value_prefix": "Bearer "},
    Reading.KNOWN: {"name": names.BEARER},
    Reading.PERMISSIVE: {"name": names.CREDENTIAL},
}


def envoy_name(provider: Provider, reading: Reading) -> str:
    """
    The provider's name inside Envoy: a new one whenever anything but its keys changes.

    A reload adds it before routes use it; keys change in place, so a rotation touches no route.
    """
    return f"{provider.name}-{reading}-{digest(_settings(provider, reading))}"


def _settings(provider: Provider, reading: Reading) -> Json:
    settings: Json = {
        "issuer": provider.issuer,
        "from_headers": [_HEADERS[reading]],
        "forward": True,
        # whole seconds, and never 0: for Envoy that is its own default, 60
        "clock_skew_seconds": max(1, math.ceil(provider.leeway.total_seconds())),
        "require_expiration": True,
        "max_lifetime": duration(provider.max_lifetime),
    }
    if reading is Reading.KNOWN:
        settings["jwt_cache_config"] = {
            "jwt_cache_size": CACHE_TOKENS,
            "jwt_max_token_size": CACHE_TOKEN_BYTES,
        }
    else:
        settings["payload_in_metadata"] = names.PAYLOAD
    if isinstance(provider.audience, Audiences):
        settings["audiences"] = list(provider.audience.any_of)
    return settings


@dataclass(frozen=True, slots=True)
class Want:
    """
    What a route asks of this method. `native`: providers whose tokens Envoy may accept by itself; the others' go
    through the service. `payload`: its rule needs the payload itself, at every request.
    """

    mode: Mode
    native: tuple[str, ...]
    payload: bool = False

    @property
    def first(self) -> Reading:
        return Reading.PERMISSIVE if self.mode is Mode.PERMISSIVE else Reading.FIRST

    @property
    def known(self) -> bool:
        """Whether what is known counts: not where a failed credential passes, not where the payload is asked for."""
        return self.mode is not Mode.PERMISSIVE and not self.payload


def accepts_bearer(credentials: Credentials) -> bool:
    return Kind.BEARER in credentials.kinds and bool(credentials.providers)


def bearer_terms(credentials: Credentials, providers: Mapping[str, Provider]) -> claims.Bearer | None:
    """What the guard does about bearer tokens on a route with these credentials."""
    if not accepts_bearer(credentials):
        return None
    asked = {providers[name].introspection for name in credentials.providers}
    if credentials.introspect or Introspection.ALWAYS in asked:
        return claims.Bearer.CHECKED
    return claims.Bearer.OPAQUE if Introspection.OPAQUE in asked else claims.Bearer.JWT


def want(credentials: Credentials, providers: Mapping[str, Provider], payload: bool) -> Want:
    native = bearer_terms(credentials, providers) in (claims.Bearer.JWT, claims.Bearer.OPAQUE)
    return Want(credentials.mode, tuple(sorted(credentials.providers)) if native else (), payload)


def requirement_name(want: Want, providers: Mapping[str, Provider]) -> str:
    return f"{want.mode}-{digest(_requirement(want, providers))}"


def _requirement(want: Want, providers: Mapping[str, Provider]) -> Json:
    """The first that holds decides: what is known before what is seen for the first time."""

    def natively(reading: Reading) -> list[str]:
        return [envoy_name(providers[name], reading) for name in want.native]

    known = [*natively(Reading.KNOWN), attested.Reading.KNOWN.value] if want.known else []
    named = [*known, attested.Reading.FIRST.value, *natively(want.first)]
    used: list[Json] = [{"provider_name": name} for name in named]
    if want.mode is Mode.OPTIONAL:
        used.append({"allow_missing": {}})
    if want.mode is Mode.PERMISSIVE:
        used.append({"allow_missing_or_failed": {}})
    return used[0] if len(used) == 1 else {"requires_any": {"requirements": used}}


def filter_config(
    wanted: Iterable[Want],
    providers: Mapping[str, Provider],
    keys: Mapping[str, str],
    attested_keys: str | None = None,
    generation: int = 0,
) -> Json:
    """
    The filter for all that routes want. `keys`: provider name to JWKS text; a provider without keys stands with
    keys that nobody has, and the routes that need it answer 503 by themselves. `attested_keys`: the service's own.

    Its default rule requires what nobody can present: a route without its own configuration is closed.
    """
    blocks: Json = {}
    requirements: Json = {}
    for want in wanted:
        for name in want.native:
            jwks = {"local_jwks": {"inline_string": keys.get(name, NO_KEYS)}}
            for reading in [*([Reading.KNOWN] if want.known else []), want.first]:
                blocks[envoy_name(providers[name], reading)] = {**_settings(providers[name], reading), **jwks}
        requirements[requirement_name(want, providers)] = _requirement(want, providers)
    requirements[f"generation-{generation}"] = {"provider_name": CLOSED}
    return typed(
        HTTP_FILTERS + "jwt_authn.v3.JwtAuthentication",
        providers={CLOSED: _closed(), **attested.blocks(attested_keys or NO_KEYS), **blocks},
        requirement_map=requirements,
        # the answer, and whether it has a challenge, is said by `replies`
        strip_failure_response=True,
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": CLOSED}}],
    )


CLOSED = "closed"


def _closed() -> Json:
    """A provider whose tokens cannot exist."""
    source = [{"name": "x-wardgate-closed"}]
    jwks = {"inline_string": NO_KEYS}
    return {
        "issuer": "urn:wardgate:closed",
        "local_jwks": jwks,
        "from_headers": source,
        "require_expiration": True,
    }


def per_route(want: Want, providers: Mapping[str, Provider]) -> Json:
    name = requirement_name(want, providers)
    return typed(HTTP_FILTERS + "jwt_authn.v3.PerRouteConfig", requirement_name=name)


def wrong_audience(credentials: Credentials, providers: Mapping[str, Provider]) -> Json | None:
    """A predicate: the verified token's `aud` does not hold exactly one of its provider's audiences."""
    checked = [providers[name] for name in credentials.providers]
    pairs = [(p.issuer, p.audience.any_of) for p in checked if isinstance(p.audience, Audiences)]
    if not pairs:
        return None
    wrong = [matching.negated(_holds("aud", audiences)) for _, audiences in pairs]
    if len(checked) == 1 and credentials.mode is Mode.REQUIRED:
        return wrong[0]
    issued = [_holds("iss", (issuer,)) for issuer, _ in pairs]
    return matching.any_of([matching.all_of([iss, bad]) for iss, bad in zip(issued, wrong, strict=True)])


def _holds(name: str, values: Iterable[str]) -> Json:
    return claims.holds_any([claims.item((name,), value) for value in values])


REASONS = {
    "Jwt_is_missing": "no-credential",
    "Jwt_is_expired": "token-expired",
    "Jwt_not_yet_valid": "token-not-yet-valid",
    "Jwt_verification_fails": "token-signature",
    "Jwt_issuer_is_not_configured": "token-issuer",
    "Audiences_in_Jwt_are_not_allowed": "token-audience",
    "Jwks_doesn't_have_key_to_match_kid_or_alg_from_Jwt": "token-key-unknown",
    "Jwt_has_expired_or_exceeds_max_lifetime": "token-lifetime",
}
"""Envoy's words in `%RESPONSE_CODE_DETAILS%` after `jwt_authn_access_denied`, and our codes; others: token-invalid."""
