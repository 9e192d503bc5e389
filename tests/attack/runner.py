"""
Runs security cases against a gateway and judges what came of each.

Each case is sent twice, the second time on the same connection after a valid request of another caller, so
that state which leaks from one request to the next shows. Whether something reached the application is told
by the application (`upstream.py`), never by the status. What a case about logins needs is made by `stage.py`, what has to
hold after it is looked at by `aftermath.py`. It starts nothing itself: see `lab.py`.

Source: `rules_of_use` in the head of the shared case file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from . import stage
from .aftermath import aftermath
from .browser import host_seen, location_of
from .cases import ASKED_ONLY, PEERS, Case
from .http1 import Answer, Connection
from .http2 import Http2Connection
from .stage import Stage, StageFailed, is_staged
from .upstream import CASE_HEADER, Arrival, folded

HOST = "gw.test"
CONTROL_PATH = "/api/v1/admin/x"
OPEN_POLICIES = ("R-PUBLIC", "R-HEALTH")
AT_ONCE = 12  # connections; enough to fill two cores, few enough to keep answers prompt

MEMORY_GROWTH_BYTES = 64 * 1024 * 1024  # other cases run at the same time, so not less

# Names that the policy under test sets; and what any application is known to read as an identity.
IDENTITY_HEADERS = (
    "x-user-id",
    "x-auth-user",
    "x-auth-email",
    "x-auth-roles",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-groups",
)


class Target(stage.Target, Protocol):
    """What the runner must know of the gateway under test and of its surroundings."""

    canary_hits: int

    def memory_bytes(self, fixture: str) -> int:
        """Resident memory of the gateway, all its processes together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """
    One sending of a case: what was answered, what arrived, and the tokens that were on the connection.

    `noticed` is what went wrong elsewhere meanwhile; `answers` are all of them, where a case is sent several times at once.
    """

    answer: Answer
    arrivals: tuple[Arrival, ...]
    tokens: tuple[str, ...]
    noticed: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The verdict on a case: passed when `failures` is empty."""

    case: Case
    failures: tuple[str, ...]
    attempts: tuple[Attempt, ...]

    def __str__(self) -> str:
        said = ", ".join(str(attempt.answer.said) for attempt in self.attempts[:2])
        lines = [f"{self.case.id} ({self.case.tier}): {self.case.description}", f"  answered: {said}"]
        return "\n".join([*lines, *(f"  {failure}" for failure in self.failures)])


async def run(target: Target, cases: Iterable[Case]) -> dict[str, Result]:
    """Every case's verdict, by id. Raw cases run last and alone: their requests carry no label."""
    chosen = list(cases)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> Result:
        async with gate:
            return await _run_case(target, case)

    labelled = [case for case in chosen if not case.request.raw]
    results = await asyncio.gather(*(one(case) for case in labelled))
    results += [await _run_case(target, case) for case in chosen if case.request.raw]
    return {result.case.id: _with_canary(target, result) for result in results}


async def _run_case(target: Target, case: Case) -> Result:
    sender = _sender(case)(target, case)
    tokens = [("", target.mint(case.fixture).token(case.token))]
    if case.token["present"] == "vectors":
        tokens = list(target.mint(case.fixture).vectors(case.token))
    attempts: list[Attempt] = []
    failures: list[str] = []
    try:
        for turn in (1, 2):
            for name, token in tokens:
                attempt, wrong = await _turn(target, sender, case, f"{case.id}/{turn}{name}", token)
                attempts += [attempt] if attempt is not None else []
                where = f"{name}: " if name else ""
                failures += [f"{where}turn {turn}: {what}" for what in wrong]
            if turn == 1:
                failures += await sender.interlude(f"{case.id}/between")
    finally:
        await sender.close()
    return Result(case=case, failures=tuple(failures), attempts=tuple(attempts))


