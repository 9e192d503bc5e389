"""Routes that are chosen again by who calls (`recomputeRoute`), enforced by a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.echo import Echo
from tests.holding.manifests import Manifests, attached, before_app, routed
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-gateway-api-again")

RULES: Final = """
    - matches: [{headers: [{name: x-person, value: admin}]}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: admins}]}}]
      backendRefs: [{name: app, port: 80}]
    - matches: [{path: {value: /kept}, headers: [{name: x-person, type: RegularExpression, value: ".+"}]}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /people}}}]
      backendRefs: [{name: app, port: 80}]
    - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: others}]}}]
      backendRefs: [{name: app, port: 80}]
"""
ELSEWHERE: Final = """
    - matches: [{path: {value: /open}, headers: [{name: x-person, value: user}]}, {path: {value: /plain}}]
      backendRefs: [{name: app, port: 80}]
"""
POLICY: Final = """
jwt:
  optional: OPTIONAL
  providers:
    - name: idp
      issuer: "ISSUER"
      remoteJWKS: {uri: "ISSUER/protocol/openid-connect/certs"}
      claimToHeaders: [{header: x-person, claim: preferred_username}]
      recomputeRoute: true
"""


@pytest.fixture(scope="module")
def application() -> Iterator[Echo]:
    with Echo() as echo:
        yield echo


@pytest.fixture(scope="module", params=[False, True], ids=["required", "optional"])
def optional(request: pytest.FixtureRequest) -> bool:
    """Also who brings no token may pass."""
    found: bool = request.param
    return found


@pytest.fixture(scope="module")
def gateway(
    optional: bool, tmp_path_factory: pytest.TempPathFactory, application: Echo, idp: IdpServer
) -> Iterator[Manifests]:
    policy = POLICY.replace("ISSUER", idp.issuer).replace("OPTIONAL", str(optional).lower())
    text = routed("app", RULES) + attached("app", "SecurityPolicy", policy)
    text += routed("elsewhere", ELSEWHERE, "app.test")
    folder = tmp_path_factory.mktemp("again")
    with before_app(folder, text, {"80": application.url}) as running:
        yield running


@pytest.mark.parametrize("forged", [None, "admin", "user"])
def test_claims_choose_the_route(
    gateway: Manifests, application: Echo, idp: IdpServer, forged: str | None
) -> None:
    """At first sight and later, whatever the client says of itself."""
    said = [("X-Person", forged)] if forged else []
    for person, rule in (("admin", "admins"), ("user", "others")):
        bearer = ("Authorization", f"Bearer {idp.token(person)}")
        for _ in range(3):
            before = len(application.arrivals())
            assert gateway.at("app", bearer, *said).status == 200
            (arrival,) = application.arrivals()[before:]
            assert (arrival.values("x-rule"), arrival.values("x-person")) == ([rule], [person])
            assert not [name for name, _ in arrival.headers if name.lower().startswith("x-wardgate")]


def test_a_route_of_nobody_is_not_chosen(gateway: Manifests, application: Echo, idp: IdpServer) -> None:
    """By claims only routes of the policy are reached; who comes to another without them is judged there."""
    before = len(application.arrivals())
    for person, status in (("user", 403), ("admin", 200)):
        bearer = ("Authorization", f"Bearer {idp.token(person)}")
        for _ in range(2):
            answer = gateway.at("app", bearer, path="/open")
            assert answer.status == status, (person, answer.body, gateway.errors()[-1500:])
    assert all(arrival.values("x-rule") == ["admins"] for arrival in application.arrivals()[before:])
    assert gateway.at("app", path="/plain").status == 200


def test_without_a_token_nothing_is_chosen_by_what_a_client_says(
    gateway: Manifests, application: Echo, optional: bool
) -> None:
    for said in ("admin", "user"):
        before = len(application.arrivals())
        answer = gateway.at("app", ("X-Person", said), path="/kept/x")
        assert answer.status == (200 if optional else 401)
        for arrival in application.arrivals()[before:]:
            assert (arrival.values("x-rule"), arrival.values("x-person")) == (["others"], [])
            assert arrival.path == "/kept/x"
    assert gateway.at("app", ("Authorization", "Bearer x")).status == 401
