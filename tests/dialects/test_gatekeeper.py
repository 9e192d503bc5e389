"""The gatekeeper dialect, beside its golden cases: the table of keys, single values, the two readings, bad input."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.golden import golden
from wardgate import dialects
from wardgate.decision import Outcome, Request, decide
from wardgate.dialects import Options, Reading, _login
from wardgate.dialects._gatekeeper_claims import whole
from wardgate.dialects._gatekeeper_headers import header_name
from wardgate.dialects._gatekeeper_keys import GatekeeperReading, KeyType, Status, environment_name
from wardgate.dialects._gatekeeper_settings import Mistyped, duration, flag
from wardgate.dialects.gatekeeper import CODES, DIALECT, KEYS, RESOURCE_KEYS
from wardgate.document import Document, read
from wardgate.patterns import matches
from wardgate.policy import (
    ClaimValue,
    Introspection,
    Kind,
    Policy,
    Public,
    RawToken,
    SameSite,
    Session,
    Source,
)
from wardgate.principal import Anonymous, Credential, Principal, Rejected
from wardgate.problems import errors

CASES = {case.name: case for case in golden.cases() if case.dialect == "gatekeeper"}
BY_NAME = {key.name: key for key in KEYS}
BASE = {
    "discovery-url": "https://id.example.com/realms/main",
    "client-id": "shop",
    "listen": "127.0.0.1:3000",
    "upstream-url": "http://shop.internal:8080",
}


def reading(values: dict[str, object], **options: object) -> Reading:
    """What becomes of the base configuration with these keys on top."""
    document = Document(file="gatekeeper.yaml", data={**BASE, **values})
    return DIALECT.read([document], Options(**options))  # type: ignore[arg-type]


def policy(values: dict[str, object], **options: object) -> Policy:
    found = reading(values, **options)
    assert found.policy is not None, found.problems
    return found.policy


# --- The table of keys ------------------------------------------------------------------------------------------------


def test_the_table_has_every_key_of_the_current_version() -> None:
    """Each of gogatekeeper 4.11's 164 keys is in the table, with its type."""
    kinds = {"string": {"text", "file", "secret"}, "bool": {"boolean"}, "int": {"number"}, "map": {"mapping"}}
    kinds |= {"list": {"list", "resources"}, "duration": {"duration"}}
    text = Path(__file__).with_name("gatekeeper-4.11-keys.txt").read_text("utf-8")
    wanted = dict(line.split() for line in text.splitlines())
    missing = [name for name in wanted if name not in BY_NAME]
    mistyped = [name for name, kind in wanted.items() if BY_NAME[name].type.value not in kinds[kind]]
    assert (len(wanted), missing, mistyped) == (164, [], [])


def test_names_are_unique_and_each_key_has_a_meaning() -> None:
    """The reference is printed from the table: every key says what it does, and if not honoured what to do."""
    assert len(BY_NAME) == len(KEYS)
    for key in (*KEYS, *RESOURCE_KEYS):
        assert key.meaning.endswith("."), key.name
        assert key.hint or key.status is Status.HONOURED, key.name


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_is_read_in_a_golden_case(key: object) -> None:
    """No key is without a case that shows what becomes of it."""
    name = re.escape(str(getattr(key, "name", "")))
    inputs = [path.read_text("utf-8") for case in CASES.values() for path in case.folder.glob("*.yaml")]
    assert any(re.search(rf"^{name}:", text, re.MULTILINE) for text in inputs)


def test_every_code_is_shown_in_a_golden_case() -> None:
    """Each problem code of the dialect is documented, and printed in at least one case."""
    printed: set[str] = set()
    for case in CASES.values():
        printed |= set(re.findall(r"\[([a-z0-9-]+)\]$", golden.expected(case)["problems.txt"], re.MULTILINE))
    elsewhere = {"variable-unset", "endpoint-clash", "header-name", "header-reserved", "cors-any-origin"}
    elsewhere |= {"port", "forward-auth-trust", "trusted-proxies", *_login.CODES}
    assert CODES.keys() - printed == set()
    assert printed - CODES.keys() == elsewhere


