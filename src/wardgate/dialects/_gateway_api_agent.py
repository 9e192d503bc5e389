"""
agentgateway's AgentgatewayPolicy (`agentgateway.dev/v1alpha1`): what it says of `traffic`.

Policies of a Gateway, a listener, a route and a rule of it hold together: of each field the most specific, and all the rules of
`authorization`. A provider whose keys are nowhere is kept, without keys: its tokens are refused, the others' are not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from wardgate import policy as model
from wardgate.cel import (
    Answer,
    Names,
    Untranslatable,
    all_of,
    any_of,
    condition,
    negated,
    text_or_claim,
)
from wardgate.dialects import _gateway_api_filters as filters
from wardgate.dialects import _gateway_api_gates as gates
from wardgate.dialects._gateway_api_objects import Fields, Object
from wardgate.dialects._gateway_api_policies import (
    CEL_HINT,
    GATES,
    Issuer,
    Terms,
    header,
    nobodys_keys,
    wrong_with_keys,
)
from wardgate.dialects._gateway_api_routes import backend, duration
from wardgate.dialects._gateway_api_world import World
from wardgate.problems import ConfigError

GROUP: Final = "agentgateway.dev"
ACTIONS: Final = ("Allow", "Deny", "Require")


def terms(world: World, policy: Object, spec: Fields) -> Terms:
    """Never raises: what is wrong is in the policy's problems, and its terms are broken."""
    traffic = spec.one("traffic")
    found = Terms(policy=policy, mode=model.Mode.IGNORED, kinds=frozenset())
    if traffic is None or not any(key in traffic for key in READ):
        hint = f"one of {', '.join(READ)}"
        spec.complain("policy-empty", "says nothing that is read here", "traffic", hint=hint)
        return found
    if (jwt := traffic.one("jwtAuthentication")) is not None:
        found = _jwt(world, policy, jwt, found)
    if (rules := traffic.one("authorization")) is not None:
        found = replace(found, judges=tuple(_judges(rules)))
    if (cors := traffic.one("cors")) is not None:
        found = replace(found, cors=filters.cors(cors, timedelta(seconds=cors.number("maxAge") or 5)))
    if (timeouts := traffic.one("timeouts")) is not None:
        found = replace(found, timeout=duration(timeouts, "request"))
    if (headers := traffic.one("headerModifiers")) is not None:
        asked, told = headers.one("request"), headers.one("response")
        found = replace(
            found,
            request_headers=filters.edits(asked) if asked else None,
            response_headers=filters.edits(told) if told else None,
        )
    if (changes := traffic.one("transformation")) is not None:
        found = _transformed(changes, found)
    _usual(spec, traffic)
    return _gates(world, policy, traffic, found)


def _gates(world: World, policy: Object, traffic: Fields, found: Terms) -> Terms:
    keys, users = traffic.one("apiKeyAuthentication"), traffic.one("basicAuthentication")
    limit, answer, csrf = traffic.one("rateLimit"), traffic.one("directResponse"), traffic.one("csrf")
    return replace(
        found,
        api_keys=gates.agent_api_keys(world, policy, keys) if keys else None,
        basic_users=gates.agent_basic_users(world, policy, users) if users else None,
        cross_site=gates.agent_cross_site(csrf) if csrf else None,
        **gates.agent_external(world, policy, traffic.one("extAuth")),
        rate_limits=gates.rate_limits(limit) if limit else None,
        direct=gates.direct(answer) if answer else None,
    )


READ: Final = (
    *("jwtAuthentication", "apiKeyAuthentication", "basicAuthentication", "authorization", "cors"),
    *("csrf", "extAuth", "rateLimit", "timeouts", "headerModifiers", "directResponse", "transformation"),
)
"""What is read of `traffic`."""

FIELDS: Final = ("cors", "timeout", "request_headers", "response_headers", *GATES, "external_upstream")
"""Of these the most specific policy that says something counts."""


def merged(all_of_them: Sequence[Terms]) -> Terms:
    """What several policies say of one route; the most specific is the last."""
    found = all_of_them[-1]
    asking = [one for one in all_of_them if one.mode is not model.Mode.IGNORED]
    broken = [one.broken for one in all_of_them if one.broken is not None]
    keys, users = _last(all_of_them, "api_keys"), _last(all_of_them, "basic_users")
    if gates.contend(bool(asking), keys, users):
        hint = "apiKeyAuthentication.location: another header, or one of the three"
        found.policy.complain("policy-conflict", gates.CONTENDING, ("spec", "traffic"), hint=hint)
        broken.append(gates.CONTENDING)
    judges = tuple(judge for one in all_of_them for judge in one.judges)
    return replace(
        asking[-1] if asking else found,
        policy=found.policy,
        judges=judges,
        when=_together(judges),
        identity=tuple({each.name.lower(): each for one in all_of_them for each in one.identity}.values()),
        **{name: _last(all_of_them, name) for name in FIELDS},
        broken=broken[0] if broken else None,
    )


