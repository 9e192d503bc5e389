"""
A person's browser at the gateway: it keeps cookies and follows redirects as browsers do, and says nothing else of itself.

A trusted proxy in front of the gateway has taken its https away, so every request says so. Not a real browser: nothing
here judges what a page does. Source: RFC 6265bis, 5; WHATWG URL, 4.4 (what a browser makes of an address).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from .http1 import Answer, Connection
from .upstream import CASE_HEADER

HOST = "gw.test"
ORIGIN = f"https://{HOST}"
SESSION_COOKIE = "__Host-session"
PROXY = "127.0.0.1"

Headers = Iterable[tuple[str, str]]


@dataclass(slots=True)
class Browser:
    """At the gateway on `port`. `label` marks its requests for the application; `address` is where it sits."""

    port: int
    label: str
    address: str = "203.0.113.1"
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def cookie(self) -> str:
        """The Cookie header that it would send."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    async def get(self, target: str, headers: Headers = (), *, label: str = "") -> Answer:
        return await self._send("GET", target, [*headers], b"", label)

    async def post(self, target: str, fields: Mapping[str, str], headers: Headers = ()) -> Answer:
        """A form of the gateway's own pages."""
        form = ("Content-Type", "application/x-www-form-urlencoded")
        return await self._send("POST", target, [form, *headers], urlencode(fields).encode(), "")

    async def _send(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes, label: str
    ) -> Answer:
        sent = [("Host", HOST), ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", self.address)]
        sent += [*headers, (CASE_HEADER, label or self.label), ("Content-Length", str(len(body)))]
        if not any(name.lower() == "accept" for name, _ in headers):
            sent.append(("Accept", "text/html"))
        if self.cookies:
            sent.append(("Cookie", self.cookie))
        answer = await exchange(self.port, method, target, sent, body)
        self.take(answer)
        return answer

    def take(self, answer: Answer) -> None:
        """Keep the cookies of an answer, and forget those that it removes."""
        for name, value in cookies_of(answer).items():
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)


async def exchange(port: int, method: str, target: str, headers: Headers, body: bytes = b"") -> Answer:
    """One request on a connection of its own, from the proxy that the gateway trusts."""
    connection = await Connection.to(port, PROXY)
    try:
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        return await connection.exchange("\r\n".join(lines).encode("latin-1") + body, method=method)
    finally:
        await connection.close()


async def visit(url: str) -> Answer:
    """GET an address on this machine: the issuer's."""
    parts = urlsplit(url)
    return await exchange(
        int(parts.port or 80), "GET", f"{parts.path}?{parts.query}", [("Host", parts.netloc)]
    )


def cookies_of(answer: Answer) -> dict[str, str]:
    """Name and value of every cookie that an answer sets; the value is empty where it removes one."""
    found = {}
    for line in answer.values("set-cookie"):
        pair, *attributes = line.split(";")
        name, _, value = pair.strip().partition("=")
        removed = any(attribute.strip().lower() == "max-age=0" for attribute in attributes)
        found[name] = "" if removed else value
    return found


def location_of(answer: Answer) -> str:
    """Where a redirect leads; empty for any other answer."""
    values = answer.values("location")
    return values[0] if 300 <= answer.status < 400 and len(values) == 1 else ""


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def host_seen(location: str) -> str:
    """
    The host (and port) to which a browser at the gateway would go by a Location; `(SCHEME:)` where that has none.

    As browsers read it: controls and blanks around it fall away, tabs and line ends inside, `\\` is `/`, any number of
    slashes, and none, begins a host after a scheme. (`https:/x` is a path for some bases: the worse reading counts.)
    """
    text = re.sub(r"[\t\r\n]", "", location.strip("".join(map(chr, range(33))))).replace("\\", "/")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    if scheme is None and not text.startswith("//"):
        return HOST
    if scheme is not None and scheme[1].lower() not in ("http", "https"):
        return f"({scheme[1].lower()}:)"
    rest = text[scheme.end() :] if scheme is not None else text
    authority = re.split(r"[/?#]", rest.lstrip("/"), maxsplit=1)[0]
    return authority.rpartition("@")[2].lower()
