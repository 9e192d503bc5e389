"""
The reference answer: what the gateway says to a request, decided in plain Python.

Pure: no file, clock or socket. What Envoy answers natively is the compiler's business, and must be the same; the
differential tests compare the two. `explain` shows these decisions. A credential comes in as it was found to be
(`wardgate.principal`): tokens are verified elsewhere.

The order, first answer wins:
 1. a path, or the name of a header, that could be read in two ways is 400;
 2. the host: 400 when it is no name at all, 404 when there is none of the name;
 3. a method that no route of the host could mean is 405;
 4. plain http is redirected where a listener says so, health aside;
 5. the gateway's own endpoints;
 6. a CORS preflight is answered, never forwarded;
 7. the route: most specific path, then method; none is closed;
 8. the credential, by the route's mode: 503, 400 or 401;
 9. a near-miss of a protected path by letter case: 403;
10. the route's access: 403, or on to the upstream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from wardgate.decision import model
from wardgate.decision.conditions import describe, holds
from wardgate.decision.model import RULES, Decision, Outcome, Request, Step
from wardgate.decision.routes import Group, groups, host_for
from wardgate.decision.target import Target, Unsafe, normalize
from wardgate.policy import (
    ANY_METHOD,
    STANDARD_METHODS,
    Access,
    ClaimValue,
    Cors,
    Credentials,
    Denied,
    Host,
    IdentityHeader,
    Kind,
    Listener,
    Mode,
    Policy,
    Public,
    RawToken,
    Route,
    Rule,
)
from wardgate.principal import Anonymous, Credential, Principal, Rejected, claim_text
from wardgate.problems import NOWHERE, Where, shown

__all__ = ["RULES", "Decision", "Outcome", "Request", "Step", "decide"]


def decide(
    policy: Policy, request: Request, credential: Credential, *, unavailable: frozenset[str] = frozenset()
) -> Decision:
    """
    What the gateway answers. `unavailable` names the providers whose keys have never been fetched.

    Never raises for anything that a caller sent. Raises KeyError for a listener that the policy does not have.
    """
    case = _Case(policy=policy, request=request, credential=credential, unavailable=unavailable)
    target = normalize(request.target)
    if isinstance(target, Unsafe):
        case.note("the path reads in one way only", False, seen=shown(request.target))
        return case.close(400, Outcome.REFUSE, model.GUARD_PATH, target.reason)
    case.note("the path reads in one way only", True, seen=shown(target.path))
    listener = _listener(policy, request.listener)
    if refused := _header_guard(case):
        return refused
    if not case.note("one host name", bool(_AUTHORITY.fullmatch(request.host)), seen=shown(request.host)):
        return case.close(400, Outcome.REFUSE, model.GUARD_HOST, "host-form", listener.where)
    host = host_for(listener, request.host)
    if host is None and target.path == policy.endpoints.health_path:
        return case.close(200, Outcome.ALLOW, model.HEALTH, "health", policy.where)
    if host is None:
        case.note("a host of this name", False, listener.where)
        return case.close(404, Outcome.NOT_FOUND, model.NO_HOST, "no-host", listener.where)
    case.note(f"host {', '.join(host.names)}", True, host.where)
    return (
        _method_guard(case, host)
        or _redirect(case, listener, target)
        or _own_endpoint(case, target)
        or _preflight(case, host)
        or _judge(case, _ruling(case, host, target))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One request on its way to an answer, and the steps so far."""

    policy: Policy
    request: Request
    credential: Credential
    unavailable: frozenset[str]
    steps: list[Step] = field(default_factory=list)

    def note(self, text: str, passed: bool, where: Where = NOWHERE, seen: str = "") -> bool:
        self.steps.append(Step(text=text, passed=passed, where=where, seen=seen))
        return passed

    def close(
        self, status: int, outcome: Outcome, rule: str, reason: str, where: Where = NOWHERE
    ) -> Decision:
        return Decision(
            status=status, outcome=outcome, rule=rule, reason=reason, where=where, steps=tuple(self.steps)
        )


# --- Before any route -------------------------------------------------------------------------------------------


_AUTHORITY: Final = re.compile(r"[0-9A-Za-z._~-]+(?::[0-9]+)?|\[[0-9a-fA-F:.]+\](?::[0-9]+)?")
"""One host, as a name or an address, with or without a port; two Host lines arrive as one, with a comma."""


def _header_guard(case: _Case) -> Decision | None:
    """CGI, WSGI and PHP read `x_user_id` as `X-User-Id`: no header with `_` comes in, so none needs to be listed."""
    folding = [name for name, _ in case.request.headers if "_" in name]
    if not folding:
        return None
    case.note("header names without _", False, seen=shown(folding[0]))
    return case.close(400, Outcome.REFUSE, model.GUARD_HEADER, "header-underscore")