async def _turn(
    target: Target, sender: Sender, case: Case, label: str, token: str
) -> tuple[Attempt | None, list[str]]:
    """One sending and what is wrong with it; no attempt when what the case needs could not be made."""
    if not is_staged(case):
        attempt = await sender.send(case, label, token)
        return attempt, judged(target, case, attempt)
    scene = Stage(target, case, label)
    try:
        acting = await scene.filled()
    except StageFailed as failed:
        return None, [f"it could not be sent: {failed}"]
    began = time.monotonic()
    attempt = await sender.send(acting, label, token)
    took_ms = (time.monotonic() - began) * 1000
    failures = judged(target, acting, attempt)
    if case.max_ms and took_ms > case.max_ms:
        failures.append(f"it took {took_ms:.0f} ms, expected {case.max_ms} at most")
    return attempt, failures + await aftermath(scene, attempt.answers or (attempt.answer,))


def _with_canary(target: Target, result: Result) -> Result:
    if result.case.must_not.outbound_connection_to_canary and target.canary_hits:
        return replace(result, failures=(*result.failures, "the gateway connected to the canary"))
    return result


class Sender(Protocol):
    """Sends one case again and again over a connection that it keeps while the gateway does."""

    async def send(self, case: Case, label: str, token: str) -> Attempt:
        """Send the case, its placeholders filled, once, labelled so that the application can tell it."""

    async def interlude(self, label: str) -> list[str]:
        """A valid request of another caller on the same connection; what was wrong with its answer."""

    async def close(self) -> None:
        """Close the connection."""


def _sender(case: Case) -> type[_Http1 | _Http2 | _Raw | _Parallel]:
    if case.request.raw:
        return _Raw
    if case.parallel > 1:
        return _Parallel
    return _Http2 if case.header_block or case.http2 else _Http1


class _Http1:
    """Ordinary HTTP/1.1 requests, byte for byte."""

    def __init__(self, target: Target, case: Case) -> None:
        self._target = target
        self._case = case
        self._mint = target.mint(case.fixture)
        self._connection: Connection | None = None
        self._tokens: list[str] = []

    async def send(self, case: Case, label: str, token: str) -> Attempt:
        self._tokens.append(token)
        answer = await self._exchange(request_bytes(self._target, case, label, token), case.request.method)
        return self._attempt(label, answer)

    async def interlude(self, label: str) -> list[str]:
        """As CTL-ADMIN; where a leak is looked for, the case's own request by another user."""
        if self._case.must_not.response_contains_token and self._case.token["present"] is True:
            token = self._mint.token({"base": "user", "claims": {"sub": "u-3"}})
            request = request_bytes(self._target, self._case, label, token)
            answer = await self._exchange(request, self._case.request.method)
            self._tokens.append(token)
            return _leaks(answer, self._tokens)
        token = self._mint.token({"base": "admin"})
        self._tokens.append(token)
        path = control_path(self._target, self._case.fixture)
        answer = await self._exchange(control_bytes(label, token, path), "GET")
        return _control_failures(self._case, answer, self._target.upstream.of(label))

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _exchange(self, request: bytes, method: str) -> Answer:
        connection = await self._connected()
        return await connection.exchange(request, method=method)

    async def _connected(self) -> Connection:
        if self._connection is None or not self._connection.open:
            await self.close()
            self._connection = await Connection.to(
                self._target.port(self._case.fixture), PEERS[self._case.peer]
            )
        return self._connection

    def _attempt(self, label: str, answer: Answer) -> Attempt:
        arrivals = tuple(self._target.upstream.of(label))
        return Attempt(answer=answer, arrivals=arrivals, tokens=tuple(self._tokens))


class _Parallel(_Http1):
    """The same request many times at once, each on a connection of its own. The first wrong answer stands for all."""

    async def send(self, case: Case, label: str, token: str) -> Attempt:
        request = request_bytes(self._target, case, label, token)
        port, peer = self._target.port(case.fixture), PEERS[case.peer]
        connections = [await Connection.to(port, peer) for _ in range(case.parallel)]
        try:
            sent = [one.exchange(request, method=case.request.method) for one in connections]
            answers = tuple(await asyncio.gather(*sent))
        finally:
            for connection in connections:
                await connection.close()
        wrong = [answer for answer in answers if answer.said not in case.expected]
        attempt = self._attempt(label, (*wrong, *answers)[0])
        return replace(attempt, answers=answers)


