"""
The keys that Envoy is to judge tokens by: from the key store, the configuration, or memory.

The supervisor asks no issuer (the service does). What it once had stays while it runs, whatever happens to the
files; a copy from an earlier run is used only while it is young: its keys may have been withdrawn since.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from wardgate.events import warn
from wardgate.keystore import KeyCopy, KeySource, KeyStore, source_of
from wardgate.policy import Policy, Provider
from wardgate.problems import ConfigError, Problem
from wardgate.verify.keys import JwksRejected, KeySet, clean_jwks

MAX_AGE_S = 24 * 3600.0


class IssuerKeys:
    """Keeps the newest good copy of every source that was ever asked for. `now`: seconds since 1970."""

    def __init__(self, store: KeyStore, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._held: dict[str, KeyCopy] = {}
        self._warned: set[str] = set()

    def of(self, policy: Policy) -> dict[str, str]:
        """Provider name -> JWKS text, without those that have no keys yet. Raises ConfigError for bad inline keys."""
        found = {provider.name: self._text(provider) for provider in policy.providers}
        return {name: text for name, text in found.items() if text is not None}

    def fresh(self, source: KeySource, since: float) -> bool:
        """Whether the keys of a source were fetched at or after a time."""
        copy = self._newest(source)
        return copy is not None and copy.fetched >= since

    def fetched(self, policy: Policy) -> dict[str, float]:
        """Provider name -> when its keys were fetched."""
        copies = {provider.name: self._held.get(source_of(provider).file) for provider in policy.providers}
        return {name: copy.fetched for name, copy in copies.items() if copy is not None}

    def _text(self, provider: Provider) -> str | None:
        if provider.jwks is not None:
            return self._inline(provider, provider.jwks)
        copy = self._newest(source_of(provider))
        if copy is None:
            return None
        try:
            return self._allowed(provider, clean_jwks(copy.jwks))
        except JwksRejected as error:
            self._warn(provider, f"the copy of its keys on disk: {error.reason}")
            return None

    def _newest(self, source: KeySource) -> KeyCopy | None:
        now, held, stored = self._now(), self._held.get(source.file), self._store.read(source)
        if stored is None:
            return held
        if held is None:
            usable = 0 <= now - stored.fetched <= MAX_AGE_S  # of a copy from the future no age is known
        else:
            usable = stored.fetched >= held.fetched or held.fetched > now
        if usable:
            self._held[source.file] = stored
        return self._held.get(source.file)

    def _inline(self, provider: Provider, text: str) -> str | None:
        try:
            return self._allowed(provider, clean_jwks(text))
        except JwksRejected as error:
            message = f"the keys of provider {provider.name} cannot be used: {error.reason}"
            raise ConfigError([Problem(code="jwks-inline", message=message, where=provider.where)]) from error

    def _allowed(self, provider: Provider, keys: KeySet) -> str | None:
        """Only keys of the algorithms that the provider may use."""
        allowed = tuple(key for key in keys.keys if key.alg in provider.algorithms)
        if not allowed:
            found = sorted({key.alg for key in keys.keys})
            self._warn(provider, f"none of its keys is for {list(provider.algorithms)}, they are for {found}")
            return None
        return replace(keys, keys=allowed).as_json()

    def _warn(self, provider: Provider, reason: str) -> None:
        if f"{provider.name} {reason}" not in self._warned:
            self._warned.add(f"{provider.name} {reason}")
            warn("a provider has no keys that can be used", provider=provider.name, reason=reason)
