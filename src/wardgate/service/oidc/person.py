"""
A person's claims, put together from what the issuer said, and what is asked of them wherever they came from: an e-mail
address that can be only one address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wardgate.problems import shown
from wardgate.service.oidc.refusals import LoginRefused

PROTOCOL: Final = frozenset(
    {"iss", "sub", "aud", "azp", "exp", "nbf", "iat", "jti", "typ", "nonce", "auth_time", "acr", "amr", "sid"}
    | {"at_hash", "c_hash", "cnf", "events"}
)
"""Claims about a token and its login, not about the person: they are the ID token's alone."""


def person_of(id_claims: Mapping[str, Any], info: Mapping[str, Any] | None) -> dict[str, Any]:
    """The claims of an ID token and of userinfo, which is newer, as one; only the first is signed."""
    about = {name: value for name, value in (info or {}).items() if name not in PROTOCOL}
    return {**id_claims, **about}


def require_person(*sources: Mapping[str, Any] | None, verified_email: bool) -> None:
    """
    Each of the sources (ID token, userinfo, access token) has no e-mail address or one with one @.

    `verified_email`: at least one of them says that it was verified, and none that it was not. Raises LoginRefused.
    """
    known = [source for source in sources if source is not None]
    for claims in known:
        _require_address(claims.get("email"))
    verdicts = [claims["email_verified"] for claims in known if "email_verified" in claims]
    # Cognito says so in text
    if verified_email and not (verdicts and all(verdict in (True, "true") for verdict in verdicts)):
        raise LoginRefused(
            "login-email-unverified", "the issuer does not say that the e-mail address is verified"
        )


def _require_address(email: object) -> None:
    """Two @ are two addresses: `a@evil@corp.example` ends in both (oauth2-proxy, GHSA-c5c4-8r6x-56w3)."""
    if email is None:
        return
    name, at, host = email.partition("@") if isinstance(email, str) else ("", "", "")
    one = name and at and host and "@" not in host
    if not one or not str(email).isprintable() or " " in str(email):
        raise LoginRefused("login-email", f"the e-mail address is not one: {shown(email)}")
