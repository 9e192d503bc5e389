"""
Routes: actions, per-route filter settings, and path matching as a tree.

Envoy tries a list of routes one by one (10 000 routes: 0.12 of the speed of ten); a prefix map on `:path` costs the
same for any number (0.9). The map's keys end at a segment boundary wherever they can, so most requests match
without a regex.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import assert_never

from wardgate.envoy import (
    CONFIG,
    HTTP_FILTERS,
    Json,
    duration,
    enabled,
    gates,
    headers,
    matching,
    names,
    rbac,
    typed,
)
from wardgate.patterns import escape, without
from wardgate.patterns import matches as matched
from wardgate.policy import (
    ORIGIN,
    Cors,
    DirectAnswer,
    HeaderEdits,
    HeaderIs,
    How,
    Match,
    NewPath,
    Path,
    PathKind,
    QueryIs,
    Redirect,
    Route,
    Upstream,
    origin_pattern,
)

ROUTE = CONFIG + "route.v3.Route"

Entry = tuple[str, Json | None]
"""A key of the prefix map, and what must hold besides (None: nothing)."""


def keys(path: Path, protecting: bool, name: str = ":path") -> Iterator[Entry]:
    """
    Where a path stands in the prefix map, and the predicate that completes it there.

    `name` is the header that is matched: `:path` has a query, the folded path has none.
    """
    text = path.text
    below = text if text.endswith("/") else text + "/"
    match path.kind:
        case PathKind.EXACT:
            yield text, _exactly(text, name)
            if protecting and text != below:
                yield below, _exactly(below, name)
        case PathKind.UNDER:
            yield below, None
        case PathKind.PREFIX if text == below:
            yield text, None
        case PathKind.PREFIX:
            # one key with a regex, not two keys without: half the size with 10 000 routes, 0.3 microseconds a request
            rest = "(?:[/?].*)?" if name == ":path" else "(?:/.*)?"
            yield text, matching.header(name, matching.regex(escape(text) + rest))
        case PathKind.TEXT:
            yield text, None
        case PathKind.MATCHES:
            raise ValueError(f"a pattern has no place in a map: {path}")


def by_pattern(path: Path) -> tuple[Json, Json]:
    """Predicates on `:path`: the pattern matches it without its query; it does so but for letter case."""
    pattern = without(path.text, "?")
    found = matching.header(":path", matching.regex(rf"(?:{pattern})(?:\?.*)?"))
    folded = matching.header(":path", matching.regex(rf"(?i:{pattern})(?:\?.*)?"))
    return found, matching.all_of([folded, matching.negated(found)])


def _exactly(text: str, name: str) -> Json:
    query = r"(?:\?.*)?" if name == ":path" else ""
    return matching.header(name, matching.regex(escape(text) + query))


def methods(wanted: Iterable[str]) -> Json:
    """A predicate on the method."""
    found = sorted(wanted)
    if len(found) == 1:
        return matching.header(":method", {"exact": found[0]})
    return matching.header(":method", matching.regex("|".join(re.escape(method) for method in found)))


def matches(found: Match) -> Json:
    """A predicate: what a route asks for beside path and method."""
    match found:
        case HeaderIs(name, value, how):
            return matching.header(name.lower(), matching.compared(how, value))
        case QueryIs(name, value, how):
            # a route table of 1.40 matches on headers only: a parameter is looked for in the path, as it is written
            pattern = without(value, "&") if how is How.MATCHES else escape(value)
            some = f"{escape(name)}=(?:{pattern})"
            if matched(pattern, ""):  # without a value, and without its =
                some = f"(?:{some}|{escape(name)})"
            return matching.header(":path", matching.regex(rf"[^?]*\?(?:[^&]*&)*{some}(?:&.*)?"))
        case _:
            assert_never(found)


def edited(route: Route, *, spends: bool = False) -> Json:
    """
    What a route changes of headers; the upstream does not get the token that was verified where it is hidden (`onward` does that in
    part). `spends`: requests may bring grants; nobody has looked at one where none is required.
    """
    asked, told = route.request_headers, route.response_headers
    hidden = tuple(name for name in route.hidden_headers if name != "authorization")
    hidden += (headers.GRANT,) if spends and not route.require_grant else ()
    found = {
        "request_headers_to_add": _additions(asked),
        "request_headers_to_remove": [*hidden, *asked.remove],
        "response_headers_to_add": _additions(told),
        "response_headers_to_remove": list(told.remove),
    }
    if route.described_at is not None:
        found["metadata"] = {"filter_metadata": {names.METADATA: {names.DESCRIBED_AT: route.described_at}}}
    return {key: value for key, value in found.items() if value}


def onward(route: Route, sessions: bool) -> Json:
    """Who calls, as the upstream is told, where that is not known before; settings of the last filter. `sessions`: they are accepted."""
    hidden = [{"remove": "authorization"}] if "authorization" in route.hidden_headers else []
    session = [headers.forwarded()] if sessions and not route.hide_credential else []
    told = [*hidden, *session, *gates.told(route)]
    shown = [{"append": headers.uncached()}] if sessions else []
    return headers.onward(told, shown) if told or shown else {}


def _additions(edits: HeaderEdits) -> list[Json]:
    new = [headers.literal(name, value) for name, value in edits.set]
    more = [headers.literal(name, value, "APPEND_IF_EXISTS_OR_ADD") for name, value in edits.add]
    return [*new, *more]


_REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def redirected(to: Redirect) -> Json:
    found: Json = {"response_code": _REDIRECTS[to.status]}
    if to.scheme is not None:
        found["scheme_redirect"] = to.scheme
    if to.host is not None:
        found["host_redirect"] = to.host
    if to.port is not None:
        found["port_redirect"] = to.port
    if to.path is not None:
        found["regex_rewrite"] = _path(to.path)
    return {"redirect": found}


def _path(new: NewPath) -> Json:
    """By a regex on the whole path without its query: the route's own match is always `/`."""
    text = new.text.replace("\\", "\\\\")
    if new.prefix is None:
        return _substitution(".*", text)
    prefix, text = new.prefix.rstrip("/"), text.rstrip("/")
    if not text:  # of the prefix alone at least a slash is left
        return _substitution(f"{escape(prefix)}/?(.*)", r"/\1")
    return _substitution(f"{escape(prefix)}(/.*)?", rf"{text}\1")