def test_whatever_is_not_honoured_is_said() -> None:
    """Every key of S0's three files that is not honoured is named in a problem or a note."""
    case = CASES["s0-gatekeeper-all-three"]
    said = golden.expected(case)["problems.txt"]
    for path in sorted(case.folder.glob("*.yaml")):
        for name, value in read(path.read_text("utf-8"), path.name).data.items():
            key = BY_NAME[name]
            honoured = key.status is Status.HONOURED or key.reading is GatekeeperReading.PRODUCT
            assert honoured or key.needs_no_word(value) or f" {name}: " in said, name


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("listen", "PROXY_LISTEN"),
        ("tls-cert", "PROXY_TLS_CERTIFICATE"),
        ("tls-admin-client-certificate", "PROXY_TLS_ADMIN_CLIENT_CA_CERTIFICATE"),
        ("enable-refresh-tokens", "PROXY_ENABLE_REFRESH_TOKEN"),
        ("filter-frame-deny", "PROXY_ENABLE_FRAME_DENY"),
        ("skip-access-token-clientid-check", "PROXY_SKIP_ACCESS_TOKEN_CLIENT_ID_CHECK"),
        ("resources", None),
        ("headers", None),
        ("scopes", None),
    ],
)
def test_environment_names(name: str, variable: str | None) -> None:
    """Variables are named as gatekeeper names them, its exceptions too; lists and mappings have none."""
    assert environment_name(BY_NAME[name]) == variable


def test_both_spellings_of_the_admin_ca() -> None:
    """The YAML key and the flag's spelling are one key, and each is refused: metrics would go to anyone."""
    for name in ("tls-admin-client-certificate", "tls-admin-client-ca-certificate"):
        assert [problem.code for problem in errors(reading({name: "ca.pem"}).problems)] == ["unsupported"]


# --- Recognition --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["s0-gatekeeper-all-three", "minimal", "old-keys", "lossy", "unknown-key"])
def test_recognizes_its_own(name: str) -> None:
    """Each document is recognized by itself, so that one is enough to find the dialect; no other dialect fits."""
    for path in CASES[name].folder.glob("*.yaml"):
        document = read(path.read_bytes(), path.name)
        assert dialects.choose([document]).name == "gatekeeper"


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "listen",
        {},
        {"listen": "127.0.0.1:3000"},
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"listen": ":3000"}},
        {"listen": "127.0.0.1:3000", "routes": [], "client-id": "shop"},
        {"resources": [{"name": "x"}]},
        {"client-id": "shop", "a": 1, "b": 2, "c": 3},
    ],
)
def test_recognizes_nothing_else(data: object) -> None:
    """Kubernetes objects, the native format, lists and files of other keys are not gatekeeper's."""
    assert not DIALECT.recognizes(Document(file="x.yaml", data=data))


# --- Values -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1h30m", 5400),
        ("720h", 2592000),
        ("1.5h", 5400),
        ("100ms", 0.1),
        (30_000_000_000, 30),
        (0, 0),
    ],
)
def test_durations_are_gos(text: object, seconds: float) -> None:
    """Go's form and, as there, bare nanoseconds."""
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["30", "s", "30 s", "-5s", "1d", "", 30, -1, 1.5, True, None, [], "1h-1m", "٣s"]
)
def test_other_durations_are_refused(text: object) -> None:
    """A number that was meant as seconds is 30 nanoseconds in gatekeeper: better said than done."""
    with pytest.raises(Mistyped):
        duration(text)


@pytest.mark.parametrize(
    ("text", "truth"), [("yes", True), ("T", True), ("off", False), (True, True), ("0", False)]
)
def test_flags(text: object, truth: bool) -> None:
    """The words that Go and YAML 1.1 take for a boolean."""
    assert flag(text) is truth


@pytest.mark.parametrize(
    ("claim", "name"),
    [("given_name", "Given-Name"), ("sub", "Sub"), ("a.b/c", "A-B-C"), ("X-User", "X-User")],
)
def test_names_of_claim_headers(claim: str, name: str) -> None:
    """add-claims makes a header's name from a claim's as gatekeeper does."""
    assert header_name(claim) == name


