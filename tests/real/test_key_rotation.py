"""
An issuer's keys change under load: real Keycloak's own, which this file turns, and a flood of tokens whose keys
nobody has, at the development identity provider, which counts who asks it for keys.
"""

from __future__ import annotations

import json
import multiprocessing
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.echo import Echo
from tests.holding.load import Outcome, Request, Steady, request
from tests.holding.running import Running
from tests.parts.keycloak import Keycloak
from tests.real.replicas import IssuerProcess
from tests.realm import GATEWAY_CLIENT, Realm, unverified_header
from wardgate.verify.compact import encode_base64url

# The first test waits for the server, and where nothing is prepared for the import too.
pytestmark = pytest.mark.timeout(300)

RPS = 500
REFRESH_S = 5.0
COOL_DOWN_S = 1.0


@pytest.fixture(scope="module")
def own() -> Iterator[Keycloak]:
    """A server whose keys are changed."""
    with Keycloak.start() as server:
        yield server


@pytest.fixture(scope="module")
def turned(own: Keycloak) -> Iterator[Realm]:
    with Realm(own.url) as realm:
        yield realm


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


def content(issuer: str, audience: str, upstream: str, **provider: Any) -> dict[str, Any]:
    return {
        "provider": {"issuer": issuer, "audience": audience, **provider},
        "upstream": upstream,
        "access-log": False,
        "routes": [{"path": "/**", "allow": "authenticated"}],
    }


def asked_with(tokens: Sequence[str], kind: str) -> list[Request]:
    return [request(kind, "/x", token) for token in tokens]


def resolved(gateway: Running, kind: str, outcome: str) -> float:
    name = f'wardgate_resolved_total{{kind="{kind}",outcome="{outcome}"}}'
    return gateway.metrics().get(name, 0.0)


def kid(token: str) -> str:
    return str(unverified_header(token)["kid"])


# --- Keycloak


def test_a_rotation_refuses_nobody(own: Keycloak, turned: Realm, echo: Echo, tmp_path: Path) -> None:
    """
    With keys refreshed each minute only, 500 requests a second with tokens of the new key, from its first second on, are
    all let in, beside those of the old key.
    """
    # what the service vouches for holds for four seconds, so that the load outlives it
    client = {
        "client-id": GATEWAY_CLIENT,
        "client-secret": turned.credentials(GATEWAY_CLIENT)["client_secret"],
    }
    session = {"remembered": "4s", "cookie": {"secure": False}, "redirection-url": "http://127.0.0.1:3000"}
    file = {**content(turned.issuer, GATEWAY_CLIENT, echo.url, **client), "session": session}
    with Running(tmp_path, file) as gateway:
        old = [turned.token("user").access for _ in range(10)]
        gateway.until(lambda: gateway.ask("/x", old[0]).status == 200, "the keys are in force")
        with Steady(gateway.port, asked_with(old, "old"), rps=100) as before:
            own.rotate_key(turned.name)
            new = [turned.token("user").access for _ in range(2)]
            began = time.monotonic()
            with Steady(gateway.port, asked_with(new, "new"), rps=RPS, connections=64) as after:
                new += [turned.token("user").access for _ in range(10)]
                with Steady(gateway.port, asked_with(new, "fresh"), rps=50) as fresh:
                    time.sleep(10)
            took = time.monotonic() - began
        assert kid(new[0]) != kid(old[0])
        for load in (before, after, fresh):
            assert load.statuses() == {200: len(load.outcomes)}, load.failed[:3]
        attested = resolved(gateway, "key", "attested")
        slowest = max(outcome.seconds for outcome in after.outcomes)
        print(
            f"\n{len(after.outcomes)} requests with tokens of the new key in {took:.1f} s: none refused, the slowest "
            f"took {slowest:.2f} s; the service vouched for {attested:.0f}"
        )
        assert len(after.outcomes) > 0.9 * RPS * 10
        assert attested > 0, "the keys were there before: nothing was tested"
        # and lets go of them: a key that is withdrawn later is Envoy's to refuse
        assert resolved(gateway, "token", "attested") == 0
        before_all = gateway.metrics()
        assert all(gateway.ask("/x", token).status == 200 for token in new * 3)
        assert _questions(gateway.metrics()) == _questions(before_all)


def _questions(metrics: dict[str, float]) -> float:
    return sum(value for name, value in metrics.items() if name.startswith("wardgate_resolved_total"))


