"""A gateway with an application behind it that takes one request for each grant, and the agents that ask for them."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import httpx

from tests.echo import CASE_HEADER, Echo
from tests.holding.agents import AGENT, REVIEWER, Agent
from tests.holding.running import Running
from tests.parts.loopback import free_port

HEADER = "X-AIP-Authorization"


class GrantGateway(Running):
    """`/orders/**` requires grants; where agents ask is `api`. `changed` are keys of the file."""

    def __init__(self, folder: Path, issuer: str, upstream: str, *, store: str = "", **changed: Any) -> None:
        self.api_port = free_port()
        approvals: dict[str, Any] = {
            "listen": f"127.0.0.1:{self.api_port}",
            "agents": {"subjects": [AGENT, "aip-agent-9"]},
            "reviewers": {"subjects": [REVIEWER]},
            **({"store": store} if store else {}),
            **changed,
        }
        content: dict[str, Any] = {
            "provider": {"issuer": issuer, "audience": "aip-gateway"},
            "upstream": upstream,
            "routes": [
                {
                    "path": "/orders/**",
                    "allow": "authenticated",
                    "require-grant": True,
                    "body-limit": "64KiB",
                },
                {"path": "/**", "allow": "authenticated"},
            ],
            "approvals": approvals,
        }
        super().__init__(folder, content)

    def ready(self) -> Self:
        super().ready()
        self.wait("keys fetched", seconds=40)
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def as_(self, token: str) -> Agent:
        return Agent(url=f"http://127.0.0.1:{self.api_port}", token=token)


def ask(agent: Agent, method: str, url: str, body: bytes = b"", **more: Any) -> dict[str, Any]:
    """A request for the right to send that, once."""
    digest = {"bodySha256": hashlib.sha256(body).hexdigest()} if body else {}
    wanted = {"action": "call", "targetURI": url, "httpRequest": {"method": method, **digest}, **more}
    answer = _patiently(agent, "/agent-requests", wanted)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def grant(agent: Agent, name: str) -> str:
    answer = _patiently(agent, f"/agent-requests/{name}/grant")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["grant"])


def _patiently(agent: Agent, path: str, body: Any = None) -> httpx.Response:
    """Again while the agent is told that it asks too often."""
    while (answer := agent.send("POST", path, body)).status_code == 429:
        time.sleep(0.2)
    return answer


def race(
    gateways: list[GrantGateway],
    agent: str,
    echo: Echo,
    many: int,
    each: int = 5,
    at_once: int = 40,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """
    `many` approvals, each grant sent `each` times at once to all gateways by turns: the statuses of each. `meanwhile`
    is done once they are on their way. As many reach the application as are answered with 200, unless an answer was lost.
    """
    case = secrets.token_hex(8)
    with (
        ThreadPoolExecutor(at_once) as pool,
        httpx.Client(timeout=60, limits=httpx.Limits(max_connections=200)) as client,
    ):

        def one(number: int) -> str:
            name = ask(
                gateways[number % len(gateways)].as_(agent), "POST", f"http://shop.test/orders/{number}?n=1"
            )
            return grant(gateways[(number + 1) % len(gateways)].as_(agent), name["name"])

        tokens = list(pool.map(one, range(many)))

        def send(job: tuple[int, int]) -> int:
            number, copy = job
            gateway = gateways[copy % len(gateways)]
            headers = {"Host": "shop.test", "Authorization": f"Bearer {agent}", HEADER: tokens[number]}
            headers[CASE_HEADER] = case
            return client.post(f"{gateway.url}/orders/{number}?n=1", headers=headers).status_code

        jobs = [(number, copy) for number in range(many) for copy in range(each)]
        sent = pool.map(send, jobs)
        meanwhile()
        statuses = list(sent)
    arrived = Counter(arrival.path for arrival in echo.arrivals() if arrival.values(CASE_HEADER) == [case])
    found = [statuses[number * each : (number + 1) * each] for number in range(many)]
    for number, answers in enumerate(found):
        assert arrived[f"/orders/{number}?n=1"] == answers.count(200) <= 1, (number, answers)
    return found
