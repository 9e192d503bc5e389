"""
Hands a configuration to Envoy, step by step, and takes it back when Envoy refuses it.

The directory always holds a configuration that Envoy can start from. Files are written under another name and
renamed, only when their content changes. `files.py` knows the steps, `acks.py` whether Envoy took one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wardgate.envoy import names
from wardgate.events import complain
from wardgate.problems import Unavailable
from wardgate.supervisor.acks import EnvoyGone, Watch
from wardgate.supervisor.admin import Admin
from wardgate.supervisor.files import (
    Compiler,
    Group,
    Phase,
    Texts,
    filter_text,
    group_of,
    phases,
    response,
    texts,
)

if TYPE_CHECKING:
    from wardgate.compiler import Compiled

DEADLINE_S, START_DEADLINE_S = 10.0, 20.0
SECONDS_PER_MB = 1.0
"""How long Envoy may take: it reads some ten megabytes a second when it has a processor of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """
    What the service says of sessions. `jwks`: the keys of attested tokens, None before it has said any. `denied`: names
    of sessions that ended. `number` differs from state to state.
    """

    jwks: str | None = None
    denied: tuple[str, ...] = ()
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a change was: `files` is empty when nothing differed."""

    generation: int
    files: tuple[str, ...]
    seconds: float


class Directory:
    """The folder of Envoy's files: each is replaced at once, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """An empty folder that only we can read; what an earlier run left is gone."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        for left in self.path.iterdir():
            if left.is_file():
                left.unlink()

    def replace(self, contents: Mapping[str, str]) -> None:
        """Write every file under another name first: a full disk is noticed before anything has changed."""
        for file, content in contents.items():
            write_private(self._temporary(file), content)
        for file in contents:
            self._temporary(file).replace(self.path / file)

    def remove(self, files: Iterable[str]) -> None:
        for file in files:
            (self.path / file).unlink(missing_ok=True)

    def _temporary(self, file: str) -> Path:
        return self.path / f".{file}.new"


def _digests(found: Texts) -> dict[str, str]:
    return {file: hashlib.sha256(text.encode()).hexdigest() for file, text in found.items()}


def _allowance_s(found: Texts) -> float:
    return SECONDS_PER_MB * sum(map(len, found.values())) / 1e6


