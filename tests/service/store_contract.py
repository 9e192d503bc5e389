"""
What every store promises (`stores.SessionStore`), as scenarios: the local store runs them in `make test`, real Redis and
Redis Cluster in `make test-real`. Each scenario gets two stores over one content, as two replicas have them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from wardgate.service.session import Session, Tokens, name_of, new_id
from wardgate.service.stores import SessionStore, StoreAway

Scenario = Callable[[SessionStore, SessionStore], Awaitable[None]]
HOUR = 3600.0


def a_session(*, subject: str = "u-1", login: str | None = "login-1", roles: int = 3) -> Session:
    now = time.time()
    tokens = Tokens(
        access_token="a" * 1000,
        access_expires=now + 60,
        refresh_token="r",
        id_token="i",
        claims={"sub": subject, "roles": [f"role-{number}" for number in range(roles)]},
        id_claims={"sub": subject, "preferred_username": "bob"},
    )
    return Session(
        name=name_of(new_id()),
        provider="kc",
        issuer="https://id.example/realms/r",
        subject=subject,
        issuer_session=login,
        created=now,
        used=now,
        ends=now + HOUR,
        tokens=tokens,
    )


async def what_is_created_is_read(one: SessionStore, other: SessionStore) -> None:
    """A session is read as it was created, by every replica, tokens of any size included."""
    session = a_session(roles=3000)
    assert await one.read(session.name) is None
    await one.create(session, expires=time.time() + HOUR)
    assert await one.read(session.name) == session
    assert await other.read(session.name) == session


async def what_expired_is_gone(one: SessionStore, other: SessionStore) -> None:
    """A session that expired is not read, replaced, listed or found by its login."""
    session = a_session(login="expired")
    await one.create(session, expires=time.time() - 1)
    assert await one.read(session.name) is None
    assert not await other.replace(replace(session, generation=1), expires=time.time() + HOUR)
    assert session.name not in [found.name async for found in one.list()]


async def only_the_next_generation_replaces(one: SessionStore, other: SessionStore) -> None:
    """Of two that renew one generation, the first wins; nobody skips a generation or brings one back."""
    session = a_session()
    await one.create(session, expires=time.time() + HOUR)
    first, second = replace(session, generation=1), replace(session, generation=1, used=session.used + 1)
    assert await one.replace(first, expires=time.time() + HOUR)
    assert not await other.replace(second, expires=time.time() + HOUR)
    assert not await other.replace(replace(session, generation=3), expires=time.time() + HOUR)
    assert await other.read(session.name) == first


async def use_is_noted(one: SessionStore, other: SessionStore) -> None:
    """A touch moves the time of use forward only, and outlives a renewal that did not know of it."""
    session = a_session()
    await one.create(session, expires=time.time() + HOUR)
    await other.touch(session.name, used=session.used + 50, expires=time.time() + HOUR)
    await one.touch(session.name, used=session.used + 20, expires=time.time() + HOUR)
    await one.replace(replace(session, generation=1), expires=time.time() + HOUR)
    found = await one.read(session.name)
    assert found is not None
    assert found.used == session.used + 50
    await one.touch("n" * 32, used=1.0, expires=time.time() + HOUR)
    assert await one.read("n" * 32) is None


async def what_ended_stays_ended(one: SessionStore, other: SessionStore) -> None:
    """An ended session is not read, replaced or created again, and every replica finds its revocation."""
    session = a_session()
    await one.create(session, expires=time.time() + HOUR)
    until = time.time() + 30
    assert await other.end(session.name, now=time.time(), deny_until=until) == session
    assert await one.read(session.name) is None
    assert not await one.replace(replace(session, generation=1), expires=time.time() + HOUR)
    assert await one.read(session.name) is None
    assert abs((await one.revoked(now=time.time()))[session.name] - until) < 0.01
    assert await one.end(session.name, now=time.time(), deny_until=until) is None
    try:
        await other.create(session, expires=time.time() + HOUR)
    except StoreAway:
        assert await other.read(session.name) is None
    else:
        raise AssertionError("an ended session was created again")
    assert session.name not in await one.revoked(now=until + 1)


async def an_unknown_session_can_be_denied(one: SessionStore, other: SessionStore) -> None:
    """The end of a session that is not kept is recorded all the same: attested tokens of it may be out."""
    name = name_of(new_id())
    assert await one.end(name, now=time.time(), deny_until=time.time() + 30) is None
    assert name in await other.revoked(now=time.time())


async def sessions_are_found_by_login(one: SessionStore, other: SessionStore) -> None:
    """By the issuer's session, else by subject; never those of another issuer, nor those that ended."""
    first, second = a_session(subject="who", login="L1"), a_session(subject="who", login="L2")
    stranger = replace(a_session(subject="who", login="L1"), issuer="https://other.example")
    for session in (first, second, stranger):
        await one.create(session, expires=time.time() + HOUR)
    issuer = first.issuer
    assert await other.of_login(issuer, subject=None, issuer_session="L1") == [first.name]
    assert await other.of_login(issuer, subject="who", issuer_session="L1") == [first.name]
    assert set(await other.of_login(issuer, subject="who", issuer_session=None)) == {first.name, second.name}
    assert await other.of_login(issuer, subject=None, issuer_session=None) == []
    await one.end(first.name, now=time.time(), deny_until=time.time() + 30)
    assert await one.of_login(issuer, subject=None, issuer_session="L1") == []
    assert await one.of_login(issuer, subject="who", issuer_session=None) == [second.name]


