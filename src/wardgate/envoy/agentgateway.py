"""
What callers of agentgateway (S4) read where they are refused: plain text in its words, and no challenge.

The part in brackets is how that product's library prints its errors; tools that look for it find it here, too.
"""

from __future__ import annotations

from wardgate.envoy import Json, names

REALM = "Restricted"

AUTHENTICATION = "authentication failure: "
INVALID = AUTHENTICATION + "the token is invalid or malformed: Error({})"
NONE = AUTHENTICATION + "no bearer token found"

WORDS = {
    "no-credential": NONE,
    "credential-malformed": AUTHENTICATION + "the token header is malformed: Error(InvalidToken)",
    "credential-kind": NONE,
    "token-malformed": AUTHENTICATION + "the token header is malformed: Error(InvalidToken)",
    "token-key-unknown": AUTHENTICATION
    + f'token uses the unknown key "%DYNAMIC_METADATA({names.METADATA}:kid)%"',
    "token-expired": INVALID.format("ExpiredSignature"),
    "token-not-yet-valid": INVALID.format("ImmatureSignature"),
    "token-audience": INVALID.format("InvalidAudience"),
    "token-issuer": INVALID.format("InvalidIssuer"),
    "token-signature": INVALID.format("InvalidSignature"),
    "forbidden": "authorization failed",
    "api-key-missing": "api key authentication failure: no API Key found",
    "api-key-unknown": "api key authentication failure: invalid credentials",
    "basic-missing": "basic authentication failure: no basic authentication credentials found",
    "basic-wrong": "basic authentication failure: invalid credentials",
    "external-unavailable": "external authorization failed",
    "cross-site": "CSRF validation failed",
    "rate-limited": "rate limit exceeded",
}
"""By reason code; other reasons of a token are invalid ones, the rest say their own sentence."""

FIRST = ((f"{names.MALFORMED} && !request.headers['authorization'].startsWith('Bearer ')", NONE),)
"""A cause that only this product tells apart: another scheme is no bearer token at all."""

BY_STATUS = {404: "route not found", 429: "rate limit exceeded"}


AS_RESOURCE = {
    "json_format": {"error": "unauthorized", "error_description": "JWT token required"},
    "content_type": "application/json",
}
"""What callers of an MCP server read who have no token, or a wrong one."""


def body(reason: str, sentence: str) -> Json:
    """The body of one reason."""
    usual = INVALID.format("InvalidToken") if reason.startswith(("token-", "credential-")) else sentence
    return form(WORDS.get(reason, usual))


def of_status(status: int, title: str) -> str:
    return BY_STATUS.get(status, title.lower())


def form(words: str) -> Json:
    """A body of these words."""
    return {"text_format_source": {"inline_string": words}, "content_type": "text/plain"}
