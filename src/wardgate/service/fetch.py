"""
Fetches an issuer's keys: discovery, then the key set, each within bounds.

An issuer's server may be slow, broken, replaced or hostile: total time and size are limited, compressed answers
are refused (a bomb), redirects stay on their host, https never becomes http. Nothing is cached here; what keys are
good is `verify.keys`' business. Source: OpenID Connect Discovery 1.0, 3 and 4; RFC 7517.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx

from wardgate.keystore import KeySource
from wardgate.policy import ClientTls
from wardgate.problems import Unavailable
from wardgate.verify.discovery import DiscoveryRejected, read_discovery
from wardgate.verify.keys import MAX_BYTES, JwksRejected, KeySet, clean_jwks

MAX_REDIRECTS = 3

CODES: Mapping[str, str] = {
    "issuer-unreachable": "The issuer's server cannot be reached: wrong address, name, port or network.",
    "issuer-tls": "The issuer's server could not be trusted: its certificate, or the files that are to judge it.",
    "issuer-slow": "The issuer's server took longer than the provider's timeout for discovery and keys together.",
    "issuer-status": "The issuer's server answered with another status than 200.",
    "issuer-redirect": "The issuer's server redirects to another host, to plain http, or in a circle.",
    "issuer-answer": "The issuer's answer cannot be used as it is: too large, or compressed.",
    "issuer-discovery": "The discovery document cannot be used: another issuer, no JSON, or no jwks_uri.",
    "issuer-keys": "The key set cannot be used: no JSON, no keys, one kid twice, private parts.",
    "keys-disk": "Good keys came and could not be written to the state directory: full, or not writable.",
}
"""Why keys could not be fetched. The keys of before stay in force."""


class KeysAway(Unavailable):
    """No usable keys came; `code` is one of CODES, `message` and `hint` are for people."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.code = code
        self.message = message
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A good key set and the address that gave it."""

    keys: KeySet
    address: str


async def fetch(source: KeySource) -> Fetched:
    """The keys of one source, now. Raises KeysAway."""
    try:
        async with asyncio.timeout(source.timeout_s), _client(source) as client:
            return await _fetch(client, source)
    except TimeoutError as error:
        message = f"the issuer did not answer within {source.timeout_s:g} s"
        raise KeysAway("issuer-slow", message) from error
    except (httpx.InvalidURL, ValueError) as error:
        # not printed: what is no URL cannot be printed without the password that may stand in it
        message = "an address is no URL: the proxy, the provider's own, or one that the issuer named"
        raise KeysAway("issuer-unreachable", message) from error


async def _fetch(client: httpx.AsyncClient, source: KeySource) -> Fetched:
    address = source.jwks_url or await _discovered(client, source)
    body = await _get(client, source, address)
    try:
        return Fetched(keys=clean_jwks(body), address=printable(address))
    except JwksRejected as error:
        raise KeysAway("issuer-keys", f"the keys at {printable(address)}: {error.reason}") from error


async def _discovered(client: httpx.AsyncClient, source: KeySource) -> str:
    body = await _get(client, source, source.discovery)
    try:
        found = read_discovery(body, issuer=source.issuer).jwks_uri
    except DiscoveryRejected as error:
        message = f"the discovery document at {printable(source.discovery)}: {error.reason}"
        hint = "the provider's issuer must be, letter by letter, the issuer of this document"
        raise KeysAway("issuer-discovery", message, hint if "issuer" in error.reason else "") from error
    if urlsplit(source.discovery).scheme == "https" and urlsplit(found).scheme != "https":
        message = f"the discovery document came by https and names keys without it: {printable(found)}"
        raise KeysAway("issuer-redirect", message)
    return found


def _client(source: KeySource) -> httpx.AsyncClient:
    """A client for one fetch: certificates that are replaced on disk are seen at the next one."""
    try:
        context = _ssl_context(source.tls)
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (source.tls.ca, source.tls.certificate, source.tls.key)))
        message = f"the TLS files for the issuer cannot be used ({files}): {error}"
        raise KeysAway("issuer-tls", message) from error
    # trust_env would let .netrc send credentials, and proxy variables meant for others decide who sees us.
    return httpx.AsyncClient(
        verify=context,
        proxy=source.proxy,
        trust_env=False,
        timeout=source.timeout_s,
        headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "wardgate"},
    )


def _ssl_context(tls: ClientTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # the default, and it must not become less
    if not tls.verify:  # skip-openid-provider-tls-verify: refused without --allow-insecure, and said at start
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


async def _get(client: httpx.AsyncClient, source: KeySource, address: str) -> bytes:
    """A body of at most 1 MiB; redirects are followed on their own host only."""
    start = address
    for _ in range(MAX_REDIRECTS + 1):
        body, onward = await _exchange(client, source, address)
        if onward is None:
            return body
        target = urljoin(address, onward)
        if not _same_host(address, target):
            message = f"{printable(address)} redirects to another server, {printable(target)}"
            raise KeysAway("issuer-redirect", message, "name the address that answers itself")
        address = target
    raise KeysAway("issuer-redirect", f"{printable(start)} redirects more than {MAX_REDIRECTS} times")


async def _exchange(client: httpx.AsyncClient, source: KeySource, address: str) -> tuple[bytes, str | None]:
    extensions = {"sni_hostname": source.tls.server_name} if source.tls.server_name else {}
    try:
        async with client.stream(
            "GET", address, headers=list(source.headers), extensions=extensions
        ) as answer:
            if answer.has_redirect_location:
                return b"", answer.headers["location"]
            if answer.status_code != 200:
                message = f"{printable(address)} answers {answer.status_code}"
                raise KeysAway("issuer-status", message)
            return await _bounded(answer, address), None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise _unreachable(address, error) from error


async def _bounded(answer: httpx.Response, address: str) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise KeysAway("issuer-answer", f"{printable(address)} answers compressed, though asked not to")
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            message = f"{printable(address)} answers more than {MAX_BYTES // 1024} KiB; reading was stopped"
            raise KeysAway("issuer-answer", message)
    return bytes(body)


def _unreachable(address: str, error: Exception) -> KeysAway:
    if isinstance(error, httpx.TimeoutException):
        return KeysAway("issuer-slow", f"{printable(address)} did not answer in time")
    text = str(error) or type(error).__name__
    if "certificate" in text.lower() or "ssl" in text.lower():
        hint = "name the authority of its certificate (the provider's tls.ca)"
        return KeysAway("issuer-tls", f"{printable(address)} cannot be trusted: {text}", hint)
    return KeysAway("issuer-unreachable", f"{printable(address)} cannot be reached: {text}")


def _same_host(one: str, other: str) -> bool:
    """The same name, and the same scheme and port, or from http up to https."""
    first, second = urlsplit(one), urlsplit(other)
    if first.hostname != second.hostname:
        return False
    same = (first.scheme, first.port) == (second.scheme, second.port)
    return same or (first.scheme == "http" and second.scheme == "https")


def printable(address: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    parts = urlsplit(address)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
