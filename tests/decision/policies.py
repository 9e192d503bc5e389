"""Small policies for the tests of the decision: short to write, with names that a failure can be read by."""

from __future__ import annotations

from typing import Any

from wardgate.decision import Decision, Request, decide
from wardgate.policy import (
    ANY_METHOD,
    Access,
    Address,
    Audiences,
    Credentials,
    Endpoint,
    Host,
    Kind,
    Listener,
    Mode,
    Path,
    PathKind,
    Policy,
    Provider,
    Public,
    Route,
    Upstream,
)
from wardgate.principal import Anonymous, Credential, Principal, Rejected
from wardgate.problems import Where

PROVIDERS = ("main", "other")
REQUIRED = Credentials(providers=("main",))
OPTIONAL = Credentials(mode=Mode.OPTIONAL, providers=("main",))
PERMISSIVE = Credentials(mode=Mode.PERMISSIVE, providers=("main",))
IGNORED = Credentials(mode=Mode.IGNORED)


def path(text: str) -> Path:
    """`/x` exact, `/x/**` prefix, `/x/*` under, `/x*` text: as `str(Path)` writes them."""
    for suffix, kind in (("/**", PathKind.PREFIX), ("/*", PathKind.UNDER), ("*", PathKind.TEXT)):
        if text.endswith(suffix):
            return Path(kind=kind, text=text.removesuffix(suffix) or "/")
    return Path(kind=PathKind.EXACT, text=text)


def route(where: str, access: Access | None = None, **settings: Any) -> Route:
    """A route for one path; public when nothing else is said. Its name is its path unless given."""
    access = access if access is not None else Public()
    settings.setdefault("credentials", IGNORED if isinstance(access, Public) else REQUIRED)
    settings.setdefault("name", where)
    settings.setdefault("methods", ANY_METHOD)
    settings.setdefault("where", Where(file="w.yaml", line=7))
    return Route(path=path(where), access=access, upstream="app", **settings)


def policy(*routes: Route, listener: dict[str, Any] | None = None, **settings: Any) -> Policy:
    """A policy of one listener and one host, whose settings are `listener` and `host_...`; `provider`: of each of them."""
    of_provider = settings.pop("provider", {})
    host = {key.removeprefix("host_"): settings.pop(key) for key in list(settings) if key.startswith("host_")}
    host.setdefault("fallback", REQUIRED)
    hosts = settings.pop("hosts", None) or (Host(routes=routes, **host),)
    address = Address(host="127.0.0.1", port=0)
    return Policy(
        dialect="native",
        listeners=(Listener(name="main", address=address, hosts=hosts, **(listener or {})),),
        providers=tuple(
            Provider(
                name=name,
                issuer=f"https://id.example/realms/{name}",
                audience=Audiences(any_of=("app",)),
                **of_provider,
            )
            for name in PROVIDERS
        ),
        upstreams=(Upstream(name="app", endpoints=(Endpoint(host="127.0.0.1", port=1),)),),
        **settings,
    )


def principal(*roles: str, provider: str = "main", kind: Kind = Kind.BEARER, **claims: object) -> Principal:
    """A caller with these realm roles."""
    everything = {"sub": "ann", "realm_access": {"roles": list(roles)}, **claims}
    return Principal(provider=provider, kind=kind, claims=everything, token="aaa.bbb.ccc")


def ask(
    policy: Policy,
    target: str,
    credential: Credential | None = None,
    *,
    method: str = "GET",
    session: Principal | Rejected | None = None,
    unavailable: frozenset[str] = frozenset(),
    service_away: bool = False,
    **request: Any,
) -> Decision:
    """The decision on one request, anonymous when nobody is named."""
    request.setdefault("host", "app.example")
    credential = credential if credential is not None else Anonymous()
    return decide(
        policy,
        Request(method=method, target=target, **request),
        credential,
        session=session,
        unavailable=unavailable,
        service_away=service_away,
    )


def status_and_rule(decision: Decision) -> tuple[int, str]:
    return decision.status, decision.rule
