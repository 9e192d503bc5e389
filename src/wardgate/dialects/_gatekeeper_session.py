"""
The browser session that a gatekeeper configuration describes: cookie, store, login, logout.

Not the rules of paths, nor what does not fit together about a login in any format (`_login`).

Source: gogatekeeper 4.11.0, pkg/keycloak/config/config.go; S0, "Session Storage Configuration".
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from wardgate.dialects._gatekeeper_edges import url_of
from wardgate.dialects._gatekeeper_keys import GatekeeperReading
from wardgate.dialects._gatekeeper_settings import Findings, Settings
from wardgate.dialects._login import Terms
from wardgate.policy import TOKEN, ClientTls, LoginParameter, SameSite, Session
from wardgate.problems import Where

_AES_BYTES: Final = (16, 24, 32)
_DOMAIN: Final = re.compile(
    r"\.?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
)
_COOKIE_PATH: Final = re.compile(r"/[^;,\s\x00-\x1f\x7f]*")
_PAGES: Final = (("sign-in", "sign-in-page"), ("forbidden", "forbidden-page"), ("error", "error-page"))
_URLS: Final = ("redirection-url", "post-logout-redirect-uri", "post-logout-redirect-url", "revocation-url")
_COOKIE_NAMES: Final = (
    "cookie-access-name",
    "cookie-refresh-name",
    "cookie-id-token-name",
    "cookie-oauth-state-name",
    "cookie-request-uri-name",
    "cookie-pkce-name",
)


def session_of(settings: Settings, reading: GatekeeperReading, findings: Findings) -> Session | None:
    """
    The session as the file has it.

    Under the s0 reading it is refreshed where `enable-refresh-tokens` is absent (S0 names the refresh cookie and the store),
    and a logout ends the session at the issuer where `enable-logout-redirect` is absent and the file says where it ends.
    """
    _check_cookie(settings, findings)
    _check_encryption_key(settings, findings)
    _check_store(settings, findings)
    for name in _URLS:
        url_of(name, settings, findings)
    _check_redirection_url(settings, findings)
    base = Session()
    s0 = reading is GatekeeperReading.S0
    ends = settings.text("post-logout-redirect-uri") or settings.text("post-logout-redirect-url")
    idle = (
        settings.duration("access-token-duration") if settings.given("access-token-duration") else base.idle
    )
    return findings.attempt(
        lambda: Session(
            cookie_name=settings.text("cookie-access-name"),
            cookie_domain=settings.text("cookie-domain") or None,
            cookie_path=settings.text("cookie-path") or "/",
            secure=settings.flag("secure-cookie"),
            same_site=_same_site(settings, findings),
            persistent=not settings.flag("enable-session-cookies"),
            idle=idle,
            store_url=settings.secret("store-url"),
            encryption_key=settings.secret("encryption-key"),
            redirection_url=settings.text("redirection-url").rstrip("/") or None,
            post_logout_url=ends or None,
            scopes=tuple(dict.fromkeys(("openid", *settings.texts("scopes")))),
            pkce=settings.flag("enable-pkce"),
            refresh=_flag_or("enable-refresh-tokens", s0, settings),
            password_login=settings.flag("enable-login-handler"),
            login_parameters=_login_parameters(settings, findings),
            post_login_path=settings.text("post-login-redirect-path") or None,
            logout_by_get=True,
            logout_at_issuer=_flag_or("enable-logout-redirect", s0 and bool(ends), settings),
            revocation_url=settings.text("revocation-url") or None,
            forward_authorization=settings.flag("enable-authorization-header"),
            store_tls=_store_tls(settings),
            store_cluster=settings.flag("enable-store-ha"),
            pages=tuple((page, file) for page, name in _PAGES if (file := settings.file(name))),
            page_values=settings.pairs("tags"),
            where=settings.where("cookie-access-name"),
        )
    )


def terms_of(settings: Settings) -> Terms:
    """What the fields of a session are called in these files."""
    return Terms(where=lambda field: _where(_NAMES[field], settings), names=_NAMES)


_NAMES: Final = {
    "secure": "secure-cookie",
    "same_site": "same-site-cookie",
    "cookie_domain": "cookie-domain",
    "cookie_path": "cookie-path",
    "redirection_url": "redirection-url",
    "store_url": "store-url",
    "encryption_key": "encryption-key",
    "login_parameters": "allowed-query-params",
}


def _where(name: str, settings: Settings) -> Where:
    """The key's place; the file's where nobody wrote it."""
    return settings.where(name) if settings.given(name) else settings.document.where()


def _flag_or(name: str, otherwise: bool, settings: Settings) -> bool:
    """What the file says, or `otherwise` where it is silent."""
    return settings.flag(name) if settings.given(name) else otherwise


def _check_redirection_url(settings: Settings, findings: Findings) -> None:
    url = settings.text("redirection-url")
    if "?" in url or "#" in url:
        hint = "write the gateway's address alone: https://app.example.com"
        where = settings.where("redirection-url")
        findings.refuse("url-form", "takes a URL without query and fragment", where, url, hint)


def same_site_is_exact(settings: Settings) -> bool:
    """gatekeeper takes Strict, Lax and None in exactly this spelling; S0 writes `strict`."""
    value, exact = settings.text("same-site-cookie"), ("Strict", "Lax", "None")
    return value in exact or value.capitalize() not in exact


def _same_site(settings: Settings, findings: Findings) -> SameSite:
    value = settings.text("same-site-cookie").lower() or "lax"
    if value in [choice.value for choice in SameSite]:
        return SameSite(value)
    where, got = settings.where("same-site-cookie"), settings.text("same-site-cookie")
    findings.refuse("value-choice", "takes Strict, Lax or None", where, got)
    return SameSite.LAX


def _check_cookie(settings: Settings, findings: Findings) -> None:
    for name in _COOKIE_NAMES:
        if not TOKEN.fullmatch(settings.text(name)):
            hint = "letters, digits, - and _"
            findings.refuse(
                "cookie-form", "is not a cookie name", settings.where(name), settings.text(name), hint
            )
    domain, path = settings.text("cookie-domain"), settings.text("cookie-path")
    if domain and not _DOMAIN.fullmatch(domain):
        hint = "a host name alone, .example.com or example.com"
        findings.refuse("cookie-form", "is not a domain", settings.where("cookie-domain"), domain, hint)
    if path and not _COOKIE_PATH.fullmatch(path):
        findings.refuse("cookie-form", "a cookie's path starts with /", settings.where("cookie-path"), path)


def _check_encryption_key(settings: Settings, findings: Findings) -> None:
    key = settings.text("encryption-key")
    if not key or len(key.encode()) in _AES_BYTES or _decoded_length(key) in _AES_BYTES:
        return
    hint = "make one with: openssl rand -base64 32"
    message = "takes base64 of 16, 24 or 32 bytes, or as many characters"
    where = settings.where("encryption-key")
    findings.refuse("encryption-key", f"{message}; this has {len(key)} characters", where, hint=hint)


def _decoded_length(key: str) -> int:
    """Bytes behind standard or URL-safe base64, with or without padding; 0 when it is neither."""
    plain = key.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return len(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except (binascii.Error, ValueError):
        return 0


def _check_store(settings: Settings, findings: Findings) -> None:
    """The store's URL holds a password: it is never printed."""
    value, where = settings.text("store-url"), settings.where("store-url")
    if value and not re.fullmatch(r"rediss?://[^\s/][^\s]*", value):
        hint = "write redis://HOST:6379/0, or rediss:// for TLS"
        findings.refuse("store-url", "is not the URL of a Redis", where, hint=hint)
    if "master_name=" in value:
        hint = "name the Redis itself, or a Redis Cluster (enable-store-ha)"
        findings.refuse("store-url", "Redis Sentinel is not supported", where, hint=hint)
    if value.startswith("rediss://") and not settings.text("tls-store-ca-certificate"):
        hint = "set tls-store-ca-certificate"
        findings.refuse("store-tls", "rediss:// needs the CA of its certificate", where, hint=hint)
    plain = value.startswith("redis://")
    for name in ("tls-store-ca-certificate", "tls-store-client-certificate", "tls-store-client-private-key"):
        if plain and settings.text(name):
            hint = "write rediss:// in store-url, or remove the key"
            findings.refuse("store-tls", "has no effect on redis://", settings.where(name), hint=hint)
    if not value and settings.flag("enable-store-ha"):
        message = "needs a store-url"
        findings.refuse("store-url", message, settings.where("enable-store-ha"), hint="set store-url")


def _store_tls(settings: Settings) -> ClientTls | None:
    if not settings.text("store-url").startswith("rediss://"):
        return None
    return ClientTls(
        ca=settings.file("tls-store-ca-certificate"),
        certificate=settings.file("tls-store-client-certificate"),
        key=settings.file("tls-store-client-private-key"),
    )


def _login_parameters(settings: Settings, findings: Findings) -> tuple[LoginParameter, ...]:
    allowed, defaults = (
        dict(settings.pairs("allowed-query-params")),
        dict(settings.pairs("default-allowed-query-params")),
    )
    for name, value in defaults.items():
        where = settings.where("default-allowed-query-params", name)
        if name not in allowed:
            hint = "add it to allowed-query-params"
            findings.refuse("login-parameter", "has a default, but is not allowed", where, name, hint)
        elif not value or allowed[name] not in ("", value):
            hint = "give the value that allowed-query-params has"
            findings.refuse("login-parameter", "is not a value that is allowed", where, value, hint)
    return tuple(
        LoginParameter(name=name, only=only or None, default=defaults.get(name))
        for name, only in allowed.items()
    )
