"""S4: an AgentgatewayPolicy before an application, with tokens of real Keycloak: its statuses, and its bodies letter by letter."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.echo import Echo
from tests.holding.manifests import Manifests, example
from tests.realm import SHORT_LIVED_CLIENT, Realm, unverified_claims, unverified_header
from tests.sending import Answer, send
from tests.verify.issuer import sign

pytestmark = pytest.mark.timeout(300)

NONE: Final = b"authentication failure: no bearer token found"
INVALID: Final = "authentication failure: the token is invalid or malformed: Error({})"
MALFORMED: Final = b"authentication failure: the token header is malformed: Error(InvalidToken)"
LEEWAY_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    gateway: Manifests
    application: Echo

    def ask(self, *headers: tuple[str, str], host: str = "www.example.com", path: str = "/headers") -> Answer:
        """As curl does."""
        usual = [("Host", host), ("User-Agent", "curl/8.7.1"), ("Accept", "*/*")]
        return send(self.gateway.port, "GET", path, [*usual, *headers])

    def bearer(self, token: str) -> Answer:
        return self.ask(("Authorization", f"Bearer {token}"))


@contextmanager
def served(folder: Path, realm: Realm, policy: str) -> Iterator[Site]:
    files = {**example("agentgateway"), "policy.yaml": policy}
    server, _, name = realm.issuer.partition("/realms/")
    with Echo() as application:
        resolve = {
            "httpbin/httpbin:8000": application.url.removeprefix("http://"),
            "keycloak/keycloak:8080": server.removeprefix("http://"),
        }
        env = {
            "KEYCLOAK_ISSUER": realm.issuer,
            "KEYCLOAK_JWKS_PATH": f"/realms/{name}/protocol/openid-connect/certs",
        }
        with Manifests(folder, files, resolve, env) as gateway:
            yield Site(gateway=gateway, application=application)


POLICY: Final = example("agentgateway")["policy.yaml"]


@pytest.fixture(scope="module")
def site(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("s4"), realm, POLICY) as site:
        yield site


def test_without_a_token(site: Site) -> None:
    """S4's first curl line: the status, the headers and the body that it prints."""
    answer = site.ask()
    assert (answer.status, answer.body) == (401, NONE)
    assert answer.header("content-type") == "text/plain"
    assert answer.header("content-length") == "45"
    assert answer.header("www-authenticate") is None
    assert not site.application.arrivals()


def test_with_a_token(site: Site, realm: Realm) -> None:
    """S4's second: 200, and the application sees no more than S4 shows; the token is not passed on."""
    answer = site.bearer(realm.token("user").access)
    assert answer.status == 200
    arrival = site.application.arrivals()[-1]
    assert arrival.path == "/headers"
    assert sorted((name.lower(), value) for name, value in arrival.headers) == [
        ("accept", "*/*"),
        ("host", "www.example.com"),
        ("user-agent", "curl/8.7.1"),
    ]


def test_bad_tokens(site: Site, realm: Realm) -> None:
    """Each in the product's words."""
    expired = realm.token("user", client=SHORT_LIVED_CLIENT).access
    good = realm.token("user").access
    header, payload, signature = good.split(".")
    flipped = ("A" if signature[20] != "A" else "B").join((signature[:20], signature[21:]))
    claims, kid = unverified_claims(good), unverified_header(good)["kid"]
    unknown = _signed(claims, "key-of-nobody")
    elsewhere = _signed({**claims, "iss": "https://elsewhere.test"}, kid)
    time.sleep(max(0.0, unverified_claims(expired)["exp"] + LEEWAY_S + 2 - time.time()))
    expected = {
        f"Bearer {expired}": INVALID.format("ExpiredSignature").encode(),
        f"Bearer {header}.{payload}.{flipped}": INVALID.format("InvalidSignature").encode(),
        f"Bearer {unknown}": b'authentication failure: token uses the unknown key "key-of-nobody"',
        f"Bearer {elsewhere}": INVALID.format("InvalidIssuer").encode(),
        "Bearer not-a-token": MALFORMED,
        "Basic dXNlcjpwYXNz": NONE,
    }
    before = len(site.application.arrivals())
    for value, body in expected.items():
        answer = site.ask(("Authorization", value))
        assert (answer.status, answer.body) == (401, body), value[:40]
        assert answer.header("www-authenticate") is None
    assert len(site.application.arrivals()) == before


def _signed(claims: dict[str, Any], kid: str) -> str:
    """By a key that is no issuer's."""
    return sign(claims, {"alg": "RS256", "typ": "JWT", "kid": kid})


def test_what_no_route_is_for(site: Site) -> None:
    """Another host, in the product's words."""
    answer = site.ask(host="other.example.com")
    assert (answer.status, answer.body) == (404, b"route not found")


@pytest.mark.parametrize(("mode", "bad"), [("Optional", 401), ("Permissive", 200)])
def test_modes_that_let_anonymous_pass(
    mode: str, bad: int, realm: Realm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a token one passes; with a bad one under Permissive only, and as nobody."""
    policy = POLICY.replace("mode: Strict", f"mode: {mode}")
    with served(tmp_path_factory.mktemp(mode), realm, policy) as site:
        assert site.ask().status == 200
        assert site.bearer(realm.token("user").access).status == 200
        assert site.bearer("not-a-token").status == bad
        assert not any(arrival.values("authorization") for arrival in site.application.arrivals())
        assert site.ask(path="/a/..%2fb").status == 400  # what guards every path guards here, too


def test_several_providers_and_keys_in_the_policy(
    realm: Realm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each issuer's tokens by its own keys; one whose keys cannot be fetched hurts its own tokens only."""
    keys = httpx.get(f"{realm.issuer}/protocol/openid-connect/certs").text
    inline = "jwks: {inline: '" + json.dumps(json.loads(keys)) + "'}"
    head, _, _ = POLICY.partition("          jwks:\n")
    away = (
        '        - issuer: "https://away.test"\n          jwks: {remote: {jwksPath: /keys, '
        "backendRef: {name: keycloak, namespace: keycloak, port: 1}}}\n"
    )
    around = example("agentgateway")["around.yaml"]
    assert "port: 8080" in around
    policy = f"{head}          {inline}\n{away}"
    with served(tmp_path_factory.mktemp("several"), realm, policy) as site:
        token = realm.token("user").access
        assert site.bearer(token).status == 200
        other = _signed({**unverified_claims(token), "iss": "https://away.test"}, "any")
        assert site.bearer(other).status in (401, 503)
        assert site.ask().status == 401
