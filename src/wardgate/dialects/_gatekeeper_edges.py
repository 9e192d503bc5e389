"""
What a gatekeeper configuration connects: listeners, the issuer, the upstream, the admin address, the limits.

Not who may do what (`_gatekeeper_resources`). Files are named here, never opened.

Source: gogatekeeper 4.11.0, pkg/keycloak/config/config.go; S0, "Network Security Configuration" (port 9090).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final
from urllib.parse import SplitResult, urlsplit

from wardgate.dialects._gatekeeper_keys import GatekeeperReading
from wardgate.dialects._gatekeeper_settings import Findings, Settings
from wardgate.policy import (
    Address,
    Audiences,
    ClientAuthentication,
    ClientTls,
    Endpoint,
    Endpoints,
    ForwardAuth,
    Host,
    Introspection,
    Limits,
    Listener,
    Provider,
    ServerTls,
    UncheckedAudience,
    Upstream,
    asked_by_headers,
)
from wardgate.problems import Where

PROVIDER: Final = "keycloak"
"""The name of the one provider that a gatekeeper configuration has."""

UPSTREAM: Final = "upstream"

METRICS_PORT: Final = 9090
"""Where S0's Service and NetworkPolicy expect the metrics."""

_DISCOVERY: Final = "/.well-known/openid-configuration"
_MOST_HEADER_KIB: Final = 8192
"""Envoy's own maximum of max_request_headers_kb."""


def url_of(
    name: str, settings: Settings, findings: Findings, schemes: Sequence[str] = ("http", "https")
) -> SplitResult | None:
    """The URL that the key holds, with a host; None when it is absent or wrong. Its user and password never print."""
    value = settings.text(name)
    if not value:
        return None
    hint = f"write {schemes[-1]}://HOST"
    try:
        url = urlsplit(value)
        sound = url.scheme in schemes and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        sound = False
    if not sound or re.search(r"[\s\x00-\x1f\x7f]", value):
        got = "" if "@" in value else value
        findings.refuse("url-form", f"takes a URL ({' or '.join(schemes)})", settings.where(name), got, hint)
        return None
    if url.username is not None or url.password is not None:
        hint = "remove USER:PASSWORD@"
        findings.refuse("url-form", "takes a URL without user and password", settings.where(name), hint=hint)
        return None
    return url


_EXAMPLES: Final = {
    "discovery-url": "https://HOST/realms/REALM",
    "client-id": "CLIENT",
    "upstream-url": "http://HOST:PORT",
    "listen": "0.0.0.0:3000",
}


def required(name: str, settings: Settings, findings: Findings) -> bool:
    """Whether the key has a value; gatekeeper does not start without it."""
    if settings.text(name):
        return True
    if not settings.given(name) or name in settings.values:
        message = f"{name} is missing" if not settings.given(name) else "is empty"
        where = settings.where(name) if settings.given(name) else settings.document.where()
        findings.refuse("key-missing", message, where, hint=f"write {name}: {_EXAMPLES[name]}")
    return False


# --- The issuer -------------------------------------------------------------------------------------------------------


