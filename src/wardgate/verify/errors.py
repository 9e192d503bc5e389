"""
Why a token was refused: one class per answer, one stable `code` per class.

Codes are counted in metrics and documented, so they never change their meaning. Messages are for people: they
name what was found and what was expected, and never hold a token or a signature.
"""

from __future__ import annotations

from collections.abc import Mapping

from wardgate.problems import TokenError


class TokenMalformed(TokenError):
    """Not three strict base64url parts of one JSON object each, or a claim of the wrong type."""

    code = "token-malformed"


class TokenTooLarge(TokenMalformed):
    """Larger than is worth decoding."""

    code = "token-too-large"


class TokenAlgorithmRefused(TokenError):
    """`alg` is not allowed here, or is not the one of the key that the token names (RFC 8725 3.1)."""

    code = "token-algorithm"


class TokenCritical(TokenError):
    """`crit`, `b64` or `zip`: extensions that must be understood, and that nobody here needs (RFC 7515 4.1.11)."""

    code = "token-critical"


class TokenBringsKey(TokenError):
    """`jwk`, `jku`, `x5u` or `x5c`: a token that says which key to trust (RFC 8725 3.10)."""

    code = "token-brings-key"


class TokenKeyUnknown(TokenError):
    """No key of the issuer fits: it may have rotated its keys, or the token is another issuer's."""

    code = "token-key-unknown"


class TokenSignatureWrong(TokenError):
    """The signature is not this key's over these bytes."""

    code = "token-signature"


class TokenTypeRefused(TokenError):
    """Another kind of token than an access token: ID, refresh, logout, … (RFC 8725 3.11)."""

    code = "token-type"


class TokenBound(TokenError):
    """Bound to a key of its sender (`cnf`: DPoP, mTLS), so it is no bearer token (RFC 9449, RFC 8705)."""

    code = "token-bound"


class TokenIssuerWrong(TokenError):
    """`iss` is absent or is not exactly the expected issuer."""

    code = "token-issuer"


class TokenAudienceWrong(TokenError):
    """`aud` is absent or names none of the expected audiences."""

    code = "token-audience"


class TokenNeverExpires(TokenError):
    """There is no `exp`."""

    code = "token-no-expiry"


class TokenExpired(TokenError):
    """`exp` has passed, leeway included."""

    code = "token-expired"


class TokenNotYetValid(TokenError):
    """`nbf` or `iat` lies in the future, leeway included."""

    code = "token-not-yet-valid"


class TokenLifetimeTooLong(TokenError):
    """`exp` is further away than any access token should live (also: `exp` in milliseconds)."""

    code = "token-lifetime"


class TokenTooOld(TokenError):
    """The person logged in (`auth_time`) longer ago than is accepted."""

    code = "token-too-old"


class TokenNonceWrong(TokenError):
    """An ID token without the `nonce` of the login that it is to end: made for another one (OpenID Connect 15.5.2)."""

    code = "token-nonce"


class TokenHashWrong(TokenError):
    """An ID token whose `at_hash` is not that of the access token beside it (OpenID Connect 3.1.3.8)."""

    code = "token-at-hash"


_CLASSES: tuple[type[TokenError], ...] = (
    TokenMalformed,
    TokenTooLarge,
    TokenAlgorithmRefused,
    TokenCritical,
    TokenBringsKey,
    TokenKeyUnknown,
    TokenSignatureWrong,
    TokenTypeRefused,
    TokenBound,
    TokenIssuerWrong,
    TokenAudienceWrong,
    TokenNeverExpires,
    TokenExpired,
    TokenNotYetValid,
    TokenLifetimeTooLong,
    TokenTooOld,
    TokenNonceWrong,
    TokenHashWrong,
)

CODES: Mapping[str, str] = {kind.code: (kind.__doc__ or "").strip() for kind in _CLASSES}
"""Every code with its meaning, in the order in which a token is judged."""
