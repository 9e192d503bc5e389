"""
The runner itself: what it reads, sends and sees.

A runner that never fails a gateway proves nothing, so it runs against plain Envoy, whose failures are known.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from . import naive, stock
from .browser import host_seen
from .cases import OWN_FILE, SECURITY, SHARED_FILE, Case, CaseError, load, over_http2, read
from .hpack import fields_of, unhuffed
from .http1 import Answer
from .http2 import header_block, headers_frames, status_of
from .issuer import Issuer
from .keys import Keys
from .lab import Lab, Launcher
from .runner import Result, run
from .tokens import Mint, dumped, expression, mutated
from .upstream import Malformed, folded, parsed

OWN = {case.id: case for case in load(OWN_FILE)}

# What plain Envoy is known to get wrong, and what it gets right (field notes, run on 1.40.0).
STOCK_FAILS = (
    "OWN-JOSE-CRIT-NULL",
    "OWN-JOSE-TYP-LOGOUT-CASE",
    "OWN-KIND-ID",
    "OWN-KIND-DPOP",
    "OWN-AUD-OTHER",
    "OWN-LIFETIME-TOO-LONG",
    "OWN-NOALG-PS256",
    "OWN-CLAIM-LF-IN-SUB",
    "OWN-CTL-IDENTITY",
    "OWN-TEXT-TRAILING-DOT",
    "OWN-CRED-BASIC-THEN-BEARER",
    "OWN-PATH-DOTDOT-SEMICOLON",
    "OWN-PATH-CASE-MIXED",
    "OWN-HDR-FOLDED-DOTS",
    "OWN-HDR-EVERY-NAME",
    "OWN-HOST-TWO",
    "OWN-METHOD-TRACE",
    "OWN-METHOD-UNLISTED",
)
STOCK_PASSES = (
    "OWN-CTL-ES256",
    "OWN-CTL-BODY",
    "OWN-CTL-CHALLENGE",
    "OWN-JWT-NONE",
    "OWN-JWT-ATTACKER-UNDER-OUR-KID",
    "OWN-JWT-X5U",
    "OWN-JWT-HMAC-PEM",
    "OWN-NOALG-CONTROL-ES256",
    "OWN-EXP-ABSENT",
    "OWN-EXP-WITHIN-LEEWAY",
    "OWN-ROLES-DUPLICATE-MEMBER",
    "OWN-CRED-QUERY",
    "OWN-PATH-TWICE-ENCODED-SLASH@h2",
    "OWN-HDR-TOKEN-NOT-IN-ANSWER",
    "OWN-SMUG-CL-TWO",
    "OWN-SMUG-PIPELINE-LENDS-TOKEN",
    "OWN-H2-CONTROL",
    "OWN-H2-TRANSFER-ENCODING",
    "OWN-H2-HUGE-BLOCK",
)


# What a naive login gets right: it works for who means well, and some attacks are none on it. All else it gets wrong.
NAIVE_PASSES = frozenset(
    f"OWN-LOGIN-{name}"
    for name in (
        *("CONTROL-OPAQUE", "CONTROL-SLOW-PERSON", "CONTROL-DEEP-LINK", "CONTROL-OTHER-ISSUER"),
        *("CONTROL-TOKEN-ROUTE", "FC-CONTROL", "SCRIPT-NOT-REDIRECTED"),
        *("PARAMETERS", "RD-TAB-ENCODED", "RD-LINE", "RD-NESTED"),
        *(
            "AFTER-LOGOUT",
            "AFTER-BACK-CHANNEL",
            "FLIPPED",
            "LONGER",
            "PADDED",
            "HUGE-VALUE",
            "COOKIE-AS-SESSION",
        ),
        *("SESSION-AS-TOKEN", "SESSION-IN-QUERY", "IN-A-VALUE", "AFTER-COMMA", "IN-QUOTES"),
        *("FAKE-ROLES", "ROLE", "INTERNAL-HEADERS", "INTERNAL-HEADERS-BESIDE"),
    )
)
# What is seen of it beyond a status: of each check one case.
NAIVE_SAYS = {
    "OWN-LOGIN-EXPIRED": "opens a session",
    "OWN-LOGIN-FOLLOWED": "the answer sets __Host-session",
    "OWN-LOGIN-ERROR-SHOWN": "repeats '<script>alert' as it is",
    "OWN-LOGIN-PLANTED": "the id that was planted",
    "OWN-LOGIN-PLANTED-LIVE": "the session that this is about goes on",
    "OWN-LOGIN-RD-FOREIGN": "the login ends at 'https://evil.test/'",
    "OWN-LOGIN-RD-SCRIPT": "the login ends at 'javascript:alert(1)'",
    "OWN-LOGIN-LOGOUT-FOREIGN-END": "the answer leads to 'https://evil.test/'",
    "OWN-LOGIN-LOGOUT-IMAGE": "the session that this is about has ended",
    "OWN-LOGIN-FORWARDED-HOST": "the issuer is told to send the browser to ['https://evil.test/auth/callback']",
    "OWN-LOGIN-MIX-UP": "the issuer counts 1 token_calls, expected 0",
    "OWN-LOGIN-REFRESHED-ONCE": "the issuer counts 50 refresh_calls, expected 1",
    "OWN-LOGIN-FAKE-ENDPOINT-REDIRECTS": "connected to the canary",
    "OWN-LOGIN-FAKE-ENDPOINT-HANGS": "expected 9000 at most",
    "OWN-LOGIN-INTERNAL-HEADERS-UNSEEN": "the application sees 'forged-by-client'",
    "OWN-LOGIN-HOSTILE-APPLICATION": "has x-wardgate-session",
}


def _against(launcher: Launcher, cases: list[Case], folder: Path) -> dict[str, Result]:
    async def all_of_them() -> dict[str, Result]:
        fixtures = sorted({case.fixture for case in cases} | {""})
        async with Lab(launcher, folder, fixtures=fixtures, vectors_in=SECURITY) as lab:
            return await run(lab, cases)

    return asyncio.run(all_of_them())


def _against_stock(cases: list[Case], folder: Path) -> dict[str, Result]:
    return _against(stock.launch, cases, folder)


def test_the_runner_fails_what_plain_envoy_gets_wrong(tmp_path: Path) -> None:
    """Against Envoy without our guards, exactly the cases fail that are known to."""
    twin = over_http2(OWN["OWN-JWT-NONE"])
    assert twin is not None
    chosen = [OWN[name] for name in (*STOCK_FAILS, *STOCK_PASSES) if "@" not in name]
    results = _against_stock([*chosen, twin], tmp_path)
    failed = {name for name, result in results.items() if result.failures}
    assert failed == set(STOCK_FAILS), "\n".join(str(results[name]) for name in failed ^ set(STOCK_FAILS))


def test_the_runner_fails_what_a_naive_login_gets_wrong(tmp_path: Path) -> None:
    """Against a gateway with naive logins every attack on logins is seen to succeed, and what works is seen to work."""
    chosen = [case for case in OWN.values() if case.kind == "login" and "WEBSOCKET" not in case.id]
    results = _against(naive.launch, chosen, tmp_path)
    passed = {name for name, result in results.items() if not result.failures}
    assert passed == NAIVE_PASSES, "\n".join(str(results[name]) for name in passed ^ NAIVE_PASSES)
    unsaid = [name for name, words in NAIVE_SAYS.items() if words not in str(results[name])]
    assert not unsaid, "\n".join(str(results[name]) for name in unsaid)


@pytest.mark.skipif(
    not SHARED_FILE.is_file(), reason="the shared observations are not beside this repository"
)
def test_the_runner_observes_what_was_observed_before(tmp_path: Path) -> None:
    """For each shared case with a recorded answer of plain Envoy, the runner gets that answer."""
    observed = [case for case in load(SHARED_FILE) if case.observed_stock]
    recorded = list(_against_stock(observed, tmp_path).values())
    differences = [
        f"{result.case.observed_stock!r} was observed\n{result}"
        for result in recorded
        if not _as_observed(result)
    ]
    assert recorded, "the shared file holds no observations"
    assert not differences, "\n".join(differences)


def _as_observed(result: Result) -> bool:
    observed, attempt = result.case.observed_stock, result.attempts[0]
    said, targets = attempt.answer.said, [arrival.target for arrival in attempt.arrivals]
    sees = any("application sees" in failure for failure in result.failures)
    if observed == "connection closed or stream reset":
        return said in ("RST_STREAM", "GOAWAY", "connection closed")
    path = re.search(r"reached upstream as ([^,]+)", observed)
    checks = [
        str(said) == re.split(r"[ ,]", observed)[0],
        path is None or targets == [path[1]],
        "client value reached" not in observed or sees,
        "client value removed" not in observed or not sees,
    ]
    if not result.case.request.raw and not result.case.header_block and observed not in ("200",):
        checks.append(bool(targets) == ("reached upstream" in observed))
    return all(checks)


# --- Reading --------------------------------------------------------------------------------------------------


def _entry(**changes: object) -> Mapping[str, object]:
    entry = {
        "id": "X",
        "class": "path",
        "tier": "must",
        "description": "a case",
        "request": {"method": "GET", "path": "/x"},
        "token": {"present": False},
        "policy": "R-PUBLIC",
        "expected": [200],
        "must_not": {"reach_upstream": True},
    }
    return entry | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"must_not": {"reach_upstraem": True}},
        {"must_not": {"upstream_sees_header": "x-user-id"}},
        {"surprise": 1},
        {"expected": []},
        {"expected": ["reset"]},
        {"tier": "may"},
        {"fixture": "Redis slow"},
        {"request": {"method": "GET"}},
        {"request": {"method": "GET", "path": "/x", "raw": "GET"}},
        {"token": {"present": True, "sign": {"algorithm": "RS256"}}},
        {"flow": "somebody logs in"},
        {"flow": "fake IdP", "description": "fake IdP: something new"},
        {"idp": {"fault": "500", "delay": 3}},
        {"assert_state": {"session_lives": True}},
        {"assert_idp": {"tokens": 1}},
    ],
    ids=str,
)
def test_a_case_that_is_not_understood_is_refused(changes: Mapping[str, object]) -> None:
    """A key or value that the runner would have to skip is an error."""
    with pytest.raises(CaseError):
        read(_entry(**changes), "cases.yaml")


# --- Tokens ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mint() -> Mint:
    """Tokens of an issuer that does not listen."""
    return Mint(keys=Keys(), issuer="http://idp.test/realms/demo", canary_port=9)


def test_expressions_of_the_token_language() -> None:
    """Times, repetitions and raw JSON are computed; other text stands for itself."""
    assert expression("a*5") == "aaaaa"
    assert expression("nest:2") == "[[]]"
    now = expression("now")
    assert isinstance(now, int)
    assert abs(int(str(expression("str:now+300"))) - now - 300) <= 1
    assert abs(int(expression("(now-3600)*1000") or 0) // 1000 - now + 3600) <= 1
    assert expression("nowhere") is None
    assert dumped({"exp": expression("raw:1e400"), "a": ["ž"]}) == '{"exp":1e400,"a":["ž"]}'


def test_changes_of_the_text_keep_what_they_do_not_change(mint: Mint) -> None:
    """A changed last character decodes to the same signature; a swapped payload does not verify."""
    token = mint.token({"base": "user"})
    assert mutated(token, "noncanonical_last_char")[:-1] == token[:-1]
    assert mutated(token, "noncanonical_last_char") != token
    head, payload, signature = mutated(token, "swap_payload:sub=root").split(".")
    assert [head, signature] == [token.split(".")[0], token.split(".")[2]]
    assert payload != token.split(".")[1]
    with pytest.raises(CaseError):
        mutated(token, "empty_sig")


def test_a_placeholder_without_meaning_is_refused(mint: Mint) -> None:
    """A placeholder is never sent as text."""
    assert mint.fill("{{urlencode:a/b}} {{user.sub}} {{canary_port}}", str) == "a%2Fb u-2 9"
    with pytest.raises(CaseError):
        mint.fill("{{session:expired}}", str)


def test_the_issuer_has_a_realm_for_each_fixture() -> None:
    """Each variant of the key set belongs to an issuer of its own."""
    issuer = Issuer(Keys())
    assert issuer.of("") != issuer.of("jwks_without_alg")


# --- Bytes ----------------------------------------------------------------------------------------------------


def test_header_fields_go_out_as_literals() -> None:
    """RFC 7541 6.2.2: literal without indexing, new name, no Huffman; lengths by 5.1."""
    assert header_block([("a", "b\r\n")]) == b"\x00\x01a\x03b\r\n"
    assert header_block([("a", "b" * 127)])[:5] == b"\x00\x01a\x7f\x00"
    assert header_block([("a", "b" * 1337)])[:6] == b"\x00\x01a\x7f\xba\x09"
    assert len(headers_frames(1, [("a", "b" * 40000)], end_stream=True)) == 40000 + 7 + 3 * 9


def test_statuses_are_read_in_each_form() -> None:
    """RFC 7541 appendix A (indexed) and appendix B (Huffman digits), plain text too."""
    assert status_of(b"\x8c") == 400
    assert status_of(b"\x20\x88") == 200
    assert status_of(b"\x48\x03403rest") == 403
    assert status_of(b"\x08\x82\x64\x02") == 302  # RFC 7541 C.6.1, there with indexing


def test_headers_of_http2_answers_are_read() -> None:
    """RFC 7541 C.6.1 and C.6.3: indexed names, literals and Huffman text, after a change of the table's size, too."""
    block = bytes.fromhex("20488264025885aec3771a4b6e919d29ad171863c78f0b97c8e9ae82ae43d3")
    assert list(fields_of(block)) == [
        (":status", "302"),
        ("cache-control", "private"),
        ("location", "https://www.example.com"),
    ]
    cookie = "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    assert unhuffed(bytes.fromhex(cookie)) == "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
    with pytest.raises(ValueError, match="no code"):
        unhuffed(bytes.fromhex("fffffffc"))


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("/x", "gw.test"),
        ("x", "gw.test"),
        ("https://gw.test/x", "gw.test"),
        ("//evil.test/x", "evil.test"),
        ("/\\evil.test", "evil.test"),
        ("\\\\evil.test", "evil.test"),
        ("/\t/evil.test", "evil.test"),
        (" \x01https:evil.test", "evil.test"),
        ("HTTPS:///evil.test", "evil.test"),
        ("https://gw.test@evil.test:443?gw.test", "evil.test:443"),
        ("https://evil.test#gw.test", "evil.test"),
        ("java\nscript:alert(1)", "(javascript:)"),
    ],
)
def test_an_address_is_read_as_browsers_read_it(location: str, host: str) -> None:
    """Tabs, backslashes and missing slashes lead to the host to which they lead a browser."""
    assert host_seen(location) == host


def test_folding_makes_aliases_equal() -> None:
    """Every spelling that a CGI variable could stand for is one name."""
    assert {folded(name) for name in ("X-User-Id", "x_user_id", "X.User.Id", "X!User^Id")} == {"x-user-id"}


@pytest.mark.parametrize(
    "head",
    [
        b"GET  /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nA: b\nB: c\r\n\r\n",
        b"GET /x HTTP/1.1\r\n B: c\r\n\r\n",
        b"GET /x HTTP/1.0\r\n\r\n",
    ],
)
def test_the_application_takes_only_plain_requests(head: bytes) -> None:
    """What two parsers could read differently is malformed, never quietly repaired."""
    with pytest.raises(Malformed):
        parsed(head)


def test_an_answer_is_searched_for_tokens_everywhere() -> None:
    """Header names, values, body and what follows are all looked at."""
    answer = Answer(status=200, headers=(("x-echo", "abc.def"),), body=b"body", rest=b"rest")
    assert answer.contains("c.d") and answer.contains("bod") and answer.contains("res")
    assert not answer.contains("token")
