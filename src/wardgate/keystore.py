"""
Issuers' keys as they stand on disk: which are wanted, and the last good copy of each.

The service fetches and writes, the supervisor reads; this file is all that they share. Neither network nor
judgement of keys is here (`service/fetch.py`, `verify/keys.py`). A copy belongs to its source (issuer and
addresses): another address never finds it. What is fetched later wins; a copy never replaces a newer one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wardgate.policy import ClientTls, Policy, Provider

MAX_COPY_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """Where a provider's keys come from, and how its server is spoken to. Headers may be secrets."""

    provider: str
    issuer: str
    discovery: str
    jwks_url: str | None = None
    refresh_s: float = 60.0
    timeout_s: float = 10.0
    tls: ClientTls = field(default_factory=ClientTls)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    proxy: str | None = None

    @property
    def file(self) -> str:
        """The name of its copy: the same for the same issuer at the same addresses."""
        identity = json.dumps([self.issuer, self.discovery, self.jwks_url])
        return hashlib.sha256(identity.encode()).hexdigest()[:24] + ".json"


def source_of(provider: Provider) -> KeySource:
    return KeySource(
        provider=provider.name,
        issuer=provider.issuer,
        discovery=provider.discovery(),
        jwks_url=provider.jwks_url,
        refresh_s=provider.keys_refresh.total_seconds(),
        timeout_s=provider.timeout.total_seconds(),
        tls=provider.tls,
        headers=provider.headers,
        proxy=provider.proxy,
    )


def sources(policy: Policy) -> tuple[KeySource, ...]:
    """What must be fetched: providers whose keys stand in the configuration itself need nothing."""
    return tuple(source_of(provider) for provider in policy.providers if provider.jwks is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCopy:
    """A key set that was fetched and found good. `fetched` is when, in seconds since 1970; `jwks` is its text."""

    issuer: str
    address: str
    fetched: float
    jwks: str


class KeyStore:
    """The folder of copies, readable by this user only. A copy that cannot be read is no copy."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def read(self, source: KeySource) -> KeyCopy | None:
        try:
            text = (self.path / source.file).read_text("utf-8")
            found = KeyCopy(**json.loads(text)) if len(text) <= MAX_COPY_BYTES else None
        except (OSError, ValueError, TypeError):
            return None
        if found is None or found.issuer != source.issuer or not isinstance(found.jwks, str):
            return None
        return found if isinstance(found.fetched, int | float) else None

    def write(self, source: KeySource, copy: KeyCopy, *, now: float) -> bool:
        """
        Keep a copy, unless a newer one stands there (another gateway shares the folder). Raises OSError.

        A copy from the future is no newer one: the clock was wrong then.
        """
        present = self.read(source)
        if present is not None and copy.fetched < present.fetched <= now:
            return False
        temporary = self.path / f".{source.file}.{os.getpid()}.new"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
                json.dump(asdict(copy), file)
            temporary.replace(self.path / source.file)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return True

    def state(self, wanted: tuple[KeySource, ...]) -> tuple[tuple[int, int], ...]:
        """Changes whenever one of the copies does."""
        return tuple(self._mark(source) for source in wanted)

    def _mark(self, source: KeySource) -> tuple[int, int]:
        try:
            status = (self.path / source.file).stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_ino
