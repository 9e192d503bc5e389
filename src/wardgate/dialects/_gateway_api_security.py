"""
Envoy Gateway's SecurityPolicy (`gateway.envoyproxy.io/v1alpha1`): `jwt`, `oidc` and `authorization`.

What is not enforced is said, and a policy with such a field is Invalid: its routes answer 500, as that product does with a
policy that it cannot enforce. Messages of conditions are that product's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from wardgate import policy as model
from wardgate.cel import Answer, Names, Untranslatable, all_of, any_of, condition, negated
from wardgate.dialects import _gateway_api_filters as filters
from wardgate.dialects import _gateway_api_gates as gates
from wardgate.dialects._gateway_api_objects import CORE, Fields, Name, Object
from wardgate.dialects._gateway_api_policies import (
    CEL_HINT,
    Issuer,
    Login,
    Terms,
    header,
    secret,
    value_in,
    wrong_with_keys,
)
from wardgate.dialects._gateway_api_routes import HOWS, backend, duration, header_match
from wardgate.dialects._gateway_api_world import World
from wardgate.policy import ClientIn, How, Part, RequestText
from wardgate.problems import ConfigError
from wardgate.verify.discovery import is_address

GROUP: Final = "gateway.envoyproxy.io"
CALLBACK: Final = "/oauth2/callback"
LOGOUT: Final = "/logout"


def terms(world: World, policy: Object, spec: Fields) -> Terms:
    """Never raises: what is wrong is in the policy's problems, and its terms are broken."""
    jwt, oidc = spec.one("jwt"), spec.one("oidc")
    found = Terms(policy=policy, mode=model.Mode.IGNORED, kinds=frozenset())
    if jwt is not None:
        found = _jwt(world, policy, jwt, found)
    if oidc is not None:
        found = _oidc(world, policy, oidc, found, jwt is not None)
    cors = spec.one("cors")
    if cors is not None:
        found = replace(found, cors=filters.cors(cors, duration(cors, "maxAge")))
    rules = spec.one("authorization")
    if rules is not None:
        found = _authorization(rules, found, jwt)
    found = _gates(world, policy, spec, found)
    if not any(key in spec for key in READ):
        hint = f"{', '.join(READ)}; to leave a route open, attach no policy"
        spec.complain("policy-empty", "names nothing that is read here", hint=hint)
    return found


READ: Final = ("jwt", "oidc", "authorization", "cors", "csrf", "apiKeyAuth", "basicAuth", "extAuth")
"""What is read of a policy."""


def _gates(world: World, policy: Object, spec: Fields, found: Terms) -> Terms:
    keys, users, csrf = spec.one("apiKeyAuth"), spec.one("basicAuth"), spec.one("csrf")
    found = replace(
        found,
        api_keys=gates.api_keys(world, policy, keys) if keys else None,
        basic_users=gates.basic_users(world, policy, users) if users else None,
        cross_site=gates.cross_site(csrf) if csrf else None,
        **gates.external(world, policy, spec.one("extAuth")),
    )
    if gates.contend(found.mode is not model.Mode.IGNORED, found.api_keys, found.basic_users):
        hint = "keys in another header, or one of jwt, oidc and basicAuth"
        spec.complain("policy-conflict", gates.CONTENDING, "basicAuth" if users else "apiKeyAuth", hint=hint)
    return found


# --- jwt


def _jwt(world: World, policy: Object, fields: Fields, found: Terms) -> Terms:
    optional, open_ = fields.flag("optional"), fields.flag("failOpen")
    if optional and open_:
        fields.complain("policy-conflict", "optional and failOpen exclude each other", "failOpen")
    mode = model.Mode.PERMISSIVE if open_ else model.Mode.OPTIONAL if optional else model.Mode.REQUIRED
    issuers: list[Issuer] = []
    identity: list[model.IdentityHeader] = []
    places: dict[model.TokenPlace, list[str]] = {}
    again = False
    for provider in fields.many("providers"):
        provider.text("name")
        for place in _places(provider.one("extractFrom")):
            places.setdefault(place, []).append(provider.text("issuer", "") or "")
        issuer = _issuer(world, policy, provider)
        issuers += [issuer] if issuer else []
        for each in provider.many("claimToHeaders"):
            made = header(
                each, each.text("header", "") or "", tuple((each.text("claim", "") or "").split("."))
            )
            identity += [made] if made else []
        again = provider.flag("recomputeRoute") or again
    if again and not identity:
        hint = "claimToHeaders: by them the route is found again"
        fields.complain("policy-conflict", "recomputeRoute needs claimToHeaders", "providers", hint=hint)
    if not issuers and not policy.problems:
        fields.complain("policy-provider", "names no provider", "providers")
    return replace(
        found,
        mode=mode,
        kinds=frozenset({model.Kind.BEARER}),
        issuers=tuple(issuers),
        identity=tuple({one.name.lower(): one for one in identity}.values()),
        places=tuple(places) or found.places,
        places_of={place: tuple(at) for place, at in places.items()} if _differ(places) else None,
        again=again,
    )


