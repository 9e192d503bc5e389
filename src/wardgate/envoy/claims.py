"""
Claims on their way to RBAC: the text of one header, and predicates on it.

`jwt_authn` verifies every request. To hand the payload to RBAC as metadata it copies it twice, which costs a third of
all that the gateway adds; so a Lua filter (`lua/gate.lua`) writes the verified claims once per credential as text

    |sub=su%2D1|groups=sadmin|groups=suser|exp=n1795422212|email_verified=bt|

and the guard brings that text along whenever the same credential comes again. A name is a path (`realm_access.roles`),
a list gives its name once per element, the first letter of a value is its type: s, n, b. Whatever is not plain is
percent-encoded, so no claim can hold the marks `|`, `=` and `.`, and `contains` is exact.

Only what needs the payload itself (a pattern on a claim) still reads metadata; such a route says so by
`needs_payload`, and its requirement never takes the shorter way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from wardgate.envoy import EXTENSIONS, HTTP_FILTERS, Json, matching, names, typed
from wardgate.policy import (
    AUTHORIZATION,
    OWN_COOKIES,
    ApiKeys,
    Carrier,
    ClaimValue,
    IdentityHeader,
    Mode,
    RawToken,
    Source,
    TokenPlace,
    key_digest,
)

LUA = HTTP_FILTERS + "lua.v3.Lua"
LUA_PER_ROUTE = HTTP_FILTERS + "lua.v3.LuaPerRoute"

SHARED = {
    # both filters have one Lua state per worker: the guard knows what the claims filter has written
    "shared_vm_id": "wardgate",
    # one route judges: by default Envoy matches the route again after every header that Lua sets
    "clear_route_cache": False,
}

SCOPE = "~scope"
"""The words of `scope`, each under this name: no claim can have it, `~` is encoded."""

MANY = 8
"""From so many alternatives on, one regex is cheaper than as many searches."""


def plain(text: str) -> str:
    """Text as names and values hold it: the same encoding as in `gate.lua`."""
    return re.sub(rb"[^0-9A-Za-z_\-:/@+,]", lambda found: b"%%%02X" % found[0][0], text.encode()).decode()


def key(path: Iterable[str]) -> str:
    return ".".join(plain(step) for step in path)


def typed_value(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "bt" if value else "bf"
    if isinstance(value, int):
        return f"n{value}" if -(10**15) < value < 10**15 else f"n{float(value):.17g}"
    return "s" + plain(value)


def item(path: Iterable[str], value: str | int | bool) -> str:
    """One claim as it stands in the text, without the marks around it."""
    return f"{key(path)}={typed_value(value)}"


def scope_item(name: str) -> str:
    return f"{SCOPE}=s{plain(name)}"


def holds_any(items: list[str]) -> Json:
    """A predicate: the claims hold one of these items; false when there are no claims."""
    if len(items) < MANY:
        return matching.any_of([_contains(f"|{one}|") for one in items])
    alternatives = "|".join(re.sub(r"([^0-9A-Za-z_/=-])", r"\\\1", one) for one in items)
    return matching.header(names.CLAIMS, matching.regex(rf".*\|(?:{alternatives})\|.*"))


def holds_some(path: Iterable[str]) -> Json:
    """A predicate: the claims hold something at this path, or below it."""
    name = key(path)
    return matching.any_of([_contains(f"|{name}="), _contains(f"|{name}.")])


def present() -> Json:
    """A predicate: a credential was verified, and its claims are here."""
    return matching.header(names.CLAIMS, {"prefix": "|"})


def _contains(text: str) -> Json:
    return matching.header(names.CLAIMS, {"contains": text})


# --- the filter


@cache
def _lua() -> str:
    return (files("wardgate.envoy") / "lua" / "gate.lua").read_text(encoding="utf-8")


def gate_source(mode: str) -> str:
    """The text of both Lua filters. `mode`: required, permissive or open (credentials are not looked at)."""
    return _lua().replace("@MODE@", mode)


def guard_filter() -> Json:
    named = {mode: {"inline_string": gate_source(mode)} for mode in ("open", "permissive")}
    return typed(
        LUA, default_source_code={"inline_string": gate_source("required")}, source_codes=named, **SHARED
    )


def claims_filter() -> Json:
    """The claims filter, skipped when the guard has brought the claims along: a coroutine less."""
    lua = typed(LUA, default_source_code={"inline_string": gate_source("required")}, **SHARED)
    return typed(
        EXTENSIONS + "common.matching.v3.ExtensionWithMatcher",
        extension_config={"name": names.IDENTITY, "typed_config": lua},
        xds_matcher=skip_where(present()),
    )


def skip_where(predicate: Json) -> Json:
    """The matcher of a filter that is passed by where the predicate holds."""
    skip = matching.action("skip", typed(EXTENSIONS + "filters.common.matcher.action.v3.SkipFilter"))
    return matching.matcher_list([matching.choice(predicate, skip)])


class Bearer(StrEnum):
    """Which bearer tokens a route takes: JWTs; those that are no JWT, too; or all, each asked about at its issuer."""

    JWT = "jwt"
    OPAQUE = "opaque"
    CHECKED = "checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    What the guard has to know of a route beside its mode. `bearer` None: no bearer tokens are accepted.

    `cookie` is the session cookie, which no upstream sees; `sessions`: it is accepted here; `chunks`: it may go on in
    further cookies. `own_cookies`: there are sessions of their own, whose cookies no upstream sees either; `client`: this one is
    that of the provider's logins. `introspect`: the issuer is asked about every token, whatever its provider says.
    `payload`: its rule needs the payload itself, at every request. `login` names the providers that an anonymous
    navigation may log in at; None: it is not sent to a login. `forward`: a session's access token goes to the upstream.
    `vias`: how those may come whom the service attests. The guard is told only where it matters to it: on permissive
    routes, where who came otherwise is nobody, and where issuers are asked about tokens, since one that was good without
    asking may be remembered. `origins` may open WebSockets with a session beside our own.
    `places`: where bearer tokens are, if that is not Authorization alone; `hide`: the upstream does not see them there.
    `again`: the route is found again when it is known who calls (`Route.chosen_again`).
    `pages`: only pages of this host and of these origins may ask for a change, as Sec-Fetch-Site or Origin says.
    `answer`: who calls is told as a document, with the roles of the realm and of this client. `log`: the access log says who.
    `keys`: a client's key is looked for. The guard is told the digests apart (`key_lines`), and reads them once.
    """

    bearer: Bearer | None = Bearer.JWT
    cookie: str | None = None
    own_cookies: bool = False
    client: str | None = None
    sessions: bool = False
    chunks: bool = False
    login: tuple[str, ...] | None = None
    introspect: bool = False
    optional: bool = False
    permissive: bool = False
    payload: bool = False
    forward: bool = False
    vias: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    identity: tuple[IdentityHeader, ...] = ()
    answer: str | None = None
    pages: tuple[str, ...] | None = None
    places: tuple[TokenPlace, ...] = (AUTHORIZATION,)
    hide: bool = False
    again: str | None = None
    log: bool = False
    keys: ApiKeys | None = None

    @property
    def _tells_vias(self) -> bool:
        return self.permissive or self.bearer is Bearer.CHECKED

    @property
    def text(self) -> str:
        """As `gate.lua` reads it: one line of words, then one line an identity header."""
        mode = "permissive" if self.permissive else "optional" if self.optional else None
        words = {
            "bearer": self.bearer,
            "cookie": self.cookie,
            "own": OWN_COOKIES if self.own_cookies else None,
            "client": self.client,
            "sessions": "1" if self.sessions else None,
            "chunks": "1" if self.chunks else None,
            "login": None if self.login is None else " ".join(self.login),
            "introspect": "1" if self.introspect else None,
            "mode": mode,
            "payload": "1" if self.payload else None,
            "forward": "1" if self.forward else None,
            "via": " ".join(map(plain, self.vias)) if self._tells_vias else None,
            "origin": " ".join(self.origins) or None,
            "places": None
            if self.places == (AUTHORIZATION,)
            else " ".join(_place(one.carrier, one.name, one.prefix) for one in self.places),
            "hide": "1" if self.hide else None,
            "mark": "1" if any(one.providers for one in self.places) else None,
            "again": None if self.again is None else plain(self.again),
            "pages": None if self.pages is None else " ".join(self.pages),
            "log": "1" if self.log else None,
            **({} if self.keys is None else _keys(self.keys)),
        }
        first = "\t".join(f"{name}={value}" for name, value in words.items() if value is not None)
        answer = [] if self.answer is None else [f"{names.ANSWER}\tanswer\t{plain(self.answer)}"]
        return "\n".join([first, *answer, *map(_line, self.identity)])


