"""Opaque tokens: what the issuer says about them, and how long it is believed."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from tests.service.oidc.conftest import client_of
from tests.service.oidc.issuer import Answer, OidcIssuer, Seen, ok, refused
from wardgate.keystore import KeyStore
from wardgate.policy import ClientAuthentication, Session, UncheckedAudience
from wardgate.problems import TokenError
from wardgate.service.oidc import CODES, IssuerAway, OidcClient
from wardgate.service.oidc.introspection import Introspected


def good(issuer: OidcIssuer, **changes: Any) -> dict[str, Any]:
    claims = {"active": True, "iss": issuer.url, "aud": ["shop"], "sub": "u-1", "exp": int(time.time()) + 300}
    claims |= {"token_type": "Bearer", "client_id": "app", "scope": "a b"}
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def asked(issuer: OidcIssuer, store: KeyStore, token: str = "t", **fields: Any) -> Introspected | None:
    async def scenario() -> Introspected | None:
        async with client_of(issuer.provider(**fields), store) as client:
            return await client.introspect(token)

    return asyncio.run(scenario())


def test_an_active_token_has_claims(issuer: OidcIssuer, store: KeyStore) -> None:
    """What the issuer says are the claims, without the members of the answer itself; we ask as our client."""
    issuer.active["t"] = good(issuer)
    found = asked(issuer, store)
    assert found is not None
    assert found.claims["scope"] == "a b"
    assert "active" not in found.claims
    assert found.expires == issuer.active["t"]["exp"]
    [seen] = issuer.asked("introspect")
    assert seen.form == {"token": "t", "token_type_hint": "access_token"}
    assert seen.headers["authorization"].startswith("Basic ")


def test_by_post_and_at_a_configured_address(issuer: OidcIssuer, store: KeyStore) -> None:
    """The client's own way to authenticate holds here too; a configured address needs no discovery."""
    issuer.active["t"] = good(issuer)
    issuer.answers["discovery"] = lambda _: (500, {}, b"")
    fields = {"introspection_url": issuer.url + "/introspect"}
    assert asked(issuer, store, client_authentication=ClientAuthentication.POST, **fields)


def test_an_inactive_token_is_none(issuer: OidcIssuer, store: KeyStore) -> None:
    """`active` false, whatever else is said."""
    assert asked(issuer, store) is None
    issuer.active["t"] = good(issuer, active=False)
    assert asked(issuer, store) is None


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an ID token, as Keycloak says it": ({"token_type": "ID", "typ": "ID"}, "token-type"),
    "an ID token by typ": ({"token_type": ..., "typ": "ID"}, "token-type"),
    "a refresh token": ({"token_type": "Refresh"}, "token-type"),
    "a refresh token by typ": ({"typ": "Offline"}, "token-type"),
    "a refresh token, as Ory says it": ({"token_use": "refresh_token"}, "token-type"),
    "a logout token": ({"events": {}}, "token-type"),
    "with a hash of an access token": ({"at_hash": "x"}, "token-type"),
    "with a nonce": ({"nonce": "x"}, "token-type"),
    "a MAC token": ({"token_type": "MAC"}, "token-type"),
    "bound to a key": ({"cnf": {"jkt": "x"}}, "token-bound"),
    "of another issuer": ({"iss": "https://other.example"}, "token-issuer"),
    "for another audience": ({"aud": "other"}, "token-audience"),
    "for no audience": ({"aud": ...}, "token-audience"),
    "expired": ({"exp": 1_700_000_000}, "token-expired"),
    "not yet valid": ({"nbf": 4_000_000_000}, "token-not-yet-valid"),
    "a subject that is no text": ({"sub": 5}, "token-malformed"),
    "an end that is no number": ({"exp": "soon"}, "token-malformed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_active_token_that_is_no_access_token_for_us_is_refused(
    issuer: OidcIssuer, store: KeyStore, case: str
) -> None:
    """The issuer's `active` is not enough: kind, issuer, audience and times are judged as those of a JWT."""
    changes, code = REFUSED[case]
    issuer.active["t"] = good(issuer, **changes)
    with pytest.raises(TokenError) as caught:
        asked(issuer, store)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "changes", [{"iss": ...}, {"exp": ...}, {"token_type": ...}, {"typ": "Bearer", "nonce": "n"}]
)
def test_what_an_answer_may_leave_out(issuer: OidcIssuer, store: KeyStore, changes: dict[str, Any]) -> None:
    """RFC 7662 requires `active` only; what is not said is not wrong."""
    issuer.active["t"] = good(issuer, **changes)
    assert asked(issuer, store) is not None


def test_an_audience_that_nobody_checks(issuer: OidcIssuer, store: KeyStore) -> None:
    """Where the provider takes any audience, none is needed."""
    issuer.active["t"] = good(issuer, aud=...)
    assert asked(issuer, store, audience=UncheckedAudience()) is not None


