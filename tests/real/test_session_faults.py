"""What sessions survive, and what ends them: two replicas on a real Redis, with everything around them failing."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.echo import Echo
from tests.holding.load import Outcome, Steady, request
from tests.parts.redis import Redis, RedisCluster
from tests.real.replicas import Person, Replicas, at_once, replicas, statuses, workers

LOGIN = 303


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis.start() as server:
        yield server


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


@pytest.fixture(scope="module")
def pair(redis: Redis, echo: Echo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two replicas that remember a session for five seconds."""
    with replicas(tmp_path_factory.mktemp("pair"), redis.url, echo.url) as found:
        yield found


def seen_by_every_worker(pair: Replicas, person: Person) -> None:
    """Many connections at once, so that each worker of each replica has had the session."""
    for _ in range(3):
        found = at_once(pair.ports, [person.request() for _ in range(48)])
        assert statuses(found) == {200: 48}


def test_a_session_is_asked_about_once_in_an_attested_lifetime(pair: Replicas) -> None:
    """However many requests it has, each worker asks the service about a session once in five seconds at most."""
    (person,) = pair.people(1)
    asking = sum(workers(gateway) for gateway in pair.gateways)
    before = pair.resolved("session", "attested")
    started = time.monotonic()
    with (
        Steady(pair.ports[0], [person.request()], rps=200) as one,
        Steady(pair.ports[1], [person.request()], rps=200) as other,
    ):
        time.sleep(16)
    lifetimes = (time.monotonic() - started) / 5
    for load in (one, other):
        assert set(load.statuses()) == {200}
    asked = pair.resolved("session", "attested") - before
    # the renewal comes two of the five seconds before the end (of thirty: five), the first requests of a worker together
    allowed = asking * (5 / 3 * lifetimes + 4)
    print(f"{asked:.0f} questions for {len(one.outcomes) + len(other.outcomes)} requests, {asking} workers")
    assert 0 < asked <= allowed


def test_sessions_that_expire_together_are_refreshed_once_each(
    redis: Redis, echo: Echo, tmp_path: Path
) -> None:
    """200 sessions, 20 requests each, at two replicas, an issuer that takes 3 s: 200 refreshes, nobody logged out."""
    with replicas(tmp_path, redis.url, echo.url, provider={"timeout": "10s"}) as pair:
        people = pair.people(200, expired=True)
        pair.issuer.control("slow", endpoint="token", seconds=3)
        before = pair.issuer.refreshes()
        found = at_once(pair.ports, [person.request() for person in people for _ in range(20)])
        assert statuses(found) == {200: 4000}
        assert pair.issuer.refreshes() - before == 200


def refused_within(pair: Replicas, person: Person, seconds: float) -> float:
    """Until every worker of every replica refuses; the last good answer must be that young."""
    started = time.monotonic()
    last_good = 0.0
    while time.monotonic() - started < seconds + 3:
        found = at_once(pair.ports, [person.request() for _ in range(16)])
        good = [outcome for outcome in found if outcome.status == 200]
        assert {outcome.status for outcome in found} <= {200, 401}
        if good:
            last_good = time.monotonic() - started
    assert last_good < seconds
    return last_good


def test_a_revoked_session_is_refused_everywhere(pair: Replicas) -> None:
    """Revoked at one replica, it is refused by every worker of both within two seconds, warm as it is."""
    (person,) = pair.people(1)
    seen_by_every_worker(pair, person)

    async def revoke() -> None:
        store = pair.store()
        await store.end(person.name, now=time.time(), deny_until=time.time() + 10)
        await store.close()

    asyncio.run(revoke())
    print(f"refused after {refused_within(pair, person, 2.0):.2f} s")


def test_a_lost_message_does_not_matter(pair: Replicas) -> None:
    """The same when Redis' message never comes: the store is asked each second."""
    (person,) = pair.people(1)
    seen_by_every_worker(pair, person)

    async def revoke() -> None:
        store = pair.store()
        await store._record_end(person.name, time.time() + 10)
        await store.close()

    asyncio.run(revoke())
    print(f"refused after {refused_within(pair, person, 2.0):.2f} s, without a message")


def test_redis_is_killed_under_load(echo: Echo, tmp_path: Path) -> None:
    """
    Warm sessions go on until their attested tokens end, then 503; when Redis is back, nobody has been logged out;
    bearer traffic does not notice.
    """
    with Redis.start() as redis, replicas(tmp_path, redis.url, echo.url, remembered="6s") as pair:
        people = pair.people(20)
        for person in people:
            seen_by_every_worker(pair, person)
        bearer = request("bearer", "/x", pair.issuer.tokens()["access_token"])
        assert statuses(at_once(pair.ports, [bearer] * 32)) == {200: 32}
        time.sleep(1.2)  # the append-only file is written each second
        sessions = [person.request() for person in people]
        with (
            Steady(pair.ports[0], sessions, rps=100) as one,
            Steady(pair.ports[1], sessions, rps=100) as other,
            Steady(pair.ports[0], [bearer], rps=100) as bearers,
        ):
            time.sleep(2)
            killed_at = len(one.outcomes)
            redis.kill()
            time.sleep(2)
            warm = one.outcomes[killed_at:]
            time.sleep(8)
            cold = one.outcomes[-20:]
            redis.restart()
            back = time.monotonic()
            while statuses(at_once(pair.ports, sessions)) != {200: len(sessions)}:
                assert time.monotonic() - back < 10
            took = time.monotonic() - back
            time.sleep(1)
        assert statuses(bearers.outcomes).keys() == {200}
        assert statuses(warm)[200] > len(warm) * 0.5, statuses(warm)
        assert statuses(cold) == {503: len(cold)}
        for load in (one, other):
            assert set(load.statuses()) <= {200, 503}, load.statuses()
        print(f"every session again {took:.2f} s after Redis was")


