"""
How an issuer's server is spoken to: each exchange within bounds, over connections that are kept.

The server may be slow, broken, replaced or hostile: total time and size are limited, compressed answers are refused
(a bomb), https never becomes http. What is fetched may redirect on its own host; a form, which carries secrets, is
sent to one address and nowhere else. Not here: what an answer means.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx

from wardgate.events import warn
from wardgate.keystore import KeySource
from wardgate.policy import ClientTls
from wardgate.problems import Unavailable

Form = Mapping[str, str | Sequence[str]]
"""What is posted; several values of one name are sent each."""

MAX_REDIRECTS: Final = 3

MAX_BYTES: Final = 1024 * 1024
"""The largest answer that is read. Key sets and token answers have some KB, 100 KB at the most."""

MAX_CONNECTIONS: Final = 200
"""To one issuer that is slow, for that many sessions that expire together. What finds none free waits, in its own time."""

KEPT_CONNECTIONS: Final = 20
"""Between exchanges."""

LONGEST_S: Final = 10.0
"""For one exchange that a person, or a request, waits for; the provider's timeout may be less."""

KEEP_ALIVE_S: Final = 15.0
"""Idle connections end before common servers end them (Tomcat 20 s, nginx 75 s): a form is never sent twice."""

TLS_AGE_S: Final = 3600.0
"""The system's authorities change without a file that we would know of."""

TLS_LOOK_S: Final = 1.0
"""How often the TLS files are looked at, and how long one that cannot be read is left alone."""

CODES: Mapping[str, str] = {
    "issuer-unreachable": "The issuer's server cannot be reached: wrong address, name, port or network.",
    "issuer-tls": "The issuer's server could not be trusted: its certificate, or the files that are to judge it.",
    "issuer-slow": "The issuer's server took longer than the provider's timeout.",
    "issuer-status": "The issuer's server answered with another status than was asked for.",
    "issuer-redirect": "The issuer's server redirects where it must not: to another host, to plain http, in a circle, "
    "or an exchange that carries secrets.",
    "issuer-answer": "The issuer's answer cannot be used as it is: too large, compressed, or not what was asked for.",
}
"""Why an issuer could not be asked. Nothing is decided by it: what was known before stays."""


class IssuerAway(Unavailable):
    """The issuer cannot be asked now; `code` is in some CODES of the service, `message` and `hint` are for people."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.code = code
        self.message = message
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from `address`; `content_type` is folded and without parameters."""

    address: str
    status: int
    content_type: str
    body: bytes = field(repr=False)


