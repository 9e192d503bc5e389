"""Makes a disagreement small enough to read: takes away what is not needed for it, one thing at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from tests.differential.cases import Case
from tests.differential.comparison import Compared, compare
from tests.differential.fleet import Fleet
from tests.differential.probes import Probe
from wardgate.policy import AllOf, AnyOf, Condition, Endpoints, Host, Limits, Not, Policy, Route, Rule
from wardgate.problems import ConfigError


def smallest(found: Compared, fleet: Fleet) -> Compared:
    """The same kind of disagreement on less: one request, and a policy from which nothing more can be taken."""
    best = _still(found, found.policy, found.probe, fleet)
    if best is None:  # it needed what came before it
        return found
    shrunk = True
    while shrunk:
        shrunk = False
        for policy, probe in _smaller(best.policy, best.probe):
            less = _still(found, policy, probe, fleet)
            if less is not None:
                best, shrunk = less, True
                break
    return best


def _still(found: Compared, policy: Policy, probe: Probe, fleet: Fleet) -> Compared | None:
    case = Case(policy=policy, available=found.available, probes=(probe,))
    again = compare(fleet, [case])[0]
    same = (again.python.status, again.envoy.status) == (found.python.status, found.envoy.status)
    return again if same and not again.agrees else None


def _smaller(policy: Policy, probe: Probe) -> Iterator[tuple[Policy, Probe]]:
    for host_index, host in enumerate(policy.listeners[0].hosts):
        for smaller in _smaller_hosts(host):
            hosts = list(policy.listeners[0].hosts)
            hosts[host_index : host_index + 1] = smaller
            if hosts:
                listener = replace(policy.listeners[0], hosts=tuple(hosts))
                yield replace(policy, listeners=(listener,)), probe
    if policy.limits != Limits():
        yield replace(policy, limits=Limits()), probe
    if policy.trusted_proxies and not probe.request.trusted_peer:
        yield replace(policy, trusted_proxies=()), probe
    if policy.endpoints != Endpoints():
        with contextlib.suppress(ConfigError):
            yield replace(policy, endpoints=Endpoints()), probe
    yield from ((policy, less) for less in _smaller_probes(probe))


def _smaller_hosts(host: Host) -> Iterator[list[Host]]:
    yield []
    if host.cors is not None:
        yield [replace(host, cors=None)]
    if len(host.names) > 1:
        for name in host.names:
            yield [replace(host, names=tuple(each for each in host.names if each != name))]
    for index, route in enumerate(host.routes):
        without = (*host.routes[:index], *host.routes[index + 1 :])
        yield [replace(host, routes=without)]
        for simpler in _simpler_routes(route):
            yield [replace(host, routes=(*host.routes[:index], simpler, *host.routes[index + 1 :]))]


def _simpler_routes(route: Route) -> Iterator[Route]:
    if route.identity:
        yield replace(route, identity=())
        if len(route.identity) > 1:
            for header in route.identity:
                yield replace(route, identity=(header,))
    if isinstance(route.access, Rule):
        for simpler in _simpler_conditions(route.access.when):
            yield replace(route, access=Rule(when=simpler))


def _simpler_conditions(condition: Condition) -> Iterator[Condition]:
    match condition:
        case Not(inner):
            yield inner
            yield from map(Not, _simpler_conditions(inner))
        case AllOf(conditions) | AnyOf(conditions):
            yield from conditions
            if len(conditions) > 1:
                for index in range(len(conditions)):
                    yield replace(condition, conditions=(*conditions[:index], *conditions[index + 1 :]))
        case _:
            pass


def _smaller_probes(probe: Probe) -> Iterator[Probe]:
    for name in probe.claims:
        yield replace(probe, claims={key: value for key, value in probe.claims.items() if key != name})
    headers = probe.request.headers
    for index in range(len(headers)):
        less = (*headers[:index], *headers[index + 1 :])
        yield replace(probe, request=replace(probe.request, headers=less))
