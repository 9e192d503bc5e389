"""
The development identity provider: Keycloak's addresses and tokens, from Keycloak's realm file, on loopback.

For demos, tests and the first hour of a newcomer. Not for production: passwords lie in a file, keys in memory.
"""

from collections.abc import Mapping

from wardgate.idp.provider import OAuthRefusal, Provider
from wardgate.idp.reading import default_realm, read_realm, realm_of
from wardgate.idp.realm import Realm
from wardgate.idp.server import DEFAULT_HOST, DEFAULT_PORT, IdpServer

CODES: Mapping[str, str] = {
    "idp-host": "The development identity provider was to listen where other machines could reach it.",
    "port-in-use": "The port cannot be listened on: another process has it, or it is not ours to take.",
    "file-unreadable": "The realm file cannot be read.",
    "realm-json": "The realm file is not JSON, or not one realm.",
    "realm-invalid": "A member of the realm file is missing or has a wrong type or value.",
    "realm-disabled": "The realm is not enabled.",
    "realm-duplicate": "A client or a user is given twice.",
    "realm-reference": "The realm file names a group, client or client scope that it does not define.",
    "realm-client-secret": "A confidential client has no secret.",
    "realm-client-keys": "A client that signs its requests has no public key that can be read (a warning).",
    "realm-mapper-unsupported": "A protocol mapper of this kind adds nothing to tokens here (a warning).",
    "realm-password-hashed": "A password is given as a hash: nobody can log in with it here (a warning).",
    "realm-role-undefined": "A role is given to somebody and defined nowhere; it is made (a warning).",
}
"""What can be wrong with a realm file or the place to serve it."""

__all__ = [
    "CODES",
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "IdpServer",
    "OAuthRefusal",
    "Provider",
    "Realm",
    "default_realm",
    "read_realm",
    "realm_of",
]
