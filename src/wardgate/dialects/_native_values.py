"""
The single values of the native format: text, flags, numbers, durations, sizes, addresses, paths.

Not the keys (`_native_schema`), nor what an editor is told of them (`_native_types`). Each function reads what YAML or
`${ENV}` gave (the latter is always text), or refuses with one of our problem codes.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from wardgate.policy import (
    REFUSED_METHODS,
    STANDARD_METHODS,
    TOKEN,
    UNSAFE_PATH,
    Introspection,
    Path,
    PathKind,
    Source,
)


def refused(code: str, message: str, hint: str = "") -> PydanticCustomError:
    """What a type raises: `code` becomes the problem's code, the hint travels in the context."""
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


QUOTE: Final = "write it in quotes; YAML reads it as something else"


def text(value: object) -> str:
    """Text as it is. A number or a boolean is refused: `1.0` may have been meant as text, but was lost as such."""
    if isinstance(value, str):
        return value
    if value is None:
        raise refused("not-text", "is empty, and takes text", "give a value, or leave the key out")
    if isinstance(value, bool):
        raise refused("not-text", "takes text, and this is a boolean", QUOTE)
    if isinstance(value, int | float):
        raise refused("not-text", "takes text, and this is a number", QUOTE)
    raise refused("value-type", "takes text")


def filled(value: object) -> str:
    """Text that is not empty."""
    content = text(value)
    if not content:
        raise refused("value-empty", "is empty text", "an environment variable that is set to nothing?")
    return content


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise refused("flag-form", "is not true or false", "write true or false")


def count(value: object) -> int:
    """A whole number, zero or more."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise refused("number-form", "is not a whole number of zero or more")


UNITS: Final[Mapping[str, timedelta]] = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_DURATION: Final = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,6})?(?:us|ms|[dhms]))+", re.ASCII)
_DURATION_PART: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?(us|ms|[dhms])", re.ASCII)


def duration(value: object) -> timedelta:
    """`30s`, `5m`, `1h30m`, `250ms`, `1.5s`: a number always carries its unit."""
    if isinstance(value, str) and _DURATION.fullmatch(value):
        try:
            return sum((_part(*part) for part in _DURATION_PART.findall(value)), timedelta())
        except OverflowError:
            raise refused("duration-form", "is too long a duration") from None
    hint = "write a number and its unit: 30s, 5m, 24h, 1h30m, 250ms"
    raise refused("duration-form", "is not a duration", hint)


def _part(whole: str, fraction: str, unit: str) -> timedelta:
    scale: int = 10 ** len(fraction)
    return UNITS[unit] * int(whole + fraction) / scale


SIZES: Final[Mapping[str, int]] = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SIZE: Final = re.compile(r"([0-9]{1,15})(B|[kKMG]B|[KMG]iB|)", re.ASCII)


def size(value: object) -> int:
    """Bytes: `50MB` is 50 000 000, `64KiB` is 65 536, a bare number is bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        hint = "write a number of bytes, or 50MB (millions of bytes), 64KiB (1024 bytes), 8MiB"
        raise refused("size-form", "is not a size", hint)
    return int(match[1]) * SIZES[match[2]]


_HOST_PORT: Final = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})", re.ASCII)


class HostPort(NamedTuple):
    """An address to listen on, not yet checked to be an IP address."""

    host: str
    port: int


def host_port(value: object) -> HostPort:
    """`127.0.0.1:3000`, `[::1]:3000`."""
    match = _HOST_PORT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refused("address-form", "is not an address and a port", "write it as 0.0.0.0:3000 or [::]:3000")
    return HostPort(match[1] or match[2] or "", int(match[3]))


def network(value: object) -> str:
    """A CIDR; its text is kept."""
    content = text(value)
    try:
        ipaddress.ip_network(content)
    except ValueError:
        hint = "write a network as 10.0.0.0/8 (no bits set after the prefix), one address as 10.0.0.7/32"
        raise refused("trusted-proxies", "is not a network", hint) from None
    return content


def asked_path(value: object) -> str | None:
    """A path of ours, or the word `none`."""
    return None if value == "none" else own_path(value)


class Target(NamedTuple):
    """One endpoint of an upstream."""

    tls: bool
    host: str
    port: int


def target(value: object) -> Target:
    """`http://app:8080`, `https://app`, `http://[::1]:8080`."""
    content = text(value)
    hint = "write it as http://app:8080 or https://app.example.com: scheme, host and port, nothing else"
    try:
        parts = urlsplit(content)
        port = parts.port
    except ValueError:
        raise refused("endpoint-form", "is not the address of an upstream", hint) from None
    rest = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or rest or port == 0:
        raise refused("endpoint-form", "is not the address of an upstream", hint)
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", parts.hostname):
        raise refused("endpoint-form", "is not the address of an upstream", hint)
    host = parts.netloc.rpartition("]")[0].lstrip("[") or parts.netloc.partition(":")[0]
    tls = parts.scheme == "https"
    return Target(tls, host, port or (443 if tls else 80))


