"""
The headers of a gatekeeper configuration: identity for the upstream, fixed ones for either side, CORS.

`headers` and `response-headers` mean one thing in gatekeeper (fixed headers to the upstream, fixed headers to the
browser) and another in S0's text (security headers to the browser, claims to the upstream): the reading decides.

Source: gogatekeeper 4.11.0, pkg/proxy/middleware/base.go; S0, "Advanced Security Configuration for Gatekeeper".
"""

from __future__ import annotations

import re
from typing import Final

from wardgate.dialects._gatekeeper_keys import GatekeeperReading
from wardgate.dialects._gatekeeper_settings import Findings, Settings
from wardgate.policy import (
    TOKEN,
    ClaimValue,
    Cors,
    IdentityHeader,
    RawToken,
    Source,
    check_header_name,
)
from wardgate.problems import Where

BUILT_IN: Final = {
    "audience": ("X-Auth-Audience", ("aud",)),
    "email": ("X-Auth-Email", ("email",)),
    "expiresin": ("X-Auth-Expiresin", ("exp",)),
    "groups": ("X-Auth-Groups", ("groups",)),
    "roles": ("X-Auth-Roles", ("realm_access", "roles")),
    "subject": ("X-Auth-Subject", ("sub",)),
    "userid": ("X-Auth-Userid", ("preferred_username",)),
    "username": ("X-Auth-Username", ("preferred_username",)),
}
"""What gatekeeper sets by itself, by the name that exclude-claims has for it."""

_OTHERWISE: Final = {
    "expiresin": "X-Auth-Expiresin is seconds since 1970, not Go's text of a time",
    "roles": "X-Auth-Roles has realm roles only, not client:role",
}

_S0_CLAIMS: Final = {"audience": ("aud",)}
_TOKENS: Final = {"access_token": RawToken(), "id_token": RawToken(source=Source.ID)}
"""S0's words that are no claims."""

_SECURITY_HEADERS: Final = frozenset(
    {
        "x-frame-options",
        "x-content-type-options",
        "x-xss-protection",
        "strict-transport-security",
        "content-security-policy",
        "referrer-policy",
        "permissions-policy",
    }
)

_FILTERS: Final = (
    ("filter-browser-xss", "X-XSS-Protection", "1; mode=block"),
    ("filter-content-nosniff", "X-Content-Type-Options", "nosniff"),
    ("filter-frame-deny", "X-Frame-Options", "DENY"),
)

Pairs = tuple[tuple[str, str], ...]


# --- Identity ---------------------------------------------------------------------------------------------------------


def identity_of(
    settings: Settings, reading: GatekeeperReading, findings: Findings
) -> tuple[IdentityHeader, ...]:
    """
    Identity headers for the upstream; of two with one name the later.

    Under the s0 reading, when `response-headers` is there, exactly its headers, what `enable-token-header` asks for
    when it is there, too, and add-claims, if any.
    """
    s0 = reading is GatekeeperReading.S0 and settings.given("response-headers")
    headers = _mapped(settings, findings) if s0 else _built_in(settings, findings)
    if not s0 or settings.given("enable-token-header"):
        mapped = {header.name.lower() for header in headers}
        headers += [header for header in _token(settings) if header.name.lower() not in mapped]
    headers += _added(settings, findings)
    if settings.flag("no-proxy"):
        headers += _for_proxies(settings)
    by_name = {header.name.lower(): header for header in headers}
    return tuple(by_name.values())


def _built_in(settings: Settings, findings: Findings) -> list[IdentityHeader]:
    excluded = {name.lower().replace("-", "").replace("_", "") for name in settings.texts("exclude-claims")}
    for index, name in enumerate(settings.texts("exclude-claims")):
        if name.lower() not in BUILT_IN:
            hint = f"one of {', '.join(BUILT_IN)}"
            where = settings.where("exclude-claims", index)
            findings.refuse("value-choice", "is no identity header", where, name, hint)
    kept = {word: header for word, header in BUILT_IN.items() if word not in excluded}
    otherwise = [text for word, text in _OTHERWISE.items() if word in kept]
    if otherwise:
        hint = "leave out what the application does not read with exclude-claims"
        message = "identity headers are not as in gatekeeper: " + "; ".join(otherwise)
        where = (
            settings.where("exclude-claims")
            if settings.given("exclude-claims")
            else settings.document.where()
        )
        findings.warn("differs", message, where, hint=hint)
    return [
        IdentityHeader(name=name, value=ClaimValue(path=path), where=settings.where("exclude-claims"))
        for name, path in kept.values()
    ]


