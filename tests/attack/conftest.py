"""The gateway under test, and one run of all selected cases whose verdicts the tests look up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from . import gateway as wardgate
from .cases import SECURITY, Case
from .lab import Lab, Launcher
from .runner import Result, run


@pytest.fixture(scope="session")
def gateway() -> Launcher:
    """How the gateway under test is started."""
    return wardgate.launch


@pytest.fixture(scope="session")
def results(
    request: pytest.FixtureRequest, gateway: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Result]:
    """The verdict on every selected case, by id: gateway and surroundings are started once."""
    chosen = selected(request.session.items)

    async def all_of_them() -> dict[str, Result]:
        fixtures = sorted({case.fixture for case in chosen})
        folder = tmp_path_factory.mktemp("attack")
        async with Lab(gateway, folder, fixtures=fixtures, vectors_in=SECURITY) as lab:
            return await run(lab, chosen)

    return asyncio.run(all_of_them())


def selected(items: list[pytest.Item]) -> list[Case]:
    """The cases of the tests that this session runs: with `-k` only those are sent."""
    cases = [
        item.callspec.params["case"]
        for item in items
        if isinstance(item, pytest.Function) and "results" in item.fixturenames and hasattr(item, "callspec")
    ]
    return [case for case in cases if isinstance(case, Case)]
