"""What a gateway says about requests, and what it never says: tokens, queries, anybody's secrets."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.holding.conftest import Content, Minted
from tests.holding.running import Running
from tests.service.issuer import wait_for
from wardgate.envoy.logs import FIELDS
from wardgate.idp import IdpServer
from wardgate.metrics import METRICS

pytestmark = pytest.mark.xdist_group("holding-logs")

SECRET = "hunter2-of-ours"
S0 = (
    "gatekeeper_token_validation_errors_total",
    "gatekeeper_token_validation_duration_seconds",
    "gatekeeper_login_success_total",
    "gatekeeper_login_failures_total",
)
"""The names that S0's dashboards ask for."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, simple: Content, idp: IdpServer) -> Iterator[Running]:
    provider = {**simple["provider"], "client-id": "demo-gateway", "client-secret": "${CLIENT_SECRET}"}
    provider["headers"] = {"X-Key": SECRET}
    content = {
        **simple,
        "provider": provider,
        "trusted-proxies": ["127.0.0.1/32"],
        "upstream-headers": {"X-Internal-Key": SECRET},
    }
    folder = tmp_path_factory.mktemp("logs")
    with Running(folder, content, env={"CLIENT_SECRET": SECRET}) as found:
        yield found


def lines_of(gateway: Running, path: str, count: int = 1) -> list[dict[str, object]]:
    """The log's lines of a path, once there are so many."""
    wait_for(lambda: len(_lines(gateway, path)) >= count, f"{count} lines of {path}")
    return _lines(gateway, path)


def _lines(gateway: Running, path: str) -> list[dict[str, object]]:
    return [line for line in gateway.log() if line["path"] == path]


def test_each_request_is_one_line(gateway: Running, token: str, minted: Minted) -> None:
    """Who, what, the decision and its rule, why and the times are in one JSON object per request."""
    answers = {
        "/x/allowed": gateway.ask("/x/allowed", token, headers=[("X-Forwarded-For", "198.51.100.7")]),
        "/admin/denied": gateway.ask("/admin/denied", token, method="POST"),
        "/x/anonymous": gateway.ask("/x/anonymous"),
        "/x/expired": gateway.ask("/x/expired", minted("u", "user", exp=1)),
        "/open/x": gateway.ask("/open/x"),
        "/oauth/health": gateway.ask("/oauth/health"),
    }
    found = {path: lines_of(gateway, path)[-1] for path in answers}
    for path, line in found.items():
        assert set(line) == set(FIELDS)
        assert line["status"] == answers[path].status
        assert line["request_id"] == answers[path].header("x-request-id")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["time"]))
        assert line["host"] == "app.test"
    assert found["/x/allowed"]["subject"] not in (None, "", "-")
    assert found["/x/allowed"]["client"] == "198.51.100.7"
    assert found["/admin/denied"]["method"] == "POST"
    assert {path: line["status"] for path, line in found.items()} == {
        **dict.fromkeys(("/x/allowed", "/open/x", "/oauth/health"), 200),
        **dict.fromkeys(("/x/anonymous", "/x/expired"), 401),
        "/admin/denied": 403,
    }
    assert "/admin/**" in str(found["/admin/denied"]["rule"])
    assert isinstance(found["/x/allowed"]["gateway_us"], int)


def test_nothing_secret_is_logged(gateway: Running, token: str, minted: Minted) -> None:
    """No token, no cookie, no query and no configured secret is in the log or in events."""
    marks = [f"needle-{number}" for number in range(8)]
    query = f"?access_token={token}&code={marks[0]}&x={SECRET}"
    headers = [
        ("Cookie", f"session={marks[1]}"),
        ("Referer", f"https://app.example/callback?code={marks[2]}"),
        ("X-Auth-Token", marks[3]),
        ("User-Agent", f"agent {marks[4]}"),
    ]
    broken = f"{token}{marks[5]}"
    before = len(gateway.log())
    asked = [
        (path, credential)
        for path in ("/x/", "/open/", "/oauth/health", "/oauth/callback", "/oauth/", "/nowhere", "/admin/")
        for credential in ("", token, broken, minted("u", "user", iss=marks[6]))
    ]
    for path, credential in asked:
        gateway.ask(path + query, credential, headers=headers)
    gateway.ask("/x/", headers=[("Authorization", f"Basic {marks[7]}")])
    gateway.ask(f"/open/%2e%2e;{marks[0]}{query}")
    wait_for(lambda: len(gateway.log()) >= before + len(asked) + 2, "all lines")
    written = (gateway.folder / "out").read_text("utf-8") + gateway.errors()
    refused = f"/open/..;{marks[0]}", f"/open/%2e%2e;{marks[0]}"
    for path in refused:  # a path is logged, also one that is refused
        written = written.replace(path, "")
    found = [mark for mark in (*marks, SECRET, token.rpartition(".")[2], token[:40]) if mark in written]
    assert not found
    assert not [line for line in gateway.log() if "?" in str(line["path"])]


