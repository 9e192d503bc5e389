"""
How fast requests of agents are filed, on a file and on Postgres, and how that grows with what is stored.

Through Envoy, by an agent with a token, eight at once and one after the other; with 1 000 requests stored, and with 100 000. Prints
Markdown. Takes about two minutes; `python -m tests.parts.install postgres` comes first.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from tests.holding.agents import AGENT, ASK_PEOPLE, ASKED, REALM, AgentGateway
from tests.parts.postgres import Postgres
from tests.realm import Realm, unverified_claims

from wardgate.idp import IdpServer

FEW, MANY = 1_000, 100_000
AGENTS, ALONE, TOGETHER, AT_ONCE = 50, 150, 1000, 8

COPY = """
INSERT INTO agent_requests (name, agent, issuer, subject, names, action, target, reason, content, phase, created_at,
  changed_at, expires_at, needed, reviewer_groups, conditions, results, version)
WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})
SELECT 'copy-' || n, agent, issuer, subject, names, action, target, reason, content, phase, created_at, changed_at,
  expires_at, needed, reviewer_groups, conditions, results, version
FROM numbers, (SELECT * FROM agent_requests ORDER BY id LIMIT 1) AS one
"""


def measured(gateway: AgentGateway, tokens: list[str]) -> tuple[float, float]:
    """Requests a second, eight at once; and the median of one alone, in milliseconds. Each agent may file only so many a second."""
    url = f"http://127.0.0.1:{gateway.port}/agent-requests"
    with httpx.Client(timeout=30) as client:

        def ask(number: int) -> float:
            start = time.perf_counter()
            bearer = {"Authorization": f"Bearer {tokens[number % len(tokens)]}"}
            answer = client.post(url, json=ASKED, headers=bearer)
            assert answer.status_code == 201, answer.text
            return time.perf_counter() - start

        for number in range(len(tokens)):
            ask(number)
        alone = [ask(number) for number in range(ALONE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            start = time.perf_counter()
            list(pool.map(ask, range(TOGETHER)))
            rate = TOGETHER / (time.perf_counter() - start)
    return rate, statistics.median(alone) * 1000


def figures(name: str, folder: Path, idp: IdpServer, realm: Realm, postgres: Postgres | None) -> None:
    folder.mkdir()
    env = {"WARDGATE_STORE": postgres.url} if postgres else {}
    with AgentGateway(folder, realm.issuer, policies=ASK_PEOPLE, env=env) as gateway:
        claims = unverified_claims(realm.token(client=AGENT).access)
        tokens = [idp.mint(claims | {"sub": f"{claims['sub']}-{number}"}) for number in range(AGENTS)]
        gateway.as_(tokens[0]).ask()

        def run(statement: str) -> None:
            if postgres:
                postgres.query(statement)
                return
            with sqlite3.connect(folder / "state" / "approvals.db", timeout=60) as database:
                database.execute(statement)
            database.close()

        stored, rates = 0, []
        for wanted in (FEW, MANY):
            run(COPY.format(first=stored + 1, last=wanted))
            stored = wanted
            rate, alone = measured(gateway, tokens)
            rates.append(rate)
            print(f"| {name} | {wanted} | {rate:.0f} | {alone:.1f} |", flush=True)
        print(f"| {name} | {MANY} against {FEW} | {rates[1] / rates[0]:.2f} x | |", flush=True)


def main() -> int:
    print(
        "| store | requests stored | filed a second, eight at once | median of one alone, ms |\n|---|---|---|---|"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        IdpServer(REALM) as idp,
        Realm(idp.issuer.partition("/realms/")[0], REALM) as realm,
        Postgres.start() as postgres,
    ):
        figures("SQLite", Path(folder) / "file", idp, realm, None)
        figures("Postgres", Path(folder) / "postgres", idp, realm, postgres)
    return 0


if __name__ == "__main__":
    sys.exit(main())
