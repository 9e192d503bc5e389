"""One Envoy for all tests of this folder that put policies in force."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.fleet import Fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running
