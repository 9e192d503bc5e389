"""Issuers' keys over a gateway's life: none yet, arrived, gone, replaced, withdrawn, and nonsense instead of them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from tests.holding.conftest import Content
from tests.holding.running import NOT_FETCHED, Running
from tests.parts.loopback import free_port
from tests.service.issuer import Answer, Issuer, ok
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-keys")

REFRESH_S = 1.0
MEGABYTE = 1 << 20


class Published:
    """
    The keys of a real issuer behind a door of one's own: open or shut, and for once with something else behind it.

    `requests` says what was asked for.
    """

    def __init__(self, issuing: IdpServer) -> None:
        self._issuing = issuing
        self._port = free_port()
        self._open: Issuer | None = None
        self.discovery: Callable[[], Answer] = self.good_discovery
        self.keys: Callable[[], Answer] = self.good_keys

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/realms/r"

    def good_discovery(self) -> Answer:
        return ok(json.dumps({"issuer": self._issuing.issuer, "jwks_uri": f"{self.url}/keys"}).encode())

    def good_keys(self) -> Answer:
        return ok(json.dumps(self._issuing.provider.keys.jwks()).encode())

    def open(self) -> None:
        """Open the door, if it is shut."""
        if self._open is not None:
            return
        self._open = Issuer(port=self._port)
        self._open.discovery = lambda: self.discovery()
        self._open.keys = lambda: self.keys()
        self._open.__enter__()

    def shut(self) -> None:
        if self._open is not None:
            self._open.__exit__()
            self._open = None

    def good(self) -> None:
        self.discovery, self.keys = self.good_discovery, self.good_keys


@pytest.fixture(scope="module")
def issuing() -> Iterator[IdpServer]:
    """An issuer of this module's own, since its keys are replaced here."""
    with IdpServer() as server:
        yield server


@pytest.fixture(scope="module")
def published(issuing: IdpServer) -> Iterator[Published]:
    door = Published(issuing)
    yield door
    door.shut()


def content(simple: Content, issuing: IdpServer, published: Published, **provider: Any) -> Content:
    """`provider` changes its settings: another timeout makes the service ask the issuer anew, at once."""
    settings = {
        "name": "corporate",
        "issuer": issuing.issuer,
        "audience": "demo-gateway",
        "discovery-url": f"{published.url}/.well-known/openid-configuration",
        "keys-refresh": f"{REFRESH_S:g}s",
    }
    return {**simple, "provider": settings | provider}


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simple: Content, issuing: IdpServer, published: Published
) -> Iterator[Running]:
    """Started while the issuer is away; the first test opens the door."""
    with Running(tmp_path_factory.mktemp("keys"), content(simple, issuing, published)) as found:
        yield found


def test_keys_arrive_after_the_start(gateway: Running, issuing: IdpServer, published: Published) -> None:
    """With the issuer away at start, public routes serve and others say 503; when it is back, tokens are accepted."""
    token = issuing.token("user")
    assert gateway.said("ready")[0]["without_keys"] == ["corporate"]
    assert gateway.ask("/open/x").status == 200
    assert gateway.ask("/oauth/health").status == 200
    for answer in (gateway.ask("/x"), gateway.ask("/x", token), gateway.ask("/x", "nonsense")):
        assert answer.status == 503
        assert json.loads(answer.body)["code"] == "keys-unavailable"
    published.open()
    back = time.monotonic()
    gateway.until(lambda: gateway.ask("/x", token).status == 200, "the keys arrive", 30)
    print(f"\nkeys were in force {time.monotonic() - back:.1f} s after the issuer was back")
    assert gateway.ask("/x").status == 401


def test_tokens_outlive_their_issuer(gateway: Running, issuing: IdpServer, published: Published) -> None:
    """With the issuer gone, tokens keep verifying: over failed refreshes, Envoy's death, and a new start."""
    token = issuing.token("user")
    failed = gateway.count(NOT_FETCHED)
    published.shut()
    gateway.wait(NOT_FETCHED, count=failed + 1)
    assert gateway.ask("/x", token).status == 200
    gateway.signal("envoy", signal.SIGKILL)
    gateway.wait("Envoy is back")
    assert gateway.ask("/x", token).status == 200
    assert gateway.stop() == 0
    gateway.start()
    gateway.ready()
    assert gateway.ask("/x", token).status == 200, "the copy on disk was not used at once"
    assert gateway.said("ready")[0]["without_keys"] == []
    assert gateway.ask("/x").status == 401


