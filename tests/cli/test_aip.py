"""`wardgate aip` against a gateway that runs: ask, decide, watch, and the record; and what it says where it cannot."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway import COMMAND
from tests.holding.agents import AGENT, ASK_PEOPLE, REALM, REVIEWER, AgentGateway
from tests.parts.loopback import free_port
from wardgate.agent import AgentClient, ClientCredentials, NotAllowed
from wardgate.idp import IdpServer
from wardgate.problems import Unavailable

pytestmark = pytest.mark.timeout(180)

SECRETS = {AGENT: "agent-1-secret", REVIEWER: "reviewer-1-secret"}
PROD, DEV = "k8s://prod/default/deployment/api", "k8s://dev/default/deployment/api"


@pytest.fixture(scope="module")
def idp() -> Iterator[IdpServer]:
    with IdpServer(REALM) as idp:
        yield idp


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, idp: IdpServer) -> Iterator[AgentGateway]:
    with AgentGateway(tmp_path_factory.mktemp("aip"), idp.issuer, policies=ASK_PEOPLE) as gateway:
        yield gateway


def run(gateway: AgentGateway, idp: IdpServer, who: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    caller = ["--url", f"http://127.0.0.1:{gateway.port}", "--issuer", idp.issuer, "--client-id", who]
    return command(*arguments, *caller, "--client-secret", SECRETS[who])


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(COMMAND), "aip", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done


def client(gateway: AgentGateway, idp: IdpServer, who: str, **more: Any) -> AgentClient:
    return AgentClient(
        f"http://127.0.0.1:{gateway.port}", ClientCredentials(idp.issuer, who, SECRETS[who]), **more
    )


def test_from_request_to_record(gateway: AgentGateway, idp: IdpServer) -> None:
    asked = run(gateway, idp, AGENT, "request", "scale", PROD, "--reason", "why", "--parameters", '{"n": 1}')
    assert asked.returncode == 0
    found = json.loads(asked.stdout)
    assert (found["phase"], found["parameters"]) == ("Pending", {"n": 1})
    listed = run(gateway, idp, REVIEWER, "list", "--phase", "Pending")
    assert f"Pending    {found['name']}  scale  {PROD}" in listed.stdout
    assert (
        run(gateway, idp, AGENT, "approve", found["name"]).stderr == "refused: reviewer role required (403)\n"
    )
    approved = run(gateway, idp, REVIEWER, "approve", found["name"], "--reason", "fine")
    assert json.loads(approved.stdout)["phase"] == "Approved"
    assert run(gateway, idp, REVIEWER, "deny", found["name"]).returncode == 1
    revoked = run(gateway, idp, REVIEWER, "revoke", found["name"], "--reason", "no")
    assert json.loads(revoked.stdout)["phase"] == "Denied"
    assert "Denied" in run(gateway, idp, AGENT, "watch", found["name"]).stdout


def test_policies_are_explained(tmp_path: Path) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(
        """
safety-policies:
  - name: deployments
    approvals: 2
    reviewer-groups: [sre]
    rules:
      - {name: reads, actions: [get], then: Allow}
      - {name: production, targets: ["k8s://prod/**"], then: RequireApproval, message: ask two}
      - {name: nights, window: {from: "22:00", to: "06:00"}, then: Deny, message: at night nobody}
      - {name: odd, when: "request.spec.parameters.n > 3", then: Deny}
""",
        "utf-8",
    )
    day = ("--at", "2026-11-26T12:00")
    asked = ("explain", "scale", PROD, "-c", str(file), "--parameters", '{"n": 1}')
    found = command(*asked, *day)
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    assert [line[:5] for line in lines[:4]] == ["  no ", "  yes", "  no ", "  no "]
    assert lines[1].endswith("policies.yaml:8: safety-policies[0].rules[1])")
    assert lines[4:] == ["RequireApproval: ask two", "2 must agree, each in sre"]
    night = command(*asked, "--at", "2026-11-26T23:30")
    assert night.stdout.splitlines()[-1] == "Deny: at night nobody"
    untold = command(*asked[:-2], *day)
    assert "???" in untold.stdout and untold.stdout.splitlines()[-1].startswith(
        "Deny: rule odd could not be judged"
    )
    assert command("explain", "get", DEV, "-c", str(file), "--parameters", '{"n": 1}', *day).returncode == 0
    native = tmp_path / "wardgate.yaml"
    native.write_text(
        """
provider: {issuer: "https://id.test/realms/aip", audience: aip-gateway}
approvals:
  listen: 127.0.0.1:8080
  agents: {subjects: [a]}
  safety-policies: [{name: people, rules: [{then: RequireApproval}]}]
