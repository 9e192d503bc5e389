"""Both answers to the same requests: where they differ, and what has been compared."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.differential import sessions, tokens
from tests.differential.cases import Case
from tests.differential.fleet import Enforced, Fleet
from tests.differential.probes import Probe
from tests.differential.raw_http import Answer, Client, head
from tests.differential.service import Known
from tests.differential.sessions import Presented
from wardgate.decision import Decision, Outcome, Request, decide
from wardgate.decision.browser import upgrades
from wardgate.decision.forward_auth import original
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
from wardgate.principal import Credential, Principal, Rejected
from wardgate.service.session import Session
from wardgate.verify import KeySet

CODEC = "codec"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    An answer in the terms that both sides have: `identity` is sorted, empty unless the upstream was reached. So are
    `authorization` and `cookies`, and `internal`, headers of ours that no upstream may see. `reason` is told only where
    both sides have the same words for it (`REASONS`).
    """

    status: int
    rule: str
    identity: tuple[tuple[str, str], ...] = ()
    forwarded: bool = False
    reason: str = ""
    authorization: str | None = None
    cookies: tuple[str, ...] = ()
    internal: tuple[str, ...] = ()

    @property
    def without_upstream(self) -> Verdict:
        """What can be told of an answer without a body."""
        reason = "" if self.status == 401 else self.reason
        return replace(self, identity=(), authorization=None, cookies=(), internal=(), reason=reason)


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
        # the upstream has no body to tell in what reached it; Envoy drops that of an upgrade that is answered with 200
        if "HEAD" in (self.request.method, self.log.get("method")) or upgrades(self.request):
            return self.python.without_upstream == self.envoy.without_upstream
        return self.python == self.envoy

    def __str__(self) -> str:
        return (
            f"Python: {self.python}\nEnvoy:  {self.envoy}\nits log: {self.log}\n"
            f"credential {self.probe.state} of {self.probe.provider}, claims {dict(self.probe.claims)}, "
            f"session {self.probe.session}\n"
            f"from {self.probe.source}, keys of {self.available}, headers {self.request.headers}\n"
            f"{explain(self.request, self.credential, self.decision)}"
            + "\n".join(f"  {route}" for _, _, route in self.policy.routes())
            + f"\n  {[(host.names, host.fallback, host.cors) for host in self.policy.listeners[0].hosts]}"
            + f"\n  {self.policy.session}"
            + f"\n  {[(each.name, each.client_id, each.introspection) for each in self.policy.providers]}"
        )


def compare(fleet: Fleet, cases: Sequence[Case], now: datetime | None = None) -> list[Compared]:
    """Ask both sides everything, and Envoy everything twice: the second time it knows who calls."""
    now = now or datetime.now(UTC)
    keys = [{name: tokens.KEYS[name] for name in case.available} for case in cases]
    enforced = fleet.put([(case.policy, found) for case, found in zip(cases, keys, strict=True)])
    wallets = [Wallet(case.policy, available, now) for case, available in zip(cases, keys, strict=True)]
    twice = [replace(case, probes=case.probes * 2) for case in cases]
    asked = [
        [wallet.request(probe) for probe in case.probes] for case, wallet in zip(twice, wallets, strict=True)
    ]
    kids = {name: [key.kid or "" for key in found.keys] for name, found in tokens.KEYS.items()}
    fleet.service.know([wallet.known() for wallet in wallets], kids)
    answers = asyncio.run(_ask_all(enforced, twice, asked))
    ids = (answer.headers.get("x-request-id", "") for answered in answers for answer in answered)
    lines = fleet.log_lines(each for each in ids if each)
    found = []
    for case, wallet, requests, answered in zip(twice, wallets, asked, answers, strict=True):
        for probe, request, answer in zip(case.probes, requests, answered, strict=True):
            line = lines.get(answer.headers.get("x-request-id", ""), {})
            found.append(_compared(case, wallet, probe, request, answer, line))
    return found


def _compared(
    case: Case, wallet: Wallet, probe: Probe, request: Request, answer: Answer, line: dict[str, str | None]
) -> Compared:
    credential, session = wallet.bearer(request), wallet.session(request)
    unavailable = frozenset(tokens.KEYS) - frozenset(case.available)
    decision = decide(case.policy, request, credential, session=session, unavailable=unavailable)
    question = _is_question(case.policy, request)
    python = _decided(decision)
    if question and decision.status == 200 and case.policy.login_providers():
        python = replace(python, cookies=_cookies(decision.cookie))  # told to the proxy that asks
    return Compared(
        policy=case.policy,
        available=case.available,
        probe=probe,
        request=request,
        credential=session or credential,
        decision=decision,
        python=python,
        envoy=_answered(case.policy, answer, line, question),
        log=line,
    )


def _is_question(policy: Policy, request: Request) -> bool:
    listener = next(each for each in policy.listeners if each.name == request.listener)
    return isinstance(original(policy, listener, request), Request)


