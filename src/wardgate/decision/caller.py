"""
Who a route takes the caller for: nobody, a principal, or an answer in place of either.

The order, first answer wins:
 1. no provider's keys are there: 503;
 2. two credentials of kinds that are accepted here, or two session cookies: 400;
 3. a WebSocket that a page of another site opens with a session: 403;
 4. the session, where sessions are accepted; it decides before a bearer token that is not looked at here;
 5. the bearer token;
 6. nobody: 401, or the login for someone who navigates.
A permissive route lets a credential pass that is not good, as nobody's; it answers 400 and 403 all the same, and 401 to a good
token that was where only other issuers' may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never

from wardgate.decision import model
from wardgate.decision.browser import cors_of, navigates, opens_websocket, origin_allowed
from wardgate.decision.case import Case, Ruling
from wardgate.decision.model import Decision, Outcome, Request
from wardgate.policy import Carrier, Credentials, Introspection, Kind, Mode, Policy, TokenPlace
from wardgate.principal import Anonymous, Credential, Principal, Rejected
from wardgate.problems import shown

SEVERAL: Final = "credential-several"
UNAVAILABLE: Final = "session-unavailable"
MISPLACED: Final = "token-place"


def caller(case: Case, ruling: Ruling) -> Principal | Anonymous | Decision:
    """Who the ruling takes the caller for, or the answer when it takes nobody like this."""
    terms, where = ruling.credentials, ruling.where
    if terms.mode is Mode.IGNORED:
        return Anonymous()
    bearer, sessions = accepts_bearer(terms), accepts_session(case.policy, terms)
    if lacks_keys(case, terms):
        case.note(f"keys of {', '.join(terms.providers)}", False, where, seen="none fetched yet")
        return case.close(503, Outcome.FAIL, ruling.rule, "keys-unavailable", where)
    session = case.session_at(terms)
    if (sessions and case.cookies(terms).several) or (session and bearer and _brings_bearer(case)):
        case.note("one credential", False, where)
        return case.close(400, Outcome.REFUSE, model.GUARD_CREDENTIAL, SEVERAL, where)
    if session is not None:
        return _by_session(case, ruling, session)
    return _judged(case, ruling, _bearer(case, terms, bearer))


def accepts_bearer(terms: Credentials) -> bool:
    return Kind.BEARER in terms.kinds and bool(terms.providers)


def accepts_session(policy: Policy, terms: Credentials) -> bool:
    """A session is accepted where one can be had: of a provider at which browsers can log in."""
    return policy.session_of(terms) is not None


def login_providers(policy: Policy, terms: Credentials) -> tuple[str, ...]:
    """The providers of these terms at which browsers can log in."""
    return tuple(provider.name for provider in policy.logins_of(terms))


def lacks_keys(case: Case, terms: Credentials) -> bool:
    """Nothing can be told where no provider that is accepted has keys yet."""
    accepts_any = accepts_bearer(terms) or accepts_session(case.policy, terms)
    return accepts_any and case.unavailable.issuperset(terms.providers)


def login_at(case: Case, ruling: Ruling) -> tuple[str, ...]:
    """Where the caller is sent to log in: only someone who navigates is, to a route that says so."""
    route, terms = ruling.route, ruling.credentials
    wanted = route is not None and route.login_redirect and terms.mode is Mode.REQUIRED
    if not wanted or not accepts_session(case.policy, terms):
        return ()
    found = login_providers(case.policy, terms)
    if case.note(
        f"a browser that navigates: it is sent to log in at {', '.join(found)}", navigates(case.request)
    ):
        return found
    return ()


def _brings_bearer(case: Case) -> bool:
    return case.bearer != Anonymous() or bool(case.request.values("authorization"))


# --- By session


def _by_session(
    case: Case, ruling: Ruling, session: Principal | Rejected
) -> Principal | Anonymous | Decision:
    if opens_websocket(case.request) and not origin_allowed(case.request, cors_of(ruling.host, ruling.route)):
        origin = shown(case.request.value("origin") or "none")
        case.note("the page that opens a WebSocket is of this host", False, ruling.host.where, seen=origin)
        return case.close(403, Outcome.DENY, ruling.rule, "origin", ruling.where)
    if case.service_away:
        return _judged(case, ruling, Rejected(UNAVAILABLE, Kind.SESSION))
    if isinstance(session, Principal):
        known = session.provider in login_providers(case.policy, ruling.credentials)
        return _judged(case, ruling, session if known else Rejected("credential-provider", Kind.SESSION))
    return _over(case, ruling, session)


def _over(case: Case, ruling: Ruling, session: Rejected) -> Anonymous | Decision:
    """The session is none, or cannot be looked up: as if nobody had logged in, and the cookie goes."""
    mode = ruling.credentials.mode
    if session.reason != UNAVAILABLE and mode is not Mode.PERMISSIVE:
        if login := login_at(case, ruling):
            return _to_login(case, ruling, login, session.reason)
        if mode is Mode.OPTIONAL and navigates(case.request):
            case.note("a session that goes on", False, ruling.where, seen=session.reason)
            return case.close(
                303, Outcome.REDIRECT, ruling.rule, session.reason, ruling.where, location=case.target
            )
    found = _judged(case, ruling, session)
    assert not isinstance(found, Principal), "a session that was refused is nobody's"
    return found


def _to_login(case: Case, ruling: Ruling, login: tuple[str, ...], seen: str) -> Decision:
    case.note("a valid credential", False, ruling.where, seen=seen)
    if case.service_away:
        return case.close(503, Outcome.FAIL, ruling.rule, UNAVAILABLE, ruling.where)
    return case.close(302, Outcome.REDIRECT, ruling.rule, "login", ruling.where, login=login)


# --- By bearer token


def _bearer(case: Case, terms: Credentials, accepted: bool) -> Credential:
    """
    The bearer token as these terms see it: of several none counts, another provider's is a bad one, and what its issuer
    says of it counts where its issuer is asked.
    """
    found = case.bearer
    looked_at = any(place.name == "authorization" for place in terms.places)
    if accepted and looked_at and len(case.request.values("authorization")) > 1:
        return Rejected(SEVERAL)
    if isinstance(found, Anonymous):
        return found
    if not accepted:
        return Rejected("credential-kind")
    asked = introspection(case.policy, terms)
    is_opaque = found.opaque if isinstance(found, Principal) else found.reason in _OF_OPAQUE
    if is_opaque and asked is Introspection.OFF:
        return Rejected("credential-malformed")
    if case.service_away and (is_opaque or asked is Introspection.ALWAYS):
        return Rejected(UNAVAILABLE)
    if isinstance(found, Rejected):
        return found
    if found.provider not in terms.providers:
        return Rejected("credential-provider")
    if not _may_be_there(case.request, terms, found.provider):
        return Rejected(MISPLACED)
    its_own = case.policy.provider(found.provider).introspection
    if not found.active and (terms.introspect or its_own is Introspection.ALWAYS):
        return Rejected("token-inactive")
    return found


def _may_be_there(request: Request, terms: Credentials, provider: str) -> bool:
    """Whether its tokens may be where the request has one; a request that shows none has it somewhere where it may be."""
    held = [place for place in terms.places if any(_held(request, place))]
    return not any(place.providers and provider not in place.providers for place in held)


def _held(request: Request, place: TokenPlace) -> Iterator[str]:
    match place.carrier:
        case Carrier.HEADER:
            yield from (one for one in request.values(place.name) if one.startswith(place.prefix))
        case Carrier.COOKIE:
            parts = (part.strip(" \t") for line in request.values("cookie") for part in line.split(";"))
            yield from (part for part in parts if part.partition("=")[0] == place.name and "=" in part)
        case Carrier.PARAM:
            written = (part.partition("=") for part in request.target.partition("?")[2].split("&"))
            yield from (value for name, _, value in written if name == place.name)
        case _:
            assert_never(place.carrier)


_OF_OPAQUE: Final = ("token-inactive", UNAVAILABLE)
"""What the issuer's answer, or its silence, makes of a token that only it can read."""


