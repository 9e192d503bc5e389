"""
What policies of both products ask beside who calls, at a running gateway: keys of clients, names and passwords, pages of one's own
site, how often; and what a policy answers by itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.echo import Echo
from tests.holding.manifests import Manifests, before_app, guarded
from tests.holding.running import IN_FORCE
from tests.sending import Answer
from tests.service.issuer import wait_for

pytestmark = pytest.mark.xdist_group("holding-gateway-api-gates")


def digest(password: str) -> str:
    return (
        "{SHA}" + base64.b64encode(hashlib.sha1(password.encode(), usedforsecurity=False).digest()).decode()
    )


SECURITY: Final = {
    "keys": """
  apiKeyAuth:
    credentialRefs: [{name: keys}]
    extractFrom: [{headers: [x-api-key]}, {params: [key]}, {cookies: [key]}]
    forwardClientIDHeader: X-Client
    sanitize: true
""",
    "bearer-keys": """
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [Authorization]}]}
  authorization:
    defaultAction: Deny
    rules: [{action: Allow, operation: {methods: [GET]}}]
""",
    "people": """
  basicAuth: {users: {name: users}, forwardUsernameHeader: X-User}
""",
    "own-pages": """
  csrf: {additionalOrigins: ["https://*.friends.test", "https://exact.test:8443"]}
""",
    "hashes": """
  basicAuth: {users: {name: bcrypt}}
""",
    "conflict": """
  basicAuth: {users: {name: users}}
  jwt: {providers: [{name: id, issuer: "https://id.test", remoteJWKS: {uri: "https://id.test/keys"}}]}
""",
}
AGENT: Final = {
    "agent-keys": """
  traffic: {apiKeyAuthentication: {secretRef: {name: agent-keys}, location: {header: {name: x-api-key}}}}
""",
    "agent-optional": """
  traffic: {apiKeyAuthentication: {mode: Optional, secretRef: {name: agent-keys}, location: {queryParameter: {name: key}}}}
""",
    "agent-permissive": """
  traffic: {apiKeyAuthentication: {mode: Permissive, secretRef: {name: agent-keys}, location: {cookie: {name: key}}}}
""",
    "agent-people": """
  traffic: {basicAuthentication: {users: ["bob:{SHA}9Kq4..."]}}
""".replace("{SHA}9Kq4...", digest("builder")),
    "agent-pages": """
  traffic: {csrf: {additionalOrigins: ["https://friends.test"]}}
""",
    "limited": """
  traffic: {rateLimit: {local: [{requests: 2, unit: Hours, burst: 1}]}}
""",
    "limited-twice": """
  traffic: {rateLimit: {local: [{requests: 3, unit: Hours}, {requests: 100, unit: Seconds}, {requests: 50, unit: Minutes, burst: 5}]}}
""",
    "answered": """
  traffic: {directResponse: {status: 418, body: "short and stout"}}
""",
}
SECRETS: Final = f"""
---
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{red: r3d-key, blue: blu3-key}}
---
apiVersion: v1
kind: Secret
metadata: {{name: agent-keys}}
stringData:
  red: r3d-key
  blue: '{{"key": "blu3-key", "metadata": {{"team": "blue"}}}}'
  green: '{{"keyHash": "sha256:{hashlib.sha256(b"gr33n-key").hexdigest()}"}}'
---
apiVersion: v1
kind: Secret
metadata: {{name: users}}
stringData: {{.htpasswd: "ann:{digest("s3cret: word")}\\nbob:{digest("builder")}\\n"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: bcrypt}}
stringData: {{.htpasswd: "ann:$2y$05$abcdefghijklmnopqrstuu"}}
"""


class Site:
    def __init__(self, gateway: Manifests, application: Echo) -> None:
        self.gateway = gateway
        self._application = application

    def ask(self, host: str, *headers: tuple[str, str], path: str = "/x", method: str = "GET") -> Answer:
        return self.gateway.at(host, *headers, path=path, method=method)

    def arrived(self, host: str, *headers: tuple[str, str], path: str = "/x") -> dict[str, str]:
        before = len(self._application.arrivals())
        assert self.ask(host, *headers, path=path).status == 200
        (arrival,) = self._application.arrivals()[before:]
        return {":path": arrival.path, **{name.lower(): value for name, value in arrival.headers}}


def running(folder: Path, kind: str, policies: dict[str, str]) -> Iterator[Site]:
    routes = SECRETS + "".join(guarded(name, kind, policy) for name, policy in policies.items())
    with Echo() as application, before_app(folder, routes, {"80": application.url}) as gateway:
        yield Site(gateway, application)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("security")
    yield from running(folder, "SecurityPolicy", SECURITY)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Apart, as a Gateway answers in the words of one product."""
    folder = tmp_path_factory.mktemp("agents")
    yield from running(folder, "AgentgatewayPolicy", AGENT)


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["code"])


