"""
Sessions over a real store and a real issuer: renewed once, whoever asks; ended by time, by the issuer, by us.

Two `Sessions` on one store are two replicas.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.service.oidc.issuer import Login, OidcIssuer, Seen, ok, refused
from tests.service.standing import KEY, Envoy
from wardgate.keystore import KeyStore, source_of
from wardgate.policy import Introspection, Outage
from wardgate.policy import Session as Terms
from wardgate.service import renewals
from wardgate.service.keys import Refreshers
from wardgate.service.oidc import IssuerAway, OidcClients
from wardgate.service.outages import LAST_S, Outages
from wardgate.service.sealing import Sealer
from wardgate.service.session import Session, Tokens, name_of, new_id
from wardgate.service.sessions import SessionOver, Sessions
from wardgate.service.stores import StoreAway
from wardgate.service.stores.local import LocalStore


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with OidcIssuer() as serving:
        yield serving


class Counting(LocalStore):
    """The real store; counts who asked for a lease and did not get it, and who got it again."""

    refused = 0
    renewed = 0
    _owners: frozenset[str] = frozenset()

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        got = await super().lease(name, owner, seconds=seconds)
        self.refused += not got
        self.renewed += got and owner in self._owners
        self._owners |= {owner} if got else set()
        return got


@dataclass
class Bench:
    """`clock` is what everything here takes for now, seconds since 1970."""

    store: Counting
    replicas: list[Sessions]
    clients: OidcClients
    issuer: OidcIssuer
    envoy: Envoy
    terms: Terms
    clock: list[float]

    @property
    def sessions(self) -> Sessions:
        return self.replicas[0]

    async def begun(
        self, *, left: float = 300.0, refresh: bool = True, **changes: Any
    ) -> tuple[str, Session]:
        """A session whose access token of five minutes goes on for `left` seconds."""
        now = self.clock[0]
        token = None
        if refresh:
            token = f"refresh-{new_id()}"
            self.issuer.refresh[token] = Login()
        tokens = Tokens(
            access_token="at-0",
            access_expires=now + left,
            refresh_token=token,
            claims={"sub": "u-1", "iat": now + left - 300, "roles": ["old"]},
            id_claims={"iss": self.issuer.url, "sub": "u-1", "aud": "shop:web", "sid": "s-1"},
        )
        return await self.sessions.begin(replace(tokens, **changes), "own")

    def refreshes(self) -> int:
        return len(
            [seen for seen in self.issuer.asked("token") if seen.form.get("grant_type") == "refresh_token"]
        )


@asynccontextmanager
async def bench(
    tmp_path: Path,
    issuer: OidcIssuer,
    replicas: int = 1,
    introspection: Introspection = Introspection.OFF,
    **fields: Any,
) -> AsyncIterator[Bench]:
    keys = KeyStore(tmp_path / "keys")
    keys.prepare()
    refreshers, clock = Refreshers(keys), [time.time()]
    provider = issuer.provider(timeout=timedelta(seconds=8), introspection=introspection)
    refreshers.follow([source_of(provider)])
    terms = Terms(encryption_key=KEY, **fields)
    clients, envoy = OidcClients(keys, refreshers), Envoy()
    clients.follow([provider], terms, userinfo=False)
    store = Counting(tmp_path / "s.sqlite", Sealer.of(terms, tmp_path), lambda: clock[0])
    made = [Sessions(store, terms, clients, refused=envoy, now=lambda: clock[0]) for _ in range(replicas)]
    try:
        yield Bench(store, made, clients, issuer, envoy, terms, clock)
    finally:
        for sessions in made:
            await sessions.close()
        await store.close()
        await clients.close()
        await refreshers.stop()


def run(
    tmp_path: Path, issuer: OidcIssuer, scenario: Callable[[Bench], Awaitable[None]], **fields: Any
) -> None:
    async def whole() -> None:
        async with bench(tmp_path, issuer, **fields) as found:
            await scenario(found)

    asyncio.run(whole())


async def until(holds: Callable[[], Awaitable[bool]], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


def slowly(issuer: OidcIssuer, opened: threading.Event) -> Callable[[Seen], Any]:
    """The token endpoint, which answers once `opened` is set."""

    def token(seen: Seen) -> Any:
        opened.wait(20)
        return issuer.token(seen)

    return token


# --- Reading


@pytest.mark.parametrize(
    "value", ["", "*", "../../login:state", "x" * 43 + "=", "a" * 42, "é" * 43, "k" * 43]
)
def test_what_is_no_session_is_over(tmp_path: Path, issuer: OidcIssuer, value: str) -> None:
    """An id that nobody was given, and anything that is no id, is no session."""

    async def scenario(found: Bench) -> None:
        with pytest.raises(SessionOver):
            await found.sessions.current(value)

    run(tmp_path, issuer, scenario)


def test_a_session_is_known_by_its_id_only(tmp_path: Path, issuer: OidcIssuer) -> None:
    """The id opens it; its name, which stores and logs hold, does not, nor does the id with one character changed."""

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun()
        assert (await found.sessions.current(session_id)).name == session.name == name_of(session_id)
        flipped = session_id[:-1] + ("A" if session_id[-1] != "A" else "B")
        for other in (session.name, session.name + "A" * 11, flipped):
            with pytest.raises(SessionOver):
                await found.sessions.current(other)

    run(tmp_path, issuer, scenario)


def test_idle_and_absolute_limits(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A session that is used goes on past its idle limit, up to the absolute one; one that is not used ends."""

    async def scenario(found: Bench) -> None:
        used, _ = await found.begun(left=9e6)
        idle, _ = await found.begun(left=9e6)
        for _ in range(11):
            found.clock[0] += 300
            await found.sessions.current(used)
        with pytest.raises(SessionOver):
            await found.sessions.current(idle)
        found.clock[0] += 301
        with pytest.raises(SessionOver):
            await found.sessions.current(used)

    run(tmp_path, issuer, scenario, idle=timedelta(minutes=10), lifetime=timedelta(hours=1))


