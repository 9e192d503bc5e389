"""
Sessions that browsers keep: what is in their cookies, what becomes of it, and what is no session.

Two `CookieSessions` with one key are two replicas, or one before and after a restart.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from tests.service.oidc.issuer import Login, OidcIssuer, refused
from tests.service.standing import HOST, KEY, OURS, PAGE, Browser, Gate, standing
from tests.service.test_sessions import slowly, until
from wardgate.envoy import names
from wardgate.keystore import KeyStore, source_of
from wardgate.policy import SameSite, Secret
from wardgate.policy import Session as Terms
from wardgate.service import cookie_sessions
from wardgate.service.cookie_sessions import CookieSessions
from wardgate.service.cookies import expire_session, session_chunks, session_values
from wardgate.service.in_force import InForce
from wardgate.service.keys import Refreshers
from wardgate.service.oidc import OidcClients
from wardgate.service.resolve import Resolver
from wardgate.service.runtime import Runtime
from wardgate.service.sealing import SESSION_COOKIE, STORE, Sealer
from wardgate.service.session import Session, Tokens, new_id
from wardgate.service.sessions import SessionOver
from wardgate.service.stores import cookie as cookie_store
from wardgate.service.stores.cookie import (
    MAX_BYTES,
    REMEMBERED_S,
    CookieStore,
    KeptByBrowsers,
    SessionTooLarge,
)

NAME = "__Host-wardgate-session"
OTHER = Secret("fedcba9876543210fedcba9876543210", "${OTHER}")


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with OidcIssuer() as serving:
        yield serving


@dataclass
class Bench:
    """`clock` is what everything here takes for now, seconds since 1970."""

    replicas: list[CookieSessions]
    clients: OidcClients
    issuer: OidcIssuer
    terms: Terms
    clock: list[float]

    @property
    def sessions(self) -> CookieSessions:
        return self.replicas[0]

    @property
    def store(self) -> CookieStore:
        return self.sessions._kept

    async def begun(self, *, left: float = 300.0, roles: int = 3, **changes: Any) -> tuple[str, Session]:
        """What the browser holds, and the session; its access token of five minutes goes on for `left` seconds."""
        now, token = self.clock[0], f"refresh-{new_id()}"
        self.issuer.refresh[token] = Login()
        tokens = Tokens(
            access_token="at-0",
            access_expires=now + left,
            refresh_token=token,
            claims={"sub": "u-1", "iat": now + left - 300, "roles": random_roles(roles)},
            id_claims={"iss": self.issuer.url, "sub": "u-1", "aud": "shop:web", "sid": "s-1"},
        )
        session_id, session = await self.sessions.begin(replace(tokens, **changes), "own")
        return jar_of(self.sessions.cookies_of(session_id, session)), session

    def refreshes(self) -> int:
        return len(
            [seen for seen in self.issuer.asked("token") if seen.form.get("grant_type") == "refresh_token"]
        )


def random_roles(many: int) -> list[str]:
    """Of 32 characters each, which nothing can pack."""
    return [secrets.token_urlsafe(24) for _ in range(many)]


def jar_of(lines: tuple[str, ...]) -> str:
    """What the session's cookies hold after these Set-Cookie lines."""
    return "".join(line.partition("=")[2].partition(";")[0] for line in lines)


def held_after(sessions: CookieSessions, held: str) -> str:
    """What the browser holds after the answer to a request with `held`."""
    name = sessions.name_in_cookie(held)
    assert name is not None
    return jar_of(sessions.cookies_to_renew(name, held)) or held


@asynccontextmanager
async def bench(tmp_path: Path, issuer: OidcIssuer, replicas: int = 1, **fields: Any) -> AsyncIterator[Bench]:
    keys = KeyStore(tmp_path / "keys")
    keys.prepare()
    refreshers, clock = Refreshers(keys), [time.time()]
    provider = issuer.provider(timeout=timedelta(seconds=8))
    refreshers.follow([source_of(provider)])
    terms = Terms(**{"encryption_key": KEY, "in_cookies": True, **fields})
    clients = OidcClients(keys, refreshers)
    clients.follow([provider], terms, userinfo=False)
    made = [replica(terms, clients, clock) for _ in range(replicas)]
    try:
        yield Bench(made, clients, issuer, terms, clock)
    finally:
        for sessions in made:
            await sessions.close()
        await clients.close()
        await refreshers.stop()


