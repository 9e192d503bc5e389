"""
Tokens that the issuer is asked about (RFC 7662): at real Keycloak, whether their login goes on; at the development
identity provider, which counts, how often.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.echo import Echo
from tests.holding.load import Steady, request
from tests.holding.running import Running
from tests.holding.sessions import begun
from tests.parts.keycloak import Keycloak
from tests.parts.redis import Redis
from tests.real.gateways import provider
from tests.real.replicas import KEY, IssuerProcess
from tests.real.shop import Client, Person, Shop
from tests.sending import Answer
from tests.service.issuer import wait_for
from wardgate.policy import Secret
from wardgate.policy import Session as Terms
from wardgate.service.sealing import Sealer, key_bytes
from wardgate.service.stores.redis import RedisStore
from wardgate.verify import read_unverified

# The first test waits for the server, and where nothing is prepared for the import too.
pytestmark = pytest.mark.timeout(300)

REMEMBERED_S = 3.0
NOTICED_S = 2 * REMEMBERED_S + 2
"""An answer is remembered for so long, and what was attested by it at its end for so long again; and a moment."""

ADDRESS = "http://127.0.0.1:3000"


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


def tokens(shop: Shop, client: Client, person: Person) -> dict[str, Any]:
    """A login of that person by that client, without a browser: the answer of the token endpoint."""
    fields = {
        "grant_type": "password",
        "client_id": client.id,
        "client_secret": client.secret,
        "username": person.name,
        "password": person.password,
        "scope": "openid",
    }
    body = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(f"{shop.issuer}/protocol/openid-connect/token", body, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@contextmanager
def gateway(folder: Path, shop: Shop, client: Client, echo: Echo, **given: Any) -> Iterator[Running]:
    """One that remembers for three seconds, and asks about every token unless `provider` says otherwise."""
    of_shop = {**provider(shop, client), "introspection": "always", "timeout": "2s"}
    file = {
        "provider": of_shop | given.pop("provider", {}),
        "session": {"remembered": f"{REMEMBERED_S:g}s", "cookie": {"secure": False}, "encryption-key": KEY}
        | given.pop("session", {}),
        "upstream": echo.url,
        "identity-headers": {"X-Auth-User": "preferred_username"},
        "routes": [
            {"path": "/free/**", "public": True, "credentials": "permissive"},
            {"path": "/**", "roles": ["user"]},
        ],
        **given,
    }
    with Running(folder, file, env={"CLIENT_SECRET": client.secret}) as running:
        yield running


@contextmanager
def stopped(keycloak: Keycloak) -> Iterator[None]:
    """It takes connections, and answers nothing."""
    keycloak.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        keycloak.process.send_signal(signal.SIGCONT)


def code(answer: Answer) -> str:
    assert b"code" in answer.body, answer
    return str(json.loads(answer.body)["code"])


def refused_after(ask: Callable[[], int], seconds: float) -> float:
    """How long it took until 401, whichever worker answers; until then it was 200."""
    began = time.monotonic()
    seen = set()

    def refused() -> bool:
        # each asks by a connection of its own: some worker may know better than another
        found = {ask() for _ in range(16)}
        seen.update(found)
        return found == {401}

    wait_for(refused, "it is refused", seconds)
    assert seen == {200, 401}
    return time.monotonic() - began


def test_a_token_ends_with_its_login(shop: Shop, echo: Echo, tmp_path: Path) -> None:
    """A JWT that is good by its signature for minutes more is refused soon after its login ended at Keycloak."""
    client, person = shop.client(ADDRESS), shop.person()
    with gateway(tmp_path, shop, client, echo) as running:
        token, late = (tokens(shop, client, person)["access_token"] for _ in range(2))
        assert running.ask("/x", token).status == 200
        time.sleep(REMEMBERED_S + 1)
        assert running.ask("/x", token).status == 200, "its login goes on"
        shop.log_out(person)
        took = refused_after(lambda: running.ask("/x", token).status, NOTICED_S)
        for ended in (token, late):
            answer = running.ask("/x", ended)
            assert (answer.status, code(answer)) == (401, "token-inactive")
        print(f"\nremembered for {REMEMBERED_S:g} s: refused {took:.1f} s after the logout")


def test_what_is_no_active_access_token_is_refused(shop: Shop, echo: Echo, tmp_path: Path) -> None:
    """ID tokens, refresh tokens, tokens for others and texts that are no token: 401, whatever Keycloak calls active."""
    client, other, person = shop.client(ADDRESS), shop.client(ADDRESS), shop.person()
    with gateway(tmp_path, shop, client, echo) as running:
        good, foreign = tokens(shop, client, person), tokens(shop, other, person)
        assert running.ask("/x", good["access_token"]).status == 200
        for name in ("id_token", "refresh_token"):
            assert running.ask("/x", good[name]).status == 401
            assert "x-auth-user" not in _received(running.ask("/free/x", good[name]))
        for token in (foreign["access_token"], "an-opaque-token", "a.b.c"):
            answer = running.ask("/x", token)
            assert (answer.status, code(answer)) == (401, "token-inactive"), token


def test_the_client_that_asks_has_to_be_in_the_audience(shop: Shop, echo: Echo, tmp_path: Path) -> None:
    """Keycloak calls a token inactive to a client that it is not made for (since 26.6.2): 401."""
    client, other, person = shop.client(ADDRESS), shop.client(ADDRESS), shop.person()
    own = {"client-id": other.id, "client-secret": other.secret}
    with gateway(tmp_path, shop, client, echo, provider=own) as running:
        answer = running.ask("/x", tokens(shop, client, person)["access_token"])
        assert (answer.status, code(answer)) == (401, "token-inactive")


def test_a_lightweight_token_gets_its_claims_from_the_issuer(shop: Shop, echo: Echo, tmp_path: Path) -> None:
    """Keycloak's lightweight access tokens hold no roles; its answer about them does, and rules are judged by it."""
    client, person = shop.client(ADDRESS), shop.person()
    shop.change_client(client, client__use__lightweight__access__token__enabled="true")
    told = shop.admin("GET", f"/clients/{client.internal}")
    (mapper,) = told["protocolMappers"]
    mapper["config"] |= {"lightweight.claim": "true", "introspection.token.claim": "true"}
    shop.admin("PUT", f"/clients/{client.internal}/protocol-mappers/models/{mapper['id']}", mapper)
    token = tokens(shop, client, person)["access_token"]
    assert not {"realm_access", "preferred_username"} & read_unverified(token).claims.keys()
    with gateway(tmp_path, shop, client, echo) as running:
        answer = running.ask("/x", token)
        assert answer.status == 200
        assert _received(answer)["x-auth-user"] == person.name
    (tmp_path / "off").mkdir()
    with gateway(tmp_path / "off", shop, client, echo, provider={"introspection": "off"}) as running:
        assert running.ask("/x", token).status == 403


