"""
Who calls, as far as requests of agents go: what a verified token says of its bearer, the roles that gives, and who is the
same person.

A claim that names a client (`azp`, `appid`, …) says who calls only in tokens that a client got for itself: the token of a
person names the client that the person logged in through, and whoever can log in there is not that agent. People are
known by issuer and subject.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from wardgate.policy import Approvals, Members

CLIENT_CLAIMS: Final = frozenset({"azp", "appid", "client_id", "cid", "clientId"})
"""Claims that name the client that a token was issued to."""


VENDORS: Final = (
    "Keycloak names the client in azp, Okta and Auth0 in sub, Entra ID in appid, Google an account in email"
)


class Role(StrEnum):
    AGENT = "agent"
    REVIEWER = "reviewer"
    ADMIN = "admin"


DECIDING: Final = (Role.REVIEWER, Role.ADMIN)


class NoIdentity(Exception):
    """A valid token that does not say who calls; the message is for its bearer, `hint` for the log."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """
    `identity` is what requests carry: the identity claim, or the subject of a person. `names` are all by which this caller
    could be known, folded; two callers that share one are never two people. `passed_over`: why the identity claim does not say
    who calls; empty where it does. `name` is for people to read, and tells nobody from anybody.
    """

    issuer: str
    subject: str
    identity: str
    groups: frozenset[str]
    roles: frozenset[Role]
    names: frozenset[str]
    passed_over: str = ""
    name: str = ""

    @property
    def decides(self) -> bool:
        return not self.roles.isdisjoint(DECIDING)

    def is_one_of(self, names: Iterable[str]) -> bool:
        return not self.names.isdisjoint(names)


def caller(claims: Mapping[str, Any], terms: Approvals) -> Caller:
    """The bearer of a verified token. Raises NoIdentity."""
    sub, claim = claims.get("sub"), claims.get(terms.identity_claim)
    subject = sub if isinstance(sub, str) else ""
    known = isinstance(claim, str) and claim.strip() != ""
    if terms.identity_claim == "email" and claims.get("email_verified") is False:
        raise NoIdentity("token missing identity claim", "its email is not verified")
    if known and (terms.identity_claim not in CLIENT_CLAIMS or of_a_client(claims, str(claim))):
        identity, passed_over = str(claim), ""
    elif subject:
        identity = subject
        passed_over = (
            f"{terms.identity_claim} is {claim}, but the token is not one that this client got for itself"
            if known
            else f"the token has no {terms.identity_claim}: {VENDORS}"
        )
    else:
        raise NoIdentity(
            "token missing identity claim", f"it has neither {terms.identity_claim} nor sub: {VENDORS}"
        )
    groups = frozenset(_texts(claims.get(terms.groups_claim)))
    found = {identity, subject or identity}
    owners = {owner for agent, owner in terms.owners if agent in found}
    emails = [claims["email"]] if isinstance(claims.get("email"), str) else []
    return Caller(
        issuer=str(claims.get("iss", "")),
        subject=subject or identity,
        identity=identity,
        groups=groups,
        roles=frozenset(_roles(terms, found, groups)),
        passed_over=passed_over,
        name=_shown(claims) if identity == subject else "",
        names=frozenset(
            folded(name) for name in {*found, *owners, *emails, *_actors(claims)} if folded(name)
        ),
    )


def _shown(claims: Mapping[str, Any]) -> str:
    """How a person is called."""
    for claim in ("email", "preferred_username", "name"):
        found = claims.get(claim)
        if isinstance(found, str) and found.isprintable() and 0 < len(found) <= 255:
            return found
    return ""


def of_a_client(claims: Mapping[str, Any], client: str) -> bool:
    """
    Whether a client got this token for itself (RFC 6749, 4.4), by what issuers write: Keycloak's service account, Auth0's and
    Azure's own words, or the client as the subject (RFC 9068, 2.2). A token of a login (`sid`) never.
    """
    if "sid" in claims:
        return False
    return (
        claims.get("preferred_username") == f"service-account-{client.lower()}"
        or claims.get("gty") == "client-credentials"
        or claims.get("idtyp") == "app"
        or claims.get("sub") in (client, f"{client}@clients")
    )


def folded(name: str) -> str:
    """One form for names that people, or their mail servers, take for the same: case, width, spaces around, `+tag`."""
    text = unicodedata.normalize("NFKC", name).strip().casefold()
    mailbox, at, host = text.rpartition("@")
    return mailbox.partition("+")[0] + at + host if at else text


def _roles(terms: Approvals, names: set[str], groups: frozenset[str]) -> Iterable[Role]:
    for role, members in (
        (Role.AGENT, terms.agents),
        (Role.REVIEWER, terms.reviewers),
        (Role.ADMIN, terms.admins),
    ):
        if _is_member(members, names, groups):
            yield role


def _is_member(members: Members, names: set[str], groups: frozenset[str]) -> bool:
    return not names.isdisjoint(members.subjects) or not groups.isdisjoint(members.groups)


def _actors(claims: Mapping[str, Any]) -> Iterable[str]:
    """Who acts for the subject (RFC 8693, 4.1), and who acts for them."""
    actor = claims.get("act")
    for _ in range(8):
        if not isinstance(actor, Mapping):
            return
        if isinstance(actor.get("sub"), str):
            yield actor["sub"]
        actor = actor.get("act")


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []
