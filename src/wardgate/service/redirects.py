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
from urllib.parse import quote, unquote

from starlette.responses import Response

from wardgate.policy import ALIASES

_PLAIN: Final = re.compile(r"[!#$%&'()*+,\-./:;=?@\[\]_~0-9A-Za-z^`{|}]+")
"""
Printable ASCII of a URL (RFC 3986, 2), and the five that browsers leave as they are in a query: no blanks, controls,
backslashes, quotes, other scripts.
"""

_HIDDEN: Final = re.compile(r"%(?:2[fF]|5[cC]|0[0-9a-fA-F]|1[0-9a-fA-F]|7[fF]|2[eE]|25|40|3[aA])")
"""Encoded characters that a second reader of a path could take for `/ \\ . % @ :` or a control."""

_OWN: Final = re.compile(
    r"(https?)://([0-9A-Za-z_](?:[0-9A-Za-z._-]*[0-9A-Za-z_])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
)
_ADDRESS: Final = re.compile(r"(https?)://([^/?#]+)(/.*)?")
_NESTED: Final = re.compile(r"(?:^|[=&?])(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")

_ADDRESS_CHARACTERS: Final = "".join(chr(code) for code in range(0x21, 0x7F))

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

    `asked` is a path on our own host (`/orders?x=1`), or an absolute URL: https (http only when ours is, or
    `allow_http`), to our own host, one of `hosts` (a name stands for the scheme's own port; `name:port` for another), or
    one below `cookie_domain` at the scheme's own port or ours. Path, query and fragment are kept letter by letter. Our
    own endpoints (`prefix`) are no place to end: they would log out, or go round. Raises RedirectRefused.
    """
    if not _OWN.fullmatch(own):
        # without a host of ours `own + "/evil.test/"` would be https:///evil.test/, which browsers read as a host
        raise RedirectRefused("no address of our own to end at")
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
    found = _ADDRESS.fullmatch(asked)
    if found is None:
        raise RedirectRefused("neither a path that starts with / nor an http(s) address with one")
    scheme, authority, rest = found[1], found[2], found[3] or "/"
    host, port = _authority(authority, scheme)
    our_scheme, our_host, our_port = _parts(own)
    is_ours = (host, port) == (our_host, our_port)
    below = port in (_PORTS[scheme], our_port) and _below(host, cookie_domain)
    if not (is_ours or below or _listed(host, port, scheme, hosts)):
        raise RedirectRefused("a host that is not listed")
    if scheme == "http" and not (allow_http or (is_ours and our_scheme == "http")):
        raise RedirectRefused("http, where https is asked for")
    _check_path(rest, prefix)
    return asked if found[3] else asked + "/"


def _parts(own: str) -> tuple[str, str, int]:
    found = _OWN.fullmatch(own)
    assert found is not None  # `landing` has looked
    return found[1], found[2].lower(), int(found[3] or _PORTS[found[1]])


def _authority(authority: str, scheme: str) -> tuple[str, int]:
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
    if "//" in path or ";" in path or _HIDDEN.search(path) or re.search(r"%(?![0-9A-Fa-f]{2})", path):
        raise RedirectRefused("a path that could be read as another address")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise RedirectRefused("a path with dot segments")
    # Envoy's normalization decodes letters: /%6Fauth/logout is our logout
    plain = unquote(path).lower()
    if any(plain == own or plain.startswith(own + "/") for own in (prefix.lower(), *ALIASES)):
        raise RedirectRefused("an endpoint of the gateway itself")


def redirect(url: str, status: int = 303) -> Response:
    """
    Sends a browser there, letter by letter.

    Not Starlette's RedirectResponse: it encodes what it thinks has to be (`/x?f=a|b` becomes `a%7Cb`), and the page that
    was asked for is another then. Here only what no header can hold, or a browser would not send, is encoded.
    """
    location = quote(url, safe=_ADDRESS_CHARACTERS, encoding="latin-1", errors="replace")
    return Response(status_code=status, headers={"location": location, "cache-control": "no-store"})