def test_an_issuer_that_is_away_lets_nobody_in(
    keycloak: Keycloak, shop: Shop, echo: Echo, tmp_path: Path
) -> None:
    """Unknown tokens are 503, known ones as soon as they are not remembered any more; permissive routes see nobody."""
    client, person = shop.client(ADDRESS), shop.person()
    with gateway(tmp_path, shop, client, echo) as running:
        warm, cold = (tokens(shop, client, person)["access_token"] for _ in range(2))
        assert running.ask("/x", warm).status == 200
        assert _received(running.ask("/free/x", warm))["x-auth-user"] == person.name
        with stopped(keycloak):
            assert running.ask("/x", cold).status == 503
            assert running.ask("/x", "an-opaque-token").status == 503
            answer = running.ask("/free/x", cold)
            assert answer.status == 200
            assert "x-auth-user" not in _received(answer)
            began = time.monotonic()
            wait_for(lambda: running.ask("/x", warm).status == 503, "it is not remembered", NOTICED_S)
            took = time.monotonic() - began
            assert running.ask("/x", warm).status == 503
        wait_for(lambda: running.ask("/x", cold).status == 200, "Keycloak is back", 20)
        assert running.ask("/x", warm).status == 200
        print(f"\n503 {took:.1f} s after the issuer went away")


def test_one_route_alone_asks(shop: Shop, echo: Echo, tmp_path: Path) -> None:
    """`introspect: true` on a route: it notices that a login ended, the others go by the signature."""
    client, person = shop.client(ADDRESS), shop.person()
    routes = [
        {"path": "/strict/**", "roles": ["user"], "credentials": {"introspect": True}},
        {"path": "/**", "roles": ["user"]},
    ]
    own = {"introspection": "off"}
    with gateway(tmp_path, shop, client, echo, provider=own, routes=routes) as running:
        token = tokens(shop, client, person)["access_token"]
        for path in ("/strict/x", "/x", "/strict/x"):
            assert running.ask(path, token).status == 200
        shop.log_out(person)
        refused_after(lambda: running.ask("/strict/x", token).status, NOTICED_S)
        assert running.ask("/x", token).status == 200
        assert running.ask("/strict/x", token).status == 401


