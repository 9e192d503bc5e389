"""
The console through a real Envoy, by whoever speaks HTTP: who gets in, what counts as one of its own forms, what it tells live.
How it looks, and a browser's own part, is in `tests/real/test_console.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.holding.agents import AGENT, ASK_PEOPLE, REALM, REVIEWER, Agent, AgentGateway
from tests.login_page import sent
from tests.parts.loopback import free_port
from tests.realm import Realm
from tests.service.issuer import wait_for
from wardgate.idp import IdpServer

pytestmark = pytest.mark.timeout(120)

PEOPLE = {user["username"]: user["id"] for user in json.loads(REALM.read_text("utf-8"))["users"]}
MARIA, OLGA = PEOPLE["maria"], PEOPLE["olga"]


@dataclass
class Browser:
    """Somebody with a cookie jar, who is at the console's address."""

    url: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def get(self, path: str) -> httpx.Response:
        headers = {"accept": "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        return self.http.get(self.url + path, headers=headers)

    def log_in(self, name: str) -> httpx.Response:
        """The page where the login ends."""
        at, answer = self.url + "/console", self.get("/console")
        for _ in range(8):
            if answer.status_code in (302, 303):
                at = str(answer.url.join(answer.headers["location"]))
                answer = self.http.get(at, headers={"accept": "text/html"})
            elif 'id="kc-form-login"' in answer.text:
                answer = sent(self.http, answer, name)
            else:
                return answer
        raise AssertionError(f"the login goes round in circles: {at}")

    def form_token(self, name: str) -> str:
        found = re.search(r'name="token" value="([^"]+)"', self.get(f"/console/requests/{name}").text)
        assert found is not None
        return found[1]

    def decide(
        self, name: str, token: str, verb: str = "approve", reason: str = "", **headers: str
    ) -> httpx.Response:
        """By the form of the page, or by one of another site."""
        said = {key.replace("_", "-"): value for key, value in headers.items()} or {"origin": self.url}
        form = {"token": token, "reason": reason}
        return self.http.post(f"{self.url}/console/requests/{name}/{verb}", data=form, headers=said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    gateway: AgentGateway
    realm: Realm
    browsers: list[Browser] = field(default_factory=list)

    def nobody(self) -> Browser:
        self.browsers.append(Browser(self.url))
        return self.browsers[-1]

    @property
    def url(self) -> str:
        return f"http://localhost:{self.gateway.port}"

    @property
    def agent(self) -> Agent:
        return self.gateway.as_(self.realm.token(client=AGENT).access)

    def browser(self, name: str = "maria") -> Browser:
        browser = self.nobody()
        answer = browser.log_in(name)
        assert answer.status_code == 200, answer.text
        return browser

    def asked(self) -> str:
        return str(self.agent.ask()["name"])


@contextmanager
def standing(folder: Path, *flags: str) -> Iterator[Place]:
    port = free_port()
    url = f"http://localhost:{port}"
    file = folder / "realm.json"
    file.write_text(REALM.read_text("utf-8").replace("http://localhost:8080", url), "utf-8")
    console = ("--console-client-id", "aip-console", "--console-url", url)
    people = (
        "--reviewer-subjects",
        f"{REVIEWER},{MARIA},{OLGA}",
        "--agent-owners",
        f"{AGENT}=olga@example.com",
    )
    with (
        IdpServer(file) as idp,
        Realm(idp.issuer.partition("/realms/")[0], file) as realm,
        AgentGateway(
            folder,
            realm.issuer,
            *(*console, *people, *flags),
            policies=ASK_PEOPLE,
            env={"WARDGATE_CONSOLE_CLIENT_SECRET": "console-secret"},
            port=port,
        ) as gateway,
    ):
        place = Place(gateway=gateway, realm=realm)
        yield place
        for browser in place.browsers:
            browser.http.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with standing(tmp_path_factory.mktemp("console")) as place:
        yield place


def test_a_person_decides(place: Place) -> None:
    name, browser = place.asked(), place.browser()
    assert name in browser.get("/console").text
    answer = browser.decide(name, browser.form_token(name), reason="fine & <good>")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/requests/{name}")
    found = place.agent.read(name)
    assert (found["phase"], found["conditions"][-1]["by"]) == ("Approved", MARIA)
    page = browser.get(f"/console/requests/{name}").text
    assert "fine &amp; &lt;good&gt;" in page and "<good>" not in page
    taken = browser.decide(name, browser.form_token(name), "revoke", "not after all")
    assert taken.status_code == 303 and place.agent.read(name)["denial"]["code"] == "APPROVAL_REVOKED"


def test_without_a_session_there_is_a_login_and_nothing_else(place: Place) -> None:
    name, nobody = place.asked(), place.nobody()
    for path in ("/console", f"/console/requests/{name}", "/console/record"):
        answer = nobody.get(path)
        assert answer.status_code == 303 and answer.headers["location"].startswith(place.realm.issuer)
    assert nobody.decide(name, "x").status_code == 401
    assert nobody.get("/console/live").status_code == 204
    bearer = place.realm.token(client=REVIEWER).access
    with_token = httpx.get(f"{place.url}/console", headers={"authorization": f"Bearer {bearer}"})
    assert with_token.status_code == 303
    assert place.agent.read(name)["phase"] == "Pending"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"x_nothing": "said"},
    ],
)
def test_no_other_page_decides(place: Place, headers: dict[str, str]) -> None:
    """With a good token, even: a page of ours says that it is one."""
    name, browser = place.asked(), place.browser()
    assert browser.decide(name, browser.form_token(name), **headers).status_code == 403
    assert place.agent.read(name)["phase"] == "Pending"


