"""Handing configurations to a real Envoy: taken over, refused, taken back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.parts.loopback import free_port
from tests.supervisor.trivial import Application, Trivial, Wish, compiled, get
from wardgate.supervisor.acks import EnvoyGone, Rejected
from wardgate.supervisor.admin import Admin
from wardgate.supervisor.child import kill, stop
from wardgate.supervisor.envoy import Messages, arguments, start
from wardgate.supervisor.xds import Enforcement, SessionState


@dataclass(slots=True, kw_only=True)
class Running:
    """An Envoy with a trivial configuration in force."""

    wish: Wish
    admin: Admin
    enforcement: Enforcement
    messages: Messages
    process: asyncio.subprocess.Process
    application: Application

    @property
    def port(self) -> int:
        return self.wish.address[1]

    def change(self, **fields: str) -> Wish:
        return replace(self.wish, **fields)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    async with Application() as application:
        admin = Admin(str(folder / "admin.sock"))
        wish = Wish(
            directory=str(folder),
            admin_socket=admin.socket,
            address=("127.0.0.1", free_port()),
            upstream=("127.0.0.1", application.port),
        )
        messages, alive = Messages(), [True]
        enforcement = Enforcement(Trivial(), str(folder), admin, lambda: alive[0])
        enforcement.install(compiled(wish))
        process = await start(arguments(str(folder), concurrency=1, drain=timedelta(seconds=2)), messages)
        try:
            await enforcement.confirm()
            gateway = Running(
                wish=wish,
                admin=admin,
                enforcement=enforcement,
                messages=messages,
                process=process,
                application=application,
            )
            watching = asyncio.create_task(_note_death(process, alive))
            yield gateway
            watching.cancel()
        finally:
            await stop(process, patience_s=2)


async def _note_death(process: asyncio.subprocess.Process, alive: list[bool]) -> None:
    await process.wait()
    alive[0] = False


def run(folder: Path, scenario: Callable[[Running], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with running(folder) as gateway:
            await scenario(gateway)

    asyncio.run(whole())


def test_a_change_is_in_force_when_apply_returns(tmp_path: Path) -> None:
    """Every answer after `apply` shows both the new routes and the new filter."""

    async def scenario(gateway: Running) -> None:
        first = await get(gateway.port)
        assert (first.headers["x-route"], first.headers["x-filter"]) == ("one", "one")
        for mark in ("two", "three", "four"):
            applied = await gateway.enforcement.apply(compiled(gateway.change(mark=mark)))
            answer = await get(gateway.port)
            assert (answer.headers["x-route"], answer.headers["x-filter"]) == (mark, mark)
            assert applied.files == ("ecds-test.mark.json", "rds-main.json")
            assert applied.seconds < 2

    run(tmp_path, scenario)


def test_what_does_not_differ_is_not_written(tmp_path: Path) -> None:
    """Applying the same configuration touches no file, and changing one part touches that part's file only."""

    async def scenario(gateway: Running) -> None:
        before = {file.name: file.stat().st_ino for file in (tmp_path / "xds").iterdir()}
        applied = await gateway.enforcement.apply(compiled(gateway.wish))
        assert applied.files == ()
        assert before == {file.name: file.stat().st_ino for file in (tmp_path / "xds").iterdir()}
        applied = await gateway.enforcement.apply(compiled(gateway.change(keys="k")))
        assert applied.files == ("rds-main.json",)

    run(tmp_path, scenario)


@pytest.mark.parametrize(("broken", "file"), [("filter", "ecds-test.mark.json"), ("routes", "rds-main.json")])
def test_what_envoy_refuses_is_taken_back(tmp_path: Path, broken: str, file: str) -> None:
    """A refused file leaves the configuration before in force, every time it comes, and the next good one is taken."""

    async def scenario(gateway: Running) -> None:
        for _ in range(2):
            with pytest.raises(Rejected) as refused:
                await gateway.enforcement.apply(compiled(gateway.change(mark="bad", broken=broken)))
            assert refused.value.files == (file,)
            answer = await get(gateway.port)
            assert (answer.headers["x-route"], answer.headers["x-filter"]) == ("one", "one")
        assert gateway.messages.rejections
        await gateway.enforcement.apply(compiled(gateway.change(mark="good")))
        answer = await get(gateway.port)
        assert (answer.headers["x-route"], answer.headers["x-filter"]) == ("good", "good")

    run(tmp_path, scenario)


