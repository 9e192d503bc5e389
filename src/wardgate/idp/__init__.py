"""
The development identity provider: Keycloak's addresses and tokens, from Keycloak's realm file, on loopback.

For demos, tests and the first hour of a newcomer. Not for production: passwords lie in a file, keys in memory.
"""

from wardgate.idp.provider import Provider, Refused
from wardgate.idp.reading import default_realm, read_realm, realm_of
from wardgate.idp.realm import Realm
from wardgate.idp.server import DEFAULT_HOST, DEFAULT_PORT, IdpServer

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "IdpServer",
    "Provider",
    "Realm",
    "Refused",
    "default_realm",
    "read_realm",
    "realm_of",
]