def test_a_removed_key_is_refused(own: Keycloak, turned: Realm, echo: Echo, tmp_path: Path) -> None:
    """Tokens of a key that has left are refused one refresh later, those that were just let in and those never seen."""
    file = content(turned.issuer, GATEWAY_CLIENT, echo.url, **{"keys-refresh": f"{REFRESH_S:g}s"})
    with Running(tmp_path, file) as gateway:
        warm, cold = turned.token("user").access, turned.token("user").access
        gateway.until(lambda: gateway.ask("/x", warm).status == 200, "the keys are in force")
        with Steady(gateway.port, asked_with([warm], "warm"), rps=100) as load:
            own.rotate_key(turned.name, keep_old=False)
            removed = time.monotonic()
            gateway.until(lambda: load.outcomes[-1].status == 401, "it is refused", REFRESH_S + 5)
            took = time.monotonic() - removed
            time.sleep(1)
        statuses = [outcome.status for outcome in load.outcomes]
        assert set(statuses) == {200, 401}
        assert 200 not in statuses[-50:]
        for token in (warm, cold):
            answer = gateway.ask("/x", token)
            assert answer.status == 401
            assert json.loads(answer.body)["code"] == "token-key-unknown"
        assert gateway.ask("/x", turned.token("user").access).status == 200
        print(f"\nrefresh {REFRESH_S:g} s: refused {took:.1f} s after the key was removed")
        assert took < REFRESH_S + 3


# --- A flood


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IssuerProcess]:
    with IssuerProcess(tmp_path_factory.mktemp("issuer"), access_seconds=600) as process:
        yield process


def of_no_key(token: str) -> str:
    """The token as if it were signed by a key with a name of its own: right in everything but that."""
    header = json.dumps({"alg": "RS256", "typ": "JWT", "kid": secrets.token_urlsafe(16)})
    return f"{encode_base64url(header.encode())}.{token.partition('.')[2]}"


def pour(port: int, token: str, seconds: float) -> Counter[int]:
    """The flood, in a process of its own so that it does not hold up those who measure: what it was answered."""
    flood = asked_with([of_no_key(token) for _ in range(int(RPS * seconds))], "flood")
    with Steady(port, flood, rps=RPS, connections=2 * RPS) as wave:
        time.sleep(seconds)
    return wave.statuses()


def test_a_flood_of_unknown_keys(issuer: IssuerProcess, echo: Echo, tmp_path: Path) -> None:
    """
    500 tokens a second that name keys which nobody has: the issuer is asked once a second at most, valid traffic is let
    in, and a real rotation in the midst of it refuses nobody.
    """
    file = content(issuer.issuer, "demo-gateway", echo.url)
    with Running(tmp_path, file) as gateway:
        good = [issuer.tokens()["access_token"] for _ in range(10)]
        gateway.until(lambda: gateway.ask("/x", good[0]).status == 200, "the keys are in force")
        with Steady(gateway.port, asked_with(good, "valid"), rps=200) as quiet:
            time.sleep(5)

        fetched, began = issuer.fetches(), time.monotonic()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
            wave = elsewhere.submit(pour, gateway.port, good[0], 12)
            gateway.until(lambda: issuer.fetches() > fetched, "the flood has begun")
            with Steady(gateway.port, asked_with(good, "valid"), rps=200) as beside:
                time.sleep(4)
                issuer.control("rotate")
                new = [issuer.tokens()["access_token"] for _ in range(10)]
                with Steady(gateway.port, asked_with(new, "new"), rps=100) as rotated:
                    time.sleep(5)
                assert not wave.done(), "the flood was over before"
            poured = wave.result()
        took = time.monotonic() - began
        fetches = issuer.fetches() - fetched

        assert kid(new[0]) != kid(good[0])
        print(
            f"\n{poured.total()} tokens of unknown keys in {took:.1f} s: {dict(poured)}, {fetches} fetches; "
            f"valid {_times(quiet)} alone, {_times(beside)} beside; of the new key {_times(rotated)}"
        )
        assert poured.keys() == {401}
        assert poured.total() > 0.5 * RPS * 12, "the machine had too much to do for a flood"
        for load in (quiet, beside, rotated):
            assert load.statuses() == {200: len(load.outcomes)}, load.statuses()
        assert 2 <= fetches <= took / COOL_DOWN_S + 1


def _times(load: Steady) -> str:
    """p50/p99 in milliseconds."""
    cut = statistics.quantiles((outcome.seconds * 1000 for outcome in _answered(load)), n=100)
    return f"p50 {cut[49]:.1f} ms, p99 {cut[98]:.1f} ms"


def _answered(load: Steady) -> list[Outcome]:
    return [outcome for outcome in load.outcomes if outcome.status]
