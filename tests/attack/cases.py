"""
The format of a security case: one YAML file, read strictly.

A case is a request, the token that goes with it, the answers that are right, and what must not happen.
Whatever this module does not know is an error: a key that a runner skips is a check that nobody makes.
It does not run anything (`runner.py`) and does not make tokens (`tokens.py`).

Source: the head of the shared case file (`rules_of_use`, `token_language`), which our own file follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

OWN_FILE = Path(__file__).with_name("cases.yaml")
SECURITY = Path(__file__).parents[3] / "shared" / "security"  # optional: beside the repository
SHARED_FILE = SECURITY / "cases.yaml"

CLASSES = (
    "control",
    "jwt",
    "path",
    "header",
    "host",
    "method",
    "smuggling",
    "http2",
    "login",
    "forward_auth",
)
TIERS = ("must", "should", "info")
HTTP2_OUTCOMES = ("RST_STREAM", "GOAWAY", "connection closed")

KEYS: Mapping[str, frozenset[str]] = {
    "case": frozenset(
        [
            "id",
            "class",
            "tier",
            "description",
            "request",
            "token",
            "policy",
            "expected",
            "must_not",
            "refs",
            "note",
            "assert_response",
            "assert_upstream",
            "upstream_header_equals",
            "transport",
            "h2_header_block",
            "h2",
            "peer",
            "fixture",
            "observed_envoy_1_40_stock",
            "flow",
            "idp",
            "logout_token",
            "application",
            "parallel",
            "max_ms",
            "must_not_5xx",
            "assert_flow",
            "assert_state",
            "assert_idp",
        ]
    ),
    "request": frozenset(
        ["method", "path", "path_hex", "path_is_template", "raw", "raw_hex", "headers", "body", "note", "see"]
    ),
    "token": frozenset(
        [
            "present",
            "base",
            "header",
            "header_remove",
            "header_raw",
            "claims",
            "claims_remove",
            "claims_raw",
            "claims_raw_replace",
            "sign",
            "mutate",
            "file",
            "result",
        ]
    ),
    "sign": frozenset(["alg", "key", "secret", "raw_signature", "encoding"]),
    "must_not": frozenset(
        [
            "reach_upstream",
            "upstream_sees_value",
            "upstream_sees_header",
            "upstream_sees_identity",
            "upstream_request_line",
            "response_contains_token",
            "outbound_connection_to_canary",
            "status_2xx",
            "status_5xx",
            "session_created",
            "reflected_unescaped",
            "location_host_foreign",
        ]
    ),
    "assert_response": frozenset(
        ["header_present", "header_absent", "header_equals", "header_contains", "location_host"]
    ),
    "assert_upstream": frozenset(["path_equals", "header_equals", "header_absent"]),
    "h2": frozenset(["data_bytes", "repeat_last_to_bytes", "rapid_reset"]),
    "idp": frozenset(
        [
            "base",
            "id_token",
            "access_token",
            "userinfo",
            "answer",
            "refreshed",
            "expires_in",
            "fault",
            "ignores_pkce",
        ]
    ),
    "logout_token": frozenset(
        ["base", "header", "claims", "claims_remove", "claims_raw_replace", "sign", "mutate", "replay"]
    ),
    "assert_flow": frozenset(["final_location_host", "final_location"]),
    "assert_state": frozenset(["planted_id_invalid", "session_ended", "logged_in", "others_logged_out"]),
    "assert_idp": frozenset(["refresh_calls", "token_calls"]),
}

# Who connects: the policy trusts the first as a proxy, and nobody else.
PEERS = {"trusted_proxy": "127.0.0.1", "untrusted": "127.0.0.2"}
ASKED_ONLY, NO_TRUST, NO_STORE = "answers only", "trusted_proxies: []", "Redis stopped"
FIXTURES = ("", "jwks_without_alg", ASKED_ONLY, NO_TRUST, NO_STORE)
USUAL_FIXTURES = {"forward_auth": ASKED_ONLY}
"""By class: the gateway that its cases are sent to unless they name another."""

TRANSPORTS = ("", "h2", "h2 prior knowledge, raw HPACK block, no client-side validation")

# Two cases of the shared file say in words what their keys do not: the frames that follow the header block.
FRAMES_IN_WORDS: Mapping[str, Mapping[str, int]] = {
    "content-length 1 with a 33 byte DATA frame": {"data_bytes": 33},
    "1000 HEADERS+RST_STREAM pairs: other connections keep answering, RSS returns to baseline": {
        "rapid_reset": 1000
    },
}

# The shared file tells in words how a login goes (`flow`), and what its issuer does (`description`). Here it is in the
# language of our own: what is sent, and the plan of the issuer. The placeholders are those of `stage.py`.
_CALLBACK = "{{callback}}?code={{code}}&state={{state}}&iss={{urlencode:{{iss}}}}"
FLOWS: Mapping[str, tuple[str, str]] = {
    "swap codes between two started logins": (
        _CALLBACK.replace("{{code}}", "{{code:second}}"),
        "{{login_cookie}}; {{login_cookie:second}}",
    ),
    "send Cookie __Host-session=<known id>, log in": (
        _CALLBACK,
        "__Host-session={{planted}}; {{login_cookie}}",
    ),
    # what a page on a sibling domain can plant of the attacker's cookie: its name without the prefix
    "victim follows an authorize URL made by the attacker": (
        "{{callback}}?code={{code:attacker}}&state={{state:attacker}}&iss={{urlencode:{{iss}}}}",
        "{{login_cookie}}; {{login_cookie:attacker|unprefixed}}",
    ),
    "fake IdP returns the variant at the token endpoint": (_CALLBACK, "{{login_cookie}}"),
    "fake IdP": (_CALLBACK, "{{login_cookie}}"),
}
_WRONG_DISCOVERY = "fake IdP: discovery document issuer differs from the configured one"
FLOWS_IN_WORDS: Mapping[str, tuple[str, str]] = {
    # no login begins at such an issuer, so there is nothing to call back
    _WRONG_DISCOVERY: ("{{login}}?provider=wrong", ""),
}
PLANS_IN_WORDS: Mapping[str, Mapping[str, Any]] = {
    "fake IdP: id_token aud is another client": {
        "id_token": {"claims": {"aud": "another", "azp": "another"}}
    },
    "fake IdP: id_token iss differs": {"id_token": {"claims": {"iss": "http://evil.test/realms/demo"}}},
    "fake IdP: id_token expired": {
        "id_token": {"claims": {"iat": "now-7200", "nbf": "now-7200", "exp": "now-3600"}}
    },
    "fake IdP: id_token alg none": {"id_token": {"header": {"alg": "none"}, "mutate": ["empty_signature"]}},
    "fake IdP: userinfo sub differs from id_token sub": {"userinfo": {"sub": "somebody-else"}},
    "fake IdP: token_type not Bearer": {"answer": {"token_type": "mac"}},
    "fake IdP: email_verified false when e-mail is the identity": {
        "id_token": {"claims": {"email_verified": False}},
        "userinfo": {"email_verified": False},
    },
    "fake IdP: e-mail with two @ (a@evil@corp.test)": {
        "id_token": {"claims": {"email": "a@evil@corp.test"}},
        "userinfo": {"email": "a@evil@corp.test"},
    },
    "fake IdP: token endpoint answers 500": {"fault": "500"},
    "fake IdP: token endpoint hangs 60 s": {"fault": "hangs"},
    "fake IdP: token endpoint answers 302 to a canary (no redirect following)": {"fault": "redirects"},
    _WRONG_DISCOVERY: {},
}


class CaseError(Exception):
    """A case file that cannot be run as it is written: says which case, and what about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    What is sent. Exactly one of three forms: `method` and `target`, `raw` (the bytes of a whole
    connection), or the case's HTTP/2 header block. Text may hold placeholders.
    """

    method: str = ""
    target: str | bytes = ""
    raw: str | bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """An HTTP/2 request beyond one HEADERS frame: DATA bytes, a header repeated, HEADERS+RST_STREAM pairs."""

    data_bytes: int = 0
    repeat_last_to_bytes: int = 0
    rapid_reset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MustNot:
    """What fails a case whatever its status. A false `reach_upstream` only says that arriving is allowed."""

    reach_upstream: bool = False
    upstream_sees_value: str = ""
    upstream_sees_header: tuple[str, ...] = ()
    upstream_sees_identity: bool = False
    upstream_request_line: str = ""
    response_contains_token: bool = False
    outbound_connection_to_canary: bool = False
    status_2xx: bool = False
    status_5xx: bool = False
    session_created: bool = False
    reflected_unescaped: str = ""
    location_host_foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    One attack (or control), where it was written, and how to judge it.

    Of a login: `plan` is how it goes at the issuer (`issuer.Plan`), `logout_token` describes that of the case, `flow`,
    `state` and `idp` are what has to hold after it; `parallel` times it is sent at once. `application` are headers that
    the application answers with.
    """

    id: str
    kind: str
    tier: str
    description: str
    source: str
    request: Request
    token: Mapping[str, Any]
    policy: str
    expected: tuple[int | str, ...]
    must_not: MustNot
    header_block: tuple[tuple[str, str], ...] = ()
    frames: Frames = field(default=Frames())
    peer: str = "trusted_proxy"
    fixture: str = ""
    response: Mapping[str, Any] = field(default_factory=dict)
    upstream: Mapping[str, Any] = field(default_factory=dict)
    observed_stock: str = ""
    listed_as: str = ""  # the id that known.yaml uses: a twin over HTTP/2 shares it
    http2: bool = False  # its request is to become a header block once its placeholders are filled
    plan: Mapping[str, Any] = field(default_factory=dict)
    logout_token: Mapping[str, Any] = field(default_factory=dict)
    application: tuple[tuple[str, str], ...] = ()
    parallel: int = 1
    max_ms: int = 0
    flow: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    idp: Mapping[str, Any] = field(default_factory=dict)


