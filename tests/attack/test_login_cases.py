"""
The shared cases of class `login`, those that need no issuer that lies: against `wardgate run` with real logins.

Cases with a `flow` (an issuer that answers wrongly, swapped codes, fixation) are in `tests/service/test_login.py`, where
such an issuer is; refreshes under load are in `tests/real/test_session_faults.py`. What a case says of a session is
judged by asking the gateway with it; what reached the application is told by the application.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest
from ruamel.yaml import YAML

from tests.echo import Echo
from tests.holding.running import Running
from tests.login_page import demo_realm, sent
from tests.sending import Answer
from wardgate.idp import IdpServer
from wardgate.verify import read_unverified

from .cases import SHARED_FILE

COOKIE = "__Host-session"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
PATHS = {
    "login": "/oauth/start",
    "callback": "/oauth/callback",
    "logout": "/oauth/logout",
    "backchannel": "/oauth/backchannel_logout",
}
ELSEWHERE = ("flow", "fixture", "parallel", "assert_idp")
"""Keys of cases that need more than a gateway and an honest issuer."""

Case = Mapping[str, Any]


def _cases() -> list[Case]:
    if not SHARED_FILE.is_file():
        return []
    found: list[Case] = YAML(typ="safe").load(SHARED_FILE)["cases"]
    mine = [case for case in found if case["class"] == "login" and not any(key in case for key in ELSEWHERE)]
    return [
        case for case in mine if "expired}}" not in json.dumps(case) and "demoted}}" not in json.dumps(case)
    ]


@dataclass(slots=True)
class Bench:
    """A gateway that browsers know as https://gw.test, an honest issuer, and an application that counts."""

    gateway: Running
    issuer: IdpServer
    echo: Echo
    sessions: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> Answer:
        lines = [("Host", "gw.test"), ("X-Forwarded-Proto", "https"), ("Connection", "close"), *headers]
        if body:
            lines.append(("Content-Length", str(len(body))))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines)
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout=30) as connection:
            connection.sendall(head.encode("latin-1") + b"\r\n" + body)
            read = HTTPResponse(connection, method=method)
            read.begin()
            return Answer(
                status=read.status, headers=tuple(read.getheaders()), body=read.read(), sent_bytes=len(body)
            )

    def begun(self, rd: str = "/api/v1/items") -> tuple[str, str, str]:
        """A login up to the issuer's answer: the browser's cookies, the code and the state."""
        started = self.ask("GET", f"/oauth/start?rd={quote(rd, safe='')}")
        assert started.status == 303, started.body
        cookies = "; ".join(value.partition(";")[0] for value in values(started, "set-cookie"))
        with httpx.Client(timeout=20) as browser:
            page = browser.get(started.header("location") or "", follow_redirects=True)
            back = sent(browser, page)
        answer = dict(parse_qsl(urlsplit(back.headers["location"]).query))
        return cookies, answer["code"], answer["state"]

    def logged_in(self) -> str:
        """What the session cookie of somebody who has logged in holds."""
        cookies, code, state = self.begun()
        target = f"/oauth/callback?code={quote(code, safe='')}&state={state}&iss={quote(self.issuer.issuer, safe='')}"
        landed = self.ask("GET", target, ("Cookie", cookies))
        assert landed.status in (200, 303), landed.body
        return session_of(landed)

    def works(self, session: str) -> bool:
        return self.ask("GET", "/api/v1/items", ("Cookie", f"{COOKIE}={session}")).status == 200

    def session(self, name: str) -> str:
        if name not in self.sessions:
            self.sessions[name] = self.logged_in()
            cookie = ("Cookie", f"{COOKIE}={self.sessions[name]}")
            if name == "loggedout":
                done = self.ask("POST", "/oauth/logout", cookie, ("Origin", "https://gw.test"))
                assert done.status in (200, 303), done.body
            if name == "backchannel":
                assert self.back_channel(self.logout_token({}, of=name)).status == 200
        return self.sessions[name]

    def claims(self, name: str) -> Mapping[str, Any]:
        told = self.ask("GET", "/oauth/token", ("Cookie", f"{COOKIE}={self.sessions[name]}"))
        found: Mapping[str, Any] = json.loads(told.body)
        return found

    def logout_token(self, wanted: Mapping[str, Any], of: str = "victim") -> str:
        """A token that would end the session `of`, but for what the case changes."""
        if wanted.get("base") == "id_token":
            return str(self.issuer.tokens("user", client_id="demo-gateway", scope="openid")["id_token"])
        if "base" in wanted:
            return self.issuer.token("user")
        if of not in self.sessions:
            self.session(of)
        now, own = int(time.time()), self.claims(of)
        claims = {
            "iss": self.issuer.issuer,
            "aud": "demo-gateway",
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(12),
            "sub": own["sub"],
            "sid": own["sid"],
            "typ": "Logout",
            "events": {EVENT: {}},
        }
        changes = {k: _moment(v, now) for k, v in wanted.get("claims", {}).items()}
        claims = {k: v for k, v in (claims | changes).items() if k not in wanted.get("claims_remove", ())}
        return self.issuer.mint(claims, {"typ": "logout+jwt"})

    def back_channel(self, token: str) -> Answer:
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return self.ask("POST", PATHS["backchannel"], kind, body=f"logout_token={token}".encode())


def _moment(value: Any, now: int) -> Any:
    found = re.fullmatch(r"now([+-]\d+)", value) if isinstance(value, str) else None
    return now + int(found[1]) if found else value


def values(answer: Answer, name: str) -> list[str]:
    return [value for header, value in answer.headers if header.lower() == name]