def per_route(terms: Terms) -> Json:
    """Both filters' settings of a route that looks at credentials."""
    guard: Json = {"name": "permissive"} if terms.permissive else {}
    if terms.text != Terms().text:  # what the guard knows without being told
        guard["filter_context"] = _context(terms)
    return {
        names.GUARD: typed(LUA_PER_ROUTE, **guard),
        names.IDENTITY: typed(LUA_PER_ROUTE, filter_context={"put": terms.text}),
    }


def _context(terms: Terms) -> Json:
    return {"set": terms.text, **({} if terms.keys is None else {"keys": key_lines(terms.keys)})}


def key_lines(keys: ApiKeys) -> str:
    """Digests and clients as `gate.lua` reads them."""
    return "".join(f"{digest.reveal()} {client}\n" for client, digest in keys.keys)


def misplaced(places: Sequence[TokenPlace], issuers: Mapping[str, str]) -> list[Json]:
    """
    Predicates on a token that is good, and was where only tokens of other providers may be; or of which nobody knows where it was.
    `issuers` by the name of the provider.
    """
    if not any(place.providers for place in places):
        return []
    by_token = matching.all_of([present(), matching.negated(is_attested("session"))])
    unmarked = matching.negated(matching.header(names.PLACE, matching.regex("[0-9]+")))
    found = [matching.all_of([by_token, unmarked])]
    for number, place in enumerate(places, 1):
        if place.providers:
            may = [item(("iss",), issuers[name]) for name in place.providers]
            may += [via(f"{how}:{name}") for how in ("bearer", "checked") for name in place.providers]
            there = matching.header(names.PLACE, {"exact": str(number)})
            found.append(matching.all_of([by_token, there, matching.negated(holds_any(may))]))
    return found


