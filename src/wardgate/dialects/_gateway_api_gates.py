"""
What policies of both products ask of a request beside who calls: keys of clients, names and passwords, pages of one's own site, how
often. Each is read into one value of the model; of one that is wrong, which is said, none is made, and its policy is broken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from wardgate import policy as model
from wardgate.dialects._gateway_api_objects import Fields, Object, held
from wardgate.dialects._gateway_api_policies import secret
from wardgate.dialects._gateway_api_routes import backend, duration
from wardgate.dialects._gateway_api_world import World

HTPASSWD: Final = ".htpasswd"
SHA: Final = "{SHA}"
SHA_HINT: Final = "only {SHA} is compared: htpasswd -s; a long random password, as SHA-1 is quickly tried"


def _secret(world: World, policy: Object, fields: Fields) -> Object | None:
    """What a reference names; None for what is not there, which is said."""
    found, why = secret(world, policy, fields)
    if why is not None:
        fields.complain("policy-secret", why, "name")
    return found


def _texts(fields: Fields, secret: Object) -> Iterator[tuple[str, str]]:
    """Every key of a Secret with its text."""
    for part in ("data", "stringData"):
        inside = secret.data.get(part)
        for key in sorted(inside) if isinstance(inside, Mapping) else ():
            try:
                yield str(key), held(secret, str(key))
            except ValueError:
                message = f"{key} in secret {secret.name} is no base64."
                fields.complain("policy-secret", message, "name")


# --- Envoy Gateway


def api_keys(world: World, policy: Object, fields: Fields) -> model.ApiKeys | None:
    """SecurityPolicy `apiKeyAuth`: of each Secret the keys are clients, the values their API keys."""
    keys: list[tuple[str, model.Secret]] = []
    for reference in fields.many("credentialRefs"):
        found = _secret(world, policy, reference)
        if found is not None:
            for client, value in _texts(reference, found):
                keys.append((client, _kept(found, client, model.key_digest(value.strip("\n")))))
    places: dict[str, list[str]] = {"headers": [], "params": [], "cookies": []}
    for each in fields.many("extractFrom"):
        for place, names in places.items():
            names += each.texts(place)
    told, strip = fields.text("forwardClientIDHeader"), fields.flag("sanitize")
    if not keys and not policy.problems:
        fields.complain("policy-gate", "names no key", "credentialRefs")
    found_at: dict[str, Any] = {place: tuple(names) for place, names in places.items()}
    return fields.made(
        "policy-gate", lambda: model.ApiKeys(keys=tuple(keys), told=told, strip=strip, **found_at)
    )


def _kept(secret: Object, client: str, digest: str) -> model.Secret:
    return model.Secret(digest, f"secret {secret.name} {client}")


def basic_users(world: World, policy: Object, fields: Fields) -> model.BasicUsers | None:
    """SecurityPolicy `basicAuth`: a Secret with lines of htpasswd."""
    reference = fields.one("users")
    told = fields.text("forwardUsernameHeader")
    found = _secret(world, policy, reference) if reference else None
    if reference is None or found is None:
        fields.complain("policy-gate", "names no users", "users")
        return None
    return _users(reference, found, HTPASSWD, told)


def _users(reference: Fields, secret: Object, key: str, told: str | None) -> model.BasicUsers | None:
    try:
        text = held(secret, key)
    except ValueError:
        text = ""
    if not text:
        reference.complain("policy-secret", f"{key} not found in secret {secret.name}.", "name")
        return None
    source = f"secret {secret.name} {key}"
    return reference.made("policy-gate", lambda: _from_lines(reference, text.splitlines(), source, told))


def _from_lines(fields: Fields, lines: list[str], source: str, told: str | None) -> model.BasicUsers | None:
    users = []
    for line in filter(None, (each.strip() for each in lines)):
        name, _, digest = line.partition(":")
        if not re.fullmatch(r"\{SHA\}[A-Za-z0-9+/]{27}=", digest):
            fields.complain("policy-gate", "a password is not kept as {SHA}", got=name, hint=SHA_HINT)
            return None
        users.append((name, model.Secret(digest.removeprefix(SHA), f"{source} {name}")))
    if not users:
        fields.complain("policy-gate", "names no users")
        return None
    return model.BasicUsers(users=tuple(users), told=told)


def cross_site(fields: Fields) -> model.CrossSite | None:
    """SecurityPolicy `csrf`, as Envoy's filter has it."""
    return fields.made("policy-gate", lambda: model.CrossSite(origins=fields.texts("additionalOrigins")))


