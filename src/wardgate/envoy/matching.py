"""
The xDS matcher language (`xds.type.matcher.v3`): inputs, predicates, trees.

Facts by running 1.40: trees work on string inputs only (`exact_match_map` on metadata never matches); a Route
action whose own `match` fails is a 404 without fallback, so conditions stand in nested matchers; xDS `safe_regex`
needs `google_re2` and matches the whole value.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import assert_never

from wardgate.envoy import EXTENSIONS, Json, typed
from wardgate.policy import How

INPUT = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"


def header_input(name: str) -> Json:
    return {"name": "header", "typed_config": typed(INPUT, header_name=name)}


def metadata_input(namespace: str, *path: str) -> Json:
    kind = EXTENSIONS + "matching.common_inputs.network.v3.DynamicMetadataInput"
    keys = [{"key": key} for key in path]
    return {"name": "metadata", "typed_config": typed(kind, filter=namespace, path=keys)}


def regex(pattern: str) -> Json:
    """A string matcher: RE2, the whole value."""
    return {"safe_regex": {"google_re2": {}, "regex": pattern}}


def compared(how: How, value: str) -> Json:
    """A string matcher."""
    match how:
        case How.EXACT:
            return {"exact": value}
        case How.PREFIX:
            return {"prefix": value}
        case How.SUFFIX:
            return {"suffix": value}
        case How.CONTAINS:
            return {"contains": value}
        case How.MATCHES:
            return regex(value)
        case _:
            assert_never(how)


def header(name: str, value_match: Json) -> Json:
    """A predicate on a request header; false when the header is absent."""
    return {"single_predicate": {"input": header_input(name), "value_match": value_match}}


def metadata(namespace: str, path: tuple[str, ...], value: Json) -> Json:
    """A predicate on dynamic metadata by a ValueMatcher; false when the value is absent."""
    kind = EXTENSIONS + "matching.input_matchers.metadata.v3.Metadata"
    match = {"name": "value", "typed_config": typed(kind, value=value)}
    return {"single_predicate": {"input": metadata_input(namespace, *path), "custom_match": match}}


def client_in(networks: Iterable[str]) -> Json:
    """A predicate on the client's address, as the connection manager found it to be."""
    source = EXTENSIONS + "matching.common_inputs.network.v3.SourceIPInput"
    ranges = [ipaddress.ip_network(text) for text in networks]
    found = [{"address_prefix": str(one.network_address), "prefix_len": one.prefixlen} for one in ranges]
    kind = EXTENSIONS + "matching.input_matchers.ip.v3.Ip"
    matcher = {"name": "ip", "typed_config": typed(kind, cidr_ranges=found, stat_prefix="wardgate")}
    address = {"name": "source-ip", "typed_config": typed(source)}
    return {"single_predicate": {"input": address, "custom_match": matcher}}


def all_of(predicates: list[Json]) -> Json:
    return predicates[0] if len(predicates) == 1 else {"and_matcher": {"predicate": predicates}}


def any_of(predicates: list[Json]) -> Json:
    return predicates[0] if len(predicates) == 1 else {"or_matcher": {"predicate": predicates}}


def negated(predicate: Json) -> Json:
    return {"not_matcher": predicate}


def choice(predicate: Json, then: Json) -> Json:
    """One entry of a list: `then` is an OnMatch (an action or a nested matcher)."""
    return {"predicate": predicate, "on_match": then}


def matcher_list(choices: list[Json], otherwise: Json | None = None) -> Json:
    """The first choice whose predicate holds; without `otherwise`, no choice falls back to the outer matcher."""
    matcher: Json = {"matcher_list": {"matchers": choices}} if choices else {}
    if otherwise is not None:
        matcher["on_no_match"] = otherwise
    return matcher


def prefix_tree(name: str, entries: dict[str, Json], otherwise: Json | None = None) -> Json:
    """The longest key that the header starts with, then shorter ones; `entries` are OnMatch values."""
    tree = {"input": header_input(name), "prefix_match_map": {"map": entries}}
    matcher: Json = {"matcher_tree": tree}
    if otherwise is not None:
        matcher["on_no_match"] = otherwise
    return matcher


def nested(matcher: Json) -> Json:
    """A matcher as an OnMatch."""
    return {"matcher": matcher}


def action(name: str, message: Json) -> Json:
    """An action as an OnMatch."""
    return {"action": {"name": name, "typed_config": message}}


def names_of(found: Iterable[str]) -> Json:
    """A list of matchers: exactly these names (of headers)."""
    return {"patterns": [{"exact": name} for name in found]}