def _received(answer: Answer) -> dict[str, str]:
    """The headers that the application received."""
    assert answer.status == 200
    return {name.lower(): value for name, value in json.loads(answer.body)["headers"]}


# --- Sessions


def session_of(shop: Shop, client: Client, person: Person, url: str, provider: str) -> str:
    """What the cookie of a login by that person holds: it is put into the store as the service would."""
    session_id, session = begun(tokens(shop, client, person), provider=provider)

    async def kept() -> None:
        store = RedisStore(Terms(store_url=Secret(url, "url")), Sealer([key_bytes(KEY)]))
        await store.create(session, expires=session.expires(1800))
        await store.close()

    asyncio.run(kept())
    return session_id


def test_gatekeepers_session_check_is_for_sessions_too(
    keycloak: Keycloak, shop: Shop, echo: Echo, redis: Redis, tmp_path: Path
) -> None:
    """
    `enable-idp-session-check`: a session ends when its login did, though no back-channel call says so; 503 while the issuer
    is away, and nobody is logged out by that.
    """
    client, leaving, staying = shop.client(ADDRESS), shop.person(), shop.person()
    file = {
        "admin": None,
        "discovery-url": shop.issuer,
        "client-id": client.id,
        "client-secret": client.secret,
        "redirection-url": ADDRESS,
        "upstream-url": echo.url,
        "encryption-key": KEY,
        "store-url": redis.url,
        "secure-cookie": False,
        "enable-refresh-tokens": True,
        "enable-idp-session-check": True,
        "enable-default-deny": False,
        "resources": [{"uri": "/*", "roles": ["user"]}],
    }
    with Running(tmp_path, file, "--set", "openid-provider-timeout=2s") as running:
        ids = [session_of(shop, client, who, redis.url, "keycloak") for who in (leaving, staying)]
        cookies = [("Cookie", f"kc-access={found}") for found in ids]

        def ask(number: int) -> int:
            return running.ask("/x", headers=[cookies[number]]).status

        assert [ask(0), ask(1)] == [200, 200]
        shop.log_out(leaving)
        took = refused_after(lambda: ask(0), 65)
        assert ask(1) == 200
        with stopped(keycloak):
            wait_for(lambda: ask(1) == 503, "what was attested ends", 65)
            assert ask(1) == 503
        wait_for(lambda: ask(1) == 200, "Keycloak is back", 20)
        [said] = running.said("a session ended")
        print(
            f"\nremembered for 30 s: the session was refused {took:.1f} s after the logout ({said['reason']})"
        )


# --- How often


def test_one_question_a_token(echo: Echo, tmp_path: Path) -> None:
    """However many requests and workers, the issuer is asked about one token once in the time that it is remembered."""
    (tmp_path / "issuer").mkdir()
    (tmp_path / "gateway").mkdir()
    with IssuerProcess(tmp_path / "issuer", access_seconds=600) as issuer:
        file = {
            "provider": {
                "issuer": issuer.issuer,
                "audience": "demo-gateway",
                "client-id": "demo-gateway",
                "client-secret": "demo-secret",
                "introspection": "always",
            },
            "session": {"remembered": f"{REMEMBERED_S:g}s", "cookie": {"secure": False}},
            "upstream": echo.url,
            "routes": [{"path": "/**", "roles": ["user"]}],
        }
        with Running(tmp_path / "gateway", file) as running:
            some = [issuer.tokens()["access_token"] for _ in range(5)]
            began = time.monotonic()
            with Steady(running.port, [request("x", "/x", token) for token in some], rps=200) as load:
                time.sleep(4 * REMEMBERED_S)
            lifetimes = (time.monotonic() - began) / REMEMBERED_S
            asked = issuer.control("counts")["introspect"]
    print(f"\n{len(load.outcomes)} requests with 5 tokens in {lifetimes:.1f} times: {asked} questions")
    assert load.statuses() == {200: len(load.outcomes)}
    assert 5 < asked <= 5 * (lifetimes + 1)
