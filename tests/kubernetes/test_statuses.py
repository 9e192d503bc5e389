"""What is written into a status, given what stands there."""

from __future__ import annotations

from typing import Any

from wardgate.dialects import Condition, Name, Status
from wardgate.kubernetes.statuses import NOT_TAKEN, Desired, is_ours, not_programmed, status_of
from wardgate.problems import Where

API, OURS, NOW, LATER = (
    "gateway.networking.k8s.io",
    "wardgate.dev/x",
    "2026-01-01T00:00:00Z",
    "2026-02-01T00:00:00Z",
)


def said(kind: str = "HTTPRoute", *conditions: Condition, ancestors: tuple[Name, ...] = ()) -> Desired:
    name = Name(API, kind, "shop", "one")
    status = Status(
        name=name, where=Where(), conditions=conditions, ancestors=ancestors, attached=(("http", 3),)
    )
    return Desired(status=status, generation=7, addresses=("10.1.2.3", "gw.test"))


def condition(kind: str, status: bool = True, parent: str = "", message: str = "m") -> Condition:
    return Condition(type=kind, status=status, reason="R", message=message, parent=parent)


def route(*parents: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "HTTPRoute", "metadata": {"namespace": "shop", "name": "one"}}
    found["spec"] = {"parentRefs": list(parents)}
    return found if status is None else {**found, "status": status}


def test_each_parent_is_told_its_own_conditions() -> None:
    found = route(
        {"name": "a"}, {"name": "b", "namespace": "infra", "sectionName": "web"}, {"name": "theirs"}
    )
    desired = said(
        "HTTPRoute", condition("Accepted", parent="shop/a"), condition("Accepted", False, "infra/b/web")
    )
    status = status_of(found, desired, OURS, NOW)
    assert status is not None
    told = {one["parentRef"]["name"]: one["conditions"][0]["status"] for one in status["parents"]}
    assert told == {"a": "True", "b": "False"}
    assert status["parents"][0]["parentRef"] == {"group": API, "kind": "Gateway", "name": "a"}
    assert status["parents"][0]["conditions"][0]["observedGeneration"] == 7


def test_what_stands_there_already_is_not_written() -> None:
    desired = said("HTTPRoute", condition("Accepted", parent="shop/a"))
    status = status_of(route({"name": "a"}), desired, OURS, NOW)
    assert status_of(route({"name": "a"}, status=status), desired, OURS, LATER) is None


def test_the_time_of_a_condition_is_when_its_status_changed() -> None:
    before = status_of(
        route({"name": "a"}), said("HTTPRoute", condition("Accepted", parent="shop/a")), OURS, NOW
    )
    for status, time in ((True, NOW), (False, LATER)):
        changed = said("HTTPRoute", condition("Accepted", status, "shop/a", message="another"))
        after = status_of(route({"name": "a"}, status=before), changed, OURS, LATER)
        assert after is not None and after["parents"][0]["conditions"][0]["lastTransitionTime"] == time


def test_entries_of_other_controllers_stay() -> None:
    theirs = {
        "parentRef": {"name": "a"},
        "controllerName": "example.com/other",
        "conditions": [{"type": "X"}],
    }
    desired = said("HTTPRoute", condition("Accepted", parent="shop/a"))
    both = status_of(route({"name": "a"}, status={"parents": [theirs]}), desired, OURS, NOW)
    assert both is not None and both["parents"][0] == theirs and len(both["parents"]) == 2
    found = route({"name": "a"}, status=both)
    assert is_ours(found, OURS) and not is_ours(found, "example.com/third")
    assert status_of(found, None, OURS, LATER) == {"parents": [theirs]}
    assert status_of(route({"name": "a"}, status={"parents": [theirs]}), None, OURS, LATER) is None


def test_a_gateway_keeps_conditions_that_are_not_ours() -> None:
    found = {"kind": "Gateway", "metadata": {"name": "g"}, "status": {"conditions": [{"type": "Theirs"}]}}
    desired = said("Gateway", condition("Programmed"), condition("Accepted", parent="http"))
    status = status_of(found, desired, OURS, NOW)
    assert status is not None
    assert [one["type"] for one in status["conditions"]] == ["Theirs", "Programmed"]
    assert status["addresses"] == [
        {"type": "IPAddress", "value": "10.1.2.3"},
        {"type": "Hostname", "value": "gw.test"},
    ]
    (listener,) = status["listeners"]
    assert (listener["name"], listener["attachedRoutes"]) == ("http", 3)


def test_what_was_not_taken_is_not_programmed() -> None:
    desired = said("Gateway", condition("Programmed"), condition("Accepted"))
    told = not_programmed(desired.status)
    assert [(one.type, one.status, one.message) for one in told.conditions] == [
        ("Programmed", False, NOT_TAKEN),
        ("Accepted", True, "m"),
    ]


def test_a_policy_has_at_most_sixteen_ancestors() -> None:
    """The Gateways that it holds for; without any, what it names."""
    gateways = tuple(Name(API, "Gateway", "shop", f"g{number}") for number in range(20))
    theirs = {"ancestorRef": {"name": "a"}, "controllerName": "example.com/other", "conditions": []}
    spec = {"targetRefs": [{"group": API, "kind": "HTTPRoute", "name": "absent"}]}
    found = {"kind": "SecurityPolicy", "metadata": {"namespace": "shop", "name": "p"}, "spec": spec}
    many = status_of(
        {**found, "status": {"ancestors": [theirs]}},
        said("SecurityPolicy", condition("Accepted"), ancestors=gateways),
        OURS,
        NOW,
    )
    assert many is not None and len(many["ancestors"]) == 16
    told = [[each["type"] for each in one["conditions"]] for one in many["ancestors"][1:]]
    assert told == [*[["Accepted"]] * 14, ["Accepted", "Aggregated"]]
    none = status_of(found, said("SecurityPolicy", condition("Accepted", False)), OURS, NOW)
    assert none is not None and none["ancestors"][0]["ancestorRef"]["name"] == "absent"
