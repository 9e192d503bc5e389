"""
A running gateway: start, reload, keep alive, drain, stop.

It decides when; `xds.py` knows how a configuration gets into Envoy, `keeper.py` how a child stays alive. Whatever
fails here after the start leaves what is in force in force: no error of a reload, a fetch or the compiler stops
traffic, and no task's failure ends the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wardgate.dialects import Reading
from wardgate.events import complain, say, say_problems, warn
from wardgate.keystore import KeyStore, sources
from wardgate.policy import Policy
from wardgate.problems import ConfigError, Problem, Unavailable
from wardgate.supervisor import envoy, home, ports, watch
from wardgate.supervisor.acks import EnvoyGone, EnvoySilent
from wardgate.supervisor.admin import Admin
from wardgate.supervisor.drain import drained
from wardgate.supervisor.files import Compiler
from wardgate.supervisor.issuer_keys import IssuerKeys
from wardgate.supervisor.keeper import Keeper
from wardgate.supervisor.metrics_server import Counters, MetricsServer
from wardgate.supervisor.service import Service
from wardgate.supervisor.xds import Enforcement

FIRST_KEYS_S, SERVICE_S = 2.0, 5.0
"""How long a start, or a new provider, waits for keys before it goes on without: once the service answers, and for it."""

KEYS_POLL_S = 0.1
RETRY_S = 10.0
"""After Envoy did not take a configuration over in time, it is offered again."""

Load = Callable[[], Reading]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    How to run. `files` gives the configuration's files, to watch; `on_ready` hears the policy in force, ports
    settled, when the gateway first serves.
    """

    state: Path
    files: Callable[[], Iterable[Path]] = tuple
    concurrency: int | None = None
    on_ready: Callable[[Policy], None] | None = None


