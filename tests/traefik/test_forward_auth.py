"""What `tests/real/test_forward_auth.py` asks of nginx and Caddy, of Traefik: `make test-traefik`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from tests.parts import PROJECT
from tests.real.test_forward_auth import (
    Example,
    behind,
    pytestmark,
    site,
    test_a_client_does_not_say_what_is_asked,
    test_a_path_that_reads_in_two_ways,
    test_a_person_logs_in_and_out,
    test_a_script_without_a_session_gets_401,
    test_the_application_is_told_who_calls,
    test_the_table,
    tokens,
)

__all__ = [
    "behind",
    "pytestmark",
    "site",
    "test_a_client_does_not_say_what_is_asked",
    "test_a_path_that_reads_in_two_ways",
    "test_a_person_logs_in_and_out",
    "test_a_script_without_a_session_gets_401",
    "test_the_application_is_told_who_calls",
    "test_the_table",
    "tokens",
]

FOLDER: Final = PROJECT / "examples" / "traefik"


def _of_values() -> Any:
    """S1's: `trustForwardHeader` is set."""
    values = YAML(typ="safe").load((FOLDER / "values.yaml").read_text("utf-8"))
    return values["ingressroute"]["middleware"]["spec"]


def _of_kubernetes() -> Any:
    documents = YAML(typ="safe").load_all((FOLDER / "kubernetes.yaml").read_text("utf-8"))
    return next(one["spec"] for one in documents if "forwardAuth" in one["spec"])


@pytest.fixture(scope="module", params=["file", "values", "kubernetes"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The example as it stands, and with the middleware of its manifests in the place of its own."""
    if request.param == "file":
        return Example(program="traefik", file=FOLDER / "traefik.yaml")
    folder: Path = tmp_path_factory.mktemp("traefik") / "example"
    shutil.copytree(FOLDER, folder)
    yaml = YAML()
    content = yaml.load((folder / "dynamic.yaml").read_text("utf-8"))
    spec = _of_values() if request.param == "values" else _of_kubernetes()
    own = content["http"]["middlewares"]["auth"]["forwardAuth"]["address"]
    content["http"]["middlewares"]["auth"] = {"forwardAuth": {**spec["forwardAuth"], "address": own}}
    yaml.dump(content, folder / "dynamic.yaml")
    return Example(program="traefik", file=folder / "traefik.yaml")
