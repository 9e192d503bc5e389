"""
A browser's session as the service keeps it: who logged in, with which tokens, until when. Plain data, no I/O.

The browser holds `new_id()`, 256 random bits in its cookie, and nothing else. Stores and logs know a session only by
its `name`, a hash of that id: whoever reads a store or a log cannot use what they find there as a cookie. Times are
seconds since 1970.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

ID: Final = re.compile(r"[0-9A-Za-z_-]{43}")
"""What a session cookie holds: 32 random bytes in base64url."""

NAME: Final = re.compile(r"[0-9A-Za-z_-]{32}")


def new_id() -> str:
    return secrets.token_urlsafe(32)


def name_of(session_id: str) -> str:
    """The session's name in stores, logs, attested tokens and the deny list: 192 bits of its id's SHA-256."""
    digest = hashlib.sha256(b"wardgate session " + session_id.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """
    What the issuer gave. `access_expires` is None when it did not say and the token is opaque.

    `claims` are those that rules are judged by: of the access token when it is a JWT of the issuer, else of the ID
    token and userinfo. `id_claims` are those of the ID token that was verified last.
    """

    access_token: str = field(repr=False)
    access_expires: float | None
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    id_claims: Mapping[str, Any] = field(repr=False)
    userinfo: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """
    `generation` counts the refreshes; a store replaces a session only by its next generation. `used` is when a request
    was last seen, with the granularity of the attested lifetime. `ends` is the absolute limit. `issuer_session` is
    the issuer's own name for the login (`sid`), by which it logs out.
    """

    name: str
    provider: str
    issuer: str
    subject: str
    issuer_session: str | None
    created: float
    used: float
    ends: float
    generation: int = 0
    tokens: Tokens

    def expires(self, idle_s: float) -> float:
        """When the session ends by itself, if it is not used again."""
        return min(self.ends, self.used + idle_s)

    def as_json(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Session:
        """Raises ValueError, KeyError or TypeError for what `as_json` did not write."""
        content: dict[str, Any] = json.loads(text)
        return cls(**{**content, "tokens": Tokens(**content["tokens"])})