BAD: dict[str, tuple[Answer, str]] = {
    "500": ((500, {}, b""), "issuer-status"),
    "401": (refused(401, "invalid_client"), "client-refused"),
    "html": ((200, {}, b"<html>"), "issuer-answer"),
    "a list": (ok([{"active": True}]), "issuer-answer"),
    "active as text": (ok({"active": "true"}), "issuer-answer"),
    "active as a number": (ok({"active": 1}), "issuer-answer"),
    "no active": (ok({"sub": "u-1"}), "issuer-answer"),
    "a redirect": ((302, {"location": "/x"}, b""), "issuer-redirect"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_told_is_not_decided(issuer: OidcIssuer, store: KeyStore, case: str) -> None:
    """An answer that is none is IssuerAway, and is not remembered."""
    answer, code = BAD[case]

    async def scenario() -> None:
        async with client_of(issuer.provider(), store) as client:
            issuer.answers["introspect"] = lambda _: answer
            with pytest.raises(IssuerAway) as caught:
                await client.introspect("t")
            assert caught.value.code == code
            del issuer.answers["introspect"]
            issuer.active["t"] = good(issuer)
            assert await client.introspect("t")

    asyncio.run(scenario())


def test_an_issuer_without_the_endpoint(issuer: OidcIssuer, store: KeyStore) -> None:
    """The problem says which setting is missing."""
    issuer.discovery_changes = {"introspection_endpoint": ...}
    with pytest.raises(IssuerAway) as caught:
        asked(issuer, store)
    assert caught.value.code == "issuer-endpoint-missing"
    assert caught.value.code in CODES
    assert "introspection-url" in caught.value.hint


def test_answers_are_remembered_for_a_bounded_time(issuer: OidcIssuer, store: KeyStore) -> None:
    """Active and inactive ones both: as long as a session is, never longer than the token lives, and then asked again."""
    now = [1000.0]
    session = Session(attested=timedelta(seconds=10))

    def count() -> int:
        return len(issuer.asked("introspect"))

    async def scenario() -> None:
        async with client_of(issuer.provider(), store, session, now=lambda: now[0]) as client:
            issuer.active["long"] = good(issuer, exp=2000)
            issuer.active["short"] = good(issuer, exp=1004)
            issuer.active["id"] = good(issuer, typ="ID", exp=2000)

            async def each() -> list[Any]:
                return await asyncio.gather(
                    *(client.introspect(name) for name in ("long", "short", "id", "none")),
                    return_exceptions=True,
                )

            first = await each()
            assert await each() != []
            assert count() == 4
            assert first[0] is not None
            assert first[3] is None
            now[0] = 1005.0
            await each()
            assert count() == 5  # the short one
            now[0] = 1011.0
            issuer.active["long"] = {"active": False}
            assert (await each())[0] is None
            assert count() > 7

    asyncio.run(scenario())


def test_many_who_ask_about_one_token_are_one_question(issuer: OidcIssuer, store: KeyStore) -> None:
    """A token that comes fifty times at once is asked about once; one who gives up takes nothing from the others."""
    release = threading.Event()
    issuer.active["t"] = good(issuer)

    def slow(seen: Seen) -> Answer:
        release.wait(10)
        return issuer.introspect(seen)

    issuer.answers["introspect"] = slow

    async def scenario() -> None:
        async with client_of(issuer.provider(), store) as client:
            tasks = [asyncio.create_task(client.introspect("t")) for _ in range(50)]
            async with asyncio.timeout(10):
                while not issuer.asked("introspect"):
                    await asyncio.sleep(0.01)
            tasks[0].cancel()
            release.set()
            found = await asyncio.gather(*tasks[1:])
            assert all(found)
            assert len(issuer.asked("introspect")) == 1

    asyncio.run(scenario())


def test_a_flood_of_nonsense_forgets_nobody_and_keeps_nobody_out(
    issuer: OidcIssuer, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused tokens are remembered apart from accepted ones; beyond a bound of questions the next is refused at once."""
    monkeypatch.setattr("wardgate.service.oidc.introspection.MAX_REMEMBERED", 10)
    monkeypatch.setattr("wardgate.service.oidc.introspection.MAX_ASKED", 40)
    issuer.active["t"] = good(issuer)

    async def flood(client: OidcClient, start: int) -> list[Any]:
        asking = (client.introspect(f"x{n}") for n in range(start, start + 100))
        return await asyncio.gather(*asking, return_exceptions=True)

    async def scenario() -> None:
        async with client_of(issuer.provider(), store) as client:
            assert await client.introspect("t")
            found = await flood(client, 0)
            assert sum(isinstance(error, IssuerAway) and error.code == "issuer-busy" for error in found) == 60
            assert found.count(None) == 40
            before = len(issuer.asked("introspect"))
            assert await client.introspect("t")
            assert len(issuer.asked("introspect")) == before

    asyncio.run(scenario())