def test_use_is_noted_at_the_granularity_of_attested_lifetimes(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A session that is asked about all the time is written once in half an attested lifetime."""

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun()
        began, noted = session.used, set()
        for second in range(60):
            found.clock[0] = began + second
            noted.add((await found.sessions.current(session_id)).used)
        assert sorted(used - began for used in noted) == [0, 15, 30, 45]

    run(tmp_path, issuer, scenario)


def test_a_provider_that_is_gone_ends_the_use_of_its_sessions(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A session of a provider that is not configured any more, or has another issuer now, is over."""

    async def scenario(found: Bench) -> None:
        session_id, _ = await found.begun()
        found.clients.follow([], found.terms, userinfo=False)
        with pytest.raises(SessionOver) as over:
            await found.sessions.current(session_id)
        assert "provider" in over.value.reason

    run(tmp_path, issuer, scenario)


# --- Renewal


def test_a_token_that_has_time_is_left_alone(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With most of its life ahead nothing is asked of the issuer."""

    async def scenario(found: Bench) -> None:
        session_id, _ = await found.begun(left=200)
        await found.sessions.current(session_id)
        await found.sessions.close()
        assert found.refreshes() == 0

    run(tmp_path, issuer, scenario)


def test_a_token_near_its_end_is_renewed_beside(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Within the last minute the session is answered at once as it is, and is another one soon after."""
    opened = threading.Event()
    issuer.answers["token"] = slowly(issuer, opened)

    async def scenario(found: Bench) -> None:
        session_id, _ = await found.begun(left=50)
        for _ in range(5):
            assert (await found.sessions.current(session_id)).generation == 0
        opened.set()

        async def renewed() -> bool:
            return (await found.sessions.read(session_id)).generation == 1

        await until(renewed, "the session is renewed")
        after = await found.sessions.current(session_id)
        assert after.tokens.claims["realm_access"] == {"roles": ["user"]}
        assert found.refreshes() == 1

    run(tmp_path, issuer, scenario)
    opened.set()


def test_fifty_requests_with_an_expired_token_make_one_refresh(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Fifty requests at once, over two replicas, while the issuer takes its time: one refresh, all go on."""
    opened = threading.Event()
    issuer.answers["token"] = slowly(issuer, opened)

    async def scenario(found: Bench) -> None:
        session_id, _ = await found.begun(left=-1)
        asked = [asyncio.create_task(found.replicas[n % 2].current(session_id)) for n in range(50)]

        async def both_came() -> bool:
            return found.refreshes() > 0 and found.store.refused >= 3

        await until(both_came, "the issuer is asked, and the other replica waits")
        opened.set()
        results = await asyncio.gather(*asked)
        assert {result.generation for result in results} == {1}
        assert {result.tokens.claims["sub"] for result in results} == {"u-1"}
        assert found.refreshes() == 1
        assert len([one async for one in found.sessions.list()]) == 1

    run(tmp_path, issuer, scenario, replicas=2)
    opened.set()


def test_a_lease_outlives_a_slow_issuer(
    tmp_path: Path, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is renewed while the issuer is slower than the lease is long: nobody else refreshes."""
    monkeypatch.setattr(renewals, "LEASE_S", 0.3)
    monkeypatch.setattr(renewals, "RENEW_LEASE_S", 0.1)
    opened = threading.Event()
    issuer.answers["token"] = slowly(issuer, opened)

    async def scenario(found: Bench) -> None:
        found.store._now = time.time
        session_id, _ = await found.begun(left=-1)
        asked = [asyncio.create_task(sessions.current(session_id)) for sessions in found.replicas]

        async def long_enough() -> bool:
            return found.store.renewed >= 8 and found.store.refused >= 3  # more than two leases

        await until(long_enough, "the lease is renewed")
        assert found.refreshes() == 1
        opened.set()
        assert {result.generation for result in await asyncio.gather(*asked)} == {1}
        assert found.refreshes() == 1

    run(tmp_path, issuer, scenario, replicas=2)
    opened.set()


def test_a_replica_that_died_is_replaced(
    tmp_path: Path, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that nobody renews ends, and whoever waited refreshes."""

    async def scenario(found: Bench) -> None:
        found.store._now = time.time
        session_id, session = await found.begun(left=-1)
        assert await found.store.lease(session.name, "dead", seconds=0.5)
        assert (await found.sessions.current(session_id)).generation == 1

    run(tmp_path, issuer, scenario)


def test_a_grant_that_ended_ends_the_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """`invalid_grant` ends the session, and its attested tokens are denied from then on."""

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun(left=-1, refresh_token="no-more")
        with pytest.raises(SessionOver) as over:
            await found.sessions.current(session_id)
        assert "issuer" in over.value.reason
        revoked = await found.store.revoked(now=found.clock[0])
        assert revoked[session.name] > found.clock[0] + 32
        assert await found.store.read(session.name) is None

    run(tmp_path, issuer, scenario)


def test_a_grant_that_ended_is_noticed_beside(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A renewal ahead of time that is refused ends the session at once, not when its token does."""

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun(left=30, refresh_token="no-more")
        await found.sessions.current(session_id)

        async def over() -> bool:
            return await found.store.read(session.name) is None

        await until(over, "the session has ended")

    run(tmp_path, issuer, scenario)


def test_who_was_slower_takes_the_tokens_of_who_was_faster(tmp_path: Path, issuer: OidcIssuer) -> None:
    """`invalid_grant` for a refresh token that another replica has used meanwhile ends nothing."""

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun(left=-1)

        def overtaken(seen: Seen) -> Any:
            now = time.time()
            tokens = replace(session.tokens, access_token="at-9", access_expires=now + 300)
            other = LocalStore(tmp_path / "s.sqlite", Sealer.of(found.terms, tmp_path))
            following = replace(session, generation=1, tokens=tokens)
            assert asyncio.run(other.replace(following, expires=now + 300))
            asyncio.run(other.close())
            return refused(400, "invalid_grant")

        issuer.answers["token"] = overtaken
        assert (await found.sessions.current(session_id)).tokens.access_token == "at-9"

    run(tmp_path, issuer, scenario)


def test_a_logout_during_a_renewal_stays_a_logout(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A session that ends while the issuer is asked does not come back, and the new refresh token is revoked."""
    opened = threading.Event()
    issuer.answers["token"] = slowly(issuer, opened)

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun(left=-1)
        asked = asyncio.create_task(found.sessions.current(session_id))

        async def issuer_was_asked() -> bool:
            return found.refreshes() > 0

        await until(issuer_was_asked, "the issuer is asked")
        await found.sessions.end(session.name, reason="logged out")
        opened.set()
        with pytest.raises(SessionOver):
            await asked
        assert await found.store.read(session.name) is None
        assert len(issuer.asked("revoke")) == 1
        assert issuer.refresh == {}

    run(tmp_path, issuer, scenario)
    opened.set()


def test_new_tokens_wait_for_a_store_that_is_away(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Tokens that the issuer gives once are not lost because the store is away at that moment."""

    async def scenario(found: Bench) -> None:
        session_id, _ = await found.begun(left=-1)
        failures = [StoreAway("a moment"), StoreAway("another")]
        kept = found.store.replace

        async def unlucky(session: Session, *, expires: float) -> bool:
            if failures:
                raise failures.pop()
            return await kept(session, expires=expires)

        found.store.replace = unlucky  # type: ignore[method-assign]
        assert (await found.sessions.current(session_id)).generation == 1
        assert found.refreshes() == 1

    run(tmp_path, issuer, scenario)


# --- Without renewal


@pytest.mark.parametrize("fields", [{"refresh": False}, {}])
def test_without_refresh_a_session_ends_with_its_token(
    tmp_path: Path, issuer: OidcIssuer, fields: dict[str, Any]
) -> None:
    """With refresh off, or without a refresh token, the session ends when its access token does."""

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun(left=20, refresh=bool(fields))
        await found.sessions.current(session_id)
        found.clock[0] += 21
        with pytest.raises(SessionOver):
            await found.sessions.current(session_id)
        assert await found.store.read(session.name) is None
        assert found.refreshes() == 0

    run(tmp_path, issuer, scenario, **fields)


def test_a_token_whose_end_nobody_knows_does_not_end_a_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """An opaque token without `expires_in` is used as long as the session goes on."""

    async def scenario(found: Bench) -> None:
        session_id, _ = await found.begun(access_expires=None)
        found.clock[0] += 1500
        session = await found.sessions.current(session_id)
        assert found.sessions.access_token_usable(session, found.clock[0])

    run(tmp_path, issuer, scenario)


# --- An issuer that is away


def test_a_session_goes_on_while_the_issuer_is_away(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With `continue` it keeps its last claims until its own limits; its expired token is not to be shown."""
    issuer.answers["token"] = lambda _: refused(503, "x")

    async def scenario(found: Bench) -> None:
        session_id, _ = await found.begun(left=-1)
        for _ in range(20):
            session = await found.sessions.current(session_id)
            assert session.tokens.claims["roles"] == ["old"]
            assert not found.sessions.access_token_usable(session, found.clock[0])
        assert found.refreshes() == 1  # the others did not ask again at once
        del issuer.answers["token"]

        async def renewed() -> bool:
            return (await found.sessions.current(session_id)).generation == 1

        await until(renewed, "the issuer is asked again")
        found.clock[0] += 60 * 31
        with pytest.raises(SessionOver):
            await found.sessions.current(session_id)

    run(tmp_path, issuer, scenario)


def test_a_session_can_fail_while_the_issuer_is_away(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With `fail` an expired session is unavailable, is not ended, and is back when the issuer is."""
    issuer.answers["token"] = lambda _: refused(503, "x")

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun(left=-1)
        near, _ = await found.begun(left=10)
        for _ in range(3):
            with pytest.raises(IssuerAway):
                await found.sessions.current(session_id)
            assert (await found.sessions.current(near)).generation == 0
        assert await found.store.read(session.name) is not None
        del issuer.answers["token"]

        async def renewed() -> bool:
            try:
                return (await found.sessions.current(session_id)).generation == 1
            except IssuerAway:
                return False

        await until(renewed, "the issuer is asked again")

    run(tmp_path, issuer, scenario, on_issuer_outage=Outage.FAIL)


# --- A provider that is asked about every token


def asked_about(issuer: OidcIssuer) -> int:
    return len(issuer.asked("introspect"))


def test_a_session_goes_on_while_the_issuer_calls_its_token_active(
    tmp_path: Path, issuer: OidcIssuer
) -> None:
    """It is asked once, however many ask for the session, and not at all where the provider does not say so."""
    issuer.active["at-0"] = {"active": True, "sub": "u-1", "aud": "shop"}

    async def checked(found: Bench) -> None:
        session_id, _ = await found.begun()
        await asyncio.gather(*(found.sessions.current(session_id) for _ in range(20)))
        assert asked_about(issuer) == 1
        assert found.refreshes() == 0

    async def unchecked(found: Bench) -> None:
        session_id, _ = await found.begun()
        await found.sessions.current(session_id)
        assert asked_about(issuer) == 1

    run(tmp_path, issuer, checked, introspection=Introspection.ALWAYS)
    run(tmp_path / "opaque", issuer, unchecked, introspection=Introspection.OPAQUE)


def test_a_token_that_is_active_for_another_keeps_its_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """What is asked is whether the login goes on; an access token that is not made for us may say that, too."""
    issuer.active["at-0"] = {"active": True, "sub": "u-1", "aud": "elsewhere"}

    async def scenario(found: Bench) -> None:
        session_id, _ = await found.begun()
        assert (await found.sessions.current(session_id)).tokens.access_token == "at-0"

    run(tmp_path, issuer, scenario, introspection=Introspection.ALWAYS)


def test_a_login_that_ended_at_the_issuer_ends_the_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Its token is inactive and it is not renewed: the session is over, in the store, too."""

    async def scenario(found: Bench) -> None:
        for refresh in (True, False):
            session_id, session = await found.begun(refresh=refresh)
            issuer.refresh.clear()
            with pytest.raises(SessionOver, match="ended at the issuer"):
                await found.sessions.current(session_id)
            assert await found.store.read(session.name) is None

    run(tmp_path, issuer, scenario, introspection=Introspection.ALWAYS)


def test_a_token_that_its_successor_ended_does_not_end_the_session(
    tmp_path: Path, issuer: OidcIssuer
) -> None:
    """A renewal tells whether the login goes on; when its token is inactive again, it does not."""

    async def scenario(found: Bench) -> None:
        issuer.opaque = True
        real = issuer.introspect
        issuer.answers["introspect"] = lambda seen: (
            real(seen) if seen.form["token"] == "at-0" else ok({"active": True})
        )
        session_id, _ = await found.begun()
        assert (await found.sessions.current(session_id)).generation == 1
        issuer.answers["introspect"] = lambda _: ok({"active": False})
        session_id, session = await found.begun()
        with pytest.raises(SessionOver, match="ended at the issuer"):
            await found.sessions.current(session_id)
        assert await found.store.read(session.name) is None

    run(tmp_path, issuer, scenario, introspection=Introspection.ALWAYS)


def test_a_session_that_cannot_be_asked_about_is_unavailable(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Also with `continue`, and with tokens that have expired meanwhile: it fails, is not ended, and is back."""
    issuer.answers["introspect"] = issuer.answers["token"] = lambda _: refused(503, "x")
    issuer.active["at-0"] = {"active": True, "sub": "u-1", "aud": "shop"}

    async def scenario(found: Bench) -> None:
        good, session = await found.begun()
        expired, _ = await found.begun(left=-1)
        for session_id in (good, expired, good):
            with pytest.raises(IssuerAway):
                await found.sessions.current(session_id)
        assert asked_about(issuer) == 2, "an expired token says nothing"
        issuer.answers.clear()
        assert (await found.sessions.current(good)).name == session.name

    run(tmp_path, issuer, scenario, introspection=Introspection.ALWAYS)


def test_many_sessions_do_not_all_ask_an_issuer_that_is_away(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Once several renewals failed, one session at a time asks, and a hundred others go on at once."""
    issuer.answers["token"] = lambda _: refused(503, "x")

    async def scenario(found: Bench) -> None:
        begun = [await found.begun(left=-1) for _ in range(100)]
        for session_id, _ in begun:
            await found.sessions.current(session_id)
        assert found.refreshes() <= 4

    run(tmp_path, issuer, scenario)


def test_outages_are_asked_about_less_and_less() -> None:
    """A session waits longer after each failure, up to a bound; one success and it asks at once."""
    clock = [0.0]
    outages = Outages(lambda: clock[0])
    waits = []
    for _ in range(8):
        began = clock[0]
        while not outages.may_ask("own", "s-1"):
            clock[0] += 0.5
        waits.append(clock[0] - began)
        outages.failed("own", "s-1", "away")
    assert waits[:4] == [0, 1, 2, 4]
    assert waits[-1] == LAST_S
    assert outages.may_ask("own", "s-2")  # one session's failures are not the issuer's
    outages.answered("own", "s-1")
    assert outages.may_ask("own", "s-1")


# --- The end


def test_an_end_is_recorded_longer_than_attested_tokens_live(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A revocation is kept until every attested token of the session has ended, leeway included."""

    async def scenario(found: Bench) -> None:
        session_id, session = await found.begun()
        assert (await found.sessions.end(session.name, reason="test")) is not None
        revoked = await found.store.revoked(now=found.clock[0])
        assert found.clock[0] + 32 < revoked[session.name] < found.clock[0] + 60
        with pytest.raises(SessionOver):
            await found.sessions.current(session_id)
        assert await found.sessions.end(session.name, reason="again") is None

    run(tmp_path, issuer, scenario)


def test_a_login_at_the_issuer_ends_all_of_its_sessions(tmp_path: Path, issuer: OidcIssuer) -> None:
    """By `sid` the sessions of that login end; by subject all of that person; others go on."""

    async def scenario(found: Bench) -> None:
        def claims(sub: str, sid: str) -> dict[str, Any]:
            return {"iss": issuer.url, "sub": sub, "sid": sid}

        ids = {
            (sub, sid): (await found.begun(id_claims=claims(sub, sid)))[0]
            for sub, sid in (("u-1", "s-1"), ("u-1", "s-2"), ("u-2", "s-3"))
        }
        end = found.sessions.end_login
        assert await end(issuer.url + "x", subject="u-1", issuer_session="s-1", reason="t") == 0
        assert await end(issuer.url, subject="u-1", issuer_session="s-1", reason="t") == 1
        assert await end(issuer.url, subject="u-1", issuer_session=None, reason="t") == 1
        assert (await found.sessions.current(ids["u-2", "s-3"])).subject == "u-2"

    run(tmp_path, issuer, scenario)