class _Raw(_Http1):
    """The bytes of a whole connection, verbatim: without a label, so nothing else may run meanwhile."""

    async def send(self, case: Case, label: str, token: str) -> Attempt:
        before = len(self._target.upstream.arrivals)
        connection = await self._connected()
        answer = await connection.exchange_raw(_raw(self._target, case, token))
        arrivals = [one for one in self._target.upstream.arrivals[before:] if not one.case]
        return Attempt(answer=answer, arrivals=tuple(arrivals), tokens=(token,))


class _Http2:
    """HTTP/2 header blocks that no client library would send."""

    def __init__(self, target: Target, case: Case) -> None:
        self._target = target
        self._case = case
        self._mint = target.mint(case.fixture)
        self._connection: Http2Connection | None = None

    async def send(self, case: Case, label: str, token: str) -> Attempt:
        connection = await self._connected()
        fields = self._fields(case, label, token)
        if case.frames.rapid_reset:
            return await self._flood(connection, fields, label)
        data = b"x" * case.frames.data_bytes
        answer = await connection.exchange(fields, data=data or None)
        arrivals = tuple(self._target.upstream.of(label))
        return Attempt(answer=answer, arrivals=arrivals, tokens=(token,))

    async def interlude(self, label: str) -> list[str]:
        return await self._control(await self._connected(), label)

    async def _control(self, connection: Http2Connection, label: str) -> list[str]:
        fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", HOST),
            (":path", control_path(self._target, self._case.fixture)),
            ("authorization", f"Bearer {self._mint.token({'base': 'admin'})}"),
            (CASE_HEADER, label),
        ]
        answer = await connection.exchange(fields)
        return _control_failures(self._case, answer, self._target.upstream.of(label))

    async def _flood(
        self, connection: Http2Connection, fields: Sequence[tuple[str, str]], label: str
    ) -> Attempt:
        """HEADERS+RST_STREAM pairs, while another connection must be answered and memory must stay."""
        before = self._target.memory_bytes(self._case.fixture)
        bystander = await Http2Connection.to(self._target.port(self._case.fixture), PEERS[self._case.peer])
        answer, noticed = await asyncio.gather(
            connection.rapid_reset(fields, self._case.frames.rapid_reset),
            self._control(bystander, f"{label}/bystander"),
        )
        await bystander.close()
        grown = self._target.memory_bytes(self._case.fixture) - before
        if grown > MEMORY_GROWTH_BYTES:
            noticed.append(f"the gateway's memory grew by {grown} bytes")
        arrivals = tuple(self._target.upstream.of(label))
        return Attempt(answer=answer, arrivals=arrivals, tokens=(), noticed=tuple(noticed))

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> Http2Connection:
        if self._connection is None or not self._connection.open:
            await self.close()
            self._connection = await Http2Connection.to(
                self._target.port(self._case.fixture), PEERS[self._case.peer]
            )
        return self._connection

    def _fields(self, case: Case, label: str, token: str) -> Sequence[tuple[str, str]]:
        fields = [
            (self._mint.fill(name, lambda: token), self._mint.fill(value, lambda: token))
            for name, value in case.header_block
        ]
        last = fields[-1]
        while sum(len(name) + len(value) for name, value in fields) < case.frames.repeat_last_to_bytes:
            fields += [last] * 500
        if case.token["present"] is True:
            fields.append(("authorization", f"Bearer {token}"))
        if not any(name.lower() == "accept" for name, _ in fields):
            fields.append(("accept", "application/json"))
        return [*fields, (CASE_HEADER, label)]


class Paths(Protocol):
    def path(self, template: str) -> str: ...


def control_path(target: Paths, fixture: str) -> str:
    """Of CTL-ADMIN; where nothing is proxied it is asked about."""
    return target.path("{{forward_auth}}") + CONTROL_PATH if fixture == ASKED_ONLY else CONTROL_PATH


