"""`wardgate kubernetes` before it has an API server: what is missing is said, and waited for only where waiting helps."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.gateway import COMMAND
from tests.parts.kubernetes import kubeconfig
from tests.parts.loopback import free_port
from tests.service.issuer import wait_for


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    with (folder / "err").open("w") as err:
        return subprocess.Popen(
            [str(COMMAND), "kubernetes", *arguments],
            env={**env, "HOME": str(folder), "WARDGATE_STATE_DIR": str(folder / "state")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
            text=True,
        )


@pytest.mark.parametrize("content", [None, "a: [", "a: b", "clusters: []"])
def test_without_a_way_to_a_server_it_does_not_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_text(content, "utf-8")
    with started(tmp_path, "--kubeconfig", str(file)) as process:
        assert process.wait(30) == 2
    said = (tmp_path / "err").read_text("utf-8")
    assert "[kubernetes-credentials]" in said and "hint: give --kubeconfig FILE" in said
    assert "Traceback" not in said


def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """And SIGTERM ends that."""
    file = tmp_path / "kubeconfig"
    file.write_text(kubeconfig(f"http://127.0.0.1:{free_port()}", "s3cret-token"), "utf-8")
    with started(tmp_path, "--kubeconfig", str(file)) as process:
        try:
            wait_for(lambda: "waiting for the API server" in (tmp_path / "err").read_text(), "it waits", 30)
        finally:
            process.terminate()
        assert process.wait(20) == 0
    assert "s3cret-token" not in (tmp_path / "err").read_text("utf-8")