def method(value: object) -> str:
    content = text(value)
    if content in REFUSED_METHODS or not TOKEN.fullmatch(content):
        raise refused("method-name", "is not a method that can be routed")
    if content.upper() in STANDARD_METHODS and content != content.upper():
        hint = (
            f"write {content.upper()}: HTTP methods know upper and lower case, and this one would never match"
        )
        raise refused("method-case", "is a method in the wrong letter case", hint)
    return content


def host_name(value: object) -> str:
    """`api.example.com`, `*.example.com`, `*`, or an IP address as a URL has it."""
    content = text(value)
    if not _HOST_NAME.fullmatch(content):
        hint = "write api.example.com, *.example.com or *; the port does not belong here"
        raise refused("host-name", "is not a host name", hint)
    return content


_HOST_NAME: Final = re.compile(
    r"\*|(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_-]*)(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]", re.ASCII
)


def exact_host(value: object) -> str:
    """`api.example.com` or an IP address; no star."""
    content = host_name(value)
    if "*" in content:
        raise refused("host-name", "is not the name of one host", "list the names; a star is not taken here")
    return content


def redirect_host(value: object) -> str:
    """`shop.example.com`, or `shop.example.com:8443` where the port is not that of its scheme."""
    content = text(value)
    name = re.sub(r":[0-9]{1,5}$", "", content, flags=re.ASCII)
    if not _HOST_NAME.fullmatch(name) or "*" in name:
        hint = "write shop.example.com, or with its port shop.example.com:8443; no scheme and no star"
        raise refused("host-name", "is not the name of one host", hint)
    return content


def email_domain(value: object) -> str:
    """`example.com`, what stands after the @."""
    content = text(value)
    if not re.fullmatch(r"[^\s@*,;:/]+", content):
        raise refused(
            "email-domain", "is not the domain of e-mail addresses", "write what stands after the @"
        )
    return content


def cookie_name(value: object) -> str:
    content = text(value)
    if not TOKEN.fullmatch(content):
        raise refused("cookie-form", "is not a cookie's name", "letters, digits, - and _")
    return content


