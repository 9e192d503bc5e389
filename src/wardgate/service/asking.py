"""
Who asks for a login or a logout: the little that is looked at of a request.

Envoy has taken away whatever a client could forge: scheme, host, address and request id are as it, or a proxy that is
trusted, says. The Cookie header stays bytes: only `cookies.py` reads it. No judgement is made here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)

_TOLD: Final = (
    *("accept", "origin", "authorization", "content-type"),
    *("sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """
    `host` is in lower case, with its port where it has one, and empty when it is no host. `target` is path and query as
    they were sent. `headers` are by lower-case name, the first of each; `address` is the client's.
    """

    scheme: str
    host: str
    target: str
    method: str
    cookies: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    request_id: str
    address: str

    @classmethod
    def of(cls, request: Request, *, target: str | None = None) -> Asking:
        """`target` where the request's own is not what the client sent (a resolve)."""
        headers = request.headers
        scheme = headers.get("x-forwarded-proto", "")
        host = headers.get("host", "").lower()
        cookies = [value for name, value in request.scope["headers"] if name == b"cookie"]
        return cls(
            scheme=scheme if scheme in ("http", "https") else "http",
            host=host if _HOST.fullmatch(host) else "",
            target=target if target is not None else target_of(request),
            method=request.method,
            cookies=b"; ".join(cookies),
            headers={name: headers[name] for name in _TOLD if name in headers},
            request_id=headers.get("x-request-id", ""),
            address=_client(headers.get("x-forwarded-for", "")),
        )

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def url(self) -> str:
        return self.origin + self.target

    @property
    def shows_pages(self) -> bool:
        """Whether a person is likely to read the answer."""
        return "text/html" in self.headers.get("accept", "")


def _client(forwarded: str) -> str:
    """
    The client's address. Envoy puts the peer's own at the end; what stands before it is from a proxy that is trusted, for
    it takes the header away from anybody else: then the peer is that proxy, and the last before it is its client.
    """
    *_, before, peer = ["", *(part.strip() for part in forwarded.split(","))]
    return before or peer


def target_of(request: Request, below: str = "") -> str:
    """Path and query as they were sent; `below`: without what ext_authz has put before them."""
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    own = path.split(b"?")[0].removeprefix(below.encode())
    return (own + (b"?" + query if query else b"")).decode("latin-1")
