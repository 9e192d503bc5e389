"""
What one key says about another: combinations with which gatekeeper does not start, and keys that turn a check off.

Not the types of values (`_gatekeeper_settings`). Left out on purpose: "encryption-key missing" and "PKCE with
no-redirects" where only a default of gatekeeper's makes them an error, and the form of discovery-url (any issuer).

Source: gogatekeeper 4.11.0, pkg/keycloak/config/config.go, IsValid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wardgate.dialects._gatekeeper_keys import KEYS, GatekeeperReading, Say, Status
from wardgate.dialects._gatekeeper_settings import Findings, Settings
from wardgate.problems import Severity

# --- Keys that are not honoured -------------------------------------------------------------------------------------


def report(settings: Settings, reading: GatekeeperReading, findings: Findings) -> None:
    """Say of every key that is set, and not as gatekeeper would have it, what becomes of it."""
    for key in KEYS:
        if (
            key.status is Status.HONOURED
            or key.reading not in (None, reading)
            or key.name not in settings.values
        ):
            continue
        value = settings.values[key.name]
        if key.needs_no_word(value) or (key.until and key.say is not Say.ERROR):
            continue
        where = settings.where(key.name)
        unsupported = key.status is Status.UNSUPPORTED
        code, message = (
            ("unsupported", "is not supported") if unsupported else ("differs", "is not as in gatekeeper")
        )
        match key.say:
            case Say.NOTE:
                findings.note(f"{where}: {key.hint}")
            case Say.WARNING:
                findings.warn(code, message, where, hint=key.hint)
            case Say.ERROR:
                findings.refuse(code, message, where, hint=key.hint)


# --- Keys that turn a check off -------------------------------------------------------------------------------------

_INSECURE: Final = {
    "skip-token-verification": "has no effect: signatures are verified always",
    "skip-access-token-issuer-check": "has no effect: iss is compared always",
    "skip-access-token-clientid-check": "turns a check off: tokens made for other applications are accepted",
    "skip-openid-provider-tls-verify": "turns a check off: who is between here and the issuer can forge keys",
    "skip-upstream-tls-verify": "turns a check off: who is between here and the upstream reads everything",
}
"""Each with what holds when `--allow-insecure` lets it be."""


def check_insecure(settings: Settings, allowed: bool, findings: Findings) -> None:
    for name, effect in _INSECURE.items():
        if not settings.given(name) or not settings.flag(name):
            continue
        where = settings.where(name)
        if allowed:
            findings.warn("insecure", effect, where)
            findings.note(f"--allow-insecure: {name} {effect}")
        else:
            hint = "remove the key or set it to false; for a test only: --allow-insecure"
            findings.refuse("insecure", "turns a check off", where, hint=hint)


# --- Combinations ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Clash:
    """`at` is the key that the problem points to."""

    code: str
    at: str
    message: str
    hint: str
    severity: Severity = Severity.ERROR


def check_combinations(settings: Settings, findings: Findings) -> None:
    for clash in (*_filters(settings), *_pairs_of_files(settings), *_logins(settings), *_others(settings)):
        tell = findings.refuse if clash.severity is Severity.ERROR else findings.warn
        tell(clash.code, clash.message, settings.where(clash.at), hint=clash.hint)


def _filters(settings: Settings) -> Iterator[_Clash]:
    """What enable-security-filter switches on has no effect without it; gatekeeper refuses all but nosniff."""
    if settings.flag("enable-security-filter"):
        return
    for name in (
        "filter-browser-xss",
        "filter-frame-deny",
        "enable-https-redirection",
        "filter-content-nosniff",
    ):
        if settings.flag(name):
            quiet = name == "filter-content-nosniff"
            yield _without_filter(name, Severity.WARNING if quiet else Severity.ERROR)
    if settings.text("content-security-policy"):
        yield _without_filter("content-security-policy")
    if settings.texts("hostnames"):
        yield _without_filter("hostnames")


def _without_filter(name: str, severity: Severity = Severity.ERROR) -> _Clash:
    hint = "set enable-security-filter: true"
    return _Clash("security-filter-off", name, "has no effect without enable-security-filter", hint, severity)


_PAIRS: Final = (
    ("tls-cert", "tls-private-key"),
    ("tls-client-certificate", "tls-client-private-key"),
    ("tls-openid-provider-client-certificate", "tls-openid-provider-client-private-key"),
    ("tls-store-client-certificate", "tls-store-client-private-key"),
)


def _pairs_of_files(settings: Settings) -> Iterator[_Clash]:
    for certificate, key in _PAIRS:
        if bool(settings.text(certificate)) != bool(settings.text(key)):
            given, other = (certificate, key) if settings.text(certificate) else (key, certificate)
            yield _Clash("tls-pair", given, f"needs {other}", "a certificate and its key go together")
    for ca, skip in (
        ("upstream-ca", "skip-upstream-tls-verify"),
        ("tls-openid-provider-ca-certificate", "skip-openid-provider-tls-verify"),
    ):
        if settings.text(ca) and settings.flag(skip):
            yield _Clash("tls-pair", skip, f"makes {ca} useless", f"remove {skip}")
    if settings.text("upstream-ca") and settings.text("upstream-url").startswith("http://"):
        message = "has no effect on an http:// upstream"
        yield _Clash("tls-pair", "upstream-ca", message, "write https:// in upstream-url", Severity.WARNING)


def _logins(settings: Settings) -> Iterator[_Clash]:
    silent = settings.flag("no-redirects")
    if silent and settings.given("enable-pkce") and settings.flag("enable-pkce"):
        yield _Clash(
            "login-conflict", "enable-pkce", "needs a login, and no-redirects allows none", "keep one"
        )
    if silent and settings.flag("enable-loa"):
        yield _Clash(
            "login-conflict", "enable-loa", "needs a login, and no-redirects allows none", "keep one"
        )
    if settings.flag("enable-loa") and settings.flag("enable-uma"):
        yield _Clash("login-conflict", "enable-loa", "excludes enable-uma", "remove enable-uma")
    for name in ("post-login-redirect-path", "allowed-query-params", "default-allowed-query-params"):
        if silent and settings.values.get(name):
            yield _Clash("login-conflict", name, "needs a login, and no-redirects allows none", "keep one")
    if settings.text("post-login-redirect-path") and not settings.text("post-login-redirect-path").startswith(
        "/"
    ):
        yield _Clash("path-form", "post-login-redirect-path", "takes a path, not a URL", "write /PATH")
    elif settings.text("post-login-redirect-path").startswith("//"):
        yield _Clash("path-form", "post-login-redirect-path", "takes a path, not another host", "write /PATH")
    if (
        settings.flag("secure-cookie")
        and settings.text("redirection-url").startswith("http://")
        and not silent
    ):
        hint = "write https://, or for a test on this machine secure-cookie: false"
        message = "browsers do not send a secure cookie to an http:// address"
        yield _Clash("cookie-insecure-url", "redirection-url", message, hint)
    if settings.text("post-logout-redirect-uri") and not settings.flag("enable-id-token-cookie"):
        hint = "set enable-id-token-cookie: true; it only says that the ID token is kept"
        yield _Clash("logout-conflict", "post-logout-redirect-uri", "needs enable-id-token-cookie", hint)
    if settings.flag("enable-id-token-claims") and not settings.flag("enable-id-token-cookie"):
        hint = "set enable-id-token-cookie: true; it only says that the ID token is kept"
        yield _Clash("login-conflict", "enable-id-token-claims", "needs enable-id-token-cookie", hint)
    if not settings.flag("enable-logout-auth") and not settings.flag("enable-logout-redirect"):
        yield _Clash(
            "logout-conflict", "enable-logout-auth", "needs enable-logout-redirect", "set it to true"
        )
    if settings.flag("enable-x-forwarded-headers") and settings.text("redirection-url"):
        hint = "remove enable-x-forwarded-headers"
        yield _Clash("login-conflict", "enable-x-forwarded-headers", "excludes redirection-url", hint)
    yield from _keys_of_sessions(settings)


def _keys_of_sessions(settings: Settings) -> Iterator[_Clash]:
    """With a store or refresh tokens, gatekeeper wants a key; where only a default asks for it, one is made."""
    if settings.given("encryption-key"):
        return
    hint = "make one with: openssl rand -base64 32"
    for name in ("enable-refresh-tokens", "force-encrypted-cookie", "enable-encrypted-token"):
        if settings.given(name) and settings.flag(name):
            yield _Clash("encryption-key", name, "needs an encryption-key", hint)
    if settings.flag("enable-encrypted-token") or settings.flag("force-encrypted-cookie"):
        return
    if settings.flag("enable-optional-encryption"):
        message = "needs enable-encrypted-token or force-encrypted-cookie"
        yield _Clash("login-conflict", "enable-optional-encryption", message, "remove it")


def _others(settings: Settings) -> Iterator[_Clash]:
    if settings.flag("enable-default-deny-strict") and settings.given("enable-default-deny"):
        if settings.flag("enable-default-deny"):
            message = "excludes enable-default-deny"
            yield _Clash(
                "default-deny-conflict", "enable-default-deny-strict", message, "keep one of the two"
            )
    elif settings.flag("enable-default-deny-strict") and settings.flag("enable-default-deny"):
        hint = "gatekeeper also wants enable-default-deny: false; add it to say so"
        message = "is taken instead of enable-default-deny, which is on when absent"
        yield _Clash("default-deny-conflict", "enable-default-deny-strict", message, hint, Severity.WARNING)
    if settings.flag("enable-uma") and settings.flag("enable-opa"):
        yield _Clash("login-conflict", "enable-opa", "excludes enable-uma", "keep one of the two")
    if settings.texts("cors-origins") == ():
        for name in (
            "cors-methods",
            "cors-headers",
            "cors-exposed-headers",
            "cors-credentials",
            "cors-max-age",
        ):
            if settings.values.get(name):
                hint = "name the origins that may call in cors-origins"
                yield _Clash(
                    "cors-without-origins", name, "has no effect without cors-origins", hint, Severity.WARNING
                )
    root = settings.text("file-root")
    for key in KEYS:
        path = (
            settings.text(key.name) if root and key.type.value == "file" and key.name != "file-root" else ""
        )
        if path.startswith("/") or ".." in path.split("/"):
            yield _Clash("file-outside-root", key.name, f"leaves file-root {root}", "write a name inside it")