def _for_proxies(settings: Settings) -> list[IdentityHeader]:
    """What S0's ingress takes out of an answer (`auth-response-headers`)."""
    told = {"User": "preferred_username", "Email": "email", "Groups": "groups"}
    where = settings.where("no-proxy")
    return [
        IdentityHeader(name=f"X-Auth-Request-{name}", value=ClaimValue(path=(claim,)), where=where)
        for name, claim in told.items()
    ]


def _token(settings: Settings) -> list[IdentityHeader]:
    where = settings.where("enable-token-header")
    wanted = settings.flag("enable-token-header")
    return [IdentityHeader(name="X-Auth-Token", value=RawToken(), where=where)] if wanted else []


def _mapped(settings: Settings, findings: Findings) -> list[IdentityHeader]:
    """S0's form: the header's name, and the claim that fills it."""
    headers = []
    for name, claim in settings.pairs("response-headers"):
        where = settings.where("response-headers", name)
        if claim == "refresh_token":
            hint = "access_token and id_token can be passed on"
            findings.warn("unsupported", "is not passed to an upstream", where, claim, hint)
            continue
        path = _claim_path(claim)
        if not all(path):
            hint = "write the claim's name, with dots where it is nested: realm_access.roles"
            findings.refuse("claim-path", "is not the name of a claim", where, claim, hint)
            continue
        header = _identity(name, _TOKENS.get(claim) or ClaimValue(path=path), where, findings)
        headers += [header] if header is not None else []
    return headers


def _claim_path(claim: str) -> tuple[str, ...]:
    """A claim that is named by a URL (OpenID Connect Core, 5.1.2) is one name, dots and all."""
    if claim in _S0_CLAIMS:
        return _S0_CLAIMS[claim]
    return (claim,) if "/" in claim else tuple(claim.split("."))


def _added(settings: Settings, findings: Findings) -> list[IdentityHeader]:
    """gatekeeper lets userinfo win over the ID token, and that over the access token; here a header has one source."""
    source = Source.ID if settings.flag("enable-id-token-claims") else Source.ACCESS
    source = Source.USERINFO if settings.flag("enable-user-info-claims") else source
    headers = []
    for index, item in enumerate(settings.texts("add-claims")):
        where = settings.where("add-claims", index)
        claim, _, wanted = item.partition("|")
        name = header_name(wanted) if wanted else "X-Auth-" + header_name(claim)
        if not claim:
            findings.refuse(
                "claim-path", "is not the name of a claim", where, item, "write claim or claim|Header"
            )
            continue
        header = _identity(name, ClaimValue(path=(claim,), source=source), where, findings)
        headers += [header] if header is not None else []
    return headers


def _identity(
    name: str, value: ClaimValue | RawToken, where: Where, findings: Findings
) -> IdentityHeader | None:
    return findings.attempt(lambda: IdentityHeader(name=name, value=value, where=where))


def header_name(claim: str) -> str:
    """gatekeeper's name for a claim's header: `given_name` is Given-Name (pkg/utils, ToHeader)."""
    words = re.split(r"[_$><\[\].,+\-/'%^&*()!\\]+", claim)
    return "-".join(word[:1].upper() + word[1:] for word in words)


# --- Fixed headers ----------------------------------------------------------------------------------------------------


def to_upstream(settings: Settings, reading: GatekeeperReading, findings: Findings) -> Pairs:
    if reading is GatekeeperReading.S0:
        return ()
    security = [name for name, _ in settings.pairs("headers") if name.lower() in _SECURITY_HEADERS]
    if security:
        hint = "for the browser write response-headers; for S0's meaning --gatekeeper-reading s0"
        message = "is sent to the upstream, not to the browser, as gatekeeper does"
        findings.warn("reading-doubt", message, settings.where("headers", security[0]), hint=hint)
    return _checked("headers", settings, findings)