class Gateway:
    """One gateway, from its first configuration to its end."""

    def __init__(self, load: Load, options: Options, compiler: Compiler) -> None:
        self._load = load
        self._options = options
        self._compiler = compiler
        self._signals = Signals()
        self._reasons: set[str] = set()
        self._wanted = asyncio.Event()
        self.counters = Counters()

    async def run(self) -> int:
        """Until it is told to stop. Raises ConfigError when it cannot start."""
        self._signals.catch(lambda: self._want("SIGHUP"))
        # Before the first reading: what is changed while it is read is then noticed.
        self._watch = await asyncio.to_thread(watch.Watch, self._options.files)
        policy = ports.settled(self._first(await asyncio.to_thread(self._load)), {})
        with home.opened(
            self._options.state, policy.listeners[0].address, self._options.concurrency
        ) as place:
            ports.check(policy)
            return await self._run_in(place, policy)

    async def _run_in(self, place: home.Home, policy: Policy) -> int:
        self._prepare(place, policy)
        serving = asyncio.create_task(self._serve(policy), name="serve")
        stop = asyncio.create_task(self._signals.first.wait(), name="stop")
        try:
            await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()  # the start failed: say why
            serving.cancel()
            return await self._drain()
        finally:
            for task in (serving, stop):
                task.cancel()
            await asyncio.gather(serving, stop, return_exceptions=True)
            await self._end()

    def _prepare(self, place: home.Home, policy: Policy) -> None:
        self.policy = policy
        self._home = place
        self._enforced_keys: dict[str, str] = {}
        self._admin = Admin(place.place.admin_socket)
        self._messages = envoy.Messages()
        self._service = Service(place)
        self._store = KeyStore(place.keys)
        self._keys = IssuerKeys(self._store)
        self._service_keeper = Keeper("service", self._service.start)
        self._envoy_keeper = Keeper("envoy", self._start_envoy)
        directory = place.place.directory
        self.enforcement = Enforcement(self._compiler, directory, self._admin, self._envoy_alive)
        keepers = [self._envoy_keeper, self._service_keeper]
        self._metrics = MetricsServer(self._admin, self._service, self.counters, keepers)

    # --- start

    def _first(self, reading: Reading) -> Policy:
        if reading.policy is None:
            raise ConfigError(reading.problems)
        self._tell(reading)
        return reading.policy

    def _tell(self, reading: Reading) -> None:
        say_problems(reading.problems)
        for note in reading.notes:
            say("note", text=note)

    async def _serve(self, policy: Policy) -> None:
        """Start everything, then keep it: never returns by itself."""
        self._service.tell(sources(policy), None)
        await self._service_keeper.launch()
        await self._first_keys(policy, since=time.time() - 1)
        self._enforced_keys = self._keys.of(policy)
        compiled = await asyncio.to_thread(
            self._compiler.compile, policy, self._enforced_keys, self._home.place
        )
        await asyncio.to_thread(self.enforcement.install, compiled)
        await self._envoy_keeper.launch()
        await self._metrics.listen(policy.admin)
        self._said_ready(policy)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._envoy_keeper.run(), name="envoy")
            tasks.create_task(self._service_keeper.run(), name="service")
            for job in (self._change, self._watch_files, self._watch_keys):
                tasks.create_task(_for_ever(job), name=job.__name__)

    def _said_ready(self, policy: Policy) -> None:
        self.counters.applied(self.enforcement.generation)
        without = sorted({provider.name for provider in policy.providers} - self._keys.of(policy).keys())
        listening = [str(listener.address) for listener in policy.listeners]
        admin = str(policy.admin) if policy.admin is not None else ""
        say("ready", listening=listening, metrics=admin, dialect=policy.dialect, without_keys=without)
        if self._options.on_ready is not None:
            self._options.on_ready(policy)

    async def _start_envoy(self) -> asyncio.subprocess.Process:
        """Start Envoy from the last good files and see it serve; used for every start after the first, too."""
        async with self.enforcement.lock:
            first = self._envoy_keeper.child is None and not self._envoy_keeper.restarts
            if not first:
                self.enforcement.restore()
            args = envoy.arguments(
                self._home.place.directory,
                concurrency=self._options.concurrency,
                drain=self.policy.limits.drain,
            )
            started = time.monotonic()
            child = await envoy.start(args, self._messages)
            self._envoy_keeper.child = child
            try:
                await self.enforcement.confirm()
            except Unavailable as error:
                if first:
                    raise ConfigError(
                        [self._refused(error, "cannot start with the configuration")]
                    ) from error
                complain("Envoy is not ready", error=str(error))
                return child
        if not first:
            say("Envoy is back", after_s=round(time.monotonic() - started, 3))
        return child

    def _envoy_alive(self) -> bool:
        return self._envoy_keeper.pid is not None

    def _refused(self, error: Exception, what: str) -> Problem:
        said = "; ".join(self._messages.rejections) or "no reason given"
        code = "envoy-silent" if isinstance(error, EnvoySilent) else "envoy-refused"
        hint = "this should not happen with a configuration that `wardgate check` accepts: please report it"
        return Problem(code=code, message=f"Envoy {what}: {error}", got=said, hint=hint)

    async def _first_keys(self, policy: Policy, since: float) -> None:
        """Give the service a moment to fetch what has no fresh keys; go on at once when it has tried."""
        deadline, answered = time.monotonic() + SERVICE_S, False
        wanted = sources(policy)
        while time.monotonic() < deadline:
            missing = {source.provider for source in wanted if not self._keys.fresh(source, since)}
            if not missing:
                return
            status = await self._service.status()
            if status is not None and not answered:
                deadline, answered = time.monotonic() + FIRST_KEYS_S, True
            if missing <= {one.get("provider") for one in status or [] if one.get("attempts")}:
                return
            await asyncio.sleep(0.02)

    # --- change

    def _want(self, reason: str) -> None:
        self._reasons.add(reason)
        self._wanted.set()

    async def _change(self) -> None:
        await self._wanted.wait()
        self._wanted.clear()
        reasons, self._reasons = self._reasons, set()
        if reasons == {"keys"}:
            await self._apply(self.policy, reasons)
        else:
            await self._reload(reasons)

    async def _reload(self, reasons: set[str]) -> None:
        """Read the configuration again. A bad one is said with all its problems, and changes nothing."""
        try:
            reading = await asyncio.to_thread(self._load)
        except ConfigError as error:
            reading = Reading(policy=None, problems=error.problems)
        self._tell(reading)
        if reading.policy is None:
            self._kept("refused", len(reading.problems))
            return
        policy = ports.settled(reading.policy, ports.addresses(self.policy))
        try:
            ports.check(policy, held=ports.addresses(self.policy).values())
        except ConfigError as error:
            say_problems(error.problems)
            self._kept("refused", len(error.problems))
            return
        both = dict.fromkeys([*sources(self.policy), *sources(policy)])
        self._service.tell(both, self._service_keeper.pid)
        await self._first_keys(policy, since=0)
        await self._apply(policy, reasons)
        self._service.tell(sources(self.policy), self._service_keeper.pid)

    async def _apply(self, policy: Policy, reasons: set[str]) -> None:
        """Compile and put in force; on any failure the configuration before stays."""
        before = self.enforcement.compiled
        self._messages.rejections.clear()
        try:
            keys = self._keys.of(policy)
            compiled = await asyncio.to_thread(
                self._compiler.compile,
                policy,
                keys,
                self._home.place,
                slots=before.slots if before is not None else None,
            )
            applied = await self.enforcement.apply(compiled)
        except ConfigError as error:
            say_problems(error.problems)
            self._kept("refused", len(error.problems))
        except EnvoyGone:
            warn("Envoy died while its configuration changed; it is offered again")
            self._again(reasons, 1.0)
        except (Unavailable, OSError) as error:
            say_problems([self._refused(error, "did not take the configuration")])
            self._kept("rejected", 1)
            if isinstance(error, EnvoySilent):
                self._again(reasons, RETRY_S)
        else:
            self.policy, self._enforced_keys = policy, keys
            await self._metrics.listen(policy.admin)
            self.counters.reloaded("applied" if applied.files else "unchanged", applied.seconds)
            self.counters.applied(applied.generation)
            if before is not None and before.bootstrap != compiled.bootstrap:
                warn("connection limits changed: they take effect when the gateway is started again")
            took = round(applied.seconds * 1000)
            because = sorted(reasons)
            say("configuration in force", because=because, files=list(applied.files), took_ms=took)

    def _kept(self, result: str, problems: int) -> None:
        self.counters.reloaded(result, None)
        complain("the configuration was not taken; the one before stays in force", problems=problems)

    def _again(self, reasons: set[str], seconds: float) -> None:
        for reason in reasons:
            asyncio.get_running_loop().call_later(seconds, self._want, reason)

    # --- watch

    async def _watch_files(self) -> None:
        while True:
            await asyncio.sleep(watch.POLL_S)
            if await asyncio.to_thread(self._watch.changed):
                self._want("file")

    async def _watch_keys(self) -> None:
        """A copy that changes on disk is compared with what is enforced; only a difference is a change."""
        state: object = None
        while True:
            current = self._store.state(sources(self.policy))
            if current != state:
                state = current
                if self._keys.of(self.policy) != self._enforced_keys:
                    self._want("keys")
            await asyncio.sleep(KEYS_POLL_S)

    # --- stop

    async def _drain(self) -> int:
        """Let running requests end, then stop. A second signal stops at once."""
        limit = self.policy.limits.drain
        say("draining", at_most_s=limit.total_seconds())
        hurry = asyncio.create_task(self._signals.second.wait())
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

    async def _end(self) -> None:
        """End what runs, whatever state it is in."""
        patience_s = 0.0 if self._signals.second.is_set() else 2.0
        await self._metrics.close()
        await asyncio.gather(
            self._envoy_keeper.end(patience_s=patience_s),
            self._service_keeper.end(patience_s=patience_s),
            return_exceptions=True,
        )
        for name in ("admin_socket", "service_socket", "control_socket"):
            with contextlib.suppress(OSError):
                Path(getattr(self._home.place, name)).unlink(missing_ok=True)


class Signals:
    """SIGTERM and SIGINT, counted; SIGHUP."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def catch(self, reload: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, reload)

    def _stop(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def _for_ever(job: Callable[[], Awaitable[None]]) -> None:
    """Do a job again and again; a failure of ours is said, and does not stop the gateway."""
    while True:
        try:
            await job()
        except Exception as error:
            complain("a fault in the gateway itself", error=repr(error), trace=traceback.format_exc(limit=-4))
            await asyncio.sleep(1.0)


def run(load: Load, options: Options, compiler: Compiler) -> int:
    """
    Run a gateway in the foreground until SIGTERM or SIGINT; the exit code.

    Raises ConfigError when it cannot start: bad configuration, address in use, Envoy refuses.
    """
    return asyncio.run(Gateway(load, options, compiler).run())


__all__ = ["Gateway", "Load", "Options", "run"]
