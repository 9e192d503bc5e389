"""Keeping keys fresh: refreshes, failures, and what stays on disk."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.issuer import Issuer, jwks, ok
from wardgate.keystore import KeyCopy, KeySource, KeyStore
from wardgate.service.fetch import Fetched
from wardgate.service.issuer_http import IssuerAway
from wardgate.service.keys import Refresher, Refreshers
from wardgate.verify.keys import clean_jwks


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    found = KeyStore(tmp_path / "keys")
    found.prepare()
    return found


def kids(copy: KeyCopy | None) -> list[str]:
    return [] if copy is None else [key["kid"] for key in json.loads(copy.jwks)["keys"]]


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def test_a_good_set_is_kept_on_disk_for_us_only(store: KeyStore) -> None:
    """The copy holds the cleaned set; the folder is 0700 and the file 0600."""
    with Issuer() as issuer:
        source = issuer.source()
        assert asyncio.run(Refresher(source, store).refresh())
        assert kids(store.read(source)) == ["k1"]
        assert (store.path / source.file).stat().st_mode & 0o777 == 0o600
        assert store.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("body", [b"<html>", b'{"keys": []}', b"x" * 2_000_000])
def test_a_bad_set_leaves_the_good_copy(
    store: KeyStore, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be used changes nothing on disk, is said once with its code, and is counted each time."""
    with Issuer() as issuer:
        refresher = Refresher(issuer.source(), store)
        asyncio.run(refresher.refresh())
        issuer.keys = lambda: ok(body)
        assert not asyncio.run(refresher.refresh())
        assert not asyncio.run(refresher.refresh())
        assert kids(store.read(issuer.source())) == ["k1"]
        assert refresher.status.problem is not None
        assert refresher.status.results[refresher.status.problem.code] == 2
        said = [line for line in capsys.readouterr().err.splitlines() if "not fetched" in line]
        assert len(said) == 1
        assert json.loads(said[0])["level"] == "warning"


def test_a_rotation_is_seen_at_the_next_refresh(store: KeyStore) -> None:
    """A new key arrives and a removed one goes, without anyone asking."""

    async def scenario() -> None:
        with Issuer() as issuer:
            refreshers = Refreshers(store)
            source = issuer.source(refresh_s=1.0)
            refreshers.follow([source])
            await until(lambda: kids(store.read(source)) == ["k1"], "the first keys")
            issuer.keys = lambda: ok(jwks("k2", "k3"))
            await until(lambda: kids(store.read(source)) == ["k2", "k3"], "the new keys")
            await refreshers.stop()

    asyncio.run(scenario())


def test_keys_arrive_soon_after_the_issuer_is_back(store: KeyStore) -> None:
    """An issuer that is away at first is asked again within seconds."""

    async def scenario() -> None:
        with Issuer() as issuer:
            source = issuer.source()
        refreshers = Refreshers(store)
        refreshers.follow([source])
        await until(lambda: refreshers.status()[0].attempts >= 1, "the first attempt")
        assert store.read(source) is None
        with Issuer(port=int(source.issuer.rsplit(":", 1)[1].split("/")[0])):
            await until(lambda: kids(store.read(source)) == ["k1"], "the keys")
        await refreshers.stop()

    asyncio.run(scenario())


def test_the_delay_between_failures_is_bounded(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """1, 2, 4, 8, 8 … seconds: with any allowed timeout, keys are here less than 30 s after the issuer is back."""
    delays: list[float] = []
    ours, sleep = threading.get_ident(), asyncio.sleep

    async def no_sleep(seconds: float) -> None:
        if threading.get_ident() != ours:  # a server of another test, which still ends
            return await sleep(seconds)
        delays.append(seconds)
        if len(delays) == 6:
            raise asyncio.CancelledError
        return None

    async def away(_: KeySource) -> Fetched:
        raise IssuerAway("issuer-unreachable", "away")

    monkeypatch.setattr("wardgate.service.keys.asyncio.sleep", no_sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(
            Refresher(KeySource(provider="p", issuer="https://i", discovery="https://i"), store, away).run()
        )
    assert delays == [1, 2, 4, 8, 8, 8]


def test_a_newer_copy_is_never_replaced_by_an_older_one(store: KeyStore) -> None:
    """Two gateways share the folder: the later fetch stays, unless it claims to be from the future."""
    source = KeySource(provider="p", issuer="https://i", discovery="https://i/d")

    def copy(fetched: float) -> KeyCopy:
        return KeyCopy(issuer="https://i", address="", fetched=fetched, jwks=f'"{fetched}"')

    assert store.write(source, copy(100), now=101)
    assert not store.write(source, copy(99), now=102)
    assert store.read(source) == copy(100)
    assert store.write(source, copy(50), now=60)
    assert store.read(source) == copy(50)


def test_a_copy_belongs_to_its_source(store: KeyStore) -> None:
    """Another address, or a file of another issuer, is no copy; neither is what cannot be read."""
    one = KeySource(provider="p", issuer="https://i", discovery="https://i/d")
    other = KeySource(provider="p", issuer="https://i", discovery="https://j/d")
    store.write(one, KeyCopy(issuer="https://i", address="", fetched=1, jwks="{}"), now=2)
    assert store.read(one) is not None
    assert store.read(other) is None
    for text in (
        "",
        "[]",
        "{}",
        '{"issuer": "https://x", "address": "", "fetched": 1, "jwks": "{}"}',
        "\x00",
    ):
        (store.path / one.file).write_text(text, "utf-8")
        assert store.read(one) is None


def test_sources_that_stay_keep_their_task(store: KeyStore) -> None:
    """Changing one provider does not fetch the keys of the others again."""
    calls: list[str] = []

    async def count(source: KeySource) -> Fetched:
        calls.append(source.provider)
        return Fetched(keys=clean_jwks(jwks("k1")), address="")

    async def scenario() -> None:
        first = KeySource(provider="a", issuer="https://a", discovery="https://a/d")
        second = KeySource(provider="b", issuer="https://b", discovery="https://b/d")
        refreshers = Refreshers(store, count)
        refreshers.follow([first])
        await until(lambda: calls == ["a"], "the first")
        refreshers.follow([first, second])
        await until(lambda: calls == ["a", "b"], "the second")
        refreshers.follow([second])
        assert [status.source.provider for status in refreshers.status()] == ["b"]
        await refreshers.stop()

    asyncio.run(scenario())


def test_a_refetch_is_a_fetch_of_its_own(store: KeyStore) -> None:
    """It begins after it was asked for, never beside another one, and says whether keys came."""
    running, most, calls = 0, 0, 0
    release = asyncio.Event()

    async def slow(source: KeySource) -> Fetched:
        nonlocal running, most, calls
        running, calls = running + 1, calls + 1
        most = max(most, running)
        await release.wait()
        running -= 1
        if calls > 2:
            raise IssuerAway("issuer-status", "500")
        return Fetched(keys=clean_jwks(jwks("k1")), address="")

    async def scenario() -> None:
        refreshers = Refreshers(store, slow)
        refreshers.follow([KeySource(provider="a", issuer="https://a", discovery="https://a/d")])
        await until(lambda: calls == 1, "the periodic fetch")
        asked = asyncio.create_task(refreshers.refetch("a"))
        await asyncio.sleep(0)
        release.set()
        assert await asked
        assert (calls, most) == (2, 1)
        assert not await refreshers.refetch("a")
        assert not await refreshers.refetch("unknown")
        await refreshers.stop()

    asyncio.run(scenario())
