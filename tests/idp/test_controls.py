"""What tests turn at the built-in provider: sessions ended, requests counted, endpoints slowed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import httpx
import pytest

from tests.idp.login_realm import realm
from tests.idp.visitor import Told, Visitor
from wardgate.idp import IdpServer, realm_of
from wardgate.idp.signing_out import CALL_SECONDS


@pytest.fixture
def told() -> Iterator[Told]:
    with Told() as told:
        yield told


@pytest.fixture
def idp(told: Told) -> Iterator[IdpServer]:
    with IdpServer(realm_of(json.dumps(realm("controls", told.url)))) as server:
        yield server


def test_requests_are_counted(idp: IdpServer) -> None:
    """Each endpoint is counted when it is asked, the token endpoint by grant type, refused requests too."""
    with Visitor(idp.issuer) as visitor:
        tokens = visitor.tokens()
        for _ in range(3):
            visitor.refresh(tokens)
        visitor.exchange("nonsense")
        visitor.as_client("token/introspect", token=tokens["access_token"])
        visitor.log_out(id_token_hint=tokens["id_token"])
    httpx.get(f"{idp.issuer}/protocol/openid-connect/certs")
    counts = httpx.get(f"{idp.issuer}/-/counts").json()
    assert counts == idp.counts()
    assert counts == {
        "token": {"authorization_code": 2, "refresh_token": 3},
        "auth": 1,
        "login": 1,
        "introspect": 1,
        "logout": 1,
        "certs": 1,
    }


def test_sessions_end_from_outside(idp: IdpServer, told: Told) -> None:
    """One user's sessions end, or everybody's, and every client is told."""
    with Visitor(idp.issuer) as first, Visitor(idp.issuer) as second:
        tokens = first.tokens()
        second.submit(second.authorize(), "other", "other-password")
        assert httpx.post(f"{idp.issuer}/-/end-sessions", data={"username": "other"}).json() == {"ended": 1}
        assert (first.is_logged_in(), second.is_logged_in()) == (True, False)
        assert len(told.of("/web")) == 1
        assert idp.end_sessions() == 1
        assert not first.is_logged_in()
        assert told.of("/web")[1]["sid"] == tokens["session_state"]
        assert first.refresh(tokens).json()["error_description"] == "Session not active"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_endpoint_answers_late(idp: IdpServer, as_json: bool) -> None:
    """Only the endpoint that was slowed answers late, until it is told otherwise."""
    given = {"endpoint": "certs", "seconds": "0.4"}
    kind = {"json": given} if as_json else {"data": given}
    assert httpx.post(f"{idp.issuer}/-/slow", **kind).json() == {"endpoint": "certs", "seconds": 0.4}  # type: ignore[arg-type]
    certs = f"{idp.issuer}/protocol/openid-connect/certs"
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(certs, timeout=0.2)
    start = time.monotonic()
    assert httpx.get(certs).status_code == 200
    assert time.monotonic() - start >= 0.4
    idp.slow("certs", 0)
    assert httpx.get(certs, timeout=0.2).status_code == 200


@pytest.mark.parametrize(
    "given", [{"endpoint": "x", "seconds": "1"}, {"endpoint": "token", "seconds": "601"}, {}]
)
def test_what_cannot_be_slowed(idp: IdpServer, given: dict[str, str]) -> None:
    """An unknown endpoint or an endless time is refused."""
    assert httpx.post(f"{idp.issuer}/-/slow", data=given).status_code == 400


def test_a_web_page_turns_nothing(idp: IdpServer) -> None:
    """What a browser sends for a page is refused, whatever it asks for."""
    with Visitor(idp.issuer) as visitor:
        visitor.log_in()
        for path in ("end-sessions", "slow"):
            for header in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
                answer = httpx.post(
                    f"{idp.issuer}/-/{path}", data={"endpoint": "token", "seconds": "9"}, headers=header
                )
                assert answer.status_code == 403
        assert visitor.is_logged_in()


def test_a_client_that_never_answers() -> None:
    """A client that takes its call and says nothing delays the logout by a few seconds at most."""
    released = Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            released.wait(30)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    Thread(target=server.serve_forever, daemon=True).start()
    realm_text = json.dumps(realm("silent", f"http://127.0.0.1:{server.server_port}"))
    try:
        with IdpServer(realm_of(realm_text)) as idp, Visitor(idp.issuer) as visitor:
            visitor.tokens()
            start = time.monotonic()
            assert idp.end_sessions() == 1
            assert time.monotonic() - start < CALL_SECONDS + 2
            assert not visitor.is_logged_in()
    finally:
        released.set()
        server.shutdown()
        server.server_close()