def load(path: Path, classes: Iterable[str] = CLASSES) -> tuple[Case, ...]:
    """
    The cases of `path` that belong to `classes`; cases of other classes are not read at all.

    Raises `CaseError` for an unknown key, a value out of its list, or an id that occurs twice.
    """
    wanted = frozenset(classes)
    cases = tuple(read(entry, path.name) for entry in _entries(path) if entry.get("class") in wanted)
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise CaseError(f"{path.name}: {case.id}: this id occurs twice")
        seen.add(case.id)
    return cases


@cache
def _entries(path: Path) -> Sequence[Mapping[str, Any]]:
    """The raw cases of a file; parsing one takes a second, and several tests want it."""
    entries: Sequence[Mapping[str, Any]] = YAML(typ="safe").load(path)["cases"]
    return entries


def read(entry: Mapping[str, Any], source: str) -> Case:
    """One case from its YAML mapping."""
    name = f"{source}: {entry.get('id', '(no id)')}"
    _known(name, "case", entry)
    _one_of(name, "tier", entry["tier"], TIERS)
    _one_of(name, "peer", entry.get("peer", "trusted_proxy"), tuple(PEERS))
    _one_of(name, "fixture", entry.get("fixture", ""), FIXTURES)
    _one_of(name, "transport", entry.get("transport", ""), TRANSPORTS)
    _token(name, entry["token"])
    block, frames = _header_block(name, entry)
    upstream = dict(_known(name, "assert_upstream", entry.get("assert_upstream", {})))
    if "upstream_header_equals" in entry:
        upstream["header_equals"] = entry["upstream_header_equals"]
    return Case(
        id=entry["id"],
        kind=entry["class"],
        tier=entry["tier"],
        description=entry["description"],
        source=source,
        request=_flowing(name, entry, _request(name, entry["request"], bool(block))),
        token=entry["token"],
        policy=entry["policy"],
        expected=_expected(name, entry["expected"]),
        must_not=_must_not(
            name, entry["must_not"] | ({"status_5xx": True} if entry.get("must_not_5xx") else {})
        ),
        header_block=block,
        frames=frames,
        peer=entry.get("peer", "trusted_proxy"),
        fixture=entry.get("fixture", USUAL_FIXTURES.get(entry["class"], "")),
        response=_known(name, "assert_response", entry.get("assert_response", {})),
        upstream=upstream,
        observed_stock=entry.get("observed_envoy_1_40_stock", ""),
        listed_as=entry["id"],
        plan=_plan(name, entry),
        logout_token=_known(name, "logout_token", entry.get("logout_token", {})),
        application=tuple((header, value) for header, value in entry.get("application", ())),
        parallel=entry.get("parallel", 1),
        max_ms=entry.get("max_ms", 0),
        flow=_known(name, "assert_flow", entry.get("assert_flow", {})),
        state=_known(name, "assert_state", entry.get("assert_state", {})),
        idp=_known(name, "assert_idp", entry.get("assert_idp", {})),
    )


