"""The `scope` parameter of a request."""

from __future__ import annotations

from collections.abc import Mapping

from wardgate.idp.claims import OPENID
from wardgate.idp.realm import Client
from wardgate.idp.refusals import OAuthRefusal


def read_scopes(client: Client, parameters: Mapping[str, str]) -> tuple[str, ...]:
    """
    The scopes of a request, in its order; none when it asks for none.

    Raises OAuthRefusal for a scope that the client does not have, and for an empty parameter.
    """
    if "scope" not in parameters:
        return ()
    names = tuple(dict.fromkeys(parameters["scope"].split()))
    known = {OPENID, *client.default_scopes, *client.optional_scopes}
    if not names or not known.issuperset(names):
        raise OAuthRefusal(400, "invalid_scope", f"Invalid scopes: {parameters['scope']}")
    return names


def named_again(client: Client, claim: str) -> tuple[str, ...]:
    """The scopes that a token's `scope` shows to have been asked for."""
    return tuple(name for name in claim.split() if name == OPENID or name in client.optional_scopes)
