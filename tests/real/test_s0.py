"""
S0's own files in front of an application, with tokens from real Keycloak: every cell of who times what.

Source of each expected status: S0's resources (examples/s0-gatekeeper/gatekeeper.yaml) and its text. Roles of a
resource are any-of; a method that a resource does not list is denied; a path that no resource lists takes any
valid token; whoever has no valid token is 401 wherever a token is needed, whatever the method or the size.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest

from tests.echo import Arrival, Echo
from tests.gateway import Gateway
from tests.parts import PROJECT
from tests.realm import OTHER_CLIENT, SHORT_LIVED_CLIENT, Realm, unverified_claims
from tests.sending import Answer, Body, send

# One cell starts Keycloak and the gateway, another waits until a token is past its leeway.
pytestmark = pytest.mark.timeout(300)

EXAMPLE = PROJECT / "examples" / "s0-gatekeeper"
FILES = (EXAMPLE / "gatekeeper.yaml", EXAMPLE / "gatekeeper-extra.yaml")

# S0 sets it to true; `false` lets a bearer token say who is calling.
BEARER_SAYS_WHO = ("--set", "skip-authorization-header-identity=false")

LIMIT_BYTES = 50_000_000  # "50MB limit"
LEEWAY_SECONDS = 30

IDENTITY_HEADERS = {
    "x-auth-audience",
    "x-auth-email",
    "x-auth-expiresin",
    "x-auth-groups",
    "x-auth-roles",
    "x-auth-subject",
    "x-auth-token",
    "x-auth-userid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """The statuses that are right for each caller: `other` is whoever has no valid token."""

    user: frozenset[int]
    admin: frozenset[int]
    other: frozenset[int]

    def of(self, caller: str) -> frozenset[int]:
        """The right statuses for that caller."""
        return {"user": self.user, "admin": self.admin}.get(caller, self.other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A request, and what is right for it."""

    method: str = "GET"
    path: str
    body: Body | None = None
    right: Right


OK, UNKNOWN, FORBIDDEN, TOO_LARGE = (frozenset({status}) for status in (200, 401, 403, 413))
EITHER = FORBIDDEN | TOO_LARGE

PUBLIC = Right(user=OK, admin=OK, other=OK)
ANY_TOKEN = Right(user=OK, admin=OK, other=UNKNOWN)
USER_ONLY = Right(user=OK, admin=FORBIDDEN, other=UNKNOWN)
ADMIN_ONLY = Right(user=FORBIDDEN, admin=OK, other=UNKNOWN)
NOBODY = Right(user=FORBIDDEN, admin=FORBIDDEN, other=UNKNOWN)
# Too large and not allowed: either is a right answer. Too large and unknown: only a declared size may be said.
ABOVE_DECLARED = Right(user=TOO_LARGE, admin=EITHER, other=UNKNOWN | TOO_LARGE)
ABOVE_CHUNKED = Right(user=TOO_LARGE, admin=EITHER, other=UNKNOWN)


def _upload(right: Right, size_bytes: int, *, chunked: bool = False) -> Target:
    body = Body(size_bytes=size_bytes, chunked=chunked)
    return Target(method="POST", path="/api/v1/upload/x", body=body, right=right)


# Both of its roles may enter /api/v1/user: the same as any token, for these callers.
TARGETS = {
    "health": Target(path="/health", right=PUBLIC),
    "metrics": Target(path="/metrics", right=PUBLIC),
    "public": Target(path="/api/v1/public/x", right=PUBLIC),
    "user": Target(path="/api/v1/user/x", right=ANY_TOKEN),
    "user by POST": Target(method="POST", path="/api/v1/user/x", body=Body(size_bytes=10), right=ANY_TOKEN),
    "admin": Target(path="/api/v1/admin/x", right=ADMIN_ONLY),
    "admin by DELETE": Target(method="DELETE", path="/api/v1/admin/x", right=ADMIN_ONLY),
    "unlisted path": Target(path="/somewhere/else", right=ANY_TOKEN),
    "unlisted method of user": Target(method="DELETE", path="/api/v1/user/x", right=NOBODY),
    "unlisted method of admin": Target(method="PATCH", path="/api/v1/admin/x", right=NOBODY),
    "unlisted method of upload": Target(path="/api/v1/upload/x", right=NOBODY),
    "upload of 49 MB": _upload(USER_ONLY, 49_000_000),
    "upload of 49 MB in chunks": _upload(USER_ONLY, 49_000_000, chunked=True),
    "upload of 51 MB": _upload(ABOVE_DECLARED, 51_000_000),
    "upload of 51 MB in chunks": _upload(ABOVE_CHUNKED, 51_000_000, chunked=True),
}

