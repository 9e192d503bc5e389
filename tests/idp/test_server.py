"""`IdpServer`: where it listens, how it starts and stops, keys that rotate, tokens made for tests."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.realm import S0_REALM, Realm, unverified_claims, unverified_header
from wardgate.idp import IdpServer
from wardgate.problems import ConfigError
from wardgate.verify import (
    Expectation,
    KeySet,
    TokenAudienceWrong,
    TokenExpired,
    TokenKeyUnknown,
    TokenTypeRefused,
    clean_jwks,
    verify,
)

AUDIENCE = "improwised-gatekeeper-client"


def keys_of(idp: IdpServer) -> KeySet:
    """The keys as a gateway would fetch them."""
    answer = httpx.get(f"{idp.issuer}/protocol/openid-connect/certs")
    return clean_jwks(answer.content)


def expectation(idp: IdpServer) -> Expectation:
    return Expectation(issuer=idp.issuer, audiences=(AUDIENCE,))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com", "", "127.0.0.1.example.com"])
def test_loopback_only(host: str) -> None:
    """Any address that another machine could reach is refused before anything listens."""
    with pytest.raises(ConfigError, match=r"loopback addresses only, got .* \[idp-host\]"):
        IdpServer(S0_REALM, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_loopback_addresses(host: str) -> None:
    """Every loopback address will do, and is part of the issuer."""
    with IdpServer(S0_REALM, host=host) as idp, Realm(idp.base_url) as realm:
        assert idp.issuer == f"http://{host}:{idp.port}/realms/improwised-production"
        assert realm.discovery()["issuer"] == idp.issuer


def test_a_port_in_use_is_named() -> None:
    """A taken port is a problem that names it, and says how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127.0.0.1:{port}.*Address already in use") as caught:
            IdpServer(S0_REALM, port=port).start()
    assert "--port" in caught.value.problems[0].hint


def test_the_issuer_does_not_follow_the_host_header() -> None:
    """The issuer is fixed at the start, whatever name a request uses."""
    with IdpServer(S0_REALM) as idp:
        address = f"{idp.issuer}/.well-known/openid-configuration"
        answer = httpx.get(address, headers={"Host": "evil.example"})
        assert answer.json()["issuer"] == idp.issuer


def test_other_addresses() -> None:
    """Another realm, another path and another method are refused in Keycloak's words."""
    with IdpServer(S0_REALM) as idp:
        answers = [
            httpx.get(f"{idp.base_url}/realms/other/protocol/openid-connect/certs"),
            httpx.get(f"{idp.issuer}/nothing"),
            httpx.get(f"{idp.issuer}/protocol/openid-connect/token"),
        ]
        about = httpx.get(idp.issuer).json()
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [
        (404, "Realm does not exist"),
        (404, "HTTP 404 Not Found"),
        (405, "HTTP 405 Method Not Allowed"),
    ]
    assert about["realm"] == "improwised-production"


def test_stopped_and_started_again() -> None:
    """A provider that comes back has its address, its keys and its sessions."""
    idp = IdpServer(S0_REALM).start()
    try:
        issuer, keys = idp.issuer, keys_of(idp)
        with Realm(idp.base_url) as realm:
            tokens = realm.token("user")
        idp.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(issuer)
        idp.start()
        assert idp.issuer == issuer
        assert keys_of(idp) == keys
        with Realm(idp.base_url) as realm:
            renewed = realm.refreshed(tokens)
        assert unverified_claims(renewed.access)["sid"] == unverified_claims(tokens.access)["sid"]
    finally:
        idp.stop()
        idp.stop()


def test_as_an_async_context() -> None:
    """It serves beside a running event loop too."""

    async def ask() -> str:
        async with IdpServer() as idp, httpx.AsyncClient() as client:
            answer = await client.get(f"{idp.issuer}/.well-known/openid-configuration")
            return str(answer.json()["issuer"])

    assert asyncio.run(ask()).endswith("/realms/demo")


def test_rotation() -> None:
    """A new key signs at once; the old one verifies until it is retired."""
    with IdpServer(S0_REALM) as idp:
        old = idp.token("user")
        rotated = httpx.post(f"{idp.issuer}/-/rotate").json()
        new = idp.token("user")
        assert rotated["kid"] == unverified_header(new)["kid"] != unverified_header(old)["kid"]
        assert rotated["published"] == [unverified_header(new)["kid"], unverified_header(old)["kid"]]
        for token in (old, new):
            verify(token, keys=keys_of(idp), expect=expectation(idp), now=datetime.now(UTC))
        assert httpx.post(f"{idp.issuer}/-/retire").json()["published"] == [rotated["kid"]]
        with pytest.raises(TokenKeyUnknown):
            verify(old, keys=keys_of(idp), expect=expectation(idp), now=datetime.now(UTC))
        verify(new, keys=keys_of(idp), expect=expectation(idp), now=datetime.now(UTC))