def to_browser(settings: Settings, reading: GatekeeperReading, findings: Findings) -> Pairs:
    """Of two with one name the configuration's own wins over what the security filter sets."""
    found: dict[str, tuple[str, str]] = {}
    if settings.flag("enable-security-filter"):
        filters = [(name, value) for key, name, value in _FILTERS if settings.flag(key)]
        csp = settings.text("content-security-policy")
        filters += [("Content-Security-Policy", csp)] if csp else []
        found |= {name.lower(): (name, value) for name, value in filters}
    key = "headers" if reading is GatekeeperReading.S0 else "response-headers"
    found |= {name.lower(): (name, value) for name, value in _checked(key, settings, findings)}
    if reading is GatekeeperReading.PRODUCT:
        _doubt_claims(settings, findings)
    return tuple(found.values())


def _doubt_claims(settings: Settings, findings: Findings) -> None:
    """`X-Auth-Email: email` in a response header: S0's form in a file that is read as gatekeeper's."""
    claims = {"audience", "email", "exp", "groups", "sub", "preferred_username", "access_token"}
    for name, value in settings.pairs("response-headers"):
        if name.lower().startswith("x-auth-") and (value in claims or value.startswith("realm_access.")):
            hint = "for claims to the upstream write add-claims; for S0's meaning --gatekeeper-reading s0"
            message = "is sent to the browser with this very text, as gatekeeper does"
            where = settings.where("response-headers", name)
            findings.warn("reading-doubt", message, where, value, hint)


def _checked(key: str, settings: Settings, findings: Findings) -> Pairs:
    kept = []
    for name, value in settings.pairs(key):
        where = settings.where(key, name)
        if name.lower() == "host":
            hint = "set preserve-host, or name the host in upstream-url"
            findings.warn("unsupported", "the Host of requests cannot be set", where, hint=hint)
        elif re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            findings.refuse("header-form", "has a line break or a control character", where)
        else:
            findings.attempt(lambda name=name, where=where: check_header_name(name, where))  # type: ignore[misc]
            kept.append((name, value.strip()))
    return tuple(kept)


def check_issuer_headers(settings: Settings, findings: Findings) -> None:
    """Values may be credentials: they are never printed."""
    for name, value in settings.pairs("openid-provider-headers"):
        if not TOKEN.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            where = settings.where("openid-provider-headers", name)
            findings.refuse("header-form", "is not a header and its value", where)


# --- CORS -------------------------------------------------------------------------------------------------------------

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#*@]+")


def cors_of(settings: Settings, findings: Findings) -> Cors | None:
    """None without an origin that can be. What gatekeeper's library takes for empty lists is written out."""
    given = settings.texts("cors-origins")
    if not given:
        return None
    origins = tuple(
        origin for index, origin in enumerate(given) if _is_origin(index, origin, settings, findings)
    )
    if not origins:
        return None
    for name in ("cors-methods", "cors-headers", "cors-exposed-headers"):
        for index, item in enumerate(settings.texts(name)):
            if not TOKEN.fullmatch(item):
                findings.refuse(
                    "header-form", "is not a method or header name", settings.where(name, index), item
                )
    age = settings.duration("cors-max-age")
    return findings.attempt(
        lambda: Cors(
            origins=origins,
            methods=settings.texts("cors-methods") or ("GET", "HEAD", "POST"),
            headers=settings.texts("cors-headers") or ("Accept", "Content-Type", "X-Requested-With"),
            exposed=settings.texts("cors-exposed-headers"),
            max_age=age if age else None,
            credentials=settings.flag("cors-credentials"),
            where=settings.where("cors-origins"),
        )
    )


def _is_origin(index: int, origin: str, settings: Settings, findings: Findings) -> bool:
    if origin == "*" or _ORIGIN.fullmatch(origin):
        return True
    where = settings.where("cors-origins", index)
    if "*" in origin:
        hint = "list each origin; scripts of this one are not allowed now"
        findings.warn("unsupported", "an origin with a * in it is not supported", where, origin, hint)
    else:
        hint = "write scheme and host alone, as browsers send it: https://app.example.com"
        findings.warn("cors-origin", "no browser sends this as an origin", where, origin, hint)
    return False