def _last(all_of_them: Sequence[Terms], name: str) -> Any:
    said = [getattr(one, name) for one in all_of_them]
    return next((each for each in reversed(said) if each is not None), None)


def _together(judges: Sequence[tuple[str, Answer]]) -> Answer:
    """No Deny, every Require, and any Allow where there is one (agentgateway, http/authorization.rs)."""
    by_action = {action: [when for each, when in judges if each == action] for action in ACTIONS}
    allowed = any_of(by_action["Allow"]) if by_action["Allow"] else True
    return all_of([negated(any_of(by_action["Deny"])), *by_action["Require"], allowed])


def _judges(fields: Fields) -> Iterator[tuple[str, Answer]]:
    """Each expression is a rule of its own, as that product takes them: of those of one Allow, any is enough."""
    action = fields.text("action", "Allow") or "Allow"
    if action not in ACTIONS:
        fields.complain("policy-action", "is no action", "action", got=action, hint=", ".join(ACTIONS))
    inside = fields.one("policy")
    expressions = inside.texts("matchExpressions") if inside else ()
    if inside is None or not expressions:
        fields.complain("policy-rule", "names no expression", "policy", "matchExpressions")
        return
    for index, text in enumerate(expressions):
        try:
            yield action, condition(text, Names.AGENTGATEWAY)
        except Untranslatable as error:
            inside.complain("policy-cel", str(error), "matchExpressions", index, got=text, hint=CEL_HINT)


def _usual(spec: Fields, traffic: Fields) -> None:
    """Fields that may say what holds without them."""
    said = [(traffic, "phase", "PostRouting")]
    said += [(strategy, "inheritance", "Default")] if (strategy := spec.one("strategy")) else []
    said += [(rewrite, "mode", "None")] if (rewrite := traffic.one("hostRewrite")) else []
    for fields, key, usual in said:
        if (got := fields.text(key, usual)) != usual:
            fields.complain("manifest-unsupported", "is not enforced here", key, got=got, hint=usual)


def _transformed(fields: Fields, found: Terms) -> Terms:
    """
    `transformation` of headers, before `headerModifiers`: to texts, and of requests to claims. A claim that is not there sets
    nothing, and a client's own copy of that header never arrives.
    """
    identity = list(found.identity)
    edits: dict[str, model.HeaderEdits | None] = {}
    for key, then in (("request", found.request_headers), ("response", found.response_headers)):
        inside = fields.one(key)
        if inside is None:
            edits[key] = then
            continue
        texts: dict[str, list[tuple[str, str]]] = {"set": [], "add": []}
        asked = [(how, each) for how in ("set", "add") for each in inside.many(how)]
        for how, each in asked:
            name, value = each.text("name", "") or "", _value(each)
            if isinstance(value, str):
                texts[how].append((name, value))
            elif value and (key, how) == ("request", "set"):
                made = header(each, name, value)
                identity += [made] if made else []
            elif value:
                hint = "a text; of a request a claim can be set"
                each.complain("manifest-unsupported", "is not enforced here", "value", hint=hint)
        new, more, gone = tuple(texts["set"]), tuple(texts["add"]), inside.texts("remove")
        own = inside.made("route-filter", partial(model.HeaderEdits, set=new, add=more, remove=gone))
        edits[key] = own if own is None or then is None else filters.joined(own, then)
    return replace(
        found,
        identity=tuple(identity),
        request_headers=edits["request"],
        response_headers=edits["response"],
    )


def _value(fields: Fields) -> str | tuple[str, ...]:
    """Of CEL; nothing for what cannot be told before a request is there, which is said."""
    text = fields.text("value", "") or ""
    try:
        return text_or_claim(text, Names.AGENTGATEWAY)
    except Untranslatable as error:
        fields.complain("policy-cel", str(error), "value", got=text, hint=CEL_HINT)
        return ()


def _jwt(world: World, policy: Object, jwt: Fields, terms: Terms) -> Terms:
    mode = gates.agent_mode(jwt)
    found = [_issuer(world, policy, fields) for fields in jwt.many("providers")]
    place = _place(jwt.one("location"))
    mcp = jwt.one("mcp")
    if not found:
        jwt.complain("policy-provider", "names no provider", "providers")
    return replace(
        terms,
        mode=mode,
        kinds=frozenset({model.Kind.BEARER}),
        issuers=tuple(one for one in found if one is not None),
        hide=True,
        places=(place,),
        resource=_resource(policy, jwt, mcp) if mcp else None,
    )


