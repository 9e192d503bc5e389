"""
Why a browser does not keep a login or a session: the likely causes, from what can be seen of it. Pure.

Each names what was seen, for the person, and what to set, for whoever runs the gateway.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from wardgate.policy import SameSite
from wardgate.policy import Session as Terms
from wardgate.service.asking import Asking
from wardgate.service.choosing import host_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """`text` is for the person, `remedy` for whoever runs the gateway."""

    title: str
    text: str
    remedy: str = ""


def causes(terms: Terms, asking: Asking, base: str | None) -> list[Cause]:
    """The causes that fit what this browser sends; the general ones when none does."""
    found = [*_of_cookies(terms, asking), *_of_places(asking, base)]
    return found or [_BLOCKED, _CLOCK]


_BLOCKED = Cause(
    title="Cookies are blocked.",
    text="The browser does not send back the cookie that says who you are.",
    remedy="If it happens to everybody: compare the cookie's attributes in the browser's tools with the session's "
    "settings (cookie domain, path, Secure, SameSite).",
)
_CLOCK = Cause(
    title="Clocks differ.",
    text="Your sign-in may have been over when it reached us.",
    remedy="Compare the clocks of this machine, of the session store and of the issuer; and the lifetime of the "
    "issuer's access tokens, which should be minutes.",
)


def _of_cookies(terms: Terms, asking: Asking) -> Iterator[Cause]:
    name = host_name(asking.host)
    if terms.cookie_domain is not None and not _below(name, terms.cookie_domain):
        yield Cause(
            title="The cookie's domain does not fit this address.",
            text=f"The cookie is for {terms.cookie_domain}, and you are at {name}: browsers refuse it.",
            remedy=f"Set the session's cookie domain to one that {name} lies below, or leave it out.",
        )
    if terms.secure and asking.scheme == "http":
        yield Cause(
            title="The cookie needs https.",
            text="The cookie is marked Secure, and you came here by http: browsers do not keep it.",
            remedy="Serve the gateway by https (a proxy before it has to be among the trusted proxies and send "
            "X-Forwarded-Proto), or, on a test machine only, set the cookie to be not secure.",
        )
    if terms.same_site is SameSite.NONE and not terms.secure:
        yield Cause(
            title="A cookie for all sites has to be Secure.",
            text="The cookie says SameSite=None without Secure: browsers refuse it.",
            remedy="Set the cookie to be secure, or SameSite to lax.",
        )
    if not asking.cookies:
        yield _BLOCKED


def _of_places(asking: Asking, base: str | None) -> Iterator[Cause]:
    name, ours = host_name(asking.host), host_name((base or "").partition("://")[2].partition("/")[0])
    if base is not None and name and name != ours:
        yield Cause(
            title="You are at another address than the one that you are sent back to.",
            text=f"You are at {name}; after signing in you come back to {ours}, which does not know what began here.",
            remedy=f"Set redirection-url to the address that people use, or a cookie domain above both {name} "
            f"and {ours}; or let {name} lead to {ours}.",
        )


def _below(name: str, domain: str) -> bool:
    bare = domain.lstrip(".").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == bare or name.endswith("." + bare)
    return name == bare
