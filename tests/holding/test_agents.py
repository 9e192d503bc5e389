"""Requests of agents through a real Envoy: S2's steps, its troubleshooting, what may be sent, and who waits."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.gateway import COMMAND
from tests.holding.agents import AGENT, ASK_PEOPLE, ASKED, REALM, REVIEWER, Agent, AgentGateway
from tests.holding.certificates import Authority
from tests.parts.loopback import free_port
from tests.racing import Lasting, race, ready, record, require_one_end_each
from tests.realm import Realm, unverified_claims
from tests.service.issuer import wait_for
from wardgate.approvals.audit import verified
from wardgate.idp import IdpServer

pytestmark = pytest.mark.timeout(int(os.environ.get("AGENT_TIMEOUT", "300")))

MANY = int(os.environ.get("AGENT_REQUESTS", "100"))
"""Requests of the race; more by hand."""


@pytest.fixture(scope="module")
def realm() -> Iterator[tuple[IdpServer, Realm]]:
    with IdpServer(REALM) as idp, Realm(idp.issuer.partition("/realms/")[0], REALM) as realm:
        yield idp, realm


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, realm: tuple[IdpServer, Realm]
) -> Iterator[AgentGateway]:
    """With a policy that leaves production to people."""
    folder = tmp_path_factory.mktemp("agents")
    with AgentGateway(folder, realm[1].issuer, policies=ASK_PEOPLE) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def agent(gateway: AgentGateway, realm: tuple[IdpServer, Realm]) -> Agent:
    return gateway.as_(realm[1].token(client=AGENT).access)


@pytest.fixture(scope="module")
def reviewer(gateway: AgentGateway, realm: tuple[IdpServer, Realm]) -> Agent:
    return gateway.as_(realm[1].token(client=REVIEWER).access)


def test_s2_steps_5_and_6(tmp_path: Path, realm: tuple[IdpServer, Realm]) -> None:
    """Without a policy, as S2 shows it."""
    with AgentGateway(tmp_path, realm[1].issuer) as gateway:
        assert f"Starting AIP Demo Gateway on 127.0.0.1:{gateway.port}" in gateway.errors()
        agent = gateway.as_(realm[1].token(client=AGENT).access)
        reviewer = gateway.as_(realm[1].token(client=REVIEWER).access)
        answer = agent.send("POST", "/agent-requests", ASKED)
        assert answer.status_code == 201
        found = answer.json()
        assert list(found)[:3] == ["name", "phase", "conditions"]
        assert re.fullmatch(r"aip-agent-1-[a-z0-9]{5}", found["name"])
        assert found["phase"] == "Approved" and found["conditions"]
        assert answer.headers["location"] == f"/agent-requests/{found['name']}"
        approved = reviewer.decide(found["name"], "approve", "approved for maintenance window")
        assert (approved.status_code, approved.json()) == (200, found)
        assert reviewer.decide(found["name"], "deny").status_code == 409


def test_a_person_decides_and_the_agent_who_watches_sees_it(agent: Agent, reviewer: Agent) -> None:
    asked = agent.ask()
    assert asked["phase"] == "Pending"
    with agent.watch(asked["name"]) as events:
        assert next(events)[0] == "update"
        approved = reviewer.decide(asked["name"], "approve", "fine")
        assert (approved.status_code, approved.json()["phase"]) == (200, "Approved")
        kind, data = next(events)
        assert (kind, data["phase"]) == ("result", "Approved")
        assert next(events, None) is None
    with agent.watch(asked["name"], until="end") as events:
        next(events)
        assert agent.send("POST", f"/agent-requests/{asked['name']}/executing").json()["phase"] == "Executing"
        done = agent.send("POST", f"/agent-requests/{asked['name']}/completed", {"result": {"replicas": 1}})
        assert done.json()["result"] == {"success": True, "message": "", "replicas": 1}
        seen = [kind for kind, _ in events]
        assert seen[-1] == "result"


def test_over_tls(tmp_path: Path, realm: tuple[IdpServer, Realm]) -> None:
    authority = Authority("the authority of this test").write(tmp_path / "ca.pem")
    authority.pair("127.0.0.1").write(tmp_path / "tls")
    files = (
        "--tls-certificate",
        str(tmp_path / "tls" / "tls.crt"),
        "--tls-key",
        str(tmp_path / "tls" / "tls.key"),
    )
    trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with AgentGateway(tmp_path, realm[1].issuer, *files) as gateway, httpx.Client(verify=trusted) as client:
        headers = {"Authorization": f"Bearer {realm[1].token(client=AGENT).access}"}
        answer = client.get(f"https://127.0.0.1:{gateway.port}/whoami", headers=headers)
        assert (answer.status_code, answer.json()["identity"]) == (200, AGENT)


def test_what_is_refused_before_it_is_read(gateway: AgentGateway, realm: tuple[IdpServer, Realm]) -> None:
    """S2's troubleshooting: the words that it promises."""
    idp, clients = realm
    good = unverified_claims(clients.token(client=AGENT).access)
    cases = {
        "": (401, "missing Bearer token"),
        "x": (401, "invalid token"),
        idp.mint(good | {"iss": "http://localhost:8090/realms/aip"}): (401, "invalid token"),
        idp.mint(good | {"aud": ["account"]}): (401, "aud claim does not match"),
        idp.mint(good | {"exp": 1}): (401, "invalid token: it has expired"),
        clients.token(client=AGENT).access[:-4] + "AAAA": (401, "invalid token"),
        idp.mint(good | {"azp": "aip-agent-9", "preferred_username": "service-account-aip-agent-9"}): (
            403,
            "agent role required",
        ),
        clients.token(client=REVIEWER).access: (403, "agent role required"),
    }
    for token, expected in cases.items():
        answer = gateway.as_(token).send("POST", "/agent-requests", ASKED)
        assert (answer.status_code, answer.json()) == (expected[0], {"error": expected[1]}), token[:40]
    basic = httpx.get(f"http://127.0.0.1:{gateway.port}/whoami", headers={"Authorization": "Basic eDp5"})
    assert (basic.status_code, basic.json()) == (401, {"error": "missing Bearer token"})
    cookie = httpx.get(
        f"http://127.0.0.1:{gateway.port}/whoami", headers={"Cookie": f"wardgate-session={next(iter(cases))}"}
    )
    assert cookie.status_code == 401

    def told() -> str:
        return " ".join(f"{line['why']} {line['guard']} {line['decided_by']}" for line in gateway.log())

    wanted = ("is_expired", "Audiences", "issuer", "credential-malformed")
    gateway.until(
        lambda: all(why in told() for why in wanted), "the log says why"
    )  # it is written a moment later