# What an HTTP/2 request cannot say, or says in another way.
_HTTP1_ONLY = frozenset(["connection", "upgrade", "transfer-encoding", "keep-alive", "http2-settings"])


def over_http2(case: Case) -> Case | None:
    """
    The same request as an HTTP/2 header block; None where it cannot be said in HTTP/2.

    Where a refusal is right, a reset is right too: Envoy answers malformed blocks in that way. Paths with raw
    bytes above ASCII have no twin: HTTP/2 leaves them to the proxy, and Envoy encodes, then judges them.
    """
    request = case.request
    names = [name.lower() for name, _ in request.headers]
    path = _text(request)
    if not path.isascii() or case.parallel > 1:
        return None
    if case.header_block or request.raw or request.body or not path.startswith(("/", "{{")):
        return None
    if _HTTP1_ONLY.intersection(names) or names.count("host") > 1 or case.token["present"] == "vectors":
        return None
    refusals = HTTP2_OUTCOMES if any(code in case.expected for code in (400, 401, 403, 431)) else ()
    twin = replace(case, id=f"{case.id}@h2", expected=(*case.expected, *refusals), http2=True)
    return twin if case.kind in ("login", "forward_auth") else replace(as_block(twin), response={})


def as_block(case: Case) -> Case:
    """A case whose request is a header block."""
    request = case.request
    host = [value for name, value in request.headers if name.lower() == "host"]
    pseudo = [(":method", request.method), (":scheme", "http")]
    pseudo += [(":authority", host[0] if host else "gw.test"), (":path", _text(request))]
    fields = [(name.lower(), value) for name, value in request.headers if name.lower() != "host"]
    return replace(case, request=Request(), header_block=(*pseudo, *fields))