async def everyone_is_listed(one: SessionStore, other: SessionStore) -> None:
    """The list has each session once, with who it is and until when."""
    made = [a_session(subject=f"listed-{number}") for number in range(25)]
    for session in made:
        await one.create(session, expires=session.used + 1000)
    found = {summary.name: summary async for summary in other.list()}
    for session in made:
        assert found[session.name].subject == session.subject
        assert found[session.name].username == "bob"
        assert abs(found[session.name].expires - (session.used + 1000)) < 0.01


async def a_lease_has_one_owner(one: SessionStore, other: SessionStore) -> None:
    """Only its owner renews or releases a lease; it ends by itself."""
    name = name_of(new_id())
    assert await one.lease(name, "a", seconds=30)
    assert not await other.lease(name, "b", seconds=30)
    assert await one.lease(name, "a", seconds=30)
    await other.release(name, "b")
    assert not await other.lease(name, "b", seconds=30)
    await one.release(name, "a")
    assert await other.lease(name, "b", seconds=0.05)
    deadline = time.monotonic() + 5
    while not await one.lease(name, "c", seconds=30):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def once_is_once(one: SessionStore, other: SessionStore) -> None:
    """A value is new once, for all replicas, and its kinds do not meet."""
    value = new_id()
    assert await one.first_time("jti", value, seconds=30)
    assert not await other.first_time("jti", value, seconds=30)
    assert await other.first_time("state", value, seconds=30)


async def the_epoch_stays(one: SessionStore, other: SessionStore) -> None:
    """Every replica sees the same marker for as long as the content lives."""
    assert await one.epoch() == await other.epoch() == await one.epoch()


async def an_end_is_told(one: SessionStore, _: SessionStore) -> None:
    """Who listens for changes hears of an end at once."""
    changes = one.changes()
    hint = asyncio.ensure_future(anext(changes))  # type: ignore[arg-type]
    deadline = time.monotonic() + 10
    while not hint.done():
        assert time.monotonic() < deadline
        await one.end(name_of(new_id()), now=time.time(), deny_until=time.time() + 5)
        await asyncio.wait([hint], timeout=0.2)
    await hint


SCENARIOS: tuple[Scenario, ...] = (
    what_is_created_is_read,
    what_expired_is_gone,
    only_the_next_generation_replaces,
    use_is_noted,
    what_ended_stays_ended,
    an_unknown_session_can_be_denied,
    sessions_are_found_by_login,
    everyone_is_listed,
    a_lease_has_one_owner,
    once_is_once,
    the_epoch_stays,
    an_end_is_told,
)
