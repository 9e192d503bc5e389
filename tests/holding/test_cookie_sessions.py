"""
Sessions that browsers keep (`session.store: cookie`), at a running gateway: an issuer that takes each refresh token once,
and an application that sets a cookie of its own and lets its answers be kept.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.echo import Arrival, Echo
from tests.gateway import COMMAND
from tests.holding.running import Running
from tests.holding.sessions import CLIENT, COOKIE, TERMS
from tests.login_page import demo_realm, sent
from tests.service.issuer import wait_for
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-cookie-sessions")

PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
SCRIPT = {"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}

LIFESPAN_S = 10
"""Of access tokens: a session is renewed every few seconds."""

ROLES = {"user": 80, "admin": 400}
"""How many realm roles each has, 32 characters each."""


class App(Echo):
    def answer(self, arrival: Arrival) -> tuple[dict[str, str], bytes]:
        headers, body = super().answer(arrival)
        return {**headers, "Set-Cookie": "app=mine; Path=/", "Cache-Control": "public, max-age=60"}, body


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdpServer]:
    realm = demo_realm()
    realm |= {"accessTokenLifespan": LIFESPAN_S, "revokeRefreshToken": True, "refreshTokenMaxReuse": 0}
    realm["users"] = [user for user in realm["users"] if user["username"] in ROLES]
    for user in realm["users"]:
        roles = [secrets.token_urlsafe(24) for _ in range(ROLES[user["username"]])]
        user["realmRoles"] = [*user["realmRoles"], *roles]
        realm["roles"]["realm"] += [{"name": role} for role in roles]
    file = tmp_path_factory.mktemp("realm") / "realm.json"
    file.write_text(json.dumps(realm), "utf-8")
    with IdpServer(file) as server:
        yield server


@pytest.fixture(scope="module")
def app() -> Iterator[Echo]:
    with App() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, issuer: IdpServer, app: Echo) -> Iterator[Running]:
    content = {
        "provider": {"issuer": issuer.issuer, **CLIENT},
        "session": {**TERMS, "store": "cookie", "redirection-url": "http://127.0.0.1:${GATEWAY_PORT}"},
        "upstream": app.url,
        "routes": [{"path": "/open/**", "public": True}, {"path": "/**", "roles": ["user"]}],
    }
    with Running(tmp_path_factory.mktemp("cookies"), content) as running:
        yield running


Browsing = Callable[..., httpx.Client]


@pytest.fixture
def browser(gateway: Running) -> Iterator[Browsing]:
    """`browser()`: one that knows nobody."""
    with ExitStack() as stack:
        base = f"http://127.0.0.1:{gateway.port}"
        yield lambda: stack.enter_context(httpx.Client(base_url=base, headers=PAGE, timeout=20))


def sign_in(found: httpx.Client, username: str = "user") -> httpx.Response:
    """Where a login at the provider's page ends."""
    page = found.get("/start", follow_redirects=True)
    return sent(found, page, username, follow_redirects=True)


def held(found: httpx.Client) -> dict[str, str]:
    """The session's cookies."""
    return {name: value for name, value in sorted(found.cookies.items()) if name.startswith(COOKIE)}


def ask(
    gateway: Running, cookies: dict[str, str] | list[tuple[str, str]], target: str = "/x"
) -> httpx.Response:
    """A script's request with exactly these cookies, and nothing is kept."""
    pairs = cookies.items() if isinstance(cookies, dict) else cookies
    line = "; ".join(f"{name}={value}" for name, value in pairs)
    return httpx.get(
        f"http://127.0.0.1:{gateway.port}{target}", headers={**SCRIPT, "Cookie": line}, timeout=20
    )


def logged_in(browser: Browsing) -> httpx.Client:
    found = browser()
    landed = sign_in(found)
    assert (landed.status_code, landed.json()["path"]) == (200, "/start"), landed.text
    assert list(held(found)) == [COOKIE, f"{COOKIE}-1", f"{COOKIE}-2"]
    return found


def refreshes(issuer: IdpServer) -> int:
    counted = issuer.counts()["token"]
    assert isinstance(counted, dict)
    return counted.get("refresh_token", 0)


