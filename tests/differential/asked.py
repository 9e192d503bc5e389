"""
Another proxy's questions, made of the requests of a case: the same request, told in each way that there is, or badly.

A policy gets an endpoint for them on each of its listeners, which then proxy nothing, or go on proxying.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterable
from dataclasses import replace

from tests.differential.cases import Case
from tests.differential.probes import TRUSTED, Probe, client_of
from wardgate.decision import Request
from wardgate.policy import ForwardAuth, Policy

PATHS = ("/auth", "/gate/check", "/", None)
WAYS = ("forwarded", "nginx", "path", "both")
SPOILT = ("twice", "empty", "missing", "another", "itself", "slash", "below")

PLAIN = re.compile(r"[0-9A-Za-z.-]+(?::[0-9]+)?")
"""Of the question itself: what a proxy that asks sends as Host."""

Headers = tuple[tuple[str, str], ...]


def asked(case: Case, chance: random.Random) -> Case:
    """The case with an endpoint for questions, most of its requests asked about, the rest as they are."""
    path = chance.choice(PATHS)
    only = path == "/" or (path is not None and chance.random() < 0.6)
    spec = ForwardAuth(path=path, by_headers=(f"{case.policy.endpoints.prefix}/authorize",), only=only)
    listeners = tuple(replace(each, forward_auth=spec) for each in case.policy.listeners)
    trusted = (f"{TRUSTED}/32",) if chance.random() < 0.9 else ()
    policy = replace(case.policy, listeners=listeners, trusted_proxies=trusted)
    return replace(
        case, policy=policy, probes=tuple(_asked(policy, spec, each, chance) for each in case.probes)
    )


def _asked(policy: Policy, spec: ForwardAuth, probe: Probe, chance: random.Random) -> Probe:
    source = TRUSTED if chance.random() < 0.85 else probe.source
    trusted = any(
        ipaddress.ip_address(source) in ipaddress.ip_network(each) for each in policy.trusted_proxies
    )
    client = client_of(source, trusted, probe.request.headers)
    request = replace(probe.request, trusted_peer=trusted, client=client)
    if chance.random() < 0.1 and PLAIN.fullmatch(request.host):
        return replace(probe, request=request, source=source)
    way = chance.choice(WAYS if spec.path else WAYS[:2])
    if way == "path":
        host = request.host if PLAIN.fullmatch(request.host) else "gate:8081"
        question = replace(request, target=(spec.path or "").rstrip("/") + request.target, host=host)
        if chance.random() < 0.2:
            headers = _spoilt(_told(request, chance.choice(("forwarded", "nginx"))), chance)
            question = replace(question, headers=(*question.headers, *headers))
        return replace(probe, request=question, source=source)
    told = _told(request, way)
    if chance.random() < 0.3:
        told = _spoilt(told, chance)
    at = chance.choice(
        (spec.path or spec.by_headers[0],) * 4
        + (*spec.by_headers, f"{(spec.path or '').rstrip('/')}/", "/elsewhere")
    )
    proto = request.forwarded_proto
    question = replace(
        request,
        method="GET",
        target=at + chance.choice(("", "", "?x=/y")),
        host=chance.choice(("gate:8081", "[::1]:8081")),
        headers=(*request.headers, *told),
        forwarded_proto=proto,
    )
    return replace(probe, request=question, source=source)


def _told(request: Request, way: str) -> Headers:
    forwarded = (
        ("X-Forwarded-Method", request.method),
        ("X-Forwarded-Host", request.host),
        ("X-Forwarded-Uri", request.target),
    )
    url = f"{request.forwarded_proto or 'http'}://{request.host}{request.target}"
    nginx = (("X-Original-URL", url), ("X-Original-Method", request.method))
    return {"forwarded": forwarded, "nginx": nginx, "both": (*forwarded, *nginx)}[way]


def _spoilt(headers: Iterable[tuple[str, str]], chance: random.Random) -> Headers:
    """One of the headers is there twice, empty, away, or says something else."""
    found = list(headers)
    index = chance.randrange(len(found))
    name, value = found[index]
    match chance.choice(SPOILT):
        case "twice":
            found.append((name, chance.choice((value, "/"))))
        case "empty":
            found[index] = name, ""
        case "missing":
            del found[index]
        case "another":
            found[index] = name, chance.choice(("POST", "CONNECT", "/", "http://app.test/", "x y", "a,b"))
        case "slash":
            found[index] = name, value + "/"
        case "below":
            found[index] = name, value + "/../x"
        case _:
            pass
    return tuple(found)
