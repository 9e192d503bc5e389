"""What the installation says where it cannot install."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.parts import Missing, debian, install


def test_without_apt_every_absent_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine without apt-get each absent command is named with its package and another way to get it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing) as refused:
        debian.require([debian.JAVA, debian.MAVEN])
    said = str(refused.value)
    assert "java: not usable here, and there is no apt-get" in said
    assert "mvn: not usable here" in said
    assert "openjdk-17-jre-headless" in said
    assert debian.MAVEN.other in said


def test_without_root_apt_is_not_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user who is not root is told the command that root would run, and apt-get is not run."""
    apt = tmp_path / "apt-get"
    apt.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n", encoding="ascii")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Missing, match="apt-get needs root") as refused:
        debian.require([debian.MAVEN])
    assert "apt-get update && apt-get install -y --no-install-recommends maven" in str(refused.value)
    assert not (tmp_path / "ran").exists()


def test_an_old_java_is_not_usable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Java 8 (which calls itself 1.8) is not a Java for Keycloak."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n", encoding="ascii")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.java_version() == 8
    assert not debian.JAVA.usable()


def test_a_missing_part_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 1 and names the part that is missing, so that nothing runs on without it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.main(["wrk"]) == 1
    assert "wrk: MISSING" in capsys.readouterr().err


def test_an_unknown_part_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """A part that does not exist is a mistake of the caller, and the parts that exist are listed."""
    assert install.main(["keycloack"]) == 2
    assert "keycloack; there are: keycloak, wrk" in capsys.readouterr().err


def test_no_service_starts_while_apt_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """During an installation Debian is told to start no service, and afterwards no trace of that is left."""
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(debian, "POLICY", policy)
    with debian.no_services():
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()


def test_a_policy_of_the_machine_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has its own policy about services keeps it, during and after an installation."""
    policy = tmp_path / "policy-rc.d"
    policy.write_text("its own", encoding="ascii")
    monkeypatch.setattr(debian, "POLICY", policy)
    with debian.no_services():
        assert policy.read_text(encoding="ascii") == "its own"
    assert policy.read_text(encoding="ascii") == "its own"
