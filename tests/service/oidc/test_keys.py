"""Keys for Python's own judgement: rotations, floods, outages."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from tests.service.oidc.conftest import client_of
from tests.service.oidc.issuer import OidcIssuer, signing_key
from wardgate.keystore import KeyCopy, KeyStore, source_of
from wardgate.service.oidc import IssuerAway, OidcClient
from wardgate.service.oidc.keys import Keys
from wardgate.verify import KeySet, TokenKeyUnknown, clean_jwks


async def ready(client: OidcClient, issuer: OidcIssuer) -> None:
    """The first keys are here."""
    await client.bearer(issuer.mint(issuer.access_claims()))


def fetches(issuer: OidcIssuer) -> int:
    return len(issuer.asked("certs"))


def test_a_token_of_a_new_key_is_judged_at_once(issuer: OidcIssuer, store: KeyStore) -> None:
    """After a rotation the first token of the new key is accepted: its key is fetched for it, once for all who ask."""

    async def scenario() -> None:
        async with client_of(issuer.provider(), store) as client:
            await ready(client, issuer)
            before = fetches(issuer)
            issuer.published, issuer.kid = ["k1", "k2"], "k2"
            tokens = [issuer.mint(issuer.access_claims(sub=f"u-{n}")) for n in range(50)]
            found = await asyncio.gather(*map(client.bearer, tokens))
            assert [claims["sub"] for claims in found] == [f"u-{n}" for n in range(50)]
            assert fetches(issuer) == before + 1

    asyncio.run(scenario())


def test_a_flood_of_unknown_keys_is_one_fetch_per_cool_down(issuer: OidcIssuer, store: KeyStore) -> None:
    """Hundreds of tokens that name no key of the issuer cost it one fetch a second, and all are refused."""

    async def scenario() -> None:
        async with client_of(issuer.provider(), store) as client:
            await ready(client, issuer)
            before, began = fetches(issuer), time.monotonic()
            while time.monotonic() - began < 1.5:
                tokens = [issuer.mint(issuer.access_claims(), {"kid": f"x{n}"}) for n in range(40)]
                found = await asyncio.gather(*map(client.bearer, tokens), return_exceptions=True)
                assert {type(error) for error in found} == {TokenKeyUnknown}
            assert fetches(issuer) - before <= 1 + int(time.monotonic() - began)

    asyncio.run(scenario())


def test_a_rotation_in_the_midst_of_a_flood(issuer: OidcIssuer, store: KeyStore) -> None:
    """A token of a key that is newer than the last fetch waits for the next one; it is not refused."""

    async def scenario() -> None:
        async with client_of(issuer.provider(), store) as client:
            await ready(client, issuer)
            with pytest.raises(TokenKeyUnknown):
                await client.bearer(issuer.mint(issuer.access_claims(), {"kid": "x"}))
            issuer.published, issuer.kid = ["k1", "k2"], "k2"
            assert await client.bearer(issuer.mint(issuer.access_claims()))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "changes", [{"iss": "https://other.example"}, {"exp": 5}, {"aud": "other"}, {"typ": "ID"}]
)
def test_keys_are_not_fetched_for_a_token_that_is_wrong_anyway(
    issuer: OidcIssuer, store: KeyStore, changes: dict[str, object]
) -> None:
    """An unknown key in a token that would be refused by its claims is no reason to ask the issuer."""

    async def scenario() -> None:
        async with client_of(issuer.provider(), store) as client:
            await ready(client, issuer)
            before = fetches(issuer)
            with pytest.raises(TokenKeyUnknown):
                await client.bearer(issuer.mint(issuer.access_claims(**changes), {"kid": "x"}))
            assert fetches(issuer) == before

    asyncio.run(scenario())


def test_an_unknown_key_while_the_issuer_is_away_cannot_be_told(issuer: OidcIssuer, store: KeyStore) -> None:
    """503 and not 401: the key may be a new one. Tokens of known keys are judged as ever; after, the next is fetched."""

    async def scenario() -> None:
        async with client_of(issuer.provider(), store) as client:
            await ready(client, issuer)
            old = issuer.mint(issuer.access_claims())
            issuer.published, issuer.kid = ["k1", "k2"], "k2"
            issuer.answers["certs"] = lambda _: (503, {}, b"")
            new = issuer.mint(issuer.access_claims())
            with pytest.raises(IssuerAway) as caught:
                await client.bearer(new)
            assert caught.value.code == "issuer-keys-missing"
            assert await client.bearer(old)
            del issuer.answers["certs"]
            assert await client.bearer(new)  # a failed fetch starts no cool-down

    asyncio.run(scenario())


def test_keys_of_the_file_are_all_there_are(issuer: OidcIssuer, store: KeyStore) -> None:
    """Keys in the configuration itself are never fetched."""
    from wardgate.service.oidc import OidcClient

    async def never() -> bool:
        raise AssertionError("fetched")

    async def scenario() -> None:
        text = clean_jwks({"keys": [signing_key("k1").as_dict(private=False)]}).as_json()
        client = OidcClient(issuer.provider(jwks=text), None, store=store, refetch=never)
        assert await client.bearer(issuer.mint(issuer.access_claims()))
        with pytest.raises(TokenKeyUnknown):
            await client.bearer(issuer.mint(issuer.access_claims(), {"kid": "x"}))
        await client.close()

    asyncio.run(scenario())


def test_a_copy_from_an_earlier_run_is_used_while_it_is_young(issuer: OidcIssuer, store: KeyStore) -> None:
    """Keys on disk are good for a day; older ones may have been withdrawn."""
    provider = issuer.provider()
    text = clean_jwks({"keys": [signing_key("k1").as_dict(private=False)]}).as_json()

    async def away() -> bool:
        return False

    async def judged(age: timedelta) -> KeySet:
        now = time.time()
        copy = KeyCopy(issuer=provider.issuer, address="", fetched=now - age.total_seconds(), jwks=text)
        (store.path / source_of(provider).file).unlink(missing_ok=True)
        store.write(source_of(provider), copy, now=now)
        return await Keys(provider, store, away).judged(lambda keys: keys)

    assert asyncio.run(judged(timedelta(hours=23))).keys[0].kid == "k1"
    with pytest.raises(IssuerAway):
        asyncio.run(judged(timedelta(hours=25)))


def test_asking_again_waits_for_a_fetch_that_began_after(store: KeyStore, issuer: OidcIssuer) -> None:
    """Who asks while a fetch is on its way is not judged by what that fetch may have missed."""
    published = clean_jwks({"keys": [signing_key("k1").as_dict(private=False)]})
    provider, began = issuer.provider(), asyncio.Event()
    calls: list[int] = []

    def write(*kids: str) -> None:
        keys = clean_jwks({"keys": [signing_key(kid).as_dict(private=False) for kid in kids]})
        copy = KeyCopy(issuer=provider.issuer, address="", fetched=time.time(), jwks=keys.as_json())
        store.write(source_of(provider), copy, now=time.time())

    async def refetch() -> bool:
        calls.append(1)
        if len(calls) == 1:
            began.set()
            await asyncio.sleep(0.05)
            write("k1")
        else:
            write("k1", "k2")
        return True

    def wants(kid: str):  # type: ignore[no-untyped-def]
        def judge(keys: KeySet) -> str:
            if not keys.find(kid):
                raise TokenKeyUnknown(kid)
            return kid

        return judge

    async def scenario() -> None:
        keys = Keys(provider, store, refetch, cool_down=timedelta(milliseconds=50))
        first = asyncio.create_task(keys.judged(wants("x")))
        await began.wait()
        assert await keys.judged(wants("k2")) == "k2"
        with pytest.raises(TokenKeyUnknown):
            await first
        assert len(calls) == 2

    assert published
    write("k1")
    asyncio.run(scenario())
