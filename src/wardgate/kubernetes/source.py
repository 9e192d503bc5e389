"""
The source that a gateway in a cluster reads: objects that are watched, and statuses that are written back.

Before a changed route is read, policies are listed once more: watches are independent of each other, and a route must not be
served before a policy that was there earlier.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wardgate import collection, dialects, metrics
from wardgate.dialects import GATEWAY, Name, Options, Reading
from wardgate.document import Document
from wardgate.events import say
from wardgate.kubernetes.cache import Cache, Reflector
from wardgate.kubernetes.client import ApiError, Away, Client, Object, Resource
from wardgate.kubernetes.election import Election
from wardgate.kubernetes.reporter import Reporter
from wardgate.kubernetes.statuses import Desired, not_programmed
from wardgate.problems import Problem, Where

PLAIN: Final = (
    "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=kubernetes.io/dockerconfigjson"
)

POLICIES: Final = (
    Resource(
        group="gateway.envoyproxy.io",
        kind="SecurityPolicy",
        plural="securitypolicies",
        versions=("v1alpha1",),
    ),
    Resource(
        group="agentgateway.dev",
        kind="AgentgatewayPolicy",
        plural="agentgatewaypolicies",
        versions=("v1alpha1",),
    ),
)
ROUTES: Final = (
    Resource(group=GATEWAY, kind="GatewayClass", plural="gatewayclasses", namespaced=False),
    Resource(group=GATEWAY, kind="Gateway", plural="gateways"),
    Resource(group=GATEWAY, kind="HTTPRoute", plural="httproutes"),
    Resource(group=GATEWAY, kind="GRPCRoute", plural="grpcroutes"),
)
NAMED: Final = (
    Resource(group="", kind="Service", plural="services"),
    Resource(group="", kind="Secret", plural="secrets", fields=PLAIN),
    Resource(group="", kind="ConfigMap", plural="configmaps"),
    Resource(group="", kind="Namespace", plural="namespaces", namespaced=False),
)
"""What others name: of interest only when one does."""

GRANTS: Final = (
    Resource(group=GATEWAY, kind="ReferenceGrant", plural="referencegrants", versions=("v1", "v1beta1")),
    Resource(
        group=GATEWAY, kind="BackendTLSPolicy", plural="backendtlspolicies", versions=("v1", "v1alpha3")
    ),
)
RESOURCES: Final = (*ROUTES, *POLICIES, *GRANTS, *NAMED)

Objects = Mapping[Name, Object]

SETTLE_S: Final = 0.01
"""Changes that come together are read together."""

AGAIN_S: Final = 1.0
ROUNDS: Final = 5
"""How often a reading is begun again while routes and policies come: then what there is by then is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    `controller`: which GatewayClasses are ours; `namespaces`: what is watched, everything when empty; `lease`: NAMESPACE/NAME;
    `addresses`: where Gateways are reached, for their status.
    """

    controller: str
    namespaces: tuple[str, ...] = ()
    lease: str
    identity: str
    addresses: tuple[str, ...] = ()


class Cluster:
    """The objects of a cluster, as a `wardgate.supervisor.Source`."""

    def __init__(self, client: Client, settings: Settings, options: Options) -> None:
        self._client = client
        self._settings = settings
        self._options = options
        self._cache = Cache(changed=self._on_change, touched=lambda name: self._reporter.touched(name))
        self._reflectors = [
            Reflector(client=client, cache=self._cache, resource=resource, namespace=namespace)
            for resource in RESOURCES
            for namespace in (settings.namespaces if resource.namespaced and settings.namespaces else (None,))
        ]
        namespace, _, name = settings.lease.partition("/")
        self._election = Election(client=client, namespace=namespace, name=name, identity=settings.identity)
        self._reporter = Reporter(
            client=client,
            cache=self._cache,
            controller=settings.controller,
            instance=settings.identity,
            leads=lambda: self._election.leads,
            place=self._place,
        )
        self._changed = asyncio.Event()
        self._to_see: set[str] = set(_ROUTE_KINDS)
        self._sought: frozenset[Name] | None = None
        self._meanwhile: set[Name] = set()
        self._policies: Objects = {}
        self._since: float | None = None
        self._said: set[str] = set()
        self._generations: Mapping[Name, int] = {}

    # --- what the supervisor asks

    async def run(self) -> None:
        """Watch, and write statuses. Raises ConfigError when nothing says how to reach an API server."""
        await self._connect()
        try:
            async with asyncio.TaskGroup() as tasks:
                for job in (self._election.run, self._reporter.run, *(one.run for one in self._reflectors)):
                    tasks.create_task(job())
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await self._election.release()
            await self._client.close()

    async def _connect(self) -> None:
        said = False
        while True:
            try:
                server = await self._client.connect()
            except Away as error:
                if not said:
                    say("waiting for the API server", error=str(error))
                said = True
                await asyncio.sleep(AGAIN_S)
            else:
                say("API server found", address=server)
                return

    async def read(self) -> Reading:
        for one in self._reflectors:
            await one.synced.wait()
        for _ in range(ROUNDS):
            self._changed.clear()
            self._meanwhile.clear()
            self._since = None
            changed, self._to_see = self._to_see, set()
            found: Objects = dict(self._cache.objects)
            seeing = asyncio.create_task(self._seen(found, changed))
            reading = await asyncio.to_thread(self._reading, found)
            try:
                seen = await seeing
            except (Away, ApiError) as error:
                self._to_see |= changed
                asyncio.get_running_loop().call_later(AGAIN_S, self._changed.set)
                return Reading(policy=None, problems=(_away(error),))
            if seen is found:
                break
            found = seen
            if not any(name.kind in _ROUTE_KINDS for name in self._meanwhile):
                reading = await asyncio.to_thread(self._reading, found)
                break
            # a policy whose route came a moment later: its status would say for that moment that there is none
        else:
            reading = await asyncio.to_thread(self._reading, found)
        self._sought = reading.sought
        if late := self._sought & self._meanwhile:  # they were not looked for when they changed
            self._to_see |= {name.kind for name in late}
            self._changed.set()
        self._policies = {name: one for name, one in found.items() if name.kind in _POLICY_KINDS}
        self._generations = {name: int(one["metadata"].get("generation") or 0) for name, one in found.items()}
        return self._news(reading)

    async def _seen(self, found: Objects, changed: set[str]) -> Objects:
        """
        What is to be read instead, when what the watches brought together was never there together. They are independent: a
        route could be here before its policy, and still be here when its policy is gone. So when something
        else changed, all policies are listed that there are after it; when a policy left something, all routes, and those that
        are gone by then are left out.
        """
        if changed - _POLICY_KINDS:
            await self._list(POLICIES)
        policies = {name: one for name, one in self._cache.objects.items() if name.kind in _POLICY_KINDS}
        brought = any(name.kind in _POLICY_KINDS for name in self._meanwhile)
        gone: set[Name] = set()
        if _leaves_any(self._policies, policies):
            await self._list(ROUTES)
            there = self._cache.objects
            gone = {name for name in found if name.kind in _ROUTE_KINDS and name not in there}
        if not brought and not gone:
            return found
        kept = {
            name: one for name, one in found.items() if name.kind not in _POLICY_KINDS and name not in gone
        }
        return kept | policies

    def _news(self, reading: Reading) -> Reading:
        """What an earlier reading said is not said again, as long as it is so: a cluster has many objects, and all are read."""
        if reading.policy is None:
            return reading
        before, self._said = self._said, {*map(str, reading.problems), *reading.notes}
        return replace(
            reading,
            problems=tuple(one for one in reading.problems if str(one) not in before),
            notes=tuple(one for one in reading.notes if one not in before),
        )

    async def _list(self, resources: Collection[Resource]) -> None:
        """All that there are now, whatever the watches have brought."""

        async def listed(one: Reflector) -> None:
            try:
                await one.relist(beside=True)
            except ApiError as error:
                if error.status != 404:
                    raise

        await asyncio.gather(*(listed(one) for one in self._reflectors if one.resource in resources))

    def _reading(self, found: Objects) -> Reading:
        documents = [
            Document(file=f"{name.kind} {name}", data=one)
            for name, one in sorted(found.items(), key=_by_name)
        ]
        with collection.paused():
            return dialects.read(documents, self._options, "gateway_api")

    async def changed(self) -> str:
        await self._changed.wait()
        await asyncio.sleep(SETTLE_S)
        self._changed.clear()
        return "kubernetes"

    def told(self, reading: Reading, in_force: bool | None) -> None:
        """
        Statuses are written once what they say is so; those of a start at once, as nobody is served before, but for those of
        Gateways, which say that somebody is.
        """
        if reading.policy is None and not reading.statuses:
            return  # nothing was read
        desired = {}
        for status in reading.statuses:
            is_gateway = status.name.kind == "Gateway"
            desired[status.name] = Desired(
                status=not_programmed(status) if is_gateway and in_force is False else status,
                generation=self._generations.get(status.name, 0),
                addresses=self._settings.addresses if is_gateway else (),
            )
        self._reporter.want(desired, starting=in_force is None)

    def figures(self) -> dict[metrics.Metric, dict[tuple[str, ...], float]]:
        kinds = Counter(name.kind for name in self._cache.objects)
        errors: Counter[tuple[str, str]] = Counter()
        for one in self._reflectors:
            errors.update({(one.resource.kind, reason): count for reason, count in one.errors.items()})
        results = self._reporter.results
        loop = asyncio.get_running_loop()
        return {
            metrics.KUBERNETES_OBJECTS: {(kind,): float(count) for kind, count in kinds.items()},
            metrics.KUBERNETES_WATCHED: {(one.label,): float(one.healthy) for one in self._reflectors},
            metrics.KUBERNETES_ERRORS: {key: float(count) for key, count in errors.items()},
            metrics.KUBERNETES_STATUSES: {(result,): count for result, count in results.items()},
            metrics.KUBERNETES_QUEUE: {(): float(self._reporter.waiting)},
            metrics.KUBERNETES_LEADS: {(): float(self._election.leads)},
            metrics.KUBERNETES_LAG: {(): 0.0 if self._since is None else loop.time() - self._since},
        }

    # --- what the cache tells

    def _on_change(self, name: Name) -> None:
        self._meanwhile.add(name)
        if name.kind in _NAMED_KINDS and self._sought is not None and name not in self._sought:
            return
        self._to_see.add(name.kind)
        if self._since is None:
            self._since = asyncio.get_running_loop().time()
        self._changed.set()

    def _place(self, name: Name) -> tuple[Resource, str] | None:
        for one in self._reflectors:
            if (one.resource.group, one.resource.kind) == (name.group, name.kind):
                return one.resource, one.version
        return None


_NAMED_KINDS: Final = frozenset(one.kind for one in NAMED)
_POLICY_KINDS: Final = frozenset(one.kind for one in POLICIES)
_ROUTE_KINDS: Final = frozenset(one.kind for one in ROUTES)


def _leaves_any(before: Objects, now: Objects) -> bool:
    """Whether a policy is gone, or is attached to something else."""
    return any(name not in now or _targets(one) != _targets(now[name]) for name, one in before.items())


def _targets(policy: Object) -> list[object]:
    spec = policy.get("spec") or {}
    return [spec.get(key) for key in ("targetRef", "targetRefs", "targetSelectors")]


def _by_name(one: tuple[Name, Object]) -> tuple[str, ...]:
    name = one[0]
    return name.group, name.kind, name.namespace, name.name


def _away(error: Exception) -> Problem:
    message = "policies cannot be listed, and without them no changed route is served"
    hint = "see that the API server runs, and that the service account may list them"
    where = Where(file="the API server")
    return Problem(code="kubernetes-away", message=message, where=where, got=str(error), hint=hint)
