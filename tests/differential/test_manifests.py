"""`decide` and a real Envoy answer alike where routes are as manifests have them: told apart by headers and parameters, 404 beside."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from tests.differential.cases import Case, made
from tests.differential.comparison import Compared, compare
from tests.differential.fleet import Fleet
from tests.differential.pending import pending
from tests.differential.probes import Probe
from tests.differential.test_envoy import report_first
from wardgate.policy import (
    AUTHORIZATION,
    REDIRECTS,
    Authenticated,
    Broken,
    ClaimValue,
    Credentials,
    HeaderIs,
    Host,
    How,
    IdentityHeader,
    Kind,
    Match,
    Mode,
    Path,
    Policy,
    Public,
    QueryIs,
    Redirect,
    Route,
    Rule,
)

MATCHES: tuple[tuple[Match, ...], ...] = (
    (HeaderIs("X-Version", "2"),),
    (QueryIs("page", "1"),),
    (HeaderIs("X-Version", "2"), QueryIs("page", "1")),
    (QueryIs("page", "[0-9]+", How.MATCHES),),
    (QueryIs("page", "[^1]*", How.MATCHES),),
    (HeaderIs("X-Version", "[0-9]", How.MATCHES),),
    (HeaderIs("X-Version", "two", How.PREFIX),),
    (HeaderIs("X-Version", "words", How.SUFFIX),),
    (HeaderIs("X-Version", "two words"), HeaderIs("x-env", "")),
)
BY_CLAIM = HeaderIs("X-Person", "acme")
HEADERS = (("X-Version", "2"), ("x-version", "3"), ("X-Version", "two words"), ("x-env", "1"))
QUERIES = ("page=1", "page=2", "page=1&page=2", "a=1&page=1", "page=", "page", "pag%65=1", "page=%31")


def like_manifests(case: Case, chance: random.Random) -> Case:
    listeners = tuple(
        replace(each, hosts=tuple(_host(host, chance) for host in each.hosts))
        for each in case.policy.listeners
    )
    policy: Policy = replace(case.policy, listeners=listeners)
    return replace(case, policy=policy, probes=tuple(_probe(each, chance) for each in case.probes))


def _host(host: Host, chance: random.Random) -> Host:
    routes: list[Route] = []
    for route in host.routes:
        if chance.random() < 0.5:
            routes.append(_changed(route, f"{route.name} matched", chance.choice(MATCHES), chance))
        matches = chance.choice(MATCHES) if chance.random() < 0.2 and not routes else ()
        routes.append(_changed(route, route.name, matches, chance))
    found = tuple(_chosen_again(routes, chance)) if chance.random() < 0.3 else tuple(routes)
    return replace(host, routes=found, not_found=chance.random() < 0.8)


def _chosen_again(routes: list[Route], chance: random.Random) -> Iterator[Route]:
    """
    Some of them are chosen once more, by a claim of who calls: they have the credentials of one of them. Others, which a claim would
    choose, too, are nobody's.
    """
    modes = (Mode.REQUIRED, Mode.OPTIONAL, Mode.PERMISSIVE)
    looked_at = (route.credentials for route in routes if route.credentials.mode in modes)
    terms = next((one for one in looked_at if one.providers), None)
    elsewhere: set[Path] = set()
    for route in routes:
        if terms is None or route.credentials.mode is Mode.IGNORED or chance.random() < 0.2:
            yield route
            continue
        if chance.random() < 0.5 and route.path not in elsewhere:
            elsewhere.add(route.path)
            nobody = Credentials(mode=Mode.IGNORED)
            name, matches = f"{route.name} elsewhere", (replace(BY_CLAIM, how=How.PREFIX),)
            yield replace(route, name=name, matches=matches, access=Public(), credentials=nobody, identity=())
        closed = isinstance(route.access, Public) and terms.mode is Mode.REQUIRED
        yield replace(
            route,
            access=Rule(when=Authenticated()) if closed else route.access,
            credentials=replace(terms, kinds=frozenset({Kind.BEARER})),
            identity=(IdentityHeader(name=BY_CLAIM.name, value=ClaimValue(path=("tenant",))),),
            matches=(*route.matches, BY_CLAIM) if chance.random() < 0.4 else route.matches,
            chosen_again="group",
        )


def _placed(terms: Credentials, chance: random.Random) -> Credentials:
    """Sometimes only tokens of some providers may be in Authorization."""
    if Kind.BEARER not in terms.kinds or not terms.providers or chance.random() < 0.8:
        return terms
    some = chance.sample(terms.providers, chance.randint(1, len(terms.providers)))
    return replace(terms, places=(replace(AUTHORIZATION, providers=tuple(some)),))


def _changed(route: Route, name: str, matches: tuple[Match, ...], chance: random.Random) -> Route:
    route = replace(route, credentials=_placed(route.credentials, chance))
    route = replace(route, name=name, matches=matches, hide_credential=chance.random() < 0.3)
    if chance.random() < 0.08:
        return replace(route, redirect=Redirect(host="elsewhere.test", status=chance.choice(REDIRECTS)))
    if chance.random() < 0.15:
        nobody = Credentials(mode=Mode.IGNORED)
        return replace(route, access=Broken(because="a test"), credentials=nobody, identity=())
    return route


def _refused_either_way(each: Compared) -> bool:
    """Whose token is of another provider, or for another audience, is refused by the route that is chosen last, or as no route of his."""
    refused = each.envoy.rule == "route-again" or each.envoy.status == 401
    return each.decision.status == 401 and refused and not each.envoy.forwarded


def _probe(probe: Probe, chance: random.Random) -> Probe:
    request = probe.request
    if chance.random() < 0.5:
        request = replace(request, headers=(*request.headers, chance.choice(HEADERS)))
    if chance.random() < 0.5:
        mark = "&" if "?" in request.target else "?"
        request = replace(request, target=request.target + mark + chance.choice(QUERIES))
    claims = {**probe.claims, "tenant": "acme"} if chance.random() < 0.5 else probe.claims
    return replace(probe, request=request, claims=claims)


def test_routes_of_manifests_are_chosen_alike(fleet: Fleet) -> None:
    """By path, method, headers and query; a broken one is 500, what no route is for 404, a hidden token stays here."""
    chance = random.Random(6)
    seen: Counter[str] = Counter()
    cases = [like_manifests(case, chance) for case in made(4, 150)]
    for start in range(0, len(cases), 25):
        compared = compare(fleet, cases[start : start + 25])
        report_first(
            [
                each
                for each in compared
                if not each.agrees and not pending(each) and not _refused_either_way(each)
            ],
            fleet,
        )
        for each in compared:
            status = each.envoy.status
            seen["302" if status in REDIRECTS[1:] else str(status)] += 1
            seen["matched"] += each.envoy.rule.endswith(" matched")
            route = each.decision.route
            seen["chosen again"] += (
                route is not None and route.chosen_again is not None and each.envoy.forwarded
            )
            seen["chosen elsewhere"] += each.envoy.rule == "route-again"
            seen["hidden"] += route is not None and route.hide_credential and each.envoy.forwarded
    print(sorted(seen.items()))
    for what in ("200", "302", "401", "403", "404", "500"):
        assert seen[what] > 20, seen
    assert seen["matched"] > 30 and seen["hidden"] > 30, seen
    assert seen["chosen again"] > 10 and seen["chosen elsewhere"] > 0, seen