class IssuerHttp:
    """The connections to one issuer's server; `source` says how it is spoken to. For one event loop."""

    def __init__(self, source: KeySource, *, connections: int = MAX_CONNECTIONS) -> None:
        self._source = source
        self._connections = connections
        self._pool: _Pool | None = None
        self._looked = 0.0
        self._opening = asyncio.Lock()

    async def fetch(self, address: str) -> bytes:
        """The body of a GET that answers 200, redirects on the same host followed. Raises IssuerAway."""
        async with self._within(address, self._source.timeout_s):
            return await self._followed(address)

    async def _followed(self, address: str) -> bytes:
        start = address
        for _ in range(MAX_REDIRECTS + 1):
            answer, onward = await self._exchange("GET", address)
            if onward is None:
                if answer.status != 200:
                    raise IssuerAway("issuer-status", f"{printable(address)} answers {answer.status}")
                return answer.body
            target = urljoin(address, onward)
            if not same_host(address, target):
                message = f"{printable(address)} redirects to another server, {printable(target)}"
                raise IssuerAway("issuer-redirect", message, "name the address that answers itself")
            address = target
        raise IssuerAway("issuer-redirect", f"{printable(start)} redirects more than {MAX_REDIRECTS} times")

    async def send(
        self,
        method: str,
        address: str,
        *,
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One exchange, whatever its status, but a redirect is refused. Raises IssuerAway."""
        async with self._within(address, min(self._source.timeout_s, LONGEST_S)):
            answer, onward = await self._exchange(method, address, form=form, headers=headers or {})
        if onward is not None or 300 <= answer.status < 400:
            message = f"{printable(address)} redirects; what is sent there is for that address only"
            raise IssuerAway(
                "issuer-redirect", message, "the issuer has to name the address that answers itself"
            )
        return answer

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.retire()

    async def _exchange(
        self,
        method: str,
        address: str,
        *,
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Answer, str | None]:
        """The answer, and where it redirects to."""
        sent = [*self._source.headers, *(headers or {}).items()]
        server_name = self._source.tls.server_name
        extensions = {"sni_hostname": server_name} if server_name else {}
        try:
            async with self._open() as client:
                what: dict[str, Any] = {"headers": sent, "extensions": extensions, "data": form}
                async with client.stream(method, address, **what) as answer:
                    if answer.has_redirect_location:
                        return _answer(address, answer, b""), answer.headers["location"]
                    return _answer(address, answer, await _bounded(answer, address)), None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise _unreachable(address, error) from error

    @asynccontextmanager
    async def _within(self, address: str, seconds: float) -> AsyncIterator[None]:
        """From the first to the last byte: an answer that drips in time is over in time, too."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            message = f"{printable(address)} did not answer within {seconds:g} s"
            raise IssuerAway("issuer-slow", message) from error

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[httpx.AsyncClient]:
        pool = await self._current()
        pool.users += 1
        try:
            yield pool.client
        finally:
            pool.users -= 1
            await pool.close_if_done()

    async def _current(self) -> _Pool:
        """The pool that speaks by the TLS files as they are now."""
        now = time.monotonic()
        if self._pool is not None and now - self._looked < TLS_LOOK_S:
            return self._pool
        async with self._opening:
            before = self._pool
            if before is not None and (time.monotonic() - self._looked < TLS_LOOK_S or before.fits(now)):
                return before
            self._looked = now
            try:
                self._pool = await asyncio.to_thread(_Pool, self._source, self._connections)
            except IssuerAway as error:
                if before is None:
                    raise
                # a file that is just being replaced takes nothing away
                warn(
                    "the TLS files for an issuer cannot be read; those of before stay", problem=error.message
                )
                return before
            if before is not None:
                await before.retire()
            return self._pool


class _Pool:
    """Connections by one reading of the TLS files; ends when it is retired and its last user is gone."""

    def __init__(self, source: KeySource, connections: int) -> None:
        self.users = 0
        self._retired = False
        self._files = (source.tls.ca, source.tls.certificate, source.tls.key)
        self._marks = self._marked()
        self._born = time.monotonic()
        self.client = _client(source, connections)

    def fits(self, now: float) -> bool:
        return now - self._born < TLS_AGE_S and self._marks == self._marked()

    async def retire(self) -> None:
        self._retired = True
        await self.close_if_done()

    async def close_if_done(self) -> None:
        if self._retired and self.users == 0:
            await self.client.aclose()

    def _marked(self) -> tuple[tuple[int, int], ...]:
        return tuple(_mark(Path(file)) for file in self._files if file is not None)


def _mark(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def _client(source: KeySource, connections: int) -> httpx.AsyncClient:
    try:
        context = ssl_context(source.tls)
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (source.tls.ca, source.tls.certificate, source.tls.key)))
        message = f"the TLS files for the issuer cannot be used ({files}): {error}"
        raise IssuerAway("issuer-tls", message) from error
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=min(connections, KEPT_CONNECTIONS),
        keepalive_expiry=KEEP_ALIVE_S,
    )
    try:
        # trust_env would let .netrc send credentials, and proxy variables meant for others decide who sees us.
        return httpx.AsyncClient(
            verify=context,
            proxy=source.proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=source.timeout_s,
            limits=limits,
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "wardgate"},
        )
    except (httpx.InvalidURL, ValueError) as error:
        # not printed: what is no URL cannot be printed without the password that may stand in it
        raise IssuerAway("issuer-unreachable", "the address of the provider's proxy is no URL") from error


def ssl_context(tls: ClientTls) -> ssl.SSLContext:
    """Raises OSError and ValueError for files that cannot be used."""
    context = ssl.create_default_context(cafile=tls.ca, cadata=tls.ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # the default, and it must not become less
    if not tls.verify:  # skip-openid-provider-tls-verify: refused without --allow-insecure, and said at start
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _answer(address: str, answer: httpx.Response, body: bytes) -> Answer:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Answer(address=address, status=answer.status_code, content_type=kind, body=body)


async def _bounded(answer: httpx.Response, address: str) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise IssuerAway("issuer-answer", f"{printable(address)} answers compressed, though asked not to")
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            message = f"{printable(address)} answers more than {MAX_BYTES // 1024} KiB; reading was stopped"
            raise IssuerAway("issuer-answer", message)
    return bytes(body)


def _unreachable(address: str, error: Exception) -> IssuerAway:
    if isinstance(error, httpx.TimeoutException):
        return IssuerAway("issuer-slow", f"{printable(address)} did not answer in time")
    if isinstance(error, httpx.InvalidURL):
        return IssuerAway("issuer-unreachable", "an address that the provider or its issuer names is no URL")
    text = str(error) or type(error).__name__
    if "certificate" in text.lower() or "ssl" in text.lower():
        hint = "name the authority of its certificate (the provider's tls.ca)"
        return IssuerAway("issuer-tls", f"{printable(address)} cannot be trusted: {text}", hint)
    return IssuerAway("issuer-unreachable", f"{printable(address)} cannot be reached: {text}")


def same_host(one: str, other: str) -> bool:
    """The same name, and the same scheme and port, or from http up to https."""
    first, second = urlsplit(one), urlsplit(other)
    if first.hostname != second.hostname:
        return False
    same = (first.scheme, first.port) == (second.scheme, second.port)
    return same or (first.scheme == "http" and second.scheme == "https")


def printable(address: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that is no URL"
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