def provider_of(
    settings: Settings, reading: GatekeeperReading, allow_insecure: bool, findings: Findings
) -> Provider | None:
    """The issuer of the tokens; where the file is silent, `iss` and `aud` = client-id are checked."""
    present = [required(name, settings, findings) for name in ("discovery-url", "client-id")]
    url = url_of("discovery-url", settings, findings)
    proxy = url_of("openid-provider-proxy", settings, findings)
    if url is None or not all(present):
        return None
    if url.query or url.fragment:
        hint = "write the issuer's URL alone"
        where = settings.where("discovery-url")
        findings.refuse("url-form", "takes a URL without query and fragment", where, url.geturl(), hint)
        return None
    unchecked = allow_insecure and settings.given("skip-access-token-clientid-check")
    unchecked = unchecked and settings.flag("skip-access-token-clientid-check")
    client, (ca, said) = settings.text("client-id"), _issuer_ca(settings, reading)
    if ca is not None and said != _ISSUER_CA:
        findings.note(f"{said} is read as the CA of the issuer's certificate, as S0 does: {ca}")
    checked = settings.flag("enable-idp-session-check")
    introspection = Introspection.ALWAYS if checked else Introspection.OFF
    return findings.attempt(
        lambda: Provider(
            name=PROVIDER,
            issuer=_issuer(url),
            audience=UncheckedAudience() if unchecked else Audiences(any_of=(client,)),
            leeway=settings.duration("token-validation-leeway"),
            timeout=settings.duration("openid-provider-timeout"),
            client_id=client,
            client_secret=settings.secret("client-secret"),
            client_authentication=_client_authentication(settings, findings),
            introspection=introspection,
            tls=ClientTls(
                ca=ca,
                certificate=settings.file("tls-openid-provider-client-certificate"),
                key=settings.file("tls-openid-provider-client-private-key"),
                verify=not (allow_insecure and settings.flag("skip-openid-provider-tls-verify")),
            ),
            headers=settings.pairs("openid-provider-headers"),
            proxy=proxy.geturl() if proxy is not None else None,
            where=settings.where("discovery-url"),
        )
    )


_CLIENT_AUTHENTICATION: Final = {
    "": ClientAuthentication.BASIC,
    "secret-basic": ClientAuthentication.BASIC,
    "secret-body": ClientAuthentication.POST,
}


def _client_authentication(settings: Settings, findings: Findings) -> ClientAuthentication:
    """What versions before 1.3.0 called client-auth-method."""
    value = settings.text("client-auth-method")
    if value not in _CLIENT_AUTHENTICATION:
        where = settings.where("client-auth-method")
        findings.refuse("value-choice", "takes secret-basic or secret-body", where, value)
    return _CLIENT_AUTHENTICATION.get(value, ClientAuthentication.BASIC)


def _issuer(url: SplitResult) -> str:
    """`iss` as the tokens have it: Keycloak's never ends with a slash, others' may."""
    text = url.geturl().removesuffix(_DISCOVERY)
    return text.rstrip("/") if "/realms/" in url.path else text


_ISSUER_CA: Final = "tls-openid-provider-ca-certificate"


def _issuer_ca(settings: Settings, reading: GatekeeperReading) -> tuple[str | None, str]:
    """The CA and the key that names it; under the s0 reading also `tls-ca-*` (S0, "SSL Certificate Issues")."""
    older = ("tls-ca-key", "tls-ca-certificate") if reading is GatekeeperReading.S0 else ()
    for name in (_ISSUER_CA, *older):
        if settings.given(name) and settings.file(name):
            return settings.file(name), name
    return None, _ISSUER_CA


# --- The upstream -----------------------------------------------------------------------------------------------------


def upstream_of(settings: Settings, allow_insecure: bool, findings: Findings) -> Upstream | None:
    if not settings.flag("no-proxy"):
        required("upstream-url", settings, findings)
    url = url_of("upstream-url", settings, findings)
    if url is None or url.hostname is None:
        return None
    where = settings.where("upstream-url")
    if url.query or url.fragment:
        findings.refuse("url-form", "takes a URL without query and fragment", where, url.geturl())
    if url.path not in ("", "/"):
        hint = "remove it; requests reach the upstream with the path that the client asked for"
        findings.warn("upstream-path", "the path is ignored, as gatekeeper does", where, url.path, hint)
    endpoint = Endpoint(host=url.hostname, port=url.port or (443 if url.scheme == "https" else 80))
    tls = ClientTls(
        ca=settings.file("upstream-ca"),
        certificate=settings.file("tls-client-certificate"),
        key=settings.file("tls-client-private-key"),
        verify=not (allow_insecure and settings.flag("skip-upstream-tls-verify")),
    )
    keepalive = (
        settings.duration("upstream-keepalive-timeout") if settings.flag("upstream-keepalives") else None
    )
    return findings.attempt(
        lambda: Upstream(
            name=UPSTREAM,
            endpoints=(endpoint,),
            tls=tls if url.scheme == "https" else None,
            connect_timeout=settings.duration("upstream-timeout"),
            response_timeout=settings.duration("upstream-response-header-timeout"),
            keepalive=keepalive,
            preserve_host=settings.flag("preserve-host"),
            where=where,
        )
    )


