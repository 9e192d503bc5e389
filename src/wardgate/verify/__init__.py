"""
Token verification: the start of the public SDK.

Pure: no network, no files, no clock. Keys, expectations and the time come in; `SignedClaims` or an error comes
out. It knows JWS signatures and the claims of RFC 7519, 8725 and 9068; roles, routes and policies are not its
business, and it imports nothing of the gateway but `wardgate.problems`.

    keys = clean_jwks(body_of_the_jwks_document)
    expect = Expectation(issuer="https://id.example/realms/shop", audiences=("orders",))
    claims = verify(token, keys=keys, expect=expect, now=datetime.now(UTC))
"""

from wardgate.verify.claims import SignedClaims
from wardgate.verify.compact import UnverifiedToken, read_unverified
from wardgate.verify.discovery import Discovery, DiscoveryRejected, read_discovery
from wardgate.verify.errors import (
    TokenAlgorithmRefused,
    TokenAudienceWrong,
    TokenBound,
    TokenBringsKey,
    TokenCritical,
    TokenExpired,
    TokenHashWrong,
    TokenIssuerWrong,
    TokenKeyUnknown,
    TokenLifetimeTooLong,
    TokenMalformed,
    TokenNeverExpires,
    TokenNonceWrong,
    TokenNotYetValid,
    TokenSignatureWrong,
    TokenTooLarge,
    TokenTooOld,
    TokenTypeRefused,
)
from wardgate.verify.expectation import ALGORITHMS, Expectation, UnsafeAnyAudience
from wardgate.verify.id_tokens import verify_id_token
from wardgate.verify.keys import JwksRejected, KeySet, SigningKey, clean_jwks
from wardgate.verify.logout_tokens import LogoutToken, verify_logout_token
from wardgate.verify.tokens import diagnose, verify

__all__ = [
    "ALGORITHMS",
    "Discovery",
    "DiscoveryRejected",
    "Expectation",
    "JwksRejected",
    "KeySet",
    "LogoutToken",
    "SignedClaims",
    "SigningKey",
    "TokenAlgorithmRefused",
    "TokenAudienceWrong",
    "TokenBound",
    "TokenBringsKey",
    "TokenCritical",
    "TokenExpired",
    "TokenHashWrong",
    "TokenIssuerWrong",
    "TokenKeyUnknown",
    "TokenLifetimeTooLong",
    "TokenMalformed",
    "TokenNeverExpires",
    "TokenNonceWrong",
    "TokenNotYetValid",
    "TokenSignatureWrong",
    "TokenTooLarge",
    "TokenTooOld",
    "TokenTypeRefused",
    "UnsafeAnyAudience",
    "UnverifiedToken",
    "clean_jwks",
    "diagnose",
    "read_discovery",
    "read_unverified",
    "verify",
    "verify_id_token",
    "verify_logout_token",
]
