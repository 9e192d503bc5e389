"""What agents and reviewers (S2) read where Envoy refuses them: `{"error": …}`, in that gateway's words."""

from __future__ import annotations

from wardgate.envoy import Json, names

REALM = names.REALM
MISSING = "missing Bearer token"

WORDS = {
    "no-credential": MISSING,
    "credential-kind": MISSING,
    "token-audience": "aud claim does not match",
    "token-expired": "invalid token: it has expired",
}
"""By reason code; other reasons of a token are an invalid one, the rest say their own sentence."""

BEARER = " || ".join(
    f"request.headers['authorization'].startsWith('{word} ')" for word in ("Bearer", "bearer")
)

FIRST = ((f"{names.MALFORMED} && !({BEARER})", MISSING),)
"""A cause that only this product tells apart: another scheme is no bearer token at all."""


def body(reason: str, sentence: str) -> Json:
    """The body of one reason."""
    usual = "invalid token" if reason.startswith(("token-", "credential-")) else sentence or reason
    return form(WORDS.get(reason, usual))


def of_status(_: int, title: str) -> str:
    return title


def form(words: str) -> Json:
    """A body of these words."""
    return {"json_format": {"error": words}, "content_type": "application/json"}