# --- Listeners ----------------------------------------------------------------------------------------------------------

_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")


def address_of(name: str, settings: Settings, findings: Findings) -> Address | None:
    """`HOST:PORT` or `:PORT` as Go reads it, every interface when the host is left out."""
    value, where = settings.text(name), settings.where(name)
    if not value:
        return None
    match = _ADDRESS.fullmatch(value)
    if match is None:
        hint = "write an address and a port: 0.0.0.0:3000, 127.0.0.1:3000, [::]:3000 or :3000"
        findings.refuse("listen-address", "is not an address to listen on", where, value, hint)
        return None
    host = match["six"] or match["host"] or ("::" if match["six"] is not None else "0.0.0.0")  # noqa: S104 - as Go
    host = "127.0.0.1" if host == "localhost" else host
    return findings.attempt(lambda: Address(host=host, port=int(match["port"]), where=where))


def listeners_of(
    settings: Settings, host: Host, endpoints: Endpoints, trusted: tuple[str, ...], findings: Findings
) -> tuple[Listener, ...]:
    required("listen", settings, findings)
    main = address_of("listen", settings, findings)
    plain = address_of("listen-http", settings, findings)
    asked = _forward_auth(settings, endpoints, trusted, findings)
    listeners = []
    if main is not None:
        tls = _server_tls(settings, findings)
        listeners.append(_listener("main", main, host, tls, asked, settings, findings))
    if plain is not None:
        listeners.append(_listener("http", plain, host, None, asked, settings, findings))
    return tuple(listener for listener in listeners if listener is not None)


def _forward_auth(
    settings: Settings, endpoints: Endpoints, trusted: tuple[str, ...], findings: Findings
) -> ForwardAuth | None:
    """
    With `no-proxy` at every path; else, as S0's nginx ingress asks, only at the endpoint where logins begin, and only
    where somebody is trusted to ask.
    """
    alone, where = settings.flag("no-proxy"), settings.where("no-proxy")
    if alone and not trusted:
        message = "nobody is trusted to ask: every question is answered with 403"
        hint = "start with --trusted-proxies (WARDGATE_TRUSTED_PROXIES), the networks of the proxies that ask"
        findings.warn("forward-auth-trust", message, where, hint=hint)
    if not alone and not trusted:
        return None
    path = "/" if alone else None
    return ForwardAuth(path=path, by_headers=asked_by_headers(endpoints), only=alone, where=where)


def _listener(
    name: str,
    address: Address,
    host: Host,
    tls: ServerTls | None,
    asked: ForwardAuth | None,
    settings: Settings,
    findings: Findings,
) -> Listener | None:
    return findings.attempt(
        lambda: Listener(
            name=name,
            address=address,
            hosts=(host,),
            tls=tls,
            redirect_to_https=settings.flag("enable-https-redirection"),
            proxy_protocol=settings.flag("enabled-proxy-protocol"),
            forward_auth=asked,
            where=address.where,
        )
    )


def _server_tls(settings: Settings, findings: Findings) -> ServerTls | None:
    certificate, key = settings.file("tls-cert"), settings.file("tls-private-key")
    client_ca = settings.file("tls-client-ca-certificate")
    versions = {"tlsv1.2": "1.2", "tlsv1.3": "1.3"}
    minimum = versions.get(settings.text("tls-min-version").lower())
    if minimum is None:
        where, got = settings.where("tls-min-version"), settings.text("tls-min-version")
        findings.refuse("value-choice", "takes tlsv1.2 or tlsv1.3", where, got)
    if certificate is None or key is None:
        if client_ca is not None:
            message = "asks clients for certificates on a listener without TLS: nobody would be asked"
            hint = "set tls-cert and tls-private-key, or remove it"
            findings.refuse("tls-pair", message, settings.where("tls-client-ca-certificate"), hint=hint)
        return None
    return ServerTls(certificate=certificate, key=key, minimum=minimum or "1.3", client_ca=client_ca)


