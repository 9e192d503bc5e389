"""What does not fit together about a login, in whichever format it was written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from wardgate.dialects._login import RESERVED, Terms, check_login, covers, public_clients
from wardgate.policy import (
    Address,
    Authenticated,
    Credentials,
    Endpoints,
    Host,
    Introspection,
    Kind,
    Listener,
    LoginParameter,
    Mode,
    Path,
    PathKind,
    Policy,
    Provider,
    Public,
    Route,
    Rule,
    SameSite,
    Secret,
    ServerTls,
    Session,
    UncheckedAudience,
    Upstream,
)
from wardgate.policy import Endpoint as UpstreamEndpoint
from wardgate.problems import Where
from wardgate.service.oidc.authorization import OURS

SECRET = Secret("0123456789abcdef", "${S}")
PROVIDER = Provider(
    name="id",
    issuer="https://id.test",
    audience=UncheckedAudience(),
    client_id="shop",
    client_secret=SECRET,
)
ROUTE = Route(
    name="all",
    path=Path(kind=PathKind.PREFIX, text="/"),
    access=Rule(when=Authenticated()),
    credentials=Credentials(providers=("id",)),
    upstream="app",
)
SOUND = Session(redirection_url="https://app.example.com")
TERMS = Terms(where=lambda field: Where(path=field), names={"secure": "cookie.secure"})


def policy(
    session: Session | None,
    *,
    provider: Provider = PROVIDER,
    route: Route = ROUTE,
    names: tuple[str, ...] = ("*",),
    **others: Any,
) -> Policy:
    """Behind a trusted proxy, unless told otherwise."""
    listener = {"name": "main", "address": Address(host="127.0.0.1", port=0)}
    listener |= others.pop("listener", {})
    return Policy(
        dialect="native",
        listeners=(Listener(hosts=(Host(names=names, routes=(route,)),), **listener),),  # type: ignore[arg-type]
        providers=(provider,),
        upstreams=(Upstream(name="app", endpoints=(UpstreamEndpoint(host="app", port=80),)),),
        **{"trusted_proxies": ("10.0.0.0/8",), "session": session, **others},
    )


def found(session: Session | None, **others: Any) -> list[tuple[str, str]]:
    return [(problem.code, problem.where.path) for problem in check_login(policy(session, **others), TERMS)]


def test_a_sound_login_has_no_problem() -> None:
    """https by a trusted proxy, a secure cookie for one host, a store of this machine."""
    assert found(SOUND) == []
    assert found(None) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"same_site": SameSite.NONE, "secure": False}, ("cookie-same-site", "same_site")),
        ({"secure": False}, ("cookie-not-secure", "secure")),
        ({"cookie_domain": ".example.org"}, ("cookie-domain", "cookie_domain")),
        ({"cookie_domain": "pp.example.com"}, ("cookie-domain", "cookie_domain")),
        ({"cookie_path": "/oaut"}, ("cookie-path", "cookie_path")),
        ({"redirection_url": None}, ("login-address", "redirection_url")),
        ({"store_url": SECRET}, ("session-key-local", "store_url")),
        ({"in_cookies": True}, ("session-key-local", "store_url")),
        (
            {"login_parameters": (LoginParameter(name="state"),)},
            ("login-parameter-ours", "login_parameters"),
        ),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], problem: tuple[str, str]) -> None:
    """Each is said at its own key."""
    assert problem in found(replace(SOUND, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"same_site": SameSite.NONE},
        {"same_site": SameSite.STRICT},
        {"secure": False, "redirection_url": "http://app.example.com"},
        {"cookie_domain": ".example.com"},
        {"cookie_domain": "app.example.com"},
        {"cookie_path": "/oauth"},
        {"store_url": SECRET, "encryption_key": SECRET},
        {"login_parameters": (LoginParameter(name="ui_locales"),)},
        {"idle": timedelta(0)},
    ],
)
def test_what_fits(changes: dict[str, Any]) -> None:
    """Nothing is said of what works."""
    assert found(replace(SOUND, **changes)) == []


def test_the_cookie_path_is_that_of_the_endpoints() -> None:
    """The endpoints may be moved below the cookie's path."""
    session = replace(SOUND, cookie_path="/shop/")
    assert found(session) == [("cookie-path", "cookie_path")]
    assert found(session, endpoints=Endpoints(prefix="/shop/oauth")) == []


