"""
All manifests of one reading: how one object finds another, and whether it may name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

from wardgate.dialects._gateway_api_objects import CORE, GATEWAY, Fields, Name, Object
from wardgate.policy import ClientTls

ACCEPTED: Final = "Accepted"
PROGRAMMED: Final = "Programmed"
RESOLVED: Final = "ResolvedRefs"


TlsOf = Callable[[Object, Name, int], tuple[ClientTls | None, str | None]]
"""How somebody who names a port of a Service speaks to it, None: in the clear; or why that cannot be."""


class World:
    """
    All objects, and what the command line says of the world outside. `resolve`: `NAMESPACE/NAME:PORT` to `HOST:PORT`;
    `controller`: in a cluster, the name that our GatewayClasses have. `tls_of`: of BackendTLSPolicies (`_gateway_api_backend_tls.py`).
    """

    def __init__(
        self, objects: Sequence[Object], resolve: Mapping[str, str], controller: str | None = None
    ) -> None:
        self.objects = objects
        self.resolve = resolve
        self.controller = controller
        self.sought: set[Name] = set()
        self.tls_of: TlsOf  # set before anything is spoken to: nobody is spoken to in the clear by oversight
        self._by_name = {one.name: one for one in reversed(objects)}  # of two with one name the first

    def of(self, group: str, kind: str) -> list[Object]:
        found = [one for one in self.objects if (one.name.group, one.name.kind) == (group, kind)]
        return sorted(found, key=lambda one: one.age)

    def gateways(self) -> list[Object]:
        """Those to serve: in a cluster, those of our classes."""
        found = self.of(GATEWAY, "Gateway")
        if self.controller is None:
            return found
        classes = [
            one
            for one in self.of(GATEWAY, "GatewayClass")
            if one.spec.text("controllerName") == self.controller
        ]
        for one in classes:
            one.say(ACCEPTED, True, "Accepted", "Its Gateways are served by Wardgate.")
        ours = {one.name.name for one in classes}
        return [one for one in found if one.spec.text("gatewayClassName") in ours]

    def find(self, name: Name) -> Object | None:
        self.sought.add(name)
        return self._by_name.get(name)

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """Of a namespace; its name is one of them, whether the Namespace is among the manifests or not."""
        found = self.find(Name(CORE, "Namespace", "default", namespace))
        named = {"kubernetes.io/metadata.name": namespace}
        return named if found is None else {**named, **found.labels}

    def permitted(self, source: Name, target: Name) -> bool:
        """Whether an object may name another: in its own namespace, or where a ReferenceGrant says so."""
        if source.namespace == target.namespace:
            return True
        return any(_grants(grant, source, target) for grant in self.of(GATEWAY, "ReferenceGrant"))

    def places(self, service: Name, port: int) -> tuple[tuple[str, int], ...]:
        """
        Host and port of each address that a Service's port has: as the command line says, else those of EndpointSlices among the
        manifests (in a cluster they are not read), else its name in the cluster's DNS.
        """
        told = self.resolve.get(f"{service}:{port}")
        if told is not None:
            host, _, number = told.rpartition(":")
            return ((host.strip("[]"), int(number)),)
        slices = self._slices.get((service.namespace, service.name))
        if slices is None:
            return ((f"{service.name}.{service.namespace}.svc.cluster.local", port),)
        name = self.port_name(service, port)
        return tuple(dict.fromkeys(place for one in slices for place in _ready(one, name)))

    def port_name(self, service: Name, port: int) -> str | None:
        """None for a port without a name, and for one that the Service does not have."""
        found = self.find(service)
        ports = found.spec.many("ports") if found else []
        return next((one.text("name") for one in ports if one.number("port") == port), None)

    @cached_property
    def _slices(self) -> dict[tuple[str, str], list[Object]]:
        found: dict[tuple[str, str], list[Object]] = {}
        for one in self.of("discovery.k8s.io", "EndpointSlice"):
            owner = one.labels.get("kubernetes.io/service-name")
            if owner is not None:
                found.setdefault((one.name.namespace, str(owner)), []).append(one)
        return found


def _ready(found: Object, name: str | None) -> Iterator[tuple[str, int]]:
    """Addresses that take requests, with the port of that name (discovery.k8s.io/v1)."""
    whole = Fields(found, found.data, ())
    ports = [each.number("port") for each in whole.many("ports") if (each.text("name") or None) == name]
    for each in whole.many("endpoints"):
        conditions = each.one("conditions")
        if conditions is None or conditions.data.get("ready") is not False:
            yield from (
                (host, port) for host in each.texts("addresses") for port in ports if port is not None
            )


def _grants(grant: Object, source: Name, target: Name) -> bool:
    if grant.name.namespace != target.namespace:
        return False
    given = any(
        (one.text("group", ""), one.text("kind"), one.text("namespace"))
        == (source.group, source.kind, source.namespace)
        for one in grant.spec.many("from")
    )
    taken = any(
        (one.text("group", ""), one.text("kind")) == (target.group, target.kind)
        and one.text("name", target.name) == target.name
        for one in grant.spec.many("to")
    )
    return given and taken
