"""
Attested tokens: what the service found out about a credential that Envoy cannot read, signed by the service's own
short-lived key (design 3). Envoy verifies them as it verifies an issuer's, at every request.

Payload: `iss` ISSUER, `sub`, `iat`, `exp` (seconds), `via` (`session:PROVIDER`, `bearer:PROVIDER`,
`checked:PROVIDER`), `sid` (sessions: the name on the deny list), `claims`, `id`, `userinfo` (objects). How one is made:
`service/attest.py`.
"""

from __future__ import annotations

from enum import StrEnum

from wardgate.envoy import Json, names

ISSUER = "urn:wardgate:attested"
"""No issuer of a provider can be called so: those are http(s) URLs."""

CACHE_TOKENS = 10_000
CACHE_TOKEN_BYTES = 64 * 1024
"""Verified attested tokens that each worker remembers; most are a kilobyte or two."""


class Reading(StrEnum):
    """Where the token stands: FIRST as the service answered it, KNOWN as the guard brings it along."""

    FIRST = "attested-first"
    KNOWN = "attested-known"


def blocks(jwks: str) -> Json:
    """Both readings as providers of `jwt_authn`, by their names there, which never change."""
    return {
        reading.value: {**_settings(reading), "local_jwks": {"inline_string": jwks}} for reading in Reading
    }


def _settings(reading: Reading) -> Json:
    settings: Json = {
        "issuer": ISSUER,
        "forward": True,
        "clock_skew_seconds": 1,  # 0 would be Envoy's default, 60
        "require_expiration": True,
        "from_headers": [{"name": names.TICKET if reading is Reading.KNOWN else names.ATTESTED}],
    }
    if reading is Reading.KNOWN:
        settings["jwt_cache_config"] = {
            "jwt_cache_size": CACHE_TOKENS,
            "jwt_max_token_size": CACHE_TOKEN_BYTES,
        }
    else:
        settings["payload_in_metadata"] = names.ATTESTED_PAYLOAD
    return settings


def rekeyed(config: Json, jwks: str) -> Json:
    """The configuration of `jwt_authn` with other keys for attested tokens, and nothing else changed."""
    return {**config, "providers": {**config["providers"], **blocks(jwks)}}
