"""
Where an issuer's endpoints are: its discovery document, fetched when it is first needed and kept.

A document is good for five minutes; after that it is still used, while a new one is fetched beside. The last good one
is also a file beside the keys, so that a gateway that starts while the issuer is away knows where to send people when
it is back. Source: OpenID Connect Discovery 1.0, 4; RFC 8414.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from wardgate.events import warn
from wardgate.keystore import KeySource
from wardgate.service.fetch import discovery_problem
from wardgate.service.issuer_http import IssuerAway, IssuerHttp, printable
from wardgate.service.oidc.flights import Flights
from wardgate.verify.discovery import MAX_BYTES, Discovery, DiscoveryRejected, read_discovery

FRESH_S: Final = 300.0

LOGIN: Final = frozenset({"authorization_endpoint", "token_endpoint"})

RETRY_S: Final = 5.0
"""After a failure: an issuer that is away is not asked for each login."""


class Metadata:
    """
    One issuer's. `folder` is the key store's. `given`: addresses by member that stand over the document's; with those of a
    login, where the keys are known without it, too (`keys_known`), nobody asks for one. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        source: KeySource,
        http: IssuerHttp,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        *,
        given: Mapping[str, Any] = MappingProxyType({}),
        keys_known: bool = False,
    ) -> None:
        self._source = source
        self._given = given
        self._http = http
        self._clock = clock
        self._file = folder / _file_name(source)
        self._known: Discovery | None = None
        self._problem: IssuerAway | None = None
        self._again = float("-inf")
        if given.keys() >= LOGIN and keys_known:
            self._known = Discovery(issuer=source.issuer, jwks_uri=source.jwks_url or "", **given)
            self._again = float("inf")
        self._flights: Flights[None, Discovery] = Flights()

    async def get(self) -> Discovery:
        """The newest document that is known. Raises IssuerAway when none ever was."""
        if self._clock() < self._again:
            if self._known is None:
                assert self._problem is not None
                raise self._problem
            return self._known
        if self._known is not None:
            self._flights.start(None, self._renewed)
            return self._known
        return await self._flights.join(None, self._renewed)

    async def close(self) -> None:
        await self._flights.close()

    async def _renewed(self) -> Discovery:
        try:
            body = await self._http.fetch(self._source.discovery)
            found = self._read(body)
        except IssuerAway as error:
            return self._of_before(error)
        if found != self._known:
            self._keep(body)
        self._known, self._problem = found, None
        self._again = self._clock() + FRESH_S
        return found

    def _of_before(self, error: IssuerAway) -> Discovery:
        if self._problem is None or self._problem.message != error.message:
            data = {"provider": self._source.provider, "code": error.code, "hint": error.hint}
            warn("the issuer's discovery document was not fetched", problem=error.message, **data)
        self._problem = error
        self._again = self._clock() + RETRY_S
        self._known = self._known or self._on_disk()
        if self._known is None:
            raise error
        return self._known

    def _on_disk(self) -> Discovery | None:
        try:
            with self._file.open("rb") as file:
                return self._read(file.read(MAX_BYTES + 1))
        except (OSError, IssuerAway):
            return None

    def _read(self, body: bytes) -> Discovery:
        return replace(_read(self._source, body), **self._given)

    def _keep(self, body: bytes) -> None:
        temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}.new")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
                file.write(body)
            temporary.replace(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            data = {"provider": self._source.provider, "code": "keys-disk"}
            warn("the discovery document cannot be kept on disk", problem=str(error), **data)


def _file_name(source: KeySource) -> str:
    """The same for the same issuer at the same address."""
    identity = json.dumps([source.issuer, source.discovery])
    return "discovery-" + hashlib.sha256(identity.encode()).hexdigest()[:24] + ".json"


def _read(source: KeySource, body: bytes) -> Discovery:
    """The document, if it speaks for this issuer and does not leave https. Raises IssuerAway."""
    try:
        found = read_discovery(body, issuer=source.issuer)
    except DiscoveryRejected as error:
        raise discovery_problem(source, error) from error
    if urlsplit(source.discovery).scheme == "https":
        for name, address in found.endpoints():
            if urlsplit(address).scheme != "https":
                message = f"the discovery document came by https, its {name} has none: {printable(address)}"
                raise IssuerAway("issuer-redirect", message)
    return found
