"""What a worker remembers of a token does not stand for its issuer's answer."""

from __future__ import annotations

from tests.decision.policies import path
from tests.differential import tokens
from tests.differential.cases import Case
from tests.differential.comparison import compare
from tests.differential.fleet import Fleet
from tests.differential.probes import Probe
from wardgate.decision import Request
from wardgate.policy import (
    Address,
    Audiences,
    Authenticated,
    Credentials,
    Endpoint,
    Host,
    Introspection,
    Listener,
    Policy,
    Provider,
    Route,
    Rule,
    Upstream,
)

NAMES = ("main", "other")
UNASKED, ASKED = Credentials(providers=NAMES), Credentials(providers=NAMES, introspect=True)
"""`other` is asked about every token, `main` about none: the service tells them apart. With `introspect` both are."""


def provider(name: str, introspection: Introspection) -> Provider:
    return Provider(
        name=name,
        issuer=tokens.ISSUERS[name],
        audience=Audiences(any_of=(tokens.AUDIENCE,)),
        client_id="gateway",
        introspection=introspection,
    )


def route(where: str, credentials: Credentials) -> Route:
    access = Rule(when=Authenticated())
    return Route(name=where, path=path(where), access=access, credentials=credentials, upstream="app")


POLICY = Policy(
    dialect="native",
    listeners=(
        Listener(
            name="main",
            address=Address(host="127.0.0.1", port=0),
            hosts=(Host(routes=(route("/unasked", UNASKED), route("/asked", ASKED))),),
        ),
    ),
    providers=(provider("main", Introspection.OFF), provider("other", Introspection.ALWAYS)),
    upstreams=(Upstream(name="app", endpoints=(Endpoint(host="127.0.0.1", port=1),)),),
)


def test_a_token_that_was_good_unasked_is_asked_about_where_that_is_wanted(fleet: Fleet) -> None:
    """A worker that knows a token from a route that does not ask its issuer still asks for one that does."""
    probes = [
        Probe(
            request=Request(listener="main", method="GET", target=target, host="x"),
            state=state,
            provider="main",
            claims={},
        )
        for state in ("valid", "inactive")
        for target in ("/unasked", "/asked")
    ]
    compared = compare(fleet, [Case(policy=POLICY, available=NAMES, probes=tuple(probes))])
    assert [each.envoy.status for each in compared] == [200, 200, 200, 401] * 2
    assert all(each.agrees for each in compared)