_DOMAIN: Final = re.compile(r"\.?[A-Za-z0-9_](?:[A-Za-z0-9_-]*)(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_COOKIE_PATH: Final = re.compile(r"/[^;,\s\x00-\x1f\x7f]*")


def cookie_domain(value: object) -> str:
    content = text(value)
    if not _DOMAIN.fullmatch(content):
        raise refused("cookie-form", "is not a domain", "a host's name alone: example.com")
    return content


def cookie_path(value: object) -> str:
    content = text(value)
    if not _COOKIE_PATH.fullmatch(content):
        raise refused("cookie-form", "is not the path of a cookie", "it starts with /: /shop")
    return content


KEY_FORM: Final = "is not 16, 24 or 32 bytes, in base64 or as they are"
KEY_HINT: Final = "make one with: openssl rand -base64 32"


def is_key(value: str) -> bool:
    """AES takes keys of 16, 24 and 32 bytes."""
    sizes = (16, 24, 32)
    if len(value.encode()) in sizes:
        return True
    try:
        return len(base64.b64decode(value, validate=True)) in sizes
    except (binascii.Error, ValueError):
        return False


def store(value: object) -> str:
    """`local`, `cookie`, or the address of a Redis, which may hold a password: it is never printed."""
    content = text(value)
    if content not in ("local", "cookie") and not re.fullmatch(r"rediss?://[^\s/][^\s]*", content):
        hint = "write local, cookie, redis://HOST:6379/0, or rediss:// for TLS"
        raise refused("store-form", "is no place for sessions", hint)
    return content


def url(value: object) -> str:
    """An absolute http(s) URL with a host."""
    content = text(value)
    if not _is_url(content):
        raise refused("url-form", "is not an absolute http(s) URL", "write https://HOST/PATH")
    return content


def own_address(value: object) -> str:
    """Where browsers find the gateway: a URL that paths can be put behind."""
    content = text(value)
    if not _is_url(content) or "?" in content or "#" in content:
        hint = "write https://HOST, without query and fragment"
        raise refused("url-form", "is not an address that browsers can come back to", hint)
    return content


def _is_url(content: str) -> bool:
    try:
        parts = urlsplit(content)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return sound and "@" not in parts.netloc and not re.search(r"[\s\x00-\x1f\x7f\\]", content)


def own_path(value: object) -> str:
    """A path of our own, with or without a query; never another host's address."""
    content = text(value)
    if not re.fullmatch(r"/(?![/\\])[^\s\x00-\x1f\x7f\\#]*", content):
        raise refused("path-form", "is not a path of this gateway", "it starts with one /: /home")
    return content


def audience(value: object) -> tuple[str, ...] | None:
    """One name or several; None is the word `unchecked`, which stands alone."""
    if value == "unchecked":
        return None
    names = tuple(filled(item) for item in (value if isinstance(value, list) else [value]))
    if not names:
        raise refused(
            "list-empty", "is an empty list: no token could pass", "write `unchecked` to accept any"
        )
    return names


def prefix(value: object) -> str:
    """Where the gateway's own endpoints are: a path below the root."""
    content = text(value)
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", content) or UNSAFE_PATH.search(content):
        raise refused("endpoint-path", "is not a path for the gateway's endpoints", "write it as /oauth")
    return content


def segment(value: object) -> str:
    content = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", content) or content.strip(".") == "":
        raise refused("endpoint-path", "is not the name of an endpoint", "one segment, such as health")
    return content


class PathForm(NamedTuple):
    kind: PathKind
    text: str


def path(value: object) -> PathForm:
    """
    `/x` that path, `/x/**` it and everything below, `/x/*` only below, `/x*` whatever starts so.

    `{exact: …}`, `{prefix: …}`, `{under: …}`, `{text: …}` say the same of any text, a `*` in it included; `{matches: …}` is a pattern.
    """
    if isinstance(value, dict):
        return _keyed_path(value)
    content = text(value)
    endings = {"/**": PathKind.PREFIX, "/*": PathKind.UNDER, "*": PathKind.TEXT}
    ending = next((ending for ending in endings if content.endswith(ending)), "")
    kind = endings.get(ending, PathKind.EXACT)
    stem = content.removesuffix(ending)
    if "*" in stem or (kind is PathKind.TEXT and not stem):
        hint = "a * stands at the end only: /x/** (x and below), /x/* (below), /x* (starts so); {exact: …} takes any"
        raise refused("path-form", "has a * where none can stand", hint)
    if kind in (PathKind.PREFIX, PathKind.UNDER):
        if stem.endswith("/"):
            raise refused("path-form", "has an empty segment before its *")
        stem = stem or "/"
    return PathForm(kind, stem)


def short_path(form: PathForm) -> str | None:
    """The path with its star, or None where that would be read as another."""
    written = str(Path(kind=form.kind, text=form.text))
    try:
        return written if path(written) == form else None
    except PydanticCustomError:
        return None


def _keyed_path(value: dict[str, object]) -> PathForm:
    kinds = ", ".join(PathKind)
    if len(value) != 1 or next(iter(value)) not in set(PathKind):
        raise refused("path-form", f"takes text, or exactly one of {kinds}", "for example {exact: /x}")
    key, content = next(iter(value.items()))
    return PathForm(PathKind(key), text(content))


def claim_path(value: object) -> tuple[str, ...]:
    """`realm_access.roles` goes inward at each dot; a list gives the steps as they are: `[a, "b.c"]`."""
    hint = 'write the steps as a list where a name holds a dot: [resource_access, "my.app", roles]'
    if isinstance(value, list):
        steps = tuple(text(step) for step in value)
        if not steps:
            raise refused("claim-path", "names no claim", hint)
        return steps
    steps = tuple(text(value).split("."))
    if "" in steps:
        raise refused("claim-path", "has an empty step", hint)
    return steps


def claim_value(value: object) -> str | int | bool:
    if isinstance(value, str | int):
        return value
    raise refused("value-type", "takes text, a whole number, true or false")


def tls_version(value: object) -> str:
    """1.2 or 1.3; unquoted it is a number, and means the same."""
    if str(value) in ("1.2", "1.3") and not isinstance(value, bool):
        return str(value)
    raise refused("value-choice", "is not a version of TLS that is offered", "write 1.2 or 1.3")


def keepalive(value: object) -> timedelta | None:
    """A duration; `off` (None) uses a connection for one request only."""
    if value is False or value == "off":
        return None
    return duration(value)


def introspection(value: object) -> Introspection:
    """`off` is false where YAML reads it so."""
    if value is False:
        return Introspection.OFF
    if isinstance(value, str) and value in set(Introspection):
        return Introspection(value)
    names = ", ".join(Introspection)
    raise refused("value-choice", "is not one of the words that can stand here", f"one of {names}")


def token(value: object) -> Source | None:
    """Which token a header holds: `true` and `access` are one; None is none."""
    if value in (Source.ACCESS, Source.ID) and isinstance(value, str):
        return Source(value)
    try:
        return Source.ACCESS if flag(value) else None
    except PydanticCustomError:
        hint = "one of true, access, id"
        raise refused("value-choice", "is not one of the words that can stand here", hint) from None


def jwks(value: object) -> str:
    """Keys in the file itself, as the JSON of RFC 7517, 5: text, or the same written as YAML."""
    hint = 'write the key set as the issuer publishes it: {"keys": [...]}'
    try:
        content = value if isinstance(value, str) else json.dumps(value)
        found = json.loads(content)
    except (TypeError, ValueError):
        raise refused("jwks-form", "is not JSON", hint) from None
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise refused("jwks-form", "is not a key set", hint)
    return content
