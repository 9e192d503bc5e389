"""The local store keeps the promises of a store, and what is particular to a file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from tests.service.store_contract import HOUR, SCENARIOS, Scenario, a_session
from wardgate.service.sealing import Sealer
from wardgate.service.stores import StoreAway
from wardgate.service.stores.local import LocalStore


def store(folder: Path, key: bytes = b"k" * 32) -> LocalStore:
    return LocalStore(folder / "sessions.sqlite", Sealer([key]))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_promises(tmp_path: Path, scenario: Scenario) -> None:
    """Each promise of `SessionStore` is kept."""

    async def run() -> None:
        found = store(tmp_path)
        await scenario(found, found)
        await found.close()

    asyncio.run(run())


def test_it_survives_a_restart_and_a_new_key(tmp_path: Path) -> None:
    """A file is read again by the next process, also with another first key; without its key a session is none."""

    async def run() -> None:
        session = a_session()
        first = store(tmp_path)
        await first.create(session, expires=time.time() + HOUR)
        await first.close()
        assert await store(tmp_path).read(session.name) == session
        both = LocalStore(tmp_path / "sessions.sqlite", Sealer([b"n" * 32, b"k" * 32]))
        assert await both.read(session.name) == session
        assert await store(tmp_path, b"x" * 32).read(session.name) is None

    asyncio.run(run())


def test_the_file_tells_nothing(tmp_path: Path) -> None:
    """It is for this user only, and no token or claim stands in it."""

    async def run() -> None:
        session = a_session()
        found = store(tmp_path)
        await found.create(session, expires=time.time() + HOUR)
        await found.close()

    asyncio.run(run())
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"aaaaaaaa" not in file.read_bytes()
        assert b"role-1" not in file.read_bytes()


def test_a_session_moved_to_another_name_is_none(tmp_path: Path) -> None:
    """Who can write the file cannot put one person's session in another's place."""

    async def run() -> None:
        mine, theirs = a_session(), a_session(subject="u-2")
        found = store(tmp_path)
        for session in (mine, theirs):
            await found.create(session, expires=time.time() + HOUR)
        with sqlite3.connect(tmp_path / "sessions.sqlite") as database:
            database.execute(
                "UPDATE sessions SET sealed = (SELECT sealed FROM sessions WHERE name = ?) WHERE name = ?",
                (theirs.name, mine.name),
            )
        assert await found.read(mine.name) is None
        assert await found.read(theirs.name) == theirs

    asyncio.run(run())


def test_a_file_that_cannot_be_used_is_away(tmp_path: Path) -> None:
    """Nonsense in its place is StoreAway each time, and when the file is gone it goes on."""

    async def run() -> None:
        found = store(tmp_path)
        (tmp_path / "sessions.sqlite").write_bytes(b"no database" * 1000)
        for _ in range(2):
            with pytest.raises(StoreAway):
                await found.read("n" * 32)
        (tmp_path / "sessions.sqlite").unlink()
        assert await found.read("n" * 32) is None

    asyncio.run(run())
