"""
The token language of the cases: from a description to the text of a (mostly bad) token.

A description names a base identity and says what differs: header, claims, raw JSON text, the signature, or
the finished text. It verifies nothing. An expression or change that is not known here raises `CaseError`.

Source: `token_language` and `placeholders` in the head of the shared case file; RFC 7515 section 3.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .cases import CaseError
from .keys import Keys, base64url, hmac_signature

AUDIENCE = "gateway"
IDENTITIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("u-1", ("admin",)),
    "user": ("u-2", ("user",)),
    "agent": ("agent-1", ("agent",)),
    "approver": ("u-approver", ("approver",)),
    "id_token": ("u-1", ("admin",)),
    "attacker": ("u-1", ("admin",)),
}

_NOW = re.compile(r"now(?:([+-]\d+)(\.\d+)?)?")
_NOW_TIMES = re.compile(r"\((now(?:[+-]\d+)?)\)\*(\d+)")
_REPEAT = re.compile(r"(\w)\*(\d+)")
_PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")


class RawJson(str):
    """JSON text that goes into the payload as it is: what `json.dumps` would never write (1e400)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    """Makes the tokens of one run: its keys, its issuer, and where a fetched key would be noticed."""

    keys: Keys
    issuer: str
    canary_port: int = 0
    vectors_in: Path | None = None

    def token(self, description: Mapping[str, Any]) -> str:
        """The token text that `description` (a case's `token`) asks for."""
        base = description.get("base", "admin")
        header = self._header(description)
        payload = self._payload(description, base)
        sign = description.get("sign", {})
        if base == "attacker":
            sign = {"key": "attacker"} | sign
        signed = f"{base64url(header.encode())}.{base64url(payload.encode())}"
        text = f"{signed}.{base64url(self._signature(sign, signed.encode('ascii')))}"
        for change in description.get("mutate", ()):
            text = mutated(text, change)
        return text

    def vectors(self, description: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Name and text of each vector of `file` (test-vector JSON) whose result is asked for."""
        if self.vectors_in is None:
            raise CaseError(f"no folder for vectors is known, and a case wants {description['file']}")
        path = self.vectors_in / description["file"]
        wanted = description.get("result", ["valid", "invalid"])
        for group in json.loads(path.read_text("utf-8"))["testGroups"]:
            for vector in group["tests"]:
                if "jws" in vector and vector["result"] in wanted:
                    jws = vector["jws"]
                    text = jws if isinstance(jws, str) else json.dumps(jws, separators=(",", ":"))
                    yield f"tc{vector['tcId']}", text

    def identity(self, base: str) -> dict[str, Any]:
        """The claims of a base identity, before a case changes them."""
        now = int(time.time())
        subject, roles = IDENTITIES[base]
        return {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "exp": now + 300,
            "iat": now,
            "nbf": now - 1,
            "typ": "ID" if base == "id_token" else "Bearer",
            "azp": "web",
            "jti": secrets.token_hex(8),
            "sub": subject,
            "roles": list(roles),
            "realm_access": {"roles": list(roles)},
        }

    def fill(self, text: str, token: Callable[[], str]) -> str:
        """`text` with its placeholders replaced, innermost first; `token` makes the case's own token."""
        while _PLACEHOLDER.search(text):
            text = _PLACEHOLDER.sub(lambda found: self._placeholder(found[1], token), text)
        return text

    def _placeholder(self, name: str, token: Callable[[], str]) -> str:
        kind, _, rest = name.partition(":")
        subject = re.fullmatch(r"(\w+)\.sub", name)
        if name == "token":
            return token()
        if kind == "token" and rest in IDENTITIES:
            return self.token({"base": rest})
        if kind == "urlencode":
            return quote(rest, safe="")
        if subject and subject[1] in IDENTITIES:
            return IDENTITIES[subject[1]][0]
        if name == "canary_port":
            return str(self.canary_port)
        if name in ("iss", "iss|upper"):
            return self.issuer.upper() if name.endswith("upper") else self.issuer
        value = expression(name)
        if value is None:
            raise CaseError(f"the placeholder {{{{{name}}}}} has no meaning here")
        return str(value)

    def _header(self, description: Mapping[str, Any]) -> str:
        if "header_raw" in description:
            return self._text(description["header_raw"])
        header: dict[str, Any] = {"alg": "RS256", "typ": "JWT", "kid": "k1"}
        header |= {name: self._value(value) for name, value in description.get("header", {}).items()}
        for name in description.get("header_remove", ()):
            header.pop(name, None)
        return dumped(header)

    def _payload(self, description: Mapping[str, Any], base: str) -> str:
        claims = self.identity(base)
        claims |= {name: self._value(value) for name, value in description.get("claims", {}).items()}
        for name in description.get("claims_remove", ()):
            claims.pop(name, None)
        text = dumped(claims)
        for name, replacement in description.get("claims_raw_replace", {}).items():
            member = dumped({name: claims[name]})[1:-1]
            if member not in text:
                raise CaseError(f"claims_raw_replace: the payload has no {name}")
            text = text.replace(member, self._text(replacement), 1)
        if "claims_raw" in description:
            return self._text(description["claims_raw"], claims=text)
        return text

    def _text(self, text: str, claims: str = "") -> str:
        text = text.replace("{{claims|single_quoted}}", claims.replace('"', "'"))
        text = text.replace("{{claims}}", claims)
        nested = expression(text)
        return nested if isinstance(nested, RawJson) else self.fill(text, lambda: "")

    def _value(self, value: Any) -> Any:
        """A claim or header value with its expressions evaluated, at any depth."""
        if isinstance(value, Mapping):
            return {name: self._value(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if not isinstance(value, str):
            return value
        if value in ("{{attacker_jwk}}", "{{attacker_ec_jwk}}"):
            return self.keys.attacker_jwk("EC" if "ec" in value else "RSA")
        found = expression(value)
        return self.fill(value, lambda: "") if found is None else found

    def _signature(self, sign: Mapping[str, str], text: bytes) -> bytes:
        if "raw_signature" in sign:
            return {"zero64": bytes(64), "zero256": bytes(256), "empty": b""}[sign["raw_signature"]]
        alg = sign.get("alg", "RS256")
        if "secret" in sign:
            return hmac_signature(alg, self.keys.secret(sign["secret"]), text)
        key = sign.get("key", "idp_ec" if alg.startswith("ES") else "idp")
        return self.keys.sign(alg, key, text, encoding=sign.get("encoding", ""))


def expression(text: str) -> int | float | str | None:
    """The value of an expression of the token language; None when `text` is only itself."""
    if text == "random":
        return secrets.token_hex(8)
    if text.startswith("raw:"):
        return RawJson(text.removeprefix("raw:"))
    if text.startswith("str:"):
        return str(expression(text.removeprefix("str:")))
    if re.fullmatch(r"nest:\d+", text):
        depth = int(text.removeprefix("nest:"))
        return RawJson("[" * depth + "]" * depth)
    if found := _NOW.fullmatch(text):
        seconds = int(time.time()) + int(found[1] or 0)
        return seconds + float(found[2]) if found[2] else seconds
    if found := _NOW_TIMES.fullmatch(text):
        moment = expression(found[1])
        assert isinstance(moment, int)
        return moment * int(found[2])
    if found := _REPEAT.fullmatch(text):
        return found[1] * int(found[2])
    return None


def dumped(value: Any) -> str:
    """Compact JSON in which `RawJson` stands as it is, and letters outside ASCII as themselves."""
    raw: dict[str, str] = {}

    def marked(item: Any) -> Any:
        if isinstance(item, RawJson):
            mark = f"raw-{secrets.token_hex(8)}"
            raw[json.dumps(mark)] = str(item)
            return mark
        if isinstance(item, Mapping):
            return {name: marked(inner) for name, inner in item.items()}
        return [marked(inner) for inner in item] if isinstance(item, list) else item

    text = json.dumps(marked(value), separators=(",", ":"), ensure_ascii=False)
    for mark, raw_text in raw.items():
        text = text.replace(mark, raw_text)
    return text


def flipped(text: str) -> str:
    """Another base64url letter: the lowest bit of its six changed."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return letters[letters.index(text) ^ 1]


def mutated(token: str, change: str) -> str:
    """A finished token after one change of its text; `CaseError` for a change that is not known."""
    name, _, argument = change.partition(":")
    parts = token.split(".")
    head, payload, signature = (*parts, "", "")[:3]
    match name:
        case "empty_signature":
            return f"{head}.{payload}."
        case "drop_third_segment":
            return f"{head}.{payload}"
        case "double_first_dot":
            return f"{head}..{payload}.{signature}"
        case "prepend":
            return argument + token
        case "append":
            return token + argument
        case "quote":
            return f'"{token}"'
        case "pad_header":
            return f"{head}=.{payload}.{signature}"
        case "pad_signature":
            return f"{token}=="
        case "standard_alphabet":
            return token.replace("-", "+").replace("_", "/")
        case "flip_signature_bit":
            return f"{head}.{payload}.{flipped(signature[0])}{signature[1:]}"
        case "noncanonical_last_char":
            return token[:-1] + flipped(token[-1])
        case "split_signature":
            middle = len(signature) // 2
            return f"{head}.{payload}.{signature[:middle]}{argument}{signature[middle:]}"
        case "swap_payload":
            return f"{head}.{_with_claim(payload, argument)}.{signature}"
        case "json_flattened":
            return json.dumps({"protected": head, "payload": payload, "signature": signature})
        case _:
            raise CaseError(f"mutate: {change!r} is not known")


def _with_claim(payload: str, argument: str) -> str:
    name, _, value = argument.partition("=")
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return base64url(dumped(claims | {name: value}).encode())