def _differ(places: Mapping[model.TokenPlace, Sequence[str]]) -> bool:
    return len({tuple(issuers) for issuers in places.values()}) > 1


def _places(fields: Fields | None) -> tuple[model.TokenPlace, ...]:
    if fields is None:
        return (model.AUTHORIZATION,)
    found: list[model.TokenPlace] = []
    asked = [
        (model.Carrier.HEADER, each.text("name", "") or "", each.text("valuePrefix", "") or "")
        for each in fields.many("headers")
    ]
    asked += [(model.Carrier.COOKIE, name, "") for name in fields.texts("cookies")]
    asked += [(model.Carrier.PARAM, name, "") for name in fields.texts("params")]
    for carrier, name, prefix in asked:
        try:
            found.append(model.TokenPlace(carrier, name, prefix))
        except ConfigError as error:
            fields.complain("policy-gate", error.problems[0].message, got=name)
    if not asked:
        fields.complain("policy-gate", "names no place")
    return tuple(found)


def _issuer(world: World, policy: Object, fields: Fields) -> Issuer | None:
    issuer, audiences = fields.text("issuer"), fields.texts("audiences")
    remote, local = fields.one("remoteJWKS"), fields.one("localJWKS")
    if issuer is None:
        hint = "name the iss of the tokens: without it one issuer's tokens could not be told from another's"
        fields.complain("policy-issuer", "names no issuer", "issuer", hint=hint)
    if (remote is None) == (local is None):
        fields.complain("policy-jwks", "needs one of remoteJWKS and localJWKS")
        return None
    jwks = _local(world, policy, local) if local else None
    if jwks is not None and (why := wrong_with_keys(jwks)) is not None:
        fields.complain("policy-jwks", f"JWT: local JWKS cannot be used: {why}", "localJWKS")
        return None
    url, tls, at_service = _remote(world, policy, remote) if remote else (None, None, False)
    if issuer is None or (jwks is None and url is None):
        return None
    return Issuer(
        issuer=issuer,
        audiences=audiences,
        jwks_url=url,
        jwks=jwks,
        jwks_tls=tls,
        jwks_at_service=at_service,
    )


def _remote(world: World, policy: Object, fields: Fields) -> tuple[str | None, model.ClientTls | None, bool]:
    """Where keys are, how that is spoken to, and whether it is a Service: then of the URI the path counts, and its host in TLS."""
    url = fields.text("uri")
    for each in ("cacheDuration", "failedRefetchDuration"):
        duration(fields, each)  # keys are asked for as the service does, and at a token with a new one
    named = fields.many("backendRefs")
    if (old := fields.one("backendRef")) is not None:
        said = "spec.jwt.providers.remoteJWKS.backendRef is deprecated, use backendRefs instead"
        policy.say("Warning", True, "DeprecatedField", said)
        named = [old]
    if url is None or not named:
        return url, None, False
    found, _ = backend(world, policy, named[0], called="JWT: ")
    if found is None:
        return None, None, True
    parts = urlsplit(url)
    tls = found.tls
    if tls is None and parts.scheme == "https":
        tls = model.ClientTls(server_name=parts.hostname)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return replace(found, tls=tls).url(path), tls, True


