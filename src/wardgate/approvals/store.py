"""
Where requests, votes and the record are kept: a file of SQLite, or Postgres for several replicas.

All that changes something is one transaction (`Store.changing`), with its entries in the record, and is on disk before
anybody is answered. A request is changed by its version: of two that had read the same one wins, and the other begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, delete, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from wardgate.approvals import audit
from wardgate.approvals.records import ACTIVE, AgentRequest, Condition, Phase, PolicyResult, Wish
from wardgate.approvals.schema import (
    AUDIT,
    AUDIT_HEAD,
    DELIVERIES,
    GRANT_KEYS,
    IDEMPOTENCY,
    METADATA,
    REQUESTS,
    VOTES,
    canonical,
)
from wardgate.problems import Unavailable
from wardgate.safety import Per

PATIENCE_S: Final = 10.0
"""How long an operation may take, waiting for its turn included."""

CONNECTIONS: Final = 8


class StoreAway(Unavailable):
    """The database cannot answer now."""


class Lost(Exception):
    """Somebody else changed the request first, or took the name: begin anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one reviewer said of a request."""

    issuer: str
    subject: str
    identity: str
    decision: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Something that the webhook has still to be told: that this request waits. Times: seconds since 1970."""

    id: int
    request: str
    made_at: float
    next_at: float
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which requests to list: of a phase, of an agent, of whoever is (issuer, subject)."""

    phase: Phase | None = None
    agent: str | None = None
    of: tuple[str, str] | None = None
    before: int | None = None


class Store:
    """Open one with `Store.open`, close it with `close`. For one event loop."""

    def __init__(self, engine: AsyncEngine, url: str) -> None:
        self._engine = engine
        self.url = url
        self._is_file = engine.dialect.name == "sqlite"
        self._turn = asyncio.Lock()
        self.noted: Counter[str] = Counter()
        """How often each event was noted here."""

    @classmethod
    async def open(cls, url: str) -> Store:
        """
        `url`: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`. Makes the tables, or brings them up to date.

        Raises StoreAway.
        """
        store = cls(_engine(url), url)
        try:
            async with asyncio.timeout(PATIENCE_S), store._begun() as connection:
                if not store._is_file:  # several replicas start at once
                    await connection.execute(text("SELECT pg_advisory_xact_lock(727374727)"))
                await connection.run_sync(_migrate)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            await store._engine.dispose()
            raise StoreAway(f"the store of requests cannot be opened: {_words(error)}") from error
        return store

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Change]:
        """
        One transaction: all of it holds when the block ends, nothing when it raises. Raises StoreAway, Lost.
        """
        async with self._writing() as connection:
            change = Change(connection)
            yield change
            await change.finish()
        self.noted.update(change.events)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        """Of a file there is one writer at a time: whoever waits here does not wait in the database."""
        turn = self._turn if self._is_file else contextlib.nullcontext()
        async with self._asking(), turn, self._begun() as connection:
            yield connection

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.begin() as connection:
            if self._is_file:
                await connection.execute(text("BEGIN IMMEDIATE"))
            yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._asking(), self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                yield
        except IntegrityError as error:
            raise Lost(_words(error)) from error
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if _is_conflict(error):
                raise Lost(_words(error)) from error
            raise StoreAway(f"the store of requests cannot answer: {_words(error)}") from error

    async def read(self, name: str) -> AgentRequest | None:
        async with self._reading() as connection:
            return await _one(connection, _BY_NAME, name)

    async def listed(self, wanted: Filter, limit: int) -> list[AgentRequest]:
        """The newest first."""
        query = select(REQUESTS).order_by(REQUESTS.c.id.desc()).limit(limit)
        if wanted.phase is not None:
            query = query.where(REQUESTS.c.phase == wanted.phase.value)
        if wanted.agent is not None:
            query = query.where(REQUESTS.c.agent == wanted.agent)
        if wanted.of is not None:
            query = query.where(REQUESTS.c.issuer == wanted.of[0], REQUESTS.c.subject == wanted.of[1])
        if wanted.before is not None:
            query = query.where(REQUESTS.c.id < wanted.before)
        async with self._reading() as connection:
            return [_request(row) for row in (await connection.execute(query)).mappings()]

    async def all(self, after: int, limit: int) -> list[AgentRequest]:
        """The oldest first, those after number `after`."""
        query = select(REQUESTS).where(REQUESTS.c.id > after).order_by(REQUESTS.c.id).limit(limit)
        async with self._reading() as connection:
            return [_request(row) for row in (await connection.execute(query)).mappings()]

    async def due(self, now: float, limit: int) -> list[str]:
        """Names of pending requests that have expired."""
        query = select(REQUESTS.c.name).where(
            REQUESTS.c.phase == Phase.PENDING.value, REQUESTS.c.expires_at <= now
        )
        async with self._reading() as connection:
            return list((await connection.execute(query.limit(limit))).scalars())

    async def waiting(self) -> tuple[int, int]:
        """How many requests wait for people, and how many of them for the webhook to be told."""
        pending = select(func.count()).select_from(REQUESTS).where(REQUESTS.c.phase == Phase.PENDING.value)
        telling = select(func.count()).select_from(DELIVERIES)
        async with self._reading() as connection:
            found = [(await connection.execute(query)).scalar_one() for query in (pending, telling)]
        return int(found[0]), int(found[1])

    async def votes(self, request: int) -> list[Vote]:
        async with self._reading() as connection:
            return await _votes(connection, request)

    async def record(
        self, *, after: int = 0, limit: int = 1000, request: str | None = None
    ) -> list[audit.Entry]:
        """Entries of the record after number `after`, in order; of one request alone, if told."""
        query = select(AUDIT).where(AUDIT.c.seq > after).order_by(AUDIT.c.seq).limit(limit)
        if request is not None:
            query = query.where(AUDIT.c.request == request)
        async with self._reading() as connection:
            return [audit.Entry(**row) for row in (await connection.execute(query)).mappings()]

    async def latest(
        self, limit: int, *, before: int | None = None, request: str | None = None
    ) -> list[audit.Entry]:
        """Entries of the record, the newest first, those before number `before`; of one request alone, if told."""
        query = select(AUDIT).order_by(AUDIT.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(AUDIT.c.seq < before)
        if request is not None:
            query = query.where(AUDIT.c.request == request)
        async with self._reading() as connection:
            return [audit.Entry(**row) for row in (await connection.execute(query)).mappings()]

    # --- Keys of grants

    async def publish_key(self, kid: str, jwk: Mapping[str, str], at: float) -> None:
        """Let every replica verify by this key, from now on."""
        with contextlib.suppress(Lost):  # it is there already
            async with self._writing() as connection:
                row = {"kid": kid, "jwk": canonical(jwk), "made_at": at}
                await connection.execute(insert(GRANT_KEYS).values(row))

    async def grant_keys(self) -> list[dict[str, str]]:
        """Public keys as JWKs, the oldest first."""
        query = select(GRANT_KEYS.c.jwk).order_by(GRANT_KEYS.c.made_at, GRANT_KEYS.c.kid)
        async with self._reading() as connection:
            return [json.loads(jwk) for jwk in (await connection.execute(query)).scalars()]

    # --- Deliveries

    async def due_deliveries(self, now: float, limit: int) -> list[Delivery]:
        """Those that nobody is at, the oldest first."""
        query = (
            select(DELIVERIES).where(DELIVERIES.c.next_at <= now).order_by(DELIVERIES.c.next_at).limit(limit)
        )
        async with self._reading() as connection:
            return [Delivery(**row) for row in (await connection.execute(query)).mappings()]

    async def take_delivery(self, delivery: Delivery, until: float) -> bool:
        """Whether it is this caller's to deliver, until then; nobody else takes it meanwhile."""
        change = (
            update(DELIVERIES)
            .where(DELIVERIES.c.id == delivery.id, DELIVERIES.c.attempts == delivery.attempts)
            .values(attempts=delivery.attempts + 1, next_at=until)
        )
        async with self._writing() as connection:
            return (await connection.execute(change)).rowcount == 1

    async def end_delivery(self, delivery: Delivery) -> None:
        async with self._writing() as connection:
            await connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id == delivery.id))

    async def head(self) -> tuple[int, str]:
        """The number and the hash of the last entry: both change with every change."""
        query = select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash)
        async with self._reading() as connection:
            seq, found = (await connection.execute(query)).one()
            return seq, found


class Change:
    """One transaction. What it notes is written at its end."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._notes: list[tuple[float, str, str, Mapping[str, Any]]] = []
        self._head: tuple[int, str] | None = None

    async def lock(self) -> None:
        """Let nobody else change anything until this ends: what is counted now still holds then."""
        if self._head is None:
            seq, found = (await self._connection.execute(_LOCK)).one()
            self._head = (seq, found)

    async def find(self, name: str) -> AgentRequest | None:
        return await _one(self._connection, _BY_NAME, name)

    async def active(self, key: str) -> AgentRequest | None:
        return await _one(self._connection, _BY_KEY, key)

    async def forget_key(self, request: AgentRequest) -> None:
        await self._connection.execute(
            update(REQUESTS).where(REQUESTS.c.id == request.id).values(active_key=None)
        )

    async def count(self, per: Per, wish: Wish, agent: str, since: float) -> int:
        """How many requests there were since then that were not denied."""
        query = select(func.count()).select_from(REQUESTS)
        query = query.where(REQUESTS.c.created_at > since, REQUESTS.c.phase != Phase.DENIED.value)
        match per:
            case Per.AGENT:
                query = query.where(REQUESTS.c.agent == agent)
            case Per.ACTION:
                query = query.where(REQUESTS.c.action == wish.action)
            case Per.TARGET:
                query = query.where(REQUESTS.c.target == wish.target)
            case Per.ALL:
                pass
        return int((await self._connection.execute(query)).scalar_one())

    async def add(self, request: AgentRequest, active_key: str | None) -> AgentRequest:
        """Keep a new one; the same with its number. Raises Lost: its name or its key is taken."""
        row = _row(request) | {
            "name": request.name,
            "agent": request.agent,
            "issuer": request.issuer,
            "subject": request.subject,
            "names": canonical(sorted(request.names)),
            "action": request.wish.action,
            "target": request.wish.target,
            "reason": request.wish.reason,
            "content": canonical(request.wish.content),
            "dedup_key": request.wish.dedup_key,
            "active_key": active_key,
            "created_at": request.created_at,
            "expires_at": request.expires_at,
            "needed": request.needed,
            "reviewer_groups": canonical(request.reviewer_groups),
            "results": canonical([_plain(result) for result in request.results]),
        }
        found = await self._connection.execute(_ADD, row)
        return replace(request, id=found.scalar_one())

    async def put(self, request: AgentRequest) -> AgentRequest:
        """
        Change one that was read here: its phase, conditions, denial, outcome. Raises Lost: it is another one by now.
        """
        newer = replace(request, version=request.version + 1)
        row = _row(newer) | {"was_id": request.id, "was_version": request.version}
        found = await self._connection.execute(_PUT if newer.phase in ACTIVE else _END, row)
        if found.rowcount != 1:
            raise Lost(f"{request.name} was changed by somebody else")
        return newer

    async def votes(self, request: int) -> list[Vote]:
        return await _votes(self._connection, request)

    async def vote(self, request: int, vote: Vote) -> None:
        """Raises Lost: this reviewer has voted meanwhile."""
        row = {"request": request, **{field.name: getattr(vote, field.name) for field in fields(vote)}}
        await self._connection.execute(insert(VOTES).values(row))

    async def earlier(self, key: str) -> tuple[str, str] | None:
        """Of an Idempotency-Key: what was asked for (a digest), and the request that it became."""
        query = select(IDEMPOTENCY.c.digest, IDEMPOTENCY.c.request).where(IDEMPOTENCY.c.key == key)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else (row[0], row[1])

    async def remember(self, key: str, digest: str, request: str, at: float) -> None:
        row = {"key": key, "digest": digest, "request": request, "at": at}
        await self._connection.execute(insert(IDEMPOTENCY).values(row))

    async def forget(self, before: float) -> None:
        """Idempotency-Keys from before then."""
        await self._connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.at < before))

    async def deliver(self, request: str, at: float) -> None:
        """Let the webhook be told of it."""
        row = {"request": request, "made_at": at, "next_at": at, "attempts": 0}
        await self._connection.execute(insert(DELIVERIES).values(row))

    def note(self, at: float, request: str, event: str, body: Mapping[str, Any]) -> None:
        """An entry for the record."""
        self._notes.append((at, request, event, body))

    @property
    def events(self) -> list[str]:
        return [event for _, _, event, _ in self._notes]

    async def finish(self) -> None:
        if not self._notes:
            return
        await self.lock()
        assert self._head is not None, "locked"
        seq, previous = self._head
        rows = []
        for at, request, what, body in self._notes:
            seq += 1
            found = audit.entry(seq, previous, at=at, request=request, event=what, body=body)
            rows.append({field.name: getattr(found, field.name) for field in fields(found)})
            previous = found.hash
        await self._connection.execute(insert(AUDIT), rows)
        await self._connection.execute(_HEAD, {"new_seq": seq, "new_hash": previous})


# --- Rows


def _row(request: AgentRequest) -> dict[str, Any]:
    """What can change of a request."""
    return {
        "phase": request.phase.value,
        "changed_at": request.changed_at,
        "conditions": canonical([_plain(condition) for condition in request.conditions]),
        "denial": None if request.denial is None else canonical(request.denial),
        "outcome": None if request.outcome is None else canonical(request.outcome),
        "version": request.version,
    }


def _plain(value: Condition | PolicyResult) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _request(row: Mapping[Any, Any]) -> AgentRequest:
    return AgentRequest(
        id=row["id"],
        name=row["name"],
        agent=row["agent"],
        issuer=row["issuer"],
        subject=row["subject"],
        names=frozenset(json.loads(row["names"])),
        wish=Wish(
            action=row["action"],
            target=row["target"],
            reason=row["reason"],
            content=json.loads(row["content"]),
            dedup_key=row["dedup_key"],
        ),
        phase=Phase(row["phase"]),
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        expires_at=row["expires_at"],
        needed=row["needed"],
        reviewer_groups=tuple(json.loads(row["reviewer_groups"])),
        conditions=tuple(Condition(**each) for each in json.loads(row["conditions"])),
        results=tuple(PolicyResult(**each) for each in json.loads(row["results"])),
        denial=None if row["denial"] is None else json.loads(row["denial"]),
        outcome=None if row["outcome"] is None else json.loads(row["outcome"]),
        version=row["version"],
    )


# made once: making a statement costs more than running it
_BY_NAME: Final = select(REQUESTS).where(REQUESTS.c.name == bindparam("wanted"))
_BY_KEY: Final = select(REQUESTS).where(REQUESTS.c.active_key == bindparam("wanted"))
_ADD: Final = insert(REQUESTS).returning(REQUESTS.c.id)
_CHANGING: Final = ("phase", "changed_at", "conditions", "denial", "outcome", "version")
_PUT: Final = (
    update(REQUESTS)
    .where(REQUESTS.c.id == bindparam("was_id"), REQUESTS.c.version == bindparam("was_version"))
    .values({name: bindparam(name) for name in _CHANGING})
)
_END: Final = _PUT.values(active_key=None)
_LOCK: Final = select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash).with_for_update()
_HEAD: Final = update(AUDIT_HEAD).values(seq=bindparam("new_seq"), hash=bindparam("new_hash"))


async def _one(connection: AsyncConnection, query: Select[Any], wanted: str) -> AgentRequest | None:
    row = (await connection.execute(query, {"wanted": wanted})).mappings().one_or_none()
    return None if row is None else _request(row)


async def _votes(connection: AsyncConnection, request: int) -> list[Vote]:
    columns = [column for column in VOTES.c if column.name not in ("id", "request")]
    query = select(*columns).where(VOTES.c.request == request).order_by(VOTES.c.id)
    return [Vote(**row) for row in (await connection.execute(query)).mappings()]


# --- The database


def file_url(path: Path) -> str:
    return f"sqlite:///{path}"


def _engine(url: str) -> AsyncEngine:
    for scheme, driver in _DRIVERS.items():
        if url.startswith(scheme + "://"):
            return _made(driver + url[len(scheme) :])
    raise StoreAway("the store of requests is neither sqlite:///FILE nor postgresql://HOST/DATABASE")


_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


def _made(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        settings = {
            "server_settings": {"statement_timeout": str(int(PATIENCE_S * 1000))},
            "timeout": PATIENCE_S,
        }
        return create_async_engine(
            url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,
            pool_timeout=PATIENCE_S,
            connect_args=settings,
        )
    _private(Path(url.partition(":///")[2]))
    engine = create_async_engine(url, pool_size=CONNECTIONS, max_overflow=0)

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
        cursor = connection.cursor()
        # an answer that somebody got survives a power cut (synchronous=FULL syncs the log at each commit)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={int(PATIENCE_S * 1000)}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _private(path: Path) -> None:
    """The file is for this user only; SQLite gives its log the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StoreAway(f"the store of requests cannot be opened: {error}") from error


def _migrate(connection: Connection) -> None:
    """Run what is missing of `migrations/versions`."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(files("wardgate.approvals") / "migrations"))

    def missing(revision: Any, _: Any) -> Any:
        return script._upgrade_revs("head", revision)

    context = MigrationContext.configure(connection, opts={"fn": missing, "target_metadata": METADATA})
    with context.begin_transaction(), Operations.context(context):
        context.run_migrations()


def _is_conflict(error: BaseException) -> bool:
    """Postgres's serialization failure or deadlock, or SQLite's busy: the same again may well work."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state in ("40001", "40P01")


def _words(error: BaseException) -> str:
    """What went wrong, without statements and their values."""
    found = getattr(error, "orig", None) or error
    return (str(found).splitlines() or [type(found).__name__])[0][:200] or type(found).__name__
