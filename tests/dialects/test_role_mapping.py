"""S1's `role_mapping.yaml`: what it opens, and that nothing unreadable opens anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.golden import golden
from wardgate import dialects, document
from wardgate.cli import app
from wardgate.decision import Request, decide
from wardgate.decision.forward_auth import FORWARDED
from wardgate.dialects import Options, Reading, role_mapping
from wardgate.policy import Kind, Policy
from wardgate.principal import Anonymous, Principal
from wardgate.problems import errors

ENVIRON = {"KEYCLOAK_URL": "https://auth.example.com", "KEYCLOAK_REALM": "shop"}
S1 = """
/api/v1/admin:
  - admin-role
/api/v1/auditflow:
  - admin-role
  - auditflow-role
/v3/api-docs: []
/actuator: []
/actuator/env: [admin-role]
/below/: [admin-role]
"""


def read(text: str, **more: object) -> Reading:
    options = Options(environ=ENVIRON, trusted_proxies=("127.0.0.1/32",), **more)  # type: ignore[arg-type]
    return dialects.read([document.read(text, "role_mapping.yaml", ENVIRON)], options)


@pytest.fixture(scope="module")
def policy() -> Policy:
    found = read(S1).policy
    assert found is not None
    return found


def caller(*roles: str, client: str = "") -> Principal:
    access: dict[str, object] = {"roles": list(roles)}
    told = {"resource_access": {client: access}} if client else {"realm_access": access}
    claims = {"sub": "u", "aud": "account", **told}
    return Principal(kind=Kind.BEARER, provider="keycloak", claims=claims, token="aaa.bbb.ccc")


ADMIN, AUDITOR, NOBODY = caller("admin-role"), caller("auditflow-role"), Anonymous()
CLIENT, OTHER = caller("admin-role", client="account"), caller("admin-role", client="other")


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/api/v1/admin", NOBODY, 401),
        ("/api/v1/admin", ADMIN, 200),
        ("/api/v1/admin/x?y=/v3/api-docs", ADMIN, 200),
        ("/api/v1/admin", CLIENT, 200),
        ("/api/v1/admin", OTHER, 403),
        ("/api/v1/admin", AUDITOR, 403),
        ("/api/v1/administration", ADMIN, 403),
        ("/api/v1/auditflow/x", AUDITOR, 200),
        ("/api/v1/auditflow/x", ADMIN, 200),
        ("/api/v1", ADMIN, 403),
        ("/v3/api-docs", NOBODY, 200),
        ("/v3/api-docs/x", ADMIN, 200),
        ("/actuator/health", NOBODY, 200),
        ("/actuatorx", NOBODY, 401),
        ("/actuator/env", NOBODY, 401),
        ("/actuator/env/x", AUDITOR, 403),
        ("/actuator/ENV", NOBODY, 403),
        ("/below", ADMIN, 403),
        ("/below/x", ADMIN, 200),
        ("/unlisted", NOBODY, 401),
        ("/unlisted", ADMIN, 403),
        ("/actuator/../api/v1/admin", ADMIN, 400),
    ],
)
def test_who_may(policy: Policy, path: str, who: Principal | Anonymous, status: int) -> None:
    """The longest prefix decides, at the end of a segment; roles are the realm's and the audience's; the rest is closed."""
    headers = (("X-Forwarded-Method", "POST"), ("X-Forwarded-Host", "a.test"), ("X-Forwarded-Uri", path))
    request = Request(method="GET", target="/auth", host="gate", headers=headers, trusted_peer=True)
    assert decide(policy, request, who).status == status
    itself = Request(method="POST", target=path, host="a.test", asked=FORWARDED)
    assert decide(policy, itself, who).status == status


def test_who_may_pass_is_told(policy: Policy) -> None:
    """The answer has who calls, for the proxy to pass on."""
    request = Request(method="GET", target="/api/v1/admin", host="a.test", asked=FORWARDED)
    assert dict(decide(policy, request, ADMIN).identity) == {"X-User-Id": "u", "X-Auth-Roles": "admin-role"}


def test_the_issuer_is_the_one_that_discovery_names() -> None:
    """With only the document's address: the issuer that it names, or where it stands when nobody answers."""
    url = "http://keycloak:8080/realms/shop/.well-known/openid-configuration"
    told = []
    for answer in ("https://auth.example.com/realms/shop", None):
        options = Options(environ={"KEYCLOAK_DISCOVERY_URL": url}, discover=lambda _, answer=answer: answer)  # type: ignore[misc]
        found = dialects.read([document.read(S1, "r.yaml", {})], options).policy
        assert found is not None
        assert found.providers[0].discovery_url == url
        told.append(found.providers[0].issuer)
    assert told == ["https://auth.example.com/realms/shop", "http://keycloak:8080/realms/shop"]


def test_an_issuer_that_was_guessed_is_said() -> None:
    """A warning names what was taken for the issuer; a document that was read needs none."""
    url = "http://keycloak:8080/realms/shop/.well-known/openid-configuration"
    for answer, said in (("https://auth.example.com/realms/shop", []), (None, ["mapping-issuer"])):
        options = Options(
            environ={"KEYCLOAK_DISCOVERY_URL": url},
            trusted_proxies=("10.0.0.0/8",),
            discover=lambda _, answer=answer: answer,  # type: ignore[misc]
        )
        reading = dialects.read([document.read(S1, "r.yaml", {})], options)
        assert [problem.code for problem in reading.problems] == said


def test_the_file_of_the_environment_may_have_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ROLE_MAPPING_FILE` names one file, as it did to the original; `-c` wins over it."""
    file = tmp_path / "my config" / "role mapping.yaml"
    file.parent.mkdir()
    file.write_text(S1)
    for name, value in {**ENVIRON, "ROLE_MAPPING_FILE": str(file)}.items():
        monkeypatch.setenv(name, value)
    runner = CliRunner()
    assert runner.invoke(app, ["check"]).exit_code == 0
    other = str(tmp_path / "missing.yaml")
    result = runner.invoke(app, ["check", "-c", other])
    assert (result.exit_code, other in result.output) == (2, True)


def test_every_code_has_a_case() -> None:
    """No problem is documented that no file can have."""
    cases = [case for case in golden.cases() if case.dialect == "role_mapping"]
    said = {problem.code for case in cases for problem in golden.read(case).problems}
    assert set(role_mapping.CODES) - said == set()


@pytest.mark.parametrize("wrong", [7, "x", [1], {"a": 1}, 1.5, True, "", [[]], {}, [None], ["a", 1]])
def test_nothing_unreadable_opens(wrong: object) -> None:
    """Whatever stands where roles belong: either the whole file is refused, or the path is closed to nobody in particular."""
    import json

    reading = read(json.dumps({"/a": wrong, "/b": ["x"]}))
    assert errors(reading.problems)
    assert reading.policy is None
