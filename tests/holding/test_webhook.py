"""The webhook of requests that wait for people: signed, told again, and by nobody twice at once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.holding.agents import AGENT, ASK_PEOPLE, REALM, REVIEWER, AgentGateway
from tests.holding.test_agents import service_of
from tests.realm import Realm
from tests.service.issuer import wait_for
from wardgate.idp import IdpServer

pytestmark = pytest.mark.timeout(120)

SECRET = b"secret-word-of-a-webhook"


@dataclass
class Receiver:
    """Answers with `status`, and keeps what came."""

    status: int = 204
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def names(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.heard]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    with IdpServer(REALM) as idp, Realm(idp.issuer.partition("/realms/")[0], REALM) as realm:
        yield realm


def gateway(folder: Path, realm: Realm, receiver: Receiver, *flags: str) -> AgentGateway:
    env = {"WARDGATE_WEBHOOK_SECRET": SECRET.decode()}
    url = f"http://127.0.0.1:{receiver.port}/hook?of=agents"
    return AgentGateway(folder, realm.issuer, "--webhook-url", url, *flags, policies=ASK_PEOPLE, env=env)


def test_what_waits_is_told_once_and_signed(tmp_path: Path, realm: Realm, receiver: Receiver) -> None:
    with gateway(tmp_path, realm, receiver) as running:
        agent = running.as_(realm.token(client=AGENT).access)
        name = agent.ask()["name"]
        agent.ask(targetURI="k8s://dev/default/x")  # approved at once: nobody has to hear of it
        wait_for(lambda: receiver.heard, "it is told", 10)
        time.sleep(3)
        assert receiver.names == [name]
        headers, body = receiver.heard[0]
        said = json.loads(body)
        assert (said["type"], said["data"]["name"], said["data"]["phase"]) == (
            "agent-request.pending",
            name,
            "Pending",
        )
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert abs(time.time() - int(headers["webhook-timestamp"])) < 60
        assert SECRET.decode() not in running.errors()
        figures = running.metrics()
        assert figures['wardgate_agent_requests_total{event="filed"}'] == 2
        assert figures["wardgate_agent_requests_pending"] == 1
        assert figures["wardgate_webhook_deliveries_pending"] == 0


def test_it_is_tried_again_after_a_refusal_and_a_kill(
    tmp_path: Path, realm: Realm, receiver: Receiver
) -> None:
    receiver.status = 500
    with gateway(tmp_path, realm, receiver) as running:
        name = running.as_(realm.token(client=AGENT).access).ask()["name"]
        wait_for(lambda: receiver.heard, "it is tried", 10)
        os.kill(service_of(running), signal.SIGKILL)
        receiver.status = 200
        wait_for(lambda: len(receiver.heard) == 2, "it is tried again", 40)
        assert receiver.names == [name, name]


def test_what_was_decided_is_not_told_again(tmp_path: Path, realm: Realm, receiver: Receiver) -> None:
    receiver.status = 500
    with gateway(tmp_path, realm, receiver) as running:
        name = running.as_(realm.token(client=AGENT).access).ask()["name"]
        wait_for(lambda: receiver.heard, "it is tried", 10)
        running.as_(realm.token(client=REVIEWER).access).decide(name, "deny")
        time.sleep(18)
        assert len(receiver.heard) == 1


def test_two_replicas_tell_it_once(tmp_path: Path, realm: Realm, receiver: Receiver) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    store = ("--store", f"sqlite:///{tmp_path}/shared.db")
    with (
        gateway(tmp_path / "one", realm, receiver, *store) as one,
        gateway(tmp_path / "two", realm, receiver, *store) as two,
    ):
        agents = [each.as_(realm.token(client=AGENT).access) for each in (one, two)]
        names = [agents[number % 2].ask()["name"] for number in range(20)]
        wait_for(lambda: len(receiver.heard) >= 20, "all are told", 20)
        time.sleep(3)
        assert sorted(receiver.names) == sorted(names)
