"""
The configuration of Keycloak Gatekeeper (gogatekeeper, before it louketo and keycloak-proxy), as S0 writes it too.

Reads files of `key: value` lines with a list of `resources`; later files override, then `PROXY_*` variables, then
`--set`. Two readings: PRODUCT, what gogatekeeper 4.11's source says; S0, what S0's text says, chosen when a key or
a form is there that no real gatekeeper takes. Nothing is dropped in silence: each key is honoured, or reported.

The table of keys is `_gatekeeper_keys`, typed values `_gatekeeper_settings`, rules `_gatekeeper_resources` and
`_gatekeeper_routes`, headers `_gatekeeper_headers`, connections `_gatekeeper_edges`, the browser's session
`_gatekeeper_session`, start-up errors `_gatekeeper_checks`.

Source: S0, "Configuring Keycloak Gatekeeper"; gogatekeeper 4.11.0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from wardgate.dialects import Options, Reading
from wardgate.dialects._gatekeeper_checks import check_combinations, check_insecure, report
from wardgate.dialects._gatekeeper_claims import claim_conditions
from wardgate.dialects._gatekeeper_edges import (
    PROVIDER,
    UPSTREAM,
    admin_of,
    check_ports,
    check_times,
    endpoints_of,
    limits_of,
    listeners_of,
    provider_of,
    upstream_of,
)
from wardgate.dialects._gatekeeper_headers import (
    check_issuer_headers,
    cors_of,
    identity_of,
    to_browser,
    to_upstream,
)
from wardgate.dialects._gatekeeper_keys import ALIASES, KEYS, RESOURCE_KEYS, GatekeeperReading
from wardgate.dialects._gatekeeper_resources import has_header_mapping, read_resources
from wardgate.dialects._gatekeeper_routes import Terms, default_route, routes_of
from wardgate.dialects._gatekeeper_session import same_site_is_exact, session_of, terms_of
from wardgate.dialects._gatekeeper_settings import Findings, Settings, read_settings
from wardgate.dialects._login import check_login, public_clients
from wardgate.document import Document
from wardgate.policy import (
    ANY_METHOD,
    REFUSED_METHODS,
    STANDARD_METHODS,
    TOKEN,
    Credentials,
    Host,
    Kind,
    Policy,
    RequestId,
    check_header_name,
)
from wardgate.problems import Problem, Severity, Where

__all__ = ["CODES", "DIALECT", "KEYS", "RESOURCE_KEYS", "Gatekeeper"]

CODES: Final[dict[str, str]] = {
    "acr-without-loa": "A resource asks for `acr`, which gatekeeper ignores without `enable-loa`. Say which is meant.",
    "claim-path": "The name of a claim is empty, or has an empty part between its dots.",
    "claim-pattern": "A regular expression that Envoy cannot enforce as gatekeeper would; without it others get in.",
    "cookie-form": "A cookie's name, domain or path that browsers do not accept.",
    "cookie-insecure-url": "A secure cookie for an http address: browsers would not send it, and logins would loop.",
    "cors-origin": "An origin that no browser sends (a path, a slash at its end): scripts of it are not allowed.",
    "cors-without-origins": "A CORS key without `cors-origins`: it has no effect, in gatekeeper neither.",
    "default-deny-conflict": "Two keys, or a key and the user's own `/*`, say what holds for the rest of the paths.",
    "differs": "The key has an effect, but not the one that it has in gatekeeper; the hint says which.",
    "duration-form": "Not a duration of Go's form (`30s`, `1h30m`), or one that makes no sense here.",
    "encryption-key": "Not base64 of 16, 24 or 32 bytes, nor as many characters; or none where one is needed.",
    "file-outside-root": "The name of a file leads out of `file-root`.",
    "flag-form": "Not true or false.",
    "gatekeeper-reading": "--gatekeeper-reading takes `s0` or `product`.",
    "header-form": "Not the name of a header, or a value that would break a request.",
    "host-form": "Not the name of a host.",
    "insecure": "The key turns a check off. It is refused without --allow-insecure.",
    "key-missing": "A key without which gatekeeper does not start either.",
    "key-old": "A key of an older gatekeeper; the hint says what it is called now, or that it has no effect.",
    "key-twice": "Two spellings of one key, or an older and the current one: the older is not read.",
    "key-unknown": "No key of any gatekeeper. gatekeeper would ignore it, and nobody would know.",
    "listen-address": "Not an address and a port to listen on.",
    "login-conflict": "Two keys about logins that exclude each other; gatekeeper does not start with them.",
    "login-parameter": "A default for a login parameter that `allowed-query-params` does not allow.",
    "logout-conflict": "Keys about the logout that need each other; gatekeeper does not start with them.",
    "method-name": "A method that is unknown, or that is never forwarded.",
    "number-form": "Not a whole number, or a negative one.",
    "path-form": "Not a path, or one that no request can have.",
    "port-twice": "Two listeners on one port: the second could not start.",
    "reading-doubt": "The file is read as gatekeeper's, and has a form with which S0 means something else.",
    "redirect-loop": "https redirection where nothing can say that a request came over https: browsers would loop.",
    "resource-duplicate": "Two resources for one uri and one method: nobody could tell which of them holds.",
    "resource-uri": "A uri that cannot be a rule's path.",
    "security-filter-off": "A key that has no effect without `enable-security-filter`.",
    "set-form": "--set names no setting.",
    "store-tls": "Keys about TLS to the session store that do not fit its URL.",
    "store-url": "Not the URL of a Redis, or one in a form that is not supported.",
    "tls-pair": "A certificate without its key, or TLS keys that contradict each other.",
    "unsupported": "The key has no effect. It is an error where leaving it out would let someone in.",
    "upstream-path": "`upstream-url` has a path. It is ignored, as gatekeeper does.",
    "url-form": "Not a URL of the kind that the key takes.",
    "value-choice": "Not one of the values that the key takes.",
    "value-empty": "Empty text or an empty list where it would mean something else than it seems.",
    "value-type": "A value of another type than the key takes.",
    "white-listed-rule": "A condition on a public resource: it has no effect.",
    "white-listed-twice": "A resource is both `white-listed` and `white-listed-anon`.",
}
"""The problems that this dialect reports, those of `document` and `policy` aside."""

READING_FLAG: Final = "gatekeeper-reading"

_S0_KEYS: Final = tuple(key.name for key in KEYS if key.since == "S0")
"""Keys that only S0 has: no version of gatekeeper ever had them."""

_FOREIGN: Final = frozenset(
    {"apiVersion", "kind", "routes", "provider", "providers", "upstream", "upstreams", "listeners", "hosts"}
)
"""Keys of other formats at the top level (`upstream` was also keycloak-proxy 0.x's: --dialect says so)."""

_SHARED: Final = frozenset({"listen", "headers", "resources", "scopes", "tags", "config", "verbose"})
"""Keys that prove nothing by themselves."""

_HOST_NAME: Final = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9a-fA-F:.]+\]")


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """The dialect."""

    name: str = "gatekeeper"
    title: str = "Keycloak Gatekeeper configuration (gogatekeeper, louketo-proxy, keycloak-proxy)"

    def recognizes(self, document: Document) -> bool:
        """Most keys are gatekeeper's, one of them is nobody else's, and none belongs to another format."""
        if not isinstance(document.data, dict) or _FOREIGN & document.data.keys():
            return False
        known = {key.name for key in KEYS} | ALIASES.keys()
        found = known & document.data.keys()
        telling = bool(found - _SHARED) or _has_resources(document.data.get("resources"))
        return telling and 2 * len(found) >= len(document.data)

    def read(self, documents: Sequence[Document], options: Options) -> Reading:
        """One policy of all the documents; None with the problems when one of them is an error."""
        findings = Findings()
        settings = read_settings(documents, options, findings)
        reading = _choose(settings, options, findings)
        report(settings, reading, findings)
        check_insecure(settings, options.allow_insecure, findings)
        check_combinations(settings, findings)
        check_times(settings, findings)
        policy = _Assembly(settings, reading, options, findings).policy()
        problems = _in_order(_without_echo(findings.problems), [document.file for document in documents])
        wrong = any(problem.severity is Severity.ERROR for problem in problems)
        return Reading(policy=None if wrong else policy, problems=problems, notes=tuple(findings.notes))