def asked_about_sessions(gateway: Running) -> float:
    """How often the service was."""
    found = [n for name, n in gateway.metrics().items() if "resolved_total" in name and '"session"' in name]
    return sum(found)


def over(answer: httpx.Response) -> bool:
    """401, and the browser is to forget all of the session's cookies."""
    gone = {line.partition("=")[0] for line in answer.headers.get_list("set-cookie") if "Max-Age=0" in line}
    return answer.status_code == 401 and gone == {COOKIE, *(f"{COOKIE}-{n}" for n in range(1, 10))}


def received_of(answer: httpx.Response) -> dict[str, str]:
    """The headers that the application received."""
    return {name.lower(): value for name, value in answer.json()["headers"]}


def test_a_session_in_cookies(gateway: Running, browser: Browsing) -> None:
    """A login sets cookies of at most 3 900 bytes; the application sees who calls, and none of ours."""
    found = logged_in(browser)
    assert all(len(name) + len(value) < 3900 for name, value in held(found).items())
    received = received_of(found.get("/x"))
    assert received["cookie"] == "app=mine"
    assert received["authorization"].startswith("Bearer ")
    assert received_of(ask(gateway, {**held(found), "theme": "dark"}, "/open/x"))["cookie"] == "theme=dark"


def test_warm_requests_ask_nobody(gateway: Running, browser: Browsing) -> None:
    """What a worker has seen it does not ask about again while the attested token holds."""
    cookies = held(logged_in(browser))
    before = asked_about_sessions(gateway)
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", headers=SCRIPT) as one_connection:
        line = "; ".join(f"{name}={value}" for name, value in cookies.items())
        answers = [one_connection.get("/x", headers={"Cookie": line}) for _ in range(100)]
    assert {answer.status_code for answer in answers} == {200}
    # none, where the login ended at the worker that this connection has
    assert asked_about_sessions(gateway) - before <= 3


def test_a_session_goes_on_with_new_cookies(gateway: Running, issuer: IdpServer, browser: Browsing) -> None:
    """
    Across renewals the browser gets new cookies with ordinary answers, beside the application's own, and no cache is to
    keep those; many requests with the old cookies at once make one renewal; a service that was killed knows the new.
    """
    found = logged_in(browser)
    name = _session_of(found)
    for _ in range(2):
        before, count = held(found), refreshes(issuer)
        renewing: list[httpx.Response] = []

        def renewed(before: dict[str, str] = before, renewing: list[httpx.Response] = renewing) -> bool:
            with ThreadPoolExecutor(10) as pool:
                answers = list(pool.map(lambda _: ask(gateway, before), range(10)))
            assert {answer.status_code for answer in answers} == {200}
            renewing += [answer for answer in answers if COOKIE in answer.cookies]
            return bool(renewing)

        wait_for(renewed, "new cookies", LIFESPAN_S + 10)
        assert refreshes(issuer) == count + 1
        lines = {tuple(sorted(answer.headers.get_list("set-cookie"))) for answer in renewing}
        assert len(lines) == 1
        assert "app=mine; Path=/" in lines.pop()
        assert all("no-store" in answer.headers["cache-control"] for answer in renewing)
        late = ask(gateway, before)
        assert late.status_code == 200
        found.cookies.update(renewing[0].cookies)
        assert held(found) != before
        assert found.get("/x").status_code == 200
        gateway.signal("service", signal.SIGKILL)
        wait_for(
            lambda: ask(gateway, held(found), "/oauth/token").status_code == 200, "the service is back", 20
        )
        assert _session_of(found) == name
        assert found.get("/x").status_code == 200


def test_who_is_met_after_the_service_was_killed(gateway: Running, browser: Browsing) -> None:
    """A service that has just been started again vouches for sessions that no worker knows, from its first answer on."""
    for _ in range(3):
        known, new = logged_in(browser), held(logged_in(browser))
        gateway.signal("service", signal.SIGKILL)
        wait_for(
            lambda known=known: ask(gateway, held(known), "/oauth/token").status_code == 200, "it is back", 20
        )
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _, new=new: ask(gateway, new), range(20)))
        assert {(answer.status_code, answer.reason_phrase) for answer in answers} == {(200, "OK")}


