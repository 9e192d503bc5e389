"""
The reference answer: what the gateway says to a request, decided in plain Python.

Pure: no file, clock or socket. What Envoy answers natively is the compiler's business, and must be the same; the
differential tests compare the two. `explain` shows these decisions. A credential comes in as it was found to be
(`wardgate.principal`): tokens are verified elsewhere.

The order, first answer wins:
 0. another proxy's question becomes the request that it is about, which is then judged like any other;
 1. a path, or a header, that could be read in two ways is 400;
 2. the host: 400 when it is no name at all, 404 when there is none of the name;
 3. a WebSocket that leads to no route which takes one is 403;
 4. a method that no route of the host could mean is 405;
 5. plain http is redirected where a listener says so, health aside;
 6. the gateway's own endpoints;
 7. a CORS preflight is answered, never forwarded;
 8. the route: most specific path, then method; none is closed;
 9. the credential, by the route's mode: 503, 400, 401, 403 or the login (`caller.py`);
10. a near-miss of a protected path by letter case: 403;
11. the route's access: 403, or on to the upstream.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, assert_never

from wardgate.decision import gates, model
from wardgate.decision.browser import cors_of, scheme, upgrades
from wardgate.decision.caller import caller, lacks_keys
from wardgate.decision.case import Case, Ruling
from wardgate.decision.conditions import describe, holds
from wardgate.decision.forward_auth import NGINX, original
from wardgate.decision.model import RULES, Decision, Outcome, Request, Step
from wardgate.decision.routes import Group, groups, host_for, redirected
from wardgate.decision.target import Target, Unsafe, is_target, normalize, unchanged
from wardgate.policy import (
    ANY_METHOD,
    STANDARD_METHODS,
    Broken,
    ClaimValue,
    Credentials,
    Denied,
    Host,
    IdentityHeader,
    Kind,
    Listener,
    Mode,
    PathKind,
    Policy,
    Public,
    RawToken,
    Route,
    Rule,
    Source,
)
from wardgate.principal import Anonymous, Credential, Principal, Rejected, claim_text
from wardgate.problems import shown

__all__ = ["RULES", "Decision", "Outcome", "Request", "Step", "decide"]


def decide(
    policy: Policy,
    request: Request,
    credential: Credential,
    *,
    session: Principal | Rejected | None = None,
    unavailable: frozenset[str] = frozenset(),
    service_away: bool = False,
) -> Decision:
    """
    What the gateway answers. `credential` is the one that the request brings; when it brings both, a bearer token, and
    `session` is what its session cookie holds. `unavailable` names the providers whose keys have never been fetched;
    `service_away`: nobody answers what Envoy cannot tell by itself.

    Never raises for anything that a caller sent. Raises KeyError for a listener that the policy does not have.
    """
    listener = _listener(policy, request.listener)
    found = original(policy, listener, request)
    if found is None and (listener.proxies or not upgrades(request) or not is_target(request.target)):
        return _decide(policy, listener, request, credential, session, unavailable, service_away)
    case = _case(policy, request, credential, session, unavailable, service_away, request.target)
    if refused := _header_guard(case):
        return refused
    if upgrades(request):
        case.note("a route that takes WebSockets", False, listener.where)
        return case.close(403, Outcome.DENY, model.GUARD_UPGRADE, "upgrade", listener.where)
    assert found is not None
    if isinstance(found, Request):
        decision = _decide(policy, listener, found, credential, session, unavailable, service_away)
        return _for_nginx(decision) if found.asked == NGINX else decision
    outcome = Outcome.DENY if found.status == 403 else Outcome.REFUSE
    case.note("which request is asked about", False, listener.where, seen=found.reason)
    rule = model.GUARD_PATH if found.reason == "path-unsafe" else model.FORWARD_AUTH
    decision = case.close(found.status, outcome, rule, found.reason, listener.where)
    return _for_nginx(decision) if found.nginx else decision


def _for_nginx(decision: Decision) -> Decision:
    """nginx takes 2xx, 401 and 403 for an answer, and makes 500 of anything else."""
    return decision if decision.status in (200, 401, 403) else replace(decision, status=403)


def _decide(
    policy: Policy,
    listener: Listener,
    request: Request,
    credential: Credential,
    session: Principal | Rejected | None,
    unavailable: frozenset[str],
    service_away: bool,
) -> Decision:
    target = (normalize if listener.proxies or request.asked else unchanged)(request.target)
    case = _case(policy, request, credential, session, unavailable, service_away, str(target))
    if isinstance(target, Unsafe):
        case.note("the path reads in one way only", False, seen=shown(request.target))
        return case.close(400, Outcome.REFUSE, model.GUARD_PATH, target.reason)
    case.note("the path reads in one way only", True, seen=shown(target.path))
    if refused := _header_guard(case):
        return refused
    if not case.note("one host name", bool(_AUTHORITY.fullmatch(request.host)), seen=shown(request.host)):
        return case.close(400, Outcome.REFUSE, model.GUARD_HOST, "host-form", listener.where)
    host = host_for(listener, request.host)
    if host is None and upgrades(request):
        case.note("a host of this name", False, listener.where)
        return case.close(403, Outcome.DENY, model.GUARD_UPGRADE, "upgrade", listener.where)
    if host is None and not request.asked and target.path == policy.endpoints.health_path:
        return case.close(200, Outcome.ALLOW, model.HEALTH, "health", policy.where)
    if host is None:
        case.note("a host of this name", False, listener.where)
        return case.close(404, Outcome.NOT_FOUND, model.NO_HOST, "no-host", listener.where)
    case.note(f"host {', '.join(host.names)}", True, host.where)
    return (
        _upgrade_guard(case, listener, host, target)
        or _method_guard(case, host)
        or _redirect(case, listener, target)
        or _own_endpoint(case, host, target)
        or _nothing_here(case, listener)
        or _preflight(case, host, target)
        or _judge(case, _ruling(case, host, target))
    )


def _case(
    policy: Policy,
    request: Request,
    credential: Credential,
    session: Principal | Rejected | None,
    unavailable: frozenset[str],
    service_away: bool,
    target: str,
) -> Case:
    is_session = not isinstance(credential, Anonymous) and credential.kind is Kind.SESSION
    if not isinstance(credential, Anonymous) and is_session and session is None:
        session = credential
    return Case(
        policy=policy,
        request=request,
        bearer=Anonymous() if is_session else credential,
        session=session,
        unavailable=unavailable,
        service_away=service_away,
        target=target,
    )


# --- Before any route -------------------------------------------------------------------------------------------


_AUTHORITY: Final = re.compile(r"[0-9A-Za-z._~-]+(?::[0-9]+)?|\[[0-9a-fA-F:.]+\](?::[0-9]+)?")
"""One host, as a name or an address, with or without a port; two Host lines arrive as one, with a comma."""


_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _header_guard(case: Case) -> Decision | None:
    """
    CGI, WSGI and PHP read `x_user_id` as `X-User-Id`: no header with `_` comes in, so none needs to be listed. A control
    byte in a value some readers drop, and would find one of our cookies behind it (RFC 9110, 5.5).
    """
    for name, value in case.request.headers:
        if "_" in name:
            case.note("header names without _", False, seen=shown(name))
            return case.close(400, Outcome.REFUSE, model.GUARD_HEADER, "header-underscore")
        if _CONTROL.search(value):
            case.note(f"no control bytes in {name}", False)
            return case.close(400, Outcome.REFUSE, model.GUARD_HEADER, "header-bytes")
    return None


def _upgrade_guard(case: Case, listener: Listener, host: Host, target: Target) -> Decision | None:
    """Envoy answers before anything of ours what no route takes as a WebSocket."""
    if not upgrades(case.request):
        return None
    aside = replace(case, steps=[])
    answered = (
        _method_guard(aside, host) or _redirect(aside, listener, target) or _own_endpoint(aside, host, target)
    )
    route = None if answered else _ruling(aside, host, target).route
    open_to_it = listener.proxies and route is not None and route.websockets and not _is_closed(case, route)
    if case.note("a route that takes WebSockets", open_to_it, host.where):
        return None
    return case.close(403, Outcome.DENY, model.GUARD_UPGRADE, "upgrade", host.where)


def _is_closed(case: Case, route: Route) -> bool:
    return _answers_itself(case, route) or _lacks_keys(case, route)


def _lacks_keys(case: Case, route: Route) -> bool:
    return route.credentials.mode is not Mode.IGNORED and lacks_keys(case, route.credentials)


def _method_guard(case: Case, host: Host) -> Decision | None:
    method = case.request.method
    known = STANDARD_METHODS.union(*(route.methods for route in host.routes)) - ANY_METHOD
    if not case.note("the method is known here", method in known, seen=method):
        status = 403 if case.request.asked else 405  # a proxy that asks takes no 405 for an answer
        return case.close(status, Outcome.REFUSE, model.GUARD_METHOD, "method-refused")
    return None


def _listener(policy: Policy, name: str | None) -> Listener:
    if name is None:
        return policy.listeners[0]
    for listener in policy.listeners:
        if listener.name == name:
            return listener
    raise KeyError(name)


def _nothing_here(case: Case, listener: Listener) -> Decision | None:
    """A listener that only answers other proxies has no routes for a request of its own."""
    if case.request.asked or listener.proxies:
        return None
    case.note("a question of another proxy", False, listener.where)
    return case.close(404, Outcome.NOT_FOUND, model.NO_ROUTE, "no-route", listener.where)


def _own_endpoint(case: Case, host: Host, target: Target) -> Decision | None:
    if case.request.asked:
        return None  # they are to be asked for here, not behind the proxy that asks: no route is for them
    endpoints, where = case.policy.endpoints, case.policy.where
    path, served = target.path, bool(case.policy.login_providers())
    if path == endpoints.health_path:
        case.note(f"the health endpoint {endpoints.health_path}", True, where)
        return case.close(200, Outcome.ALLOW, model.HEALTH, "health", where)
    ours = path == endpoints.prefix or path.startswith(endpoints.prefix + "/")
    if not ours and path not in case.policy.aliases(host) and path not in case.policy.own_paths(host):
        return None
    case.note(f"an endpoint of the gateway under {endpoints.prefix}", served, where, shown(path))
    if not served:
        return case.close(404, Outcome.NOT_FOUND, model.ENDPOINT, "no-endpoint", where)
    if preflight := _preflight(case, host, None):  # what is proxied to the service has CORS before it
        return preflight
    if case.service_away:
        return case.close(502, Outcome.FAIL, model.ENDPOINT, "upstream-unreachable", where)
    return case.close(200, Outcome.ALLOW, model.ENDPOINT, "endpoint", where)


def _redirect(case: Case, listener: Listener, target: Target) -> Decision | None:
    request, seen = case.request, scheme(case.request)
    health = target.path == case.policy.endpoints.health_path
    if not listener.redirect_to_https or seen != "http" or health:
        return None
    case.note("the request came by https", False, listener.where, seen=seen)
    return Decision(
        status=301,
        outcome=Outcome.REDIRECT,
        rule=model.REDIRECT,
        reason="plain-http",
        where=listener.where,
        steps=tuple(case.steps),
        location=f"https://{request.host.removesuffix(':80')}{target}",
    )


def _preflight(case: Case, host: Host, target: Target | None) -> Decision | None:
    """
    A real preflight (Fetch standard, 4.8); any other OPTIONS is a method like the rest.

    Answered on every host: one without rules of its own allows no other origin. Not where the gateway itself answers in
    the place of an upstream. `target` None: an endpoint that is served.
    """
    request, cors = case.request, host.cors
    if request.asked:  # 200 would let it pass
        return None
    origins = request.values("origin")
    asked = request.values("access-control-request-method")
    if request.method != "OPTIONS" or not any(origins) or not any(asked):
        return None
    if target is not None:
        route = _ruling(replace(case, steps=[]), host, target).route
        if host.not_found if route is None else _answers_itself(case, route):
            return None
        cors = cors_of(host, route)
    allowed, where = cors is not None and cors.allows(",".join(origins)), cors.where if cors else host.where
    case.note("the origin of this preflight may read answers", allowed, where, shown(origins[0]))
    reason = "origin-allowed" if allowed else "origin-not-allowed"
    return case.close(200, Outcome.ALLOW, model.PREFLIGHT, reason, where)


def _answers_itself(case: Case, route: Route) -> bool:
    """Nothing of it goes to an upstream. (Without keys it answers nothing but 503, as if it went to one.)"""
    if isinstance(route.access, Broken):
        return True
    return (route.redirect is not None or route.direct is not None) and not _lacks_keys(case, route)


# --- The route --------------------------------------------------------------------------------------------------


def _ruling(case: Case, host: Host, target: Target) -> Ruling:
    prefix = case.policy.endpoints.prefix
    if case.request.asked and (target.path == prefix or target.path.startswith(prefix + "/")):
        case.note(f"a path below {prefix}, which is asked for at the gateway itself", False, host.where)
        return Ruling(
            rule=model.ENDPOINT,
            access=Denied(because="the gateway's own endpoints are not behind the proxy that asks"),
            credentials=host.fallback,
            where=host.where,
            host=host,
        )
    found = groups(host)
    chosen = None
    for group in found:
        if group.matches(target.path) and not (host.not_found and group.route_for(case.request) is None):
            chosen = group
            break
        # what a pattern is for, but for letter case, belongs to no route behind it
        if group.path.kind is PathKind.MATCHES and group.protects and group.matches_but_for_case(target.path):
            return _almost(case, host, group)
    if chosen is None:
        case.note("a route for this path", False, host.where, shown(target.path))
        return Ruling(
            rule=model.FALLBACK,
            access=Denied(because="no route is for this path"),
            credentials=host.fallback,
            where=host.where,
            host=host,
        )
    case.note(f"path {chosen.path}", True, chosen.routes[0].where)
    near = (
        group
        for group in found
        if group.specificity > chosen.specificity
        and group.protects
        and group.path.kind is not PathKind.MATCHES
    )
    near_miss = next((group for group in near if group.matches_but_for_case(target.path)), None)
    return replace(_by_method(case, host, chosen), near_miss=near_miss)


def _almost(case: Case, host: Host, group: Group) -> Ruling:
    where = group.routes[0].where
    case.note(f"the path is not {group.path} in other letters", False, where)
    return Ruling(
        rule=model.LETTER_CASE,
        access=Denied(because="an upstream that ignores letter case would serve the protected path"),
        credentials=Credentials(mode=Mode.IGNORED),
        where=where,
        host=host,
    )


def _by_method(case: Case, host: Host, group: Group) -> Ruling:
    method = case.request.method
    route = group.route_for(case.request)
    if route is not None:
        case.note(f"route {route.name}", True, route.where, seen=method)
        return Ruling(
            rule=route.name,
            access=route.judged(bool(case.request.asked)),
            credentials=route.credentials,
            where=route.where,
            host=host,
            route=route,
        )
    first = group.routes[0]
    case.note(f"a route of {group.path} for this method", False, first.where, seen=method)
    required = (each.credentials for each in group.routes if each.credentials.mode is Mode.REQUIRED)
    return Ruling(
        rule=model.METHOD_NOT_LISTED,
        access=Denied(because=f"no route of {group.path} lists {method}"),
        credentials=next(required, host.fallback),
        where=first.where,
        host=host,
    )


# --- Who, and whether they may ------------------------------------------------------------------------------------


def _judge(case: Case, ruling: Ruling) -> Decision:
    if ruling.rule == model.FALLBACK and ruling.host.not_found:
        return case.close(404, Outcome.NOT_FOUND, model.NO_ROUTE, "no-route", ruling.where)
    access = ruling.access
    if isinstance(access, Broken):
        case.note(f"closed to everyone: {access.because}", False, ruling.where)
        return case.close(500, Outcome.FAIL, ruling.rule, "broken", ruling.where)
    if refused := gates.refused(case, ruling):
        return refused
    who = caller(case, ruling)
    if isinstance(who, Decision):
        return who
    if ruling.route is not None and ruling.route.chosen_again is not None and not case.request.asked:
        return _judge_again(case, ruling, ruling.route, who)
    return _judge_caller(case, ruling, who)


def _judge_again(case: Case, ruling: Ruling, before: Route, who: Principal | Anonymous) -> Decision:
    """By the route that the request has with the identity headers of the one before: one of the same name, or none."""
    names = {header.name.lower() for header in before.identity}
    kept = [(name, value) for name, value in case.request.headers if name.lower() not in names]
    told = replace(case.request, headers=(*kept, *_identity(before.identity, who)))
    target = normalize(case.request.target)
    assert not isinstance(target, Unsafe), "it was looked at before"
    found = _ruling(replace(case, request=told), ruling.host, target)
    if found.route is None and found.rule == model.FALLBACK and found.host.not_found:
        return case.close(404, Outcome.NOT_FOUND, model.NO_ROUTE, "no-route", found.where)
    if isinstance(found.access, Broken):
        case.note(f"closed to everyone: {found.access.because}", False, found.where)
        return case.close(500, Outcome.FAIL, found.rule, "broken", found.where)
    same = found.route is not None and found.route.chosen_again == before.chosen_again
    if not case.note("the route that the caller's claims choose is of the same policy", same, found.where):
        return case.close(403, Outcome.DENY, model.ROUTE_AGAIN, "route-again", found.where)
    return _judge_caller(case, found, who)


def _judge_caller(case: Case, ruling: Ruling, who: Principal | Anonymous) -> Decision:
    access = ruling.access
    assert not isinstance(access, Broken), "answered before"
    if ruling.near_miss is not None and ruling.route is not None:
        # upstreams that ignore letter case would serve the protected path
        where = ruling.near_miss.routes[0].where
        case.note(f"the path is not {ruling.near_miss.path} in other letters", False, where)
        return case.close(403, Outcome.DENY, model.LETTER_CASE, "letter-case", where)
    match access:
        case Public():
            case.note("public", True, ruling.where)
            reason = "public"
        case Denied(because=because):
            case.note(f"closed to everyone: {because}", False, ruling.where)
            reason = "denied" if ruling.route else ruling.rule
            return case.close(403, Outcome.DENY, ruling.rule, reason, ruling.where)
        case Rule(when=when):
            may = holds(when, who, case.request, ruling.where, case.steps.append)
            if not case.note(describe(when), may, ruling.where):
                return case.close(403, Outcome.DENY, ruling.rule, "rule-not-met", ruling.where)
            reason = "rule-met"
        case _:
            assert_never(access)
    return _allow(case, ruling, who, reason)


def _allow(case: Case, ruling: Ruling, who: Principal | Anonymous, reason: str) -> Decision:
    route = ruling.route
    assert route is not None, "only routes let anyone in: the other rulings are Denied"
    if route.redirect is not None and not case.request.asked:
        place = redirected(route.redirect, case.request, case.target)
        status, where = route.redirect.status, ruling.where
        return case.close(status, Outcome.REDIRECT, ruling.rule, "redirected", where, location=place)
    if route.external is not None:
        case.note(f"{route.external.upstream} lets it pass", True, ruling.where, "not asked here")
    for limit in route.rate_limits:
        case.note(
            f"at most {limit.requests} requests in {limit.per}",
            True,
            ruling.where,
            "not counted here",
        )
    if route.direct is not None and not case.request.asked:
        return case.close(route.direct.status, Outcome.ALLOW, ruling.rule, "answered", ruling.where)
    return Decision(
        status=200,
        outcome=Outcome.ALLOW,
        rule=ruling.rule,
        reason=reason,
        where=ruling.where,
        steps=tuple(case.steps),
        identity=(*_identity(route.identity, who), *gates.told(case, route)),
        upstream=None if case.request.asked else route.upstream,
        route=route,
        body_limit=case.policy.body_limit(route),
        authorization=_authorization(case, route, who),
        cookie=gates.without_keys(route, case.cookies(route.credentials).others),
    )


def _authorization(case: Case, route: Route, who: Principal | Anonymous) -> str | None:
    """
    A session's access token where it is to be forwarded. A client's own Authorization goes on, except beside a session:
    then nobody has looked at it.
    """
    terms = route.credentials
    if route.hide_credential:
        return None
    in_session = terms.mode is not Mode.IGNORED and case.session_at(terms)
    if not in_session:
        hidden = "authorization" in route.hidden_headers or gates.hides_authorization(route)
        return None if hidden else case.request.value("authorization")
    if isinstance(who, Anonymous) or who.token is None or not _forwards(case.policy, route):
        return None
    return f"Bearer {who.token}"


def _forwards(policy: Policy, route: Route) -> bool:
    own, session = route.forward_authorization, policy.session_of(route.credentials)
    return session is not None and (session.forward_authorization if own is None else own)


def _identity(headers: tuple[IdentityHeader, ...], who: Principal | Anonymous) -> tuple[tuple[str, str], ...]:
    if isinstance(who, Anonymous):
        return ()
    values = ((header.name, _identity_value(header, who)) for header in headers)
    return tuple((name, value) for name, value in values if value is not None)


def _identity_value(header: IdentityHeader, who: Principal) -> str | None:
    match header.value:
        case ClaimValue(path=path, separator=separator, source=source):
            return claim_text(who.claim(path, source), separator)
        case RawToken(source=source):
            return who.id_token if source is Source.ID else who.token
        case _:
            assert_never(header.value)