def basic(name: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_keys_of_clients(site: Site) -> None:
    """In a header, a query parameter or a cookie: the upstream is told whose, and does not see the key."""
    for headers, path in (
        ([("X-Api-Key", "r3d-key")], "/x?a=1"),
        ([], "/x?key=r3d-key&a=1"),
        ([("Cookie", "a=b; key=r3d-key")], "/x?a=1"),
    ):
        seen = site.arrived("keys", *headers, ("X-Client", "forged"), ("X.Client", "forged"), path=path)
        assert seen["x-client"] == "red" and "r3d-key" not in str(seen), (headers, path)
        assert not [name for name in seen if name.startswith("x-wardgate")]
    missing = site.ask("keys", ("X-Wardgate-Key-Of", "red"))
    assert (missing.status, code(missing)) == (401, "api-key-missing")
    wrong = site.ask("keys", ("X-Api-Key", "r3d-keY"))
    assert (wrong.status, code(wrong)) == (401, "api-key-unknown")
    assert site.ask("keys", ("X-Api-Key", "")).status == 401
    assert "r3d-key" not in site.gateway.errors()


def test_another_key_is_in_force_without_a_restart(site: Site) -> None:
    """The one before is refused from then on."""
    manifests = (site.gateway.file / "routes.yaml").read_text("utf-8")
    before = site.gateway.count(IN_FORCE)
    site.gateway.write({"routes.yaml": manifests.replace("r3d-key, blue", "n3w-key, blue")})
    wait_for(lambda: site.gateway.count(IN_FORCE) > before, "in force", 20)
    assert site.arrived("keys", ("X-Api-Key", "n3w-key"))["x-client"] == "red"
    assert site.ask("keys", ("X-Api-Key", "r3d-key")).status == 401
    site.gateway.write({"routes.yaml": manifests})
    wait_for(lambda: site.gateway.count(IN_FORCE) > before + 1, "in force", 20)


def test_keys_and_passwords_are_not_told(site: Site) -> None:
    """Neither in what is said, nor by what shows the configuration."""
    shown = site.gateway.errors()
    for command, code in (("compile", 0), ("check", 2)):  # of two policies conditions are False
        asked = [sys.executable, "-m", "wardgate", command, "-c", str(site.gateway.file)]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        assert found.returncode == code, found.stderr
        shown += found.stdout + found.stderr
    assert "not shown: secret default/keys red" in shown
    for secret in ("r3d-key", "blu3-key", digest("builder").removeprefix("{SHA}")):
        assert secret not in shown


def test_keys_and_rules_hold_together(site: Site) -> None:
    key = ("Authorization", "Bearer blu3-key")
    assert site.arrived("bearer-keys", key)["authorization"] == "Bearer blu3-key"
    assert site.ask("bearer-keys", key, method="PUT").status == 403
    assert site.ask("bearer-keys").status == 401


def test_names_and_passwords(site: Site) -> None:
    seen = site.arrived("people", basic("ann", "s3cret: word"), ("X-User", "forged"))
    assert seen["x-user"] == "ann"
    for headers, expected in (
        ([], "basic-missing"),
        ([("Authorization", "Bearer abc")], "basic-missing"),
        ([basic("ann", "builder")], "basic-wrong"),
        ([basic("nobody", "builder")], "basic-wrong"),
        ([("X-Wardgate-User", "ann")], "basic-missing"),
    ):
        answer = site.ask("people", *headers)
        assert (answer.status, code(answer)) == (401, expected), headers
        assert answer.header("www-authenticate") == 'Basic realm="wardgate"'


def test_only_pages_of_this_site_change_anything(site: Site) -> None:
    for origin, status in (
        ("http://own-pages.test", 200),
        ("https://a.friends.test", 200),
        ("https://exact.test:8443", 200),
        ("https://exact.test", 403),
        ("https://friends.test", 403),
        ("https://evil.test", 403),
        ("null", 403),
        (None, 403),
    ):
        headers = [("Origin", origin)] if origin else []
        assert site.ask("own-pages", *headers, method="POST").status == status, origin
        assert site.ask("own-pages", *headers).status == 200
    assert code(site.ask("own-pages", method="DELETE")) == "cross-site"
    assert site.ask("own-pages", ("Referer", "http://own-pages.test/page"), method="PUT").status == 200


def test_what_cannot_be_enforced_closes(site: Site) -> None:
    for host in ("hashes", "conflict"):
        assert site.ask(host, basic("ann", "builder")).status == 500
    assert "{SHA}" in site.gateway.errors() and "two credentials" in site.gateway.errors()


def test_agentgateway_says_it_in_its_words(agents: Site) -> None:
    assert "x-api-key" not in agents.arrived("agent-keys", ("X-Api-Key", "blu3-key"))
    for host, headers, words in (
        ("agent-keys", [], "api key authentication failure: no API Key found"),
        ("agent-keys", [("X-Api-Key", "x")], "api key authentication failure: invalid credentials"),
        ("agent-people", [], "basic authentication failure: no basic authentication credentials found"),
        ("agent-people", [basic("bob", "x")], "basic authentication failure: invalid credentials"),
    ):
        answer = agents.ask(host, *headers)
        assert (answer.status, answer.body.decode()) == (401, words)
        challenge = 'Basic realm="Restricted"' if host == "agent-people" else None
        assert answer.header("www-authenticate") == challenge
    assert agents.ask("agent-people", basic("bob", "builder")).status == 200


def test_keys_that_need_not_be_there(agents: Site) -> None:
    """Optional: who brings none passes, not who brings another. Permissive: that one, too. Of a key its hash is enough."""
    for path, status in (
        ("/x?key=r3d-key&a=1", 200),
        ("/x?key=gr33n-key", 200),
        ("/x", 200),
        ("/x?key=x", 401),
    ):
        assert agents.ask("agent-optional", path=path).status == status, path
    assert agents.arrived("agent-optional", path="/x?key=r3d-key&a=1")[":path"] == "/x?a=1"
    for key in ("r3d-key", "x"):
        assert "cookie" not in agents.arrived("agent-permissive", ("Cookie", f"key={key}"))
    assert "r3d-key" not in agents.gateway.errors()


def test_pages_by_what_browsers_say(agents: Site) -> None:
    """Sec-Fetch-Site counts before Origin; who says neither is no browser."""
    for headers, status in (
        ({}, 200),
        ({"Origin": "null"}, 200),
        ({"Origin": "http://agent-pages.test"}, 200),
        ({"Origin": "https://agent-pages.test"}, 403),
        ({"Origin": "https://friends.test"}, 200),
        ({"Origin": "https://evil.test"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://friends.test"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://agent-pages.test"}, 403),
    ):
        answer = agents.ask("agent-pages", *headers.items(), method="POST")
        assert answer.status == status, headers
        assert status == 200 or answer.body.decode() == "CSRF validation failed"
        assert agents.ask("agent-pages", *headers.items()).status == 200


def test_how_often(agents: Site) -> None:
    """Two an hour, and one more at once."""
    answers = [agents.ask("limited") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].body.decode() == "rate limit exceeded"


def test_how_often_by_several_limits(agents: Site) -> None:
    """Each of them holds: a hundred a second are no more than three an hour."""
    answers = [agents.ask("limited-twice") for _ in range(6)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429, 429]


def test_an_answer_of_the_policy(agents: Site) -> None:
    answer = agents.ask("answered")
    assert (answer.status, answer.body.decode()) == (418, "short and stout")