@pytest.mark.parametrize(
    "key",
    [
        "0123456789abcdef",
        "0123456789abcdef01234567",
        "0123456789abcdef0123456789abcdef",
        "MDEyMzQ1Njc4OWFiY2RlZg==",
        "MDEyMzQ1Njc4OWFiY2RlZg",
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "-_-_-_-_-_-_-_-_-_-_-w==",
    ],
)
def test_encryption_keys(key: str) -> None:
    """Base64, standard or URL-safe, padded or not, of 16, 24 or 32 bytes, or as many characters."""
    session = policy({"encryption-key": key}).session
    assert session is not None
    assert session.encryption_key is not None
    assert session.encryption_key.reveal() == key


@pytest.mark.parametrize("key", ["never-printed", "never-printed" * 5, "bmV2ZXItcHJpbnRlZA==", "é" * 10])
def test_other_encryption_keys_are_refused_and_not_printed(key: str) -> None:
    """Any other length is a problem that says how long the key is, and not what it is."""
    problems = errors(reading({"encryption-key": key}).problems)
    assert [problem.code for problem in problems] == ["encryption-key"]
    assert key not in "".join(map(str, problems))


def test_settings_of_lists_and_mappings() -> None:
    """--set reads lists and mappings as YAML, other keys as text: 0123 stays 0123."""
    given = {"resources": [{"uri": "/x", "roles": ["a"]}], "headers": {"X-One": "1"}}
    pairs = (
        ("resources", "[]"),
        ("headers", "{X-Two: b}"),
        ("cookie-access-name", "0123"),
        ("scopes", "email"),
    )
    found = policy(given, settings=pairs)
    assert [route.name for _, _, route in found.routes()] == ["default-deny"]
    assert found.upstream_headers == (("X-Two", "b"),)
    assert found.session is not None
    assert (found.session.cookie_name, found.session.scopes) == ("0123", ("openid", "email"))


def test_listen_option_wins() -> None:
    """--set listen=HOST:PORT, as every dialect has it, is above the file and the environment."""
    found = policy({}, listen="127.0.0.1:0", environ={"PROXY_LISTEN": "127.0.0.1:1"})
    assert str(found.listeners[0].address) == "127.0.0.1:0"


# --- match-claims -------------------------------------------------------------------------------------------------------

PATTERNS = st.sampled_from(
    [
        "a",
        "^a",
        "a$",
        "^a$",
        "^$",
        "",
        "a|b",
        "^a|b$",
        "^(a|b)$",
        "^(?:ab)+$",
        "(^|,)a(,|$)",
        "[a|b]",
        "[^a]$",
        "a\\|b",
        "a\\$",
        "^a\\\\$",
        "(?i)^A$",
        "(?i)b|^A",
        "(?s)a.b",
        "(?m)^b$",
        "a{2,3}",
        "^.*b$",
        "\\d+",
        "[]a]b",
    ]
)


@settings(max_examples=2000)
@given(PATTERNS, st.text(alphabet="aAbB,|$\\]12", max_size=6) | st.sampled_from(["a\nb", "b\na"]))
def test_a_search_becomes_a_match_of_the_whole(pattern: str, text: str) -> None:
    """The policy's pattern matches a whole text exactly when gatekeeper finds its pattern in the text."""
    found = whole(pattern)
    assert found is not None
    assert matches(found, text) == bool(re.search(pattern, text))


@pytest.mark.parametrize(
    ("pattern", "text", "other"),
    [
        ("[[:alpha:]]", "a", "1"),
        ("[a[b]]", "[]", "b"),
        ("^\\pL$", "é", "1"),
        ("\\Qa.b\\E", "xa.b", "axb"),
        ("a\\z", "ba", "ab"),
        ("\\x{41}", "A", "a"),
        ("(?U)^a+$", "aa", "b"),
        ("^a(?i)b$", "aB", "AB"),
        ("(?-i:a)", "a", "A"),
        ("(?P<n>a)", "a", "b"),
    ],
)
def test_what_go_has_is_taken(pattern: str, text: str, other: str) -> None:
    """Whatever Python would make of it."""
    found = whole(pattern)
    assert found is not None
    assert matches(found, text)
    assert not matches(found, other)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?!x)a",
        "(?=a)",
        "(?<=a)b",
        "(?<!a)b",
        "(?>a)",
        "(a)\\1",
        "(?P<n>a)(?P=n)",
        "(a)?(?(1)b)",
        "(?#note)a",
        "a*+",
        "a++",
        "a{2}+",
        "a\\Z",
        "a\\G",
        "a{1001}",
        "(",
        "a**",
        "*a",
        "a)(b",
        "\\C",
    ],
)
def test_patterns_that_go_does_not_have_are_refused(pattern: str) -> None:
    """Nothing is enforced instead of something else."""
    assert whole(pattern) is None
    assert [problem.code for problem in errors(reading({"match-claims": {"a": pattern}}).problems)] == [
        "claim-pattern"
    ]


