"""
Answering another proxy: the filter that puts the original request in the question's place, and the answer to it.

From there on the request is judged by the very routes that would proxy it; only what happens then differs (`let_pass`).
Facts by running 1.40: whether a filter is `disabled` is settled by the first route that a request matches, before the
original is known. So the endpoint's own route disables none, and routes of decisions switch filters off by those filters'
own settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from wardgate.envoy import EXTENSIONS, HTTP_FILTERS, Json, claims, headers, matching, names, typed
from wardgate.policy import ForwardAuth, IdentityHeader

NO_REQUIREMENT = typed(HTTP_FILTERS + "jwt_authn.v3.PerRouteConfig", disabled=True)
"""What `routes.DISABLED` is elsewhere."""


@cache
def _lua() -> str:
    return (files("wardgate.envoy") / "lua" / "original.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The gateway's own endpoints, which are no questions: everything below `prefix`, and these `paths`."""

    prefix: str
    paths: tuple[str, ...] = ()


def original_filter(spec: ForwardAuth, own: Own) -> Json:
    """For the chain of trusted proxies."""
    text = original_source(spec, own)
    lua = typed(HTTP_FILTERS + "lua.v3.Lua", default_source_code={"inline_string": text})
    if spec.only:
        return lua
    # where most requests are no questions, they pass it by: a coroutine less
    return typed(
        EXTENSIONS + "common.matching.v3.ExtensionWithMatcher",
        extension_config={"name": names.ORIGINAL, "typed_config": lua},
        xds_matcher=claims.skip_where(matching.negated(matching.any_of(questions(spec, own)))),
    )


def original_source(spec: ForwardAuth, own: Own) -> str:
    text = _lua().replace("@PATH@", spec.below or "").replace("@OURS@", own.prefix)
    text = text.replace("@BEHIND@", "true" if spec.only else "false")
    text = text.replace("@OUR_PATHS@", " ".join(own.paths))
    return text.replace("@BY_HEADERS@", " ".join(spec.by_headers))


def is_asked() -> Json:
    """A predicate: the request is another proxy's question, with the original in its place."""
    return matching.any_of(
        [matching.header(names.DECIDES, {"exact": way}) for way in ("forwarded", "nginx", "path")]
    )


def questions(spec: ForwardAuth, own: Own) -> list[Json]:
    """Predicates: a request is a question, before the original stands in its place."""
    told = [matching.header(name, matching.regex(".*")) for name in ("x-original-url", "x-forwarded-uri")]
    asked = [matching.all_of([_at(path), matching.any_of(told)]) for path in spec.by_headers]
    if spec.path is None:
        return asked
    if spec.path != "/":
        return [_at(spec.path, below=True), *asked]
    ours = [_at(own.prefix, below=True), *map(_at, own.paths)]
    return [*asked, matching.negated(matching.any_of(ours))]


def _at(path: str, below: bool = False) -> Json:
    """By comparisons of text: a regex costs more, and this is asked of every request."""
    after = ("?", "/") if below else ("?",)
    return matching.any_of(
        [
            matching.header(":path", {"exact": path}),
            *(matching.header(":path", {"prefix": path + mark}) for mark in after),
        ]
    )


def cors() -> Json:
    """No preflight is answered: 200 would let it pass."""
    off = {"default_value": {"numerator": 0}}
    return {names.CORS: typed(HTTP_FILTERS + "cors.v3.CorsPolicy", filter_enabled=off)}


def let_pass(body: Json) -> Json:
    """The action of a request that may pass. `body`: what a direct response has beside its status."""
    return {"direct_response": {"status": 200, **body}}


def told(identity: Iterable[IdentityHeader], cookies: bool) -> Json:
    """
    Who calls, in the answer's headers: what the guard has written for an upstream. A value that is not there sets none.

    `cookies`: those of the request that are not ours, as `Cookie`: a proxy that cannot take ours out replaces it by this.
    """
    told_names = [*(header.name for header in identity), *(["Cookie"] if cookies else [])]
    answered = [headers.added(name, f"%REQ({name.upper()})%") for name in told_names]
    return {"response_headers_to_add": answered} if answered else {}
