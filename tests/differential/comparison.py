"""Both answers to the same requests: where they differ, and what has been compared."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tests.differential import tokens
from tests.differential.cases import Case
from tests.differential.fleet import Enforced, Fleet
from tests.differential.probes import Probe
from tests.differential.raw_http import Answer, Client, head
from wardgate.decision import Decision, Outcome, Request, decide
from wardgate.explain import explain
from wardgate.policy import (
    ANY_METHOD,
    STANDARD_METHODS,
    AllOf,
    AnyOf,
    Condition,
    Not,
    Policy,
    Rule,
)
from wardgate.principal import Credential

CODEC = "codec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An answer in the terms that both sides have: `identity` is sorted, empty unless the upstream was reached."""

    status: int
    rule: str
    identity: tuple[tuple[str, str], ...] = ()
    forwarded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One request, as it was sent and as both sides answered it."""

    policy: Policy
    available: tuple[str, ...]
    probe: Probe
    request: Request
    credential: Credential
    decision: Decision
    python: Verdict
    envoy: Verdict
    log: dict[str, str | None]

    @property
    def agrees(self) -> bool:
        """Envoy's codec refuses some requests before there is a route, and so a rule: any guard of ours is that."""
        if self.envoy.rule == CODEC:
            return self.python.status == self.envoy.status and self.python.rule.startswith("guard:")
        if self.request.method == "HEAD":  # the upstream has no body to tell in what reached it
            return replace(self.python, identity=()) == replace(self.envoy, identity=())
        return self.python == self.envoy

    def __str__(self) -> str:
        return (
            f"Python: {self.python}\nEnvoy:  {self.envoy}\nits log: {self.log}\n"
            f"credential {self.probe.state} of {self.probe.provider}, claims {dict(self.probe.claims)}, "
            f"from {self.probe.source}, keys of {self.available}, headers {self.request.headers}\n"
            f"{explain(self.request, self.credential, self.decision)}"
            + "\n".join(f"  {route}" for _, _, route in self.policy.routes())
            + f"\n  {[(host.names, host.fallback, host.cors) for host in self.policy.listeners[0].hosts]}"
        )


def compare(fleet: Fleet, cases: Sequence[Case], now: datetime | None = None) -> list[Compared]:
    """Ask both sides everything."""
    now = now or datetime.now(UTC)
    keys = [{name: tokens.KEYS[name] for name in case.available} for case in cases]
    enforced = fleet.put([(case.policy, found) for case, found in zip(cases, keys, strict=True)])
    wallet = Wallet(now)
    asked = [[_request(probe, wallet) for probe in case.probes] for case in cases]
    answers = asyncio.run(_ask_all(enforced, cases, asked))
    ids = (answer.headers.get("x-request-id", "") for answered in answers for answer in answered)
    lines = fleet.log_lines(each for each in ids if each)
    found = []
    for case, available, requests, answered in zip(cases, keys, asked, answers, strict=True):
        unavailable = frozenset(tokens.KEYS) - frozenset(available)
        for probe, request, answer in zip(case.probes, requests, answered, strict=True):
            credential = tokens.found(case.policy, request.headers, available, now)
            decision = decide(case.policy, request, credential, unavailable=unavailable)
            line = lines.get(answer.headers.get("x-request-id", ""), {})
            found.append(
                Compared(
                    policy=case.policy,
                    available=case.available,
                    probe=probe,
                    request=request,
                    credential=credential,
                    decision=decision,
                    python=_decided(decision),
                    envoy=_answered(case.policy, answer, line),
                    log=line,
                )
            )
    return found


