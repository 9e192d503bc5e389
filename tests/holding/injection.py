"""
Copies of a Lua text, each with an error raised at one place, and one Envoy that runs all of them side by side.

Places are found in the text itself: where each function and each branch begins, and before each `return`. A copy
notes the request's X-Case-Id and which filter runs, so Envoy's message about the error tells who met it. Another
copy raises nothing and says which places each case reaches.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.differential.running_envoy import RunningEnvoy
from tests.holding.load import Outcome, Request, in_turn
from wardgate.compiler import Compiled, deny_list
from wardgate.envoy import names

TOKEN = re.compile(
    r"""(?P<skip> --[^\n]* | \s+ ) | (?P<text> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
      | (?P<word> [A-Za-z_]\w* ) | (?P<other> . )""",
    re.VERBOSE,
)
ENTRY = "function envoy_on_request(handle)"
NOTE = """
 WHO = (handle:headers():get("x-case-id") or "-")
   .. (handle:filterContext():get("put") and " claims" or " guard");
 LATER = tonumber(handle:headers():get("x-later") or "0");""".replace("\n", " ")
CLOCK = "= os.time,", "= function() return os.time() + LATER end,"
"""The filters' clock, which a request's X-Later sets forward by so many seconds."""
RECORDER = """
 SEEN = {};
 function MET(place)
   local line = "met " .. place .. " " .. tostring(WHO);
   if not SEEN[line] then SEEN[line] = true; print(line); io.stdout:flush() end
 end;""".replace("\n", " ")
ERROR = ' error("injected " .. tostring(WHO));'
INJECTED = re.compile(r"injected (\S+) (claims|guard)")
RECORDED = re.compile(r"met (\d+) (\S+) (claims|guard)")


def places(lua: str) -> list[int]:
    """Offsets in the text, each inside a function and at the beginning of a statement, no two at one statement."""
    found: list[int] = []
    blocks: list[str] = []
    parameters = at_place = False
    for token in TOKEN.finditer(lua):
        if token["skip"]:
            continue
        word = token["word"] or token["other"] or ""
        if word == "return" and "function" in blocks and not at_place:
            found.append(token.start())
        at_place = False
        match word:
            case "function":
                blocks.append(word)
                parameters = True
            case "if" | "do" | "repeat":
                blocks.append(word)
            case "end" | "until":
                blocks.pop()
        if word in ("then", "else", "do") or (parameters and word == ")"):
            parameters = False
            if "function" in blocks:
                found.append(token.end())
                at_place = True
    assert not blocks, "the text is not understood"
    return found


def injected(lua: str, place: int) -> str:
    """The text with an error at that place."""
    return _with(lua, {place: ERROR})


def raising(lua: str, number: int) -> str:
    """A text with an error at the place of that number, and nothing else changed."""
    place = places(lua)[number]
    return lua[:place] + ' error("injected");' + lua[place:]


def recording(lua: str, found: Sequence[int]) -> str:
    """The text that says which of the places it passes, by their numbers."""
    return RECORDER + _with(lua, {place: f" MET({number});" for number, place in enumerate(found)})


def _with(lua: str, inserted: Mapping[int, str]) -> str:
    assert lua.count(ENTRY) == lua.count(CLOCK[0]) == 1
    entry = lua.index(ENTRY) + len(ENTRY)
    noted = {**inserted, entry: NOTE + inserted.get(entry, "")}
    for offset in sorted(noted, reverse=True):
        lua = lua[:offset] + noted[offset] + lua[offset:]
    return lua.replace(*CLOCK)


def line_of(lua: str, place: int) -> str:
    """For messages: the line of a place, by number."""
    number = lua.count("\n", 0, place) + 1
    return f"{number}: {lua.splitlines()[number - 1].strip()}"


Change = Callable[[str], str]
"""A text of our Lua filters to the text that runs instead."""


def listener(name: str, compiled: Compiled, change: Change, holding: str = CLOCK[0]) -> dict[str, Any]:
    """
    The one listener of a configuration, whole in itself, with every text of its Lua filters changed that holds this: by
    default the text of the guard.
    """
    [(_, original)] = compiled.listeners.items()
    made: dict[str, Any] = copy.deepcopy(dict(original))
    filters = {**compiled.filters, names.REVOKED: deny_list((), 0)}
    made.pop("@type", None)
    made |= {"name": name, "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    # one chain: that of trusted proxies, where there is one; twice as many filters take Envoy too long to start
    made["filter_chains"] = [made["filter_chains"][0]]
    made["filter_chains"][0].pop("filter_chain_match", None)
    for chain in made["filter_chains"]:
        manager = chain["filters"][0]["typed_config"]
        routes = dict(compiled.routes[manager.pop("rds")["route_config_name"]])
        manager["route_config"] = {key: value for key, value in routes.items() if key != "@type"}
        for entry in manager["http_filters"]:
            if entry.pop("config_discovery", None):
                entry["typed_config"] = copy.deepcopy(filters[entry["name"]]["typed_config"])
    for text in [text for text in _texts(made) if holding in text["inline_string"]]:
        text["inline_string"] = change(text["inline_string"])
    return made


def _texts(value: Any) -> Iterator[dict[str, str]]:
    """Whatever holds a Lua text, at any depth."""
    if isinstance(value, dict):
        if ENTRY in str(value.get("inline_string", "")):
            yield value
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """
    What one listener answered, by the case's name, and what its copy said.

    `met`: which case met the error, in which filter. `passed`: which case passed which place, in which filter.
    """

    outcomes: Mapping[str, Outcome]
    met: frozenset[tuple[str, str]]
    passed: frozenset[tuple[int, str, str]]


def run(
    directory: Path,
    listeners: Sequence[dict[str, Any]],
    compiled: Compiled,
    requests: Mapping[str, Sequence[Request]],
) -> dict[str, Variant]:
    """Send each listener its requests, in their order, on one connection, and gather what came of them."""
    directory.mkdir(parents=True)
    clusters = [
        {key: value for key, value in one.items() if key != "@type"} for one in compiled.clusters.values()
    ]
    static = {"listeners": list(listeners), "clusters": clusters}
    bootstrap: dict[str, Any] = {**compiled.bootstrap, "dynamic_resources": {}, "static_resources": static}
    with RunningEnvoy(directory, bootstrap) as envoy:
        outcomes = asyncio.run(_sent(envoy.ports(), requests))
    met = INJECTED.findall((directory / "stderr").read_text("utf-8", "replace"))
    passed = RECORDED.findall("".join(envoy.lines))
    return {
        name: Variant(
            outcomes=found,
            met=frozenset((case, who) for case, who in met if case in found),
            passed=frozenset((int(place), case, who) for place, case, who in passed if case in found),
        )
        for name, found in outcomes.items()
    }


async def _sent(
    ports: Mapping[str, int], requests: Mapping[str, Sequence[Request]]
) -> dict[str, dict[str, Outcome]]:
    free = asyncio.Semaphore(8)

    async def one(name: str) -> tuple[str, dict[str, Outcome]]:
        async with free:
            answers = await in_turn(ports[name], requests[name])
        return name, {answer.request.kind: answer for answer in answers}

    return dict(await asyncio.gather(*(one(name) for name in requests)))
