"""
S2 with real Keycloak: its steps 2 to 6 as it writes them (addresses aside), its troubleshooting; and a fleet on real
Postgres, with reviewers who race, replicas that are killed and a database that crashes.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from tests.echo import Echo
from tests.gateway import COMMAND
from tests.holding.agents import AGENT, ASK_PEOPLE, REVIEWER, AgentGateway
from tests.holding.grants import GrantGateway
from tests.holding.grants import race as grants_race
from tests.holding.test_agents import service_of
from tests.parts.keycloak import Keycloak
from tests.parts.postgres import Postgres
from tests.racing import Lasting, race, ready, require_one_end_each
from tests.real.aip import admin_token, ask, post, token
from tests.service.issuer import wait_for
from wardgate.approvals.schema import METADATA
from wardgate.approvals.store import Store

pytestmark = pytest.mark.timeout(int(os.environ.get("AGENT_TIMEOUT", "600")))

GRANTS = int(os.environ.get("GRANTS", "100"))

MANY = int(os.environ.get("AGENT_REQUESTS", "200"))
"""Requests of the race; more by hand."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, aip: str) -> Iterator[AgentGateway]:
    with AgentGateway(tmp_path_factory.mktemp("aip"), aip) as gateway:
        yield gateway


def test_steps_3_to_6(gateway: AgentGateway, aip: str) -> None:
    assert re.search(r"^Starting AIP Demo Gateway on 127\.0\.0\.1:\d+$", gateway.errors(), re.MULTILINE)
    status, found = ask(gateway, token(aip, AGENT))
    assert (status, list(found)[:3], found["phase"]) == (201, ["name", "phase", "conditions"], "Approved")
    assert re.fullmatch(r"aip-agent-1-[a-z0-9]{5}", found["name"]) and found["conditions"]
    reason = '{"reason": "approved for maintenance window"}'
    path = f"/agent-requests/{found['name']}/approve"
    assert post(gateway, path, token(aip, REVIEWER), reason) == (200, found)


def test_troubleshooting(gateway: AgentGateway, aip: str, keycloak: Keycloak, tmp_path: Path) -> None:
    """S2's four cases, in its words."""
    other = token(aip, AGENT).split(".")
    assert ask(gateway, ".".join([*other[:2], other[2][::-1]])) == (401, {"error": "invalid token"})
    assert ask(gateway, token(aip, "aip-agent-9")) == (403, {"error": "agent role required"})
    assert ask(gateway, token(aip, REVIEWER)) == (403, {"error": "agent role required"})
    assert ask(gateway, token(aip, "no-audience")) == (401, {"error": "aud claim does not match"})
    name = ask(gateway, token(aip, AGENT))[1]["name"]
    refused = post(gateway, f"/agent-requests/{name}/approve", token(aip, AGENT), "{}")
    assert refused == (403, {"error": "reviewer role required"})
    missing = keycloak.issuer("none")
    done = subprocess.run(
        [
            str(COMMAND),
            "aip-gateway",
            f"--oidc-issuer-url={missing}",
            "--agent-subjects=a",
            f"--state-dir={tmp_path}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and done.stderr.startswith("OIDC setup failed: oidc provider: ")


def test_a_token_of_another_issuer(gateway: AgentGateway, keycloak: Keycloak) -> None:
    """S2 meets it by tokens that were fetched through a port-forward; here it is another realm of the same server."""
    assert ask(gateway, admin_token(keycloak)) == (401, {"error": "invalid token"})


def test_with_a_policy_a_reviewer_decides(tmp_path: Path, aip: str) -> None:
    with AgentGateway(tmp_path, aip, policies=ASK_PEOPLE) as gateway:
        status, found = ask(gateway, token(aip, AGENT))
        assert (status, found["phase"]) == (201, "Pending")
        path = f"/agent-requests/{found['name']}/approve"
        status, decided = post(gateway, path, token(aip, REVIEWER), '{"reason": "fine"}')
        assert (status, decided["phase"]) == (200, "Approved")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres.start() as server:
        yield server


def test_a_fleet_on_postgres_that_is_killed_again_and_again(
    tmp_path: Path, aip: str, postgres: Postgres
) -> None:
    """Two replicas, opposite votes, SIGKILL of their services and of the database."""
    flags = ("--reviewer-subjects", f"{REVIEWER},aip-agent-9", "--pending-for", "1h")
    env = {"WARDGATE_STORE": postgres.url}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        ExitStack() as stack,
        AgentGateway(tmp_path / "one", aip, *flags, policies=ASK_PEOPLE, env=env) as one,
        AgentGateway(tmp_path / "two", aip, *flags, policies=ASK_PEOPLE, env=env) as two,
    ):
        both = [one, two]
        http = stack.enter_context(httpx.Client(timeout=30))

        def somebody(client: str) -> Any:
            lasting = Lasting(lambda: token(aip, client))
            return lambda: random.choice(both).as_(lasting(), http)

        done = threading.Event()

        def kill() -> None:
            number = 0
            # of many requests most are to be decided, not most of the time spent on starting again
            while not done.wait(random.uniform(1.0, 4.0) * max(1.0, MANY / 2000)):
                number += 1
                if number % 3 == 0:
                    postgres.kill()
                    postgres.restart()
                else:
                    os.kill(service_of(random.choice(both)), signal.SIGKILL)

        killing = threading.Thread(target=kill)
        killing.start()
        try:
            answers = race(somebody(AGENT), [somebody(REVIEWER), somebody("aip-agent-9")], MANY)
        finally:
            done.set()
            killing.join()
        reader = one.as_(token(aip, REVIEWER))
        wait_for(lambda: ready(reader), "all is back", 30)
        require_one_end_each(reader, answers)
        postgres.kill()
        status, _ = ask(two, token(aip, AGENT))
        assert status == 503
        postgres.restart()
        wait_for(lambda: ask(two, token(aip, AGENT))[0] == 201, "the database is back", 30)
        assert "secret-word" not in one.errors() + two.errors()
    assert "the record can only grow" in _refused(postgres, "DELETE FROM audit")
    assert "the record can only grow" in _refused(postgres, "TRUNCATE audit")


def test_one_request_for_each_grant_of_a_fleet(tmp_path: Path, aip: str, postgres: Postgres) -> None:
    """Two replicas on one Postgres; each grant is sent five times at once to both."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        Echo() as echo,
        GrantGateway(tmp_path / "one", aip, echo.url, store=postgres.url) as one,
        GrantGateway(tmp_path / "two", aip, echo.url, store=postgres.url) as two,
    ):
        answers = grants_race([one, two], token(aip, AGENT), echo, GRANTS)
        assert all(sorted(each) == [200, 403, 403, 403, 403] for each in answers), answers


def _refused(postgres: Postgres, change: str) -> str:
    with pytest.raises(AssertionError) as refused:
        postgres.query(change)
    return str(refused.value)


def test_migrations_make_what_the_schema_says_on_postgres(postgres: Postgres) -> None:
    async def compared() -> list[Any]:
        await (await Store.open(postgres.url)).close()
        engine = create_async_engine(postgres.url.replace("postgresql:", "postgresql+asyncpg:"))
        async with engine.connect() as connection:
            found = await connection.run_sync(
                lambda sync: compare_metadata(MigrationContext.configure(sync), METADATA)
            )
        await engine.dispose()
        return list(found)

    assert asyncio.run(compared()) == []
