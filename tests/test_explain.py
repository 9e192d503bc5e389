"""What `wardgate explain` prints."""

from __future__ import annotations

from tests.decision.policies import policy, principal, route
from wardgate.decision import Request, decide
from wardgate.explain import explain
from wardgate.policy import AnyOf, ClaimValue, Group, IdentityHeader, Policy, RawToken, RealmRole, Rule
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
