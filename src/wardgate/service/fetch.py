"""
Fetches an issuer's keys: discovery, then the key set, each within bounds (`issuer_http.py`).

Nothing is cached here; what keys are good is `verify.keys`' business. Source: OpenID Connect Discovery 1.0, 3 and 4;
RFC 7517.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from wardgate.keystore import KeySource
from wardgate.service.issuer_http import IssuerAway, IssuerHttp, printable
from wardgate.verify.discovery import DiscoveryRejected, read_discovery
from wardgate.verify.keys import JwksRejected, KeySet, clean_jwks

CODES: Mapping[str, str] = {
    "issuer-discovery": "The discovery document cannot be used: another issuer, no JSON, no jwks_uri, or an address "
    "that is none.",
    "issuer-keys": "The key set cannot be used: no JSON, no keys, one kid twice, private parts.",
}
"""Why keys could not be fetched, beside those of `issuer_http`. The keys of before stay in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A good key set and the address that gave it."""

    keys: KeySet
    address: str


async def fetch(source: KeySource) -> Fetched:
    """The keys of one source, now. Raises IssuerAway."""
    # one client for each fetch: certificates that are replaced on disk are seen at the next one
    http = IssuerHttp(source)
    try:
        async with asyncio.timeout(source.timeout_s):
            return await _fetch(http, source)
    except TimeoutError as error:
        message = f"the issuer did not answer within {source.timeout_s:g} s"
        raise IssuerAway("issuer-slow", message) from error
    except ValueError as error:
        message = "an address is no URL: the proxy, the provider's own, or one that the issuer named"
        raise IssuerAway("issuer-unreachable", message) from error
    finally:
        await http.close()


async def _fetch(http: IssuerHttp, source: KeySource) -> Fetched:
    address = source.jwks_url or await _discovered(http, source)
    body = await http.fetch(address)
    try:
        return Fetched(keys=clean_jwks(body), address=printable(address))
    except JwksRejected as error:
        raise IssuerAway("issuer-keys", f"the keys at {printable(address)}: {error.reason}") from error


async def _discovered(http: IssuerHttp, source: KeySource) -> str:
    body = await http.fetch(source.discovery)
    try:
        found = read_discovery(body, issuer=source.issuer).jwks_uri
    except DiscoveryRejected as error:
        raise discovery_problem(source, error) from error
    if urlsplit(source.discovery).scheme == "https" and urlsplit(found).scheme != "https":
        message = f"the discovery document came by https and names keys without it: {printable(found)}"
        raise IssuerAway("issuer-redirect", message)
    return found


def discovery_problem(source: KeySource, error: DiscoveryRejected) -> IssuerAway:
    message = f"the discovery document at {printable(source.discovery)}: {error.reason}"
    hint = "the provider's issuer must be, letter by letter, the issuer of this document"
    return IssuerAway("issuer-discovery", message, hint if "issuer" in error.reason else "")
