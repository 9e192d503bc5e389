"""
What a route asks of a request beside who calls: one of its keys, a name and a password, that no other site's page sends it, that it
does not come too often, that another service lets it pass. The guard looks for keys (`claims.Terms`), and tells by Sec-Fetch-Site where
a page is; for the rest there is one Envoy filter each, in the chain of every listener, and disabled but for the routes that need it.

A filter that were missing would let everything pass: routes change before listeners do. And who tells credentials leaves a mark,
whose key or whose password it was, and RBAC denies what comes without (`marked`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wardgate.envoy import HTTP_FILTERS, Json, duration, enabled, headers, matching, names, typed
from wardgate.policy import (
    INTERNAL_PREFIX,
    BasicUsers,
    CrossSite,
    ExternalAuth,
    Mode,
    RateLimit,
    Route,
)

BASIC = HTTP_FILTERS + "basic_auth.v3.BasicAuth"
CSRF = HTTP_FILTERS + "csrf.v3.CsrfPolicy"
EXT_AUTHZ = HTTP_FILTERS + "ext_authz.v3."
RATE = HTTP_FILTERS + "local_ratelimit.v3.LocalRateLimit"

ALWAYS = {"default_value": {"numerator": 100}}


def before_callers() -> dict[str, Json]:
    """Filters by name, for before anybody looks at who calls."""
    # per route only the users can be said: whose name it is, is told in one header everywhere
    nobody = {"inline_string": "nobody:{SHA}" + "A" * 27 + "="}
    return {
        names.CROSS_SITE: typed(CSRF, filter_enabled=ALWAYS),
        names.BASIC: typed(BASIC, users=nobody, forward_username_header=names.USER),
    }


def before_rules() -> dict[str, Json]:
    """
    Those for when it is known who calls. Which service is asked, and how, each route says; what happens without an answer
    is said here alone. What it answers is never taken for what we say among ourselves, nor is it told that.
    """
    nobody = {"uri": "http://nobody", "cluster": names.CLOSED_CLUSTER, "timeout": "1s"}
    by_http = {"http_service": {"server_uri": nobody}}
    by_grpc = {"grpc_service": {"envoy_grpc": {"cluster_name": names.CLOSED_CLUSTER}, "timeout": "1s"}}
    return {
        names.external(grpc, opens): typed(
            EXT_AUTHZ + "ExtAuthz",
            **(by_grpc if grpc else by_http),
            failure_mode_allow=opens,
            disallowed_headers={"patterns": [{"prefix": INTERNAL_PREFIX}]},
            decoder_header_mutation_rules={"disallow_expression": {"regex": f"{INTERNAL_PREFIX}.*"}},
            clear_route_cache=False,
        )
        for grpc in (False, True)
        for opens in (False, True)
    }


def after_callers() -> dict[str, Json]:
    """Those for when it is known that the request may pass."""
    return {names.RATE: typed(RATE, stat_prefix="wardgate")}


def per_route(route: Route, clusters: Mapping[str, str]) -> Json:
    """The settings of the filters that this route needs. `clusters` by the upstream's name."""
    found: Json = {}
    if route.external is not None:
        name = names.external(route.external.grpc, route.external.fail_open)
        found[name] = _external(route.external, clusters[route.external.upstream])
    if route.cross_site is not None and not route.cross_site.by_metadata:
        found[names.CROSS_SITE] = _cross_site(route.cross_site)
    if route.basic_users is not None:
        found[names.BASIC] = _basic(route.basic_users)
    if route.rate_limits:
        found[names.RATE] = _rates(route.rate_limits)
    return {name: enabled(config) for name, config in found.items()}


def pages(route: Route) -> tuple[str, ...] | None:
    """Origins of whose pages the guard lets changes pass, beside the own host's; None: of all."""
    spec = route.cross_site
    return spec.origins if spec is not None and spec.by_metadata else None


def marked(route: Route) -> list[Json]:
    """Predicates: the marks are there without which no request of this route passes."""
    keys = route.api_keys
    marks = [names.KEY_OF] if keys is not None and keys.mode is Mode.REQUIRED else []
    marks += [names.USER] if route.basic_users is not None else []
    return [matching.header(mark, matching.regex(".+")) for mark in marks]


def told(route: Route) -> list[Json]:
    """Header mutations: whose key or password it was, as the upstream is told."""
    found = []
    if route.api_keys is not None and route.api_keys.told is not None:
        found.append(headers.added(route.api_keys.told, f"%REQ({names.KEY_OF.upper()})%"))
    if route.basic_users is not None and route.basic_users.told is not None:
        found.append(headers.added(route.basic_users.told, f"%REQ({names.USER.upper()})%"))
    return [{"append": one} for one in found]


def _cross_site(spec: CrossSite) -> Json:
    """Origins are compared without their scheme, as Envoy reads them."""
    origins = [{"safe_regex": {"regex": pattern}} for pattern in spec.patterns()]
    return typed(CSRF, filter_enabled=ALWAYS, additional_origins=origins)


def _external(spec: ExternalAuth, cluster: str) -> Json:
    check: Json = {"context_extensions": dict(spec.context)} if spec.context else {}
    if spec.body_bytes is not None:
        check["with_request_body"] = {"max_request_bytes": spec.body_bytes, "allow_partial_message": False}
    if spec.grpc:
        check["grpc_service"] = {"envoy_grpc": {"cluster_name": cluster}, "timeout": duration(spec.timeout)}
    else:
        told = [{"key": name, "value": f"%REQ({name})%"} for name in spec.told]
        check["http_service"] = {
            "server_uri": {"uri": "http://external", "cluster": cluster, "timeout": duration(spec.timeout)},
            "path_prefix": spec.path.rstrip("/"),
            "authorization_request": {"headers_to_add": told},
        }
        if spec.taken:
            taken = {"allowed_upstream_headers": matching.names_of([name.lower() for name in spec.taken])}
            check["http_service"]["authorization_response"] = taken
    return typed(EXT_AUTHZ + "ExtAuthzPerRoute", check_settings=check)


def _basic(spec: BasicUsers) -> Json:
    users = "\n".join(f"{name}:{{SHA}}{digest.reveal()}" for name, digest in spec.users)
    return typed(HTTP_FILTERS + "basic_auth.v3.BasicAuthPerRoute", users={"inline_string": users})


def _rates(specs: Sequence[RateLimit]) -> Json:
    """One filter: a bucket that every request takes from, and one more for each further limit, which every request names."""
    first, *others = [
        {"max_tokens": one.burst, "tokens_per_fill": one.requests, "fill_interval": duration(one.per)}
        for one in sorted(specs, key=lambda one: one.per)
    ]
    more: Json = {}
    if others:
        named = [(str(number), bucket) for number, bucket in enumerate(others)]
        more["descriptors"] = [
            {"entries": [{"key": "limit", "value": name}], "token_bucket": bucket} for name, bucket in named
        ]
        more["rate_limits"] = [
            {"actions": [{"generic_key": {"descriptor_key": "limit", "descriptor_value": name}}]}
            for name, _ in named
        ]
    return typed(
        RATE,
        stat_prefix="wardgate",
        token_bucket=first,
        filter_enabled=ALWAYS,
        filter_enforced=ALWAYS,
        **more,
    )