# --- What S0 says, decided ----------------------------------------------------------------------------------------------


def caller(
    *groups: str, realm: tuple[str, ...] = (), client: dict[str, list[str]] | None = None
) -> Principal:
    claims = {
        "iss": "https://auth.improwised.com/realms/improwised-production",
        "aud": ["improwised-gatekeeper-client", "account"],
        "exp": 1694441234,
        "sub": "user-uuid",
        "email": "john.doe@improwised.com",
        "preferred_username": "john.doe",
        "groups": list(groups),
        "realm_access": {"roles": list(realm)},
        "resource_access": {name: {"roles": roles} for name, roles in (client or {}).items()},
    }
    return Principal(provider="keycloak", kind=Kind.BEARER, claims=claims, token="a.b.c")


USER, ADMIN = caller("improwised:user", "improwised:developer"), caller("improwised:admin")
BAD = Rejected(reason="token-expired")
S0_TABLE: list[tuple[str, str, Credential, int]] = [
    ("GET", "/health", Anonymous(), 200),
    ("GET", "/metrics", BAD, 200),
    ("GET", "/api/v1/public/x", Anonymous(), 200),
    ("DELETE", "/api/v1/public/x", BAD, 200),
    ("GET", "/api/v1/user/x", Anonymous(), 401),
    ("GET", "/api/v1/user/x", BAD, 401),
    ("GET", "/api/v1/user/x", USER, 200),
    ("GET", "/api/v1/user/x", ADMIN, 200),
    ("DELETE", "/api/v1/user/x", USER, 403),
    ("GET", "/api/v1/user/x", caller("improwised:developer"), 403),
    ("GET", "/api/v1/user", Anonymous(), 401),
    ("GET", "/api/v1/admin/x", USER, 403),
    ("PUT", "/api/v1/admin/x", ADMIN, 200),
    ("GET", "/api/v1/admin/x", caller(client={"improwised": ["super-admin"]}), 200),
    ("GET", "/api/v1/admin/x", caller(realm=("improwised:admin",)), 200),
    ("GET", "/api/v1/admin/x", caller(realm=("admin",)), 403),
    ("GET", "/api/v1/admin", USER, 403),
    ("POST", "/api/v1/upload/x", USER, 200),
    ("POST", "/api/v1/upload/x", ADMIN, 403),
    ("GET", "/api/v1/upload/x", USER, 403),
    ("GET", "/unlisted", USER, 200),
    ("GET", "/unlisted", caller(), 200),
    ("GET", "/unlisted", Anonymous(), 401),
    ("GET", "/unlisted", BAD, 401),
]


@pytest.mark.parametrize(("method", "path", "who", "status"), S0_TABLE)
def test_s0(method: str, path: str, who: Credential, status: int) -> None:
    """S0's file and its extension, as https from a trusted proxy: who may what, from S0's text."""
    found = golden.read(CASES["s0-gatekeeper-extra"]).policy
    assert found is not None
    request = Request(
        method=method, target=path, host="api.improwised.com", trusted_peer=True, forwarded_proto="https"
    )
    decision = decide(found, request, who)
    assert (200 if decision.outcome is Outcome.ALLOW else decision.status) == status


def test_s0_identity() -> None:
    """The application sees exactly S0's eight headers."""
    found = golden.read(CASES["s0-gatekeeper-extra"]).policy
    assert found is not None
    names = {
        tuple(header.name for header in route.identity) for _, _, route in found.routes() if route.identity
    }
    assert names == {
        (
            "X-Auth-Audience",
            "X-Auth-Email",
            "X-Auth-ExpiresIn",
            "X-Auth-Groups",
            "X-Auth-Roles",
            "X-Auth-Subject",
            "X-Auth-Token",
            "X-Auth-Userid",
        )
    }