def _session_of(found: httpx.Client) -> str:
    """The name of the login at the issuer, which a renewal does not change."""
    return str(found.get("/oauth/token").json()["sid"])


def test_what_was_tampered_with_is_no_session(gateway: Running, browser: Browsing) -> None:
    """A character changed in whichever cookie, a cookie missing or foreign, is 401 and takes the cookies away."""
    cookies = held(logged_in(browser))
    assert ask(gateway, cookies).status_code == 200
    for name, value in cookies.items():
        for at in (0, len(value) // 2, len(value) - 1):
            changed = value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]
            assert over(ask(gateway, {**cookies, name: changed})), (name, at)
        assert over(ask(gateway, {**cookies, name: ""})), name
        rest = {other: one for other, one in cookies.items() if other != name}
        assert over(ask(gateway, rest)) or name == COOKIE, name
        swapped = dict(zip(cookies, reversed(cookies.values()), strict=True))
        assert over(ask(gateway, swapped))
    without_first = {name: value for name, value in cookies.items() if name != COOKIE}
    assert ask(gateway, without_first).status_code == 401
    other = held(logged_in(browser))
    assert over(ask(gateway, {**cookies, f"{COOKIE}-1": other[f"{COOKIE}-1"]}))
    assert over(ask(gateway, {**cookies, f"{COOKIE}-3": "x" * 9000}))
    assert ask(gateway, cookies).status_code == 200


def test_a_cookie_that_is_there_twice_is_400(gateway: Running, browser: Browsing) -> None:
    """Whichever it is, and also when both are the same."""
    cookies = held(logged_in(browser))
    for name, value in cookies.items():
        for twice in (value, "planted", ""):
            assert ask(gateway, [*cookies.items(), (name, twice)]).status_code == 400, name
            assert ask(gateway, [(name, twice), *cookies.items()]).status_code == 400, name


def test_a_broken_session_logs_in_again(gateway: Running, browser: Browsing) -> None:
    """A person whose cookies do not open is sent to the login and comes back with a session; what was left over is gone."""
    found = logged_in(browser)
    found.cookies.set(f"{COOKIE}-3", "left-over", domain="127.0.0.1", path="/")
    landed = found.get("/x?y=1", follow_redirects=True)
    assert (landed.status_code, landed.json()["path"]) == (200, "/x?y=1")
    assert list(held(found)) == [COOKIE, f"{COOKIE}-1", f"{COOKIE}-2"]


def test_a_logout_holds_at_once(gateway: Running, browser: Browsing) -> None:
    """All cookies go; a copy of them, warm in every worker, is refused from the logout's answer on."""
    found = logged_in(browser)
    copy = held(found)
    assert {ask(gateway, copy).status_code for _ in range(20)} == {200}
    ours = {"Origin": f"http://127.0.0.1:{gateway.port}", "Sec-Fetch-Site": "same-origin"}
    answer = found.post("/oauth/logout", headers=ours)
    assert answer.status_code == 303
    assert held(found) == {}
    assert {ask(gateway, copy).status_code for _ in range(20)} == {401}
    assert found.get("/x", headers=SCRIPT).status_code == 401


def test_a_login_beyond_12_kb_ends_on_a_page(gateway: Running, browser: Browsing) -> None:
    """Four hundred roles do not fit: a page says what is too large and what helps, and nobody is logged in."""
    found = browser()
    landed = sign_in(found, "admin")
    assert landed.status_code == 403
    assert "Your session is too large" in landed.text
    assert "Redis" in landed.text
    assert held(found) == {}
    assert gateway.metrics()['wardgate_login_failures_total{reason="login-size"}'] == 1


def test_sessions_in_browsers_are_not_listed(gateway: Running) -> None:
    """`wardgate sessions` says why it cannot list or end them."""
    for words in (["list"], ["revoke", "--all"], ["revoke", "n" * 32]):
        command = [str(COMMAND), "sessions", *words, "--state-dir", str(gateway.folder / "state")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "kept in the browsers" in done.stderr
