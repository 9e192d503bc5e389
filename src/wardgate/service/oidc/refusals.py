"""
How asking an issuer ends when it does not end well: it is away, the grant is over, or this login is refused.

Three classes, because three things follow: away changes nothing and is tried again (503), an ended grant ends the
session, a refused login is shown to the person who tried. Errors carry data; whoever catches them does the talking.
"""

from __future__ import annotations

from collections.abc import Mapping

from wardgate.service.issuer_http import IssuerAway

CODES: Mapping[str, str] = {
    "issuer-endpoint-missing": "The issuer's discovery document does not name an endpoint that is needed.",
    "issuer-keys-missing": "A token cannot be judged: the issuer's keys, or its newer ones, could not be fetched.",
    "issuer-busy": "So many questions wait for the issuer that another one is refused at once.",
    "client-refused": "The issuer refuses our client: its id, secret, key or rights; sessions stay as they are.",
    "client-key-file": "The private key of our client (private-key-jwt) cannot be read.",
    "grant-ended": "The issuer does not renew a session: it ended there, was revoked, or is too old.",
    "grant-changed": "The issuer answered a renewal with tokens of another login, person or client.",
    "login-code": "The issuer does not take the code of a login: used, too old, or of another login.",
    "login-password": "The issuer does not take a user name and its password.",
    "login-token-type": "The issuer gave a token that is no bearer token.",
    "login-id-token-missing": "The issuer gave no ID token: the scope openid is missing, or it speaks OAuth only.",
    "login-id-token": "The ID token of a login is not what it must be.",
    "login-userinfo": "Userinfo is about another person than the ID token, or the issuer refuses to give it.",
    "login-email": "The e-mail address of a person is not one: not exactly one @.",
    "login-email-unverified": "The issuer has not verified a person's e-mail address, and the session asks for it.",
}
"""What can go wrong with logins, sessions and opaque tokens at the issuer, beside `issuer_http.CODES`."""


class GrantEnded(Exception):
    """The issuer will not renew this session any more: it ends. `code` is one of CODES."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class LoginRefused(Exception):
    """This login has failed, and trying the same again will not help it. `code` is one of CODES."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


__all__ = ["CODES", "GrantEnded", "IssuerAway", "LoginRefused"]