class Wallet:
    """Credentials by what they are: asked for again, the very same token comes again, as it does from a client."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._made: dict[tuple[str, str, str], tuple[tuple[str, str], ...]] = {}

    def headers(self, probe: Probe) -> tuple[tuple[str, str], ...]:
        key = probe.state, probe.provider, json.dumps(probe.claims)
        if key not in self._made:
            self._made[key] = tokens.headers(probe.state, probe.provider, probe.claims, self._now)
        return self._made[key]


def _request(probe: Probe, wallet: Wallet) -> Request:
    return replace(probe.request, headers=(*probe.request.headers, *wallet.headers(probe)))


async def _ask_all(
    enforced: Sequence[Enforced], cases: Sequence[Case], asked: Sequence[Sequence[Request]]
) -> list[list[Answer]]:
    each = (_ask(*one) for one in zip(enforced, cases, asked, strict=True))
    return list(await asyncio.gather(*each))


async def _ask(enforced: Enforced, case: Case, requests: Sequence[Request]) -> list[Answer]:
    clients: dict[tuple[int, str], Client] = {}
    answers = []
    for probe, request in zip(case.probes, requests, strict=True):
        port = enforced.ports[request.listener or ""]
        client = clients.setdefault((port, probe.source), Client(port, probe.source))
        message = head(request.method, request.target, request.host, request.headers)
        answers.append(await client.ask(message, request.method))
    for client in clients.values():
        client.close()
    return answers


def _decided(decision: Decision) -> Verdict:
    # spaces around a value do not travel (RFC 9110, 5.5)
    identity = tuple(sorted((name.lower(), value.strip(" \t")) for name, value in decision.identity))
    return Verdict(
        status=decision.status,
        rule=decision.rule,
        identity=identity,
        forwarded=decision.upstream is not None,
    )


def _answered(policy: Policy, answer: Answer, line: dict[str, str | None]) -> Verdict:
    """Envoy's answer; the rule is read from its access log, the identity headers from the upstream."""
    forwarded = "x-echo" in answer.headers
    names = {header.name.lower() for _, _, route in policy.routes() for header in route.identity}
    arrived = (entry.partition(": ") for entry in answer.body.decode("utf-8", "replace").split("\n"))
    identity = (
        (name, value.strip(" \t")) for name, _, value in arrived if forwarded and _is_identity(name, names)
    )
    return Verdict(
        status=answer.status,
        rule=_rule(answer.status, forwarded, line),
        identity=tuple(sorted(identity)),
        forwarded=forwarded,
    )


def _is_identity(name: str, names: Iterable[str]) -> bool:
    """Whether an upstream could take this header for one of ours: every separator is like every other."""
    folded = "".join(letter if letter.isalnum() else "-" for letter in name)
    return folded in {"".join(x if x.isalnum() else "-" for x in each) for each in names}


def _rule(status: int, forwarded: bool, line: dict[str, str | None]) -> str:
    """The rule that decided, from an access log line."""
    if not line or (status == 400 and not line["guard"] and not line["rule"]):
        return CODEC
    if line["guard"] == "path-unsafe":
        return "guard:path"
    if line["guard"] == "credential-several":
        return "guard:credential"
    if line["decided_by"] == "letter-case":
        return "letter-case"
    if status == 200 and not forwarded and line["rule"] != "endpoint:health":
        return "cors-preflight"
    return line["rule"] or f"none ({line['why']})"


# --- What has been compared -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Coverage:
    """How often each thing was seen, and on which side: let through or not."""

    seen: Counter[tuple[str, str, bool]] = field(default_factory=Counter)

    def add(self, compared: Compared) -> None:
        allowed = compared.envoy.status == 200
        for kind, what in _features(compared):
            self.seen[kind, what, allowed] += 1

    def missing(self, wanted: dict[str, Iterable[str]], least: int) -> list[str]:
        """What was seen less often than `least` on one of the two sides."""
        return [
            f"{kind} {what} {'allowed' if allowed else 'refused'}: {self.seen[kind, what, allowed]}"
            for kind, all_of_it in wanted.items()
            for what in all_of_it
            for allowed in (True, False)
            if self.seen[kind, what, allowed] < least
        ]


def _features(compared: Compared) -> Iterator[tuple[str, str]]:
    yield "credential", compared.probe.state
    yield "outcome", compared.decision.outcome
    yield "rule", compared.decision.rule
    route = next((r for _, _, r in compared.policy.routes() if r.name == compared.decision.rule), None)
    if route is None:
        return
    yield "path", route.path.kind
    yield "method", method_form(route.methods)
    yield "mode", route.credentials.mode
    judged = compared.decision.reason in ("rule-met", "rule-not-met")
    if isinstance(route.access, Rule) and judged:
        for condition in set(map(type, _parts(route.access.when))):
            yield "condition", condition.__name__


def method_form(methods: frozenset[str]) -> str:
    if methods == ANY_METHOD:
        return "any"
    if methods - STANDARD_METHODS:
        return "unusual"
    return "one" if len(methods) == 1 else "several"


def _parts(condition: Condition) -> Iterator[Condition]:
    yield condition
    match condition:
        case Not(inner):
            yield from _parts(inner)
        case AllOf(conditions) | AnyOf(conditions):
            for each in conditions:
                yield from _parts(each)
        case _:
            pass


REACHED = (
    Outcome.ALLOW,
    Outcome.REDIRECT,
    Outcome.REFUSE,
    Outcome.REJECT,
    Outcome.DENY,
    Outcome.NOT_FOUND,
    Outcome.FAIL,
)