def test_a_cluster_loses_a_master(echo: Echo, tmp_path: Path) -> None:
    """With a master of a Redis Cluster killed there are 503s at most until its replica takes over; nobody is logged out."""
    with RedisCluster.start() as cluster, replicas(tmp_path, cluster.url, echo.url, remembered="2s") as pair:
        people = pair.people(30)
        requests = [person.request() for person in people]
        assert statuses(at_once(pair.ports, requests)) == {200: 30}
        time.sleep(1.5)
        with Steady(pair.ports[0], requests, rps=60) as load:
            time.sleep(1)
            cluster.kill_master()
            killed = time.monotonic()
            while not cluster.serves():
                assert time.monotonic() - killed < 20
            took_over = time.monotonic() - killed
            while statuses(at_once(pair.ports, requests)) != {200: 30}:
                assert time.monotonic() - killed < took_over + 6
            again = time.monotonic() - killed
        assert set(load.statuses()) <= {200, 503}, load.statuses()
        print(f"failover after {took_over:.1f} s, every session again after {again:.1f} s: {load.statuses()}")


def test_the_service_is_killed_again_and_again(redis: Redis, echo: Echo, tmp_path: Path) -> None:
    """
    Twenty times: bearer and warm sessions do not notice, nobody gets through without a session, and after each death new
    sessions are resolved again within three seconds.
    """
    with replicas(tmp_path, redis.url, echo.url, count=1, remembered="30s") as alone:
        _kill_twenty_times(alone)


def _kill_twenty_times(alone: Replicas) -> None:
    (gateway,) = alone.gateways
    warm = alone.people(4)
    bearer = request("bearer", "/x", alone.issuer.tokens()["access_token"])
    stranger = request("stranger", "/x", headers=[("Cookie", f"wardgate-session={'x' * 43}")])
    nobody = request("nobody", "/x")
    for person in warm:
        seen_by_every_worker(alone, person)
    assert statuses(at_once([gateway.port], [bearer] * 32)) == {200: 32}
    slowest = 0.0
    kinds = [*(person.request(kind="warm") for person in warm), bearer, stranger, nobody]
    with Steady(gateway.port, kinds, rps=150) as load:
        for _ in range(20):
            (fresh,) = alone.people(1)
            gateway.signal("service", signal.SIGKILL)
            died = time.monotonic()
            while statuses(at_once([gateway.port], [fresh.request()])) != {200: 1}:
                assert time.monotonic() - died < 20
            slowest = max(slowest, time.monotonic() - died)
            time.sleep(1.5)
        imports_s = _import_time()
    by_kind: dict[str, list[Outcome]] = {}
    for outcome in load.outcomes:
        by_kind.setdefault(outcome.request.kind, []).append(outcome)
    print(f"back after {slowest:.2f} s at most; " + str({k: dict(statuses(v)) for k, v in by_kind.items()}))
    assert statuses(by_kind["bearer"]).keys() == {200}
    assert statuses(by_kind["nobody"]).keys() == {401}
    assert statuses(by_kind["stranger"]).keys() <= {401, 503}
    assert statuses(by_kind["warm"]).keys() == {200}
    # on a machine that has more to do than it can, reading the modules alone takes seconds
    assert slowest < max(3.0, 2 * imports_s)


def _import_time() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import wardgate.service.serve"], check=True)
    return time.monotonic() - started


def test_the_issuer_is_away_for_many_token_lifetimes(redis: Redis, echo: Echo, tmp_path: Path) -> None:
    """Sessions go on for ten access-token lifetimes without the issuer, without its expired tokens, and after it is back."""
    with replicas(tmp_path, redis.url, echo.url, access_seconds=3, remembered="2s") as pair:
        people = pair.people(5)
        requests = [person.request() for person in people]
        assert statuses(at_once(pair.ports, requests)) == {200: 5}
        pair.issuer.pause()
        with Steady(pair.ports[0], requests, rps=20) as one, Steady(pair.ports[1], requests, rps=20) as other:
            time.sleep(30)
        for load in (one, other):
            assert set(load.statuses()) == {200}, load.statuses()
        late = one.outcomes[-1].received()
        assert "authorization" not in late
        pair.issuer.go_on()
        back = time.monotonic()
        while "authorization" not in at_once(pair.ports[:1], requests[:1])[0].received():
            assert time.monotonic() - back < 20
        print(f"forwarded tokens are fresh again {time.monotonic() - back:.1f} s after the issuer is back")


def test_an_emptied_store_ends_every_attested_token(echo: Echo, tmp_path: Path) -> None:
    """When Redis comes back empty, warm sessions are looked up again within two seconds: they are over."""
    with Redis.start() as redis, replicas(tmp_path, redis.url, echo.url, remembered="30s") as pair:
        (person,) = pair.people(1)
        seen_by_every_worker(pair, person)
        redis.ask("flushall")
        refused_within(pair, person, 3.0)
