"""The service as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.service.issuer import Issuer, wait_for
from wardgate.envoy.resolve import clusters
from wardgate.keystore import KeyStore
from wardgate.service.serve import KEEP_ALIVE_S
from wardgate.service.settings import ServiceSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(
        public_socket=str(tmp_path / "p.sock"),
        control_socket=str(tmp_path / "c.sock"),
        keys=str(tmp_path / "keys"),
        state=str(tmp_path),
    )


SECRET = "5e" * 32 + "\n0\n"


def client(path: str) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://service")


def test_the_service_lives_and_ends(tmp_path: Path, settings: ServiceSettings) -> None:
    """It answers on two private sockets, learns of a new provider by SIGHUP, and ends by SIGTERM."""
    file = tmp_path / "service.json"
    file.write_text(settings.as_json(), "utf-8")
    process = subprocess.Popen([sys.executable, "-m", "wardgate.service"], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    with process.stdin as told:
        told.write(f"{file}\n{SECRET}")
    try:
        control = Path(settings.control_socket)
        wait_for(lambda: control.exists() and control.stat().st_mode & 0o777 == 0o600, "the control socket")
        with (
            client(settings.control_socket) as inside,
            client(settings.public_socket) as outside,
            Issuer() as issuer,
        ):
            wait_for(lambda: inside.get("/health").status_code == 200, "health")
            assert inside.get("/status").json()["providers"] == []
            answer = outside.get("/keys")
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            source = issuer.source()
            file.write_text(
                ServiceSettings(
                    public_socket=settings.public_socket,
                    control_socket=settings.control_socket,
                    keys=settings.keys,
                    state=settings.state,
                    sources=(source,),
                ).as_json(),
                "utf-8",
            )
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: KeyStore(Path(settings.keys)).read(source) is not None, "the keys")
            known = inside.get("/status").json()["providers"][0]
            assert known["kids"] == ["k1"]
            assert known["results"] == {"ok": 1}
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


def test_settings_survive_their_file(settings: ServiceSettings) -> None:
    """What the supervisor writes is what the service reads."""
    with Issuer() as issuer:
        whole = ServiceSettings(
            public_socket="p",
            control_socket="c",
            keys="k",
            state="s",
            sources=(issuer.source(headers=(("a", "b"),)),),
        )
        assert ServiceSettings.from_json(whole.as_json()) == whole


@pytest.mark.parametrize("text", ["", "[]", '{"sources": []}'])
def test_bad_settings_are_said(tmp_path: Path, text: str) -> None:
    """A settings file that cannot be read ends the service with exit code 2 and one line."""
    file = tmp_path / "service.json"
    file.write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "wardgate.service"],
        input=f"{file}\n{SECRET}",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "cannot start" in done.stderr
    assert SECRET[:8] not in done.stderr


def test_envoy_lets_go_of_a_connection_first(settings: ServiceSettings) -> None:
    """No question meets a connection that the service has just closed: it would be a 503, and is not asked twice."""
    for cluster in clusters(settings.public_socket, settings.control_socket, agents=True).values():
        ((_, options),) = cluster["typed_extension_protocol_options"].items()
        envoy_s = float(options["common_http_protocol_options"]["idle_timeout"].rstrip("s"))
        assert envoy_s < KEEP_ALIVE_S
