"""What holds for every compilation: names follow content, both sides of a reload fit together, nothing leaks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden.test_compiler import CASES, KEYS, PLACE, compiled, policy_of
from wardgate import compiler
from wardgate.envoy import headers, names
from wardgate.policy import Audiences, PathKind, Policy, Secret
from wardgate.policy import Path as RoutePath
from wardgate.problems import ConfigError

SLOTS = names.BODY_SLOTS


def _case(name: str) -> Path:
    return next(path for path in CASES if path.name == name)


def _with_provider(policy: Policy, **changes: object) -> Policy:
    provider = dataclasses.replace(policy.providers[0], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(policy, providers=(provider, *policy.providers[1:]))


def _with_limits(policy: Policy, *limits: int) -> Policy:
    """The policy's first route, once for each limit."""
    host = policy.listeners[0].hosts[0]
    routes = tuple(
        dataclasses.replace(
            host.routes[0],
            name=f"r{limit}",
            path=RoutePath(kind=PathKind.EXACT, text=f"/r{limit}"),
            body_limit=limit,
        )
        for limit in limits
    )
    listener = dataclasses.replace(policy.listeners[0], hosts=(dataclasses.replace(host, routes=routes),))
    return dataclasses.replace(policy, listeners=(listener,))


def test_compiling_twice_gives_the_same() -> None:
    """The same policy compiles to the same text: a reload that changes nothing writes nothing."""
    for folder in CASES:
        assert json.dumps(dataclasses.asdict(compiled(folder))) == json.dumps(
            dataclasses.asdict(compiled(folder))
        )


def test_keys_change_only_the_jwt_filter() -> None:
    """A rotation of keys touches no route: names carry a hash of everything but the keys."""
    policy = policy_of(_case("minimal"))
    before = compiler.compile(policy, {"default": KEYS}, PLACE)
    after = compiler.compile(policy, {"default": KEYS.replace("example", "next")}, PLACE)
    changed = {name for name in before.filters if before.filters[name] != after.filters[name]}
    assert (before.routes, before.clusters, before.listeners) == (
        after.routes,
        after.clusters,
        after.listeners,
    )
    assert changed == {names.JWT}


def test_union_has_what_either_side_names() -> None:
    """While a reload changes over, every requirement and cluster that old or new routes name is there."""
    old_policy = policy_of(_case("several-providers"))
    new_policy = _with_provider(old_policy, audience=Audiences(any_of=("another",)))
    keys = dict.fromkeys(("one", "two", "any"), KEYS)
    old, new = compiler.compile(old_policy, keys, PLACE), compiler.compile(new_policy, keys, PLACE)
    both = compiler.union(old, new).filters[names.JWT]["typed_config"]
    for side in (old, new):
        config = side.filters[names.JWT]["typed_config"]
        assert config["requirement_map"].items() <= both["requirement_map"].items()
        assert config["providers"].items() <= both["providers"].items()
    assert len(both["providers"]) > len(old.filters[names.JWT]["typed_config"]["providers"])


def test_each_table_strips_the_identity_headers_of_all() -> None:
    """A client's copy of a header that some route sets is removed, whichever route a request has."""
    tables = compiled(_case("identity-and-modes")).routes
    assert all("x[^a-z0-9]user" in json.dumps(_strip(table)) for table in tables.values())
    assert not any(_strip(table) for table in compiled(_case("minimal")).routes.values())


def _strip(table: dict[str, Any]) -> Any:
    return table["typed_per_filter_config"].get(names.STRIP)


def test_a_stamp_changes_every_filter_that_can_be_refused() -> None:
    """No content is sent twice alike: Envoy takes a refused one, sent again, as accepted."""
    plain = compiled(_case("minimal"))
    first, second = compiler.stamped(plain, 1), compiler.stamped(plain, 2)
    assert first.filters[names.JWT] != second.filters[names.JWT]


def test_a_body_limit_keeps_its_filter_over_a_reload() -> None:
    """A limit that stays keeps its slot; a new one takes a free slot, not that of a limit still in use."""
    policy = policy_of(_case("body-limits"))
    before = compiler.compile(_with_limits(policy, 100, 200), {"default": KEYS}, PLACE)
    after = compiler.compile(_with_limits(policy, 300, 200), {"default": KEYS}, PLACE, slots=before.slots)
    assert after.slots[200] == before.slots[200]
    assert after.slots[300] not in before.slots.values()


def test_too_many_body_limits_are_a_problem() -> None:
    """More different limits than there are filters is said, with a hint; nothing is left unlimited."""
    policy = _with_limits(policy_of(_case("minimal")), *range(1, SLOTS + 2))
    with pytest.raises(ConfigError) as caught:
        compiler.compile(policy, {"default": KEYS}, PLACE)
    assert [problem.code for problem in caught.value.problems] == ["body-limits"]
    assert caught.value.problems[0].hint


def test_secrets_are_not_compiled() -> None:
    """The secret of a client is nowhere in Envoy's configuration."""
    policy = _with_provider(
        policy_of(_case("minimal")), client_secret=Secret("do-not-tell", "${X}"), client_id="gateway"
    )
    result = compiler.compile(policy, {"default": KEYS}, PLACE)
    assert "do-not-tell" not in json.dumps(dataclasses.asdict(result))


def test_every_route_asks_for_the_guards_mark() -> None:
    """
    Lua fails open, so each route's rule begins with the mark that only a guard that ran to its end has set. A table's own
    settings, which let everybody pass, are for nothing but direct answers and the service's own endpoints: what leads on
    has all of its own.
    """
    for folder in CASES:
        for table in compiled(folder).routes.values():
            onward = table["typed_per_filter_config"][names.ONWARD]
            assert onward == headers.without_ours()[names.ONWARD], "nothing that is ours goes further"
            for route in _routes(table):
                settings = route.get("typed_per_filter_config")
                if settings is None:
                    to_service = route.get("route", {}).get("cluster") == names.PUBLIC_CLUSTER
                    assert to_service or "direct_response" in route, route["name"]
                    settings = table["typed_per_filter_config"]
                assert settings.keys() >= {names.GUARD, names.IDENTITY, names.JWT, names.RBAC}, route["name"]
                rule = settings[names.RBAC]["rbac"]["matcher"]
                assert names.GUARDED in json.dumps(rule["matcher_list"]["matchers"][0]), route["name"]


def _routes(value: object) -> list[dict[str, Any]]:
    found = []
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith("route.v3.Route"):
            found.append(value)
        for inner in value.values():
            found += _routes(inner)
    elif isinstance(value, list):
        for inner in value:
            found += _routes(inner)
    return found


def test_a_provider_without_keys_closes_its_routes() -> None:
    """Until the first keys arrive nothing that asks for a credential is routed to the upstream."""
    asking = [
        route
        for table in compiled(_case("no-keys-yet")).routes.values()
        for route in _routes(table)
        if str(route["name"]).startswith(("/one", "/both", "/all"))
    ]
    assert asking
    assert all(names.CLOSED_CLUSTER in json.dumps(route["route"]) for route in asking)