def _method_guard(case: _Case, host: Host) -> Decision | None:
    method = case.request.method
    known = STANDARD_METHODS.union(*(route.methods for route in host.routes)) - ANY_METHOD
    if not case.note("the method is known here", method in known, seen=method):
        return case.close(405, Outcome.REFUSE, model.GUARD_METHOD, "method-refused")
    return None


def _listener(policy: Policy, name: str | None) -> Listener:
    if name is None:
        return policy.listeners[0]
    for listener in policy.listeners:
        if listener.name == name:
            return listener
    raise KeyError(name)


def _own_endpoint(case: _Case, target: Target) -> Decision | None:
    endpoints, where = case.policy.endpoints, case.policy.where
    if target.path == endpoints.health_path:
        case.note(f"the health endpoint {endpoints.health_path}", True, where)
        return case.close(200, Outcome.ALLOW, model.HEALTH, "health", where)
    if target.path == endpoints.prefix or target.path.startswith(endpoints.prefix + "/"):
        case.note(f"an endpoint of the gateway under {endpoints.prefix}", False, where, shown(target.path))
        return case.close(404, Outcome.NOT_FOUND, model.ENDPOINT, "no-endpoint", where)
    return None


def _redirect(case: _Case, listener: Listener, target: Target) -> Decision | None:
    request = case.request
    forwarded = request.forwarded_proto if request.trusted_peer else None
    scheme = (forwarded or request.scheme).lower()
    health = target.path == case.policy.endpoints.health_path
    if not listener.redirect_to_https or scheme != "http" or health:
        return None
    case.note("the request came by https", False, listener.where, seen=scheme)
    return Decision(
        status=301,
        outcome=Outcome.REDIRECT,
        rule=model.REDIRECT,
        reason="plain-http",
        where=listener.where,
        steps=tuple(case.steps),
        location=f"https://{request.host.removesuffix(':80')}{target}",
    )


def _preflight(case: _Case, host: Host) -> Decision | None:
    """
    A real preflight (Fetch standard, 4.8); any other OPTIONS is a method like the rest.

    Answered on every host: one without rules of its own allows no other origin.
    """
    request, where = case.request, host.cors.where if host.cors else host.where
    origins = request.values("origin")
    asked = request.values("access-control-request-method")
    if request.method != "OPTIONS" or not any(origins) or not any(asked):
        return None
    allowed = host.cors is not None and _origin_allowed(host.cors, ",".join(origins))
    case.note("the origin of this preflight may read answers", allowed, where, shown(origins[0]))
    reason = "origin-allowed" if allowed else "origin-not-allowed"
    return case.close(200, Outcome.ALLOW, model.PREFLIGHT, reason, where)


def _origin_allowed(cors: Cors, origin: str) -> bool:
    return "*" in cors.origins or origin in cors.origins


# --- The route --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ruling:
    """What holds for a request: a route's own terms, or those of a rule that every host has."""

    rule: str
    access: Access
    credentials: Credentials
    where: Where
    route: Route | None = None
    near_miss: Group | None = None
    """A more specific protecting path that the request would have reached in other letters."""


def _ruling(case: _Case, host: Host, target: Target) -> _Ruling:
    found = groups(host)
    chosen = next((group for group in found if group.matches(target.path)), None)
    if chosen is None:
        case.note("a route for this path", False, host.where, shown(target.path))
        return _Ruling(
            rule=model.FALLBACK,
            access=Denied(because="no route is for this path"),
            credentials=host.fallback,
            where=host.where,
        )
    case.note(f"path {chosen.path}", True, chosen.routes[0].where)
    near = (group for group in found if group.specificity > chosen.specificity and group.protects)
    near_miss = next((group for group in near if group.matches_but_for_case(target.path)), None)
    return replace(_by_method(case, host, chosen), near_miss=near_miss)


def _by_method(case: _Case, host: Host, group: Group) -> _Ruling:
    method = case.request.method
    route = group.route_for(method)
    if route is not None:
        case.note(f"route {route.name}", True, route.where, seen=method)
        return _Ruling(
            rule=route.name,
            access=route.access,
            credentials=route.credentials,
            where=route.where,
            route=route,
        )
    first = group.routes[0]
    case.note(f"a route of {group.path} for this method", False, first.where, seen=method)
    required = (each.credentials for each in group.routes if each.credentials.mode is Mode.REQUIRED)
    return _Ruling(
        rule=model.METHOD_NOT_LISTED,
        access=Denied(because=f"no route of {group.path} lists {method}"),
        credentials=next(required, host.fallback),
        where=first.where,
    )


