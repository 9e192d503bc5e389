"""Who calls, by every kind of token; and who is the same person."""

from __future__ import annotations

from typing import Any

import pytest

from tests.approvals.people import known, of_client, of_person, terms
from wardgate.approvals.callers import Caller, NoIdentity, Role, folded
from wardgate.policy import Members
from wardgate.problems import ConfigError


def test_a_client_is_known_by_its_azp() -> None:
    found = known(of_client("agent-1"))
    assert (found.identity, found.roles) == ("agent-1", {Role.AGENT})


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("sub", {"sub": "agent-1"}),  # Okta
        ("sub", {"sub": "agent-1@clients", "azp": "agent-1", "gty": "client-credentials"}),  # Auth0
        ("azp", {"sub": "agent-1@clients", "azp": "agent-1", "gty": "client-credentials"}),
        ("appid", {"sub": "x", "appid": "agent-1", "idtyp": "app"}),  # Azure
        ("client_id", {"sub": "agent-1", "client_id": "agent-1"}),  # Ping, RFC 9068
        ("email", {"sub": "x", "email": "agent-1", "email_verified": True}),  # Google
    ],
)
def test_other_issuers_name_clients_elsewhere(claim: str, claims: dict[str, Any]) -> None:
    of = terms(identity_claim=claim, agents=Members(subjects=("agent-1", "agent-1@clients")))
    assert known({"iss": "i", **claims}, of).roles == {Role.AGENT}


@pytest.mark.parametrize(
    "claims",
    [
        of_person("alice", azp="agent-1"),
        of_person("alice", azp="agent-1", preferred_username="service-account-agent-1"),
        of_person("alice", azp="agent-1", gty="client-credentials"),
        {"iss": "i", "sub": "alice", "azp": "agent-1"},  # nothing says that the client asked for itself
    ],
)
def test_a_person_is_never_the_client_they_logged_in_through(claims: dict[str, Any]) -> None:
    found = known(claims)
    assert (found.identity, found.roles) == ("alice", set())
    assert found.passed_over.startswith("azp is agent-1, but")


def test_a_token_without_the_claim_tells_where_issuers_have_it() -> None:
    found = known({"iss": "i", "sub": "0oa1"})
    assert found.identity == "0oa1" and "Okta and Auth0 in sub" in found.passed_over
    assert known(of_client("agent-1")).passed_over == ""


def test_people_have_roles_by_subject_or_group() -> None:
    assert known(of_person("reviewer-1")).roles == {Role.REVIEWER}
    assert known(of_person("bob", groups=["sre", "x"])).roles == {Role.REVIEWER}
    assert known(of_person("bob", groups="admins")).roles == {Role.ADMIN}
    assert known(of_person("bob", groups=[{"name": "sre"}, 7])).roles == set()


@pytest.mark.parametrize(
    ("claims", "claim"),
    [
        ({"iss": "i"}, "azp"),
        ({"iss": "i", "sub": ""}, "azp"),
        ({"iss": "i", "sub": 7}, "azp"),
        ({"iss": "i", "sub": "x", "email": "agent-1", "email_verified": False}, "email"),
    ],
)
def test_a_token_that_does_not_say_who_calls(claims: dict[str, Any], claim: str) -> None:
    with pytest.raises(NoIdentity):
        known(claims, terms(identity_claim=claim))


@pytest.mark.parametrize(
    "other",
    [
        of_client("agent-1"),
        of_person("id-of-agent-1"),  # the same subject by another client
        of_person("ID-of-Agent-1"),  # APPR-008
        of_person("id-of-agent-1 "),  # APPR-011
        of_person("\uff29d-of-agent-1"),  # in full width
        of_person("boss", act={"sub": "id-of-agent-1"}),  # APPR-013
        of_person("boss", act={"sub": "x", "act": {"sub": "id-of-agent-1"}}),
        of_person("boss", email="agent+1@gw.test"),  # APPR-009
        of_person("boss", email="AGENT@GW.TEST"),
    ],
)
def test_the_same_under_another_name(other: dict[str, Any]) -> None:
    asked = known(of_client("agent-1", email="agent@gw.test"))
    assert known(other).is_one_of(asked.names)
    assert asked.is_one_of(known(other).names)


def test_another_is_another() -> None:
    asked = known(of_client("agent-1", email="agent@gw.test"))
    assert not known(of_person("reviewer-1", email="other@gw.test")).is_one_of(asked.names)
    assert not known(of_client("reviewer-1")).is_one_of(asked.names)


def test_who_answers_for_an_agent_is_no_other_person() -> None:
    of = terms(owners=(("agent-1", "Alice@Example.com"),))
    asked: Caller = known(of_client("agent-1"), of)
    assert known(of_person("alice"), of).is_one_of(asked.names)
    assert not known(of_person("bob"), of).is_one_of(asked.names)


def test_names_are_folded() -> None:
    assert folded(" Bob+x@Example.COM ") == "bob@example.com"
    assert folded("a+b") == "a+b"


def test_somebody_must_have_a_role() -> None:
    with pytest.raises(ConfigError) as refused:
        terms(agents=Members(), reviewers=Members(), admins=Members())
    assert refused.value.problems[0].code == "approvals-members"
