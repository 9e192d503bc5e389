"""
The native format, `wardgate.yaml`: what we would want to write by hand, and what `wardgate show` prints.

Reads documents into a policy in three steps: everything that is set from outside is set, the schema
(`_native_schema`) refuses what cannot be written, and what is left is built into values that check themselves. Each
step reports every problem. Not here: the keys, their values, and how a policy is written (`_native_write`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from wardgate import policy as model
from wardgate.dialects import Options, Reading
from wardgate.dialects import _native_approvals as approvals
from wardgate.dialects import _native_edges as edges
from wardgate.dialects import _native_login as login
from wardgate.dialects import _native_rules as rules
from wardgate.dialects import _native_schema as schema
from wardgate.dialects._native_check import check
from wardgate.dialects._native_place import Building
from wardgate.dialects._native_schema_rules import Accepted
from wardgate.dialects._native_values import Target
from wardgate.dialects._native_write import write
from wardgate.document import Document, Path, merge, scalar, with_value
from wardgate.problems import ConfigError, Problem, Severity, Where, errors

__all__ = ["CODES", "DIALECT", "write"]

CODES: Final[Mapping[str, str]] = {
    "access-missing": "A route says neither public, nor who may (allow, roles, …), nor deny; it is never open by itself.",
    "access-several": "A route says more than one of public, allow (or its short forms) and deny.",
    "approvals-provider": "It is not said which provider's tokens agents bring.",
    "approvals-store": "Where requests of agents are kept is not the address of a database.",
    "address-form": "An address to listen on is not written as HOST:PORT.",
    "claim-path": "The path of a claim is empty or has an empty step.",
    "condition-form": "A condition does not have exactly one of the keys that make one, or lacks its value.",
    "config-type": "The file does not hold keys at its top.",
    "cookie-form": "A cookie's name, domain or path that browsers do not accept.",
    "cookie-insecure-url": "A secure cookie for an http address: browsers would not send it, and logins would loop.",
    "duration-form": "A duration is not written as a number with its unit.",
    "email-domain": "An e-mail domain is not written as what stands after the @, or two providers have it.",
    "encryption-key": "An encryption key does not have 16, 24 or 32 bytes, or there are only old ones.",
    "endpoint-form": "An upstream's endpoint is not written as http(s)://HOST:PORT.",
    "endpoint-path": "A path for the gateway's own endpoints cannot be one.",
    "flag-form": "A value is not true or false.",
    "header-value": "A header's value has a line break.",
    "host-name": "A host's name is not a DNS name, *.NAME or *.",
    "identity-form": "An identity header takes either a claim or the token.",
    "insecure-setting": "A setting turns a check off, and --allow-insecure was not given.",
    "jwks-form": "Keys in the file are not a JSON Web Key Set.",
    "key-missing": "A key that is required is not given.",
    "key-unknown": "A key that is not known stands in the file.",
    "keys-conflict": "Two keys are given of which only one can be.",
    "list-empty": "A list is empty where that would let everyone or no one in.",
    "login-provider": "There is a session, and no provider has a client: nobody can log in.",
    "method-case": "A method is written in small letters, and would never match.",
    "not-text": "A number, a boolean or nothing stands where text is taken; quotes make it text.",
    "forward-auth-trust": "Other proxies may ask here, and none is trusted: every question is answered with 403.",
    "number-form": "A value is not a whole number of zero or more.",
    "provider-missing": "Routes ask for credentials, and no provider is defined: they are closed to everyone.",
    "routes-missing": "A listener has no rules at all.",
    "set-form": "A --set argument's key cannot be read.",
    "size-form": "A size is not written as a number of bytes or with its unit.",
    "store-cookie": "Sessions are kept in the browser's cookies, which cannot do what a store can.",
    "store-form": "Where sessions are kept is neither local, nor cookie, nor the address of a Redis.",
    "upstream-missing": "A route does not say which upstream it has, and there is no usual one.",
    "upstream-tls": "An upstream mixes http and https.",
    "url-form": "Not a URL of the kind that the key takes.",
    "value-choice": "A value is not one of the words that can stand there.",
    "value-empty": "A key has no value.",
    "value-type": "A value is of the wrong kind: text, a list, keys.",
}
"""The problems that this format has beyond those of documents and of the model."""

NATIVE_ONLY: Final = frozenset(
    {
        "access-log",
        "approvals",
        "hosts",
        "identity-headers",
        "listeners",
        "provider",
        "providers",
        "routes",
        "upstreams",
    }
)
"""Keys that no other format has at its top. `upstream` is not among them: it was a key of old gatekeepers."""


NOT_SHOWN: Final = ("gateway_api",)
"""Dialects whose policies say what wardgate.yaml cannot."""


class Native:
    """`wardgate.yaml`."""

    name = "native"
    title = "wardgate.yaml"

    def recognizes(self, document: Document) -> bool:
        data = document.data
        if not isinstance(data, Mapping) or {"apiVersion", "kind"} <= data.keys():
            return False
        return bool(NATIVE_ONLY & data.keys())

    def read(self, documents: Sequence[Document], options: Options) -> Reading:
        try:
            document = _overridden(merge(_mappings(documents)), options)
        except ConfigError as error:
            return Reading(policy=None, problems=error.problems)
        checked = check(document)
        building = Building(
            document=document,
            skipped=checked.skipped,
            problems=list(checked.problems),
            allow_insecure=options.allow_insecure,
        )
        policy = _policy(building, checked.file, checked.partial) if checked.file is not None else None
        problems = tuple(sorted(dict.fromkeys(building.problems), key=_order))
        return Reading(
            policy=None if errors(problems) else policy, problems=problems, notes=tuple(building.notes)
        )


DIALECT = Native()


def _order(problem: Problem) -> tuple[str, int]:
    return problem.where.file, problem.where.line


# --- Step one: what is set from outside -----------------------------------------------------------------------------


def _mappings(documents: Sequence[Document]) -> list[Document]:
    wrong = [
        document
        for document in documents
        if document.data is not None and not isinstance(document.data, dict)
    ]
    if wrong:
        message, hint = "holds no keys at its top", "a first line could be listen: 0.0.0.0:3000"
        raise ConfigError(
            Problem(code="config-type", message=message, where=document.where(), hint=hint)
            for document in wrong
        )
    return list(documents)


def _overridden(document: Document, options: Options) -> Document:
    problems = []
    for key, value in options.settings:
        path = _setting(key)
        if path is None:
            hint = "for example --set provider.issuer=https://…, --set routes[0].deny=closed"
            where = Where(file="--set", path=key)
            problems.append(Problem(code="set-form", message="is not a key", where=where, hint=hint))
        else:
            place = _listen_path(document) if path == ("listen",) else path
            document = with_value(document, place, scalar(value), "--set")
    if problems:
        raise ConfigError(problems)
    if options.listen is not None:
        document = with_value(document, _listen_path(document), options.listen, "--listen")
    if options.trusted_proxies is not None:
        proxies = list(options.trusted_proxies)
        document = with_value(document, ("trusted-proxies",), proxies, "--trusted-proxies")
    return document


_STEP: Final = re.compile(r'(?:"([^"]+)"|([^.\[\]"]+))((?:\[[0-9]{1,6}\])*)(?:\.(?=.)|$)')


def _setting(key: str) -> Path | None:
    """`listeners.main.hosts[0].routes` as a path; a name with dots stands in double quotes."""
    path: Path = ()
    position = 0
    while position < len(key):
        match = _STEP.match(key, position)
        if match is None:
            return None
        path += (match[1] or match[2], *(int(index) for index in re.findall(r"[0-9]+", match[3])))
        position = match.end()
    return path or None


def _listen_path(document: Document) -> Path:
    """Where the address of the only, or first, listener stands."""
    listeners = document.data.get("listeners") if isinstance(document.data, dict) else None
    if isinstance(listeners, dict) and listeners:
        return ("listeners", next(iter(listeners)), "listen")
    if isinstance(document.data, dict) and "approvals" in document.data and "routes" not in document.data:
        return ("approvals", "listen")
    return ("listen",)


# --- Step three: the policy -------------------------------------------------------------------------------------------


def _policy(building: Building, file: schema.File, part: bool) -> model.Policy | None:
    """The policy; of a part of a file only the problems, and not what would only be missing from the part."""
    providers = _providers(building, file)
    upstreams = _upstreams(building, file)
    defaults = _defaults(building, file, providers)
    if part and defaults.upstream is None:
        defaults = replace(defaults, upstream="default")
    listeners = _listeners(building, file, defaults, part)
    settings = _settings(building, file)
    decided = approvals.read(building, file.approvals, providers, file.session is not None)
    if decided is not None:
        settings["approvals"] = decided.approvals
        listeners = (*listeners, decided.listener)
    if part:
        return None
    _warn_of_no_provider(building, listeners, providers)
    policy = building.attempt(
        (),
        lambda: model.Policy(
            dialect=Native.name,
            listeners=listeners,
            providers=providers,
            upstreams=upstreams,
            where=building.where(()),
            **settings,
        ),
    )
    if policy is not None:
        login.check(policy, building)
    return policy


def _settings(building: Building, file: schema.File) -> dict[str, Any]:
    """What is neither a listener, nor a provider, nor an upstream."""
    place: Path = ("request-id",)
    if file.request_id is not None:
        building.attempt(place, partial(model.check_header_name, file.request_id, building.where(place)))
    return {
        "admin": edges.address(building, file.admin, ("admin",)) if file.admin else None,
        "trusted_proxies": file.trusted_proxies,
        "endpoints": edges.endpoints(file.endpoints),
        "limits": edges.limits(building, file.limits, ("limits",)),
        "request_id": model.RequestId(header=file.request_id) if file.request_id else model.RequestId(),
        "upstream_headers": edges.headers(building, file.upstream_headers, ("upstream-headers",)),
        "response_headers": edges.headers(building, file.response_headers, ("response-headers",)),
        "compression": file.compression,
        "access_log": file.access_log,
        "expose_reasons": file.expose_reasons,
        "errors": file.errors or model.Errors.PROBLEM,
        "session": edges.session(building, file.session, ("session",)) if file.session else None,
    }


def _providers(building: Building, file: schema.File) -> tuple[model.Provider, ...]:
    forms: list[tuple[str, schema.ProviderKeys, Path, str]] = []
    if file.provider is not None:
        forms.append((file.provider.name, file.provider, ("provider",), "client-secret"))
    for name, form in (file.providers or {}).items():
        forms.append((name, form, ("providers", name), f"{name}-client-secret"))
    return tuple(
        edges.provider(building, name, form, path, secret) or edges.refused_provider(name, number)
        for number, (name, form, path, secret) in enumerate(forms)
    )


def _upstreams(building: Building, file: schema.File) -> tuple[model.Upstream, ...]:
    forms: list[tuple[str, schema.UpstreamKeys | tuple[Target, ...], Path]] = []
    if file.upstream is not None:
        forms.append((_upstream_name(file.upstream), file.upstream, ("upstream",)))
    for name, form in (file.upstreams or {}).items():
        forms.append((name, form, ("upstreams", name)))
    return tuple(
        edges.upstream(building, name, form, path) or edges.refused_upstream(name)
        for name, form, path in forms
    )


def _upstream_name(form: schema.Upstream | tuple[Target, ...]) -> str:
    return form.name if isinstance(form, schema.Upstream) else "default"


def _defaults(building: Building, file: schema.File, providers: tuple[model.Provider, ...]) -> rules.Defaults:
    upstream = None
    if file.upstream is not None:
        upstream = _upstream_name(file.upstream)
    elif len(file.upstreams or {}) == 1:
        upstream = next(iter(file.upstreams or {}))
    elif _only_answers(file):
        upstream = ""
    accepted = file.credentials or Accepted.model_construct()
    names = tuple(provider.name for provider in providers)
    headers = file.identity_headers
    return rules.Defaults(
        upstream=upstream,
        kinds=rules.BOTH_KINDS if accepted.kinds is None else frozenset(accepted.kinds),
        providers=names if accepted.providers is None else accepted.providers,
        identity=rules.identity_headers(building, headers, ("identity-headers",)) if headers else (),
        login_redirect=file.login_redirect,
        introspect=bool(accepted.introspect),
    )


def _only_answers(file: schema.File) -> bool:
    """Some listener answers other proxies, and there is no upstream: routes do not name one."""
    forms = [file.forward_auth, *(each.forward_auth for each in (file.listeners or {}).values())]
    return edges.proxies_nothing(file) and any(form is not None for form in forms)


def _listeners(
    building: Building, file: schema.File, defaults: rules.Defaults, part: bool
) -> tuple[model.Listener, ...]:
    """Those of `listeners`, each with its own rules or the file's; or the one that the file is itself."""
    everywhere: tuple[model.Host, ...] | None = None
    if file.hosts is not None or file.routes is not None:
        everywhere = rules.hosts(building, file, (), defaults)
    forms: dict[str, tuple[schema.Listener | schema.File, Path]] = {"main": (file, ())}
    if file.approvals is not None and file.listen is None and everywhere is None:
        forms = {}
    if file.listeners is not None:
        forms = {name: (form, ("listeners", name)) for name, form in file.listeners.items()}
    found = []
    for name, (form, path) in forms.items():
        hosts = everywhere
        if form is not file and (form.hosts is not None or form.routes is not None):
            hosts = rules.hosts(building, form, path, defaults)
        if hosts is None and not part:
            hint = "list them under routes, or by host name under hosts; an empty list denies everything"
            building.complain("routes-missing", "there are no rules", path, hint=hint)
        found.append(edges.listener(building, name, form, hosts or (), path, file))
    return tuple(listener for listener in found if listener is not None)


def _warn_of_no_provider(
    building: Building, listeners: tuple[model.Listener, ...], providers: tuple[model.Provider, ...]
) -> None:
    asking = [
        route
        for listener in listeners
        for host in listener.hosts
        for route in host.routes
        if route.credentials.mode is not model.Mode.IGNORED
    ]
    if asking and not providers:
        message = "routes ask for credentials, and there is no provider: they are closed to everyone"
        hint = "add provider: with issuer and audience"
        building.complain("provider-missing", message, (), hint=hint, severity=Severity.WARNING)
