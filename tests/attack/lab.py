"""
The surroundings of a run: application, issuer, canary, and the gateways under test.

Everything listens on loopback, and ends with the run. A gateway is a
process that someone else describes (`Launch`): the real one, or plain Envoy when the runner itself is tested.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts.loopback import free_port

from .http1 import Answer, Connection
from .issuer import OTHER, WRONG, Issuer
from .keys import Keys
from .runner import control_bytes, control_path
from .tokens import Mint
from .upstream import Upstream

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    What a gateway must be told: where it listens, whom it trusts, what it protects, where it may write.

    `issuers` are further ones that it may trust, by their realms.
    """

    port: int
    issuer: str
    issuers: Mapping[str, str]
    jwks: Mapping[str, object]
    upstream_port: int
    folder: Path
    fixture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """
    How a gateway is started: the command and the variables that are added to the environment.

    `endpoints` are its own paths, by the names that cases use. `aged` makes the cookie of a login on its way older: its
    value, the login's state, seconds.
    """

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    aged: Callable[[str, str, float], str] | None = None


Launcher = Callable[[Place], Launch]


class GatewayFailed(Exception):
    """The gateway did not become ready: carries the end of what it printed."""


class Lab:
    """Everything that a run needs, as an async context manager. It is the `Target` of the runner."""

    def __init__(
        self,
        launcher: Launcher,
        folder: Path,
        *,
        fixtures: Iterable[str] = ("",),
        vectors_in: Path | None = None,
    ) -> None:
        self.upstream = Upstream()
        self.canary_hits = 0
        self.keys = Keys()
        self.issuer = Issuer(self.keys)
        self._launcher = launcher
        self._folder = folder
        self._fixtures = tuple(fixtures)
        self._vectors_in = vectors_in
        self._launches: dict[str, Launch] = {}
        self._ports: dict[str, int] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._canary_port = 0
        self._stack = AsyncExitStack()

    def port(self, fixture: str) -> int:
        """Where the gateway of this fixture listens."""
        return self._ports[fixture]

    def mint(self, fixture: str) -> Mint:
        """Tokens of the issuer that the gateway of this fixture trusts."""
        return Mint(
            keys=self.keys,
            issuer=self.issuer.of(fixture),
            canary_port=self._canary_port,
            vectors_in=self._vectors_in,
        )

    def path(self, template: str) -> str:
        """A path with `{{endpoint}}` names replaced by the gateway's own paths."""
        for launch in self._launches.values():
            for name, path in launch.endpoints.items():
                template = template.replace("{{" + name + "}}", path)
        return template

    def aged(self, value: str, state: str, by_s: float) -> str:
        """The cookie of a login as it would be, had the login begun so many seconds earlier."""
        for launch in self._launches.values():
            if launch.aged is not None:
                return launch.aged(value, state, by_s)
        raise GatewayFailed("nobody knows how to make a login of this gateway older")

    def memory_bytes(self, fixture: str) -> int:
        """Resident memory of a gateway's process and of all that it started, in bytes."""
        members, total = {self._processes[fixture].pid}, 0
        page = os.sysconf("SC_PAGE_SIZE")
        for pid, parent, pages in sorted(_processes()):
            if pid in members or parent in members:
                members.add(pid)
                total += pages * page
        return total

    async def __aenter__(self) -> Lab:
        try:
            upstream_port = await self.upstream.start()
            self._stack.push_async_callback(self.upstream.stop)
            await self.issuer.start()
            self._stack.push_async_callback(self.issuer.stop)
            await self._start_canary()
            for fixture in self._fixtures:
                await self._start_gateway(fixture, upstream_port)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start_canary(self) -> None:
        async def noticed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.canary_hits += 1
            writer.close()

        canary = await asyncio.start_server(noticed, "127.0.0.1", 0)
        self._canary_port = self.issuer.canary_port = canary.sockets[0].getsockname()[1]
        self._stack.callback(canary.close)

    async def _start_gateway(self, fixture: str, upstream_port: int) -> None:
        folder = self._folder / re.sub(r"\W+", "-", fixture or "plain")
        folder.mkdir(parents=True)
        place = Place(
            port=free_port(),
            issuer=self.issuer.of(fixture),
            issuers={realm: self.issuer.named(realm) for realm in (OTHER, WRONG)},
            jwks=self.keys.jwks(without_alg=fixture == "jwks_without_alg"),
            upstream_port=upstream_port,
            folder=folder,
            fixture=fixture,
        )
        launch, log = self._launcher(place), folder / "gateway.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *launch.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | launch.variables,
                cwd=folder,
            )
        self._stack.push_async_callback(_stop, process)
        self._ports[fixture] = place.port
        self._processes[fixture] = process
        self._launches[fixture] = launch
        await self._until_ready(fixture, process, log)

    async def _until_ready(self, fixture: str, process: asyncio.subprocess.Process, log: Path) -> None:
        """Poll with the control request: ready means that a valid request arrives."""
        said: object = "nothing"
        try:
            async with asyncio.timeout(READY_SECONDS):
                while said != 200 and process.returncode is None:
                    said = await self._control(fixture)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            pass  # said below
        if said != 200:
            end = log.read_text("utf-8", "replace")[-3000:]
            raise GatewayFailed(
                f"the gateway ({fixture or 'plain'}) answered {said} to the control request;"
                f" exit code {process.returncode}; it printed:\n{end}"
            )

    async def _control(self, fixture: str) -> int | str:
        try:
            connection = await Connection.to(self.port(fixture), "127.0.0.1")
        except OSError:
            return "no connection"
        try:
            token = self.mint(fixture).token({"base": "admin"})
            answer: Answer = await connection.exchange(
                control_bytes("ready", token, control_path(self, fixture)), method="GET"
            )
            return answer.said
        finally:
            await connection.close()


def _processes() -> Iterator[tuple[int, int, int]]:
    """Every process: its id, its parent's, its resident pages (proc(5); a child's id is above its parent's)."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            fields = (folder / "stat").read_text("latin-1").rpartition(")")[2].split()
            yield int(folder.name), int(fields[1]), int(fields[21])


async def _stop(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL for one that does not listen."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
