"""
For agents and reviewers in Python: ask, wait for the decision, say how it went.

    with AgentClient("https://aip.example.com", ClientCredentials(issuer, "aip-agent-1", secret)) as client:
        request = client.ask("scale-down", "k8s://prod/default/deployment/payment-api", reason="maintenance")
        if client.decided(request["name"])["phase"] == "Approved":
            client.begin(request["name"])
            ...
            client.complete(request["name"], result={"replicas": 1})

Tokens are fetched by the client's own credentials (RFC 6749, 4.4) and renewed before they end. What was not answered is sent
again, under one Idempotency-Key, so that nothing is asked for twice.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from wardgate import token
from wardgate.problems import Unavailable

TIMEOUT_S: Final = 30.0
PATIENCE_S: Final = 60.0
"""How long a gateway that does not answer is asked again."""

AHEAD_S: Final = 30.0
"""How long before its end a token is renewed; at most a fifth of its life."""


class NotAllowed(Exception):
    """What the gateway does not let this caller do: its status, and its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{words} ({status})")
        self.status = status
        self.words = words


@dataclass(slots=True)
class ClientCredentials:
    """Tokens of a client of `issuer`; `__call__` gives one that still holds. Raises what `wardgate.token.get` raises."""

    issuer: str
    client_id: str
    client_secret: str
    scope: str = "openid"
    ca: Path | None = None
    clock: Callable[[], float] = time.monotonic
    _token: str = ""
    _until: float = 0.0

    def __call__(self) -> str:
        now = self.clock()
        if now >= self._until:
            found = token.get(
                self.issuer,
                client_id=self.client_id,
                client_secret=self.client_secret,
                username=None,
                password=None,
                scope=self.scope,
                ca=self.ca,
            )
            said = found.answer.get("expires_in")
            life = float(said) if isinstance(said, int | float) and said > 0 else 60.0
            self._token, self._until = found.access_token, now + life - min(AHEAD_S, life / 5)
        return self._token


class AgentClient:
    """`url` is the gateway's, `bearer` gives a token. Methods give requests as the API shows them, and raise NotAllowed, Unavailable."""

    def __init__(self, url: str, bearer: Callable[[], str], *, patience_s: float = PATIENCE_S) -> None:
        self._url = url.rstrip("/")
        self._bearer = bearer
        self._patience_s = patience_s
        self._http = httpx.Client(timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # --- agents

    def ask(self, action: str, target: str, reason: str = "", **more: Any) -> dict[str, Any]:
        """File a request. `more`: parameters, dedupKey, reasoningTrace and the like."""
        body = {"action": action, "targetURI": target, "reason": reason, **more}
        return self._send("POST", "/agent-requests", body, {"Idempotency-Key": str(uuid.uuid4())})

    def decided(self, name: str) -> dict[str, Any]:
        """Wait until it is decided (Approved, Denied, Expired); a connection that is lost is taken up again."""
        for request in self.watch(name):
            last = request
        return last

    def grant(self, name: str) -> str:
        """
        What to send as X-AIP-Authorization with the one HTTP request that was approved (`ask(…, httpRequest={"method": "POST",
        "bodySha256": …})`). The request that it passes spends it.
        """
        return str(self._send("POST", f"/agent-requests/{name}/grant", {})["grant"])

    def begin(self, name: str) -> dict[str, Any]:
        return self._send("POST", f"/agent-requests/{name}/executing", {})

    def complete(
        self, name: str, *, success: bool = True, message: str = "", result: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        body = {"success": success, "message": message, "result": dict(result or {})}
        return self._send("POST", f"/agent-requests/{name}/completed", body)

    # --- reviewers

    def decide(self, name: str, decision: str, reason: str = "") -> dict[str, Any]:
        """`decision`: approve, deny, or revoke."""
        return self._send("POST", f"/agent-requests/{name}/{decision}", {"reason": reason})

    # --- readers

    def read(self, name: str) -> dict[str, Any]:
        return self._send("GET", f"/agent-requests/{name}")

    def listed(self, phase: str | None = None, agent: str | None = None) -> Iterator[dict[str, Any]]:
        """All that the caller may read, the newest first, page by page."""
        query = {key: value for key, value in (("phase", phase), ("agent", agent)) if value is not None}
        cursor: str | None = None
        while True:
            asked = httpx.QueryParams({**query, "limit": 200, **({"cursor": cursor} if cursor else {})})
            page = self._send("GET", f"/agent-requests?{asked}")
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def record(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Entries of the record after number `after`, in order."""
        at: int | None = after
        while at is not None:
            page = self._send("GET", f"/audit-records?limit=1000&after={at}")
            yield from page["items"]
            at = page["next"]

    def whoami(self) -> dict[str, Any]:
        return self._send("GET", "/whoami")

    def watch(self, name: str, until: str = "decision") -> Iterator[dict[str, Any]]:
        """The request with each change; `until`: decision, or end."""
        deadline = time.monotonic() + self._patience_s
        path = f"{self._url}/agent-requests/{name}/watch?until={until}"
        while True:
            try:
                with self._http.stream("GET", path, headers=self._headers(), timeout=TIMEOUT_S) as answer:
                    if answer.status_code in _NO_ANSWER:
                        raise httpx.ReadError("no answer")
                    if answer.status_code != 200:
                        answer.read()
                        raise NotAllowed(answer.status_code, _words(answer))
                    for kind, data in _events(answer):
                        deadline = time.monotonic() + self._patience_s
                        if kind == "error":
                            raise httpx.ReadError(str(data.get("error")))
                        yield data
                        if kind == "result":
                            return
            except httpx.TransportError as error:
                self._wait(deadline, error)

    # --- HTTP

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._bearer()}"}

    def _send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience_s
        while True:
            given = {**self._headers(), **(headers or {})}
            why: object
            try:
                answer = self._http.request(method, self._url + path, json=body, headers=given)
            except httpx.TransportError as error:
                why = error
            else:
                if answer.status_code not in _NO_ANSWER:
                    if answer.status_code >= 400:
                        raise NotAllowed(answer.status_code, _words(answer))
                    return dict(answer.json())
                why = _words(answer)
            self._wait(deadline, why)

    def _wait(self, deadline: float, why: object) -> None:
        if time.monotonic() >= deadline:
            raise Unavailable(f"{self._url} does not answer: {why}")
        time.sleep(0.5)


_NO_ANSWER: Final = (429, 502, 503, 504)
"""What may go well when it is sent again."""


def _words(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


def _events(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events (HTML, 9.2): kind and data."""
    kind = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))