def control_bytes(label: str, token: str, path: str) -> bytes:
    """The request of CTL-ADMIN: valid, and answered 200 by a gateway whose state is in order."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\n"
        f"Authorization: Bearer {token}\r\n{CASE_HEADER}: {label}\r\n\r\n"
    ).encode("ascii")


def request_bytes(target: Target, case: Case, label: str, token: str) -> bytes:
    """The case's request with the headers that every request carries unless the case sets them."""
    mint, request = target.mint(case.fixture), case.request
    headers = [(name, mint.fill(value, lambda: token)) for name, value in request.headers]
    set_by_case = {name.lower() for name, _ in headers}
    if "host" not in set_by_case:
        headers.insert(0, ("Host", HOST))
    if case.token["present"] in (True, "vectors"):
        headers.append(("Authorization", f"Bearer {token}"))
    if "accept" not in set_by_case:
        headers.append(("Accept", "application/json"))
    body = mint.fill(request.body, lambda: token).encode()
    if body and not {"content-length", "transfer-encoding"} & set_by_case:
        headers.append(("Content-Length", str(len(body))))
    headers.append((CASE_HEADER, label))
    lines = [b"%b: %b" % (octets(name), octets(value)) for name, value in headers]
    start = b"%b %b HTTP/1.1" % (octets(request.method), _target_bytes(target, case, token))
    return b"\r\n".join([start, *lines, b"", body])