def test_s0_as_it_is_written_takes_no_bearer() -> None:
    """S0's extension says skip-authorization-header-identity: then every bearer is 401."""
    found = golden.read(CASES["s0-gatekeeper-all-three"]).policy
    assert found is not None
    for _, _, route in found.routes():
        assert isinstance(route.access, Public) or route.credentials.kinds == {Kind.SESSION}


@pytest.mark.parametrize(
    ("flags", "status"),
    [({}, 403), ({"gatekeeper-reading": "s0"}, 200), ({"gatekeeper-reading": "product"}, 403)],
)
def test_one_of_two_roles(flags: dict[str, str], status: int) -> None:
    """One of two roles is enough under the s0 reading, and not under the product's."""
    found = policy({"resources": [{"uri": "/x", "roles": ["a:one", "two"]}]}, flags=flags)
    decision = decide(found, Request(method="GET", target="/x", host="shop"), caller(client={"a": ["one"]}))
    assert (decision.outcome is Outcome.ALLOW) == (status == 200)


@pytest.mark.parametrize(
    "values",
    [
        {"post-logout-redirect-url": "https://www.example.com"},
        {"enable-authorization-cookie": False},
        {"token-validation-leeway": "10s"},
        {"same-site-cookie": "strict"},
        {"resources": [{"uri": "/x", "headers": {"Content-Length": "5"}}]},
    ],
)
def test_what_only_s0_has_decides_the_reading(values: dict[str, object]) -> None:
    """A key or form that no real gatekeeper takes means that the file is S0's; a note says which it was."""
    note = reading(values).notes[0]
    assert note.startswith("read as s0: ")
    assert next(iter(values)) in note


# --- Logins -------------------------------------------------------------------------------------------------------------


def session(values: dict[str, object], **options: object) -> Session:
    found = policy(values, **options).session
    assert found is not None
    return found


S0, PRODUCT = {"gatekeeper-reading": "s0"}, {"gatekeeper-reading": "product"}
ENDS = {"post-logout-redirect-url": "https://www.example.com"}


@pytest.mark.parametrize(
    ("values", "flags", "refresh", "at_issuer"),
    [
        ({}, PRODUCT, False, False),
        ({}, S0, True, False),
        (ENDS, PRODUCT, False, False),
        (ENDS, S0, True, True),
        ({**ENDS, "enable-refresh-tokens": False, "enable-logout-redirect": False}, S0, False, False),
        (
            {
                "enable-refresh-tokens": True,
                "encryption-key": "0123456789abcdef",
                "enable-logout-redirect": True,
            },
            PRODUCT,
            True,
            True,
        ),
    ],
)
def test_refreshing_and_logging_out(
    values: dict[str, object], flags: dict[str, str], refresh: bool, at_issuer: bool
) -> None:
    """Under the s0 reading both are on where the file is silent; what it says holds under either."""
    found = session(values, flags=flags)
    assert (found.refresh, found.logout_at_issuer) == (refresh, at_issuer)
    assert found.logout_by_get


def test_the_login_of_every_token_is_checked() -> None:
    """enable-idp-session-check asks the issuer about every token and every session."""
    found = policy({"enable-idp-session-check": True, "client-secret": "s"})
    assert [provider.introspection for provider in found.providers] == [Introspection.ALWAYS]
    assert [provider.introspection for provider in policy({}).providers] == [Introspection.OFF]


@pytest.mark.parametrize(
    ("method", "meant"),
    [(None, "basic"), ("secret-basic", "basic"), ("secret-body", "post")],
)
def test_how_the_client_shows_its_secret(method: str | None, meant: str) -> None:
    """client-auth-method of old versions; basic when it is absent."""
    found = policy({"client-auth-method": method} if method else {})
    assert [provider.client_authentication.value for provider in found.providers] == [meant]