def test_the_token_of_a_form_is_of_one_session(place: Place) -> None:
    name, browser, other = place.asked(), place.browser(), place.browser("olga")
    for token in (
        "",
        "x",
        other.form_token(name) if "token" in other.get(f"/console/requests/{name}").text else "y",
    ):
        assert browser.decide(name, token).status_code == 403
    again = place.browser()
    assert browser.decide(name, again.form_token(name)).status_code == 403
    assert browser.http.get(f"{place.url}/console/requests/{name}/approve").status_code == 405
    assert place.agent.read(name)["phase"] == "Pending"


def test_nobody_decides_on_their_own(place: Place) -> None:
    name, owner, browser = place.asked(), place.browser("olga"), place.browser()
    assert "Somebody else has to decide" in owner.get(f"/console/requests/{name}").text
    own = place.browser("olga")
    assert (
        re.search(r'<button[^>]*formaction="[^"]*approve"', own.get(f"/console/requests/{name}").text) is None
    )
    assert re.search(r'<button[^>]*formaction="[^"]*approve"', browser.get(f"/console/requests/{name}").text)
    assert place.agent.read(name)["phase"] == "Pending"


def test_what_is_told_live(place: Place) -> None:
    browser = place.browser()
    with browser.http.stream("GET", f"{place.url}/console/live") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: view"
        name = place.asked()
        for line in lines:
            if line.startswith("data: ") and name in json.loads(line.removeprefix("data: ")):
                break
    left = browser.http.post(f"{place.url}/oauth/logout", headers={"origin": place.url})
    assert left.status_code in (200, 302, 303)
    assert browser.get("/console/live").status_code == 204
    assert browser.decide(name, "x").status_code == 401


def test_who_watches_is_told_that_the_session_is_over(place: Place) -> None:
    browser, other = place.browser(), place.nobody()
    other.http.cookies = httpx.Cookies(browser.http.cookies)
    with browser.http.stream("GET", f"{place.url}/console/live") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: view"
        other.http.post(f"{place.url}/oauth/logout", headers={"origin": place.url})
        place.asked()  # something changes: whoever waits is looked at anew
        assert "event: over" in list(lines)


def test_what_is_not_there(place: Place) -> None:
    browser = place.browser()
    for path in ("/console/requests/none-xxxxx", "/console/nothing", "/console/requests/a/b/c", "/consolex"):
        assert browser.get(path).status_code == 404
    assert browser.get("/console?phase=%00&before=-1&agent=%27").status_code == 200
    assert browser.get("/console/record?before=99999999999999999999").status_code == 200
    name = place.asked()
    assert browser.decide(name, browser.form_token(name), "nothing").status_code == 404
    long = browser.decide(name, browser.form_token(name), reason="x" * 5000)
    assert long.status_code == 400 and place.agent.read(name)["phase"] == "Pending"


def test_the_session_cookie_does_not_reach_the_api(place: Place) -> None:
    browser = place.browser()
    assert browser.http.get(f"{place.url}/agent-requests").status_code == 401
    assert browser.http.get(f"{place.url}/whoami").status_code == 401


def test_sessions_that_browsers_keep(tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef"
    with standing(tmp_path, "--console-sessions", "cookie", "--console-encryption-key", key) as place:
        name, browser = place.asked(), place.browser()
        assert browser.decide(name, browser.form_token(name)).status_code == 303
        wait_for(lambda: place.agent.read(name)["phase"] == "Approved", "it is decided", 5)


def test_without_a_client_there_is_no_console(tmp_path: Path, place: Place) -> None:
    (tmp_path / "plain").mkdir()
    with AgentGateway(tmp_path / "plain", place.realm.issuer, policies=ASK_PEOPLE) as gateway:
        assert httpx.get(f"http://127.0.0.1:{gateway.port}/console").status_code == 404
