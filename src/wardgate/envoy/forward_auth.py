"""
Answering another proxy: the filter that puts the original request in the question's place, and the answer to it.

From there on the request is judged by the very routes that would proxy it; only what happens then differs (`let_pass`).
Facts by running 1.40: whether a filter is `disabled` is settled by the first route that a request matches, before the
original is known. So the endpoint's own route disables none that decides, and routes of decisions switch filters off by those
filters' own settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from wardgate.envoy import DISABLED, HTTP_FILTERS, Json, claims, enabled, headers, matching, names, typed
from wardgate.patterns import escape
from wardgate.policy import ForwardAuth, IdentityHeader

NO_REQUIREMENT = typed(HTTP_FILTERS + "jwt_authn.v3.PerRouteConfig", disabled=True)
"""What `DISABLED` is elsewhere."""


@cache
def _lua() -> str:
    return (files("wardgate.envoy") / "lua" / "original.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The gateway's own endpoints, which are no questions: everything below `prefix`, and these `paths`."""

    prefix: str
    paths: tuple[str, ...] = ()


def original_filter(spec: ForwardAuth, own: Own) -> Json:
    """For the chain of trusted proxies; where not every request is a question, only the routes of questions have it (`ask`)."""
    return typed(
        HTTP_FILTERS + "lua.v3.Lua", default_source_code={"inline_string": original_source(spec, own)}
    )


def ask() -> Json:
    """Settings of the routes of questions: the filter is there, and as nothing goes on from here, no filter for what does."""
    return {names.ORIGINAL: enabled(typed(claims.LUA_PER_ROUTE)), names.ONWARD: DISABLED}


def original_source(spec: ForwardAuth, own: Own) -> str:
    text = _lua().replace("@PATH@", spec.below or "").replace("@OURS@", own.prefix)
    text = text.replace("@BEHIND@", "true" if spec.only else "false")
    text = text.replace("@OUR_PATHS@", " ".join(own.paths))
    return text.replace("@BY_HEADERS@", " ".join(spec.by_headers))


def is_asked() -> Json:
    """A predicate: the request is another proxy's question, with the original in its place."""
    return matching.header(names.DECIDES, {"prefix": names.AS})


def questions(spec: ForwardAuth) -> dict[str, list[Json]]:
    """Where in a prefix map on `:path` a request is a question before the original stands in its place, and on which conditions."""
    told = matching.any_of(
        [matching.header(name, matching.regex(".*")) for name in ("x-original-url", "x-forwarded-uri")]
    )
    found = {path: [matching.all_of([_at((path,)), told])] for path in spec.by_headers}
    if spec.path is not None and spec.path != "/":
        found.setdefault(spec.path, []).append(_at((spec.path,), below=True))
    return found


def is_ours(own: Own) -> Json:
    """A predicate: a path of the gateway's own, where all others are questions."""
    return matching.any_of([_at((own.prefix,), below=True), *([_at(own.paths)] if own.paths else [])])


def _at(paths: Iterable[str], below: bool = False) -> Json:
    texts = "|".join(escape(path) for path in paths)
    after = "[?/]" if below else r"\?"
    return matching.header(":path", matching.regex(rf"(?:{texts})(?:{after}.*)?"))


def cors() -> Json:
    """No preflight is answered: 200 would let it pass."""
    off = {"default_value": {"numerator": 0}}
    return {names.CORS: typed(HTTP_FILTERS + "cors.v3.CorsPolicy", filter_enabled=off)}


def let_pass(body: Json) -> Json:
    """The action of a request that may pass. `body`: what a direct response has beside its status."""
    return {"direct_response": {"status": 200, **body}}


def told(identity: Iterable[IdentityHeader], cookies: bool, sessions: bool) -> Json:
    """
    Who calls, in the answer's headers: what the guard has written for an upstream. A value that is not there sets none.

    `cookies`: those of the request that are not ours, as `Cookie`: a proxy that cannot take ours out replaces it by this.
    `sessions`: they are accepted.
    """
    told_names = [*(header.name for header in identity), *(["Cookie"] if cookies else [])]
    answered = [
        headers.added(name, f"%REQ({name.upper()})%", "APPEND_IF_EXISTS_OR_ADD") for name in told_names
    ]
    answered += [headers.uncached()] if sessions else []
    return {"response_headers_to_add": answered} if answered else {}
