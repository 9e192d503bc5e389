"""
What does not fit together about a login, whichever format it was written in: cookies that browsers would not keep,
addresses that nobody can come back to, sessions that another replica cannot read.

Of a whole policy, so that each format asks it in one line and says the keys by its own names (`Terms`). Not the form of
single values, nor what only one format can say.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from wardgate.policy import Introspection, Kind, Mode, Policy, Provider, SameSite, Session
from wardgate.problems import Problem, Severity, Where, shown

CODES: Final[Mapping[str, str]] = {
    "cookie-domain": "The session cookie's domain does not cover the gateway's own address: browsers refuse it.",
    "cookie-not-secure": "The session cookie may travel over http, although browsers know the gateway by https.",
    "cookie-path": "The session cookie is not sent to the gateway's own endpoints: nobody could log out.",
    "cookie-same-site": "A session cookie for all sites (`none`) that is not secure: browsers refuse it.",
    "introspection-secret": "Tokens are asked about by a client that cannot prove itself: issuers do not answer it.",
    "login-address": "Nothing says at which address browsers know the gateway: logins work on this machine only.",
    "login-parameter-ours": "A parameter that every login sets by itself: nothing else can say it.",
    "login-scheme": "Browsers come by https, and nothing here can tell: there is no TLS and no proxy that is believed.",
    "session-key-local": "Sessions in Redis or in cookies are sealed with a key of this machine: other replicas cannot read them.",
}
"""What is wrong with a login in every format."""

RESERVED: Final = frozenset(
    {
        *("client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method", "request", "request_uri", "client_secret"),
    }
)
"""Parameters of a login that nobody else may set (RFC 9700, 2.1), as `service.oidc.authorization` has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a format calls the fields of a session, and where they stand. `trusted`: how proxies are named in it."""

    where: Callable[[str], Where]
    names: Mapping[str, str]
    trusted: str = "--trusted-proxies 10.0.0.0/8"

    def name(self, field: str) -> str:
        return self.names.get(field, field.replace("_", "-"))


def check_login(policy: Policy, terms: Terms) -> Iterator[Problem]:
    """Every problem of the policy's session and of its providers' clients."""
    yield from _introspection(policy)
    yield from _authorization_parameters(policy)
    session = policy.session
    if session is None:
        return
    yield from _cookie(session, policy, terms)
    yield from _address(session, policy, terms)
    yield from _key(session, terms)
    yield from _parameters(session, terms)


def public_clients(policy: Policy) -> tuple[Provider, ...]:
    """Where people log in with a client that has nothing to prove itself by."""
    return tuple(provider for provider in policy.login_providers() if not _proves_itself(provider))


def _proves_itself(provider: Provider) -> bool:
    return bool(provider.client_secret or provider.client_key or provider.tls.certificate)


def _introspection(policy: Policy) -> Iterator[Problem]:
    asked = {
        name
        for _, _, route in policy.routes()
        if route.credentials.introspect
        for name in route.credentials.providers
    }
    for provider in policy.providers:
        asks = provider.introspection is not Introspection.OFF or provider.name in asked
        if asks and not _proves_itself(provider):
            message = "tokens are asked about by a client without a secret: issuers do not answer it, and all are refused"
            hint = "set client-secret"
            yield _warning(
                "introspection-secret", message, provider.where, got=provider.client_id or "", hint=hint
            )


# --- The cookie -------------------------------------------------------------------------------------------------------


def _cookie(session: Session, policy: Policy, terms: Terms) -> Iterator[Problem]:
    if session.same_site is SameSite.NONE and not session.secure:
        hint = f"set {terms.name('secure')} to true, or {terms.name('same_site')} to lax"
        message = "browsers refuse a cookie for all sites that is not secure"
        yield _error("cookie-same-site", message, terms.where("same_site"), hint=hint)
    ours = session.redirection_url or ""
    if not session.secure and ours.startswith("https://"):
        hint = f"set {terms.name('secure')} to true"
        message = "the session cookie travels over http, too, and whoever reads it there is logged in"
        yield _warning("cookie-not-secure", message, terms.where("secure"), hint=hint)
    host = host_of(ours)
    if session.cookie_domain is not None and host and not covers(session.cookie_domain, host):
        hint = f"leave it out for {host} alone, or write a domain that {host} lies below"
        message = f"browsers refuse a cookie for it from {host}"
        yield _error(
            "cookie-domain", message, terms.where("cookie_domain"), got=session.cookie_domain, hint=hint
        )
    prefix = policy.endpoints.prefix
    if not _below(prefix, session.cookie_path):
        hint = f"leave it out, or move the gateway's endpoints below it; they are at {prefix}"
        message = "the session cookie is not sent to the gateway's own endpoints: nobody can log out"
        yield _warning("cookie-path", message, terms.where("cookie_path"), got=session.cookie_path, hint=hint)


def host_of(url: str) -> str:
    """The host of a URL in lower case; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def covers(domain: str, host: str) -> bool:
    """Whether browsers take a cookie with this Domain from this host (RFC 6265bis, 5.1.3)."""
    name = domain.lstrip(".").lower()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == name or host.endswith("." + name)
    return host == name