# `expired` is the last: until then most of the time has passed that it must be old.
CALLERS = ("anonymous", "user", "admin", "other audience", "ID token", "refresh token", "expired")


@pytest.fixture(scope="module")
def application() -> Iterator[Echo]:
    """The application of S0, which tells what reached it."""
    with Echo() as echo:
        yield echo


@pytest.fixture(scope="module")
def tokens(realm: Realm) -> dict[str, str]:
    """A fresh token for each caller, all asked for at the same time."""
    user = realm.token("user")
    return {
        "user": user.access,
        "admin": realm.token("admin").access,
        "other audience": realm.token("user", client=OTHER_CLIENT).access,
        "ID token": user.id,
        "refresh token": user.refresh,
        "expired": realm.token("user", client=SHORT_LIVED_CLIENT).access,
    }


@pytest.fixture(scope="module")
def gateway(realm: Realm, application: Echo, tokens: dict[str, str]) -> Iterator[Gateway]:
    """S0's two files in force, with bearer tokens."""
    with _running(realm, application, *BEARER_SAYS_WHO) as running:
        # The keys of the issuer come a little after the start; until then a protected route is 503.
        running.wait_until(lambda: _ask(running, tokens["user"], "/somewhere").status != 503, "it has keys")
        yield running


@contextmanager
def _running(realm: Realm, application: Echo, *arguments: str) -> Iterator[Gateway]:
    """The command of the example's README, with the addresses of this run."""
    secrets = {
        "KEYCLOAK_CLIENT_SECRET": "s0-secret",
        "ENCRYPTION_KEY": base64.b64encode(bytes(range(32))).decode(),
    }
    addresses = [
        *("--set", f"discovery-url={realm.issuer}/.well-known/openid-configuration"),
        *("--set", f"upstream-url={application.url}"),
        *("--trusted-proxies", "127.0.0.1/32"),
    ]
    running = Gateway.start(FILES, *addresses, *arguments, env=secrets)
    try:
        yield running
    finally:
        running.stop()


