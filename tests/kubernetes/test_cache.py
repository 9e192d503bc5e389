"""Which changes of an object matter, and what a list and a watch that race leave behind."""

from __future__ import annotations

from typing import Any

import pytest

from wardgate.dialects import Name
from wardgate.kubernetes.cache import Cache
from wardgate.kubernetes.client import Resource

ROUTES = Resource(group="gateway.networking.k8s.io", kind="HTTPRoute", plural="httproutes")
NAME = Name(ROUTES.group, "HTTPRoute", "shop", "one")


def route(version: int, name: str = "one", **content: Any) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name, "resourceVersion": str(version), "generation": 1}
    return {"kind": "HTTPRoute", "metadata": metadata, "spec": {}, **content}


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def cache(heard: list[str]) -> Cache:
    found = Cache(changed=lambda name: heard.append(name.name), touched=lambda _: None)
    found.put(NAME, route(5))
    heard.clear()
    return found


def test_a_status_is_no_change(cache: Cache, heard: list[str]) -> None:
    """Or each of our own would be read again."""
    cache.put(NAME, route(6, status={"parents": []}))
    assert heard == [] and cache.objects[NAME]["metadata"]["resourceVersion"] == "6"
    cache.put(NAME, route(7, spec={"hostnames": ["a"]}))
    assert heard == ["one"]


def test_an_older_event_changes_nothing(cache: Cache, heard: list[str]) -> None:
    cache.put(NAME, route(4, spec={"hostnames": ["old"]}))
    assert heard == [] and cache.objects[NAME]["spec"] == {}


def test_a_list_takes_away_what_it_lacks(cache: Cache, heard: list[str]) -> None:
    cache.replace(ROUTES, "other", [])
    assert NAME in cache.objects, "a list of another namespace says nothing of it"
    cache.replace(ROUTES, None, [route(9, "two")])
    assert {name.name for name in cache.objects} == {"two"} and sorted(heard) == ["one", "two"]


def test_a_list_that_lags_behind_the_watch_takes_nothing_away(cache: Cache) -> None:
    """What came after it would never be said again: a policy would be missing, and its route open."""
    cache.put(Name(ROUTES.group, "HTTPRoute", "shop", "new"), route(12, "new"))
    cache.replace(ROUTES, None, [], 11)
    assert {name.name for name in cache.objects} == {"new"}, "of before the list, what it lacks is gone"
    cache.replace(ROUTES, None, [])
    assert cache.objects == {}, "where the watch begins anew after the list, it says everything"


def test_a_list_that_lags_behind_the_watch_brings_nothing_back(cache: Cache) -> None:
    cache.remove(NAME, 8)
    cache.replace(ROUTES, None, [route(5)], 7)
    assert cache.objects == {}
    cache.put(NAME, route(9))
    assert NAME in cache.objects, "it was made again"
