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
    TokenIssuerWrong,
    TokenKeyUnknown,
    TokenLifetimeTooLong,
    TokenMalformed,
    TokenNeverExpires,
    TokenNotYetValid,
    TokenSignatureWrong,
    TokenTooLarge,
    TokenTooOld,
    TokenTypeRefused,
)
from wardgate.verify.expectation import ALGORITHMS, Expectation, UnsafeAnyAudience
from wardgate.verify.keys import JwksRejected, KeySet, SigningKey, clean_jwks
from wardgate.verify.tokens import diagnose, verify

__all__ = [
    "ALGORITHMS",
    "Discovery",
    "DiscoveryRejected",
    "Expectation",
    "JwksRejected",
    "KeySet",
    "SignedClaims",
    "SigningKey",
    "TokenAlgorithmRefused",
    "TokenAudienceWrong",
    "TokenBound",
    "TokenBringsKey",
    "TokenCritical",
    "TokenExpired",
    "TokenIssuerWrong",
    "TokenKeyUnknown",
    "TokenLifetimeTooLong",
    "TokenMalformed",
    "TokenNeverExpires",
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
]