def _text(request: Request) -> str:
    return request.target.decode("latin-1") if isinstance(request.target, bytes) else request.target


def _known(name: str, kind: str, mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown = sorted(set(mapping) - KEYS[kind])
    if unknown:
        raise CaseError(f"{name}: {kind}: the runner does not know {', '.join(unknown)}")
    return mapping


def _one_of(name: str, key: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise CaseError(f"{name}: {key}: expected one of {allowed}, got {value!r}")


def _request(name: str, entry: Mapping[str, Any], has_block: bool) -> Request:
    _known(name, "request", entry)
    forms = [key for key in ("path", "path_hex", "raw", "raw_hex", "see") if key in entry]
    if len(forms) != 1 or ("see" in entry) != has_block:
        raise CaseError(f"{name}: request: expected exactly one form, got {forms}")
    if "see" in entry:
        _one_of(name, "see", entry["see"], ("h2_header_block",))
    raw = bytes.fromhex(entry["raw_hex"]) if "raw_hex" in entry else entry.get("raw", b"")
    return Request(
        method=entry.get("method", ""),
        target=bytes.fromhex(entry["path_hex"]) if "path_hex" in entry else entry.get("path", ""),
        raw=raw,
        headers=tuple((header, value) for header, value in entry.get("headers", ())),
        body=entry.get("body", ""),
    )


def _flowing(name: str, entry: Mapping[str, Any], request: Request) -> Request:
    """The request, or the one that the flow of the case ends with."""
    if "flow" not in entry:
        return request
    _one_of(name, "flow", entry["flow"], tuple(FLOWS))
    target, cookie = FLOWS_IN_WORDS.get(entry["description"], FLOWS[entry["flow"]])
    headers = (*request.headers, ("Cookie", cookie)) if cookie else request.headers
    return replace(request, target=target, headers=headers)


def _plan(name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the case's logins go at the issuer; of a fake one, what its description says."""
    if entry.get("flow", "").startswith("fake IdP"):
        _one_of(name, "description", entry["description"], tuple(PLANS_IN_WORDS))
        return PLANS_IN_WORDS[entry["description"]]
    return _known(name, "idp", entry.get("idp", {}))


def _token(name: str, entry: Mapping[str, Any]) -> None:
    _known(name, "token", entry)
    _one_of(name, "token.present", entry.get("present"), (True, False, "inline", "vectors"))
    if "sign" in entry:
        _known(name, "sign", entry["sign"])


def _expected(name: str, entry: Iterable[int | str]) -> tuple[int | str, ...]:
    expected = tuple(entry)
    for value in expected:
        if not (isinstance(value, int) or value in HTTP2_OUTCOMES):
            raise CaseError(f"{name}: expected: neither a status nor an HTTP/2 outcome: {value!r}")
    if not expected:
        raise CaseError(f"{name}: expected: an empty list can never pass")
    return expected


def _must_not(name: str, entry: Mapping[str, Any]) -> MustNot:
    _known(name, "must_not", entry)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    for key, value in values.items():
        if type(value) is not type(getattr(MustNot(), key)):
            raise CaseError(f"{name}: must_not.{key}: cannot be {value!r}")
    chosen: dict[str, Any] = values
    return MustNot(**chosen)


def _header_block(name: str, entry: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], Frames]:
    block = tuple((header, value) for header, value in entry.get("h2_header_block", ()))
    frames = dict(_known(name, "h2", entry.get("h2", {})))
    frames.update(FRAMES_IN_WORDS.get(entry["description"], {}) if block else {})
    if block and block[-1] == ("note", "repeat to 64 kB"):
        block, frames["repeat_last_to_bytes"] = block[:-1], 64 * 1024
    return block, Frames(**frames)
