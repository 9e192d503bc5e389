"""The file: its tables are those of the schema, its record only grows, it is private; and a database that is away is said."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from tests.approvals.people import terms
from tests.approvals.test_desk import AGENT, Clock, opened, wish
from tests.parts.loopback import free_port
from wardgate.approvals.schema import METADATA
from wardgate.approvals.store import Filter, Store, StoreAway, file_url


def test_migrations_make_what_the_schema_says(tmp_path: Path) -> None:
    async def made() -> None:
        await (await Store.open(file_url(tmp_path / "a.db"))).close()
        await (await Store.open(file_url(tmp_path / "a.db"))).close()  # nothing is left to do

    asyncio.run(made())
    engine = create_engine(file_url(tmp_path / "a.db"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_the_record_only_grows(tmp_path: Path) -> None:
    async def ask() -> None:
        async with opened(tmp_path) as desk:
            await desk.ask(AGENT, wish())

    asyncio.run(ask())
    with sqlite3.connect(tmp_path / "approvals.db") as database:
        for change in ("UPDATE audit SET event = 'x'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="the record can only grow"):
                database.execute(change)
    database.close()


def test_the_file_is_for_its_owner(tmp_path: Path) -> None:
    async def ask() -> None:
        async with opened(tmp_path / "deep") as desk:
            await desk.ask(AGENT, wish())
            for file in (tmp_path / "deep").iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file

    asyncio.run(ask())
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700


def test_what_is_there_is_there_again(tmp_path: Path) -> None:
    async def twice() -> None:
        async with opened(tmp_path) as desk:
            filed = (
                await desk.ask(AGENT, wish(content={"parameters": {"ü": [1, None]}}, dedup_key="k"))
            ).request
            head = await desk.store.head()
        async with opened(tmp_path) as desk:
            assert await desk.store.read(filed.name) == filed
            assert await desk.store.head() == head

    asyncio.run(twice())


def test_pages(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path, safety=()) as desk:
            names = [(await desk.ask(AGENT, wish(action=f"a{number}"))).request.name for number in range(5)]
            page = await desk.listed(AGENT, Filter(), 2)
            assert [one.name for one in page] == names[:-3:-1]
            rest = await desk.listed(AGENT, Filter(before=page[-1].id), 10)
            assert [one.name for one in rest] == names[-3::-1]

    asyncio.run(work())


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "postgresql://u:secret-word@127.0.0.1:{port}/d", "sqlite:////proc/no/x.db"]
)
def test_a_database_that_cannot_be_opened(url: str) -> None:
    async def open_it() -> None:
        await Store.open(url.format(port=free_port()))

    with pytest.raises(StoreAway) as said:
        asyncio.run(open_it())
    assert "secret-word" not in str(said.value)


def test_a_disk_that_is_full_or_broken_is_no_answer(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path, Clock()) as desk:
            name = (await desk.ask(AGENT, wish())).request.name
            async with desk.store._engine.begin() as connection:
                pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
            await desk.store._engine.dispose()
            (tmp_path / "approvals.db").write_bytes(b"no database" * 1000)
            for file in tmp_path.glob("approvals.db-*"):
                file.unlink()
            assert pages
            with pytest.raises(StoreAway):
                await desk.ask(AGENT, wish())
            with pytest.raises(StoreAway):
                await desk.read(AGENT, name)

    asyncio.run(work())
    assert terms().store is None
