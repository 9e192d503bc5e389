"""
Another proxy's question: which request it is about. The same as `envoy/lua/original.lua`, which says why it is so.

Nothing here decides about the request that is found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from wardgate.decision.model import Request
from wardgate.decision.target import Unsafe, is_target, normalize, unchanged
from wardgate.policy import ALIASES, ForwardAuth, Listener, Policy

FORWARDED, NGINX, BEHIND = "forwarded", "nginx", "path"
"""How it was asked: see `original.lua`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """A question that nobody can answer; `reason` is a stable code. `nginx`: it takes no 400 for an answer."""

    reason: str
    status: int = 400
    nginx: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Original:
    method: str
    scheme: str
    host: str
    target: str
    way: str


def original(policy: Policy, listener: Listener, request: Request) -> Request | Unclear | None:
    """The request that is asked about, judged as if it had come in itself; None: nothing is asked here."""
    spec = listener.forward_auth
    if request.asked:  # told already, as `explain` does
        good = _as_it_is(request.target) and _unchanged(request.target)
        return request if good else Unclear(reason="path-unsafe")
    if spec is None:
        return None
    nginx = request.trusted_peer and bool(request.values("x-original-url"))
    read = (normalize if listener.proxies else unchanged)(request.target)
    if not is_target(request.target) or (
        isinstance(read, Unsafe) and not (request.trusted_peer and spec.only)
    ):
        return None  # the guard refuses it
    path = request.target.partition("?")[0] if isinstance(read, Unsafe) else read.path
    found = _asked(policy, spec, request, path)
    if isinstance(found, Unclear):
        return replace(found, nginx=nginx)
    if found is None:
        return None
    if not _as_it_is(found.target):
        return Unclear(reason="path-unsafe", nginx=nginx)
    scheme = found.scheme.lower()
    if found.method == "CONNECT" or not _METHOD.fullmatch(found.method) or not _HOST.fullmatch(found.host):
        return Unclear(reason="original-incomplete", nginx=nginx)
    if scheme not in ("http", "https"):
        return Unclear(reason="original-incomplete", nginx=nginx)
    if not _unchanged(found.target):
        return Unclear(reason="path-unsafe", nginx=nginx)
    return replace(
        request,
        method=found.method,
        target=found.target,
        host=found.host,
        forwarded_proto=scheme,
        asked=found.way,
    )


_METHOD: Final = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+")
_HOST: Final = re.compile(r"[0-9A-Za-z._~:\[\]-]+")
_URL: Final = re.compile(r"(https?)://([^/?#]+)(.*)")


def _asked(policy: Policy, spec: ForwardAuth, request: Request, path: str) -> _Original | Unclear | None:
    """`path` is that of the question."""
    trusted = request.trusted_peer
    told = _by_headers(request) if trusted else None
    if path in spec.by_headers:
        return told
    ours = policy.endpoints.prefix
    if path == ours or path.startswith(ours + "/") or (path in ALIASES and policy.login_providers()):
        return None
    if spec.path is None or spec.below is None:
        return None
    if spec.path == "/":
        if not trusted:
            return Unclear(reason="not-trusted", status=403)
        return told if told is not None else _behind(request, request.target)
    if not (path + "/").startswith(spec.below):
        return None
    if not trusted:
        return Unclear(reason="not-trusted", status=403)
    query = request.target.partition("?")
    rest = path[len(spec.path) :] + query[1] + query[2] if path != spec.path else ""
    if not rest or (told is not None and rest == "/"):
        return told if told is not None else Unclear(reason="original-incomplete")
    if not spec.only:
        return Unclear(reason="not-trusted", status=403)  # Envoy has normalized it: nobody knows what it was
    if isinstance(told, Unclear) or (
        told is not None and (told.target, told.method) != (rest, request.method)
    ):
        return Unclear(reason="original-contradiction")
    return _behind(request, rest, told.way if told is not None else BEHIND)


def _behind(request: Request, target: str, way: str = BEHIND) -> _Original:
    proto = request.forwarded_proto or request.scheme
    return _Original(method=request.method, scheme=proto, host=request.host, target=target, way=way)


def _by_headers(request: Request) -> _Original | Unclear | None:
    uri, url = _once(request, "x-forwarded-uri"), _once(request, "x-original-url")
    method = _once(request, "x-forwarded-method")
    host = request.value("x-forwarded-host")  # Envoy joins several lines of this one: no host has a comma
    stated = _once(request, "x-original-method")
    if uri is None and url is None:
        return None
    if "" in (uri, url, method, stated):
        return Unclear(reason="original-several")
    if url is None:
        assert uri is not None
        if not method or not host:
            return Unclear(reason="original-incomplete")
        if stated is not None and stated != method:
            return Unclear(reason="original-contradiction")
        proto = request.forwarded_proto or request.scheme
        return _Original(method=method, scheme=proto, host=host, target=uri, way=FORWARDED)
    match = _URL.fullmatch(url)
    if match is None or stated is None:
        return Unclear(reason="original-incomplete")
    target = match[3] if match[3].startswith("/") else "/" + match[3]
    contradicts = uri is not None and (uri != target or host != match[2])
    if contradicts or (method is not None and method != stated):
        return Unclear(reason="original-contradiction")
    return _Original(method=stated, scheme=match[1], host=match[2], target=target, way=NGINX)


def _once(request: Request, name: str) -> str | None:
    """The value of a header that may be there once; empty when it is there in another way."""
    values = request.values(name)
    return None if not values else values[0] if len(values) == 1 else ""


_RAW: Final = re.compile(r"/[\x21\x22\x24-\x7e]*")


def _as_it_is(target: str) -> bool:
    """Of characters that a target has, and none encoded without need."""
    path = target.partition("?")[0]
    if not _RAW.fullmatch(target) or re.search(r"[^0-9A-Za-z\-._~!$&'()*+,=:@/%]", path):
        return False
    return not any(_needless(found) for found in re.findall(r"%(.{0,2})", path))


def _needless(digits: str) -> bool:
    if not re.fullmatch("[0-9a-fA-F]{2}", digits):
        return True
    return re.fullmatch(r"[0-9A-Za-z\-._~]", chr(int(digits, 16))) is not None


def _unchanged(target: str) -> bool:
    """Normalization leaves it as it is: it is the proxy that serves the path, as it came."""
    found = normalize(target)
    return not isinstance(found, Unsafe) and str(found) == target
