"""
Grants: what an agent shows to make the one HTTP request that was approved (`X-AIP-Authorization`).

A JWT, signed with Ed25519 by the gateway that gave it. It names its holder and the request: method, host, path, query, and the
SHA-256 of the body. `jti` is the request of the agent: that is what is spent, by its phase, in the store. Who keeps keys is
the service; pure here. Source: RFC 7519, RFC 8037, RFC 8725.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardgate.approvals.records import AgentRequest, Wish
from wardgate.approvals.targets import NoTarget, normalized
from wardgate.problems import TokenError
from wardgate.signing import JwtSigner, base64url, public_bytes
from wardgate.verify import Expectation, KeySet, verify

ISSUER: Final = "urn:wardgate:grants"
TYPE: Final = "aip-grant+jwt"

EMPTY: Final = hashlib.sha256(b"").hexdigest()
LEEWAY: Final = timedelta(seconds=5)
LONGEST: Final = timedelta(hours=24)


class NoGrant(Exception):
    """Why a request does not pass: a stable `code`, and words for the agent."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request. `host` is in small letters, without the usual ports; `query` is as it is sent; `body` a SHA-256 in hex."""

    method: str
    host: str
    path: str
    query: str
    body: str

    @classmethod
    def of(cls, method: str, url: str, body: str) -> Call:
        """Raises NoTarget: two readers could take the URL for two."""
        parts = urlsplit(normalized(url))
        if parts.scheme not in ("http", "https"):
            raise NoTarget("is no http(s) URL")
        host = parts.netloc.removesuffix(":443").removesuffix(":80")
        return cls(method=method, host=host, path=parts.path or "/", query=parts.query, body=body)

    def as_data(self) -> dict[str, str]:
        return {
            "method": self.method,
            "host": self.host,
            "path": self.path,
            "query": self.query,
            "bodySha256": self.body,
        }


def wanted(wish: Wish) -> Call | None:
    """The HTTP request that an agent asks for: `httpRequest`, at the target. None: it asks for something else."""
    said = wish.content.get("httpRequest")
    if not isinstance(said, Mapping):
        return None
    return Call.of(str(said["method"]), wish.target, str(said.get("bodySha256") or EMPTY))


class Signer:
    """One signing key; `seed` are its 32 bytes. `kid` is of the key: the same seed has the same."""

    def __init__(self, seed: bytes) -> None:
        key = Ed25519PrivateKey.from_private_bytes(seed)
        kid = base64url(hashlib.sha256(public_bytes(key)).digest()[:12])
        self._jwt = JwtSigner(key, kid, TYPE)
        self.kid = kid

    def public_jwk(self) -> dict[str, str]:
        return self._jwt.public_jwk()

    def grant(self, request: AgentRequest, call: Call, now: float, ends: float) -> str:
        """For who filed the request."""
        claims = {
            "iss": ISSUER,
            "aud": call.host,
            "sub": request.subject,
            "holder": request.issuer,
            "agent": request.agent,
            "jti": request.name,
            "iat": int(now),
            "exp": int(ends),
            "http": call.as_data(),
        }
        return self._jwt.sign(claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant that holds: `request` is the name of what was approved, for `subject` of `issuer`."""

    request: str
    issuer: str
    subject: str


def read(token: str, keys: KeySet, now: float, call: Call) -> Grant:
    """A grant for exactly this request. Raises TokenError (its key is not known, too), NoGrant."""
    expect = Expectation(
        issuer=ISSUER,
        audiences=(call.host,),
        algorithms=frozenset({"EdDSA"}),
        leeway=LEEWAY,
        max_lifetime=LONGEST,
        header_types=frozenset({TYPE}),
        kind="a grant",
    )
    claims = verify(token, keys=keys, expect=expect, now=datetime.fromtimestamp(now, UTC)).claims
    differing = _differing(claims.get("http"), call.as_data())
    if differing:
        raise NoGrant("grant-mismatch", f"the grant is for another request: {', '.join(differing)}")
    found = [claims.get(name) for name in ("jti", "holder", "sub")]
    if not all(isinstance(each, str) for each in found):
        raise TokenError("it names no request, or no holder")
    request, issuer, subject = map(str, found)
    return Grant(request=request, issuer=issuer, subject=subject)


def _differing(granted: Any, made: Mapping[str, str]) -> list[str]:
    if not isinstance(granted, Mapping):
        return sorted(made)
    return [name for name, value in made.items() if granted.get(name) != value]