def test_a_person_who_logged_in_at_the_agents_client_is_not_the_agent(
    gateway: AgentGateway, realm: tuple[IdpServer, Realm]
) -> None:
    idp, clients = realm
    claims = unverified_claims(clients.token(client=AGENT).access)
    person = {"sub": "alice", "sid": "1", "preferred_username": "alice"}
    answer = gateway.as_(idp.mint(claims | person)).send("POST", "/agent-requests", ASKED)
    assert (answer.status_code, answer.json()) == (403, {"error": "agent role required"})
    told = [event for event in gateway.said("a caller was refused") if event["identity"] == "alice"]
    assert told[-1]["passed_over"].startswith(
        "azp is aip-agent-1, but the token is not one that this client got"
    )


def test_nobody_approves_their_own(tmp_path: Path, realm: tuple[IdpServer, Realm]) -> None:
    both = ("--reviewer-subjects", f"{REVIEWER},{AGENT}")
    with AgentGateway(tmp_path, realm[1].issuer, *both, policies=ASK_PEOPLE) as gateway:
        agent = gateway.as_(realm[1].token(client=AGENT).access)
        name = agent.ask()["name"]
        for decision in ("approve", "deny", "revoke"):
            answer = agent.decide(name, decision)
            assert (answer.status_code, answer.json()) == (
                403,
                {"error": "forbidden: self-approval not permitted"},
            )
        assert agent.read(name)["phase"] == "Pending"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "invalid request body"),
        (b"null", 400, "invalid request body"),
        (b"[]", 400, "invalid request body"),
        (b"{", 400, "not JSON"),
        (b'{"action": "a"}', 400, "action and targetURI are required"),
        (b'{"action": "a", "action": "b", "targetURI": "k8s://x/y"}', 400, "has a key twice"),
        (b'{"action": ["a"], "targetURI": "k8s://x/y"}', 400, "action"),
        (b'{"action": "a", "targetURI": "k8s://x/y", "phase": "Approved"}', 400, "phase: is not known"),
        (b'{"action": "a", "targetURI": "k8s://x/y", "__proto__": {}}', 400, "__proto__: is not known"),
        (b'{"action": "a", "targetURI": "k8s://x/y", "parameters": {"n": 1e400}}', 400, "too large"),
        (b'{"action": "a", "targetURI": "k8s://x/y", "parameters": {"n": NaN}}', 400, "NaN"),
        (b'{"action": "a\\u0000", "targetURI": "k8s://x/y"}', 400, "action"),
        (b'{"action": "a", "targetURI": "k8s://x/../y"}', 400, "dot segment"),
        (
            b'{"action": "a", "targetURI": "k8s://x/y", "agentIdentity": "aip-agent-2"}',
            403,
            "IDENTITY_MISMATCH",
        ),
        (b'{"action": "a", "targetURI": "k8s://x/y", "reason": "\xff"}', 400, "not UTF-8"),
        (b" " * 300_000, 413, ""),
    ],
)
def test_bodies(agent: Agent, body: bytes, status: int, says: str) -> None:
    answer = agent.send("POST", "/agent-requests", body)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_decisions_take_a_reason_and_nothing_else(agent: Agent, reviewer: Agent) -> None:
    """APPR-045 to 059."""
    name = agent.ask()["name"]
    path = f"/agent-requests/{name}/approve"
    for body in (
        b"null",
        b"[]",
        b'{"decision": "approve"}',
        b'{"reason": ["x"]}',
        b'{"reason": "a", "reason": "b"}',
    ):
        assert reviewer.send("POST", path, body).status_code == 400
    assert agent.read(name)["phase"] == "Pending"
    assert reviewer.send("POST", path).status_code == 200


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..;", "' OR 1=1--", "NAME", "name%20"])
def test_other_names(agent: Agent, reviewer: Agent, name: str) -> None:
    """APPR-032 to 041."""
    known = agent.ask()["name"]
    other = name.replace("NAME", known.upper()).replace("name", known)
    answer = reviewer.send("POST", f"/agent-requests/{other}/approve", {"reason": ""})
    assert answer.status_code in (400, 403, 404)
    assert agent.read(known)["phase"] == "Pending"


