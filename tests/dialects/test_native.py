"""The native format: what is read, what is written, and that the two are one."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.dialects.json_schema import faults
from tests.golden import golden
from tests.strategies import ENVIRON, PLAIN, WILD, policies
from wardgate import dialects, document, policy
from wardgate.dialects import Options, Reading, native
from wardgate.dialects._native_schema import json_schema
from wardgate.dialects._native_values import duration as read_duration
from wardgate.dialects._native_values import size as read_size
from wardgate.dialects._native_write_rules import duration, size
from wardgate.policy import Listener, Policy, Secret
from wardgate.problems import Severity, errors

PUBLISHED = Path(native.__file__).parent.parent / "wardgate.schema.json"
EXAMPLES = int(os.environ.get("NATIVE_EXAMPLES", "150"))
CASES = {case.name: case for case in golden.cases() if case.dialect == "native"}

MINIMAL = """\
listen: 0.0.0.0:3000
provider:
  issuer: https://auth.example.com/realms/shop
  audience: shop-api
upstream: http://app:8080
routes:
"""


def read(text: str, environ: Mapping[str, str] = ENVIRON, **options: Any) -> Reading:
    return native.DIALECT.read([document.read(text, "w.yaml", environ)], Options(**options))


def read_policy(text: str, environ: Mapping[str, str] = ENVIRON) -> Policy:
    reading = read(text, environ, allow_insecure=True)
    assert not errors(reading.problems), "\n".join(map(str, reading.problems)) + "\n" + text
    assert reading.policy is not None
    return reading.policy


def one_route(text: str) -> policy.Route:
    return read_policy(f"{MINIMAL}  - {text}\n").listeners[0].hosts[0].routes[0]


def rules(found: Policy) -> list[str]:
    """The routes as text: unlike equality, it tells `1` from `true`."""
    return [repr((route.name, route.access, route.identity)) for _, _, route in found.routes()]


# --- Reading what was written -----------------------------------------------------------------------------------------


def assert_written_is_read(found: Policy, environ: Mapping[str, str] = ENVIRON) -> None:
    written = native.write(found)
    again = read_policy(written, environ)
    assert again == found, written
    assert rules(again) == rules(found), written
    assert native.write(again) == written


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(WILD))
def test_what_is_written_is_read_back(found: Policy) -> None:
    """read(write(policy)) == policy, for every field, every kind of rule and every text."""
    assert_written_is_read(found)


@settings(max_examples=max(EXAMPLES // 5, 1), deadline=None, suppress_health_check=list(HealthCheck))
@given(policies(PLAIN))
def test_the_schema_accepts_what_is_written(found: Policy) -> None:
    """An editor finds nothing to complain of in a policy that `show` printed."""
    data = document.read(native.write(found), "w", None).data
    assert list(faults(data, json_schema(), json_schema())) == []


def readable() -> list[golden.Case]:
    return [
        case
        for case in golden.cases()
        if (case.folder / "policy.txt").exists() and case.dialect not in native.NOT_SHOWN
    ]


@pytest.mark.parametrize("case", readable(), ids=str)
def test_policies_of_every_format_can_be_written(case: golden.Case) -> None:
    """A policy that was read from another format is printed as native YAML, and is the same policy."""
    found = golden.read(case).policy
    assert found is not None
    environ = {secret.reference[2:-1]: secret.reveal() for secret in secrets(found)}
    assert_written_is_read(found, environ)


def secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from secrets(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from secrets(getattr(value, field.name))


def test_a_file_that_a_person_wrote_is_written_the_same() -> None:
    """The short forms are those that people use: a small file comes back letter by letter."""
    text = MINIMAL + (
        "  - path: /health\n"
        "    public: true\n"
        "  - path: /api/admin/**\n"
        "    methods: [GET, POST]\n"
        "    roles: [admin]\n"
        "  - path: /api/**\n"
        "    allow: {any: [{role: user}, {claim: tenant, is: acme}]}\n"
        "  - path: /me/*\n"
        "    allow: authenticated\n"
        "    body-limit: 50MB\n"
        "  - path: /old*\n"
        "    deny: retired\n"
    )
    assert native.write(read_policy(text)) == text


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a"), ("", "a", "a"), ("<<", "<<"), ("${HOME}",)])
def test_names_and_values(names: tuple[str, ...]) -> None:
    """Names stand as keys, or in a list where one is there twice; either takes any name."""
    values = tuple((name, f"value {number}") for number, name in enumerate(names))
    found = read_policy(MINIMAL + "  []\n")
    assert_written_is_read(dataclasses.replace(found, session=policy.Session(page_values=values)))


def test_every_field_of_the_model_is_reached() -> None:
    """Two cases set every field of every value of the model, so none can be forgotten here."""
    seen = set()
    for name in ("every-key", "sessions-in-cookies"):
        found = golden.read(CASES[name]).policy
        assert found is not None
        seen |= {(type(value).__name__, name) for value, name in changed_fields(found)}
    kinds = [
        kind
        for _, kind in inspect.getmembers(policy, inspect.isclass)
        if kind.__module__.startswith(policy.__name__ + ".")
    ]
    wanted = {
        (kind.__name__, field.name)
        for kind in kinds
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
    }
    unsaid = {(name, field) for name, field in wanted - seen if field not in ("where", "dialect")}
    assert unsaid == {
        ("Policy", "errors"),  # other values are of other dialects
        # of manifests, which `show` does not turn into wardgate.yaml
        *((kind, name) for kind in ("HeaderIs", "QueryIs") for name in ("name", "value")),
        *((kind, "how") for kind in ("HeaderIs", "QueryIs")),
        *(
            ("Route", name)
            for name in (
                *("matches", "hide_credential", "request_headers", "response_headers", "rewrite", "redirect"),
                *("cors", "mirrors", "attempt_timeout", "chosen_again"),
            )
        ),
        *(("HeaderEdits", name) for name in ("set", "add", "remove")),
        *(("NewPath", name) for name in ("text", "prefix")),
        *(("Rewrite", name) for name in ("host", "path")),
        *(("Redirect", name) for name in ("scheme", "host", "port", "path", "status")),
        ("Endpoint", "weight"),
        *(("HeldTls", name) for name in ("pairs", "minimum")),
        *(("KeyPair", name) for name in ("certificate", "key")),
        *(("Mirror", name) for name in ("upstream", "of_million")),
        ("ClaimPresent", "path"),
        ("ClientIn", "networks"),
        *(("RequestText", name) for name in ("part", "how", "value", "name")),
        ("Listener", "tells_hops"),
        *(("Provider", name) for name in ("login", "endpoints")),
        *(("Session", name) for name in ("login_patience", "token_lifetime")),
        *(
            ("Route", name)
            for name in ("api_keys", "basic_users", "cross_site", "rate_limits", "external", "direct")
        ),
        *(("ExternalAuth", f.name) for f in dataclasses.fields(policy.ExternalAuth)),
        *(("ApiKeys", name) for name in ("keys", "mode", "headers", "params", "cookies", "strip", "told")),
        *(("BasicUsers", name) for name in ("users", "told")),
        ("Credentials", "places"),
        ("TokenPlace", "providers"),
        *(("CrossSite", name) for name in ("origins", "by_metadata")),
        *(("RateLimit", name) for name in ("requests", "per", "burst")),
        *(("DirectAnswer", name) for name in ("status", "body", "kind", "tells_origin")),
        ("ClientTls", "ca_pem"),
        ("Route", "described_at"),
        *(("Login", name) for name in ("session", "callback", "logout")),
        ("Broken", "because"),
    }


def changed_fields(value: object) -> Iterator[tuple[object, str]]:
    """Every value of the model below `value` with its fields that are not at their defaults."""
    if isinstance(value, tuple):
        for item in value:
            yield from changed_fields(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            content = getattr(value, field.name)
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            if default is dataclasses.MISSING or content != default:
                yield value, field.name
            yield from changed_fields(content)


# --- The schema ---------------------------------------------------------------------------------------------------------


def test_the_published_schema_is_fresh() -> None:
    """`wardgate.schema.json` is what the code says; `make golden` writes it anew."""
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if golden.REWRITE:
        PUBLISHED.write_text(text, "utf-8")
    assert PUBLISHED.read_text("utf-8") == text


def test_every_key_of_the_schema_is_in_the_case_of_every_key() -> None:
    """No key of the format is without a case."""
    used = {"provider", "upstream", "listen", "routes", "name", "value"} | {
        key
        for path in CASES["every-key"].folder.glob("*.yaml")
        for key in keys(document.read(path.read_bytes(), "w").data)
    }
    described = {
        key for name in ("$defs",) for one in json_schema()[name].values() for key in one["properties"]
    }
    assert (described | set(json_schema()["properties"])) - used == set()


def keys(data: object) -> Iterator[str]:
    for key, value in (
        data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    ):
        if isinstance(key, str):
            yield key
        yield from keys(value)


def test_every_key_is_described() -> None:
    """Each key says in one line what it is: editors and the reference show it."""
    described = json_schema()
    bare = [
        f"{name}.{key}"
        for name, one in [("", described), *described["$defs"].items()]
        for key, value in one["properties"].items()
        if not value.get("description")
    ]
    assert bare == []


@pytest.mark.parametrize(
    "name", sorted(name for name, case in CASES.items() if (case.folder / "policy.txt").exists())
)
def test_the_schema_accepts_what_is_read(name: str) -> None:
    """A file that is read without an error has no error in an editor."""
    for path in CASES[name].folder.glob("*.yaml"):
        data = document.read(path.read_bytes(), path.name).data
        assert list(faults(data, json_schema(), json_schema())) == []


@pytest.mark.parametrize(
    "text",
    [
        "listn: 0.0.0.0:3000",
        "routes: [{path: /x}]",
        "routes: [{path: /x, public: true, deny: no more}]",
        "routes: [{path: /x, roles: [1]}]",
        "routes: [{path: /x, allow: {role: a, group: b}}]",
        "routes: [{path: /x, allow: everyone}]",
        "provider: {issuer: https://a.test, audience: x, leeway: 30}",
        "provider: {issuer: https://a.test}",
        "admin:",
    ],
)
def test_the_schema_refuses_what_is_refused(text: str) -> None:
    """The mistakes that people make are seen while they type."""
    assert list(faults(document.read(text, "w").data, json_schema(), json_schema()))
    assert errors(read(text).problems)


# --- Which files are ours -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        (MINIMAL + "  []\n", True),
        ("routes: []", True),
        ("hosts: []", True),
        ("providers: {}", True),
        ("identity-headers: {}", True),
        ("listen: 0.0.0.0:3000", False),
        ("upstream-url: http://app\nresources: []", False),
        ("apiVersion: v1\nkind: HTTPRoute\nroutes: []", False),
        ("- routes", False),
        ("routes", False),
        ("", False),
    ],
)
def test_recognizes(text: str, ours: bool) -> None:
    """A file is ours by a key that no other format has at its top; objects of Kubernetes never are."""
    assert native.DIALECT.recognizes(document.read(text, "w")) is ours


@pytest.mark.parametrize("case", golden.cases(), ids=str)
def test_no_case_of_another_format_is_ours(case: golden.Case) -> None:
    """Whatever its mistakes, a file of another format is not taken for ours."""
    for path in case.folder.glob("*.yaml"):
        try:
            found = document.read(path.read_bytes(), path.name)
        except Exception:
            continue
        if case.dialect != "native":
            assert not native.DIALECT.recognizes(found)


# --- Rules --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["path: /x", "path: /x\n    public: false", "path: /x\n    roles: []"])
def test_no_route_is_open_by_itself(text: str) -> None:
    """A route that does not say who may is a problem, and there is no policy."""
    assert read(f"{MINIMAL}  - {text}\n").policy is None


def test_paths_that_no_route_lists_are_denied() -> None:
    """The fallback asks for a credential of any provider and either kind, and lets nobody in."""
    host = read_policy(MINIMAL + "  []\n").listeners[0].hosts[0]
    assert host.routes == ()
    assert host.fallback == policy.Credentials(providers=("default",))


@pytest.mark.parametrize(
    ("text", "kind", "stem"),
    [
        ("/x", policy.PathKind.EXACT, "/x"),
        ("/x/", policy.PathKind.EXACT, "/x/"),
        ("/x/**", policy.PathKind.PREFIX, "/x"),
        ("/**", policy.PathKind.PREFIX, "/"),
        ("/x/*", policy.PathKind.UNDER, "/x"),
        ("/*", policy.PathKind.UNDER, "/"),
        ("/x*", policy.PathKind.TEXT, "/x"),
        ("{text: /x/}", policy.PathKind.TEXT, "/x/"),
        ("{exact: /x*}", policy.PathKind.EXACT, "/x*"),
        ("{prefix: /a/*/b}", policy.PathKind.PREFIX, "/a/*/b"),
    ],
)
def test_paths(text: str, kind: policy.PathKind, stem: str) -> None:
    """The star says how far a path reaches; the long form takes any text."""
    assert one_route(f"{{path: {text}, public: true}}").path == policy.Path(kind=kind, text=stem)


def test_short_forms_are_conditions() -> None:
    """Any of each list, and all of the lists; one name is no list of alternatives."""
    text = "{path: /x, scopes: read, roles: [a, b], client-roles: {app: [c], crm: [d]}, groups: /g}"
    roles = policy.AnyOf((policy.RealmRole("a"), policy.RealmRole("b")))
    clients = policy.AnyOf((policy.ClientRole("app", "c"), policy.ClientRole("crm", "d")))
    both = policy.AllOf((roles, clients, policy.Group("/g"), policy.Scope("read")))
    assert one_route(text).access == policy.Rule(when=both)
    assert one_route("{path: /x, roles: [a]}").access == policy.Rule(when=policy.RealmRole("a"))


def test_types_of_claims_are_kept() -> None:
    """`1`, `"1"` and `true` are three values."""
    access = one_route('{path: /x, allow: {claim: a.b, is: [1, "1", true]}}').access
    assert isinstance(access, policy.Rule)
    assert isinstance(access.when, policy.AnyOf)
    values = [one.value for one in access.when.conditions if isinstance(one, policy.ClaimIs)]
    assert [(type(value), value) for value in values] == [(int, 1), (str, "1"), (bool, True)]


def test_made_up_names_are_free() -> None:
    """A route without a name is named after its methods and path, around the names that are given."""
    text = "  - {path: /x, public: true}\n  - {path: /y, name: /x, public: true}\n  - {path: /z, methods: [PUT, GET], public: true}\n"
    names = [route.name for route in read_policy(MINIMAL + text).listeners[0].hosts[0].routes]
    assert names == ["/x (2)", "/x", "GET PUT /z"]


def test_places_are_remembered() -> None:
    """Every route, path, provider and listener knows its line."""
    found = read_policy(MINIMAL + "  - path: /x\n    public: true\n")
    route = found.listeners[0].hosts[0].routes[0]
    assert str(route.where) == "w.yaml:7: routes[0]"
    assert str(route.path.where) == "w.yaml:7: routes[0].path"
    assert str(found.providers[0].where) == "w.yaml:2: provider"
    assert str(found.listeners[0].where) == "w.yaml:1: listen"


def test_no_provider_is_a_warning() -> None:
    """Rules without a provider are closed to everyone: that is said, and holds."""
    text = "listen: 0.0.0.0:3000\nupstream: http://a\nroutes: [{path: /x, roles: [a]}]"
    reading = read(text)
    assert [(problem.code, problem.severity) for problem in reading.problems] == [
        ("provider-missing", Severity.WARNING)
    ]
    assert reading.policy is not None


# --- Secrets and the environment ------------------------------------------------------------------------------------------


def with_secret(value: str) -> str:
    return MINIMAL.replace("upstream:", f"  client-secret: {value}\nupstream:") + "  []\n"


@pytest.mark.parametrize(
    ("written", "reference"),
    [
        ("${CLIENT_SECRET}", "${CLIENT_SECRET}"),
        ("${NOT_SET:-hidden}", "${NOT_SET}"),
        ("hidden", "${WARDGATE_CLIENT_SECRET}"),
        ("hid${CLIENT_SECRET}den", "${WARDGATE_CLIENT_SECRET}"),
    ],
)
def test_secrets_are_references(written: str, reference: str) -> None:
    """A secret is printed as the variable that has it, or could have it; its default is as secret as its value."""
    found = read_policy(with_secret(written))
    secret = found.providers[0].client_secret
    assert secret is not None
    assert secret.reference == reference
    text = native.write(found)
    assert f"client-secret: {reference}\n" in text
    assert not any(word in text + repr(found) for word in ("hidden", "hid", ENVIRON["CLIENT_SECRET"]))


def test_secrets_of_several_providers_have_several_names() -> None:
    """Secrets that stand in the file do not become one variable."""
    text = "listen: 0.0.0.0:1\nroutes: []\nproviders:\n" + "".join(
        f"  {name}: {{issuer: https://{name}.test, audience: a, client-secret: {name}}}\n"
        for name in ("a-b", "c")
    )
    secrets = [provider.client_secret for provider in read_policy(text).providers]
    references = [secret.reference for secret in secrets if secret is not None]
    assert references == ["${WARDGATE_A_B_CLIENT_SECRET}", "${WARDGATE_C_CLIENT_SECRET}"]


def test_a_secret_from_elsewhere_is_asked_of_the_environment() -> None:
    """A reference that no file can have (a Kubernetes secret) becomes the variable of its key."""
    found = read_policy(with_secret("${CLIENT_SECRET}"))
    provider = dataclasses.replace(
        found.providers[0], client_secret=Secret("x", "secret shop/client, key secret")
    )
    assert "client-secret: ${WARDGATE_CLIENT_SECRET}\n" in native.write(
        dataclasses.replace(found, providers=(provider,))
    )


def test_variables_have_the_type_that_is_wanted() -> None:
    """What the environment has is text, and is read as a flag, a number, a size where one is taken."""
    text = (
        MINIMAL
        + "  []\ncompression: ${FLAG}\nlimits: {connections: '${NUMBER}', body: '${SIZE}', drain: '${TIME}'}\n"
    )
    found = read_policy(text, {"FLAG": "TRUE", "NUMBER": "7", "SIZE": "1MiB", "TIME": "1m"})
    limits = policy.Limits(connections=7, body_bytes=1 << 20, drain=timedelta(minutes=1))
    assert (found.compression, found.limits) == (True, limits)


# --- Values -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("30s", 30, "30s"),
        ("60s", 60, "1m"),
        ("1h30m", 5400, "1h30m"),
        ("24h", 86400, "24h"),
        ("7d", 604800, "7d"),
        ("36h", 129600, "36h"),
        ("250ms", 0.25, "250ms"),
        ("1.5s", 1.5, "1s500ms"),
        ("0s", 0, "0s"),
        ("3us", 0.000003, "3us"),
    ],
)
def test_durations(text: str, seconds: float, written: str) -> None:
    """A number and its unit, several in a row; written in the largest units that fit."""
    assert read_duration(text) == timedelta(seconds=seconds)
    assert duration(timedelta(seconds=seconds)) == written


@pytest.mark.parametrize(
    "text", [30, "30", "s", "1h 30m", "-1s", "1e3s", "", True, None, "99999999999d", "٣s"]
)
def test_not_durations(text: object) -> None:
    """A bare number has no unit, and is refused."""
    with pytest.raises(ValueError, match="duration"):
        read_duration(text)


@pytest.mark.parametrize(
    ("text", "number", "written"),
    [
        ("50MB", 50_000_000, "50MB"),
        ("64KiB", 65_536, "64KiB"),
        ("50000000", 50_000_000, "50MB"),
        (1_000_001, 1_000_001, 1_000_001),
        ("1GiB", 1 << 30, "1GiB"),
        ("5kB", 5_000, "5kB"),
        (0, 0, 0),
    ],
)
def test_sizes(text: object, number: int, written: object) -> None:
    """Millions and 1024s are told apart; bytes stand alone."""
    assert read_size(text) == number
    assert size(number) == written


# --- Problems ---------------------------------------------------------------------------------------------------------------


def said_codes() -> set[str]:
    found = set()
    for case in CASES.values():
        found |= {problem.code for problem in golden.read(case).problems}
    return found


def test_every_code_has_a_case() -> None:
    """No problem is documented that no file can have."""
    assert set(native.CODES) - said_codes() == set()


def test_codes_are_sentences() -> None:
    """Each code says what is wrong, in one sentence."""
    assert all(text.endswith(".") and text[0].isupper() for text in native.CODES.values())


def test_a_variable_is_never_printed() -> None:
    """What came from the environment is named, not shown: it may be a secret in the wrong place."""
    reading = read(MINIMAL.replace("0.0.0.0:3000", "${CLIENT_SECRET}") + "  []\n")
    assert [problem.got for problem in reading.problems] == ["${CLIENT_SECRET}"]


def test_the_reader_never_raises_for_what_a_person_wrote() -> None:
    """Anything at all in any place is a problem with a place, never an exception."""
    good = document.read(golden_text("every-key"), "w.yaml", None)
    wrong = [7, "x", [1], {"a": 1}, 1.5, True, "", [], {}, None]
    for number, path in enumerate(good.places):
        for value in (wrong[0], wrong[1 + number % 9]) if path else ():
            changed = document.with_value(good, path, value, "--set")
            reading = native.DIALECT.read([changed], Options())
            assert reading.policy is None or not errors(reading.problems)
            assert all(str(problem.where) for problem in reading.problems)


def golden_text(name: str) -> bytes:
    return next(CASES[name].folder.glob("*.yaml")).read_bytes()


def test_listen_and_proxies_hold_for_the_first_listener() -> None:
    """--listen and --trusted-proxies win over the file."""
    text = MINIMAL.replace(
        "listen: 0.0.0.0:3000", "listeners: {a: {listen: '0.0.0.0:1'}, b: {listen: '0.0.0.0:2'}}"
    )
    reading = read(text + "  []\n", listen="[::1]:9", trusted_proxies=("10.0.0.0/8",))
    assert reading.policy is not None
    found: tuple[Listener, ...] = reading.policy.listeners
    assert [str(one.address) for one in found] == ["[::1]:9", "0.0.0.0:2"]
    assert reading.policy.trusted_proxies == ("10.0.0.0/8",)


def test_the_format_is_found_by_its_keys() -> None:
    """Nothing has to say which format a file is in."""
    found = document.read(MINIMAL + "  []\n", "wardgate.yaml")
    assert dialects.choose([found]) is native.DIALECT
