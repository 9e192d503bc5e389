"""
The grammar of a compact JWS (RFC 7515 7.1): three base64url parts, nothing else.

Not verification: what comes out says so in its name. One spelling per token: padding, other alphabets, spaces,
empty parts and unused bits in a last character are refused, since a second accepted spelling of one token
defeats deny lists and caches that are keyed by its text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wardgate.verify.errors import TokenMalformed, TokenTooLarge
from wardgate.verify.strict_json import NotStrictJson, parse

MAX_BYTES = 64 * 1024
"""Above this a token is refused before anything is decoded; proxies in front stop at 60 KiB of headers."""

_PARTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jws:
    """The parts of a compact JWS; `signing_input` is what the signature must be over. Nothing is proven."""

    header: Mapping[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """What a token says, read and not believed."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def read_jws(token: str) -> Jws:
    """Take a compact JWS apart, strictly. Raises TokenMalformed (TokenTooLarge when longer than 64 KiB)."""
    if len(token) > MAX_BYTES:
        raise TokenTooLarge(f"the token has {len(token)} characters; at most {MAX_BYTES} are read")
    parts = _PARTS.fullmatch(token)
    if parts is None:
        raise TokenMalformed("the token is not three base64url parts joined by dots")
    return Jws(
        header=json_object(_part(parts[1], "header"), "header"),
        payload=_part(parts[2], "payload"),
        signing_input=f"{parts[1]}.{parts[2]}".encode("ascii"),
        signature=_part(parts[3], "signature"),
    )


def read_unverified(token: str) -> UnverifiedToken:
    """A token's header and claims, of which nothing may be trusted. Raises TokenMalformed."""
    jws = read_jws(token)
    return UnverifiedToken(header=jws.header, claims=json_object(jws.payload, "payload"))


def json_object(content: bytes, name: str) -> Mapping[str, Any]:
    """The JSON object that a part holds. Raises TokenMalformed, naming the part."""
    try:
        value = parse(content)
    except NotStrictJson as error:
        raise TokenMalformed(f"the {name} {_said(error)}") from error
    if not isinstance(value, dict):
        raise TokenMalformed(f"the {name} is not a JSON object")
    return value


def decode_base64url(text: str) -> bytes:
    """The bytes of canonical, unpadded base64url (RFC 7515 2). Raises ValueError for any other spelling."""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("not base64url without padding")
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode_base64url(content) != text:
        raise ValueError("not canonical base64url: unused bits are set")
    return content


def encode_base64url(content: bytes) -> str:
    """Bytes as base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _part(text: str, name: str) -> bytes:
    try:
        return decode_base64url(text)
    except ValueError as error:
        raise TokenMalformed(f"the {name} is {error}") from error


def _said(error: NotStrictJson) -> str:
    text = str(error)
    return f"is {text}" if text.startswith(("not ", "nested ")) else text