def test_what_was_filed_cannot_be_edited(agent: Agent) -> None:
    """APPR-075."""
    name = agent.ask()["name"]
    for method in ("PUT", "PATCH", "DELETE"):
        assert agent.send(method, f"/agent-requests/{name}", {"action": "other"}).status_code == 405


def test_lists_and_the_record(
    gateway: AgentGateway, agent: Agent, reviewer: Agent, realm: tuple[IdpServer, Realm]
) -> None:
    names = [agent.ask(action=f"a{number}")["name"] for number in range(5)]
    first = agent.send("GET", "/agent-requests?limit=3&phase=Pending").json()
    assert [one["name"] for one in first["items"]] == names[:1:-1]
    second = agent.send("GET", f"/agent-requests?limit=2&cursor={first['next']}").json()
    assert [one["name"] for one in second["items"]] == names[1::-1]
    for query in ("limit=0", "limit=x", "cursor=-1", "phase=pending"):
        assert agent.send("GET", f"/agent-requests?{query}").status_code == 400
    stranger = realm[0].mint(
        unverified_claims(agent.token) | {"azp": "x", "preferred_username": "x", "sub": "x"}
    )
    assert gateway.as_(stranger).send("GET", "/agent-requests?all=1").status_code == 403
    assert agent.send("GET", "/audit-records").status_code == 403
    assert [
        one["event"] for one in reviewer.send("GET", f"/audit-records?request={names[0]}").json()["items"]
    ] == ["filed"]
    assert verified(record(reviewer))[0] >= 5


def test_a_flood_is_told_to_wait(tmp_path: Path, realm: tuple[IdpServer, Realm]) -> None:
    """APPR-074."""
    with AgentGateway(tmp_path, realm[1].issuer) as gateway:
        agent = gateway.as_(realm[1].token(client=AGENT).access)
        first = agent.ask()["name"]
        with httpx.Client(headers={"Authorization": f"Bearer {agent.token}"}, timeout=30) as client:
            # what is not even JSON counts, and is answered fast enough on any machine
            answers = [client.post(f"{agent.url}/agent-requests").status_code for _ in range(600)]
        assert set(answers) == {415, 429}
        assert agent.read(first)["phase"] == "Approved"


def test_policies_are_read_again_and_wrong_ones_change_nothing(
    tmp_path: Path, realm: tuple[IdpServer, Realm]
) -> None:
    with AgentGateway(tmp_path, realm[1].issuer, policies=ASK_PEOPLE) as gateway:
        agent = gateway.as_(realm[1].token(client=AGENT).access)
        assert agent.ask()["phase"] == "Pending"
        gateway.write(ASK_PEOPLE.replace("RequireApproval", "Maybe"))
        wait_for(lambda: "safety-form" in gateway.errors(), "the problem is printed", 20)
        assert (
            f"{tmp_path / 'policies.yaml'}:4: safety-policies[0].rules[0].then: should be" in gateway.errors()
        )
        assert agent.ask()["phase"] == "Pending"
        gateway.reload(ASK_PEOPLE.replace("RequireApproval", "Deny"))
        wait_for(lambda: agent.ask()["phase"] == "Denied", "the new policy holds", 20)


