"""
The console in a real browser with real Keycloak: requests come by themselves, people decide, agents hear of it; nobody decides
on their own, and no other page decides for them. Pictures of each page land in the folder that SCREENSHOTS names.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.holding.agents import AGENT, ASK_PEOPLE, REVIEWER, Agent, AgentGateway
from tests.parts.keycloak import Keycloak
from tests.parts.loopback import free_port
from tests.real.aip import token
from tests.real.reading import look
from tests.real.shop import PASSWORD, Person
from tests.real.visiting import at_login, fill_in

pytestmark = pytest.mark.timeout(300)

LONG: Final = "k8s://prod/a-namespace-that-is-long/deployment/and-a-name-without-any-blank-where-a-line-could-end-0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    gateway: AgentGateway
    issuer: str
    reviewer: Person
    owner: Person
    nobody: Person

    @property
    def url(self) -> str:
        return f"http://localhost:{self.gateway.port}/console"

    @property
    def agent(self) -> Agent:
        return self.gateway.as_(token(self.issuer, AGENT))

    def visit(self, profile: BrowserContext, person: Person) -> Page:
        """The queue, after a login."""
        page = profile.new_page()
        page.goto(self.url)
        fill_in(page, person)
        return page


def _person(keycloak: Keycloak, name: str) -> Person:
    told: dict[str, Any] = {
        "username": name,
        "enabled": True,
        "email": f"{name}@aip.test",
        "emailVerified": True,
        "firstName": name.title(),
        "lastName": "Person",
        "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
    }
    keycloak.admin("POST", "/aip/users", told)
    found = keycloak.admin("GET", f"/aip/users?exact=true&username={name}")
    return Person(id=found[0]["id"], name=name)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, keycloak: Keycloak, aip: str) -> Iterator[Console]:
    reviewer, owner, nobody = (_person(keycloak, name) for name in ("maria", "olga", "nobody"))
    port = free_port()
    url = f"http://localhost:{port}"
    client = {
        "clientId": "aip-console",
        "enabled": True,
        "publicClient": False,
        "standardFlowEnabled": True,
        "secret": "console-secret-word",
        "redirectUris": [f"{url}/oauth/callback"],
        "attributes": {"post.logout.redirect.uris": f"{url}/*", "pkce.code.challenge.method": "S256"},
    }
    keycloak.admin("POST", "/aip/clients", client)
    flags = (
        *("--reviewer-subjects", f"{REVIEWER},{reviewer.id},{owner.id}"),
        *("--agent-owners", f"{AGENT}={owner.name}@aip.test"),
        *("--console-client-id", "aip-console", "--console-url", url),
        *("--addr", f"127.0.0.1:{port}"),
    )
    env = {"WARDGATE_CONSOLE_CLIENT_SECRET": "console-secret-word"}
    folder = tmp_path_factory.mktemp("console")
    with AgentGateway(folder, aip, *flags, policies=ASK_PEOPLE, env=env, port=port) as gateway:
        yield Console(gateway=gateway, issuer=aip, reviewer=reviewer, owner=owner, nobody=nobody)
        assert "secret-word" not in gateway.errors()


def test_a_request_comes_live_and_the_agent_sees_the_approval(
    console: Console, profile: BrowserContext, pictures: Path
) -> None:
    said: list[str] = []
    profile.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page = console.visit(profile, console.reviewer)
    expect(page.locator("h1")).to_have_text("Requests")
    expect(page.locator(".empty")).to_be_visible()
    expect(page.locator("#state")).to_have_text("Live")
    look(page, "console-empty", pictures)

    parameters = {"replicas": 3, "why": "<script>alert(1)</script>"}
    asked = console.agent.ask(parameters=parameters, reason="peak is over\n<b>bold</b>")
    console.agent.ask(targetURI=LONG, reason="")
    heard: list[dict[str, Any]] = []

    def watch() -> None:
        with console.agent.watch(asked["name"]) as events:
            heard.extend(data for kind, data in events if kind == "result")

    watching = threading.Thread(target=watch)
    watching.start()
    expect(page.locator(".queue li")).to_have_count(2, timeout=5000)
    assert page.title().startswith("(2) ")
    look(page, "console-queue", pictures)

    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("scale-down")
    expect(page.locator("pre")).to_contain_text("<script>alert(1)</script>")
    look(page, "console-detail", pictures)
    page.get_by_label("Reason").fill("the window is open")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("dl .phase")).to_have_text("Approved")
    expect(page.locator(".history")).to_contain_text("maria@aip.test approved")
    watching.join(timeout=10)
    assert [each["phase"] for each in heard] == ["Approved"]
    decided = console.agent.read(asked["name"])
    assert decided["conditions"][-1]["message"] == "the window is open"
    assert decided["conditions"][-1]["by"] == console.reviewer.id
    look(page, "console-decided", pictures)
    assert said == []


def test_who_answers_for_the_agent_cannot_decide(
    console: Console, profile: BrowserContext, pictures: Path
) -> None:
    name = console.agent.ask(targetURI="k8s://prod/default/deployment/of-an-owner")["name"]
    page = console.visit(profile, console.owner)
    expect(page.locator(".queue .mine").first).to_be_visible()
    page.goto(f"{console.url}/requests/{name}")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    expect(page.locator(".notice")).to_contain_text("Somebody else has to decide")
    look(page, "console-own", pictures)
    token_of_page = page.evaluate("() => document.querySelector('input[name=token]')")
    assert token_of_page is None
    page.goto(console.url)
    # with the token of another page of theirs, as somebody would who does not mind what is shown
    status = page.evaluate(
        """async (url) => {
          const answer = await fetch(url, {method: "POST", body: new URLSearchParams({reason: "mine"})});
          return answer.status;
        }""",
        f"{console.url}/requests/{name}/approve",
    )
    assert status == 403
    assert console.agent.read(name)["phase"] == "Pending"


def test_another_decides_first(console: Console, profile: BrowserContext) -> None:
    """The page that somebody is looking at says so, by itself."""
    name = console.agent.ask(targetURI="k8s://prod/default/deployment/raced")["name"]
    page = console.visit(profile, console.reviewer)
    page.goto(f"{console.url}/requests/{name}")
    expect(page.locator("#state")).to_have_text("Live")
    other = console.gateway.as_(token(console.issuer, REVIEWER))
    assert other.decide(name, "deny", "not today").status_code == 200
    expect(page.locator("dl .phase")).to_have_text("Denied", timeout=5000)
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)


def test_somebody_who_does_not_decide(console: Console, profile: BrowserContext, pictures: Path) -> None:
    page = profile.new_page()
    page.goto(console.url)
    fill_in(page, console.nobody)
    expect(page.locator("h1")).to_have_text("You do not decide here")
    look(page, "console-stranger", pictures)


def test_after_a_logout_nothing_is_decided(console: Console, profile: BrowserContext, pictures: Path) -> None:
    name = console.agent.ask(targetURI="k8s://prod/default/deployment/left")["name"]
    page = console.visit(profile, console.reviewer)
    page.goto(f"{console.url}/requests/{name}")
    left = profile.new_page()
    left.goto(console.url)
    left.get_by_role("button", name="Sign out").click()
    expect(left.locator("body")).not_to_contain_text("Requests")
    page.evaluate("() => document.querySelector('form.decide').requestSubmit()")
    expect(page.locator("h1")).to_have_text("Nothing was decided", timeout=10000)
    look(page, "console-signed-out", pictures)
    assert console.agent.read(name)["phase"] == "Pending"
    page.get_by_role("link", name="Sign in").click()
    assert at_login(page)


def test_the_record(console: Console, profile: BrowserContext, pictures: Path) -> None:
    console.agent.ask(targetURI="k8s://prod/default/deployment/noted")
    page = console.visit(profile, console.reviewer)
    page.get_by_role("link", name="Record").click()
    expect(page.locator("h1")).to_have_text("Record")
    expect(page.locator(".history li").first).to_contain_text("asked")
    look(page, "console-record", pictures)
    page.goto(f"{console.url}/requests/none-of-these")
    expect(page.locator("h1")).to_have_text("No such request")
    look(page, "console-error", pictures)


def test_the_api_takes_no_cookie_and_the_console_no_token(console: Console, profile: BrowserContext) -> None:
    page = console.visit(profile, console.reviewer)
    answer = page.request.get(f"http://localhost:{console.gateway.port}/agent-requests")
    assert answer.status == 401
    reviewer = console.gateway.as_(token(console.issuer, REVIEWER))
    assert reviewer.send("GET", "/console").status_code == 303
    assert reviewer.send("POST", "/console/requests/x/approve").status_code == 401
