"""
Bearer JWTs, verified by Envoy's `jwt_authn` with keys that we put in (design 4).

Security defaults are written out even where they are Envoy's own. What `jwt_authn` does not judge (`crit`, header
and payload `typ`, `cnf`, strict JSON) is refused before it, by the guard; exact audiences after it, by RBAC,
since Envoy compares `aud` without its scheme and last slash (run on 1.40).

Source: RFC 7519, RFC 8725, RFC 9068; design 3, 4 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wardgate.envoy import HTTP_FILTERS, Json, digest, duration, matching, names, typed
from wardgate.policy import Audiences, Credentials, Kind, Mode, Provider

CACHE_TOKENS = 10_000
"""Verified tokens remembered by each worker: without it every request pays an RSA verification (0.4 of the speed)."""

CACHE_TOKEN_BYTES = 8192
"""A longer token is verified each time: the cache is bounded in bytes by this times CACHE_TOKENS."""

NO_KEYS = '{"keys":[{"alg":"EdDSA","crv":"Ed25519","kid":"nobody","kty":"OKP","use":"sig","x":"ab5xSUIhuY3Ukog4U-WI2qiRvqJIC4GXkqcVcfUzFx4"}]}'
"""
A key set that verifies nothing: Envoy refuses an empty one. Its point is SHA-256 of "wardgate: nobody has this key",
so no private key to it is known to anyone.
"""


def envoy_name(provider: Provider, permissive: bool = False) -> str:
    """
    The provider's name inside Envoy: a new one whenever anything but its keys changes.

    A reload adds it before routes use it; keys change in place, so a rotation touches no route.
    """
    return f"{provider.name}-{digest(_settings(provider, permissive))}"


def _settings(provider: Provider, permissive: bool) -> Json:
    source = (
        {"name": names.CREDENTIAL} if permissive else {"name": "Authorization", "value_prefix": "Bearer "}
    )
    settings: Json = {
        "issuer": provider.issuer,
        "from_headers": [source],
        "forward": not permissive,
        "payload_in_metadata": names.PAYLOAD,
        "clock_skew_seconds": int(provider.leeway.total_seconds()),
        "require_expiration": True,
        "max_lifetime": duration(provider.max_lifetime),
        "jwt_cache_config": {"jwt_cache_size": CACHE_TOKENS, "jwt_max_token_size": CACHE_TOKEN_BYTES},
    }
    if isinstance(provider.audience, Audiences):
        settings["audiences"] = list(provider.audience.any_of)
    return settings


def accepts_bearer(credentials: Credentials) -> bool:
    return Kind.BEARER in credentials.kinds and bool(credentials.providers)


def requirement_name(credentials: Credentials, providers: Mapping[str, Provider]) -> str:
    return f"{credentials.mode}-{digest(_requirement(credentials, providers))}"


def _requirement(credentials: Credentials, providers: Mapping[str, Provider]) -> Json:
    permissive = credentials.mode is Mode.PERMISSIVE
    used: list[Json] = [
        {"provider_name": envoy_name(providers[name], permissive)} for name in sorted(credentials.providers)
    ]
    if credentials.mode is Mode.OPTIONAL:
        used.append({"allow_missing": {}})
    if permissive:
        used.append({"allow_missing_or_failed": {}})
    return used[0] if len(used) == 1 else {"requires_any": {"requirements": used}}


def filter_config(
    wanted: Iterable[Credentials],
    providers: Mapping[str, Provider],
    keys: Mapping[str, str],
    generation: int = 0,
) -> Json:
    """
    The filter for all credentials that routes name. `keys`: provider name to JWKS text; a provider without keys
    stands with an empty set, and the routes that need it answer 503 by themselves.

    Its default rule requires what nobody can present: a route without its own configuration is closed.
    """
    blocks: Json = {}
    requirements: Json = {}
    for credentials in wanted:
        permissive = credentials.mode is Mode.PERMISSIVE
        for name in credentials.providers:
            provider = providers[name]
            jwks = {"local_jwks": {"inline_string": keys.get(name, NO_KEYS)}}
            blocks[envoy_name(provider, permissive)] = {**_settings(provider, permissive), **jwks}
        requirements[requirement_name(credentials, providers)] = _requirement(credentials, providers)
    requirements[f"generation-{generation}"] = {"provider_name": CLOSED}
    return typed(
        HTTP_FILTERS + "jwt_authn.v3.JwtAuthentication",
        providers={CLOSED: _closed(), **blocks},
        requirement_map=requirements,
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


def per_route(credentials: Credentials, providers: Mapping[str, Provider]) -> Json:
    name = requirement_name(credentials, providers)
    return typed(HTTP_FILTERS + "jwt_authn.v3.PerRouteConfig", requirement_name=name)


def wrong_audience(credentials: Credentials, providers: Mapping[str, Provider]) -> Json | None:
    """A predicate: the verified token's `aud` does not hold exactly one of its provider's audiences."""
    checked = [providers[name] for name in credentials.providers]
    pairs = [(p.issuer, p.audience.any_of) for p in checked if isinstance(p.audience, Audiences)]
    if not pairs:
        return None
    only_one = len(checked) == 1 and credentials.mode is Mode.REQUIRED
    wrong = [matching.negated(_claim("aud", audiences)) for _, audiences in pairs]
    if only_one:
        return wrong[0]
    issued = [_claim("iss", (issuer,)) for issuer, _ in pairs]
    return matching.any_of([matching.all_of([iss, bad]) for iss, bad in zip(issued, wrong, strict=True)])


def _claim(name: str, values: Iterable[str]) -> Json:
    exact = [{"string_match": {"exact": value}} for value in values]
    one = exact[0] if len(exact) == 1 else {"or_match": {"value_matchers": exact}}
    either = {"or_match": {"value_matchers": [one, {"list_match": {"one_of": one}}]}}
    return matching.metadata(names.JWT_METADATA, (names.PAYLOAD, name), either)


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
