"""Real Redis keeps the promises of a store: alone, with TLS, as a cluster; and what happens when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.holding.certificates import Authority
from tests.parts.redis import Certificates, Redis, RedisCluster
from tests.service.store_contract import HOUR, SCENARIOS, Scenario, a_session
from wardgate.policy import ClientTls, Secret, Session
from wardgate.service.sealing import Sealer
from wardgate.service.session import name_of, new_id
from wardgate.service.stores import SessionStore, StoreAway
from wardgate.service.stores import redis as redis_store
from wardgate.service.stores.redis import RedisStore


def store(url: str, tls: ClientTls | None = None) -> RedisStore:
    return RedisStore(Session(store_url=Secret(url, "url"), store_tls=tls), Sealer([b"k" * 32]))


@asynccontextmanager
async def two(url: str, tls: ClientTls | None = None) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    one, other = store(url, tls), store(url, tls)
    try:
        yield one, other
    finally:
        await one.close()
        await other.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis.start() as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster.start() as nodes:
        yield nodes


def run(url: str, scenario: Scenario, tls: ClientTls | None = None) -> None:
    async def whole() -> None:
        async with two(url, tls) as stores:
            await scenario(*stores)

    asyncio.run(whole())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_promises(redis: Redis, scenario: Scenario) -> None:
    """Each promise of `SessionStore` is kept by two replicas on one Redis."""
    run(redis.url, scenario)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_promises_of_a_cluster(cluster: RedisCluster, scenario: Scenario) -> None:
    """The same on a Redis Cluster that is named by the plain address of one node."""
    run(cluster.url, scenario)


async def until(holds: Callable[[], Awaitable[bool]], seconds: float) -> float:
    """How long it took; fails when it takes longer."""
    started = time.monotonic()
    while not await holds():
        assert time.monotonic() - started < seconds
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def answers(found: SessionStore) -> bool:
    try:
        await found.epoch()
    except StoreAway:
        return False
    return True


def test_a_crash_is_away_and_then_over(redis: Redis) -> None:
    """While Redis is dead every call is StoreAway within about a second; when it is back, sessions are as they were."""

    async def whole() -> None:
        async with two(redis.url) as (one, other):
            session = a_session()
            await one.create(session, expires=time.time() + HOUR)
            epoch = await other.epoch()
            await asyncio.sleep(1.2)  # the append-only file is written each second
            redis.kill()
            for found in (one, other):
                started = time.monotonic()
                with pytest.raises(StoreAway):
                    await found.read(session.name)
                assert time.monotonic() - started < 1.5
            redis.restart()
            await until(lambda: answers(one), 3)
            assert await one.read(session.name) == session
            assert await other.epoch() == epoch

    asyncio.run(whole())


def test_a_server_that_hangs_is_away(redis: Redis) -> None:
    """A server that accepts and says nothing costs about a second, and nobody waits for it afterwards."""

    async def whole() -> None:
        async with two(redis.url) as (one, _):
            await one.epoch()
            redis.pause()
            try:
                started = time.monotonic()
                with pytest.raises(StoreAway):
                    await one.read(name_of(new_id()))
                assert time.monotonic() - started < 1.5
            finally:
                redis.go_on()
            await until(lambda: answers(one), 3)

    asyncio.run(whole())


def test_an_end_that_the_server_forgot_is_recorded_again() -> None:
    """What ended in the second that a crash lost has ended all the same, for every replica."""
    with Redis.start(appendonly=False) as server:

        async def whole() -> None:
            async with two(server.url) as (one, other):
                session = a_session()
                await one.create(session, expires=time.time() + HOUR)
                server.ask("save")
                await one.end(session.name, now=time.time(), deny_until=time.time() + 30)
                server.kill()
                with pytest.raises(StoreAway):
                    await one.revoked(now=time.time())
                server.restart()
                await until(lambda: answers(other), 3)
                assert await other.read(session.name) is not None  # the server has forgotten
                assert session.name in await one.revoked(now=time.time())
                assert await other.read(session.name) is None

        asyncio.run(whole())


def test_a_crash_that_nobody_noticed_brings_no_session_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that forgot an end, and was back before anybody asked it, is told of it again by who only polls."""
    monkeypatch.setattr(redis_store, "LOST_S", 0.5)
    with Redis.start(appendonly=False) as server:

        async def whole() -> None:
            async with two(server.url) as (one, other):
                session = a_session()
                await one.create(session, expires=time.time() + HOUR)
                server.ask("save")
                await one.end(session.name, now=time.time(), deny_until=time.time() + 30)
                server.kill()
                server.restart()
                assert await other.read(session.name) is not None  # the server has forgotten
                assert await one.read(session.name) is None

                async def over() -> bool:
                    await one.revoked(now=time.time())
                    return await other.read(session.name) is None

                await until(over, 5)
                assert session.name in await other.revoked(now=time.time())

        asyncio.run(whole())