def session_of(answer: Answer) -> str:
    """What a session cookie that is set holds; empty when none is."""
    for value in values(answer, "set-cookie"):
        name, _, rest = value.partition(";")[0].partition("=")
        if name == COOKIE and rest:
            return rest
    return ""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("login")
    realm = demo_realm()
    for client in realm["clients"]:
        if client["clientId"] == "demo-gateway":
            client["redirectUris"] = ["https://gw.test/oauth/callback"]
    (folder / "realm.json").write_text(json.dumps(realm), "utf-8")
    with IdpServer(folder / "realm.json", port=0) as issuer, Echo() as echo:
        provider = {
            "issuer": issuer.issuer,
            "audience": "demo-gateway",
            "client-id": "demo-gateway",
            "client-secret": "demo-secret",
        }
        content = {
            "provider": provider,
            "session": {"cookie": {"name": "session"}, "redirection-url": "https://gw.test"},
            "trusted-proxies": ["127.0.0.1/32"],
            "upstream": echo.url,
            "hosts": [{"names": ["gw.test"], "routes": [{"path": "/api/v1/**", "roles": ["user"]}]}],
        }
        (folder / "gateway").mkdir()
        with Running(folder / "gateway", content) as gateway:
            yield Bench(gateway, issuer, echo)


class Filled:
    """A case with everything in braces replaced, lazily: a login is made for those that need one."""

    def __init__(self, bench: Bench, case: Case) -> None:
        self._bench = bench
        self._case = case
        self._login: tuple[str, str, str] | None = None
        self.token = ""

    def __call__(self, text: str) -> str:
        while (found := re.search(r"\{\{((?:(?!\{\{|\}\}).)*)\}\}", text)) is not None:
            text = text[: found.start()] + self._value(found[1]) + text[found.end() :]
        return text

    def _value(self, name: str) -> str:
        match name.partition(":"):
            case ("urlencode", _, rest):
                return quote(rest, safe="")
            case ("session", _, rest):
                who, _, how = rest.partition("|")
                value = self._bench.session(who)
                return value if how != "flip" else ("B" if value[0] == "A" else "A") + value[1:]
            case ("approval_id", _, _):
                return "agent-1-x7k2p"
            case ("logout_token", _, _):
                wanted = self._case.get("logout_token", {})
                self.token = self._bench.logout_token(wanted)
                if wanted.get("replay"):
                    assert self._bench.back_channel(self.token).status == 200
                return self.token
            case (("login_cookie" | "code" | "state") as which, _, _):
                self._login = self._login or self._bench.begun()
                return self._login[("login_cookie", "code", "state").index(which)]
            case (endpoint, _, _):
                return PATHS[endpoint]


@pytest.mark.parametrize("case", _cases() or [{"id": "absent"}], ids=lambda case: case["id"])
def test_case(bench: Bench, case: Case) -> None:
    """The gateway answers the case as expected, and nothing happens that must not."""
    if case["id"] == "absent":  # the shared file is not beside the project: an own case stands for the class
        case = {"request": {"method": "GET", "path": "{{callback}}?code=abc&state="}, "expected": [400, 401]}
    bench.sessions.pop("victim", None)
    filled, arrived = Filled(bench, case), len(bench.echo.arrivals())
    answer = _sent(bench, case["request"], filled)
    assert answer.status in case["expected"], f"{answer.status}: {answer.body[:300]!r}"
    must_not = case.get("must_not", {})
    if must_not.get("reach_upstream"):
        assert len(bench.echo.arrivals()) == arrived
    if must_not.get("session_created"):
        assert not session_of(answer)
    if text := must_not.get("reflected_unescaped"):
        assert text.encode() not in answer.body
    _assert_shown(bench, case, answer)


def _sent(bench: Bench, request: Mapping[str, Any], filled: Filled) -> Answer:
    if "raw_hex" in request:
        raw = bytes.fromhex(request["raw_hex"]).decode("latin-1")
        head = raw.partition("\r\n\r\n")[0].split("\r\n")
        method, target, _ = head[0].split(" ")
        pairs = [line.partition(":") for line in head[1:] if not line.lower().startswith("host:")]
        headers = [(name, filled(value.lstrip(" "))) for name, _, value in pairs]
        return bench.ask(method, target, *headers)
    headers = [(name, filled(value)) for name, value in request.get("headers", ())]
    target = filled(request["path"])
    body = filled(request.get("body", "")).encode()
    return bench.ask(request["method"], target, *headers, body=body)


def _assert_shown(bench: Bench, case: Case, answer: Answer) -> None:
    shown = case.get("assert_response", {})
    for name, part in shown.get("header_contains", {}).items():
        assert part in (answer.header(name) or "")
    for name in shown.get("header_present", ()):
        assert values(answer, name)
    if case.get("assert_state", {}).get("session_ended") is False and "victim" in bench.sessions:
        replayed = case.get("logout_token", {}).get("replay")  # the first time it did what it says
        assert bench.works(bench.sessions["victim"]) is not bool(replayed)
    if "final_location_host" in case.get("assert_flow", {}) and answer.status in (302, 303):
        assert urlsplit(answer.header("location") or "").hostname in ("gw.test", "127.0.0.1")


def test_the_bench_logs_people_in(bench: Bench) -> None:
    """The control: a session that was begun works, and is worth nothing with a byte changed."""
    session = bench.logged_in()
    assert bench.works(session)
    assert not bench.works(("B" if session[0] == "A" else "A") + session[1:])
    assert read_unverified(bench.issuer.token("user")).claims["iss"] == bench.issuer.issuer
