"""
What changes while a gateway runs: its files, its issuers' keys. Each change is put in force, or nothing changes.

One change at a time. No error of a reading, a fetch, the compiler or Envoy ends what is in force; each is said with
everything that is known about it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wardgate import collection
from wardgate.compiler import Compiled, Place
from wardgate.dialects import Reading
from wardgate.events import complain, say, say_problems, warn
from wardgate.keystore import KeySource, KeyStore, sources
from wardgate.policy import Policy
from wardgate.problems import ConfigError, Problem, Unavailable
from wardgate.supervisor import ports
from wardgate.supervisor.acks import EnvoyGone, EnvoySilent
from wardgate.supervisor.attestation import WORKERS_KEYS_S, Attestation
from wardgate.supervisor.envoy import Messages
from wardgate.supervisor.files import Compiler
from wardgate.supervisor.issuer_keys import IssuerKeys
from wardgate.supervisor.metrics_server import Counters, MetricsServer
from wardgate.supervisor.pages import forbidden_page
from wardgate.supervisor.service import Service
from wardgate.supervisor.source import Source
from wardgate.supervisor.xds import Enforcement

FIRST_KEYS_S, SERVICE_S = 2.0, 5.0
"""How long a start, or a new provider, waits for keys before it goes on without: once the service answers, and for it."""

YOUNG_REFRESHES = 2
"""Keys that an earlier run fetched so many refreshes ago, or later, are as good as new: a restart waits for nobody."""

KEYS_POLL_S = 0.1
RETRY_SILENT_S, RETRY_GONE_S = 10.0, 1.0
"""When a configuration is offered again that Envoy did not take in time, or died over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a change works with."""

    place: Place
    compiler: Compiler
    enforcement: Enforcement
    messages: Messages
    keys: IssuerKeys
    store: KeyStore
    service: Service
    service_pid: Callable[[], int | None]
    metrics: MetricsServer
    counters: Counters
    attestation: Attestation


class Changes:
    """`policy` is the one in force."""

    def __init__(self, source: Source, policy: Policy, parts: Parts) -> None:
        self.policy = policy
        self._source = source
        self._parts = parts
        self._enforced_keys: dict[str, str] = {}
        self._reasons: set[str] = set()
        self._wanted = asyncio.Event()

    def want(self, reason: str) -> None:
        """Ask for a change; several requests become one."""
        self._reasons.add(reason)
        self._wanted.set()

    # --- the first configuration

    def prepare(self) -> None:
        """Write the service's settings, before it starts."""
        self._parts.service.tell(self.policy, sources(self.policy), None)

    async def install(self) -> None:
        """Compile and write the first policy, before Envoy starts. Raises ConfigError."""
        parts, now = self._parts, time.time()
        young = {source: now - YOUNG_REFRESHES * source.refresh_s for source in sources(self.policy)}
        await self._first_keys(young)
        await parts.attestation.first()
        self._enforced_keys = parts.keys.of(self.policy)
        parts.attestation.judged_by(self._enforced_keys)
        compiled = await asyncio.to_thread(self._compile, self.policy, self._enforced_keys, None)
        await asyncio.to_thread(parts.enforcement.install, compiled)

    def without_keys(self) -> list[str]:
        """Providers whose routes answer 503 for now."""
        return sorted({provider.name for provider in self.policy.providers} - self._enforced_keys.keys())

    async def _first_keys(self, wanted: Mapping[KeySource, float]) -> None:
        """
        Give the service a moment to fetch what has no keys of this time or later; go on at once when it has tried.
        """
        parts = self._parts
        deadline, answered = time.monotonic() + SERVICE_S, False
        while time.monotonic() < deadline:
            missing = {one.provider for one, since in wanted.items() if not parts.keys.fresh(one, since)}
            if not missing:
                return
            status = await parts.service.status()
            if status is not None and not answered:
                deadline, answered = time.monotonic() + FIRST_KEYS_S, True
            tried = status["providers"] if status is not None else []
            if missing <= {one.get("provider") for one in tried if one.get("attempts")}:
                return
            await asyncio.sleep(0.02)

    # --- every later one

    async def next(self) -> None:
        """Wait until a change is wanted, and make it."""
        await self._wanted.wait()
        self._wanted.clear()
        reasons, self._reasons = self._reasons, set()
        if reasons == {"keys"}:
            await self._apply(self.policy, reasons)
        else:
            await self._reload(reasons)

    async def _reload(self, reasons: set[str]) -> None:
        """Read the configuration again. A bad one is said with all its problems."""
        parts = self._parts
        try:
            reading = await self._source.read()
            tell(reading)
            if reading.policy is None:
                self._kept("refused", len(reading.problems))
                self._source.told(reading, False)
                return
            before = ports.addresses(self.policy)
            policy = ports.settled(reading.policy, before)
            ports.check(policy, held=before.values())
        except ConfigError as error:
            self._refused(error)
            self._source.told(reading, False)
            return
        both = dict.fromkeys([*sources(self.policy), *sources(policy)])
        parts.service.tell(policy, both, parts.service_pid())
        await self._first_keys(dict.fromkeys(sources(policy), 0.0))
        self._source.told(reading, await self._apply(policy, reasons))
        parts.service.tell(self.policy, sources(self.policy), parts.service_pid())

    async def _apply(self, policy: Policy, reasons: set[str]) -> bool:
        """Whether it is in force now."""
        parts = self._parts
        parts.messages.rejections.clear()
        try:
            await self._enforce(policy, reasons)
            return True
        except ConfigError as error:
            self._refused(error)
        except EnvoyGone:
            warn("Envoy died while its configuration changed; it is offered again")
            self._again(reasons, RETRY_GONE_S)
        except (Unavailable, OSError) as error:
            say_problems([not_taken(error, parts.messages, "did not take the configuration")])
            self._kept("rejected", 1)
            if isinstance(error, EnvoySilent):
                self._again(reasons, RETRY_SILENT_S)
        return False

    async def _enforce(self, policy: Policy, reasons: set[str]) -> None:
        parts = self._parts
        before, keys = parts.enforcement.compiled, parts.keys.of(policy)
        slots = before.slots if before is not None else None
        compiled = await asyncio.to_thread(self._compile, policy, keys, slots)
        applied = await parts.enforcement.apply(compiled)
        self.policy, self._enforced_keys = policy, keys
        # until every worker has a new key, the service has to vouch for its tokens
        asyncio.get_running_loop().call_later(WORKERS_KEYS_S, parts.attestation.judged_by, keys)
        await parts.metrics.listen(policy.admin)
        parts.counters.reloaded("applied" if applied.files else "unchanged", applied.seconds)
        parts.counters.applied(applied.generation)
        if before is not None and before.bootstrap != compiled.bootstrap:
            warn("connection limits changed: they take effect when the gateway is started again")
        took = round(applied.seconds * 1000)
        say("configuration in force", because=sorted(reasons), files=list(applied.files), took_ms=took)

    def _compile(self, policy: Policy, keys: Mapping[str, str], slots: Mapping[int, int] | None) -> Compiled:
        page = forbidden_page(policy)
        with collection.paused():
            return self._parts.compiler.compile(policy, keys, self._parts.place, slots=slots, forbidden=page)

    def _refused(self, error: ConfigError) -> None:
        say_problems(error.problems)
        self._kept("refused", len(error.problems))

    def _kept(self, result: str, problems: int) -> None:
        self._parts.counters.reloaded(result, None)
        complain("the configuration was not taken; the one before stays in force", problems=problems)

    def _again(self, reasons: set[str], seconds: float) -> None:
        for reason in reasons:
            asyncio.get_running_loop().call_later(seconds, self.want, reason)

    # --- what asks for one

    async def watch_source(self) -> None:
        self.want(await self._source.changed())

    async def watch_keys(self) -> None:
        """A copy that changes on disk is compared with what is enforced; only a difference is a change."""
        state: object = None
        while True:
            current = self._parts.store.state(sources(self.policy))
            if current != state:
                state = current
                if self._parts.keys.of(self.policy) != self._enforced_keys:
                    self.want("keys")
            await asyncio.sleep(KEYS_POLL_S)


def tell(reading: Reading) -> None:
    """Say what a reading found, problems and notes."""
    say_problems(reading.problems)
    for note in reading.notes:
        say("note", text=note)


def not_taken(error: Exception, messages: Messages, what: str) -> Problem:
    """The problem of a configuration that Envoy did not take, with Envoy's own words."""
    said = "; ".join(messages.rejections) or "no reason given"
    code = "envoy-silent" if isinstance(error, EnvoySilent) else "envoy-refused"
    hint = "this should not happen with a configuration that `wardgate check` accepts: please report it"
    return Problem(code=code, message=f"Envoy {what}: {error}", got=said, hint=hint)