def external(world: World, policy: Object, fields: Fields | None) -> dict[str, Any]:
    """SecurityPolicy `extAuth`, as fields of `Terms`."""
    if fields is None:
        return {}
    grpc, http = fields.one("grpc"), fields.one("http")
    service = grpc or http
    if service is None or (grpc and http):
        fields.complain("policy-gate", "needs one of grpc and http")
        return {}
    references = service.many("backendRefs")
    old = service.one("backendRef")
    reference = old or (references[0] if references else None)
    if old is not None:
        at = f"spec.extAuth.{'grpc' if grpc else 'http'}.backendRef"
        policy.say("Warning", True, "DeprecatedField", f"{at} is deprecated, use {at}s instead")
    if len(references) > 1 or reference is None:
        service.complain("policy-gate", "needs one backend", "backendRefs", got=len(references))
        for each in references:
            each.plain()
        return {}
    body, status = fields.one("bodyToExtAuth"), fields.number("statusOnError")
    told = fields.texts("headersToExtAuth")
    if status not in (None, 403):
        fields.complain(
            "manifest-unsupported", "is not enforced here", "statusOnError", got=status, hint="403"
        )
    if grpc and told:
        hint = "by gRPC it is told all of them"
        fields.complain("manifest-unsupported", "is not enforced here", "headersToExtAuth", hint=hint)
    spec: dict[str, Any] = {
        "path": (http.text("path", "") or "") if http else "",
        "told": told if http else (),
        "taken": http.texts("headersToBackend") if http else (),
        "body_bytes": body.number("maxRequestBytes") if body else None,
        "fail_open": fields.flag("failOpen"),
        "context": tuple(_context(fields)),
    }
    if (timeout := duration(fields, "timeout")) is not None:
        spec["timeout"] = timeout
    return _asked(world, policy, reference, grpc is not None, spec, called="ExtAuth: ")


def _context(fields: Fields) -> Iterator[tuple[str, str]]:
    for each in fields.many("contextExtensions"):
        kind = each.text("type", "Value")
        if kind != "Value":
            each.complain("manifest-unsupported", "is not enforced here", "type", got=kind, hint="Value")
        yield each.text("name", "") or "", each.text("value", "") or ""


def _asked(
    world: World, policy: Object, reference: Fields, grpc: bool, spec: dict[str, Any], called: str = ""
) -> dict[str, Any]:
    """Whom to ask, and how; nothing where that is not there, which is said."""
    asked, _ = backend(world, policy, reference, called=called)
    if asked is None:
        return {}
    service = asked.service
    name = (
        f"external:{policy.name.namespace}.{policy.name.name}.{service.namespace}.{service.name}.{asked.port}"
    )
    protocol = model.UpstreamProtocol.HTTP2 if grpc else model.UpstreamProtocol.HTTP1
    upstream = model.Upstream(
        name=name,
        endpoints=asked.endpoints,
        protocol=protocol,
        tls=asked.tls,
        where=policy.where(*reference.path),
    )
    found = reference.made("policy-gate", lambda: model.ExternalAuth(upstream=name, grpc=grpc, **spec))
    return {} if found is None else {"external": found, "external_upstream": upstream}


# --- agentgateway

HTACCESS: Final = ".htaccess"
REALM: Final = "Restricted"
MODES: Final = {
    "Strict": model.Mode.REQUIRED,
    "Optional": model.Mode.OPTIONAL,
    "Permissive": model.Mode.PERMISSIVE,
}


def agent_mode(fields: Fields) -> model.Mode:
    """What becomes of a request without a credential, or with a bad one; of what is no mode, which is said, the strictest."""
    mode = fields.text("mode", "Strict")
    if mode is not None and mode not in MODES:
        fields.complain("policy-mode", "is no mode", "mode", got=mode, hint="Strict, Optional or Permissive")
    return MODES.get(mode or "", model.Mode.REQUIRED)


def agent_api_keys(world: World, policy: Object, fields: Fields) -> model.ApiKeys | None:
    """AgentgatewayPolicy `apiKeyAuthentication`: each value of the Secret is a key, or a document that holds it, or its hash."""
    mode, reference = agent_mode(fields), fields.one("secretRef")
    found = _secret(world, policy, reference) if reference else None
    if reference is None or found is None:
        fields.complain("policy-gate", "names no key", "secretRef")
        return None
    keys = []
    for client, value in _texts(reference, found):
        digest = _digest_in(value.strip())
        if digest is None:
            hint = 'the key itself, {"key": ...} or {"keyHash": "sha256:..."}'
            reference.complain("policy-gate", "holds no key", "name", got=client, hint=hint)
        else:
            keys.append((client, _kept(found, client, digest)))
    headers, params, cookies = _location(fields)
    place: dict[str, Any] = {"headers": headers, "params": params, "cookies": cookies}
    return fields.made(
        "policy-gate",
        lambda: model.ApiKeys(keys=tuple(keys), mode=mode, strip=True, **place),
    )


def _digest_in(value: str) -> str | None:
    if not value.startswith("{"):
        return model.key_digest(value) if value else None
    try:
        told = json.loads(value)
    except ValueError:
        return None
    key, hashed = (told.get("key"), told.get("keyHash")) if isinstance(told, dict) else (None, None)
    if isinstance(hashed, str) and key is None:
        found = re.fullmatch("sha256:([0-9a-fA-F]{64})", hashed)
        return found[1].lower() if found else None
    return model.key_digest(key) if isinstance(key, str) and key and hashed is None else None


