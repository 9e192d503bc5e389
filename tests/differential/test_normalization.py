"""The path that is judged in Python is the path that Envoy routes and forwards."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.differential.raw_http import Client, head
from tests.differential.running_envoy import RunningEnvoy
from wardgate.decision.target import Target, normalize
from wardgate.policy import UNSAFE_PATH

EXTENSIONS = "type.googleapis.com/envoy.extensions.filters."

WRITTEN = """
/ /a /a/ // //a ///a /a//b /a/// /a?b /a? /? /a??b /a?b//c/../d /a?b\\c /a?%2f /a?%00 /./?x /a/..?x=/../ /..?x
/. /.. /a/. /a/.. /a/./ /a/../ /../a /a/../../b /a/b/../../.. /a//../b /a/..//b /... /a/.../b /.... /a/.b/..c
/%2e /%2E /%2e%2e /%2e/a /a/%2E%2e/b /a/.%2e/b /a/%2e./b /a/%2e%2e /%2e%2e%2e
/..;/a /a/..; /a/..;/b /a/..;x/b /a/..;x\\y/b /.;/a /a/.;b/c /a;/../b /a;b /;/a /a/;b /%2e%2e;/a /a/%2e%2e;/b
/.%2e;/a /\\..;a /a\\..;/b /..;%2f /..;%00/a /..;;/a /a/..;/..;/b /...;/a /..;%2e%2e/a /a;x=1/b;y=2 /%3b /a%3Bb
/%2f /%2F /%5c /%5C /%2f/.. /a%2fb /a%5Cb /%252f /a/%2f/..
/\\ /a\\b /a\\..\\b /a\\\\b /\\\\a /\\../a /a/\\../b
/%41 /%61%64%6d%69%6e /%7e /%2d%5f%30 /%21 /%20 /a%20b /%20a /a%20 /a/%20/b /%25 /%2541 /%252e /%25%32%65 /%23 /%3f
/%3Fb?c /%7f /%7F /%1f /%0d%0a /%09 /%80 /%c3%a9 /%C3%a9 /%ff /a%00 /%00 /%01
/% /%2 /%zz /%e /a%0 /a%2 /%%41 /%2%41 /%%36%31 /%4%31 /a%%b /%u0041 /%zz/../a /%/../a
/{} /| /<> /^` /!$&'()*+,:=@ /[ /] /{a|b}/.. /a"b /~a /-_.~
/a#b /a?x#y /# a ?a * /a/*/b /AbC /%4D/%6d
"""

BYTES = ("/a\x01b", "/a\x7fb", "/\xc3\xa9", "/a?\xc3\xa9", "/a\tb", "/a\x00b", "/a?\x01")

PIECES = (
    *(
        "/",
        "/",
        "/",
        "//",
        ".",
        "..",
        "...",
        "%2e",
        "%2E",
        ";",
        "\\",
        "a",
        "A",
        "?",
        "%41",
        "%61",
        "%20",
        "%3b",
    ),
    *(
        "%25",
        "%",
        "%2",
        "%2f",
        "%5C",
        "%00",
        "{",
        "~",
        "|",
        "%7e",
        "%c3",
        '"',
        "%23",
        "%7f",
        "%1f",
        "%252e",
        "x",
    ),
    *("=", "&", ":", "@", "[", "'", "+", ",", "*", "#"),
)


def targets() -> Iterator[str]:
    """What was thought of, every pair of pieces, and what chance adds: the same each time unless told."""
    yield from WRITTEN.split()
    yield from BYTES
    for pair in itertools.product(PIECES, repeat=2):
        yield "/a/b/" + "".join(pair) + "/c"
    chance = random.Random(os.environ.get("FUZZ_SEED", "targets"))
    for _ in range(max(2000, int(os.environ.get("FUZZ_REQUESTS", "0")))):
        yield "/" + "".join(chance.choices(PIECES, k=chance.randint(1, 8)))


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEnvoy]:
    with RunningEnvoy(tmp_path_factory.mktemp("envoy"), bootstrap()) as running:
        yield running


def bootstrap() -> dict[str, Any]:
    """An Envoy that answers with the path it judges, with the three settings of `envoy/listener.py`."""
    seen = {"header": {"key": "x-seen", "value": "[%REQ(:path)%]"}}
    route = {"match": {"prefix": ""}, "direct_response": {"status": 200}, "response_headers_to_add": [seen]}
    manager = {
        "@type": EXTENSIONS + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "http_filters": [
            {"name": "router", "typed_config": {"@type": EXTENSIONS + "http.router.v3.Router"}},
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {
        "static_resources": {"listeners": [{"name": "test", "address": address, "filter_chains": [chain]}]}
    }


def judged(target: str) -> str | None:
    """What Python judges; None for what it refuses."""
    found = normalize(target)
    return str(found) if isinstance(found, Target) else None


async def seen_by_envoy(port: int, wanted: Iterable[str]) -> list[str | None]:
    """What Envoy judges; None for what it refuses itself, or what the guard refuses after it."""
    found: list[str | None] = []
    async with Client(port) as client:
        for target in wanted:
            answer = await client.ask(head("GET", target, "x"))
            assert answer.status in (200, 400), (target, answer)
            path = answer.headers["x-seen"][1:-1] if answer.status == 200 else None
            refused = path is None or UNSAFE_PATH.search(path.partition("?")[0])
            found.append(None if refused else path)
    return found


def test_python_and_envoy_judge_the_same_path(envoy: RunningEnvoy) -> None:
    """Both refuse a target, or both make the same of it: thousands of spellings, written, paired and random."""
    wanted = list(targets())
    theirs = asyncio.run(seen_by_envoy(envoy.ports()["test"], wanted))
    differences = [
        (target, mine, other)
        for target, mine, other in zip(wanted, map(judged, wanted), theirs, strict=True)
        if mine != other
    ]
    assert len(wanted) > 3000
    assert differences == []


def test_the_table_holds_both_answers() -> None:
    """A table that only refuses, or never does, would prove nothing."""
    mine = [judged(target) for target in targets()]
    assert mine.count(None) > 500
    assert len(mine) - mine.count(None) > 500


def test_written_targets_stand_alone() -> None:
    """No target is written twice, and none is longer than a person can judge."""
    written = WRITTEN.split()
    assert len(set(written)) == len(written)
    assert all(len(target) < 30 for target in written)