class Wallet:
    """
    The credentials of one policy by what they are: asked for again, the very same token or cookie comes again, as it
    does from a client. No two policies share any: one worker remembers those of all of them.
    """

    def __init__(self, policy: Policy, available: Mapping[str, KeySet], now: datetime) -> None:
        self._policy = policy
        self._available = available
        self._now = now
        self._mark = secrets.token_hex(8)
        self._bearers: dict[tuple[str, str, str], tuple[tuple[str, str], ...]] = {}
        self._cookies: dict[str, str] = {}
        self._kept: dict[str, tuple[Presented, Session | None]] = {}
        self._active: dict[str, dict[str, Mapping[str, Any]]] = {name: {} for name in tokens.KEYS}

    def request(self, probe: Probe) -> Request:
        """The probe's request with what it brings."""
        brought = self._bearer_lines(probe)
        if probe.session is not None:
            brought += sessions.lines(self._policy, probe.session, self._cookie(probe.session))
        return replace(probe.request, headers=(*probe.request.headers, *brought))

    def bearer(self, request: Request) -> Credential:
        return tokens.found(self._policy, request.headers, self._available, self._now, self._active)

    def session(self, request: Request) -> Principal | Rejected | None:
        return sessions.found(self._policy, request.headers, self._kept)

    def known(self) -> Known:
        """What the service knows."""
        lines = (line for found in self._bearers.values() for line in found)
        bearer = {p.name: tokens.bearer_claims(p, self._available, self._now) for p in self._policy.providers}
        return Known(
            policy=self._policy,
            sessions={cookie: session for cookie, (_, session) in self._kept.items()},
            active=self._active,
            tokens=frozenset(value.removeprefix("Bearer ") for _, value in lines),
            bearer=bearer,
        )

    def _bearer_lines(self, probe: Probe) -> tuple[tuple[str, str], ...]:
        key = probe.state, probe.provider, json.dumps(probe.claims)
        if key not in self._bearers:
            claims = {"jti": self._mark, **probe.claims}
            self._bearers[key] = tokens.headers(probe.state, probe.provider, claims, self._now)
            for _, value in self._bearers[key]:
                if probe.state not in ("inactive", "opaque-inactive", "malformed"):
                    said = {"sub": "ann", **claims}
                    self._active[probe.provider][value.removeprefix("Bearer ")] = said
        return self._bearers[key]

    def _cookie(self, presented: Presented) -> str:
        what = repr(replace(presented, spelling=()))
        if what not in self._cookies:
            cookie = self._cookies[what] = sessions.new_cookie(self._policy)
            if presented.state != "unknown":
                self._kept[cookie] = presented, sessions.kept(presented, cookie, self._now)
        return self._cookies[what]


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
        if upgrades(request):  # whatever the answer, nothing more is said on such a connection
            client.close()
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
        reason=decision.reason if decision.reason in REASONS else "",
        authorization=decision.authorization if decision.upstream is not None else None,
        cookies=_cookies(decision.cookie) if decision.upstream is not None else (),
    )


def _cookies(header: str | None) -> tuple[str, ...]:
    return tuple(part.strip(" \t") for part in (header or "").split(";") if part.strip(" \t"))


def _answered(policy: Policy, answer: Answer, line: dict[str, str | None], question: bool) -> Verdict:
    """
    Envoy's answer; the rule is read from its access log, the identity headers from the upstream, or from the answer to
    another proxy.
    """
    forwarded = "x-echo" in answer.headers
    names = {header.name.lower() for _, _, route in policy.routes() for header in route.identity}
    names |= {name.lower() for _, _, route in policy.routes() for name in route.told()}
    echoed = answer.body.decode("utf-8", "replace").split("\n") if forwarded else []
    arrived = [(name, value.strip(" \t")) for name, _, value in (entry.partition(": ") for entry in echoed)]
    plain = dict(arrived)
    if question and answer.status == 200:
        arrived = [(name, _in_utf8(value).strip(" \t")) for name, value in answer.headers.items()]
    return Verdict(
        status=answer.status,
        rule=_rule(answer, forwarded or question, line),
        identity=tuple(sorted(pair for pair in arrived if _is_identity(pair[0], names))),
        forwarded=forwarded,
        reason=_reason(answer, line),
        authorization=plain.get("authorization"),
        cookies=_cookies("; ".join(value for name, value in arrived if name == "cookie")),
        internal=tuple(name for name, _ in arrived if name.startswith("x-wardgate")),
    )


def _in_utf8(value: str) -> str:
    """A header of an answer comes as Latin-1; identity headers are UTF-8, as an upstream gets them."""
    return value.encode("latin-1").decode("utf-8", "replace")


REASONS = ("login", "session-over", "session-unavailable", "origin", "upgrade")


def _reason(answer: Answer, line: dict[str, str | None]) -> str:
    """Why, where the log or the service says so."""
    guard, why = line.get("guard"), line.get("why")
    if why == "ext_authz_denied":
        named = {302: "login", 303: "session-over"}
        code = named.get(answer.status) or json.loads(answer.body or b"{}").get("code")
        return code if code in REASONS else ""
    if why == "ext_authz_error":
        return "session-unavailable"
    return "upgrade" if why == "upgrade_failed" else "origin" if guard == "origin" else ""


def _is_identity(name: str, names: Iterable[str]) -> bool:
    """Whether an upstream could take this header for one of ours: every separator is like every other."""
    folded = "".join(letter if letter.isalnum() else "-" for letter in name)
    return folded in {"".join(x if x.isalnum() else "-" for x in each) for each in names}


def _rule(answer: Answer, forwarded: bool, line: dict[str, str | None]) -> str:
    """The rule that decided, from an access log line."""
    status = answer.status
    if not line or (status == 400 and not line["guard"] and not line["rule"]):
        return CODEC
    if line["guard"] == "path-unsafe":
        return "guard:path"
    if line["guard"] == "credential-several":
        return "guard:credential"
    if line["decided_by"] in ("letter-case", "route-again"):
        return line["decided_by"]
    if line["why"] == "upgrade_failed":
        return "guard:upgrade"
    ours = "x-service" in answer.headers or line["rule"] == "endpoint:health"
    if status == 200 and not forwarded and not ours:
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
    if compared.probe.session is not None:
        yield "session", compared.probe.session.state
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