def _local(world: World, policy: Object, fields: Fields) -> str | None:
    kind = fields.text("type", "Inline")
    reference = fields.one("valueRef")
    if kind == "Inline":
        return fields.text("inline")
    name = (reference.text("name", "") if reference else "") or ""
    if reference:
        reference.text("group")
        reference.text("kind")
    wanted = Name(CORE, "ConfigMap", policy.name.namespace, name)
    found = world.find(wanted)
    data = (found.data.get("data") or {}) if found else {}
    if not data:
        fields.complain(
            "policy-jwks", f"JWT: local JWKS ConfigMap {wanted} not found.", "valueRef", "name", got=name
        )
        return None
    return str(data.get("jwks", next(iter(data.values()))))


# --- authorization


def _authorization(fields: Fields, found: Terms, jwt: Fields | None) -> Terms:
    """The first rule that fits says; none: the default action, which is Deny."""
    default = _action(fields, "defaultAction", "Deny")
    rules = [(_action(rule, "action", "Deny"), _rule(rule, _issuers(jwt))) for rule in fields.many("rules")]
    allowed: Answer = default == "Allow"
    for action, when in reversed(rules):
        allowed = any_of([when, allowed]) if action == "Allow" else all_of([negated(when), allowed])
    return replace(found, when=allowed)


def _action(fields: Fields, key: str, usual: str) -> str:
    action = fields.text(key, usual) or usual
    if action not in ("Allow", "Deny"):
        fields.complain("policy-action", "is neither Allow nor Deny", key, got=action)
    return action


def _issuers(jwt: Fields | None) -> dict[str, str]:
    """By the names that a policy gives its providers."""
    providers = jwt.many("providers") if jwt else []
    return {one.text("name", "") or "": one.text("issuer", "") or "" for one in providers}


def _rule(rule: Fields, issuers: dict[str, str]) -> Answer:
    """All that a rule asks; of one that is wrong, which is said, whatever: its policy is broken."""
    rule.text("name")
    operation, principal, text = rule.one("operation"), rule.one("principal"), rule.text("cel")
    asked: list[Answer] = []
    if operation is not None:
        asked += _operation(operation)
    if principal is not None:
        asked += _principal(principal, issuers)
    if text is not None:
        asked.append(_cel(rule, text))
    if not asked:
        hint = "principal (jwt, clientCIDRs, headers), operation (methods, path) or cel"
        rule.complain("policy-rule", "asks for nothing that is read here", hint=hint)
    return all_of(asked)


def _operation(fields: Fields) -> list[Answer]:
    asked: list[Answer] = []
    methods, path = fields.texts("methods"), fields.one("path")
    if methods:
        asked.append(any_of([RequestText(Part.METHOD, How.EXACT, each) for each in methods]))
    if path is not None:
        found = _path(path)
        asked.append(False if found is None else found)
    return asked


def _path(path: Fields) -> Answer | None:
    """None for what cannot be asked, which is said."""
    kind, value = path.text("type", "PathPrefix"), path.text("value", "/") or "/"
    match kind:
        case "Exact":
            return RequestText(Part.PATH, How.EXACT, value)
        case "PathPrefix":
            exact = RequestText(Part.PATH, How.EXACT, value.rstrip("/") or "/")
            return any_of([exact, RequestText(Part.PATH, How.PREFIX, value.rstrip("/") + "/")])
        case "RegularExpression":
            return path.made("policy-rule", lambda: RequestText(Part.PATH, How.MATCHES, value))
        case _:
            hint = "Exact, PathPrefix or RegularExpression"
            path.complain("policy-rule", "is not translated", "type", got=kind, hint=hint)
            return None


def _principal(fields: Fields, issuers: dict[str, str]) -> list[Answer]:
    asked: list[Answer] = []
    networks, token = fields.texts("clientCIDRs"), fields.one("jwt")
    if networks:
        try:
            asked.append(ClientIn(tuple(str(ip_network(each, strict=False)) for each in networks)))
        except ValueError:
            fields.complain("policy-rule", "is no range of addresses", "clientCIDRs", got=", ".join(networks))
    for each in fields.many("headers"):
        name, values = each.text("name", "") or "", each.texts("values")
        asked.append(any_of([RequestText(Part.HEADER, How.EXACT, value, name.lower()) for value in values]))
        if not name or not values:
            each.complain("policy-rule", "names no header, or no value of it")
    if token is not None:
        asked += _token(token, issuers)
    return asked


