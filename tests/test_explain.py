"""What `wardgate explain` prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.decision.policies import policy, principal, route
from wardgate.cli import main
from wardgate.decision import Request, decide
from wardgate.explain import explain
from wardgate.policy import (
    AnyOf,
    ClaimValue,
    Group,
    IdentityHeader,
    Kind,
    Policy,
    RawToken,
    RealmRole,
    Rule,
    Session,
)
from wardgate.principal import Anonymous, Credential, Rejected

ADMIN = Rule(when=AnyOf((RealmRole("admin"), Group("/admins"))))
IDENTITY = (
    IdentityHeader(name="X-Auth-Subject", value=ClaimValue(path=("sub",))),
    IdentityHeader(name="X-Auth-Email", value=ClaimValue(path=("email",))),
    IdentityHeader(name="X-Auth-Token", value=RawToken()),
)
POLICY = policy(route("/**"), route("/admin/**", ADMIN, name="admin", identity=IDENTITY, body_limit=5))


def explained(target: str, credential: Credential, made: Policy = POLICY) -> str:
    request = Request(method="GET", target=target, host="app.example", scheme="https")
    return explain(request, credential, decide(made, request, credential))


def test_denial_shows_each_condition_with_what_was_seen() -> None:
    """Status, rule, place of the rule, and the claims that did not suffice."""
    assert explained("/admin/x?q=1", principal("user")) == (
        "GET https://app.example/admin/x?q=1\n"
        "as ann (bearer of main)\n"
        "\n"
        "  yes  the path reads in one way only, saw '/admin/x'\n"
        "  yes  one host name, saw 'app.example'\n"
        "  yes  host *\n"
        "  yes  the method is known here, saw GET\n"
        "  yes  path /admin/**  (w.yaml:7)\n"
        "  yes  route admin, saw GET  (w.yaml:7)\n"
        "  yes  a valid bearer of main  (w.yaml:7)\n"
        "  no   realm role 'admin', saw ['user']  (w.yaml:7)\n"
        "  no   group '/admins', saw missing  (w.yaml:7)\n"
        "  no   any of (realm role 'admin'; group '/admins')  (w.yaml:7)\n"
        "\n"
        "403 denied: the caller lacks the right\n"
        "rule admin [rule-not-met] at w.yaml:7\n"
    )


def test_allowed_request_shows_what_the_upstream_gets_but_never_the_token() -> None:
    """Identity headers with their values; the token is named only, and a header without a claim is said."""
    text = explained("/admin/x", principal("admin"))
    assert text.endswith(
        "200 allowed\n"
        "rule admin [rule-met] at w.yaml:7\n"
        "upstream app\n"
        "bodies up to 5 bytes, else 413\n"
        "  X-Auth-Subject: ann\n"
        "  X-Auth-Token: [the token]\n"
        "  X-Auth-Email is not sent: no such claim\n"
    )
    assert "aaa.bbb.ccc" not in text


def test_anonymous_and_refused_callers_are_told_apart() -> None:
    """The reason of a refusal is its stable code."""
    assert "as anonymous\n" in explained("/admin/x", Anonymous())
    text = explained("/admin/x", Rejected("token-expired"))
    assert "as a bearer that was refused [token-expired]\n" in text
    assert "401 rejected" in text


def test_redirect_says_where_to() -> None:
    """The location of a redirect is part of the answer."""
    request = Request(method="GET", target="/x", host="app.example")
    made = policy(route("/**"), listener={"redirect_to_https": True})
    assert "to https://app.example/x\n" in explain(request, Anonymous(), decide(made, request, Anonymous()))


def test_text_cannot_steer_the_terminal() -> None:
    """Control characters of a request or a token are escaped."""
    text = explained("/admin/\x1b[2J", principal("a\x1b[2J", sub="\x1b]0;x\x07"))
    assert "\x1b" not in text
    assert "\x07" not in text


LOGIN = policy(route("/**", ADMIN, name="app"), session=Session(), provider={"client_id": "gateway"})
NAVIGATION = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))


def of_browser(credential: Credential, *headers: tuple[str, str], target: str = "/x") -> str:
    request = Request(method="GET", target=target, host="app.example", headers=headers)
    return explain(request, credential, decide(LOGIN, request, credential))


def test_who_navigates_is_shown_the_login() -> None:
    """A page that a person opens is redirected to the login, and with whom; anything else learns what is missing."""
    assert of_browser(Anonymous(), *NAVIGATION).endswith(
        "  yes  a browser that navigates: it is sent to log in at main\n"
        "  no   a valid credential, saw no-credential  (w.yaml:7)\n"
        "\n"
        "302 redirected: who navigates without a session is asked to log in\n"
        "rule app [login] at w.yaml:7\n"
        "to the login at main\n"
    )
    text = of_browser(Anonymous())
    assert "  no   a browser that navigates: it is sent to log in at main\n" in text
    assert "401 rejected" in text


def test_a_session_is_explained_like_a_token() -> None:
    """Whose session it is, that its token goes on, and never the token; a client's own Authorization does not."""
    admin = replace(principal("admin", kind=Kind.SESSION), token="secret-token")
    text = of_browser(admin)
    assert "as ann (session of main)\n" in text
    assert "  Authorization: Bearer [the token]\n" in text
    assert "secret-token" not in text
    assert "as a session that was refused [session-over]\n" in of_browser(
        Rejected("session-over", Kind.SESSION)
    )


def test_our_own_endpoints_are_told_apart_from_what_is_allowed() -> None:
    """Their service answers as it will."""
    assert "200 or whatever the gateway's own endpoint answers\n" in of_browser(
        Anonymous(), target="/oauth/start"
    )


FILE = """
listen: 127.0.0.1:8080
providers:
  main: {issuer: "https://id.example/realms/main", audience: app, client-id: gateway}
  other: {issuer: "https://id.example/realms/other", audience: app, client-id: gateway}
session: {}
upstreams: {app: "http://127.0.0.1:1"}
routes:
  - path: /**
    roles: [admin]
    credentials: {providers: [other]}
"""


@pytest.mark.parametrize(
    ("arguments", "expected", "code"),
    [
        (["--claims", "claims.json", "--session"], "as ann (session of other)\n", 0),
        (["--claims", "claims.json", "--session", "--provider", "main"], "401 rejected", 1),
        (["-H", "Sec-Fetch-Mode: navigate", "-H", "Sec-Fetch-Dest: document"], "to the login at other\n", 1),
        (["--session"], "needs --claims FILE", 2),
    ],
)
def test_the_command_asks_as_a_session(
    arguments: list[str],
    expected: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Claims are a session's where that is said, of the provider that their `iss` names or the command line does."""
    monkeypatch.chdir(tmp_path)
    Path("w.yaml").write_text(FILE)
    said = {"iss": "https://id.example/realms/other", "sub": "ann", "realm_access": {"roles": ["admin"]}}
    Path("claims.json").write_text(json.dumps(said))
    with pytest.raises(SystemExit) as ended:
        main(["explain", "-c", "w.yaml", *arguments, "GET", "/x"])
    found = capsys.readouterr()
    assert expected in found.out + found.err
    assert ended.value.code == code