def _keys(keys: ApiKeys) -> dict[str, str | None]:
    """Where keys are, and a name for the set of their digests: nobody can make another of that name."""
    places = [_place(Carrier.HEADER, name, "Bearer ") for name in keys.headers]
    places += [_place(Carrier.PARAM, name) for name in keys.params]
    places += [_place(Carrier.COOKIE, name) for name in keys.cookies]
    return {
        "keys": key_digest(key_lines(keys)),
        "keyplaces": " ".join(places),
        "keymode": None if keys.mode is Mode.REQUIRED else keys.mode.value,
        "keystrip": "1" if keys.strip else None,
    }


def unseen(
    cookie: str | None,
    *,
    own_cookies: bool = False,
    pages: tuple[str, ...] | None = None,
    keys: ApiKeys | None = None,
) -> Json:
    """
    Both filters' settings of a route that looks at no credentials. `cookie`: the session cookie, which its upstream does
    not see either, nor those of sessions of their own; None where the upstream is ourselves, or there are no sessions.
    """
    guard: Json = {"name": "open"}
    if cookie is not None or pages is not None or keys is not None:
        terms = Terms(bearer=None, cookie=cookie, own_cookies=own_cookies, pages=pages, keys=keys)
        guard["filter_context"] = _context(terms)
    return {names.GUARD: typed(LUA_PER_ROUTE, **guard), names.IDENTITY: typed(LUA_PER_ROUTE, disabled=True)}


def _place(carrier: Carrier, name: str, prefix: str = "") -> str:
    name = name.lower() if carrier is Carrier.HEADER else name
    return ";".join((carrier, plain(name), plain(prefix)))


_PREFIXES = {Source.ACCESS: (), Source.ID: ("~id",), Source.USERINFO: ("~userinfo",)}


def _line(header: IdentityHeader) -> str:
    match header.value:
        case RawToken(source=source):
            fields = (header.name.lower(), source.value, "")
        case ClaimValue(path=path, separator=separator, source=source):
            name = ".".join([*_PREFIXES[source], key(path)])
            fields = (header.name.lower(), f"|{name}=", plain(separator))
    return "\t".join(fields)


def via(how: str) -> str:
    """How a caller came whom the service attests, as it stands in the text: `session:`, `bearer:` or `checked:PROVIDER`."""
    return f"{VIA}=s{plain(how)}"


VIA = "~via"


def is_attested(kind: str = "") -> Json:
    """A predicate: the service has attested the claims (of this kind), not the issuer's own signature."""
    return matching.header(names.CLAIMS, {"prefix": f"|{VIA}=s{kind + ':' if kind else ''}"})
