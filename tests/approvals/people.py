"""Agents and reviewers, as their tokens say who they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wardgate.approvals.callers import Caller, caller
from wardgate.policy import Approvals, Members

ISSUER: Final = "https://id.test/realms/aip"


def terms(**changed: Any) -> Approvals:
    usual: dict[str, Any] = {
        "provider": "aip",
        "agents": Members(subjects=("agent-1", "agent-2")),
        "reviewers": Members(subjects=("reviewer-1", "reviewer-2", "reviewer-3"), groups=("sre",)),
        "admins": Members(groups=("admins",)),
    }
    return Approvals(**{**usual, **changed})


def of_client(client: str, **claims: Any) -> dict[str, Any]:
    """What Keycloak says of a client that asked for itself."""
    return {
        "iss": ISSUER,
        "sub": f"id-of-{client}",
        "azp": client,
        "preferred_username": f"service-account-{client}",
        **claims,
    }


def of_person(name: str, **claims: Any) -> dict[str, Any]:
    """What it says of somebody who logged in."""
    usual = {"iss": ISSUER, "sub": name, "azp": "console", "sid": "s", "preferred_username": name}
    return {**usual, "email": f"{name}@example.com", **claims}


def known(claims: Mapping[str, Any], of: Approvals | None = None) -> Caller:
    return caller(claims, of or terms())