def test_an_outage_longer_than_the_denial_brings_no_session_back() -> None:
    """An end that the server forgot is recorded again, however long it was away."""
    with Redis.start(appendonly=False) as server:

        async def whole() -> None:
            async with two(server.url) as (one, other):
                session = a_session()
                await one.create(session, expires=time.time() + HOUR)
                server.ask("save")
                denied_until = time.time() + 0.2
                await one.end(session.name, now=time.time(), deny_until=denied_until)
                server.kill()
                with pytest.raises(StoreAway):
                    await one.revoked(now=time.time())

                async def passed() -> bool:
                    return time.time() > denied_until

                await until(passed, 5)
                server.restart()
                assert await other.read(session.name) is not None  # the server has forgotten
                await one.revoked(now=time.time())
                assert await other.read(session.name) is None

        asyncio.run(whole())


def test_who_may_not_publish_ends_sessions_all_the_same() -> None:
    """Without the rights to a channel, as new users of Redis are, an end is no failure: the others find it by asking."""
    with Redis.start() as server:
        server.ask("acl", "setuser", "gate", "on", ">pw", "~wardgate:*", "+@all")

        async def whole() -> None:
            async with two(server.url.replace("//", "//gate:pw@")) as (one, other):
                session = a_session()
                await one.create(session, expires=time.time() + HOUR)
                assert await one.end(session.name, now=time.time(), deny_until=time.time() + 30) == session
                assert session.name in await other.revoked(now=time.time())
                with pytest.raises(StoreAway):
                    await anext(aiter(other.changes()))
                assert await other.read(session.name) is None

        asyncio.run(whole())


def test_who_listens_to_a_server_that_hangs_is_told() -> None:
    """Listening ends by StoreAway when the server does not take the subscription."""
    with Redis.start() as server:

        async def whole() -> None:
            async with two(server.url) as (one, _):
                await one.epoch()
                server.pause()
                with pytest.raises(StoreAway):
                    async with asyncio.timeout(5):
                        await anext(aiter(one.changes()))

        asyncio.run(whole())


@pytest.mark.parametrize("url", ["redis://:top/secret@127.0.0.1:1/0", "redis://:top[secret@127.0.0.1:1/0"])
def test_an_address_that_cannot_be_read_is_away_and_not_told(url: str) -> None:
    """A password that was not percent-encoded makes a URL unreadable, and does not get into the message."""

    async def whole() -> None:
        async with two(url) as (one, _):
            with pytest.raises(StoreAway) as caught:
                await one.epoch()
            told = str(caught.value) + str(caught.value.__cause__)
            assert "percent-encoded" in told
            assert "top" not in told

    asyncio.run(whole())


def test_an_emptied_server_has_another_epoch(redis: Redis) -> None:
    """A store that was emptied says so by its marker."""

    async def whole() -> None:
        async with two(redis.url) as (one, _):
            before = await one.epoch()
            redis.ask("flushall")
            assert await one.epoch() != before

    asyncio.run(whole())


@pytest.mark.parametrize("refusal", ["MISCONF", "READONLY", "OOM"])
def test_a_server_that_takes_nothing_is_away(refusal: str) -> None:
    """A full disk, a replica, a full memory: nothing is said to be kept that is not."""
    with Redis.start() as server:
        match refusal:
            case "MISCONF":
                server.ask("config", "set", "min-replicas-to-write", "3")
            case "READONLY":
                server.ask("replicaof", "127.0.0.1", "1")
            case "OOM":
                server.ask("config", "set", "maxmemory", "1")

        async def whole() -> None:
            async with two(server.url) as (one, _):
                with pytest.raises(StoreAway):
                    await one.create(a_session(), expires=time.time() + HOUR)

        asyncio.run(whole())


def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    """rediss:// works with the authority and a client certificate, and not without."""
    authority = Authority("redis test").write(tmp_path / "ca.crt")
    authority.pair("127.0.0.1").write(tmp_path)
    files = Certificates(ca=tmp_path / "ca.crt", certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    with Redis.start(tls=files) as server:
        good = ClientTls(ca=str(files.ca), certificate=str(files.certificate), key=str(files.key))
        run(server.url, SCENARIOS[0], good)

        async def refused() -> None:
            for bad in (ClientTls(ca=str(files.ca)), ClientTls()):
                async with two(server.url, bad) as (one, _):
                    with pytest.raises(StoreAway):
                        await one.epoch()

        asyncio.run(refused())


def test_an_address_cannot_weaken_tls(tmp_path: Path) -> None:
    """Who serves a certificate of an unknown authority is refused, whatever the query of the URL says."""
    Authority("redis test").write(tmp_path / "ca.crt").pair("127.0.0.1").write(tmp_path)
    files = Certificates(ca=tmp_path / "ca.crt", certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    with Redis.start("--tls-auth-clients", "no", tls=files) as server:

        async def whole() -> None:
            async with two(server.url + "?ssl_cert_reqs=none&ssl_check_hostname=false") as (one, _):
                with pytest.raises(StoreAway, match="CERTIFICATE_VERIFY_FAILED"):
                    await one.epoch()

        asyncio.run(whole())


@pytest.mark.parametrize("how", ["is killed", "hangs"])
def test_a_master_that_dies(cluster: RedisCluster, how: str) -> None:
    """Without a master calls are StoreAway at most until its replica has taken over, and no session is lost."""

    async def whole() -> None:
        async with two(cluster.url) as (one, other):
            sessions = [a_session() for _ in range(30)]
            for session in sessions:
                await one.create(session, expires=time.time() + HOUR)

            await other.epoch()  # it has found the other nodes through the one that it was given

            async def replicated() -> bool:
                return cluster.whole()

            await until(replicated, 10)
            await asyncio.sleep(1)
            dead = cluster.kill_master() if how == "is killed" else cluster.pause_master()
            started = time.monotonic()

            async def all_read() -> bool:
                try:
                    found = [await other.read(session.name) for session in sessions]
                except StoreAway:
                    return False
                assert [one is not None for one in found] == [True] * len(sessions)
                return True

            await until(all_read, 20)
            print(f"failover: {time.monotonic() - started:.1f} s until every session was read")
            moved = replace(sessions[0], generation=1)
            assert await one.replace(moved, expires=time.time() + HOUR)
            if how == "hangs":
                dead.go_on()
            else:
                dead.restart()

    asyncio.run(whole())


def test_a_whole_cluster_that_dies() -> None:
    """With every node dead all is StoreAway, asking for revocations too; with all of them back it goes on by itself."""
    with RedisCluster.start() as nodes:

        async def whole() -> None:
            async with two(nodes.url) as (one, other):
                session = a_session()
                await one.create(session, expires=time.time() + HOUR)
                await other.epoch()
                await asyncio.sleep(1.2)  # the append-only files are written each second
                for node in nodes.nodes:
                    node.kill()
                for _ in range(3):
                    for found in (one, other):
                        with pytest.raises(StoreAway):
                            await found.read(session.name)
                        with pytest.raises(StoreAway):
                            await found.revoked(now=time.time())
                        with pytest.raises(StoreAway):
                            await anext(aiter(found.changes()))
                for node in nodes.nodes:
                    node.restart()

                async def serves() -> bool:
                    return nodes.serves()

                await until(serves, 20)
                for found in (one, other):
                    await until(lambda found=found: answers(found), 3)
                    assert await found.read(session.name) == session

        asyncio.run(whole())