def test_a_client_writes_no_lines_of_its_own(gateway: Running) -> None:
    """Quotes, line breaks and escapes in what a client sends stay inside their JSON strings."""
    before = len(gateway.log())
    gateway.ask('/open/a"b{}%0d%0a{"status":200}')
    gateway.ask("/open/x", headers=[("Host", 'a"b'), ("X-Request-ID", 'x","status":200,"y":"')])
    wait_for(lambda: len(gateway.log()) >= before + 2, "two lines")
    assert all(set(line) == set(FIELDS) for line in gateway.log())


# --- figures


def test_metrics_have_exactly_these_names(gateway: Running) -> None:
    """
    /metrics serves the figures of the reference, no other, each with its help; S0's are among them. Those of a cluster,
    and of requests of agents, are served where there are such.
    """
    text = gateway.ask("/metrics", port=gateway.admin_port).body.decode()
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (\S+) (.*)$", text, re.MULTILINE))
    elsewhere = re.compile("kubernetes|agent_requests|webhook")
    known = {metric.name: metric for metric in METRICS if not elsewhere.search(metric.name)}
    assert helps == {name: metric.help for name, metric in known.items()}
    assert types == {name: metric.form for name, metric in known.items()}
    samples = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples} <= set(known)
    assert set(S0) <= set(known)
    assert "receipt" in helps["gatekeeper_token_validation_duration_seconds"]


def test_refused_credentials_are_counted_by_reason(gateway: Running, token: str, minted: Minted) -> None:
    """A credential that was presented and refused counts once, under its reason; requests without one do not."""
    name = 'gatekeeper_token_validation_errors_total{reason="%s"}'
    before = gateway.metrics()
    bad = {
        "token-expired": minted("u", "user", exp=1),
        "token-issuer": minted("u", "user", iss="https://other.example"),
        "token-audience": minted("u", "user", aud="other"),
        "token-signature": token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB"),
        "token-malformed": "a.b.c",
        "token-type": minted("u", "user", typ="ID"),
    }
    for credential in bad.values():
        assert gateway.ask("/x", credential).status == 401
    assert gateway.ask("/x").status == 401
    assert gateway.ask("/x", token).status == 200

    def counted() -> Counter[str]:
        now = gateway.metrics()
        moved = {key: now[key] - before.get(key, 0) for key in now if key.startswith(name.partition("{")[0])}
        return Counter(
            {key.partition('"')[2].rstrip('"}'): int(value) for key, value in moved.items() if value}
        )

    wait_for(lambda: sum(counted().values()) >= len(bad), "the figures")
    assert counted() == Counter(dict.fromkeys(bad, 1))


def test_durations_are_those_of_forwarded_requests(gateway: Running, token: str) -> None:
    """The histogram of token validation counts what was forwarded, in seconds; what was refused is not in it."""
    count = "gatekeeper_token_validation_duration_seconds_count"
    for _ in range(3):
        gateway.ask("/x/measured", token)
        gateway.ask("/x/measured")
    lines_of(gateway, "/x/measured", 6)
    forwarded = sum(line["why"] == "via_upstream" for line in gateway.log())
    wait_for(lambda: gateway.metrics()[count] >= forwarded, "the figures, which Envoy gathers every 5 s")
    figures = gateway.metrics()
    assert figures[count] == forwarded < len(gateway.log())
    mean = figures["gatekeeper_token_validation_duration_seconds_sum"] / figures[count]
    assert 0.000_01 < mean < 1


def test_figures_are_on_their_own_port_only(gateway: Running, token: str) -> None:
    """The main port serves no /metrics of ours, the metrics port nothing else, and Envoy's admin interface is nowhere."""
    for path in (
        "/",
        "/stats",
        "/stats/prometheus",
        "/config_dump",
        "/server_info",
        "/ready",
        "/quitquitquit",
    ):
        for variant in (path, f"/metrics/..{path}", f"//metrics{path}"):
            assert gateway.ask(variant, port=gateway.admin_port).status == 404
        answer = gateway.ask(path, token)
        assert answer.status == 200
        assert dict(json.loads(answer.body))["path"] == path, "it is the application that answers"
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert gateway.ask("/metrics", method=method, port=gateway.admin_port).status == 405
    assert json.loads(gateway.ask("/metrics", token).body)["path"] == "/metrics"
    assert gateway.ask("/metrics").status == 401
    sockets = [path for path in _below(gateway.folder / "state") if stat.S_ISSOCK(path.stat().st_mode)]
    for path in sockets:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def _below(folder: Path) -> Iterator[Path]:
    yield from folder.rglob("*")


def test_the_log_can_be_off(gateway: Running, simple: Content) -> None:
    """With `access-log: false` nothing is written to stdout; the events on stderr go on."""
    gateway.reload({**simple, "access-log": False})
    connection = gateway.keep()
    before = len(gateway.log())
    for _ in range(5):
        assert gateway.ask("/open/quiet").status == 200
    connection.close()
    gateway.reload({**gateway.content})
    gateway.ask("/open/loud")
    lines_of(gateway, "/open/loud")
    assert _lines(gateway, "/open/quiet") == []
    assert len(gateway.log()) >= before
