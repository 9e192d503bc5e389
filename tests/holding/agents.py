"""The gateway for agents, run by S2's flags, and callers who speak to it as S2's curl lines do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx

from tests.holding.running import Running
from tests.parts import PROJECT

REALM: Final = PROJECT / "examples" / "aip" / "realm.json"
AGENT, REVIEWER = "aip-agent-1", "aip-reviewer-1"

ASKED: Final = {
    "agentIdentity": AGENT,
    "action": "scale-down",
    "targetURI": "k8s://prod/default/deployment/payment-api",
    "reason": "scheduled maintenance window",
}
"""S2, step 5."""

ASK_PEOPLE: Final = """
safety-policies:
  - name: people
    rules: [{name: production, targets: ["k8s://prod/**"], then: RequireApproval, message: ask somebody}]
"""


class AgentGateway(Running):
    """`flags` beside issuer, subjects and address; `policies` is the text of a file of safety policies."""

    def __init__(
        self,
        folder: Path,
        issuer: str,
        *flags: str,
        policies: str = "",
        env: Mapping[str, str] = {},
        port: int = 0,
    ) -> None:
        self._issuer = issuer
        self._policies = folder / "policies.yaml"
        super().__init__(folder, {"policies": policies}, *flags, env=env, port=port)

    @property
    def command(self) -> list[str]:
        given = ["--safety-policies", str(self._policies)] if self._policies.exists() else []
        return [
            "aip-gateway",
            *("--oidc-issuer-url", self._issuer, "--oidc-audience", "aip-gateway"),
            *("--agent-subjects", AGENT, "--reviewer-subjects", REVIEWER),
            *("--addr", f"127.0.0.1:{self.port}", "--set", f"admin=127.0.0.1:{self.admin_port}"),
            *given,
        ]

    def ready(self) -> Self:
        super().ready()
        self.wait("keys fetched", seconds=40)  # a slow machine may be ready before
        return self

    def write(self, content: Any) -> None:
        text = content if isinstance(content, str) else content["policies"]
        if text:
            self._policies.write_text(text, "utf-8")

    def as_(self, token: str, http: httpx.Client | None = None) -> Agent:
        """`http`: for those who send a lot."""
        return Agent(url=f"http://127.0.0.1:{self.port}", token=token, http=http)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Somebody with a token, agent or reviewer."""

    url: str
    token: str
    http: httpx.Client | None = None

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """`body`: a value as JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        usual = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        kind = {} if content is None else {"Content-Type": "application/json"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = httpx.request if self.http is None else self.http.request
        return request(
            method, self.url + path, content=content, headers={**usual, **kind, **given}, timeout=30
        )

    def ask(self, **changed: Any) -> dict[str, Any]:
        """A new request that is taken."""
        answer = self.send("POST", "/agent-requests", {**ASKED, **changed})
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def decide(self, name: str, decision: str, reason: str = "") -> httpx.Response:
        return self.send("POST", f"/agent-requests/{name}/{decision}", {"reason": reason})

    def read(self, name: str) -> dict[str, Any]:
        answer = self.send("GET", f"/agent-requests/{name}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    @contextmanager
    def watch(self, name: str, until: str = "decision") -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """Events as they come: kind and data."""
        headers = {"Authorization": f"Bearer {self.token}"}
        path = f"/agent-requests/{name}/watch?until={until}"
        with httpx.stream("GET", self.url + path, headers=headers, timeout=30) as answer:
            assert answer.status_code == 200
            yield _events(answer)


def _events(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))
