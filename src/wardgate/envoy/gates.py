"""
What a route asks of a request beside who calls: one of its keys, a name and a password, that no other site's page sends it, that it
does not come too often. (By Sec-Fetch-Site the guard tells where a page is.) One Envoy filter each, in the chain of every listener, and disabled but for the routes that need it.

A filter that were missing would let everything pass: routes change before listeners do. And those that tell credentials leave a mark,
whose key or whose password it was, and RBAC denies what comes without (`marked`).
"""

from __future__ import annotations

from wardgate.envoy import CONFIG, HTTP_FILTERS, Json, duration, headers, matching, names, typed
from wardgate.policy import ApiKeys, BasicUsers, CrossSite, RateLimit, Route

API_KEYS = HTTP_FILTERS + "api_key_auth.v3.ApiKeyAuth"
BASIC = HTTP_FILTERS + "basic_auth.v3.BasicAuth"
CSRF = HTTP_FILTERS + "csrf.v3.CsrfPolicy"
RATE = HTTP_FILTERS + "local_ratelimit.v3.LocalRateLimit"

ALWAYS = {"default_value": {"numerator": 100}}


def before_callers() -> dict[str, Json]:
    """Filters by name, for before anybody looks at who calls."""
    # per route only the users can be said: whose name it is, is told in one header everywhere
    nobody = {"inline_string": "nobody:{SHA}" + "A" * 27 + "="}
    return {
        names.CROSS_SITE: typed(CSRF, filter_enabled=ALWAYS),
        names.API_KEYS: typed(API_KEYS),
        names.BASIC: typed(BASIC, users=nobody, forward_username_header=names.USER),
    }


def after_callers() -> dict[str, Json]:
    """Those for when it is known that the request may pass."""
    return {names.RATE: typed(RATE, stat_prefix="wardgate")}


def per_route(route: Route) -> Json:
    """The settings of the filters that this route needs."""
    found: Json = {}
    if route.cross_site is not None and not route.cross_site.by_metadata:
        found[names.CROSS_SITE] = _cross_site(route.cross_site)
    if route.api_keys is not None:
        found[names.API_KEYS] = _api_keys(route.api_keys)
    if route.basic_users is not None:
        found[names.BASIC] = _basic(route.basic_users)
    if route.rate_limit is not None:
        found[names.RATE] = _rate(route.rate_limit)
    return {
        name: typed(CONFIG + "route.v3.FilterConfig", disabled=False, config=config)
        for name, config in found.items()
    }


def pages(route: Route) -> tuple[str, ...] | None:
    """Origins of whose pages the guard lets changes pass, beside the own host's; None: of all."""
    spec = route.cross_site
    return spec.origins if spec is not None and spec.by_metadata else None


def marked(route: Route) -> list[Json]:
    """Predicates: the marks that the filters of this route leave are there."""
    marks = [names.KEY_OF] if route.api_keys is not None else []
    marks += [names.USER] if route.basic_users is not None else []
    return [matching.header(mark, matching.regex(".+")) for mark in marks]


def told(route: Route) -> list[Json]:
    """Header mutations: whose key or password it was, as the upstream is told."""
    found = []
    if route.api_keys is not None and route.api_keys.told is not None:
        found.append(headers.added(route.api_keys.told, f"%REQ({names.KEY_OF.upper()})%"))
    if route.basic_users is not None and route.basic_users.told is not None:
        found.append(headers.added(route.basic_users.told, f"%REQ({names.USER.upper()})%"))
    return found


def _cross_site(spec: CrossSite) -> Json:
    """Origins are compared without their scheme, as Envoy reads them."""
    origins = [{"safe_regex": {"regex": pattern}} for pattern in spec.patterns()]
    return typed(CSRF, filter_enabled=ALWAYS, additional_origins=origins)


def _api_keys(spec: ApiKeys) -> Json:
    sources = [{"header": name} for name in spec.headers]
    sources += [{"query": name} for name in spec.params]
    sources += [{"cookie": name} for name in spec.cookies]
    return typed(
        HTTP_FILTERS + "api_key_auth.v3.ApiKeyAuthPerRoute",
        credentials=[{"key": key.reveal(), "client": client} for client, key in spec.keys],
        key_sources=sources,
        forwarding={"header": names.KEY_OF, "hide_credentials": spec.strip},
    )


def _basic(spec: BasicUsers) -> Json:
    users = "\n".join(f"{name}:{{SHA}}{digest.reveal()}" for name, digest in spec.users)
    return typed(HTTP_FILTERS + "basic_auth.v3.BasicAuthPerRoute", users={"inline_string": users})


def _rate(spec: RateLimit) -> Json:
    bucket = {"max_tokens": spec.burst, "tokens_per_fill": spec.requests, "fill_interval": duration(spec.per)}
    return typed(
        RATE,
        stat_prefix="wardgate",
        token_bucket=bucket,
        filter_enabled=ALWAYS,
        filter_enforced=ALWAYS,
    )