def test_a_web_page_cannot_rotate() -> None:
    """A request with an Origin comes from a page that someone has open, and is refused."""
    with IdpServer(S0_REALM) as idp:
        kid = idp.provider.keys.kid
        for path in ("rotate", "retire"):
            answer = httpx.post(f"{idp.issuer}/-/{path}", headers={"Origin": "https://evil.example"})
            assert answer.status_code == 403
        assert httpx.get(f"{idp.issuer}/-/rotate").status_code == 405
        assert idp.provider.keys.kid == kid


def test_minted_tokens() -> None:
    """Any claims and any header can be signed by the realm's key: bad tokens with good signatures."""
    with IdpServer(S0_REALM) as idp:
        keys, expect, now = keys_of(idp), expectation(idp), datetime.now(UTC)
        good = idp.claims("user")
        assert verify(idp.mint(good), keys=keys, expect=expect, now=now).subject == good["sub"]
        with pytest.raises(TokenExpired):
            verify(idp.mint(good | {"exp": 1}), keys=keys, expect=expect, now=now)
        with pytest.raises(TokenAudienceWrong):
            verify(idp.mint(good | {"aud": "other"}), keys=keys, expect=expect, now=now)
        with pytest.raises(TokenTypeRefused):
            verify(idp.mint(good, {"typ": "logout+jwt"}), keys=keys, expect=expect, now=now)
        header = unverified_header(idp.mint(good, {"kid": ..., "crit": ["x"]}))
        assert header == {"alg": "RS256", "typ": "JWT", "crit": ["x"]}


def test_tokens_without_http() -> None:
    """Tokens of users and of clients are had in the process, without passwords."""
    with IdpServer(S0_REALM) as idp:
        assert idp.claims("user")["preferred_username"] == "user"
        assert idp.claims("admin", client_id="other-client", scope="openid")["aud"] == "other-api"
        assert idp.claims()["client_id"] == AUDIENCE
        assert set(idp.tokens("user")) >= {"access_token", "id_token", "refresh_token"}
        with pytest.raises(KeyError, match="no user nobody"):
            idp.token("nobody")


def test_the_clock_is_an_argument() -> None:
    """Tokens are made at, and judged by, the time of the clock that was given."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    clock = [moment]
    with IdpServer(S0_REALM, clock=lambda: clock[0]) as idp, Realm(idp.base_url) as realm:
        tokens = realm.token("user")
        assert unverified_claims(tokens.access)["iat"] == int(moment.timestamp())
        clock[0] = moment + timedelta(minutes=31)
        assert realm.get("userinfo", tokens.access).status_code == 401
        renewed = realm.refreshed(tokens)
        # The session lasts an hour in all, so the last access token is cut short.
        assert renewed.answer["expires_in"] == 29 * 60
        clock[0] = moment + timedelta(minutes=61)
        refused = realm.ask(
            grant_type="refresh_token", refresh_token=tokens.refresh, **realm.credentials(AUDIENCE)
        )
        assert refused.json() == {"error": "invalid_grant", "error_description": "Token is not active"}


SERVE = """
import sys
from pathlib import Path
from wardgate.idp import IdpServer
IdpServer(Path(sys.argv[1])).serve_forever(lambda idp: print(idp.issuer, flush=True))
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground(number: signal.Signals) -> None:
    """In the foreground it serves until SIGINT or SIGTERM, and ends in order."""
    command = [sys.executable, "-c", SERVE, str(S0_REALM)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout is not None
            issuer = process.stdout.readline().strip()
            assert httpx.get(f"{issuer}/.well-known/openid-configuration").json()["issuer"] == issuer
            process.send_signal(number)
            assert process.stdout.readline() == "ended\n"
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_the_built_in_realm_is_in_the_package() -> None:
    """Without a file the realm `demo` is served, whose users are `user` and `admin`."""
    with IdpServer() as idp:
        claims = idp.claims("admin")
    assert claims["aud"] == ["demo-gateway", "account"]
    assert {"admin", "user"} <= set(claims["realm_access"]["roles"])
    assert Path("demo-realm.json").exists() is False
