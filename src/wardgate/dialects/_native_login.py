"""
What does not fit together about a login in a `wardgate.yaml`: asked of the finished policy.

Not what every format can say wrongly (`_login`), nor the form of single values (`_native_values`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from wardgate.dialects._login import Terms, check_login, public_clients
from wardgate.dialects._native_place import Building
from wardgate.document import Path
from wardgate.policy import Policy, Provider, Session
from wardgate.problems import Problem, Severity, shown

_PATHS: Final[Mapping[str, Path]] = {
    "secure": ("session", "cookie", "secure"),
    "same_site": ("session", "cookie", "same-site"),
    "cookie_domain": ("session", "cookie", "domain"),
    "cookie_path": ("session", "cookie", "path"),
    "redirection_url": ("session", "redirection-url"),
    "store_url": ("session", "store"),
    "encryption_key": ("session", "encryption-key"),
    "login_parameters": ("session", "login-parameters"),
}


def check(policy: Policy, building: Building) -> None:
    """Every problem of the policy's session and of who logs in; a note for what a file does not show."""
    terms = Terms(
        where=lambda field: building.where(_PATHS[field]),
        names={field: ".".join(str(part) for part in path) for field, path in _PATHS.items()},
        trusted="trusted-proxies: 10.0.0.0/8",
    )
    building.problems.extend(check_login(policy, terms))
    building.problems.extend(_domains(policy))
    session = policy.session
    if session is None:
        return
    building.problems.extend([*_address(session, building), *_keys(session, building)])
    building.problems.extend(_nobody(policy, building))
    if session.in_cookies:
        building.complain(
            "store-cookie", _COOKIES_CANNOT, _PATHS["store_url"], hint=_NO_COOKIES, severity=_WARNING
        )
    building.notes.extend(
        f"{one.where}: {one.client_id} logs in as a public client: there is no client-secret"
        for one in public_clients(policy)
    )
    if session.cookie != session.cookie_name:
        place = building.where(("session",))
        building.notes.append(
            f"{place}: browsers know the session cookie as {session.cookie}: it is secure, for one host and for every path"
        )


_WARNING: Final = Severity.WARNING
_COOKIES_CANNOT: Final = (
    "sessions that the browser keeps cannot be listed, nor ended from elsewhere (revocation, logout at the issuer) before "
    "their tokens end; their tokens have to fit into 12 KB, and several replicas may refresh one of them at once"
)
_NO_COOKIES: Final = "keep them in a Redis, or on this machine (local), where that matters"


def _address(session: Session, building: Building) -> Iterator[Problem]:
    url = session.redirection_url
    if session.secure and url is not None and url.startswith("http://"):
        hint = "write https://, or for a test on this machine session.cookie.secure: false"
        message = "browsers do not send a secure cookie to an http:// address"
        where = building.where(_PATHS["redirection_url"])
        yield Problem(code="cookie-insecure-url", message=message, where=where, got=shown(url), hint=hint)


def _keys(session: Session, building: Building) -> Iterator[Problem]:
    if session.old_encryption_keys and session.encryption_key is None:
        hint = "name the key that is used now in encryption-key"
        message = "there are old keys, and none that seals"
        where = building.where(("session", "old-encryption-keys"))
        yield Problem(code="encryption-key", message=message, where=where, hint=hint)


def _nobody(policy: Policy, building: Building) -> Iterator[Problem]:
    if not policy.login_providers():
        hint = "give a provider its client-id, or remove session"
        message = "nobody can log in: no provider has a client"
        where = building.where(("session",))
        yield Problem(code="login-provider", message=message, where=where, hint=hint, severity=_WARNING)


def _domains(policy: Policy) -> Iterator[Problem]:
    """One e-mail domain of two providers: nobody could tell where its people log in."""
    seen: dict[str, Provider] = {}
    for provider in policy.providers:
        for domain in provider.email_domains:
            first = seen.setdefault(domain.casefold(), provider)
            if first is not provider:
                message = f"{first.name} has this domain, too: nobody could tell where its people log in"
                yield Problem(
                    code="email-domain",
                    message=message,
                    where=provider.where,
                    got=shown(domain),
                    hint="keep it at one provider",
                )
