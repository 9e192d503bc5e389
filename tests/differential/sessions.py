"""
Sessions in every state: as a browser sends their cookie, as the service's store has them, as `decide` is told of them.

The two ways must not meet: what is sent goes to Envoy as bytes; what is found is read from the same bytes in Python.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.differential import tokens
from wardgate.decision import cookies
from wardgate.policy import Credentials, Introspection, Kind, Policy
from wardgate.principal import Principal, Rejected
from wardgate.service.session import Session, Tokens, name_of, new_id

STATES = ("alive", "issuer-away", "expired", "tokens-ended", "unknown", "store-away")
"""
Every way in which the service can find a session, or not. `issuer-away`: its access token has expired and cannot be
renewed now; the session goes on without it.
"""

PLAIN = ("{name}={id}",)
SPELLINGS: tuple[tuple[str, ...], ...] = (
    PLAIN,
    ("theme=dark; {name}={id}; lang=de",),
    ("theme=dark;{name}={id} ;\tlang=de",),
    ("theme=dark", "{name}={id}"),
    ("{name}={id}; wardgate-login-x=1; __Host-wardgate-login-y=2; wardgate-loginz=3",),
    (
        "{name}={id}; wardgate-session-z=1; __Host-wardgate-session-=2; wardgate-sessions=3; x-wardgate-session-z=4",
    ),
    # twice
    ("{name}={id}; {name}={id}",),
    ("{name}={id}; {name}=",),
    ("{name}=nothing", "{name}={id}"),
    # what is no session cookie, and what is none of ours
    ("\x1f{name}={id}",),
    ("{name}x={id}; x{name}={id}; x-{name}={id}",),
    ("{name} ={id}",),
    ("{name}",),
    ("a={name}={id}",),
    ("{name}-1={id}; {name}-12={id}; {name}-={id}",),
    ("{upper}={id}",),
    ("; ;",),
    ("wardgate-login=1",),
    # a session cookie that holds something else
    ('{name}="{id}"',),
    ("{name}= {id}",),
    ("{name}=",),
    ("{name}={id}x",),
    ("{name}={id}={id}",),
    ("{name}={id},{name}={id}",),
    # in pieces
    ("{name}={head}; {name}-1={tail}",),
    ("{name}-1={tail}; a=b; {name}={head}",),
    ("{name}={head}; {name}-2={tail}",),
    ("{name}={head}; {name}-1={tail}; {name}-1={tail}",),
    ("{name}={head}; {name}-1={tail}; {name}-2=; {name}-4=x",),
)
"""Lines of Cookie. `{id}` is what the session cookie holds, `{head}` and `{tail}` are its parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A session as a request brings it. `id_claims` and `userinfo` are beside the claims of its access token."""

    state: str
    provider: str
    claims: Mapping[str, Any]
    id_claims: Mapping[str, Any] = field(default_factory=dict)
    userinfo: Mapping[str, Any] | None = None
    spelling: tuple[str, ...] = PLAIN


def spelling(chance: random.Random) -> tuple[str, ...]:
    return PLAIN if chance.random() < 0.5 else chance.choice(SPELLINGS)


def new_cookie(policy: Policy) -> str:
    """What a session cookie holds: an id, or, where sessions are kept in cookies, a longer text."""
    in_cookies = policy.session is not None and policy.session.in_cookies
    return f"{new_id()}_{new_id()}" if in_cookies else new_id()


def lines(policy: Policy, presented: Presented, cookie: str) -> tuple[tuple[str, str], ...]:
    """The request's Cookie lines."""
    own = policy.session_of(Credentials(providers=(presented.provider,))) or policy.session
    name = own.cookie if own else "__Host-wardgate-session"
    words = {
        "name": name,
        "upper": name.upper(),
        "id": cookie,
        "head": cookie[:20],
        "tail": cookie[20:],
    }
    return tuple(("Cookie", line.format(**words)) for line in presented.spelling)


def kept(presented: Presented, cookie: str, now: datetime) -> Session | None:
    """The session as it is in the store; None: the store does not answer for it."""
    at = now.timestamp()
    if presented.state == "store-away":
        return None
    tokens_end = at - 60 if presented.state in ("tokens-ended", "issuer-away") else at + tokens.HOUR
    return Session(
        name=name_of(cookie),
        provider=presented.provider,
        issuer=tokens.ISSUERS[presented.provider],
        subject="ann",
        issuer_session=None,
        created=at - 60,
        used=at,
        ends=at - 1 if presented.state == "expired" else at + tokens.HOUR,
        tokens=Tokens(
            access_token=access_token(cookie),
            access_expires=tokens_end,
            refresh_token="refresh" if presented.state == "issuer-away" else None,
            id_token=id_token(cookie),
            claims={"sub": "ann", "iat": int(at) - 60, **presented.claims},
            id_claims={"sub": "ann", **presented.id_claims},
            userinfo=presented.userinfo,
        ),
    )


def access_token(cookie: str) -> str:
    return f"access-{name_of(cookie)}"


def id_token(cookie: str) -> str:
    return f"id-{name_of(cookie)}"


def found(
    policy: Policy, sent: tuple[tuple[str, str], ...], kept: Mapping[str, tuple[Presented, Session | None]]
) -> Principal | Rejected | None:
    """The session that these headers bring, by what the store says of it."""
    header = "; ".join(value for name, value in sent if name == "Cookie")
    if policy.session is None or not policy.login_providers():
        return None
    terms = [policy.session_of(Credentials(providers=(one.name,))) for one in policy.login_providers()]
    read = [cookies.read(header, each.cookie, chunks=each.in_cookies).session for each in terms if each]
    cookie = next((each for each in read if each is not None), None)
    if cookie is None:
        return None
    if cookie not in kept:
        return Rejected("session-over", Kind.SESSION)
    presented, session = kept[cookie]
    if session is None:
        return Rejected("session-unavailable", Kind.SESSION)
    provider = next((one for one in policy.login_providers() if one.name == presented.provider), None)
    if provider is None or presented.state not in ("alive", "issuer-away"):
        return Rejected("session-over", Kind.SESSION)
    if presented.state == "issuer-away" and provider.introspection is Introspection.ALWAYS:
        return Rejected("session-unavailable", Kind.SESSION)  # that issuer has to be asked about each
    return Principal(
        provider=presented.provider,
        kind=Kind.SESSION,
        claims=session.tokens.claims,
        token=session.tokens.access_token if presented.state == "alive" else None,
        id_claims=session.tokens.id_claims,
        userinfo=session.tokens.userinfo,
        id_token=session.tokens.id_token,
    )