def test_keys_are_rotated(gateway: Running, issuing: IdpServer, published: Published) -> None:
    """A new key is accepted and a withdrawn one refused within about one refresh, and no valid token ever in between."""
    published.open()
    gateway.until(lambda: gateway.count("keys fetched") > 0, "the issuer is asked again", 15)
    old = issuing.token("user")
    issuing.rotate()
    new = issuing.token("user")
    began = time.monotonic()
    gateway.until(lambda: gateway.ask("/x", new).status == 200, "the new key")
    accepted = time.monotonic() - began
    assert gateway.ask("/x", old).status == 200
    issuing.retire()
    began = time.monotonic()
    gateway.until(lambda: gateway.ask("/x", old).status == 401, "the old key's end")
    refused = time.monotonic() - began
    answer = gateway.ask("/x", old)
    assert json.loads(answer.body)["code"] in ("token-key-unknown", "token-signature")
    assert gateway.ask("/x", new).status == 200
    print(f"\nrefresh {REFRESH_S:g} s: accepted after {accepted:.1f} s, refused after {refused:.1f} s")
    assert max(accepted, refused) < REFRESH_S + 5


def _keys(*keys: dict[str, Any]) -> Callable[[], Answer]:
    return lambda: ok(json.dumps({"keys": list(keys)}).encode())


def _stranger(kid: str, private: bool = False) -> dict[str, Any]:
    key = RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})
    return dict(key.as_dict(private=private))


def nonsense(name: str, issuing: IdpServer, published: Published) -> None:
    """Put something else behind the door."""
    kid = issuing.provider.keys.kid
    present = next(key for key in issuing.provider.keys.jwks()["keys"] if key["kid"] == kid)
    match name:
        case "html":
            published.keys = lambda: ok(b"<!doctype html><title>Welcome</title>")
        case "empty":
            published.keys = _keys()
        case "50 MB":
            published.keys = lambda: ok(b'{"keys": [' + b" " * (50 * MEGABYTE))
        case "one kid twice":
            published.keys = _keys(present, _stranger(kid))
        case "private":
            published.keys = _keys(_stranger(kid, private=True))
        case "only for encryption":
            published.keys = _keys({**_stranger(kid), "use": "enc"})
        case "symmetric":
            published.keys = _keys(
                {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0", "kid": kid, "alg": "HS256"}
            )
        case "error":
            published.keys = lambda: (500, {}, b"broken")
        case "elsewhere":
            published.keys = lambda: (302, {"location": "http://192.0.2.1/keys"}, b"")
        case "another issuer":
            other = json.dumps({"issuer": "https://evil.example", "jwks_uri": f"{published.url}/keys"})
            published.discovery = lambda: ok(other.encode())
        case "discovery html":
            published.discovery = lambda: ok(b"<html>")
        case "no address":
            named = json.dumps({"issuer": issuing.issuer, "jwks_uri": "http://[::1/keys"})
            published.discovery = lambda: ok(named.encode())
        case "to no address":
            published.keys = lambda: (302, {"location": "http://[::1/keys"}, b"")


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("html", "issuer-keys", "JSON"),
        ("empty", "issuer-keys", "empty"),
        ("50 MB", "issuer-answer", "1024 KiB"),
        ("one kid twice", "issuer-keys", "two keys"),
        ("private", "issuer-keys", "private"),
        ("only for encryption", "issuer-keys", "key"),
        ("symmetric", "issuer-keys", "key"),
        ("error", "issuer-status", "500"),
        ("elsewhere", "issuer-redirect", "192.0.2.1"),
        ("another issuer", "issuer-discovery", "https://evil.example"),
        ("discovery html", "issuer-discovery", "JSON"),
        ("no address", "issuer-discovery", "jwks_uri"),
        ("to no address", "issuer-unreachable", "location header"),
    ],
)
def test_nonsense_takes_no_keys_away(
    gateway: Running,
    simple: Content,
    issuing: IdpServer,
    published: Published,
    name: str,
    code: str,
    reason: str,
) -> None:
    """Whatever the issuer publishes by mistake, its last good keys stay in force, and it is said whose and why not."""
    token, stranger = issuing.token("user"), "e30.e30.c2ln"
    published.open()
    gateway.until(lambda: gateway.ask("/x", token).status == 200, "good keys are in force", 30)
    memory = _memory(gateway)
    before = gateway.count(NOT_FETCHED)
    nonsense(name, issuing, published)
    try:
        timeout = f"{9000 + before}ms"
        gateway.reload(content(simple, issuing, published, timeout=timeout))
        said = gateway.wait(NOT_FETCHED, count=before + 1)
        assert said["provider"] == "corporate"
        assert said["code"] == code
        assert reason in said["problem"]
        assert gateway.ask("/x", token).status == 200
        assert gateway.ask("/x", stranger).status == 401
        assert _memory(gateway) < memory + 50 * MEGABYTE
    finally:
        published.good()


def _memory(gateway: Running) -> int:
    """The service's resident bytes."""
    lines = Path(f"/proc/{gateway.child('service')}/status").read_text("utf-8").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024
