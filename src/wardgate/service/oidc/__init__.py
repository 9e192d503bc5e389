"""
Our side of OpenID Connect: one client per provider (`client.py`), and what it is made of.

`metadata` and `keys` know the issuer, `client_authentication` and `requests` speak as our client, `token_answer`,
`access_token`, `person` and `introspection` judge what comes back; signatures and claims are `wardgate.verify`'s.
"""

from wardgate.service.oidc.client import OidcClient
from wardgate.service.oidc.clients import OidcClients
from wardgate.service.oidc.introspection import Introspected
from wardgate.service.oidc.refusals import CODES, GrantEnded, IssuerAway, LoginRefused

__all__ = ["CODES", "GrantEnded", "Introspected", "IssuerAway", "LoginRefused", "OidcClient", "OidcClients"]
