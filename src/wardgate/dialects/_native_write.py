"""
A policy as `wardgate.yaml`: read(write(policy)) == policy, whichever format the policy came from.

What most routes have in common is said once at the top, and what the reader would assume is not said. Secrets are
references. Not here: quotes and line breaks (`_native_yaml`), the parts of rules (`_native_write_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wardgate import policy as model
from wardgate.dialects import _native_approvals as approvals
from wardgate.dialects._native_edges import old_key_name
from wardgate.dialects._native_rules import BOTH_KINDS, Defaults
from wardgate.dialects._native_write_fields import changed, default, reference
from wardgate.dialects._native_write_rules import (
    Keys,
    duration,
    hosts,
    identity_headers,
    most_common,
    pairs,
    several,
    size,
    tells,
)
from wardgate.dialects._native_yaml import Inline, yaml
from wardgate.policy import Mode, Policy


def write(policy: Policy) -> str:
    """The policy as native YAML."""
    return yaml(_file(policy))


def _file(policy: Policy) -> Keys:
    defaults = _defaults(policy)
    listeners, rules = _listeners(policy, defaults)
    keys = listeners
    if policy.admin is not None:
        keys["admin"] = str(policy.admin)
    keys |= _providers(policy) | _upstreams(policy, defaults)
    if policy.trusted_proxies:
        keys["trusted-proxies"] = list(policy.trusted_proxies)
    keys |= _usual(policy, defaults)
    keys |= _settings(policy)
    return keys | rules | approvals.write(policy)


# --- What is said once ------------------------------------------------------------------------------------------------


def _defaults(policy: Policy) -> Defaults:
    ordinary = approvals.others(policy.listeners, policy.approvals)
    routes = [route for listener in ordinary for host in listener.hosts for route in host.routes]
    asking = [route.credentials for route in routes if route.credentials.mode is not Mode.IGNORED]
    unlisted = [host.fallback for listener in ordinary for host in listener.hosts]
    everyone = tuple(provider.name for provider in policy.providers)
    seen = asking or unlisted
    return Defaults(
        upstream=_usual_upstream(policy, routes),
        kinds=most_common((one.kinds for one in seen), BOTH_KINDS),
        providers=most_common((one.providers for one in seen), everyone),
        identity=most_common((route.identity for route in routes if tells(route)), ()),
        login_redirect=most_common((route.login_redirect for route in routes), True),
        introspect=most_common((one.introspect for one in seen), False),
    )


def _usual_upstream(policy: Policy, routes: list[model.Route]) -> str | None:
    """The only upstream, or the first when it is the one used most: `upstream:` is written for it."""
    if not policy.upstreams:
        return "" if any(listener.forward_auth for listener in policy.listeners) else None
    first = policy.upstreams[0].name
    used = most_common((route.upstream for route in routes), first)
    return first if len(policy.upstreams) == 1 or used == first else None


def _usual(policy: Policy, defaults: Defaults) -> Keys:
    keys: Keys = {}
    accepted: Keys = {}
    if defaults.kinds != BOTH_KINDS:
        accepted["kinds"] = sorted(defaults.kinds)
    if defaults.providers != tuple(provider.name for provider in policy.providers):
        accepted["providers"] = list(defaults.providers)
    if defaults.introspect:
        accepted["introspect"] = True
    if accepted:
        keys["credentials"] = Inline(accepted)
    if not defaults.login_redirect:
        keys["login-redirect"] = False
    if defaults.identity:
        keys["identity-headers"] = identity_headers(defaults.identity)
    return keys


# --- Listeners, providers, upstreams --------------------------------------------------------------------------------


def _listeners(policy: Policy, defaults: Defaults) -> tuple[Keys, Keys]:
    """The listeners, and the rules that the file gives to all of them."""
    found = approvals.others(policy.listeners, policy.approvals)
    if not found:
        return {}, {}
    first = found[0]
    shared = all(listener.hosts == first.hosts for listener in found)
    rules = hosts(first.hosts, defaults) if shared else {}
    if len(found) == 1 and first.name == "main":
        return _listener(first, policy), rules
    named = {
        listener.name: _listener(listener, policy) | ({} if shared else hosts(listener.hosts, defaults))
        for listener in found
    }
    return {"listeners": named}, rules


def _listener(listener: model.Listener, policy: Policy) -> Keys:
    keys: Keys = {"listen": str(listener.address)}
    if listener.tls is not None:
        keys["tls"] = changed(listener.tls)
    if listener.redirect_to_https:
        keys["redirect-to-https"] = True
    if listener.proxy_protocol:
        keys["proxy-protocol"] = True
    if listener.forward_auth is not None and listener.forward_auth.path is None:
        keys["forward-auth"] = Inline({"path": "none"})
    elif listener.forward_auth is not None:
        asked: Keys = {"path": listener.forward_auth.path}
        if listener.forward_auth.only == bool(policy.upstreams):
            asked["only"] = listener.forward_auth.only
        keys["forward-auth"] = Inline(asked)
    return keys


def _providers(policy: Policy) -> Keys:
    if len(policy.providers) == 1:
        provider = policy.providers[0]
        name = {} if provider.name == "default" else {"name": provider.name}
        return {"provider": name | _provider(provider, "CLIENT_SECRET")}
    if not policy.providers:
        return {}
    return {"providers": {one.name: _provider(one, f"{one.name}-client-secret") for one in policy.providers}}


def _provider(provider: model.Provider, secret: str) -> Keys:
    audience: str | list[str] = "unchecked"
    if isinstance(provider.audience, model.Audiences):
        names = provider.audience.any_of
        audience = list(names) if names == ("unchecked",) else several(names)
    keys: Keys = {"issuer": provider.issuer, "audience": audience}
    apart = ("name", "issuer", "audience", "tls", "headers", "client_secret", "authorization_parameters")
    keys |= changed(provider, skip=apart)
    if provider.client_secret is not None:
        keys["client-secret"] = reference(provider.client_secret, secret)
    if provider.tls != model.ClientTls():
        keys["tls"] = changed(provider.tls)
    if provider.authorization_parameters:
        keys["authorization-parameters"] = pairs(provider.authorization_parameters)
    if provider.headers:
        keys["headers"] = pairs(provider.headers)
    return keys


def _upstreams(policy: Policy, defaults: Defaults) -> Keys:
    keys: Keys = {}
    named = list(policy.upstreams)
    if named and defaults.upstream is not None:
        first = named.pop(0)
        form = _upstream(first)
        if first.name == "default":
            keys["upstream"] = form
        else:
            full = form if isinstance(form, dict) else {"endpoints": form}
            keys["upstream"] = {"name": first.name} | full
    if named:
        keys["upstreams"] = {upstream.name: _upstream(upstream) for upstream in named}
    return keys


def _upstream(upstream: model.Upstream) -> str | list[str] | Keys:
    """Its addresses, where nothing else is to be said of it."""
    addresses = several([_address(endpoint, upstream.tls is not None) for endpoint in upstream.endpoints])
    keys = changed(upstream, skip=("name", "endpoints", "tls", "keepalive"))
    if upstream.keepalive is None:
        keys["keep-alive"] = "off"
    elif upstream.keepalive != default(model.Upstream, "keepalive"):
        keys["keep-alive"] = duration(upstream.keepalive)
    if upstream.tls is not None and upstream.tls != model.ClientTls():
        keys["tls"] = changed(upstream.tls)
    return {"endpoints": addresses} | keys if keys else addresses


def _address(endpoint: model.Endpoint, tls: bool) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    usual = 443 if tls else 80
    port = "" if endpoint.port == usual else f":{endpoint.port}"
    return f"{'https' if tls else 'http'}://{host}{port}"


# --- The rest -----------------------------------------------------------------------------------------------------------


def _settings(policy: Policy) -> Keys:
    keys: Keys = {}
    if policy.upstream_headers:
        keys["upstream-headers"] = pairs(policy.upstream_headers)
    if policy.response_headers:
        keys["response-headers"] = pairs(policy.response_headers)
    keys |= changed(
        policy,
        only=("compression", "access_log", "expose_reasons", "errors"),
    )
    if policy.request_id != model.RequestId():
        keys["request-id"] = policy.request_id.header
    if policy.limits != model.Limits():
        keys["limits"] = _limits(policy.limits)
    if policy.endpoints != model.Endpoints():
        keys["endpoints"] = changed(policy.endpoints)
    if policy.session is not None:
        keys["session"] = _session(policy.session)
    return keys


def _limits(limits: model.Limits) -> Keys:
    keys = changed(limits, skip=("header_kib", "headers_count", "body_bytes", "headers_timeout"))
    usual = model.Limits()
    if limits.header_kib != usual.header_kib:
        keys["header-size"] = f"{limits.header_kib}KiB"
    if limits.headers_count != usual.headers_count:
        keys["header-count"] = limits.headers_count
    if limits.headers_timeout != usual.headers_timeout:
        keys["header-timeout"] = duration(limits.headers_timeout)
    if limits.body_bytes is not None:
        keys["body"] = size(limits.body_bytes)
    return keys


_COOKIE: Final[Mapping[str, str]] = {
    "cookie_name": "name",
    "cookie_domain": "domain",
    "cookie_path": "path",
    "secure": "secure",
    "same_site": "same-site",
    "persistent": "persistent",
}
_APART: Final = (
    "store_url",
    "store_tls",
    "store_cluster",
    "in_cookies",
    "encryption_key",
    "old_encryption_keys",
    "attested",
    "websockets",
    "login_parameters",
    "pages",
    "page_values",
)


def _session(session: model.Session) -> Keys:
    keys: Keys = {}
    cookie = {
        _COOKIE[key.replace("-", "_")]: value for key, value in changed(session, only=tuple(_COOKIE)).items()
    }
    if cookie:
        keys["cookie"] = cookie
    store = _store(session)
    if store is not None:
        keys["store"] = store
    if session.encryption_key is not None:
        keys["encryption-key"] = reference(session.encryption_key, "encryption-key")
    if session.old_encryption_keys:
        keys["old-encryption-keys"] = [
            reference(key, old_key_name(index)) for index, key in enumerate(session.old_encryption_keys)
        ]
    if session.attested != default(model.Session, "attested"):
        keys["remembered"] = duration(session.attested)
    if session.websockets != default(model.Session, "websockets"):
        keys["websocket-limit"] = duration(session.websockets)
    keys |= changed(session, skip=(*_COOKIE, *_APART))
    if session.login_parameters:
        keys["login-parameters"] = [_login_parameter(one) for one in session.login_parameters]
    if session.pages:
        keys["pages"] = pairs(session.pages)
    if session.page_values:
        keys["page-values"] = pairs(session.page_values)
    return keys


def _store(session: model.Session) -> str | Keys | None:
    url: str | None = "cookie" if session.in_cookies else None
    if session.store_url is not None:
        url = reference(session.store_url, "store-url")
    if session.store_tls is None and not session.store_cluster:
        return url
    keys: Keys = {"url": url} if url is not None else {}
    if session.store_cluster:
        keys["cluster"] = True
    if session.store_tls is not None:
        keys["tls"] = changed(session.store_tls)
    return keys


def _login_parameter(parameter: model.LoginParameter) -> str | Keys:
    keys = changed(parameter, skip=("name",))
    return Inline({"name": parameter.name, **keys}) if keys else parameter.name