def test_no_request_fails_while_configurations_change(tmp_path: Path) -> None:
    """Under steady requests, on new and on kept connections, twenty changes cost none of them."""

    async def scenario(gateway: Running) -> None:
        done = asyncio.Event()

        async def client() -> int:
            count = 0
            while not done.is_set():
                answer = await get(gateway.port)
                assert answer.status == 200
                count += 1
            return count

        clients = [asyncio.create_task(client()) for _ in range(4)]
        times = []
        for turn in range(20):
            applied = await gateway.enforcement.apply(compiled(gateway.change(mark=f"m{turn}")))
            times.append(applied.seconds)
        done.set()
        assert sum(await asyncio.gather(*clients)) > 20
        assert sorted(times)[len(times) // 2] < 0.5

    run(tmp_path, scenario)


def test_another_upstream_is_added_before_routes_use_it(tmp_path: Path) -> None:
    """A request that waits for the old upstream is answered by it although its cluster has been removed."""

    async def scenario(gateway: Running) -> None:
        slow = asyncio.create_task(get(gateway.port, "/slow"))
        await asyncio.wait_for(gateway.application.slow_started.wait(), 5)
        async with Application() as other:
            changed = replace(gateway.wish, upstream=("127.0.0.1", other.port), mark="two")
            applied = await gateway.enforcement.apply(compiled(changed))
            assert "cds.json" in applied.files
            assert (await get(gateway.port)).status == 200
            gateway.application.release.set()
            assert (await slow).status == 200

    run(tmp_path, scenario)


def test_a_death_in_the_middle_leaves_the_files_of_before(tmp_path: Path) -> None:
    """When Envoy dies while it is asked, the files are again those that it can start from."""

    async def scenario(gateway: Running) -> None:
        kill(gateway.process)
        await gateway.process.wait()
        with pytest.raises(EnvoyGone):
            await gateway.enforcement.apply(compiled(gateway.change(mark="two")))
        assert "one" in (tmp_path / "xds" / "rds-main.json").read_text("utf-8")
        assert not [file for file in (tmp_path / "xds").iterdir() if file.name.startswith(".")]

    run(tmp_path, scenario)


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a file cannot be written, the configuration before stays in force."""

    async def scenario(gateway: Running) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("wardgate.supervisor.xds.write_private", full)
        with pytest.raises(OSError, match="No space left"):
            await gateway.enforcement.apply(compiled(gateway.change(mark="two")))
        assert (await get(gateway.port)).headers["x-route"] == "one"
        monkeypatch.undo()
        await gateway.enforcement.apply(compiled(gateway.change(mark="two")))
        assert (await get(gateway.port)).headers["x-route"] == "two"

    run(tmp_path, scenario)


def test_envoy_is_serving_within_seconds(tmp_path: Path) -> None:
    """From nothing to the first answer, on a machine that others use too."""
    started = time.monotonic()

    async def scenario(gateway: Running) -> None:
        assert (await get(gateway.port)).status == 200
        assert time.monotonic() - started < 10

    run(tmp_path, scenario)


def test_ended_sessions_are_refused_when_attest_returns(tmp_path: Path) -> None:
    """A deny list is in force when `attest` returns, touches one file, and outlives changes of the configuration."""

    async def scenario(gateway: Running) -> None:
        enforcement, port = gateway.enforcement, gateway.port
        assert (await get(port, session="gone")).status == 200
        files = {file.name: file.stat().st_ino for file in (tmp_path / "xds").iterdir()}
        await enforcement.attest(SessionState(denied=("gone",), number=1))
        assert (await get(port, session="gone")).status == 403
        assert (await get(port, session="here")).status == 200
        changed = {
            file.name for file in (tmp_path / "xds").iterdir() if file.stat().st_ino != files[file.name]
        }
        assert changed == {"ecds-wardgate.revoked.json"}
        await enforcement.apply(compiled(gateway.change(mark="two")))
        assert (await get(port, session="gone")).status == 403
        await enforcement.attest(SessionState(denied=(), number=2))
        assert (await get(port, session="gone")).status == 200

    run(tmp_path, scenario)


def test_ten_thousand_ended_sessions_are_taken_in_time(tmp_path: Path) -> None:
    """The longest list is acknowledged well within the time that a logout waits."""

    async def scenario(gateway: Running) -> None:
        denied = tuple(f"session-{number:024}" for number in range(10_000))
        started = time.monotonic()
        await gateway.enforcement.attest(SessionState(denied=denied, number=1))
        assert time.monotonic() - started < 10
        assert (await get(gateway.port, session=denied[-1])).status == 403

    run(tmp_path, scenario)
