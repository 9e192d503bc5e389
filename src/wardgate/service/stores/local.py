"""
Sessions in a file of this machine: SQLite in the state directory, for one replica. It survives a restart.

Every call is one statement or one short transaction, well below a millisecond, so it is made where it is called; a
thread would cost more than it saves. (A session of 3000 roles takes 5 ms to keep, nearly all of it to write its JSON.)
Only an end waits for the disk: after a power cut the last moments may be lost, never the file, and never that somebody
logged out. A file that cannot be used is StoreAway, and tried again at the next call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from wardgate.service.sealing import STORE, SealBroken, Sealer
from wardgate.service.session import Session
from wardgate.service.stores import StoreAway, Summary, summary_of

SWEEP_S: Final = 60.0
BUSY_S: Final = 1.0

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sessions (
    name TEXT PRIMARY KEY, generation INTEGER NOT NULL, used REAL NOT NULL, expires REAL NOT NULL,
    issuer TEXT NOT NULL, subject TEXT NOT NULL, issuer_session TEXT, sealed BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_subject ON sessions (issuer, subject);
CREATE INDEX IF NOT EXISTS by_login ON sessions (issuer, issuer_session);
CREATE INDEX IF NOT EXISTS by_expiry ON sessions (expires);
CREATE TABLE IF NOT EXISTS revoked (name TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    kind TEXT, value TEXT, until REAL NOT NULL, PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class LocalStore:
    """The promises of `SessionStore`. `now`: seconds since 1970."""

    def __init__(self, path: Path, sealer: Sealer, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._sealer = sealer
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._swept = 0.0
        self._changed = asyncio.Condition()

    async def create(self, session: Session, *, expires: float) -> None:
        with self._transaction() as database:
            added = database.execute(
                "INSERT INTO sessions SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE ?1 NOT IN (SELECT name FROM revoked)",
                (
                    session.name,
                    session.generation,
                    session.used,
                    expires,
                    session.issuer,
                    session.subject,
                    session.issuer_session,
                    sealed(self._sealer, session),
                ),
            )
        if added.rowcount != 1:
            raise StoreAway("a new session's name is that of one that has ended")
        self._sweep()

    async def read(self, name: str) -> Session | None:
        with self._transaction() as database:
            found = database.execute(
                "SELECT sealed, used FROM sessions WHERE name = ? AND expires > ? AND name NOT IN (SELECT name FROM revoked)",
                (name, self._now()),
            ).fetchone()
        return self._opened(name, *found) if found is not None else None

    async def replace(self, session: Session, *, expires: float) -> bool:
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE sessions SET generation = ?, used = max(used, ?), expires = ?, sealed = ?"
                " WHERE name = ? AND generation = ? AND expires > ? AND name NOT IN (SELECT name FROM revoked)",
                (
                    session.generation,
                    session.used,
                    expires,
                    sealed(self._sealer, session),
                    session.name,
                    session.generation - 1,
                    self._now(),
                ),
            )
            return changed.rowcount == 1

    async def touch(self, name: str, *, used: float, expires: float) -> None:
        with self._transaction() as database:
            database.execute(
                "UPDATE sessions SET used = max(used, ?), expires = ? WHERE name = ? AND expires > ?",
                (used, expires, name, self._now()),
            )

    async def end(self, name: str, *, now: float, deny_until: float) -> Session | None:
        with self._transaction(lasting=True) as database:
            database.execute(
                "INSERT INTO revoked VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET until = max(until, excluded.until)",
                (name, deny_until),
            )
            found = database.execute(
                "DELETE FROM sessions WHERE name = ? RETURNING sealed, used, expires", (name,)
            ).fetchone()
            database.execute("DELETE FROM leases WHERE name = ?", (name,))
        await self._tell()
        return self._opened(name, found[0], found[1]) if found is not None and found[2] > now else None

    async def of_login(self, issuer: str, *, subject: str | None, issuer_session: str | None) -> list[str]:
        column, value = (
            ("issuer_session", issuer_session) if issuer_session is not None else ("subject", subject)
        )
        if value is None:
            return []
        with self._transaction() as database:
            rows = database.execute(
                f"SELECT name FROM sessions WHERE issuer = ? AND {column} = ? AND expires > ?",  # noqa: S608 - one of two names
                (issuer, value, self._now()),
            ).fetchall()
        return [str(row[0]) for row in rows]

    async def list(self) -> AsyncIterator[Summary]:
        last = ""
        while True:
            with self._transaction() as database:
                rows = database.execute(
                    "SELECT name, sealed, used, expires FROM sessions WHERE name > ? AND expires > ? ORDER BY name LIMIT 200",
                    (last, self._now()),
                ).fetchall()
            for name, sealed, used, expires in rows:
                last, session = name, self._opened(name, sealed, used)
                if session is not None:
                    yield summary_of(session, expires)
            if not rows:
                return
            await asyncio.sleep(0)

    async def revoked(self, *, now: float) -> Mapping[str, float]:
        with self._transaction() as database:
            rows = database.execute("SELECT name, until FROM revoked WHERE until > ?", (now,)).fetchall()
        self._sweep()
        return {str(name): float(until) for name, until in rows}

    async def changes(self) -> AsyncIterator[None]:
        while True:
            async with self._changed:
                await self._changed.wait()
            yield None

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        now = self._now()
        with self._transaction() as database:
            database.execute(
                "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET owner = excluded.owner,"
                " until = excluded.until WHERE owner = excluded.owner OR until <= ?",
                (name, owner, now + seconds, now),
            )
            held = database.execute("SELECT owner FROM leases WHERE name = ?", (name,)).fetchone()
        return held is not None and held[0] == owner

    async def release(self, name: str, owner: str) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM leases WHERE name = ? AND owner = ?", (name, owner))

    async def first_time(self, kind: str, value: str, *, seconds: float) -> bool:
        now = self._now()
        with self._transaction() as database:
            added = database.execute(
                "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (kind, value) DO UPDATE SET until = excluded.until"
                " WHERE until <= ?",
                (kind, value, now + seconds, now),
            )
            return added.rowcount == 1

    async def epoch(self) -> str:
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO facts VALUES ('epoch', ?)", (secrets.token_urlsafe(16),))
            found = database.execute("SELECT value FROM facts WHERE name = 'epoch'").fetchone()
        return str(found[0])

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- the file

    @contextlib.contextmanager
    def _transaction(self, *, lasting: bool = False) -> Iterator[sqlite3.Connection]:
        """`lasting`: on the disk when it is over; anything else a power cut may cost."""
        try:
            if self._connection is None:
                self._connection = self._opened_file()
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            with self._connection:
                yield self._connection
        except (sqlite3.Error, OSError) as error:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None
            raise StoreAway(f"the file of sessions cannot be used ({self._path}): {error}") from error

    def _opened_file(self) -> sqlite3.Connection:
        os.close(
            os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        )  # before SQLite makes it for others to read
        self._path.chmod(0o600)
        connection = sqlite3.connect(self._path, timeout=BUSY_S)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        return connection

    def _sweep(self) -> None:
        """What has ended by itself goes, now and then."""
        now = self._now()
        if now - self._swept < SWEEP_S:
            return
        self._swept = now
        with contextlib.suppress(StoreAway), self._transaction() as database:
            for table, column in (
                ("sessions", "expires"),
                ("revoked", "until"),
                ("leases", "until"),
                ("seen", "until"),
            ):
                database.execute(f"DELETE FROM {table} WHERE {column} <= ?", (now,))  # noqa: S608 - names of ours

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- values

    def _opened(self, name: str, sealed: bytes, used: float) -> Session | None:
        return opened(self._sealer, name, sealed, used)


def sealed(sealer: Sealer, session: Session) -> bytes:
    """A session as a store keeps it."""
    return sealer.seal(STORE, session.as_json(), session.name)


def opened(sealer: Sealer, name: str, sealed: bytes, used: float) -> Session | None:
    """A session as it was kept, with when it was last used; None for one that cannot be read any more."""
    try:
        session = Session.from_json(sealer.open(STORE, sealed, name))
    except (SealBroken, ValueError, KeyError, TypeError):
        return None
    return replace(session, used=max(session.used, used)) if session.name == name else None