def _has_resources(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) and "uri" in item for item in value)


def _without_echo(problems: Sequence[Problem]) -> Sequence[Problem]:
    """Two resources for one uri are also two routes for one path: the problem that names the resources is enough."""
    said = {problem.where for problem in problems if problem.code == "resource-duplicate"}
    return [problem for problem in problems if problem.code != "route-duplicate" or problem.where not in said]


def _in_order(problems: Sequence[Problem], files: Sequence[str]) -> tuple[Problem, ...]:
    """By place, so that files are corrected from top to end, then what overrides them; each problem once."""
    ranks = {file: rank for rank, file in enumerate(files)}
    once = list(dict.fromkeys(problems))
    return tuple(
        sorted(once, key=lambda problem: (ranks.get(problem.where.file, len(files)), problem.where.line))
    )


# --- The reading --------------------------------------------------------------------------------------------------------


def _choose(settings: Settings, options: Options, findings: Findings) -> GatekeeperReading:
    """The reading in force, and a note that says why."""
    forced = options.flags.get(READING_FLAG)
    if forced in ("s0", "product"):
        findings.note(f"read as {forced}, by --gatekeeper-reading")
        return GatekeeperReading(forced)
    if forced is not None:
        where = Where(file="--gatekeeper-reading")
        findings.refuse("gatekeeper-reading", "no such reading", where, forced, "one of s0, product")
    deciding = _only_s0(settings)
    if deciding is None:
        findings.note("read as product: no key or form that only S0 has")
        return GatekeeperReading.PRODUCT
    where, why = deciding
    findings.note(f"read as s0: {where}: {why} (--gatekeeper-reading product forces the other reading)")
    return GatekeeperReading.S0


