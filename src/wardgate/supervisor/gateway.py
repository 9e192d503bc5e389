"""
A running gateway from its first configuration to its end: start, keep alive, drain, stop.

`change.py` makes changes in between, `xds.py` knows how a configuration gets into Envoy, `keeper.py` how a child
stays alive. After the start, no task's failure ends the others: what is in force stays in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from wardgate.dialects import Reading
from wardgate.events import complain, say, warn
from wardgate.keystore import KeyStore
from wardgate.policy import Policy
from wardgate.problems import ConfigError, Unavailable
from wardgate.supervisor import envoy, home, ports
from wardgate.supervisor.admin import Admin
from wardgate.supervisor.attestation import Attestation
from wardgate.supervisor.change import Changes, Parts, not_taken, tell
from wardgate.supervisor.child import stop
from wardgate.supervisor.drain import drained
from wardgate.supervisor.files import Compiler
from wardgate.supervisor.issuer_keys import IssuerKeys
from wardgate.supervisor.keeper import Keeper
from wardgate.supervisor.metrics_server import Counters, MetricsServer
from wardgate.supervisor.service import Service, waiting
from wardgate.supervisor.source import Source
from wardgate.supervisor.xds import Enforcement

PATIENCE_S = 2.0
"""How long a child may take to end after SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    How to run. `name` parts this gateway's folder from those of others, its first address by default; `on_ready` hears the
    policy in force, ports settled, when the gateway first serves.
    """

    state: Path
    name: str | None = None
    concurrency: int | None = None
    on_ready: Callable[[Policy], None] | None = None


class Signals:
    """SIGTERM and SIGINT, counted: the second one means at once. SIGHUP before there is a listener is no matter."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.hang_up: Callable[[], None] = lambda: None

    def catch(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.hang_up())

    def _stop(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


class Gateway:
    """One gateway in one home, with its children."""

    def __init__(
        self,
        place: home.Home,
        policy: Policy,
        source: Source,
        options: Options,
        compiler: Compiler,
        first: asyncio.subprocess.Process,
    ) -> None:
        self._home = place
        self._served = False
        self._options = options
        self._admin = Admin(place.place.admin_socket)
        self._messages = envoy.Messages()
        service, store, counters = Service(place, first), KeyStore(place.keys), Counters()
        self._envoy = Keeper("envoy", self._start_envoy)
        self._service = Keeper("service", service.start)
        self._metrics = MetricsServer(self._admin, service, counters, [self._envoy, self._service], source)
        self._enforcement = Enforcement(
            compiler, place.place.directory, self._admin, lambda: self._envoy.pid is not None
        )
        parts = Parts(
            place=place.place,
            compiler=compiler,
            enforcement=self._enforcement,
            messages=self._messages,
            keys=IssuerKeys(store),
            store=store,
            service=service,
            service_pid=lambda: self._service.pid,
            metrics=self._metrics,
            counters=counters,
            attestation=Attestation(service, self._enforcement),
        )
        self._attestation = parts.attestation
        self._counters = counters
        self._source = source
        self._changes = Changes(source, policy, parts)

    async def run(self, signals: Signals, reading: Reading) -> int:
        """Until a signal ends it; the exit code. Raises ConfigError when it cannot start with what was read."""
        signals.hang_up = lambda: self._changes.want("SIGHUP")
        serving = asyncio.create_task(self._serve(reading), name="serve")
        stop = asyncio.create_task(signals.first.wait(), name="stop")
        try:
            await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()  # the start failed: this says why
            serving.cancel()
            return await self._drain(signals)
        finally:
            for task in (serving, stop):
                task.cancel()
            await asyncio.gather(serving, stop, return_exceptions=True)
            await self._end(0.0 if signals.second.is_set() else PATIENCE_S)

    # --- start

    async def _serve(self, reading: Reading) -> None:
        """Start everything, then keep it: never returns by itself."""
        self._changes.prepare()
        self._source.told(reading, None)
        await self._service.launch()
        await self._changes.install()
        await self._envoy.launch()
        await self._metrics.listen(self._changes.policy.admin)
        self._ready()
        self._source.told(reading, True)
        jobs = (
            self._changes.next,
            self._changes.watch_source,
            self._changes.watch_keys,
            self._attestation.next,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._envoy.run(), name="envoy")
            tasks.create_task(self._service.run(), name="service")
            for job in jobs:
                tasks.create_task(_for_ever(job))

    def _ready(self) -> None:
        policy = self._changes.policy
        self._counters.applied(self._enforcement.generation)
        listening = [str(listener.address) for listener in policy.listeners]
        metrics = str(policy.admin) if policy.admin is not None else ""
        without = self._changes.without_keys()
        say("ready", listening=listening, metrics=metrics, dialect=policy.dialect, without_keys=without)
        if self._options.on_ready is not None:
            self._options.on_ready(policy)

    async def _start_envoy(self) -> asyncio.subprocess.Process:
        """Start Envoy from the last good files and see it serve: the first time, and whenever it died."""
        first, started = not self._served, time.monotonic()
        async with self._enforcement.lock:
            if not first:
                self._restore()
            directory, limits = self._home.place.directory, self._changes.policy.limits
            args = envoy.arguments(directory, concurrency=self._options.concurrency, drain=limits.drain)
            child = self._envoy.child = await envoy.start(args, self._messages)
            try:
                await self._enforcement.confirm()
            except Unavailable as error:
                if first:
                    problem = not_taken(error, self._messages, "cannot start with the configuration")
                    raise ConfigError([problem]) from error
                complain("Envoy is not ready", error=str(error))
                return child
        self._served = True
        if not first:
            say("Envoy is back", after_s=round(time.monotonic() - started, 3))
        return child

    def _restore(self) -> None:
        try:
            self._enforcement.restore()
        except OSError as error:  # a full disk: what stands there is a configuration, too
            complain("Envoy's files cannot be written again", error=str(error))

    # --- stop

    async def _drain(self, signals: Signals) -> int:
        """Let running requests end. A second signal does not wait for them."""
        limit = self._changes.policy.limits.drain
        say("draining", at_most_s=limit.total_seconds())
        hurry = asyncio.create_task(signals.second.wait())
        wait = asyncio.create_task(drained(self._admin, limit))
        await asyncio.wait({hurry, wait}, return_when=asyncio.FIRST_COMPLETED)
        hurried = hurry.done()
        for task in (hurry, wait):
            task.cancel()
        await asyncio.gather(hurry, wait, return_exceptions=True)
        if hurried:
            warn("stopped at once; requests were cut")
            return 1
        say("stopped")
        return 0

    async def _end(self, patience_s: float) -> None:
        """End what runs, whatever state it is in."""
        await self._metrics.close()
        ends = [child.end(patience_s=patience_s) for child in (self._envoy, self._service)]
        await asyncio.gather(*ends, return_exceptions=True)
        place = self._home.place
        for path in (place.admin_socket, place.service_socket, place.control_socket):
            with contextlib.suppress(OSError):
                Path(path).unlink(missing_ok=True)


async def _for_ever(job: Callable[[], Awaitable[None]]) -> None:
    """Do a job again and again; a failure of ours is said, and does not stop the gateway."""
    while True:
        try:
            await job()
        except Exception as error:
            complain("a fault in the gateway itself", error=repr(error), trace=traceback.format_exc(limit=-4))
            await asyncio.sleep(1.0)


async def _run(source: Source, options: Options, compiler: Compiler) -> int:
    signals = Signals()
    signals.catch()
    beside = asyncio.create_task(source.run(), name="source")
    child = await waiting()
    try:
        reading = await _first(source, beside, signals)
        if reading is None:
            say("stopped")
            return 0
        if reading.policy is None:
            raise ConfigError(reading.problems)
        tell(reading)
        policy = ports.settled(reading.policy, {})
        named = options.name or str(policy.listeners[0].address)
        with home.opened(options.state, named, options.concurrency) as place:
            ports.check(policy)
            return await Gateway(place, policy, source, options, compiler, child).run(signals, reading)
    finally:
        await stop(child, patience_s=0.0)
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)


async def _first(source: Source, beside: asyncio.Task[None], signals: Signals) -> Reading | None:
    """The first reading, which may have to wait for somebody; None when a signal comes before it."""
    first = asyncio.create_task(source.read(), name="first reading")
    stop = asyncio.create_task(signals.first.wait(), name="stop")
    try:
        await asyncio.wait({first, stop, beside}, return_when=asyncio.FIRST_COMPLETED)
        if beside.done():
            beside.result()  # this says why
        return first.result() if first.done() else None
    finally:
        for task in (first, stop):
            task.cancel()
        await asyncio.gather(first, stop, return_exceptions=True)


def run(source: Source, options: Options, compiler: Compiler) -> int:
    """
    Run a gateway in the foreground until SIGTERM or SIGINT; the exit code: 0, or 1 when requests were cut.

    Raises ConfigError when it cannot start: bad configuration, address in use, Envoy refuses.
    """
    return asyncio.run(_run(source, options, compiler))