# --- Who, and whether they may ------------------------------------------------------------------------------------


def _judge(case: _Case, ruling: _Ruling) -> Decision:
    caller = _caller(case, ruling)
    if isinstance(caller, Decision):
        return caller
    if ruling.near_miss is not None and ruling.route is not None:
        # upstreams that ignore letter case would serve the protected path
        where = ruling.near_miss.routes[0].where
        case.note(f"the path is not {ruling.near_miss.path} in other letters", False, where)
        return case.close(403, Outcome.DENY, model.LETTER_CASE, "letter-case", where)
    match ruling.access:
        case Public():
            case.note("public", True, ruling.where)
            reason = "public"
        case Denied(because=because):
            case.note(f"closed to everyone: {because}", False, ruling.where)
            reason = "denied" if ruling.route else ruling.rule
            return case.close(403, Outcome.DENY, ruling.rule, reason, ruling.where)
        case Rule(when=when):
            may = holds(when, caller, case.request, ruling.where, case.steps.append)
            if not case.note(describe(when), may, ruling.where):
                return case.close(403, Outcome.DENY, ruling.rule, "rule-not-met", ruling.where)
            reason = "rule-met"
        case _:
            assert_never(ruling.access)
    return _allow(case, ruling, caller, reason)


def _allow(case: _Case, ruling: _Ruling, caller: Principal | Anonymous, reason: str) -> Decision:
    route = ruling.route
    assert route is not None, "only routes let anyone in: the other rulings are Denied"
    limit = route.body_limit if route.body_limit is not None else case.policy.limits.body_bytes
    return Decision(
        status=200,
        outcome=Outcome.ALLOW,
        rule=ruling.rule,
        reason=reason,
        where=ruling.where,
        steps=tuple(case.steps),
        identity=_identity(route.identity, caller),
        upstream=route.upstream,
        route=route,
        body_limit=limit,
    )


def _caller(case: _Case, ruling: _Ruling) -> Principal | Anonymous | Decision:
    """Who the ruling takes the caller for, or the answer when it takes nobody like this."""
    terms, where = ruling.credentials, ruling.where
    if terms.mode is Mode.IGNORED:
        return Anonymous()
    bearer = Kind.BEARER in terms.kinds and bool(terms.providers)
    if bearer and case.unavailable.issuperset(terms.providers):
        case.note(f"keys of {', '.join(terms.providers)}", False, where, seen="none fetched yet")
        return case.close(503, Outcome.FAIL, ruling.rule, "keys-unavailable", where)
    credential = _accepted(case, terms, bearer)
    if isinstance(credential, Principal):
        case.note(f"a valid {credential.kind} of {credential.provider}", True, where)
        return credential
    reason = credential.reason if isinstance(credential, Rejected) else "no-credential"
    if terms.mode is Mode.PERMISSIVE or (terms.mode is Mode.OPTIONAL and credential == Anonymous()):
        case.note(f"a credential is {terms.mode}", True, where, seen=reason)
        return Anonymous()
    case.note("a valid credential", False, where, seen=reason)
    if reason == _SEVERAL:
        return case.close(400, Outcome.REFUSE, model.GUARD_CREDENTIAL, reason, where)
    return case.close(401, Outcome.REJECT, ruling.rule, reason, where)


_SEVERAL: Final = "credential-several"


def _accepted(case: _Case, terms: Credentials, bearer: bool) -> Credential:
    """
    The credential as these terms see it: of several bearers none counts, another provider's token is a bad one,
    and a cookie that is not looked for is not there.
    """
    credential = case.credential
    if bearer and len(case.request.values("authorization")) > 1:
        return Rejected(_SEVERAL)
    match credential:
        case Anonymous():
            return credential
        case Principal() | Rejected() if credential.kind not in terms.kinds or not terms.providers:
            return Anonymous() if credential.kind is Kind.SESSION else Rejected("credential-kind")
        case Principal() if credential.provider not in terms.providers:
            return Rejected("credential-provider", credential.kind)
        case Principal() | Rejected():
            return credential
        case _:
            assert_never(credential)


def _identity(
    headers: tuple[IdentityHeader, ...], caller: Principal | Anonymous
) -> tuple[tuple[str, str], ...]:
    if isinstance(caller, Anonymous):
        return ()
    values = ((header.name, _identity_value(header, caller)) for header in headers)
    return tuple((name, value) for name, value in values if value is not None)


def _identity_value(header: IdentityHeader, caller: Principal) -> str | None:
    match header.value:
        case ClaimValue(path=path, separator=separator):
            return claim_text(caller.claim(path), separator)
        case RawToken():
            return caller.token
        case _:
            assert_never(header.value)
