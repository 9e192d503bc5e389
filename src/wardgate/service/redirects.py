"""
Where a login or a logout may end: on our own hosts and on those that the configuration names, nowhere else.

What a browser makes of an address is not what a library makes of it: `/\\evil`, `/%09/evil`, `http:evil`, `\\t//evil`
lead elsewhere in one and not in the other. So nothing is repaired: an address is taken only in the one plain form that
everybody reads the same, and refused otherwise. Source: WHATWG URL, 4.4; RFC 9700, 4.11.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_PLAIN: Final = re.compile(r"[!#$%&'()*+,\-./:;=?@\[\]_~0-9A-Za-z]+")
"""Printable ASCII of a URL (RFC 3986, 2): no blanks, controls, backslashes, quotes, other scripts."""

_HIDDEN: Final = re.compile(r"%(?:2[fF]|5[cC]|0[0-9a-fA-F]|1[0-9a-fA-F]|7[fF]|2[eE]|25|40|3[aA])")
"""Encoded characters that a second reader of a path could take for `/ \\ . % @ :` or a control."""

_NESTED: Final = re.compile(r"(?:^|[=&?])(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")

_HOST: Final = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?|\[[0-9A-Fa-f:]+\]")
_PORTS: Final = {"http": 80, "https": 443}
MAX_CHARACTERS: Final = 8192


class RedirectRefused(ValueError):
    """Not an address where a login may end. The message says why, without the address."""


def landing(
    asked: str | None,
    *,
    own: str,
    hosts: frozenset[str] = frozenset(),
    cookie_domain: str | None = None,
    allow_http: bool = False,
    prefix: str = "/oauth",
) -> str:
    """
    The absolute URL where to end. None or empty: the root of `own` (scheme://host of ours).

    `asked` is a path on our own host (`/orders?x=1`), kept as it is, or an absolute URL: https (http only when ours is,
    or `allow_http`), to our own host, one of `hosts`, or one below `cookie_domain`. Our own endpoints (`prefix`) are
    no place to end: they would log out, or go round. Raises RedirectRefused.
    """
    if not asked:
        return own + "/"
    if len(asked) > MAX_CHARACTERS:
        raise RedirectRefused("too long")
    if not _PLAIN.fullmatch(asked):
        raise RedirectRefused("a character that no address has")
    if asked.startswith("/"):
        _check_path(asked, prefix)
        return own + asked
    return _absolute(asked, own, hosts, cookie_domain, allow_http, prefix)


def _absolute(
    asked: str, own: str, hosts: frozenset[str], cookie_domain: str | None, allow_http: bool, prefix: str
) -> str:
    found = re.fullmatch(r"(https?)://([^/?#]+)([/?#].*)?", asked)
    if found is None:
        raise RedirectRefused("neither a path that starts with / nor an http(s) address")
    scheme, authority, rest = found[1], found[2], found[3] or "/"
    host, port = _authority(authority, scheme)
    ours = urlsplit(own)
    our_port = ours.port or _PORTS[ours.scheme]
    is_ours = host == (ours.hostname or "").lower() and port == our_port
    if not (is_ours or _listed(host, port, scheme, hosts) or _below(host, cookie_domain)):
        raise RedirectRefused("a host that is not listed")
    if scheme == "http" and not (allow_http or (is_ours and ours.scheme == "http")):
        raise RedirectRefused("http, where https is asked for")
    if not rest.startswith("/"):
        raise RedirectRefused("an address without a path")
    _check_path(rest, prefix)
    return asked if found[3] else asked + "/"


def _authority(authority: str, scheme: str) -> tuple[str, int]:
    if "@" in authority or "%" in authority:
        raise RedirectRefused("a user name, or an encoded character, before the host")
    host, colon, digits = (
        authority.rpartition(":") if re.search(r":[0-9]*$", authority) else (authority, "", "")
    )
    if not _HOST.fullmatch(host) or ".." in host or (colon and not re.fullmatch(r"[0-9]{1,5}", digits)):
        raise RedirectRefused("a host that is not written as one")
    return host.lower(), int(digits) if digits else _PORTS[scheme]


def _listed(host: str, port: int, scheme: str, hosts: frozenset[str]) -> bool:
    """`hosts` are exact: a name, for the scheme's own port, or name and port."""
    named = {one.lower() for one in hosts}
    return f"{host}:{port}" in named or (host in named and port == _PORTS[scheme])


def _below(host: str, domain: str | None) -> bool:
    if not domain or _is_address(host):
        return False
    name = domain.lstrip(".").lower()
    return host == name or host.endswith("." + name)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _check_path(target: str, prefix: str) -> None:
    """
    Path, query and fragment as they come. A query cannot lead elsewhere by itself; one with another address in it, not
    even encoded, is what an application that redirects would be asked with, so it is refused, too.
    """
    path, _, query = re.sub(r"#", "?", target).partition("?")
    if _NESTED.search(query):
        raise RedirectRefused("another address in the query, not encoded")
    if "//" in path or _HIDDEN.search(path) or re.search(r"%(?![0-9A-Fa-f]{2})", path):
        raise RedirectRefused("a path that could be read as another address")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise RedirectRefused("a path with dot segments")
    if ";" in path or "@" in path.split("/")[1]:
        raise RedirectRefused("a path that could be read as another address")
    for own in (prefix, "/oauth2"):
        if path.lower() == own or path.lower().startswith(own + "/"):
            raise RedirectRefused("an endpoint of the gateway itself")