def octets(text: str) -> bytes:
    """The bytes of a header or target: a letter below U+0100 is that byte, other text is UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")


def _target_bytes(target: Target, case: Case, token: str) -> bytes:
    if isinstance(case.request.target, bytes):
        return case.request.target
    path = target.path(case.request.target)
    return target.mint(case.fixture).fill(path, lambda: token).encode("utf-8")


def _raw(target: Target, case: Case, token: str) -> bytes:
    if isinstance(case.request.raw, bytes):
        return case.request.raw
    return octets(target.mint(case.fixture).fill(case.request.raw, lambda: token))


def _control_failures(case: Case, answer: Answer, arrivals: Sequence[Arrival]) -> list[str]:
    if case.fixture == ASKED_ONLY:
        right = 200 if case.peer == "trusted_proxy" else 403
        return (
            [] if answer.said == right else [f"the valid question that followed was answered {answer.said}"]
        )
    if answer.said != 200:
        return [f"the valid request that followed was answered {answer.said}"]
    return [] if len(arrivals) == 1 else [f"the valid request that followed arrived {len(arrivals)} times"]


def judged(target: Target, case: Case, attempt: Attempt) -> list[str]:
    """Everything that is wrong with one attempt; an empty list when it passed."""
    failures = list(attempt.noticed)
    if attempt.answer.said not in case.expected:
        failures.append(f"answered {attempt.answer.said}, expected one of {list(case.expected)}")
    failures += _status_failures(case, attempt.answer)
    failures += _arrival_failures(case, attempt)
    for arrival in attempt.arrivals:
        failures += _upstream_failures(target, case, arrival)
    failures += _response_failures(target, case, attempt)
    return failures


def _status_failures(case: Case, answer: Answer) -> list[str]:
    failures = []
    if case.must_not.status_2xx and 200 <= answer.status < 300:
        failures.append(f"answered {answer.status}, which allows")
    if case.must_not.status_5xx and answer.status >= 500:
        failures.append(f"answered {answer.status}, a fault")
    return failures


def _arrival_failures(case: Case, attempt: Attempt) -> list[str]:
    arrivals, status = _counted(case, attempt.arrivals), attempt.answer.status
    failures = [f"malformed at the application: {arrival.problem}" for arrival in arrivals if arrival.problem]
    lines = [f"{arrival.method} {arrival.target}" for arrival in arrivals]
    forbidden = case.must_not.upstream_request_line
    if case.must_not.reach_upstream and arrivals:
        failures.append(f"reached the application: {lines[:3]}")
    if forbidden and any(line.split("?")[0] == forbidden for line in lines):
        failures.append(f"the application received {forbidden!r}")
    if len(arrivals) > case.parallel and not (case.request.raw or case.frames.rapid_reset):
        failures.append(f"arrived {len(arrivals)} times")
    answered_here = not arrivals and 200 <= status < 300 and case.request.method != "OPTIONS"
    if case.kind == "forward_auth":  # the one that asks lets the request through, nobody else
        return [*failures, *(f"reached the application: {line}" for line in lines)]
    if answered_here and not case.must_not.reach_upstream:
        failures.append(f"answered {status}, and the application never saw the request")
    return failures


def _counted(case: Case, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """
    The arrivals that count as reaching the application.

    On a route that is open to anyone, a request whose body the gateway cut off does not: its head was
    allowed, and the cut is the refusal. Anywhere else a head alone is too much.

    Of streams that are opened and reset at once (CVE-2023-44487) a few that were whole when they were read may
    arrive: each is a request that anyone may make. What must not arrive is the flood: streams of one connection wait for their turn
    (`bootstrap.RUNTIME`), and most are reset by then, so one in ten is the bound.
    """
    if case.frames.rapid_reset and len(arrivals) <= case.frames.rapid_reset / 10:
        return []
    is_open = case.policy in OPEN_POLICIES
    return [arrival for arrival in arrivals if arrival.whole or not is_open]


def _upstream_failures(target: Target, case: Case, arrival: Arrival) -> list[str]:
    must_not, expected = case.must_not, case.upstream
    fill = target.mint(case.fixture).fill
    failures = []
    shown = [pair for pair in arrival.headers if pair[0].lower() != CASE_HEADER]
    if must_not.upstream_sees_value:
        failures += [
            f"the application sees {must_not.upstream_sees_value!r} in {name}: {value}"
            for name, value in shown
            if must_not.upstream_sees_value in value or must_not.upstream_sees_value in name
        ]
    unwanted = [*must_not.upstream_sees_header, *expected.get("header_absent", ())]
    unwanted += IDENTITY_HEADERS if must_not.upstream_sees_identity else ()
    failures += [f"the application sees {name}" for name in unwanted if arrival.values(name)]
    if "path_equals" in expected and arrival.target != fill(expected["path_equals"], str):
        failures.append(f"the application sees {arrival.target!r}, expected {expected['path_equals']!r}")
    for name, value in expected.get("header_equals", {}).items():
        wanted = [octets(fill(value, str)).decode("latin-1")]
        if arrival.values(name) != wanted:
            failures.append(f"the application sees {name}: {arrival.values(name)}, expected {wanted}")
    return failures


def _response_failures(target: Target, case: Case, attempt: Attempt) -> list[str]:
    answer, expected = attempt.answer, case.response
    fill = target.mint(case.fixture).fill
    failures = _leaks(answer, attempt.tokens) if case.must_not.response_contains_token else []
    failures += _browser_failures(case, answer)
    failures += [f"no {name}" for name in expected.get("header_present", ()) if not answer.values(name)]
    failures += [f"has {name}" for name in expected.get("header_absent", ()) if answer.values(name)]
    for name, value in expected.get("header_equals", {}).items():
        if answer.values(name) != [fill(value, str)]:
            failures.append(f"the answer has {name}: {answer.values(name)}, expected {value!r}")
    for name, value in expected.get("header_contains", {}).items():
        if not any(value.lower() in found.lower() for found in answer.values(name)):
            failures.append(f"the answer has {name}: {answer.values(name)}, expected it to hold {value!r}")
    return failures


def _browser_failures(case: Case, answer: Answer) -> list[str]:
    """What a browser would make of an answer: a script that somebody else wrote, a way to another site."""
    failures, text, leads = [], case.must_not.reflected_unescaped, location_of(answer)
    if text and answer.contains(text):
        failures.append(f"the answer repeats {text!r} as it is")
    ours = case.must_not.location_host_foreign or case.response.get("location_host") == "gateway"
    if ours and leads and host_seen(leads) != HOST:
        failures.append(f"the answer leads to {leads!r}")
    return failures


def _leaks(answer: Answer, tokens: Iterable[str]) -> list[str]:
    """Tokens of this connection, its own and others', and identity headers, in an answer to a client."""
    leaked = any(answer.contains(token) for token in tokens)
    names = {folded(name) for name, _ in answer.headers}
    failures = ["the answer contains a token"] if leaked else []
    return failures + [f"the answer carries {name}" for name in IDENTITY_HEADERS if name in names]
