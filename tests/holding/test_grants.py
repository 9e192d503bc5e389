"""
Grants through a real Envoy: one passes one request, for its holder, and nothing else; whatever is away, none passes.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.echo import Echo
from tests.holding.agents import AGENT, REALM, REVIEWER, Agent
from tests.holding.grants import HEADER, GrantGateway, ask, grant, race
from tests.holding.test_agents import service_of
from tests.realm import Realm, unverified_claims, unverified_header
from tests.service.issuer import wait_for
from wardgate.approvals.grants import EMPTY, ISSUER, TYPE, Signer
from wardgate.idp import IdpServer
from wardgate.verify.compact import encode_base64url

pytestmark = pytest.mark.timeout(int(os.environ.get("AGENT_TIMEOUT", "300")))

MANY = int(os.environ.get("GRANTS", "60"))
"""Grants of the race; more by hand."""

HOST = "shop.test"
URL = f"http://{HOST}/orders/7?force=true&x=%2A"


@pytest.fixture(scope="module")
def realm() -> Iterator[tuple[IdpServer, Realm]]:
    with IdpServer(REALM) as idp, Realm(idp.issuer.partition("/realms/")[0], REALM) as realm:
        yield idp, realm


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, realm: tuple[IdpServer, Realm], echo: Echo
) -> Iterator[GrantGateway]:
    with GrantGateway(tmp_path_factory.mktemp("grants"), realm[1].issuer, echo.url) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def agent(gateway: GrantGateway, realm: tuple[IdpServer, Realm]) -> Agent:
    return gateway.as_(realm[1].token(client=AGENT).access)


def send(
    gateway: GrantGateway,
    token: str,
    grant: str | None,
    method: str = "DELETE",
    url: str = URL,
    body: bytes = b"",
    **headers: str,
) -> httpx.Response:
    rest = url.partition("://")[2]
    host, slash, target = rest.partition("/")
    told = {"Host": host, "Authorization": f"Bearer {token}", **headers}
    if grant is not None:
        told[HEADER] = grant
    return httpx.request(method, f"{gateway.url}{slash}{target}", headers=told, content=body, timeout=30)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def test_a_grant_passes_one_request(gateway: GrantGateway, agent: Agent) -> None:
    name = ask(agent, "DELETE", URL)["name"]
    token = grant(agent, name)
    answer = send(gateway, agent.token, token)
    assert answer.status_code == 200
    assert answer.json()["path"] == "/orders/7?force=true&x=%2A"
    assert agent.read(name)["phase"] == "Executing"
    assert code(send(gateway, agent.token, token)) == (403, "grant-spent")
    done = agent.send("POST", f"/agent-requests/{name}/completed", {"success": True})
    assert done.json()["phase"] == "Completed"
    assert agent.send("POST", f"/agent-requests/{name}/grant").status_code == 409


def test_what_it_says(gateway: GrantGateway, agent: Agent) -> None:
    name = ask(agent, "DELETE", URL)["name"]
    token = grant(agent, name)
    assert {key: value for key, value in unverified_header(token).items() if key != "kid"} == {
        "alg": "EdDSA",
        "typ": TYPE,
    }
    claims = unverified_claims(token)
    assert claims["http"] == {
        "method": "DELETE",
        "host": HOST,
        "path": "/orders/7",
        "query": "force=true&x=%2A",
        "bodySha256": EMPTY,
    }
    assert (claims["iss"], claims["aud"], claims["jti"]) == (ISSUER, HOST, name)
    assert claims["sub"] == unverified_claims(agent.token)["sub"] and claims["exp"] - claims["iat"] == 300
    keys = httpx.get(f"{agent.url}/.well-known/jwks.json").json()["keys"]
    assert unverified_header(token)["kid"] in {key["kid"] for key in keys}
    assert all("d" not in key for key in keys)


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("POST", URL, b""),
        ("DELETE", URL.replace("/7", "/8"), b""),
        ("DELETE", URL.replace("true", "false"), b""),
        ("DELETE", URL.partition("?")[0], b""),
        ("DELETE", URL + "&y=1", b""),
        ("DELETE", URL.replace("%2A", "*"), b""),
        ("DELETE", URL.replace("shop.test", "other.test"), b""),
        ("DELETE", URL, b"more"),
        ("DELETE", URL.replace("/7", "/7/"), b""),
    ],
)
def test_for_another_request_it_is_not(
    gateway: GrantGateway, agent: Agent, method: str, url: str, body: bytes
) -> None:
    name = ask(agent, "DELETE", URL)["name"]
    token = grant(agent, name)
    assert code(send(gateway, agent.token, token, method, url, body)) == (403, "grant-mismatch")
    assert agent.read(name)["phase"] == "Approved", "it is not spent"
    assert send(gateway, agent.token, token).status_code == 200


def test_with_its_body(gateway: GrantGateway, agent: Agent) -> None:
    body = json.dumps({"amount": 12}).encode()
    token = grant(agent, ask(agent, "POST", f"http://{HOST}/orders", body)["name"])
    other = send(gateway, agent.token, token, "POST", f"http://{HOST}/orders", b'{"amount": 12000}')
    assert code(other) == (403, "grant-mismatch")
    good = send(gateway, agent.token, token, "POST", f"http://{HOST}/orders", body)
    assert good.status_code == 200 and good.json()["body_length"] == len(body)
    large = b"x" * (64 * 1024 + 1)
    token = grant(agent, ask(agent, "POST", f"http://{HOST}/orders", large)["name"])
    assert send(gateway, agent.token, token, "POST", f"http://{HOST}/orders", large).status_code == 413


def test_of_somebody_else_it_is_not(
    gateway: GrantGateway, agent: Agent, realm: tuple[IdpServer, Realm]
) -> None:
    name = ask(agent, "DELETE", URL)["name"]
    token = grant(agent, name)
    other = realm[1].token(client=REVIEWER).access
    assert code(send(gateway, other, token)) == (403, "grant-holder")
    assert send(gateway, "x", token).status_code == 401
    assert gateway.as_(other).send("POST", f"/agent-requests/{name}/grant").status_code == 403
    assert agent.read(name)["phase"] == "Approved"


def _forged(token: str, key: Ed25519PrivateKey, **header: Any) -> str:
    head = {**unverified_header(token), **header}
    text = ".".join(encode_base64url(json.dumps(part).encode()) for part in (head, unverified_claims(token)))
    return f"{text}.{encode_base64url(key.sign(text.encode()))}"


def test_what_is_none(gateway: GrantGateway, agent: Agent) -> None:
    name = ask(agent, "DELETE", URL)["name"]
    token = grant(agent, name)
    stranger = Ed25519PrivateKey.generate()
    wrong = {
        "no JWT": "x",
        "another key": _forged(token, stranger),
        "an unknown key": _forged(token, stranger, kid="unknown"),
        "no algorithm": _forged(token, stranger, alg="none"),
        "another type": _forged(token, stranger, typ="JWT"),
        "a cut one": token[:-4],
        "two": f"{token},{token}",
        "an access token": agent.token,
    }
    for what, found in wrong.items():
        assert code(send(gateway, agent.token, found)) == (403, "grant-invalid"), what
    assert code(send(gateway, agent.token, None)) == (403, "grant-missing")
    spoofed = send(gateway, agent.token, None, **{"x-wardgate-claims": "|iss=sx|sub=sy|"})
    assert spoofed.status_code in (400, 403)
    assert send(gateway, agent.token, f"Bearer {token}").status_code == 200


def test_expired(tmp_path: Path, realm: tuple[IdpServer, Realm], echo: Echo) -> None:
    store = {"grants-for": "1s"}
    with GrantGateway(tmp_path, realm[1].issuer, echo.url, **store) as gateway:
        agent = gateway.as_(realm[1].token(client=AGENT).access)
        token = grant(agent, ask(agent, "DELETE", URL)["name"])
        time.sleep(7)  # five seconds of leeway
        assert code(send(gateway, agent.token, token)) == (403, "grant-invalid")


def test_an_approval_that_is_taken_back(
    gateway: GrantGateway, agent: Agent, realm: tuple[IdpServer, Realm]
) -> None:
    name = ask(agent, "DELETE", URL)["name"]
    token = grant(agent, name)
    reviewer = gateway.as_(realm[1].token(client=REVIEWER).access)
    assert reviewer.decide(name, "revoke", "no").status_code == 200
    assert code(send(gateway, agent.token, token)) == (403, "grant-spent")


def test_only_what_is_approved_is_granted(tmp_path: Path, realm: tuple[IdpServer, Realm], echo: Echo) -> None:
    policies = {"safety-policies": [{"name": "people", "rules": [{"then": "RequireApproval"}]}]}
    with GrantGateway(tmp_path, realm[1].issuer, echo.url, **policies) as gateway:
        agent = gateway.as_(realm[1].token(client=AGENT).access)
        name = ask(agent, "DELETE", URL)["name"]
        assert agent.send("POST", f"/agent-requests/{name}/grant").status_code == 409
        gateway.as_(realm[1].token(client=REVIEWER).access).decide(name, "approve")
        assert send(gateway, agent.token, grant(agent, name)).status_code == 200
        plain = agent.ask()["name"]
        assert "httpRequest" in agent.send("POST", f"/agent-requests/{plain}/grant").json()["error"]


def test_other_routes_ask_for_none(gateway: GrantGateway, agent: Agent) -> None:
    """And their upstream is not told of one: nobody has looked at it. Whatever else is said of agents is forged."""
    forged = {"X-AIP-Agent": "root", "X.AIP.Authorization": "x", "X-AIP-Authorization-More": "x"}
    url = f"http://{HOST}/other"
    plain = send(gateway, agent.token, None, "GET", url, **forged)
    granted = send(gateway, agent.token, "x", "GET", url, **forged)
    for answer in (plain, granted):
        assert answer.status_code == 200
        assert [name for name, _ in answer.json()["headers"] if "aip" in name.lower()] == []
    token = grant(agent, ask(agent, "DELETE", URL)["name"])
    spent = send(gateway, agent.token, token, **forged)
    assert [name.lower() for name, _ in spent.json()["headers"] if "aip" in name.lower()] == [HEADER.lower()]


@pytest.mark.parametrize(
    "wrong",
    [
        {"targetURI": "k8s://prod/default/x"},
        {"httpRequest": {"method": "delete"}},
        {"httpRequest": {"method": "DELETE", "bodySha256": "x"}},
        {"httpRequest": {}},
    ],
)
def test_what_cannot_be_asked_for(agent: Agent, wrong: dict[str, Any]) -> None:
    body = {"action": "call", "targetURI": URL, "httpRequest": {"method": "DELETE"}, **wrong}
    assert agent.send("POST", "/agent-requests", body).status_code == 400


@contextmanager
def two_replicas(folder: Path, issuer: str, echo: Echo) -> Iterator[tuple[GrantGateway, GrantGateway]]:
    """On one SQLite file."""
    store = f"sqlite:///{folder}/shared.db"
    for name in ("one", "two"):
        (folder / name).mkdir()
    with (
        GrantGateway(folder / "one", issuer, echo.url, store=store) as one,
        GrantGateway(folder / "two", issuer, echo.url, store=store) as two,
    ):
        yield one, two


def test_one_request_for_each_grant_at_two_replicas(
    tmp_path: Path, realm: tuple[IdpServer, Realm], echo: Echo
) -> None:
    """One SQLite file for both; each grant is sent five times at once."""
    with two_replicas(tmp_path, realm[1].issuer, echo) as (one, two):
        answers = race([one, two], realm[1].token(client=AGENT).access, echo, MANY)
        assert all(sorted(each) == [200, 403, 403, 403, 403] for each in answers), answers


def test_at_most_one_while_services_are_killed(
    tmp_path: Path, realm: tuple[IdpServer, Realm], echo: Echo
) -> None:
    """A grant may be lost with its answer; never is it spent twice, and never does anything pass without."""
    with two_replicas(tmp_path, realm[1].issuer, echo) as (one, two):

        def kill() -> None:
            for gateway in (one, two):
                time.sleep(0.3)
                os.kill(service_of(gateway), signal.SIGKILL)

        answers = race([one, two], realm[1].token(client=AGENT).access, echo, MANY, meanwhile=kill)
        assert {status for each in answers for status in each} <= {200, 403, 503}
        assert sum(200 in each for each in answers) > 0


def test_nothing_passes_while_the_service_is_away(
    tmp_path: Path, realm: tuple[IdpServer, Realm], echo: Echo
) -> None:
    with GrantGateway(tmp_path, realm[1].issuer, echo.url) as gateway:
        agent = gateway.as_(realm[1].token(client=AGENT).access)
        token = grant(agent, ask(agent, "DELETE", URL)["name"])
        service = service_of(gateway)
        os.kill(service, signal.SIGSTOP)
        try:
            assert send(gateway, agent.token, token).status_code == 503
        finally:
            os.kill(service, signal.SIGKILL)
        wait_for(lambda: send(gateway, agent.token, token).status_code in (200, 403), "it is back", 30)


def test_keys_are_the_same_for_the_same_seed() -> None:
    assert (
        Signer(b"\0" * 32).public_jwk() == Signer(b"\0" * 32).public_jwk() != Signer(b"\1" * 32).public_jwk()
    )