def introspection(policy: Policy, terms: Credentials) -> Introspection:
    """Which bearer tokens the service is asked about here: the strictest that any of the providers wants."""
    wanted = {policy.provider(name).introspection for name in terms.providers}
    if terms.introspect or Introspection.ALWAYS in wanted:
        return Introspection.ALWAYS
    return Introspection.OPAQUE if Introspection.OPAQUE in wanted else Introspection.OFF


# --- By mode


def _judged(case: Case, ruling: Ruling, credential: Credential) -> Principal | Anonymous | Decision:
    """What the route's mode makes of the credential."""
    mode, where = ruling.credentials.mode, ruling.where
    match credential:
        case Principal():
            case.note(f"a valid {credential.kind} of {credential.provider}", True, where)
            return credential
        case Anonymous():
            reason = "no-credential"
        case Rejected(reason=reason):
            pass
        case _:
            assert_never(credential)
    nobody = mode is Mode.OPTIONAL and credential == Anonymous()
    if nobody or (mode is Mode.PERMISSIVE and reason != MISPLACED):
        case.note(f"a credential is {mode}", True, where, seen=reason)
        return Anonymous()
    if credential == Anonymous() and (login := login_at(case, ruling)):
        return _to_login(case, ruling, login, reason)
    case.note("a valid credential", False, where, seen=reason)
    if reason == SEVERAL:
        return case.close(400, Outcome.REFUSE, model.GUARD_CREDENTIAL, reason, where)
    if reason == UNAVAILABLE:
        return case.close(503, Outcome.FAIL, ruling.rule, reason, where)
    return case.close(401, Outcome.REJECT, ruling.rule, reason, where)