def admin_of(settings: Settings, reading: GatekeeperReading, findings: Findings) -> Address | None:
    """Where the metrics are: `listen-admin`, or S0's port 9090 when metrics are on and the file does not say."""
    explicit_off = settings.given("enable-metrics") and not settings.flag("enable-metrics")
    if explicit_off or not (settings.flag("enable-metrics") or settings.given("listen-admin")):
        return None
    same = settings.text("listen-admin") == settings.text("listen")
    if settings.text("listen-admin") and not same:
        address = address_of("listen-admin", settings, findings)
    else:
        where = settings.where("enable-metrics")
        address = Address(host="0.0.0.0", port=METRICS_PORT, where=where)  # noqa: S104 - a pod's port, as in S0
        if reading is GatekeeperReading.S0:
            findings.note(f"metrics are served at http://{address}/metrics")
    if address is not None and settings.flag("localhost-metrics"):
        loopback = "::1" if ":" in address.host else "127.0.0.1"
        address = Address(host=loopback, port=address.port, where=address.where)
    return address


def check_ports(addresses: Iterable[Address | None], findings: Findings) -> None:
    """Two listeners on one port: the second could not start."""
    seen: list[Address] = []
    for address in addresses:
        if address is None:
            continue
        clash = next((other for other in seen if _same_port(other, address)), None)
        if clash is not None:
            hint = f"{clash} is taken by {clash.where}; for the metrics set listen-admin"
            findings.refuse("port-twice", "two listeners on one port", address.where, str(address), hint)
        seen.append(address)


def _same_port(one: Address, other: Address) -> bool:
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - compared, not listened on
    same_host = one.host == other.host or bool(everywhere & {one.host, other.host})
    return one.port == other.port != 0 and same_host


# --- Endpoints and limits ---------------------------------------------------------------------------------------------

_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


def endpoints_of(settings: Settings, findings: Findings) -> Endpoints:
    prefix = settings.text("base-uri").rstrip("/") + settings.text("oauth-uri").rstrip("/")
    if not _PREFIX.fullmatch(prefix) or re.search(r"/\.{1,2}(?:/|$)", prefix):
        name = "base-uri" if settings.text("base-uri") else "oauth-uri"
        hint = "write a path such as /oauth; the gateway's own endpoints need one"
        findings.refuse("path-form", "is not the path of a prefix", settings.where(name), prefix, hint)
        return Endpoints()
    return Endpoints(prefix=prefix)


def limits_of(settings: Settings, findings: Findings) -> Limits:
    base = Limits()
    header_kib = base.header_kib
    if settings.number("max-header-size") and settings.given("max-header-size"):
        header_kib = -(-settings.number("max-header-size") // 1024)
    if header_kib > _MOST_HEADER_KIB:
        where, got = settings.where("max-header-size"), settings.number("max-header-size")
        hint = "8388608 is the most that is possible"
        findings.warn("differs", "is taken as 8 MiB", where, got, hint)
    return Limits(
        header_kib=min(header_kib, _MOST_HEADER_KIB),
        body_bytes=settings.number("max-body-size") or None,
        headers_timeout=settings.duration("server-read-timeout"),
        idle_timeout=settings.duration("server-idle-timeout"),
        drain=settings.duration("server-grace-timeout"),
    )


_POSITIVE: Final = (
    "upstream-timeout",
    "upstream-response-header-timeout",
    "upstream-keepalive-timeout",
    "openid-provider-timeout",
    "server-read-timeout",
    "server-idle-timeout",
)


def check_times(settings: Settings, findings: Findings) -> None:
    """Where Go reads 0 as "for ever": nothing here waits for ever."""
    for name in _POSITIVE:
        if settings.given(name) and name in settings.values and settings.duration(name) == timedelta(0):
            where: Where = settings.where(name)
            hint = "write the longest time that makes sense, such as 1h"
            findings.refuse("duration-form", "0 would wait for ever", where, hint=hint)
