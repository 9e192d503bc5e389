"""The built-in provider's logins beyond Keycloak's table: time, bounds, cookies, pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.idp.login_realm import APP, PEM_KEY, realm
from tests.idp.visitor import Visitor
from wardgate.idp import IdpServer, Realm, realm_of
from wardgate.problems import Severity

NOBODY = "http://127.0.0.1:9"


def realm_with(**settings: object) -> Realm:
    return realm_of(json.dumps(realm("logins", NOBODY, **settings)))


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def idp(clock: Clock) -> Iterator[IdpServer]:
    with IdpServer(realm_with(), clock=clock) as server:
        yield server


@pytest.fixture
def visitor(idp: IdpServer) -> Iterator[Visitor]:
    with Visitor(idp.issuer) as visitor:
        yield visitor


def test_codes_are_short_lived(visitor: Visitor, clock: Clock) -> None:
    """A code is good for a minute."""
    first, second = visitor.code(), visitor.code()
    clock.pass_(seconds=59)
    assert visitor.exchange(first).status_code == 200
    clock.pass_(seconds=1)
    assert visitor.exchange(second).json()["error_description"] == "Code not valid"


def test_sessions_that_rest_end(visitor: Visitor, clock: Clock) -> None:
    """A session ends when it has been idle too long; each refresh and each login begins that time anew."""
    tokens = visitor.tokens()
    clock.pass_(minutes=29)
    tokens = visitor.refresh(tokens).json()
    clock.pass_(minutes=29)
    assert visitor.is_logged_in()
    clock.pass_(minutes=29)
    assert visitor.is_logged_in()
    clock.pass_(minutes=31)
    assert not visitor.is_logged_in()
    assert visitor.refresh(tokens).json()["error"] == "invalid_grant"


def test_sessions_end_in_the_end(visitor: Visitor, clock: Clock) -> None:
    """However often it is used, a session ends after ten hours."""
    visitor.log_in()
    for _ in range(29):
        clock.pass_(minutes=20)
        assert visitor.is_logged_in()
    clock.pass_(minutes=20)
    assert not visitor.is_logged_in()


def test_forms_end(visitor: Visitor, clock: Clock) -> None:
    """A form that is left open too long logs nobody in."""
    page = visitor.authorize()
    clock.pass_(minutes=31)
    assert visitor.submit(page).status == 400
    assert not visitor.is_logged_in()


def test_pushed_requests_end(visitor: Visitor, clock: Clock) -> None:
    """A pushed request is good for a minute."""
    form = {"response_type": "code", "redirect_uri": APP["pushed"], "scope": "openid"}
    name = visitor.as_client("ext/par/request", "pushed", **form).json()["request_uri"]
    clock.pass_(seconds=60)
    asked = {"client_id": "pushed", "request_uri": name}
    assert visitor.go(f"{visitor.protocol}/auth", query=asked).status == 400


def test_max_age(visitor: Visitor, clock: Clock) -> None:
    """The password is asked for again when it was typed too long ago, and counts from then."""
    visitor.log_in()
    clock.pass_(seconds=11)
    assert "code" in visitor.authorize(max_age="11").parameters
    page = visitor.authorize(max_age="10")
    assert page.asks
    assert "code" in visitor.submit(page).parameters
    assert "code" in visitor.authorize(max_age="10").parameters


def test_cookies(idp: IdpServer) -> None:
    """Cookies are for this realm, out of reach of scripts, and not sent along from other sites."""
    with Visitor(idp.issuer) as visitor, httpx.Client() as http:
        page = visitor.authorize()
        cookies = http.get(
            f"{visitor.protocol}/auth",
            params={"client_id": "web", "response_type": "code", "redirect_uri": APP["web"]},
        ).headers.get_list("set-cookie")
        jar = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        form = {"username": "user", "password": "user-password"}
        cookies += http.post(page.action, data=form, headers={"Cookie": jar}).headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == ["AUTH_SESSION_ID", "KEYCLOAK_IDENTITY"]
    for cookie in cookies:
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert attributes == {"httponly", "samesite=lax", "path=/realms/logins/"}


def test_pages_need_no_scripts(visitor: Visitor) -> None:
    """The pages have none, and their policy allows none, nor anything from elsewhere."""
    for page in (visitor.authorize(), visitor.authorize(client_id="nobody"), visitor.log_out()):
        assert "<script" not in page.text
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "script" not in policy


def test_discovery_names_what_is_answered(idp: IdpServer) -> None:
    """Each endpoint that discovery names is there."""
    document = httpx.get(f"{idp.issuer}/.well-known/openid-configuration").json()
    endpoints = [value for name, value in document.items() if name.endswith("_endpoint")]
    assert len(endpoints) == 7
    assert all(httpx.get(endpoint).status_code != 404 for endpoint in endpoints)
    assert document["authorization_response_iss_parameter_supported"] is True


def test_too_many_forms(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser's oldest form is forgotten when it has opened too many."""
    monkeypatch.setattr("wardgate.idp.signing_in.MAX_TABS", 2)
    pages = [visitor.authorize() for _ in range(3)]
    assert "code" not in visitor.submit(pages[0]).parameters
    assert "code" in visitor.submit(pages[2]).parameters


def client_of(**client: object) -> Realm:
    text = {"realm": "one", "enabled": True, "clients": [{"clientId": "one", **client}]}
    return realm_of(json.dumps(text))


SIGNS = {"clientAuthenticatorType": "client-jwt"}


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "it has no key"),
        ({"use.jwks.url": "true", "jwks.url": "https://x.example/keys"}, "which is not fetched here"),
        ({"use.jwks.string": "true", "jwks.string": "{"}, "its jwks.string is not a JWK set"),
        ({"use.jwks.string": "true", "jwks.string": '{"keys": []}'}, "its jwks.string has no key"),
        ({"jwt.credential.public.key": "AAAA"}, "its jwt.credential.public.key cannot be read"),
    ],
)
def test_keys_that_cannot_be_read(attributes: dict[str, str], words: str) -> None:
    """A client that signs and has no key that can be read is said, and nobody can be that client."""
    found = client_of(**SIGNS, attributes=attributes)
    (problem,) = found.warnings
    assert (problem.code, problem.severity) == ("realm-client-keys", Severity.WARNING)
    assert words in problem.message
    assert found.clients["one"].keys == ()
    assert not found.clients["one"].public


def test_keys_of_pem_with_its_lines() -> None:
    """A key may be pasted with the lines of PEM around it."""
    text = PEM_KEY.as_pem(private=False).decode()
    found = client_of(**SIGNS, attributes={"jwt.credential.public.key": text})
    assert found.warnings == ()
    (key,) = found.clients["one"].keys or ()
    assert key["n"] == PEM_KEY.as_dict()["n"]