def _token(token: Fields, issuers: dict[str, str]) -> list[Answer]:
    provider = token.text("provider", "") or ""
    if provider not in issuers:
        token.complain("policy-provider", "is no provider of jwt", "provider", got=provider)
        token.plain()
        return [False]
    asked: list[Answer] = [model.ClaimIs(("iss",), issuers[provider])]
    for claim in token.many("claims"):
        path = tuple((claim.text("name", "") or "").split("."))
        claim.text("valueType")  # a list holds a value, a string is one
        values = claim.texts("values")
        if not values:
            claim.complain("policy-claim", "names no value", "values")
        asked.append(any_of([model.ClaimIs(path, value) for value in values]))
    return [*asked, *(model.Scope(name) for name in token.texts("scopes"))]


def _cel(rule: Fields, text: str) -> Answer:
    try:
        return condition(text, Names.ENVOY)
    except Untranslatable as error:
        rule.complain("policy-cel", str(error), "cel", got=text, hint=CEL_HINT)
        return False


# --- oidc


def _oidc(world: World, policy: Object, fields: Fields, found: Terms, with_jwt: bool) -> Terms:
    provider = fields.one("provider")
    issuer = (provider.text("issuer", "") if provider else "") or ""
    pass_through = fields.flag("passThroughAuthHeader")
    if pass_through and not with_jwt:
        fields.complain("policy-conflict", "passThroughAuthHeader needs jwt", "passThroughAuthHeader")
    if found.again:
        hint = "a route of its own for browsers"
        fields.complain("policy-conflict", "stands beside jwt with recomputeRoute", hint=hint)
    if with_jwt and all(one.issuer != issuer for one in found.issuers):
        hint = "add the issuer to jwt.providers: there the tokens of a login are verified, too"
        fields.complain("policy-issuer", "is no provider of jwt", "provider", "issuer", got=issuer, hint=hint)
    login = _login(world, policy, fields, issuer)
    _say_cookies(policy, fields.one("cookieNames"), found)
    told = fields.one("forwardIDToken")
    identity = _id_token(told) if told else ()
    denied = fields.one("denyRedirect")
    unsent = (
        [header_match(each, tuple(HOWS), chooses=False) for each in denied.many("headers")] if denied else []
    )
    issuers = found.issuers if with_jwt else (Issuer(issuer=issuer),)
    issuers = tuple(replace(one, login=login) if one.issuer == issuer else one for one in issuers)
    kinds = {model.Kind.SESSION, *([model.Kind.BEARER] if pass_through and with_jwt else [])}
    return replace(
        found,
        mode=model.Mode.REQUIRED,
        kinds=frozenset(kinds),
        issuers=issuers,
        login=login,
        identity=(*found.identity, *identity),
        unsent=tuple(each for each in unsent if each is not None),
        forward=fields.flag("forwardAccessToken"),
    )


def _login(world: World, policy: Object, fields: Fields, issuer: str) -> Login | None:
    client, named = _client_id(world, policy, fields), fields.one("clientSecret")
    if named is None:
        fields.complain("policy-client", "names no clientSecret", "clientSecret")
        return None
    value = _held(world, policy, named, "client-secret")
    origin, callback = _redirection(fields)
    provider = fields.one("provider")
    endpoints = tuple(_endpoints(provider)) if provider else ()
    logout = fields.text("logoutPath", LOGOUT) or LOGOUT
    for key, path in (("redirectURL", callback), ("logoutPath", logout)):
        try:
            model.Path(kind=model.PathKind.EXACT, text=path)
        except ConfigError as error:
            fields.complain("policy-path", error.problems[0].message, key, got=path)
            client = None
    scopes, cookie = fields.texts("scopes"), fields.one("cookieConfig")
    same_site = (cookie.text("sameSite", "Lax") if cookie else "Lax") or "Lax"
    if same_site not in ("Lax", "Strict", "None"):
        fields.complain(
            "policy-cookie",
            "is no SameSite",
            "cookieConfig",
            "sameSite",
            got=same_site,
            hint="Lax, Strict or None",
        )
        same_site = "Lax"
    session = model.Session(
        secure=origin is None or origin.startswith("https:"),
        redirection_url=origin,
        redirect_http=origin is not None and origin.startswith("http:"),
        scopes=scopes if "openid" in scopes else ("openid", *scopes),
        refresh="refreshToken" not in fields or fields.flag("refreshToken"),
        cookie_domain=fields.text("cookieDomain"),
        logout_by_get=True,
        same_site=model.SameSite(same_site.lower()),
        where=fields.owner.where(*fields.path),
    )
    if (longest := duration(fields, "defaultRefreshTokenTTL")) is not None:
        session = replace(session, idle=longest, lifetime=longest)
    if (patience := duration(fields, "csrfTokenTTL")) is not None:
        session = replace(session, login_patience=patience)
    session = replace(session, token_lifetime=duration(fields, "defaultTokenTTL"))
    if client is None or value is None:
        return None
    return Login(
        issuer=issuer,
        client_id=client,
        client_secret=value,
        callback=callback,
        logout=logout,
        session=session,
        resources=fields.texts("resources"),
        endpoints=endpoints,
    )