def _location(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Where a key is: usually in Authorization, behind `Bearer`."""
    location = fields.one("location")
    if location is None:
        return ("authorization",), (), ()
    header, param, cookie = (location.one(each) for each in ("header", "queryParameter", "cookie"))
    if header is not None and (header.text("prefix") or "").strip() not in ("", "Bearer"):
        header.complain("manifest-unsupported", "is not enforced here", "prefix", hint="Bearer, or none")
    return (
        (header.text("name", "") or "",) if header else (),
        (param.text("name", "") or "",) if param else (),
        (cookie.text("name", "") or "",) if cookie else (),
    )


def agent_basic_users(world: World, policy: Object, fields: Fields) -> model.BasicUsers | None:
    """AgentgatewayPolicy `basicAuthentication`: lines of htpasswd, in the policy or in a Secret."""
    _only_strict(fields)
    realm, users, reference = fields.text("realm", REALM), fields.texts("users"), fields.one("secretRef")
    if realm != REALM:
        fields.complain("manifest-unsupported", "is not enforced here", "realm", got=realm, hint=REALM)
    if (reference is None) == (not users):
        fields.complain("policy-gate", "needs one of users and secretRef")
        return None
    if reference is None:
        source = f"policy {policy.name}"
        return fields.made("policy-gate", lambda: _from_lines(fields, list(users), source, None))
    found = _secret(world, policy, reference)
    return _users(reference, found, HTACCESS, None) if found else None


def _only_strict(fields: Fields) -> None:
    mode = fields.text("mode", "Strict")
    if mode != "Strict":
        hint = "Strict; for callers without one, a route of their own"
        fields.complain("policy-mode", "is not enforced here", "mode", got=mode, hint=hint)


def agent_cross_site(fields: Fields) -> model.CrossSite | None:
    """AgentgatewayPolicy `csrf`: origins are compared letter by letter."""
    return model.CrossSite(origins=fields.texts("additionalOrigins"), by_metadata=True)


def agent_external(world: World, policy: Object, fields: Fields | None) -> dict[str, Any]:
    """AgentgatewayPolicy `extAuth`, as fields of `Terms`."""
    if fields is None:
        return {}
    grpc, http, reference = fields.one("grpc"), fields.one("http"), fields.one("backendRef")
    if reference is None:
        fields.complain("policy-gate", "names no backend", "backendRef")
        return {}
    mode, body = fields.text("failureMode", "FailClosed"), fields.one("forwardBody")
    if mode not in ("FailClosed", "FailOpen"):
        fields.complain("policy-mode", "is no mode", "failureMode", got=mode, hint="FailClosed or FailOpen")
    context = grpc.one("contextExtensions") if grpc else None
    spec: dict[str, Any] = {
        "told": http.texts("allowedRequestHeaders") if http else (),
        "taken": http.texts("allowedResponseHeaders") if http else (),
        "body_bytes": body.number("maxSize") if body else None,
        "fail_open": mode == "FailOpen",
        "context": tuple((key, context.text(key, "") or "") for key in context.data) if context else (),
    }
    return _asked(world, policy, reference, http is None, spec)


UNITS: Final = {"Seconds": 1, "Minutes": 60, "Hours": 3600}


def rate_limits(fields: Fields) -> tuple[model.RateLimit, ...] | None:
    """AgentgatewayPolicy `rateLimit.local`, of requests: each of them holds."""
    found = [_limit(limit) for limit in fields.many("local")]
    if not found:
        fields.complain("policy-gate", "names no limit", "local")
    return tuple(limit for limit in found if limit is not None)


def _limit(limit: Fields) -> model.RateLimit | None:
    requests, burst, unit = limit.number("requests"), limit.number("burst") or 0, limit.text("unit", "") or ""
    if requests is None or requests < 1 or burst < 0 or unit not in UNITS:
        hint = "requests: a number; unit: Seconds, Minutes or Hours"
        limit.complain("policy-gate", "is no limit of requests", hint=hint)
        return None
    per = timedelta(seconds=UNITS[unit])
    return limit.made(
        "policy-gate", lambda: model.RateLimit(requests=requests, per=per, burst=requests + burst)
    )


def direct(fields: Fields) -> model.DirectAnswer | None:
    """AgentgatewayPolicy `directResponse`."""
    status, body = fields.number("status"), fields.text("body", "") or ""
    if status is None or not 200 <= status <= 599:
        fields.complain("policy-gate", "is no status of an answer", "status", hint="200 to 599")
        return None
    return fields.made("policy-gate", lambda: model.DirectAnswer(status=status, body=body))


CONTENDING: Final = "two credentials are to be in Authorization"


def contend(tokens: bool, keys: model.ApiKeys | None, users: model.BasicUsers | None) -> bool:
    """Whether more than one of tokens, names with passwords, and keys is to be in Authorization."""
    in_it = keys is not None and any(name.lower() == "authorization" for name in keys.headers)
    return sum((tokens, in_it, users is not None)) > 1