def replica(terms: Terms, clients: OidcClients, clock: list[float]) -> CookieSessions:
    store = CookieStore(terms, Sealer.of(terms, Path("/nowhere")), lambda: clock[0])
    return CookieSessions(store, terms, clients, now=lambda: clock[0])


def run(
    tmp_path: Path, issuer: OidcIssuer, scenario: Callable[[Bench], Awaitable[None]], **fields: Any
) -> None:
    async def whole() -> None:
        async with bench(tmp_path, issuer, **fields) as found:
            await scenario(found)

    asyncio.run(whole())


# --- What is in the cookies


def test_the_session_is_in_its_cookies(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Another process with the same key knows the whole session, tokens included, by its cookies alone."""

    async def scenario(found: Bench) -> None:
        held, session = await found.begun(roles=100)
        assert await found.replicas[1].current(held) == session
        for secret in (session.tokens.access_token, session.tokens.refresh_token, session.name, "sub"):
            assert secret is not None
            assert secret not in held

    run(tmp_path, issuer, scenario, replicas=2)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"persistent": True, "same_site": SameSite.STRICT},
        {"cookie_domain": ".shop.example", "cookie_path": "/app", "secure": False},
    ],
)
def test_cookies_are_of_a_size_that_browsers_keep(
    tmp_path: Path, issuer: OidcIssuer, fields: dict[str, Any]
) -> None:
    """Each is at most 3 900 bytes with its attributes, the policy's on every one; those that are not used are removed."""

    async def scenario(found: Bench) -> None:
        held, session = await found.begun(roles=150)
        lines = found.sessions.cookies_of("", session)
        kept = [line for line in lines if "Max-Age=0" not in line]
        assert len(lines) == 10
        assert 2 <= len(kept) <= 4
        assert len(kept[0]) in (3898, 3899, 3900) or not fields
        name, attributes = found.terms.cookie, kept[-1].partition(";")[2]
        for number, line in enumerate(lines):
            assert line.startswith(f"{name}-{number}=" if number else f"{name}=")
            assert len(line) <= 3900
            for one in ("Path=", "Domain=", "SameSite=", "Secure", "HttpOnly"):
                assert (one in line) == (one in attributes) or one == "SameSite="
        assert all(line.partition(";")[2] == attributes for line in kept)
        assert sum(map(len, kept)) <= MAX_BYTES
        header = "; ".join(reversed([line.partition(";")[0] for line in kept]))
        assert session_values(f"a=b; {header}".encode(), found.terms) == [held]

    run(tmp_path, issuer, scenario, **fields)


def test_what_is_too_large_is_no_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A session beyond 12 KB is not begun; it is not the packing that decides, nor roles that pack well."""

    async def scenario(found: Bench) -> None:
        with pytest.raises(SessionTooLarge) as error:
            await found.begun(roles=400)
        assert error.value.bytes > MAX_BYTES
        held, _ = await found.begun(id_token="x" * 200_000)
        assert len(held) < 4000
        with pytest.raises(SessionTooLarge):
            await found.begun(id_token="x" * 300_000)

    run(tmp_path, issuer, scenario)


# --- What is no session


def test_what_was_changed_is_no_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """One character changed, left out, added or moved, in whichever cookie, and it does not open."""

    async def scenario(found: Bench) -> None:
        held, _ = await found.begun(roles=100)
        for at in (0, 1, 20, len(held) // 2, 3700, 3900, len(held) - 2, len(held) - 1):
            for changed in (
                held[:at] + ("A" if held[at] != "A" else "B") + held[at + 1 :],
                held[:at] + held[at + 1 :],
                held[:at] + "A" + held[at:],
            ):
                assert changed == held or found.sessions.name_in_cookie(changed) is None, at
        for nothing in ("", "A", new_id(), held + held, held[100:], held + "=", held + "\n", "é" + held):
            assert found.sessions.name_in_cookie(nothing) is None
        assert found.sessions.name_in_cookie(held) is not None

    run(tmp_path, issuer, scenario)


def test_what_others_sealed_is_no_session(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With another key, for another purpose or another cookie, or in another form, it does not open."""

    async def scenario(found: Bench) -> None:
        _, session = await found.begun()
        ours, plain = Sealer.of(found.terms, tmp_path), b"p" + session.as_json()
        foreign = Sealer.of(replace(found.terms, encryption_key=OTHER), tmp_path)
        assert found.sessions.name_in_cookie(ours.seal_text(SESSION_COOKIE, plain, NAME)) == session.name
        for sealed in (
            foreign.seal_text(SESSION_COOKIE, plain, NAME),
            ours.seal_text(STORE, plain, NAME),
            ours.seal_text(SESSION_COOKIE, plain, "__Host-other"),
            ours.seal_text(SESSION_COOKIE, plain[1:], NAME),
            ours.seal_text(SESSION_COOKIE, b"z" + plain, NAME),
            ours.seal_text(SESSION_COOKIE, b"z" + zlib.compress(plain[1:])[:-2], NAME),
            ours.seal_text(SESSION_COOKIE, b"z" + zlib.compress(plain[1:] + b" " * 300_000), NAME),
            ours.seal_text(SESSION_COOKIE, b"p[]", NAME),
            ours.seal_text(SESSION_COOKIE, b"p{}", NAME),
            ours.seal_text(SESSION_COOKIE, b"", NAME),
        ):
            assert found.sessions.name_in_cookie(sealed) is None

    run(tmp_path, issuer, scenario)


def test_keys_are_rotated_and_withdrawn(tmp_path: Path, issuer: OidcIssuer) -> None:
    """What the key before sealed opens while that is among the old ones, and not once it is withdrawn."""

    async def scenario(found: Bench) -> None:
        held, session = await found.begun()
        rotated = replace(found.terms, encryption_key=OTHER, old_encryption_keys=(KEY,))
        assert (await replica(rotated, found.clients, found.clock).current(held)).name == session.name
        withdrawn = replace(found.terms, encryption_key=OTHER)
        with pytest.raises(SessionOver):
            await replica(withdrawn, found.clients, found.clock).current(held)

    run(tmp_path, issuer, scenario)


def test_idle_and_absolute_limits(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A session that is used goes on past its idle limit, up to the absolute one, wherever its cookies are brought."""

    async def scenario(found: Bench) -> None:
        used, _ = await found.begun(left=9e6)
        idle, _ = await found.begun(left=9e6)
        for turn in range(11):
            found.clock[0] += 300
            sessions = found.replicas[turn % 2]
            await sessions.current(used)
            used = held_after(sessions, used)
        for sessions in found.replicas:
            with pytest.raises(SessionOver):
                await sessions.current(idle)
        found.clock[0] += 301
        for sessions in found.replicas:
            with pytest.raises(SessionOver):
                await sessions.current(used)

    fields = {"idle": timedelta(minutes=10), "lifetime": timedelta(hours=1)}
    run(tmp_path, issuer, scenario, replicas=2, **fields)


def test_use_is_written_into_the_cookies_now_and_then(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A session that is used all the time gets new cookies once in a twentieth of the idle limit."""

    async def scenario(found: Bench) -> None:
        held, _ = await found.begun(left=9e6)
        written = set()
        for second in range(600):
            found.clock[0] += 1
            await found.sessions.current(held)
            after = held_after(found.sessions, held)
            if after != held:
                written.add(second + 1)
            held = after
        assert written == {90, 180, 270, 360, 450, 540}

    run(tmp_path, issuer, scenario)


# --- Renewal


def test_new_tokens_are_in_new_cookies(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A renewed session is in the cookies that go with the answer, and every replica knows it by them."""

    async def scenario(found: Bench) -> None:
        held, session = await found.begun(left=-1)
        renewed = await found.sessions.current(held)
        after = held_after(found.sessions, held)
        assert (renewed.name, renewed.generation) == (session.name, 1)
        assert await found.replicas[1].current(after) == renewed
        assert found.sessions.cookies_to_renew(session.name, after) == ()
        assert found.refreshes() == 1

    run(tmp_path, issuer, scenario, replicas=2)


def test_cookies_that_are_no_longer_needed_are_removed(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A session that has become smaller leaves nothing of before behind its end."""

    async def scenario(found: Bench) -> None:
        held, session = await found.begun(left=-1, roles=300)
        before = len(session_chunks(found.terms, held, ends_in_s=1))
        await found.sessions.current(held)
        lines = found.sessions.cookies_to_renew(session.name, held)
        now = [line for line in lines if "Max-Age=0" not in line]
        gone = [line.partition("=")[0] for line in lines if "Max-Age=0" in line]
        assert before == 3
        assert len(now) == 1
        assert gone == [f"{NAME}-1", f"{NAME}-2"]

    run(tmp_path, issuer, scenario)


def test_many_tabs_make_one_refresh(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Fifty requests with the old cookies make one refresh, and all get the same new ones; so does a late one."""
    opened = threading.Event()
    issuer.answers["token"] = slowly(issuer, opened)

    async def scenario(found: Bench) -> None:
        held, _ = await found.begun(left=-1)
        asked = [asyncio.create_task(found.sessions.current(held)) for _ in range(50)]

        async def issuer_was_asked() -> bool:
            return found.refreshes() > 0

        await until(issuer_was_asked, "the issuer is asked")
        opened.set()
        assert {one.generation for one in await asyncio.gather(*asked)} == {1}
        afterwards = {held_after(found.sessions, held) for _ in range(5)}
        assert len(afterwards) == 1
        (after,) = afterwards
        await found.sessions.current(after)
        found.clock[0] += REMEMBERED_S - 1
        await found.store.revoked(now=found.clock[0])
        assert (await found.sessions.current(held)).generation == 1
        assert held_after(found.sessions, held) == after
        assert found.refreshes() == 1

    run(tmp_path, issuer, scenario)
    opened.set()


def test_what_did_not_reach_the_browser_is_remembered(
    tmp_path: Path, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that came too late for the answer, or whose answer got lost, are in the next, minutes later."""
    monkeypatch.setattr(cookie_sessions, "AHEAD_PATIENCE_S", 0.05)
    opened = threading.Event()
    issuer.answers["token"] = slowly(issuer, opened)

    async def scenario(found: Bench) -> None:
        held, session = await found.begun(left=30)
        assert (await found.sessions.current(held)).generation == 0
        opened.set()

        async def renewed() -> bool:
            kept = found.store.newest(session.name)
            return kept is not None and kept.session.generation == 1

        await until(renewed, "the session is renewed")
        found.clock[0] += 240
        await found.store.revoked(now=found.clock[0])
        issuer.answers["token"] = lambda _: refused(400, "invalid_grant")
        newer = await found.sessions.read(held)
        assert newer.generation == 1
        assert await found.replicas[1].read(held_after(found.sessions, held)) == newer
        assert found.refreshes() == 1

    run(tmp_path, issuer, scenario, replicas=2)
    opened.set()


def test_a_token_near_its_end_is_renewed_with_the_answer(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Within the last minute the next answer brings new cookies; an issuer that is away changes nothing."""

    async def scenario(found: Bench) -> None:
        held, _ = await found.begun(left=50)
        issuer.answers["token"] = lambda _: (503, {}, b"")
        assert (await found.sessions.current(held)).generation == 0
        assert held_after(found.sessions, held) == held
        del issuer.answers["token"]
        other, _ = await found.begun(left=50)
        assert (await found.sessions.current(other)).generation == 1
        assert held_after(found.sessions, other) != other

    run(tmp_path, issuer, scenario)


def test_a_second_replica_cannot_renew_what_the_first_has(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Where refresh tokens are good once, the old cookies at another replica end the session, with no error."""

    async def scenario(found: Bench) -> None:
        held, session = await found.begun(left=-1)
        await found.sessions.current(held)
        with pytest.raises(SessionOver):
            await found.replicas[1].current(held)
        assert session.name in await found.replicas[1].store.revoked(now=found.clock[0])

    run(tmp_path, issuer, scenario, replicas=2)


def test_a_session_that_outgrows_its_cookies_ends(tmp_path: Path, issuer: OidcIssuer) -> None:
    """New tokens that do not fit end the session, and the issuer is told to forget them."""
    issuer.access_changes["roles"] = random_roles(400)

    async def scenario(found: Bench) -> None:
        held, _ = await found.begun(left=-1)
        with pytest.raises(SessionOver):
            await found.sessions.current(held)
        with pytest.raises(SessionOver):
            await found.sessions.current(held)
        assert len(issuer.asked("revoke")) == 1
        assert not issuer.refresh

    run(tmp_path, issuer, scenario)


# --- Its end


def test_what_ended_here_stays_ended_here(tmp_path: Path, issuer: OidcIssuer) -> None:
    """No copy of the cookies, old or new, opens in this process any more; Envoy denies it as long as it may believe it."""

    async def scenario(found: Bench) -> None:
        old, session = await found.begun(left=-1)
        await found.sessions.current(old)
        new = held_after(found.sessions, old)
        ended = await found.sessions.end(session.name, reason="logged out")
        assert ended is not None
        assert ended.generation == 1
        for held in (old, new):
            with pytest.raises(SessionOver):
                await found.sessions.current(held)
        until_ = (await found.store.revoked(now=found.clock[0]))[session.name]
        assert found.clock[0] + 30 < until_ <= found.clock[0] + 40
        found.clock[0] += 60
        assert await found.store.revoked(now=found.clock[0]) == {}
        assert found.sessions.name_in_cookie(new) is None

    run(tmp_path, issuer, scenario)


def test_who_logs_in_again_has_left(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A login ends the session whose cookies came with it, and its own is another."""

    async def scenario(found: Bench) -> None:
        held, session = await found.begun()
        _, other = await found.sessions.begin(session.tokens, "own", [held, "planted", new_id()])
        assert other.name != session.name
        assert found.sessions.name_in_cookie(held) is None

    run(tmp_path, issuer, scenario)


def test_what_only_a_store_can_do_is_refused(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Listing, and ending what the issuer or an administrator names, is an error, never an empty answer."""

    async def scenario(found: Bench) -> None:
        with pytest.raises(KeptByBrowsers):
            async for _ in found.sessions.list():
                pass
        with pytest.raises(KeptByBrowsers):
            await found.sessions.end_login("x", subject="u-1", issuer_session=None, reason="told")
        with pytest.raises(KeptByBrowsers):
            found.sessions.require_known()

    run(tmp_path, issuer, scenario)


def test_what_is_remembered_is_bounded(
    tmp_path: Path, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions, ends and values are remembered up to a number; the oldest give way, and time forgets them all."""
    for name, many in (("REMEMBERED_BYTES", 20_000), ("ENDED", 5), ("SEEN", 5)):
        monkeypatch.setattr(cookie_store, name, many)

    async def scenario(found: Bench) -> None:
        began = [await found.begun(roles=50) for _ in range(20)]
        remembered = [session for _, session in began if found.store.newest(session.name)]
        assert 3 < len(remembered) < 10
        assert remembered == [session for _, session in began][-len(remembered) :]
        for held, session in began:
            assert (await found.sessions.current(held)).name == session.name
        for number in range(9):
            assert await found.store.first_time("k", str(number), seconds=60)
            await found.sessions.end(began[number][1].name, reason="logged out")
        assert not await found.store.first_time("k", "8", seconds=60)
        assert await found.store.first_time("k", "0", seconds=60)
        assert len(await found.store.revoked(now=found.clock[0])) == 5
        found.clock[0] += 24 * 3600
        await found.store.revoked(now=found.clock[0])
        assert await found.store.first_time("k", "8", seconds=60)
        assert (found.store._kept, found.store._bytes, found.store._ended) == ({}, 0, {})
        assert len(found.store._seen) == 1

    run(tmp_path, issuer, scenario)


# --- With the endpoints


def at_gate(
    tmp_path: Path, issuer: OidcIssuer, scenario: Callable[[Gate], Awaitable[None]], **fields: Any
) -> None:
    async def whole() -> None:
        async with standing(tmp_path, issuer, in_cookies=True, **fields) as gate:
            await scenario(gate)

    asyncio.run(whole())


def held_by(browser: Browser) -> list[tuple[str, str]]:
    """The session's cookies, in order."""
    return sorted((name, value) for name, value in browser.cookies.items() if name.startswith(NAME))


def nearly_over(issuer: OidcIssuer) -> None:
    """What it gives now is due for a renewal at once."""
    now = int(time.time())
    issuer.access_changes |= {"iat": now - 280, "exp": now + 20}
    issuer.answer_changes["expires_in"] = 20


async def logged_in(gate: Gate) -> Browser:
    browser = gate.browser()
    answer = await gate.log_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{HOST}/orders")
    return browser


def test_log_in_and_out(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A login's cookies say who one is; a logout takes all of them, ends the grant, and goes on to the issuer."""
    issuer.access_changes["roles"] = random_roles(80)

    async def scenario(gate: Gate) -> None:
        browser = await logged_in(gate)
        held = held_by(browser)
        assert [name for name, _ in held] == [NAME, f"{NAME}-1", f"{NAME}-2"]
        known = (await browser.get("/oauth/token")).json()
        assert known["roles"] == issuer.access_changes["roles"]
        copy = "; ".join(f"{name}={value}" for name, value in held)
        answer = await browser.post("/oauth/logout", **OURS)
        assert "id_token_hint=" in answer.headers["location"]
        removed = [line for line in answer.headers.get_list("set-cookie") if "Max-Age=0" in line]
        assert {line.partition("=")[0] for line in removed} >= {NAME, *(f"{NAME}-{n}" for n in range(1, 10))}
        assert held_by(browser) == []
        stolen = await gate.browser().get("/oauth/token", cookie=copy)
        assert stolen.status_code == 401
        assert gate.envoy.asked == 1
        await gate.runtime.for_browsers.logout.close()
        assert not issuer.refresh

    at_gate(tmp_path, issuer, scenario)


def test_cookies_in_a_wrong_order_missing_or_twice(tmp_path: Path, issuer: OidcIssuer) -> None:
    """Their order is nothing; one that is missing makes no session, one that is there twice two credentials."""
    issuer.access_changes["roles"] = random_roles(80)

    async def scenario(gate: Gate) -> None:
        held = [f"{name}={value}" for name, value in held_by(await logged_in(gate))]
        first, second, third = held
        for line, status in (
            ("; ".join([third, first, second]), 200),
            ("; ".join([first, second, third, f"{NAME}-5=x", f"{NAME}-12=x"]), 200),
            ("; ".join([first, third]), 401),
            ("; ".join([second, third]), 401),
            ("; ".join([first, second]), 401),
            ("; ".join([*held, f"{NAME}-3=A"]), 401),
            ("; ".join([*held, second]), 400),
            ("; ".join([*held, f"{NAME}-2="]), 400),
            ("; ".join([*held, first]), 400),
            ("; ".join([*held, *held, *held]), 400),
        ):
            answer = await gate.browser().get("/oauth/token", cookie=line)
            assert answer.status_code == status, line[-60:]
        twice = await gate.browser().post("/oauth/logout", **OURS, cookie="; ".join([f"{NAME}-1=x", *held]))
        assert twice.status_code == 303
        assert (await gate.browser().get("/oauth/token", cookie="; ".join(held))).status_code == 401

    at_gate(tmp_path, issuer, scenario)


def test_what_one_is_told_renews_the_cookies(tmp_path: Path, issuer: OidcIssuer) -> None:
    """An endpoint that asks about a session whose token is over brings its new cookies with the answer."""

    async def scenario(gate: Gate) -> None:
        nearly_over(issuer)
        browser = await logged_in(gate)
        issuer.answer_changes.clear()
        issuer.access_changes.clear()
        before = held_by(browser)
        assert (await browser.get("/oauth/token")).status_code == 200
        assert held_by(browser) != before
        assert (await browser.get("/oauth/token")).status_code == 200
        assert len(issuer.asked("token")) == 2

    at_gate(tmp_path, issuer, scenario)


def test_a_login_that_does_not_fit_ends_on_a_page(tmp_path: Path, issuer: OidcIssuer) -> None:
    """It says what is too large and what helps; no cookie of a session is set, and a script gets the code."""
    issuer.access_changes["roles"] = random_roles(400)

    async def scenario(gate: Gate) -> None:
        browser = gate.browser()
        answer = await gate.log_in(browser)
        assert answer.status_code == 403
        assert "Your session is too large" in answer.text
        assert "Redis" in answer.text
        assert held_by(browser) == []
        assert gate.runtime.kept.logins.failed == {"login-size": 1}
        form = {"username": "anna", "password": "right"}
        refusal = await browser.post("/oauth/login", form, **OURS, accept="application/json")
        assert (refusal.status_code, refusal.json()["code"]) == (403, "login-size")
        assert gate.runtime.kept.logins.failed == {"login-size": 2}

    at_gate(tmp_path, issuer, scenario, password_login=True)


def test_a_logout_at_the_issuer_is_not_confirmed(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A logout token is answered 503: nobody here can end the session that it names."""

    async def scenario(gate: Gate) -> None:
        await logged_in(gate)
        token = issuer.mint(issuer.logout_claims(), {"typ": "logout+jwt"})
        for _ in range(2):
            answer = await gate.browser().post("/oauth/backchannel_logout", {"logout_token": token})
            assert answer.status_code == 503

    at_gate(tmp_path, issuer, scenario)


def test_what_ended_stays_so_when_the_settings_change(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With another key or lifetime the sessions that are there go on, and those that ended do not come back."""

    async def scenario(gate: Gate) -> None:
        one, other = [await logged_in(gate) for _ in range(2)]
        stale = "; ".join(f"{name}={value}" for name, value in held_by(one))
        await one.post("/oauth/logout", **OURS)
        before, settings = gate.runtime, gate.runtime.settings
        assert settings.session is not None
        session = replace(
            settings.session, encryption_key=OTHER, old_encryption_keys=(KEY,), lifetime=timedelta(hours=1)
        )
        gate.runtime = Runtime.build(
            replace(settings, session=session),
            before,
            refreshers=gate.refreshers,
            refused=lambda _: gate.envoy,
        )
        await before.close(gate.runtime)
        assert (await other.get("/oauth/token")).status_code == 200
        assert (await gate.browser().get("/oauth/token", cookie=stale)).status_code == 401
        assert gate.runtime.store is not None
        assert len(await gate.runtime.store.revoked(now=time.time())) == 1

    at_gate(tmp_path, issuer, scenario)


# --- With the resolver


class Asked:
    """Envoy's question about a session, at the real resolver."""

    def __init__(self, gate: Gate) -> None:
        self._in_force = InForce(b"s" * 32)
        self._resolver = Resolver(lambda: gate.runtime, self._in_force)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url=HOST)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._resolver(Request(scope, receive)))(scope, receive, send)

    async def begin(self) -> None:
        news = await self._in_force.wait_for_news({})
        await self._in_force.wait_for_news({"life": news["life"], "version": news["version"]})

    async def about(self, held: str, **headers: str) -> httpx.Response:
        asked = {names.KIND: "session", names.ASKED: held, "x-forwarded-proto": "https", **headers}
        return await self.http.get("/resolve/orders", headers=asked)


def test_the_resolver_brings_new_cookies(tmp_path: Path, issuer: OidcIssuer) -> None:
    """With a new attested token go the renewed session's cookies, the same to all who ask; once brought, none go."""

    async def scenario(gate: Gate) -> None:
        nearly_over(issuer)
        held = "".join(value for _, value in held_by(await logged_in(gate)))
        issuer.answer_changes.clear()
        issuer.access_changes.clear()
        asked = Asked(gate)
        assert (
            await asked.about(held)
        ).status_code == 503  # Envoy does not have the key: nothing is renewed in vain
        assert len(issuer.asked("token")) == 1
        await asked.begin()
        answers = await asyncio.gather(*(asked.about(held) for _ in range(20)))
        lines = {tuple(answer.headers.get_list("set-cookie")) for answer in answers}
        assert {answer.status_code for answer in answers} == {200}
        assert all(names.ATTESTED in answer.headers for answer in answers)
        (found,) = lines
        assert not any(name.startswith(names.RENEWED) for answer in answers for name in answer.headers)
        told = await asked.about(held, **{names.DECIDES: "as-nginx"})
        assert [told.headers[f"{names.RENEWED}{n}"] for n in range(1, len(found) + 1)] == list(found)
        again = await asked.about(jar_of(found))
        assert (again.status_code, again.headers.get_list("set-cookie")) == (200, [])
        assert len(issuer.asked("token")) == 2
        await asked.http.aclose()

    at_gate(tmp_path, issuer, scenario)


def test_what_is_no_session_loses_its_cookies(tmp_path: Path, issuer: OidcIssuer) -> None:
    """A script gets 401 with every cookie of the session removed; a person begins a login."""

    async def scenario(gate: Gate) -> None:
        held = "".join(value for _, value in held_by(await logged_in(gate)))
        asked = Asked(gate)
        await asked.begin()
        for broken in ("A" + held, "malformed"):
            answer = await asked.about(broken)
            assert answer.status_code == 401
            assert answer.headers.get_list("set-cookie") == expire_session(gate.runtime.session)
            answer = await asked.about(broken, **PAGE, **{names.LOGIN: "own"})
            assert answer.status_code == 303
            assert answer.headers["location"].startswith(issuer.url)
        await asked.http.aclose()

    at_gate(tmp_path, issuer, scenario)