def _substitution(pattern: str, text: str) -> Json:
    return {"pattern": {"google_re2": {}, "regex": f"^{pattern}$"}, "substitution": text}


HOPS = ("x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port")
"""How a request came: what an upstream is not told where `Listener.tells_hops` is off."""


def plain_authority() -> Json:
    """A predicate: one host, as a name or an address, with or without a port (two Host lines arrive joined)."""
    return matching.header(
        ":authority", matching.regex(r"[0-9A-Za-z._~-]+(?::[0-9]+)?|\[[0-9a-fA-F:.]+\](?::[0-9]+)?")
    )


def scheme_is_http() -> Json:
    """Direct, or as a trusted proxy says: Envoy writes the header itself for everyone else."""
    return matching.header("x-forwarded-proto", {"exact": "http", "ignore_case": True})


def action(name: str, what: Json, filters: Json, **more: object) -> Json:
    """A route as an OnMatch. Its own `match` is always `/`: all conditions stand in the matchers around it."""
    settings = {"typed_per_filter_config": filters} if filters else {}
    route = typed(ROUTE, name=name, match={"prefix": "/"}, **what, **settings, **more)
    return matching.action("route", route)


def answer(status: int, body: str = "") -> Json:
    response: Json = {"status": status}
    if body:
        response["body"] = {"inline_string": body}
    return {"direct_response": response}


ASKED_ORIGIN = "%REQ(x-forwarded-proto)%://%REQ(:authority)%"
"""As Envoy writes it: a scheme that no client could forge, and a host (`plain_authority`)."""


def answered(spec: DirectAnswer) -> Json:
    """What a route says by itself."""
    if not spec.tells_origin:
        return answer(spec.status, spec.body)
    text = spec.body.replace("%", "%%").replace(ORIGIN, ASKED_ORIGIN)
    told = {"text_format_source": {"inline_string": text}, "content_type": spec.kind}
    return {"direct_response": {"status": spec.status, "body_format": told}}


def closed() -> Json:
    """
    A route that no request passes: RBAC denies before it, and its cluster does not exist (503).

    Not a direct response: on those Envoy applies neither CORS nor the response headers of the table.
    """
    return {
        "route": {"cluster": names.CLOSED_CLUSTER, "cluster_not_found_response_code": "SERVICE_UNAVAILABLE"}
    }


def to_https() -> Json:
    return {"redirect": {"https_redirect": True, "response_code": "MOVED_PERMANENTLY"}}