""",
        "utf-8",
    )
    assert command("explain", "get", DEV, "-c", str(native)).stdout.splitlines()[-1] == "1 must agree"
    assert command("explain", "get", "nowhere", "-c", str(file)).returncode == 2


def test_a_grant(gateway: AgentGateway, idp: IdpServer) -> None:
    asked = run(gateway, idp, AGENT, "request", "call", "https://shop.test/orders/7", "--method", "DELETE")
    name = json.loads(asked.stdout)["name"]
    granted = run(gateway, idp, AGENT, "grant", name)
    assert granted.returncode == 0 and granted.stdout.count(".") == 2
    assert (
        "httpRequest"
        in run(
            gateway,
            idp,
            AGENT,
            "grant",
            json.loads(run(gateway, idp, AGENT, "request", "read", DEV).stdout)["name"],
        ).stderr
    )


def test_a_request_can_wait(gateway: AgentGateway, idp: IdpServer) -> None:
    def deny() -> None:
        with client(gateway, idp, REVIEWER) as reviewer:
            for _ in range(200):
                for one in reviewer.listed("Pending"):
                    if one["action"] == "wait-for-it":
                        reviewer.decide(one["name"], "deny", "no")
                        return
                time.sleep(0.05)

    denying = threading.Thread(target=deny)
    denying.start()
    waited = run(gateway, idp, AGENT, "request", "wait-for-it", PROD, "--wait")
    denying.join()
    assert (waited.returncode, json.loads(waited.stdout)["phase"]) == (1, "Denied")


def test_the_record_is_verified_and_exported(gateway: AgentGateway, idp: IdpServer, tmp_path: Path) -> None:
    with client(gateway, idp, AGENT) as agent:
        name = agent.ask("read", DEV)["name"]
        agent.begin(name)
        agent.complete(name, result={"x": 1})
    state = gateway.folder / "state"
    good = command("audit", "verify", "--state-dir", str(state))
    assert good.returncode == 0 and "each follows the one before it" in good.stdout
    exported = [json.loads(line) for line in command("export", "--state-dir", str(state)).stdout.splitlines()]
    assert [one["event"] for one in exported if one["request"] == name] == ["filed", "executing", "completed"]
    with client(gateway, idp, REVIEWER) as reviewer:
        assert [one["hash"] for one in reviewer.record()] == [one["hash"] for one in exported]
    assert exported[-1]["hash"] in good.stdout
    copy = tmp_path / "approvals.db"
    with sqlite3.connect(state / "approvals.db") as running, sqlite3.connect(copy) as backup:
        running.backup(backup)  # a backup of a gateway that runs
        backup.execute("DROP TRIGGER audit_no_update")
        backup.execute("UPDATE audit SET body = replace(body, 'read', 'kill') WHERE request = ?", (name,))
    running.close()
    backup.close()
    bad = command("audit", "verify", "--state-dir", str(tmp_path))
    assert bad.returncode == 1 and f"(filed of {name}) was changed" in bad.stderr


def test_past_requests_are_judged_by_other_policies(idp: IdpServer, tmp_path: Path) -> None:
    with AgentGateway(tmp_path, idp.issuer, policies=ASK_PEOPLE) as gateway:
        with client(gateway, idp, AGENT) as agent:
            first = agent.ask("scale", PROD)["name"]
            others = [agent.ask("read", DEV)["name"] for _ in range(3)]
        state = ("--state-dir", str(tmp_path / "state"))
        same = command("replay", "-c", str(tmp_path / "policies.yaml"), *state)
        assert (same.returncode, same.stdout) == (0, "4 requests, 0 would be decided otherwise\n")
        other = tmp_path / "other.yaml"
        limit = "{name: twice, actions: [read], rate: {limit: 2, window: 1h, per: action}, then: Deny, message: twice}"
        other.write_text(f"safety-policies: [{{name: p, rules: [{limit}]}}]", "utf-8")
        found = command("replay", "-c", str(other), *state)
        assert found.returncode == 1
        assert found.stdout.splitlines() == [
            f"{first}  aip-agent-1  scale  {PROD}: RequireApproval then, Allow now",
            f"{others[2]}  aip-agent-1  read  {DEV}: Allow then, Deny now (twice)",
            "4 requests, 2 would be decided otherwise",
        ]
        other.write_text("safety-policies: []", "utf-8")
        assert command("replay", "-c", str(other), *state).returncode == 2


def test_a_token_is_renewed_before_it_ends(idp: IdpServer) -> None:
    now = [0.0]
    bearer = ClientCredentials(idp.issuer, AGENT, SECRETS[AGENT], clock=lambda: now[0])
    first = bearer()
    now[0] = 269.0
    assert bearer() == first
    now[0] = 271.0
    assert bearer() != first


def test_what_is_not_answered_is_asked_again_and_filed_once(gateway: AgentGateway, idp: IdpServer) -> None:
    with client(gateway, idp, AGENT) as agent:
        agent._http.event_hooks = {"response": [_lose_the_first()]}
        name = agent.ask("lost-and-found", DEV)["name"]
        assert [one["name"] for one in agent.listed() if one["action"] == "lost-and-found"] == [name]
        with pytest.raises(NotAllowed, match=r"AgentRequest not found \(404\)"):
            agent.read("nothing")
    bearer = ClientCredentials(idp.issuer, AGENT, SECRETS[AGENT])
    with (
        AgentClient(f"http://127.0.0.1:{free_port()}", bearer, patience_s=0.5) as away,
        pytest.raises(Unavailable),
    ):
        away.whoami()


def _lose_the_first() -> Any:
    """The gateway has done it, and its answer never arrives."""
    lost: list[httpx.Response] = []

    def hook(answer: httpx.Response) -> None:
        if not lost:
            lost.append(answer)
            raise httpx.ReadError("lost")

    return hook


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["list"], 2, "aip-caller"),
        (["request", "a", DEV, "--parameters", "[]", "--token", "x"], 2, "aip-parameters"),
        (["audit", "verify", "--state-dir", "/nonexistent"], 2, "file-unreadable"),
        (["export", "--store", "postgresql://u:secret-word@127.0.0.1:1/d"], 1, "cannot be opened"),
    ],
)
def test_what_it_cannot_do(arguments: list[str], code: int, says: str) -> None:
    done = command(*arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "secret-word" not in done.stderr