def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    tmp_path: Path, realm: tuple[IdpServer, Realm]
) -> None:
    """
    Requests, and two reviewers with opposite votes, while the service is killed again and again: each acknowledged answer
    holds, each request has one end, the record tells each decision once.
    """
    both = ("--reviewer-groups", "reviewers")
    with ExitStack() as stack, AgentGateway(tmp_path, realm[1].issuer, *both, policies=ASK_PEOPLE) as gateway:
        agent = gateway.as_(realm[1].token(client=AGENT).access)
        claims = unverified_claims(realm[1].token(client=REVIEWER).access)
        person = {"sid": "1", "groups": ["reviewers"]}

        def somebody(fetch: Callable[[], str]) -> Callable[[], Agent]:
            lasting = Lasting(fetch)
            return lambda: gateway.as_(lasting(), http)

        def reviewer(number: int) -> str:
            now = {"iat": int(time.time()), "exp": int(time.time()) + 300}
            return realm[0].mint(claims | person | {"sub": f"person-{number}"} | now)

        asking = somebody(lambda: realm[1].token(client=AGENT).access)
        reviewers = [somebody(lambda: reviewer(1)), somebody(lambda: reviewer(2))]
        http = stack.enter_context(httpx.Client(timeout=30))
        done = threading.Event()

        def kill() -> None:
            for _ in range(6 + MANY // 200):
                while not done.wait(0.1) and not ready(agent):
                    pass
                if done.wait(random.uniform(0.1, 1.0) * max(1.0, MANY / 1000)):
                    return
                os.kill(service_of(gateway), signal.SIGKILL)

        killing = threading.Thread(target=kill)
        killing.start()
        try:
            answers = race(asking, reviewers, MANY)
        finally:
            done.set()
            killing.join()
        wait_for(lambda: ready(agent), "the service is back", 20)
        require_one_end_each(reviewers[0](), answers)


def service_of(gateway: AgentGateway) -> int:
    """The process of the service; waits for one."""
    found: list[int] = []

    def there() -> bool:
        listed = subprocess.run(
            ["ps", "--ppid", str(gateway.process.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        found[:] = [int(line.split()[0]) for line in listed.splitlines() if "wardgate.service" in line]
        return bool(found)

    wait_for(there, "a service", 20)
    return found[0]


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        ([], 2, "aip-setting"),
        (["--oidc-issuer-url", "http://127.0.0.1:{port}/realms/none"], 2, "approvals-members"),
        (
            ["--oidc-issuer-url", "http://127.0.0.1:{port}/realms/none", "--agent-subjects", "a"],
            1,
            "OIDC setup failed: oidc provider: ",
        ),
        (["--oidc-issuer-url", "ftp://x", "--agent-subjects", "a", "--pending-for", "soon"], 2, "duration"),
        (
            [
                "--oidc-issuer-url",
                "http://x",
                "--agent-subjects",
                "a",
                "--store",
                "mysql://u:secret-word@h/d",
            ],
            2,
            "store",
        ),
        (
            ["--oidc-issuer-url", "http://x", "--agent-subjects", "a", "--agent-owners", "alice"],
            2,
            "AGENT=PERSON",
        ),
    ],
)
def test_what_keeps_it_from_starting(tmp_path: Path, flags: list[str], code: int, says: str) -> None:
    given = [flag.format(port=free_port()) for flag in flags]
    done = subprocess.run(
        [str(COMMAND), "aip-gateway", *given, "--state-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr and "secret-word" not in done.stderr


def test_the_realm_of_another_issuer_is_no_setup(tmp_path: Path, realm: tuple[IdpServer, Realm]) -> None:
    other = realm[1].issuer.replace("127.0.0.1", "localhost")
    done = subprocess.run(
        [
            str(COMMAND),
            "aip-gateway",
            "--oidc-issuer-url",
            other,
            "--agent-subjects",
            "a",
            "--state-dir",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("OIDC setup failed: oidc provider: the discovery document is refused")


def test_the_api_is_as_it_describes_itself(agent: Agent) -> None:
    """schemathesis: no 5xx, no status and no body that the description does not have."""
    described = httpx.get(f"{agent.url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(described)
    headers = {"Authorization": f"Bearer {agent.token}"}
    seen: set[int] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/watch"):
            continue  # it does not end

        @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @schemathesis_given(operation)
        def holds(case: Any) -> None:
            answer = case.call(base_url=agent.url, headers=headers)
            seen.add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)

        holds()
    assert {200, 400, 404} <= seen
    assert json.dumps(described)


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
"""That a body of the right form can still be refused (a target that is no URI) is as it should be."""


def schemathesis_given(operation: Any) -> Any:
    from hypothesis import given

    return given(case=operation.as_strategy())