@pytest.mark.parametrize(
    "others",
    [
        {"names": ("app.example.com",)},
        {"route": replace(ROUTE, login_redirect=False)},
        {"route": replace(ROUTE, credentials=Credentials(providers=("id",), kinds=frozenset({Kind.BEARER})))},
        {"route": replace(ROUTE, access=Public(), credentials=Credentials(mode=Mode.IGNORED))},
        {"provider": replace(PROVIDER, client_id=None)},
    ],
)
def test_no_address_is_needed(others: dict[str, Any]) -> None:
    """Where the host is named exactly, or nobody is sent to a login."""
    assert found(Session(), **others) == []


def test_a_wildcard_is_no_address() -> None:
    """`*.example.com` says nothing about where browsers come back to."""
    assert found(Session(), names=("*.example.com",)) == [("login-address", "redirection_url")]


@pytest.mark.parametrize(
    ("others", "blind"),
    [
        ({"trusted_proxies": ()}, True),
        ({"trusted_proxies": (), "listener": {"redirect_to_https": True}}, False),
        ({"trusted_proxies": (), "listener": {"tls": ServerTls(certificate="c", key="k")}}, False),
        ({}, False),
    ],
)
def test_nothing_tells_that_browsers_came_by_https(others: dict[str, Any], blind: bool) -> None:
    """An https address needs TLS here or a proxy that is believed; where requests are redirected, that is said already."""
    assert found(SOUND, **others) == ([("login-scheme", "redirection_url")] if blind else [])


def test_a_client_without_a_secret_is_not_answered() -> None:
    """Introspection by a public client is said, also where only a route asks for it, and without sessions."""
    public = replace(PROVIDER, client_secret=None)
    always = replace(public, introspection=Introspection.ALWAYS)
    asking = replace(ROUTE, credentials=Credentials(providers=("id",), introspect=True))
    assert found(None, provider=always) == [("introspection-secret", "")]
    assert found(None, provider=public, route=asking) == [("introspection-secret", "")]
    assert found(None, provider=replace(always, client_secret=SECRET)) == []
    assert found(None, provider=public) == []


def test_parameters_of_a_provider() -> None:
    """What a login sets itself is no provider's to say either."""
    provider = replace(PROVIDER, authorization_parameters=(("nonce", "x"), ("prompt", "login")))
    assert found(SOUND, provider=provider) == [("login-parameter-ours", "")]


def test_public_clients() -> None:
    """A secret, a key or a certificate proves a client; without sessions nobody logs in."""
    public = replace(PROVIDER, client_secret=None)
    assert public_clients(policy(SOUND)) == ()
    assert public_clients(policy(SOUND, provider=replace(public, client_key="k.pem"))) == ()
    assert public_clients(policy(SOUND, provider=public)) == (public,)
    assert public_clients(policy(None, provider=public)) == ()


@pytest.mark.parametrize(
    ("domain", "host", "taken"),
    [
        (".example.com", "example.com", True),
        ("example.com", "a.b.example.com", True),
        ("Example.com", "a.example.com", True),
        ("example.com", "badexample.com", False),
        ("a.example.com", "example.com", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.1", "127.0.0.1", False),
    ],
)
def test_a_domain_covers_hosts_below_it(domain: str, host: str, taken: bool) -> None:
    """As browsers match domains: whole labels, and addresses only as they are."""
    assert covers(domain, host) is taken


def test_what_a_login_sets_itself_is_what_the_service_takes_from_nobody() -> None:
    """The service drops exactly the parameters that are reported."""
    assert RESERVED == OURS