def _ask(
    gateway: Gateway,
    token: str,
    path: str,
    *,
    method: str = "GET",
    body: Body | None = None,
    scheme: str = "https",
    more: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """One request as the proxy in front of S0's gateway sends it: it came to that proxy by `scheme`."""
    headers = [("Host", "api.improwised.com"), ("X-Forwarded-Proto", scheme), *more]
    if token:
        headers.append(("Authorization", f"Bearer {token}"))
    return send(gateway.port, method, path, headers, body)


def _send(gateway: Gateway, application: Echo, token: str, target: Target) -> tuple[Answer, list[Arrival]]:
    """The answer to one cell, and what reached the application of it."""
    case = f"{uuid4()}"
    more = (("X-Case-Id", case),)
    answer = _ask(gateway, token, target.path, method=target.method, body=target.body, more=more)
    return answer, application.arrivals(case)


def _token(tokens: dict[str, str], caller: str) -> str:
    """The caller's token; `expired` is waited for until no leeway helps it."""
    if caller == "anonymous":
        return ""
    if caller == "expired":
        good_until = unverified_claims(tokens["expired"])["exp"] + LEEWAY_SECONDS
        while time.time() <= good_until + 1:
            time.sleep(0.1)
    return tokens[caller]


@pytest.mark.parametrize(("caller", "name"), [(caller, name) for caller in CALLERS for name in TARGETS])
def test_every_caller_gets_what_s0_says(
    gateway: Gateway, application: Echo, tokens: dict[str, str], caller: str, name: str
) -> None:
    """The status is S0's; the application sees the whole request when it is let through, nothing of it else."""
    target = TARGETS[name]
    answer, arrivals = _send(gateway, application, _token(tokens, caller), target)
    assert answer.status in target.right.of(caller)
    match answer.status:
        case 200:
            assert json.loads(answer.body)["body_length"] == (target.body.size_bytes if target.body else 0)
            assert [(one.method, one.path) for one in arrivals] == [(target.method, target.path)]
        case 401:
            assert (answer.header("www-authenticate") or "").startswith("Bearer")
            assert arrivals == []
        case 413 if target.body and target.body.chunked and caller == "user":
            # The size shows while it streams: never the whole of it, and never more than the limit.
            assert all(not one.complete and one.body_length <= LIMIT_BYTES for one in arrivals)
        case _:
            assert arrivals == []


@pytest.mark.parametrize("caller", ["anonymous", "other audience", "ID token", "refresh token"])
def test_an_upload_of_a_stranger_is_refused_before_its_body(
    gateway: Gateway, application: Echo, tokens: dict[str, str], caller: str
) -> None:
    """The head alone is answered with 401: nobody has to send, or to store, 49 MB for that."""
    case = f"{uuid4()}"
    body = Body(size_bytes=49_000_000, withheld=True)
    more = (("X-Case-Id", case),)
    answer = _ask(gateway, _token(tokens, caller), "/api/v1/upload/x", method="POST", body=body, more=more)
    assert (answer.status, answer.sent_bytes) == (401, 0)
    assert application.arrivals(case) == []


def test_the_application_sees_exactly_the_identity_headers_of_s0(
    gateway: Gateway, application: Echo, tokens: dict[str, str]
) -> None:
    """Each comes once, with the claim's value; lists are joined by commas; there is no other X-Auth header."""
    claims = unverified_claims(tokens["user"])
    assert _identity(_arrival(gateway, application, tokens["user"], "/api/v1/user/x")) == {
        "x-auth-audience": ["improwised-gatekeeper-client,account"],
        "x-auth-email": ["user@improwised.com"],
        "x-auth-expiresin": [str(claims["exp"])],
        "x-auth-groups": ["improwised:user"],
        "x-auth-roles": [",".join(claims["realm_access"]["roles"])],
        "x-auth-subject": [claims["sub"]],
        "x-auth-token": [tokens["user"]],
        "x-auth-userid": ["user"],
    }


@pytest.mark.parametrize("path", ["/api/v1/user/x", "/somewhere/else"])
def test_a_clients_own_identity_headers_are_replaced(
    gateway: Gateway, application: Echo, tokens: dict[str, str], path: str
) -> None:
    """Whatever the client says about itself, in any letter case, the application sees the token's claims."""
    forged = tuple(
        (name, "forged") for name in ("X-Auth-Userid", "x-auth-roles", "X-AUTH-EMAIL", "X-Auth-Other")
    )
    identity = _identity(_arrival(gateway, application, tokens["user"], path, forged))
    assert set(identity) == IDENTITY_HEADERS
    assert identity["x-auth-userid"] == ["user"]
    assert identity["x-auth-email"] == ["user@improwised.com"]


@pytest.mark.parametrize("caller", ["anonymous", "user"])
def test_a_public_route_carries_no_identity(
    gateway: Gateway, application: Echo, tokens: dict[str, str], caller: str
) -> None:
    """A white-listed resource has no authentication: no identity is passed on, a forged one neither."""
    forged = tuple((name, "forged") for name in sorted(IDENTITY_HEADERS))
    arrival = _arrival(gateway, application, _token(tokens, caller), "/api/v1/public/x", forged)
    assert _identity(arrival) == {}


@pytest.mark.parametrize(
    ("caller", "path", "status"),
    [
        ("user", "/api/v1/user/x", 200),
        ("anonymous", "/api/v1/public/x", 200),
        ("anonymous", "/api/v1/user/x", 401),
        ("user", "/api/v1/admin/x", 403),
    ],
)
def test_every_answer_has_the_security_headers_and_a_request_id(
    gateway: Gateway, tokens: dict[str, str], caller: str, path: str, status: int
) -> None:
    """`headers` and `enable-request-id` of S0's second file hold for refusals as well."""
    answer = _ask(gateway, _token(tokens, caller), path)
    assert answer.status == status
    assert answer.header("x-frame-options") == "DENY"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("x-xss-protection") == "1; mode=block"
    assert answer.header("strict-transport-security") == "max-age=31536000; includeSubDomains"
    assert answer.header("content-security-policy") == "default-src 'self'"
    assert answer.header("x-request-id")


def test_a_request_that_came_by_http_is_sent_to_https(
    gateway: Gateway, application: Echo, tokens: dict[str, str]
) -> None:
    """`enable-https-redirection`: the same address by https, for anyone, and nothing reaches the application."""
    case = f"{uuid4()}"
    for caller in ("anonymous", "user"):
        answer = _ask(
            gateway, _token(tokens, caller), "/api/v1/user/x?y=1", scheme="http", more=(("X-Case-Id", case),)
        )
        assert answer.status in {301, 302, 303, 307, 308}
        assert answer.header("location") == "https://api.improwised.com/api/v1/user/x?y=1"
    assert application.arrivals(case) == []


@pytest.fixture(scope="module")
def gateway_without_override(realm: Realm, application: Echo, tokens: dict[str, str]) -> Iterator[Gateway]:
    """S0's two files as they are: a bearer token says nothing about who is calling."""
    with _running(realm, application) as running:
        running.wait_until(lambda: _ask(running, tokens["user"], "/somewhere").status != 503, "it has keys")
        yield running


@pytest.mark.parametrize(
    "name", ["user", "admin", "unlisted path", "unlisted method of user", "upload of 49 MB"]
)
@pytest.mark.parametrize(
    "caller", ["anonymous", "user", "admin", "other audience", "ID token", "refresh token"]
)
def test_without_the_override_every_bearer_is_refused(
    gateway_without_override: Gateway, application: Echo, tokens: dict[str, str], caller: str, name: str
) -> None:
    """`skip-authorization-header-identity: true`, as S0 has it: no token in a header opens anything."""
    token = _token(tokens, caller)
    answer, arrivals = _send(gateway_without_override, application, token, TARGETS[name])
    assert (answer.status, arrivals) == (401, [])


@pytest.mark.parametrize("name", ["health", "metrics", "public"])
@pytest.mark.parametrize("caller", ["anonymous", "user", "other audience"])
def test_without_the_override_public_stays_public(
    gateway_without_override: Gateway, tokens: dict[str, str], caller: str, name: str
) -> None:
    """What needs no identity is served to anyone."""
    assert _ask(gateway_without_override, _token(tokens, caller), TARGETS[name].path).status == 200


def test_no_token_is_in_the_log(gateway: Gateway, tokens: dict[str, str]) -> None:
    """After all of the above the gateway's output holds no token and no signature of one."""
    log = gateway.log()
    for token in tokens.values():
        assert token.rpartition(".")[2] not in log


def test_a_terminated_gateway_drains_and_ends_well(realm: Realm, application: Echo) -> None:
    """SIGTERM is an orderly end: exit code 0."""
    with _running(realm, application) as running:
        assert running.stop() == 0


def _arrival(
    gateway: Gateway,
    application: Echo,
    token: str,
    path: str,
    more: tuple[tuple[str, str], ...] = (),
) -> Arrival:
    """What the application sees of a request that is let through."""
    case = f"{uuid4()}"
    assert _ask(gateway, token, path, more=(*more, ("X-Case-Id", case))).status == 200
    (arrival,) = application.arrivals(case)
    return arrival


def _identity(arrival: Arrival) -> dict[str, list[str]]:
    """Every X-Auth header that arrived, names in lower case."""
    names = {name.lower() for name, _ in arrival.headers if name.lower().startswith("x-auth-")}
    return {name: arrival.values(name) for name in names}
