"""
What became of an object, in the words of its status: pure, from the object as it is and what a reading says of it.

A status is shared: other controllers' parents, ancestors and conditions stay, and a condition that stays as it is keeps the time
of its last change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from wardgate.dialects import GATEWAY, ROUTE_KINDS, Condition, Name, Status, parent_of
from wardgate.kubernetes.client import Object

MOST_ANCESTORS: Final = 16
MESSAGE_CHARACTERS: Final = 1024
"""metav1.Condition takes 32 768; nobody reads them."""

SHARED: Final = {
    **dict.fromkeys(ROUTE_KINDS, ("parents", "parentRef")),
    "SecurityPolicy": ("ancestors", "ancestorRef"),
    "AgentgatewayPolicy": ("ancestors", "ancestorRef"),
    "BackendTLSPolicy": ("ancestors", "ancestorRef"),
}
"""Kinds whose status has entries of several controllers: the list of them, and what an entry is of."""

AGGREGATED: Final = Condition(
    type="Aggregated",
    status=True,
    reason="Aggregated",
    message="Ancestors have been truncated because the number of policy ancestors exceeds 16.",
)

NOT_TAKEN: Final = "the configuration was not taken; the one before stays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What is to stand in a status. `generation`: of the object that was read; `addresses`: where a Gateway is reached."""

    status: Status
    generation: int
    addresses: tuple[str, ...] = ()


def not_programmed(status: Status) -> Status:
    """Of a Gateway whose configuration was not taken."""
    told = tuple(
        replace(one, status=False, reason="Pending", message=NOT_TAKEN)
        if one.type == "Programmed" and one.status
        else one
        for one in status.conditions
    )
    return replace(status, conditions=told)


def status_of(found: Object, desired: Desired | None, controller: str, now: str) -> Object | None:
    """The `status` to write; None when what stands there says it already. `desired` None: nothing of ours is to stand there."""
    before = found.get("status") or {}
    if found["kind"] in SHARED:
        after = _shared(found, before, desired, controller, now)
    elif desired is None:
        return None
    else:
        after = _own(before, desired, now)
    return None if after == before else after


def is_ours(found: Object, controller: str) -> bool:
    """Whether a shared status holds something of this controller."""
    key, _ = SHARED.get(found["kind"], ("", ""))
    entries = (found.get("status") or {}).get(key) or ()
    return any(one.get("controllerName") == controller for one in entries)


def _own(before: Object, desired: Desired, now: str) -> Object:
    """Of a Gateway or a GatewayClass."""
    said = desired.status.conditions
    own = [one for one in said if not one.parent]
    after = {
        **before,
        "conditions": _conditions(before.get("conditions") or [], own, desired.generation, now),
    }
    listeners = dict.fromkeys(one.parent for one in said if one.parent)
    if listeners:
        known = {one.get("name"): one for one in before.get("listeners") or ()}
        counted = dict(desired.status.attached)
        after["listeners"] = [
            {
                "name": name,
                "supportedKinds": [{"group": GATEWAY, "kind": kind} for kind in ROUTE_KINDS],
                "attachedRoutes": counted.get(name, 0),
                "conditions": _conditions(
                    known.get(name, {}).get("conditions") or [],
                    [one for one in said if one.parent == name],
                    desired.generation,
                    now,
                ),
            }
            for name in listeners
        ]
    if desired.addresses:
        after["addresses"] = [
            {"type": "IPAddress" if _is_address(one) else "Hostname", "value": one}
            for one in desired.addresses
        ]
    return after


def _is_address(text: str) -> bool:
    return ":" in text or text.replace(".", "").isdigit()


def _shared(found: Object, before: Object, desired: Desired | None, controller: str, now: str) -> Object:
    """Our entries among those of others."""
    key, named = SHARED[found["kind"]]
    entries: list[Object] = list(before.get(key) or ())
    others = [one for one in entries if one.get("controllerName") != controller]
    known = {_hashable(one.get(named)): one.get("conditions") for one in entries if one not in others}
    ours: list[Object] = []
    if desired is not None:
        wanted = list(_entries(found, desired))
        if key == "ancestors":
            wanted = _at_most(wanted, MOST_ANCESTORS - len(others))
        for reference, said in wanted:
            conditions = known.get(_hashable(reference)) or []
            told = _conditions(conditions, said, desired.generation, now, keep=False)
            ours.append({named: reference, "controllerName": controller, "conditions": told})
    if not ours and len(others) == len(entries):
        return before
    return {**before, key: [*others, *ours]}


def _at_most(
    entries: list[tuple[Object, Sequence[Condition]]], room: int
) -> list[tuple[Object, Sequence[Condition]]]:
    """The first of them; the last that has room says that there are more."""
    kept = entries[: max(0, room)]
    if len(entries) > len(kept) and kept:
        reference, said = kept[-1]
        kept[-1] = reference, [*said, AGGREGATED]
    return kept


def _hashable(reference: Object | None) -> frozenset[tuple[str, Any]]:
    return frozenset((reference or {}).items())


def _entries(found: Object, desired: Desired) -> Iterable[tuple[Object, Sequence[Condition]]]:
    """What each parent or ancestor is told, by the reference to it."""
    said = desired.status.conditions
    if found["kind"] in ROUTE_KINDS:
        namespace = found["metadata"].get("namespace", "default")
        for reference in (found.get("spec") or {}).get("parentRefs") or ():
            of_parent = [one for one in said if one.parent == parent_of(reference, namespace)]
            if of_parent:
                yield _complete(reference), of_parent
        return
    references = [_reference(name) for name in desired.status.ancestors] or _targets(found)
    for reference in references:
        yield reference, said


def _complete(reference: Object) -> Object:
    return {"group": GATEWAY, "kind": "Gateway", **reference}


def _reference(name: Name) -> Object:
    return {"group": name.group, "kind": name.kind, "namespace": name.namespace, "name": name.name}


def _targets(found: Object) -> list[Object]:
    """Without a Gateway that a policy holds for: what it names, so that its status says something."""
    spec, namespace = found.get("spec") or {}, found["metadata"].get("namespace", "default")
    references = spec.get("targetRefs") or [spec.get("targetRef") or {"kind": "HTTPRoute", "name": "none"}]
    return [
        {
            "group": one.get("group", GATEWAY),
            "kind": one.get("kind", "HTTPRoute"),
            "namespace": namespace,
            "name": one.get("name", "none"),
        }
        for one in references
    ]


def _conditions(
    before: Sequence[Object], said: Sequence[Condition], generation: int, now: str, keep: bool = True
) -> list[Object]:
    """`keep`: those of types that we say nothing of stay."""
    known = {one.get("type"): one for one in before}
    ours = {one.type for one in said}
    kept = [one for one in before if keep and one.get("type") not in ours]
    return [*kept, *(_condition(known.get(one.type, {}), one, generation, now) for one in said)]


def _condition(before: Object, said: Condition, generation: int, now: str) -> dict[str, Any]:
    status = str(said.status)
    changed = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": said.type,
        "status": status,
        "reason": said.reason,
        "message": said.message[:MESSAGE_CHARACTERS],
        "observedGeneration": generation,
        "lastTransitionTime": changed or now,
    }
