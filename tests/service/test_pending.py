"""Logins on their way are kept each in its own cookie, open for their own state only, and never pile up; loops end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from wardgate.policy import SameSite, Session
from wardgate.service.pending import (
    LOOP_S,
    MANY,
    REMOVED_MANY,
    TOTAL_BYTES,
    PendingLogin,
    PendingLogins,
)
from wardgate.service.sealing import Sealer

KEY = b"0123456789abcdef0123456789abcdef"
START = 1_790_000_000.0
BROWSER_BYTES = 4096

LIFE_S = 600.0


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Jar:
    """What a browser keeps of Set-Cookie values, and what it sends."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def take(self, *written: str) -> None:
        for one in written:
            name, _, value = one.partition(";")[0].partition("=")
            if len(name) + len(value) > BROWSER_BYTES:
                continue
            if "Max-Age=0;" in one:
                self.kept.pop(name, None)
            else:
                self.kept[name] = value

    @property
    def raw(self) -> bytes:
        return "; ".join(f"{name}={value}" for name, value in self.kept.items()).encode("latin-1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logins(clock: Clock) -> PendingLogins:
    return PendingLogins(Sealer([KEY]), Session(), clock)


def login(number: int, clock: Clock, landing: str = "https://app.example.com/orders?page=2") -> PendingLogin:
    return PendingLogin(
        state=f"state-{number:010}-0123456789abcdef",
        nonce="nonce-0123456789abcdef",
        verifier="verifier-0123456789abcdef0123456789abcdef",
        provider="staff",
        landing=landing,
        redirect_uri="https://app.example.com/oauth/callback",
        started=clock.now,
    )


def test_a_login_comes_back(logins: PendingLogins, clock: Clock) -> None:
    """What was kept is what comes back, until its callback removes it."""
    jar, begun = Jar(), login(1, clock)
    jar.take(*logins.start(jar.raw, begun))
    clock.now += 30
    assert logins.any(jar.raw)
    assert logins.of_state(jar.raw, begun.state) == begun
    jar.take(logins.finish(begun.state))
    assert logins.of_state(jar.raw, begun.state) is None
    assert not logins.any(jar.raw)


def test_its_cookie_is_small_and_kept_to_this_host(logins: PendingLogins, clock: Clock) -> None:
    """Lax whatever the session's is, ten minutes, for this host; nothing in it can be read."""
    (written,) = logins.start(b"", login(1, clock))
    assert written.startswith("__Host-wardgate-login-state-0000000001=1790000000.")
    assert "; Path=/; Max-Age=600; Expires=" in written
    assert written.endswith("; Secure; HttpOnly; SameSite=Lax")
    assert len(written) < 800
    for secret in ("nonce-", "verifier-", "orders", "staff"):
        assert secret not in written
    strict = PendingLogins(Sealer([KEY]), Session(same_site=SameSite.STRICT, secure=False), clock)
    (plain,) = strict.start(b"", login(1, clock))
    assert plain.startswith("wardgate-login-state-0000000001=")
    assert plain.endswith("GMT; HttpOnly; SameSite=Lax")


def test_nothing_secret_is_printed(clock: Clock) -> None:
    """A login that lands in a log shows where it goes, not with what."""
    shown = repr(login(1, clock))
    assert "staff" in shown
    for secret in ("state-", "nonce-", "verifier-"):
        assert secret not in shown


def test_a_cookie_opens_for_its_own_state_only(logins: PendingLogins, clock: Clock) -> None:
    """One login's cookie under another's name, or a state that only begins alike, is no login."""
    jar, one, two = Jar(), login(1, clock), login(2, clock)
    jar.take(*logins.start(jar.raw, one))
    jar.take(*logins.start(jar.raw, two))
    first, second = jar.kept
    swapped = f"{first}={jar.kept[second]}; {second}={jar.kept[first]}".encode()
    assert logins.of_state(swapped, one.state) is None
    assert logins.of_state(swapped, two.state) is None
    for state in ("", one.state[:16], one.state + "x", one.state[:-1], "ö", "\x00"):
        assert logins.of_state(jar.raw, state) is None


@pytest.mark.parametrize("spoil", [lambda v: v[:-1], lambda v: v + "A", str.swapcase, lambda v: ""])
def test_a_changed_cookie_is_no_login(
    logins: PendingLogins, clock: Clock, spoil: Callable[[str], str]
) -> None:
    """Not one character of the sealed part can be changed."""
    jar, begun = Jar(), login(1, clock)
    jar.take(*logins.start(jar.raw, begun))
    ((name, value),) = jar.kept.items()
    started, _, sealed = value.partition(".")
    jar.kept[name] = f"{started}.{spoil(sealed)}"
    assert logins.of_state(jar.raw, begun.state) is None


def test_what_others_sealed_is_no_login(logins: PendingLogins, clock: Clock) -> None:
    """Another gateway's key opens nothing here; a key that was replaced does, while it is listed."""
    jar, begun = Jar(), login(1, clock)
    jar.take(*logins.start(jar.raw, begun))
    other = b"another-key-0123456789abcdef0123"
    assert PendingLogins(Sealer([other]), Session(), clock).of_state(jar.raw, begun.state) is None
    rotated = PendingLogins(Sealer([other, KEY]), Session(), clock)
    assert rotated.of_state(jar.raw, begun.state) == begun


def test_two_cookies_for_one_login_are_none(logins: PendingLogins, clock: Clock) -> None:
    """One of them was planted."""
    jar, begun = Jar(), login(1, clock)
    jar.take(*logins.start(jar.raw, begun))
    assert logins.of_state(jar.raw + b"; " + jar.raw, begun.state) is None


def test_a_login_is_over_when_its_terms_say(clock: Clock) -> None:
    """The cookie and the login have one end."""
    patient = PendingLogins(Sealer([KEY]), Session(login_patience=timedelta(minutes=20)), clock)
    jar, begun = Jar(), login(1, clock)
    (written,) = patient.start(jar.raw, begun)
    assert "Max-Age=1200" in written
    jar.take(written)
    clock.now = START + 1200
    assert patient.of_state(jar.raw, begun.state) == begun
    clock.now = START + 1201
    assert patient.of_state(jar.raw, begun.state) is None


def test_a_login_is_over_after_ten_minutes(logins: PendingLogins, clock: Clock) -> None:
    """Its own time counts, not what stands before it in the cookie; another replica's clock may be a little ahead."""
    jar, begun = Jar(), login(1, clock)
    jar.take(*logins.start(jar.raw, begun))
    clock.now = START + LIFE_S
    assert logins.of_state(jar.raw, begun.state) == begun
    clock.now = START - 59
    assert logins.of_state(jar.raw, begun.state) == begun
    clock.now = START - 61
    assert logins.of_state(jar.raw, begun.state) is None
    clock.now = START + LIFE_S + 1
    assert logins.of_state(jar.raw, begun.state) is None
    ((name, value),) = jar.kept.items()
    jar.kept[name] = f"{int(clock.now)}.{value.partition('.')[2]}"
    assert logins.of_state(jar.raw, begun.state) is None


def test_five_tabs_that_start_together_all_come_back(logins: PendingLogins, clock: Clock) -> None:
    """None overwrites another: each finds its own login, in any order."""
    jar = Jar()
    tabs = [login(number, clock, f"https://app.example.com/{number}") for number in range(MANY)]
    answers = [logins.start(b"", tab) for tab in tabs]  # none has seen another's cookie
    for answer in answers:
        jar.take(*answer)
    for tab in reversed(tabs):
        assert logins.of_state(jar.raw, tab.state) == tab
        jar.take(logins.finish(tab.state))
    assert jar.kept == {}


def test_the_sixth_removes_the_oldest(logins: PendingLogins, clock: Clock) -> None:
    """However many logins begin, five cookies are kept: the newest."""
    jar, begun = Jar(), []
    for number in range(12):
        clock.now += 1
        begun.append(login(number, clock))
        jar.take(*logins.start(jar.raw, begun[-1]))
        assert len(jar.kept) <= MANY
    assert [logins.of_state(jar.raw, one.state) is not None for one in begun] == [False] * 7 + [True] * 5


def test_those_that_are_over_are_removed(logins: PendingLogins, clock: Clock) -> None:
    """A browser that does not heed Max-Age is told again."""
    jar = Jar()
    jar.take(*logins.start(jar.raw, login(1, clock)))
    clock.now += LIFE_S + 1
    jar.take(*logins.start(jar.raw, login(2, clock)))
    assert list(jar.kept) == ["__Host-wardgate-login-state-0000000002"]


@pytest.mark.parametrize("page", [20, 500, 1000, 2400])
def test_long_addresses_do_not_fill_the_header(logins: PendingLogins, clock: Clock, page: int) -> None:
    """Of logins with long landings fewer are kept: together they stay within bounds, and the newest always comes back."""
    jar = Jar()
    for number in range(7):
        clock.now += 1
        begun = login(number, clock, "https://app.example.com/?q=" + "x" * page)
        jar.take(*logins.start(jar.raw, begun))
        assert logins.of_state(jar.raw, begun.state) == begun
        assert sum(len(name) + len(value) for name, value in jar.kept.items()) <= TOTAL_BYTES
    assert len(jar.kept) >= (MANY if page <= 500 else 1)


@pytest.mark.parametrize(
    ("landing", "kept"),
    [
        ("https://app.example.com/path?q=" + "x" * 8000, "https://app.example.com/path"),
        ("https://app.example.com/path?q=" + "ä" * 2000, "https://app.example.com/path"),
        ("https://app.example.com:8443/" + "p" * 8000, "https://app.example.com:8443/"),
    ],
)
def test_a_landing_that_no_cookie_holds_is_cut(
    logins: PendingLogins, clock: Clock, landing: str, kept: str
) -> None:
    """A browser would drop the whole cookie: better to come back to the path, or to the beginning."""
    jar, begun = Jar(), login(1, clock, landing)
    jar.take(*logins.start(jar.raw, begun))
    assert logins.of_state(jar.raw, begun.state) == replace(begun, landing=kept)


def test_planted_cookies_do_not_crowd_out_a_login(logins: PendingLogins, clock: Clock) -> None:
    """Whoever dates cookies into the future, or plants hundreds, removes none of ours, nor fills an answer."""
    jar, begun = Jar(), login(1, clock)
    jar.take(*logins.start(jar.raw, begun))
    for number in range(300):
        jar.kept[f"__Host-wardgate-login-planted-{number:08}"] = "9" * 11 + ".AAAA"
    for number in range(2, 20):
        clock.now += 1
        answer = logins.start(jar.raw, login(number, clock))
        assert len(answer) <= 1 + REMOVED_MANY
        jar.take(*answer)
        if number == 5:
            assert logins.of_state(jar.raw, begun.state) == begun
    assert len(jar.kept) == MANY


@pytest.mark.parametrize(
    "name",
    ["x", "0123456789abcdef0", "0123456789abcde", "0123456789abc\x01ef", "0123456789abcde\xe4", " " * 16],
)
def test_names_that_are_not_ours_are_not_written_back(logins: PendingLogins, clock: Clock, name: str) -> None:
    """A removal names only what we could have named: nothing else of a request gets into a header."""
    raw = f"__Host-wardgate-login-{name}=1.x".encode("latin-1")
    assert len(logins.start(raw, login(1, clock))) == 1
    assert not logins.any(raw)


# --- the loop breaker


def test_the_third_login_in_a_row_is_a_loop(logins: PendingLogins, clock: Clock) -> None:
    """Two logins completed within half a minute, and a third begins: the browser does not keep its session."""
    jar = Jar()
    for completed in range(2):
        assert not logins.loops(jar.raw), completed
        clock.now += 5
        jar.take(logins.completed(jar.raw))
    assert logins.loops(jar.raw)


def test_slow_logins_are_no_loop(logins: PendingLogins, clock: Clock) -> None:
    """Who logs in once a minute is not in a loop, even if the browser keeps the cookie longer than it should."""
    jar = Jar()
    for _ in range(5):
        clock.now += LOOP_S + 1
        assert not logins.loops(jar.raw)
        jar.take(logins.completed(jar.raw))


def test_a_loop_is_over_after_half_a_minute(logins: PendingLogins, clock: Clock) -> None:
    """Then the browser may try again."""
    jar = Jar()
    jar.take(logins.completed(jar.raw))
    jar.take(logins.completed(jar.raw))
    clock.now += LOOP_S
    assert logins.loops(jar.raw)
    clock.now += 1
    assert not logins.loops(jar.raw)


def test_a_logout_forgets(logins: PendingLogins, clock: Clock) -> None:
    """Who logs out and in again, and again, is a person."""
    jar = Jar()
    for _ in range(4):
        assert not logins.loops(jar.raw)
        jar.take(logins.completed(jar.raw), logins.forget_completed())


def test_a_replica_whose_clock_is_ahead_counts(logins: PendingLogins, clock: Clock) -> None:
    """A loop through two replicas is found though their clocks differ by seconds."""
    jar = Jar()
    jar.take(logins.completed(jar.raw))
    jar.take(logins.completed(jar.raw))
    clock.now -= 3
    assert logins.loops(jar.raw)


def test_what_is_planted_neither_makes_nor_hides_a_loop(logins: PendingLogins, clock: Clock) -> None:
    """Only what was sealed for this counts, beside whatever stands there."""
    jar, planted = Jar(), Jar()
    planted.take(*logins.start(b"", login(1, clock)))
    (sealed,) = planted.kept.values()
    name = "__Host-wardgate-logins"
    for value in ("", "AAAA", f"[{START},{START}]", sealed, sealed.partition(".")[2]):
        assert not logins.loops(f"{name}={value}".encode())
    jar.take(logins.completed(jar.raw))
    jar.take(logins.completed(jar.raw))
    assert logins.loops(b"__Host-wardgate-logins=AAAA; " + jar.raw)


def test_the_loop_cookie_is_small_and_short(logins: PendingLogins, clock: Clock) -> None:
    """It holds two times, however many logins were completed, and ends by itself."""
    jar = Jar()
    for _ in range(10):
        written = logins.completed(jar.raw)
        jar.take(written)
    assert len(written) < 250
    assert "; Path=/; Max-Age=30; " in written
    assert written.endswith("; Secure; HttpOnly; SameSite=Lax")