def forward(route: Route, upstream: Upstream, cluster: str, mirrors: Sequence[str] = ()) -> Json:
    """
    To the upstream. Its own timeout is for the head of the answer: a long download, a stream of events or a
    WebSocket that is silent for a while is no error. The route's timeout is for the whole answer.

    Retried only where the upstream cannot have seen the request, so nothing is done twice. `per_try_timeout` begins
    when the whole request is there and ends with the head of the answer (Envoy's `idle_timeout` would go on).
    """
    retry = {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        # a grant is spent by one request
        "num_retries": 0 if route.require_grant else 1,
        "per_try_timeout": duration(route.attempt_timeout or upstream.response_timeout),
    }
    whole = "0s" if route.timeout is None else duration(route.timeout)
    to: Json = {"cluster": cluster, "timeout": whole, "retry_policy": retry}
    if route.websockets:
        to["upgrade_configs"] = [{"upgrade_type": "websocket", "enabled": True}]
    if mirrors:
        to["request_mirror_policies"] = [
            {"cluster": name, "runtime_fraction": {"default_value": _of_million(mirror.of_million)}}
            for name, mirror in zip(mirrors, route.mirrors, strict=True)
        ]
    if route.rewrite is not None and route.rewrite.path is not None:
        to["regex_rewrite"] = _path(route.rewrite.path)
    if route.rewrite is not None and route.rewrite.host is not None:
        to["host_rewrite_literal"] = route.rewrite.host
    elif not upstream.preserve_host:
        first = upstream.endpoints[0]
        to["host_rewrite_literal"] = f"{first.host}:{first.port}"
    return {"route": to}


def _of_million(parts: int) -> Json:
    return {"numerator": parts, "denominator": "MILLION"}


def to_service() -> Json:
    """To the service's endpoints: they have seen the request once, or not at all."""
    return {"route": {"cluster": names.PUBLIC_CLUSTER, "timeout": "30s"}}


def owned(providers: Iterable[str]) -> Json:
    """Says at the service's endpoints whose they are here, where logins have sessions of their own."""
    named = " ".join(providers)
    return {"request_headers_to_add": [headers.literal(names.OWNERS, named)]} if named else {}


def to_agents() -> Json:
    """To the requests of agents, which the service keeps. No limit for the whole answer: who watches one may wait long."""
    return {"route": {"cluster": names.AGENTS_CLUSTER, "timeout": "0s"}}


def bounded(to: Json, at_most: timedelta) -> Json:
    """The same for streams that end after a while: a WebSocket does not notice that its session ended."""
    return {"route": {**to["route"], "max_stream_duration": {"max_stream_duration": duration(at_most)}}}


def upgrade_by_cookie(cookie: str) -> Json:
    """A predicate: a WebSocket that is opened with a session."""
    websocket = matching.header("upgrade", {"exact": "websocket", "ignore_case": True})
    return matching.all_of([websocket, matching.header("cookie", {"contains": f"{cookie}="})])


def body_slot(index: int) -> Json:
    return {names.body_slot(index): enabled({})}


def cors(spec: Cors) -> Json:
    """Preflights are answered here and never forwarded, those of other origins too (Fetch standard, 3.3)."""
    origins = [
        {"safe_regex": {"regex": origin_pattern(origin)}} if "*" in origin else {"exact": origin}
        for origin in spec.origins
    ]
    policy: Json = {
        "allow_origin_string_match": origins,
        "allow_methods": ",".join(spec.methods),
        "allow_headers": ",".join(spec.headers),
        "expose_headers": ",".join(spec.exposed),
        "allow_credentials": spec.credentials,
        "forward_not_matching_preflights": False,
    }
    if spec.max_age is not None:
        policy["max_age"] = str(int(spec.max_age.total_seconds()))
    return {names.CORS: typed(HTTP_FILTERS + "cors.v3.CorsPolicy", **policy)}


def compression() -> Json:
    overrides = typed(HTTP_FILTERS + "compressor.v3.CompressorPerRoute", overrides={})
    return {names.COMPRESSOR: enabled(overrides)}


def _spelled(path: Path) -> Json:
    """A predicate: the request's path is one of those that the path means, letter by letter."""
    found = []
    for key, condition in keys(path, True):
        begins = matching.header(":path", {"prefix": key})
        found.append(begins if condition is None else matching.all_of([begins, condition]))
    return matching.any_of(found)


def folded_entries(paths: Iterable[Path], name: str = names.FOLDED, passing: bool = False) -> dict[str, Json]:
    """
    Protecting paths, in lower case, as the entries of a prefix map on `name` whose every hit is denied. `passing`: not a
    request that is spelled like the path itself, which the routes there were not for.
    """
    denied = rbac.deny("letter-case")
    by_key: dict[str, list[Json]] = {}
    for path in paths:
        lowered = Path(kind=path.kind, text=path.text.lower())
        for key, condition in keys(lowered, True, name):
            found = by_key.setdefault(key, [])
            other = [matching.negated(_spelled(path))] if passing else []
            wanted = [*other, *([] if condition is None else [condition])]
            found.append(matching.all_of(wanted) if wanted else {})
    entries: dict[str, Json] = {}
    for key, conditions in by_key.items():
        if {} in conditions:
            entries[key] = denied
        else:
            choices = [matching.choice(condition, denied) for condition in conditions]
            entries[key] = matching.nested(matching.matcher_list(choices))
    return entries