def _only_s0(settings: Settings) -> tuple[Where, str] | None:
    """The first thing that no real gatekeeper takes, and why not."""
    for name in _S0_KEYS:
        if settings.given(name):
            return settings.where(name), "gatekeeper has no such key"
    content = settings.document.data.get("resources") if isinstance(settings.document.data, dict) else None
    for index, item in enumerate(content if isinstance(content, list) else []):
        if has_header_mapping(item):
            return settings.where("resources", index, "headers"), "gatekeeper takes a list here"
    if not same_site_is_exact(settings):
        return settings.where(
            "same-site-cookie"
        ), "gatekeeper takes only Strict, Lax and None, in this spelling"
    return None


# --- The policy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Assembly:
    """Puts the policy together; a part that could not be built has left its problems in the findings."""

    settings: Settings
    reading: GatekeeperReading
    options: Options
    findings: Findings

    def policy(self) -> Policy | None:
        settings, reading, findings = self.settings, self.reading, self.findings
        insecure = self.options.allow_insecure
        provider = provider_of(settings, reading, insecure, findings)
        upstream = upstream_of(settings, insecure, findings)
        host = self._host()
        session = session_of(settings, reading, findings)
        admin = admin_of(settings, reading, findings)
        endpoints, limits = endpoints_of(settings, findings), limits_of(settings, findings)
        check_issuer_headers(settings, findings)
        trusted = self.options.trusted_proxies or ()
        listeners = listeners_of(settings, host, endpoints, trusted, findings) if host is not None else ()
        check_ports([*(listener.address for listener in listeners), admin], findings)
        to_both = to_upstream(settings, reading, findings), to_browser(settings, reading, findings)
        request_id = self._request_id()
        self._say_what_is_safer()
        self._warn_of_loop()
        if provider is None or not listeners or (upstream is None and not settings.flag("no-proxy")):
            return None
        policy = findings.attempt(
            lambda: Policy(
                dialect="gatekeeper",
                listeners=listeners,
                providers=(provider,),
                upstreams=(upstream,) if upstream is not None and not settings.flag("no-proxy") else (),
                admin=admin,
                trusted_proxies=trusted,
                endpoints=endpoints,
                limits=limits,
                request_id=request_id,
                upstream_headers=to_both[0],
                response_headers=to_both[1],
                compression=settings.flag("enable-compression"),
                access_log=self._access_log(),
                session=session,
                where=settings.document.where(),
            )
        )
        if policy is not None:
            findings.problems += check_login(policy, terms_of(settings))
            self._say_what_login_does(policy)
        return policy

    def _host(self) -> Host | None:
        settings, findings = self.settings, self.findings
        terms = self._terms()
        resources = read_resources(settings, self.reading, findings)
        routes = routes_of(resources, terms, findings)
        rest = findings.attempt(lambda: default_route(settings, resources, terms, findings))
        cors = cors_of(settings, findings)
        self._check_host_names()
        return findings.attempt(
            lambda: Host(
                names=settings.texts("hostnames") or ("*",),
                routes=(*routes, rest) if rest is not None else routes,
                fallback=terms.required,
                cors=cors,
                where=settings.where("hostnames"),
            )
        )

    def _check_host_names(self) -> None:
        for index, name in enumerate(self.settings.texts("hostnames")):
            if not _HOST_NAME.fullmatch(name):
                hint = "write api.example.com, without scheme and port"
                where = self.settings.where("hostnames", index)
                self.findings.refuse("host-form", "is not the name of a host", where, name, hint)

    def _terms(self) -> Terms:
        settings, findings = self.settings, self.findings
        no_bearer = settings.flag("skip-authorization-header-identity")
        kinds = frozenset({Kind.SESSION}) if no_bearer else frozenset({Kind.BEARER, Kind.SESSION})
        custom = self._custom_methods()
        return Terms(
            reading=self.reading,
            upstream="" if settings.flag("no-proxy") else UPSTREAM,
            required=Credentials(kinds=kinds, providers=(PROVIDER,)),
            claims=claim_conditions(settings, findings),
            identity=identity_of(settings, self.reading, findings),
            methods=STANDARD_METHODS | custom if custom else ANY_METHOD,
            login_redirect=not settings.flag("no-redirects"),
        )

    def _custom_methods(self) -> frozenset[str]:
        methods = set()
        for index, method in enumerate(self.settings.texts("custom-http-methods")):
            if TOKEN.fullmatch(method) and method not in REFUSED_METHODS:
                methods.add(method)
            else:
                where = self.settings.where("custom-http-methods", index)
                self.findings.refuse("method-name", "is no method that can be forwarded", where, method)
        return frozenset(methods)

    def _request_id(self) -> RequestId:
        name, where = (
            self.settings.text("request-id-header") or "X-Request-ID",
            self.settings.where("request-id-header"),
        )
        self.findings.attempt(lambda: check_header_name(name, where))
        return RequestId(header=name)

    def _access_log(self) -> bool:
        """On when the file is silent; `disable-all-logging` wins."""
        settings = self.settings
        wanted = settings.flag("enable-logging") if settings.given("enable-logging") else True
        return wanted and not settings.flag("disable-all-logging")

    def _say_what_is_safer(self) -> None:
        """Where the file is silent or gatekeeper is laxer, what holds here."""
        settings, note = self.settings, self.findings.note
        checks = {
            "skip-access-token-issuer-check": "iss",
            "skip-access-token-clientid-check": f"aud = {settings.text('client-id') or 'client-id'}",
        }
        silent = " and ".join(claim for name, claim in checks.items() if not settings.given(name))
        if silent:
            note(
                f"tokens are checked for {silent}: gatekeeper since 2.6.0 leaves that out when the file is silent"
            )
        older = ("enable-pkce", "enable-encrypted-token", "enable-json-logging")
        unsaid = ", ".join(name for name in older if not settings.given(name))
        if unsaid:
            note(f"defaults are those of gatekeeper 4.11: before 3.0.0 these were false: {unsaid}")
        if settings.text("upstream-url").startswith("https:") and not settings.given(
            "skip-upstream-tls-verify"
        ):
            note(
                "the upstream's certificate is verified: before 3.4.0 gatekeeper did not when the file was silent"
            )

    def _say_what_login_does(self, policy: Policy) -> None:
        """What a file does not show: names, addresses and times of the browsers' sessions."""
        session, note, prefix = policy.session, self.findings.note, policy.endpoints.prefix
        if session is None:
            return
        if session.redirection_url is not None:
            note(
                f"logins come back to {session.redirection_url}{prefix}/callback: the issuer has to allow it"
            )
        if session.cookie != session.cookie_name:
            note(
                f"browsers know the session cookie as {session.cookie}: it is secure, for one host and for every path"
            )
        ends = "" if session.refresh else ", or with the access token"
        note(
            f"a session ends {_span(session.idle)} after its last use, {_span(session.lifetime)} after the login{ends}"
        )
        if session.refresh and not self.settings.flag("enable-refresh-tokens"):
            note("sessions are refreshed although enable-refresh-tokens is absent (s0 reading)")
        if session.logout_at_issuer and not self.settings.flag("enable-logout-redirect"):
            note(
                "a logout ends the session at the issuer, too, although enable-logout-redirect is absent (s0 reading)"
            )
        for provider in public_clients(policy):
            note(f"{provider.client_id} logs in as a public client: there is no client-secret")

    def _warn_of_loop(self) -> None:
        """https redirection behind a proxy that is not trusted: each request would be sent where it came from."""
        settings = self.settings
        told = settings.text("tls-cert") or self.options.trusted_proxies
        if settings.flag("enable-https-redirection") and not told:
            hint = "name the proxy that ends TLS: --trusted-proxies 10.0.0.0/8; or set tls-cert and tls-private-key"
            message = (
                "redirects every request: there is no TLS here, and no proxy is believed that says https"
            )
            where = settings.where("enable-https-redirection")
            self.findings.warn("redirect-loop", message, where, hint=hint)


def _span(length: timedelta) -> str:
    """In the form of Go's durations, whole seconds: `15m0s` is `15m`."""
    hours, rest = divmod(int(length.total_seconds()), 3600)
    parts = [(hours, "h"), (rest // 60, "m"), (rest % 60, "s")]
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"


DIALECT: Final = Gatekeeper()