@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ((), Source.ACCESS),
        (("enable-id-token-claims",), Source.ID),
        (("enable-user-info-claims",), Source.USERINFO),
        (("enable-id-token-claims", "enable-user-info-claims"), Source.USERINFO),
    ],
)
def test_where_added_claims_are_read(keys: tuple[str, ...], source: Source) -> None:
    """What wins in gatekeeper is the one source here; gatekeeper's own headers are of the access token always."""
    values = {"add-claims": ["tenant"], "enable-id-token-cookie": True, **dict.fromkeys(keys, True)}
    route = next(route for _, _, route in policy(values).routes())
    found = {header.name: header.value for header in route.identity}
    assert found["X-Auth-Tenant"] == ClaimValue(path=("tenant",), source=source)
    assert found["X-Auth-Email"] == ClaimValue(path=("email",))


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ({}, {}),
        ({"enable-token-header": True}, {"X-Auth-Token": RawToken()}),
        ({"enable-token-header": False}, {}),
        ({"response-headers": {"X-Id": "id_token"}}, {"X-Id": RawToken(source=Source.ID)}),
        (
            {"response-headers": {"x-auth-token": "access_token"}, "enable-token-header": True},
            {"x-auth-token": RawToken()},
        ),
    ],
)
def test_s0_tokens_in_headers(values: dict[str, object], tokens: dict[str, RawToken]) -> None:
    """S0's response-headers name the tokens that are passed on; enable-token-header adds its own where it is written."""
    found = policy({"response-headers": {"X-Auth-Email": "email"}, **values}, flags=S0)
    route = next(route for _, _, route in found.routes())
    assert {h.name: h.value for h in route.identity if isinstance(h.value, RawToken)} == tokens


def test_s0_in_full() -> None:
    """S0's three files: sessions only, kept in Redis for 15 minutes, told in headers, ended at the issuer too."""
    found = golden.read(CASES["s0-gatekeeper-all-three"]).policy
    assert found is not None
    assert found.session is not None
    assert found.session.cookie == "improwised-access-token"
    assert found.session.idle == timedelta(minutes=15)
    assert found.session.same_site is SameSite.STRICT
    assert found.session.secure
    assert not found.session.persistent
    assert found.session.store_url is not None
    assert found.session.refresh
    assert found.session.logout_at_issuer
    assert found.session.forward_authorization


# --- Anything at all ----------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "/x",
        "/x/*",
        "/*",
        "a:b",
        "https://h/realms/r",
        "http://u:1",
        "http://[",
        "https://h:99999",
        "[::1]:5",
        ":1",
        "10h",
        "true",
        "!a|b$",
        "(?i)x",
        "X-A:1",
        "uri=/x|roles=a",
        "*",
        "\x00",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ANYTHING = (
    LEAVES
    | st.lists(LEAVES | st.lists(LEAVES, max_size=2), max_size=3)
    | st.dictionaries(TEXTS, LEAVES, max_size=3)
)
LIKELY = {
    KeyType.FLAG: st.booleans(),
    KeyType.NUMBER: st.integers(0, 10**9),
    KeyType.DURATION: st.sampled_from(["1s", "10h", "5m"]),
    KeyType.TEXTS: st.lists(TEXTS, max_size=3),
    KeyType.PAIRS: st.dictionaries(TEXTS, TEXTS, max_size=3),
}
FIELDS = st.dictionaries(st.sampled_from([key.name for key in RESOURCE_KEYS]), ANYTHING, max_size=5)
ENTRIES = st.lists(ANYTHING | FIELDS | FIELDS.map(lambda fields: {**fields, "uri": "/x"}), max_size=4)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, object]:
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=6))
    values = {key.name: draw(LIKELY.get(key.type, TEXTS) | ANYTHING) for key in keys}
    values |= {"resources": draw(ENTRIES)} if draw(st.booleans()) else {}
    return {**BASE, **values} if draw(st.booleans()) else values


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    configurations(),
    st.booleans(),
    st.lists(
        st.tuples(TEXTS | st.sampled_from([*BY_NAME, "resources[0].uri", "headers.X"]), TEXTS), max_size=2
    ),
    st.sampled_from([{}, {"gatekeeper-reading": "s0"}, {"gatekeeper-reading": "product"}]),
)
def test_reading_never_raises(
    data: dict[str, object], insecure: bool, sets: list[tuple[str, str]], flags: dict[str, str]
) -> None:
    """Whatever a person wrote ends in a policy or in problems that say so, never in both or in neither."""
    document = Document(file="gatekeeper.yaml", data=data)
    found = DIALECT.read([document], Options(allow_insecure=insecure, settings=tuple(sets), flags=flags))
    assert (found.policy is None) == bool(errors(found.problems))
    assert all(str(problem) for problem in found.problems)
