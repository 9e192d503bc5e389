"""
Golden cases of the compiler: `compiler/<case>/` holds a policy, and the Envoy configuration that is made of it.

The expected file leaves out what every configuration has alike (the Lua texts, error bodies, bootstrap): those are
tested by running them. A provider named in `without-keys.txt` has no keys yet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden.golden import REWRITE
from wardgate import compiler, document
from wardgate.dialects import Options, native
from wardgate.envoy import DISABLED, claims, matching, names, rbac, routes
from wardgate.policy import Policy

FOLDER = Path(__file__).parent / "compiler"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
PLACE = compiler.Place(
    directory="/run/wardgate",
    admin_socket="/run/wardgate/admin.sock",
    service_socket="/run/wardgate/service.sock",
    control_socket="/run/wardgate/control.sock",
)
KEYS = '{"keys":[{"kid":"example"}]}'


def policy_of(folder: Path) -> Policy:
    text = (folder / "wardgate.yaml").read_bytes()
    reading = native.DIALECT.read([document.read(text, "wardgate.yaml", {})], Options())
    assert reading.policy is not None, [str(problem) for problem in reading.problems]
    return reading.policy


def compiled(folder: Path) -> compiler.Compiled:
    policy = policy_of(folder)
    missing = folder / "without-keys.txt"
    names = missing.read_text("utf-8").split() if missing.exists() else []
    keys = {provider.name: KEYS for provider in policy.providers if provider.name not in names}
    return compiler.compile(policy, keys, PLACE)


def shown(result: compiler.Compiled) -> str:
    parts = {
        "clusters": {name: found for name, found in result.clusters.items() if name not in OWN_CLUSTERS},
        "filters": {name: found for name, found in result.filters.items() if "body" not in name},
        "body-limits": result.slots,
        "secrets": result.secrets,
        "listeners": {name: _brief(found) for name, found in result.listeners.items()},
        "routes": result.routes,
    }
    return json.dumps(_short(parts), indent=1) + "\n"


ALIKE: tuple[tuple[object, str], ...] = (
    (rbac.unguarded(), "[unless guarded: deny]"),
    (rbac.unguarded(verified=True), "[unless guarded and verified: deny]"),
    (DISABLED, "[disabled]"),
    (claims.unseen(None)[names.IDENTITY], "[disabled]"),
    (matching.negated(routes.plain_authority()), "[not one host]"),
    (matching.header_input(":path"), "[:path]"),
    (matching.header_input(":method"), "[:method]"),
    (matching.header_input(names.CLAIMS), "[claims]"),
    (matching.header_input(names.FOLDED), "[folded path]"),
)
"""What stands in every configuration again and again, and how it is abbreviated."""

OWN = ("/oauth", "/oauth/", "/oauth/health")
OWN_CLUSTERS = (names.PUBLIC_CLUSTER, *names.ASK_CLUSTERS.values())


def _short(value: object) -> object:
    for whole, short in ALIKE:
        if value == whole:
            return short
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key not in OWN}
        return {key: _short(inner) for key, inner in kept.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return value.removeprefix("type.googleapis.com/envoy.") if isinstance(value, str) else value


def _brief(listener: dict[str, Any]) -> dict[str, Any]:
    """A listener without what all have: of each chain only which filters it has, in order."""
    chains = []
    for chain in listener["filter_chains"]:
        manager = chain["filters"][0]["typed_config"]
        filters = [entry["name"] for entry in manager["http_filters"]]
        trust = {key: manager[key] for key in ("xff_num_trusted_hops", "preserve_external_request_id")}
        kept = {key: value for key, value in chain.items() if key != "filters"}
        chains.append({**kept, **trust, "http_filters": filters})
    return {**listener, "filter_chains": chains}


@pytest.mark.parametrize("folder", CASES, ids=lambda path: path.name)
def test_case(folder: Path) -> None:
    """A policy compiles to exactly the configuration that stands beside it."""
    found = shown(compiled(folder))
    expected = folder / "expected.json"
    if REWRITE:
        expected.write_text(found, "utf-8")
    assert found == expected.read_text("utf-8")


def test_no_orphans() -> None:
    """Each case has its policy, and each says something that the others do not."""
    assert [path.name for path in CASES if not (path / "wardgate.yaml").exists()] == []
    texts = [shown(compiled(path)) for path in CASES]
    assert len(set(texts)) == len(texts)