def _say_cookies(policy: Object, fields: Fields | None, found: Terms) -> None:
    """Browsers have one cookie, which tells nothing: its tokens are kept here. So nothing can be taken out of such a cookie."""
    names = {fields.text(key) for key in ("accessToken", "idToken")} - {None} if fields else set()
    if fields is None or not names:
        return
    if any(place.carrier is model.Carrier.COOKIE and place.name in names for place in found.places):
        hint = "leave extractFrom out: a session's access token is verified without it"
        fields.complain(
            "manifest-unsupported", "is not enforced here, where jwt reads such a cookie", hint=hint
        )
        return
    note = "spec.oidc.cookieNames is not used: browsers hold one cookie with the name of a session, and no tokens"
    policy.notes.append(note)
    policy.say("Warning", True, "NotUsed", note)


ENDPOINTS: Final = {
    "authorizationEndpoint": "authorization_endpoint",
    "tokenEndpoint": "token_endpoint",
    "endSessionEndpoint": "end_session_endpoint",
}
"""As a policy names them, and as discovery documents do."""


def _endpoints(provider: Fields) -> Iterator[tuple[str, str]]:
    """Those that the policy gives itself."""
    for key, name in ENDPOINTS.items():
        address = provider.text(key)
        if address is not None and not is_address(address):
            provider.complain("policy-endpoint", "is no http(s) address", key, got=address)
        elif address is not None:
            yield name, address


def _client_id(world: World, policy: Object, fields: Fields) -> str | None:
    """In the policy, or in a Secret."""
    client, reference = fields.text("clientID"), fields.one("clientIDRef")
    if (client is None) == (reference is None):
        fields.complain("policy-client", "names no clientID" if client is None else "names two", "clientID")
        return None
    if reference is None:
        return client
    value = _held(world, policy, reference, "client-id")
    return value.reveal() if value is not None else None


def _held(world: World, policy: Object, reference: Fields, key: str) -> model.Secret | None:
    """What the Secret that is referred to has at the key; None without, which is said."""
    found, why = secret(world, policy, reference)
    value, why = value_in(found, key) if found is not None else (None, why)
    if why is not None:
        hint = "kind Secret, in the policy's namespace or where a ReferenceGrant permits it"
        reference.complain("policy-secret", f"OIDC: {why}", "name", hint=hint)
    return value


def _id_token(fields: Fields) -> tuple[model.IdentityHeader, ...]:
    name = fields.text("header", "") or ""
    if name.lower() == "authorization":
        hint = "another header: Authorization is that of the access token"
        fields.complain("policy-header", "is not where the ID token can go", "header", got=name, hint=hint)
        return ()
    try:
        value = model.RawToken(source=model.Source.ID)
        return (model.IdentityHeader(name=name, value=value, where=fields.owner.where(*fields.path)),)
    except ConfigError as error:
        fields.complain("policy-header", error.problems[0].message, "header", got=name)
        return ()


def _redirection(fields: Fields) -> tuple[str | None, str]:
    """The origin that browsers come back to (None: the one that they came to), and the path there."""
    text = fields.text("redirectURL")
    if text is None:
        return None, CALLBACK
    if text.startswith("%REQ(x-forwarded-proto)%://%REQ(:authority)%/"):
        return None, "/" + text.rpartition("%/")[2]
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or "%" in text:
        hint = "an absolute URL, such as https://app.example.com/oauth2/callback"
        fields.complain(
            "policy-redirect", "is not where a browser could come back to", "redirectURL", got=text, hint=hint
        )
        return None, CALLBACK
    return f"{parts.scheme}://{parts.netloc}", parts.path or "/"