def _resource(policy: Object, jwt: Fields, mcp: Fields) -> dict[str, Any]:
    """What is said of the routes as protected resources, by the names of RFC 9728; `mcp` makes MCP servers of them."""
    providers, told = jwt.many("providers"), mcp.one("resourceMetadata")
    if len(providers) != 1 or jwt.text("mode", "Strict") != "Strict":
        hint = "one provider, and mode Strict"
        jwt.complain(
            "policy-conflict", "cannot stand beside several providers, or another mode", "mcp", hint=hint
        )
    if (kind := mcp.text("provider")) is not None:
        note = f"spec.traffic.jwtAuthentication.mcp.provider {kind}: clients register at the issuer itself, and not here"
        policy.notes.append(note)
    found = {
        "authorization_servers": [provider.text("issuer", "") for provider in providers],
        "mcp_protocol_version": "2025-06-18",
        "resource_type": "mcp-server",
        "bearer_methods_supported": ["header"],
        **{_snake(key): value for key, value in (told.plain() if told else {}).items()},
    }
    if len(json.dumps(found, default=str)) > MOST_CHARACTERS:
        mcp.complain("policy-gate", f"has more than {MOST_CHARACTERS} characters", "resourceMetadata")
        return {}
    return found


MOST_CHARACTERS: Final = 32 * 1024
"""Of what a policy says of a resource: it is a document that clients read before they know anything."""


def _snake(name: str) -> str:
    """`scopesSupported` as RFC 9728 has it."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", str(name)).lower()


def _place(fields: Fields | None) -> model.TokenPlace:
    if fields is None:
        return model.AUTHORIZATION
    named = [
        (carrier, inside) for key, carrier in CARRIERS.items() if (inside := fields.one(key)) is not None
    ]
    if len(named) != 1:
        fields.complain("policy-gate", "needs one place", hint=", ".join(CARRIERS))
        return model.AUTHORIZATION
    carrier, inside = named[0]
    name = inside.text("name", "") or ""
    prefix = inside.text("prefix", "") or "" if carrier is model.Carrier.HEADER else ""
    try:
        return model.TokenPlace(carrier, name, prefix)
    except ConfigError as error:
        inside.complain("policy-gate", error.problems[0].message, "name", got=name)
        return model.AUTHORIZATION


CARRIERS: Final = {
    "header": model.Carrier.HEADER,
    "queryParameter": model.Carrier.PARAM,
    "cookie": model.Carrier.COOKIE,
}


def _issuer(world: World, policy: Object, fields: Fields) -> Issuer | None:
    issuer, audiences = fields.text("issuer"), fields.texts("audiences")
    if issuer is None:
        fields.complain("policy-issuer", "names no issuer", "issuer")
        return None
    jwks = fields.one("jwks")
    remote = jwks.one("remote") if jwks else None
    inline = jwks.text("inline") if jwks else None
    if (remote is None) == (inline is None):
        fields.complain("policy-jwks", "needs one of remote and inline", "jwks")
        if remote is not None:
            remote.plain()
        return None
    url, tls = _url(world, policy, remote) if remote else (None, None)
    if remote and url is None:
        return None
    if inline is not None and (why := wrong_with_keys(inline)) is not None:
        said = f"provider {fields.path[-1]} (issuer {issuer}): invalid inline JWKS"
        policy.partly.append(said)
        policy.notes.append(f"{said}: {why}. Its tokens are refused")
        inline = nobodys_keys()
    return Issuer(
        issuer=issuer,
        audiences=audiences,
        jwks_url=url,
        jwks=inline,
        jwks_tls=tls,
        jwks_at_service=remote is not None and "backendRef" in remote,
    )


def _url(world: World, policy: Object, fields: Fields) -> tuple[str | None, model.ClientTls | None]:
    """Where keys are, and how that is spoken to. Its backend may be in any namespace, as that product has it."""
    duration(fields, "cacheDuration")  # only whether it is one: keys are asked for as the service does
    url, path, named = fields.text("url"), fields.text("jwksPath", "") or "", fields.one("backendRef")
    if (url is None) == (named is None) or (named is not None and not path):
        fields.complain("policy-jwks", "needs backendRef and jwksPath, or url")
        if named is not None:
            named.plain()
        return None, None
    if named is None:
        return url, None
    found, _ = backend(world, policy, named, granted=True)
    return (None, None) if found is None else (found.url(path), found.tls)