def write_private(path: Path, content: str) -> None:
    """Write a file that only this user can read; what a failed write leaves is removed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise


class Enforcement:
    """
    The configuration that Envoy enforces: `compiled` is the last one that it took, without its routes (a large
    table is kept as text only; a union never needs the routes of both).

    `lock` is held while files change, and by whoever starts Envoy from them; never while something is compiled,
    since a dead Envoy must come back even then. One `apply` at a time.
    """

    def __init__(self, compiler: Compiler, directory: str, admin: Admin, alive: Callable[[], bool]) -> None:
        self.compiled: Compiled | None = None
        self.generation = 0
        self.lock = asyncio.Lock()
        self._compiler = compiler
        self._bootstrap = Path(directory) / "bootstrap.json"
        self._directory = Directory(Path(directory) / "xds")
        self._admin = admin
        self._alive = alive
        self._plain: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._sessions = SessionState()

    def install(self, compiled: Compiled) -> None:
        """Write a whole configuration, before Envoy starts."""
        self.generation += 1
        compiled = self._with_sessions(compiled)
        known: dict[int, str] = {}
        self._plain = _digests(texts(compiled, known))
        stamped = self._compiler.stamped(compiled, self.generation)
        self._written = texts(stamped, known)
        self.compiled = replace(compiled, routes={})
        self._directory.prepare()
        write_private(self._bootstrap, json.dumps(compiled.bootstrap))
        self.restore()

    def restore(self) -> None:
        """Write the last good configuration whole: Envoy is dead and will start from it."""
        version = self._version("start")
        self._directory.replace({file: response(text, version) for file, text in self._written.items()})

    async def confirm(self) -> None:
        """After Envoy's start: until it uses every file. Raises Unavailable."""
        watch = Watch(self._admin, self._alive, self._written)
        versions = dict.fromkeys(self._written, self._version("start"))
        await watch.wait(versions, time.monotonic() + START_DEADLINE_S + _allowance_s(self._written))

    async def apply(self, compiled: Compiled) -> Applied:
        """
        Put a configuration in force instead of the present one.

        Raises Rejected or EnvoySilent when Envoy did not take it (the one before is then in force again), EnvoyGone
        when Envoy died on the way (its files are then those of the one before).
        """
        started = time.monotonic()
        while True:
            generation, basis = self.generation + 1, self._sessions
            complete = self._with_sessions(compiled)
            plain, final, steps = await asyncio.to_thread(self._steps, complete, generation)
            async with self.lock:
                if basis is not self._sessions:  # what the service says of sessions has changed meanwhile
                    continue
                if steps:
                    self.generation = generation
                    await self._take(steps)
                changed = self._settle(complete, plain, final, steps)
            seconds = time.monotonic() - started
            return Applied(generation=self.generation, files=changed, seconds=seconds)

    # --- what the service says of sessions

    async def attest(self, state: SessionState) -> None:
        """
        Put the service's keys and its deny list in force, beside the configuration. Raises as `apply` does.

        Before a configuration is installed they are only kept: the installation has them.
        """
        async with self.lock:
            before, self._sessions = self._sessions, state
            if self.compiled is None:
                return
            try:
                if state.denied != before.denied:
                    await self._swap(names.REVOKED)
                if state.jwks != before.jwks:
                    await self._swap(names.JWT)
            except (Unavailable, OSError):
                self._sessions = before
                raise

    async def _swap(self, name: str) -> None:
        """Replace one filter by what it is with today's sessions."""
        if self.compiled is None:
            raise ValueError("nothing is installed yet")
        self.generation += 1
        compiled = self._with_sessions(self.compiled)
        stamped = self._compiler.stamped(compiled, self.generation)
        step = Phase(name="sessions", texts=filter_text(stamped, name))
        await self._take([step])
        self._written |= step.texts
        self._plain |= _digests(filter_text(compiled, name))
        self.compiled = compiled

    def _with_sessions(self, compiled: Compiled) -> Compiled:
        if self._sessions.jwks is not None:
            compiled = self._compiler.rekeyed(compiled, self._sessions.jwks)
        denied = self._compiler.deny_list(self._sessions.denied, self._sessions.number)
        return replace(compiled, filters={**compiled.filters, names.REVOKED: denied})

    def _settle(
        self, compiled: Compiled, plain: dict[str, str], final: dict[str, str], steps: list[Phase]
    ) -> tuple[str, ...]:
        """Everything is in force: forget the configuration before. What changed is returned."""
        gone = self._written.keys() - final.keys()
        changed = {file for step in steps for file in step.texts}
        kept = {file: text for file, text in self._written.items() if file not in gone}
        self._written = kept | {file: final[file] for file in changed}
        self._plain, self.compiled = plain, replace(compiled, routes={})
        self._directory.remove(gone)
        return tuple(sorted(changed | gone))

    def _steps(
        self, compiled: Compiled, generation: int
    ) -> tuple[dict[str, str], dict[str, str], list[Phase]]:
        if self.compiled is None:
            raise ValueError("nothing is installed yet")
        known: dict[int, str] = {}
        union = self._compiler.stamped(self._compiler.union(self.compiled, compiled), generation)
        stamped = self._compiler.stamped(compiled, generation)
        plain = _digests(texts(compiled, known))
        both, final = texts(union, known), texts(stamped, known)
        return plain, final, list(phases(self._plain, plain, both, final))

    async def _take(self, steps: list[Phase]) -> None:
        done: list[Phase] = []
        try:
            unheard: dict[str, str] = {}
            for step in steps:
                done.append(step)
                await self._write(step, unheard)
        except EnvoyGone:
            self._undo_files(done)
            raise
        except (Unavailable, OSError):
            await self._roll_back(done)
            raise

    async def _write(self, step: Phase, unheard: dict[str, str]) -> None:
        """One step. Files that Envoy cannot know yet (`unheard`) are awaited when the listeners name them."""
        versions = dict.fromkeys(step.texts, self._version(step.name))
        fresh = {file: version for file, version in versions.items() if file not in self._written}
        match step.name:
            case "add" | "routes":
                unheard |= fresh
                awaited = {file: version for file, version in versions.items() if file not in fresh}
            case "listeners":
                awaited = versions | unheard
            case _:
                awaited = versions
        await self._replace(step, awaited)

    async def _replace(self, step: Phase, awaited: Mapping[str, str]) -> None:
        watch = Watch(self._admin, self._alive, awaited)
        await watch.begin()
        version = self._version(step.name)
        self._directory.replace({file: response(text, version) for file, text in step.texts.items()})
        await watch.wait(awaited, time.monotonic() + DEADLINE_S + _allowance_s(step.texts))

    async def _roll_back(self, done: list[Phase]) -> None:
        """The way back has the same order: routes and listeners first, then what they need."""
        touched = {file for step in done for file in step.texts}
        users = {file for file in touched if group_of(file) in (Group.ROUTES, Group.LISTENERS)}
        for name, files in (("back-1", users), ("back-2", touched - users)):
            old = {file: self._written[file] for file in files if file in self._written}
            if old:
                await self._back(Phase(name=name, texts=old))
        self._directory.remove(touched - set(self._written))

    async def _back(self, step: Phase) -> None:
        try:
            await self._replace(step, dict.fromkeys(step.texts, self._version(step.name)))
        except EnvoyGone:
            self._undo_files([step])
        except (Unavailable, OSError) as error:
            complain(
                "Envoy did not go back to the configuration before",
                files=sorted(step.texts),
                error=str(error),
            )

    def _undo_files(self, done: list[Phase]) -> None:
        touched = {file for step in done for file in step.texts}
        self._directory.remove(touched - set(self._written))
        with contextlib.suppress(OSError):  # `restore` writes all of them again before Envoy starts
            self.restore()

    def _version(self, step: str) -> str:
        return f"{self.generation}-{step}"