def _below(path: str, cookie_path: str) -> bool:
    """RFC 6265bis, 5.1.4."""
    root = cookie_path.rstrip("/")
    return path == root or path.startswith(root + "/")


# --- Our address ------------------------------------------------------------------------------------------------------


def _address(session: Session, policy: Policy, terms: Terms) -> Iterator[Problem]:
    ours = session.redirection_url
    if ours is None and policy.login_providers() and _redirects(policy):
        hint = (
            f"set {terms.name('redirection_url')} to the address that browsers use: https://app.example.com"
        )
        message = "logins begin at hosts that are named exactly, and on this machine, and nowhere else"
        yield _warning("login-address", message, terms.where("redirection_url"), hint=hint)
    blind = any(not one.tls and not one.redirect_to_https for one in policy.listeners)
    if ours is not None and ours.startswith("https://") and blind and not policy.trusted_proxies:
        hint = f"name the proxy that ends TLS ({terms.trusted}), or serve https here"
        message = "every request seems to come by http: there is no TLS here, and no proxy is believed that says https"
        yield _warning("login-scheme", message, terms.where("redirection_url"), got=ours, hint=hint)


def _redirects(policy: Policy) -> bool:
    """Whether a browser is sent to the login at a host that no name is exact of."""
    return any(
        route.login_redirect
        and route.credentials.mode is Mode.REQUIRED
        and Kind.SESSION in route.credentials.kinds
        and any("*" in name for name in host.names)
        for _, host, route in policy.routes()
    )


# --- The rest ---------------------------------------------------------------------------------------------------------


def _key(session: Session, terms: Terms) -> Iterator[Problem]:
    elsewhere = session.store_url is not None or session.in_cookies
    if elsewhere and session.encryption_key is None:
        hint = f"set {terms.name('encryption_key')}, the same for every replica: openssl rand -base64 32"
        message = (
            "sessions are sealed with a key of this machine alone: no other replica can read them, and they are lost "
            "with its state directory"
        )
        yield _warning("session-key-local", message, terms.where("store_url"), hint=hint)


def _parameters(session: Session, terms: Terms) -> Iterator[Problem]:
    for parameter in session.login_parameters:
        if parameter.name in RESERVED:
            where = terms.where("login_parameters")
            yield _warning("login-parameter-ours", _OURS, where, got=parameter.name)


def _authorization_parameters(policy: Policy) -> Iterator[Problem]:
    for provider in policy.providers:
        for name, _ in provider.authorization_parameters:
            if name in RESERVED:
                yield _warning("login-parameter-ours", _OURS, provider.where, got=name)


_OURS: Final = "every login sets this parameter itself: it is not passed on"


def _error(code: str, message: str, where: Where, *, got: str = "", hint: str = "") -> Problem:
    return Problem(code=code, message=message, where=where, got=shown(got) if got else "", hint=hint)


def _warning(code: str, message: str, where: Where, *, got: str = "", hint: str = "") -> Problem:
    text = shown(got) if got else ""
    return Problem(code=code, message=message, where=where, got=text, hint=hint, severity=Severity.WARNING)
