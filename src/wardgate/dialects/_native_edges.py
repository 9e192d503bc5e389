"""
Listeners' TLS, providers, upstreams, session and limits of the native format, as parts of a policy.

Not their keys (`_native_schema`), nor who may do what (`_native_rules`). What is left out is the model's own default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from wardgate import policy as model
from wardgate.dialects import _native_schema as schema
from wardgate.dialects import _native_schema_rules as rules
from wardgate.dialects._native_place import Building
from wardgate.dialects._native_values import KEY_FORM, KEY_HINT, HostPort, Target, is_key
from wardgate.document import Path
from wardgate.problems import ConfigError, Severity, Where


def given(**values: Any) -> dict[str, Any]:
    """The arguments that are not None: the model's own defaults stand for the others."""
    return {name: value for name, value in values.items() if value is not None}


def address(building: Building, form: HostPort, path: Path) -> model.Address | None:
    where = building.where(path)
    return building.attempt(path, lambda: model.Address(host=form.host, port=form.port, where=where))


def server_tls(form: schema.ServerTls | None) -> model.ServerTls | None:
    if form is None:
        return None
    return model.ServerTls(
        certificate=form.certificate, key=form.key, minimum=form.minimum, client_ca=form.client_ca
    )


def client_tls(building: Building, form: schema.ClientTls | None, path: Path) -> model.ClientTls | None:
    if form is None:
        return None
    if not form.verify:
        building.insecure("the certificate of the other side is not checked", (*path, "verify"))
    return model.ClientTls(
        ca=form.ca,
        certificate=form.certificate,
        key=form.key,
        server_name=form.server_name,
        verify=form.verify,
    )


def pairs(form: Mapping[str, str] | tuple[rules.Pair, ...] | None) -> tuple[tuple[str, str], ...]:
    if form is None:
        return ()
    if isinstance(form, Mapping):
        return tuple(form.items())
    return tuple((pair.name, pair.value) for pair in form)


def headers(
    building: Building,
    form: Mapping[str, str] | tuple[rules.Pair, ...] | None,
    path: Path,
    check: Callable[[str, Where], None] = model.check_header_name,
) -> tuple[tuple[str, str], ...]:
    """Header lines; names and values are what HTTP can carry."""
    found = pairs(form)
    for index, (name, value) in enumerate(found):
        place = (*path, name if isinstance(form, Mapping) else index)
        building.attempt(place, partial(check, name, building.where(place)))
        if any(letter in value for letter in "\r\n\0"):
            building.complain("header-value", "has a line break, which no header value can have", place)
    return found


def _any_header(name: str, where: Where) -> None:
    """What we send ourselves may have any name, Host too."""
    if not model.TOKEN.fullmatch(name):
        raise model.refuse("header-name", "is not a header name", where, name)


def provider(
    building: Building, name: str, form: schema.ProviderKeys, path: Path, secret: str
) -> model.Provider | None:
    """`secret` is what a client secret that stands in the file is called."""
    audience: model.Audiences | model.UncheckedAudience = model.UncheckedAudience()
    if form.audience is not None:
        audience = model.Audiences(any_of=form.audience)
    else:
        building.notes.append(
            f"{building.where((*path, 'audience'))}: the audience of tokens is not checked: "
            f"a token that {form.issuer} made for any other application is accepted"
        )
    client_secret = form.client_secret
    extra = given(
        algorithms=form.algorithms,
        leeway=form.leeway,
        max_lifetime=form.max_lifetime,
        keys_refresh=form.keys_refresh,
        timeout=form.timeout,
        tls=client_tls(building, form.tls, (*path, "tls")),
        client_secret=client_secret and building.secret((*path, "client-secret"), client_secret, secret),
        client_authentication=form.client_authentication,
        email_domains=form.email_domains,
        hosts=form.hosts,
        introspection=form.introspection,
    )
    return building.attempt(
        path,
        lambda: model.Provider(
            name=name,
            issuer=form.issuer,
            audience=audience,
            discovery_url=form.discovery_url,
            jwks_url=form.jwks_url,
            jwks=form.jwks,
            client_id=form.client_id,
            client_key=form.client_key,
            pushed_authorization=form.pushed_authorization,
            acr_values=form.acr_values,
            max_age=form.max_age,
            authorization_parameters=pairs(form.authorization_parameters),
            title=form.title,
            introspection_url=form.introspection_url,
            headers=headers(building, form.headers, (*path, "headers"), _any_header),
            proxy=form.proxy,
            where=building.where(path),
            **extra,
        ),
    )


def upstream(
    building: Building, name: str, form: schema.UpstreamKeys | tuple[Target, ...], path: Path
) -> model.Upstream | None:
    targets = form if isinstance(form, tuple) else form.endpoints
    keys = None if isinstance(form, tuple) else form
    tls = _upstream_tls(building, targets, keys, path)
    extra: dict[str, Any] = {}
    if keys is not None:
        extra = given(
            protocol=keys.protocol,
            connect_timeout=keys.connect_timeout,
            response_timeout=keys.response_timeout,
        )
        extra["preserve_host"] = keys.preserve_host
        if "keep_alive" in keys.model_fields_set:
            extra["keepalive"] = keys.keep_alive
    endpoints = tuple(model.Endpoint(host=target.host, port=target.port) for target in targets)
    where = building.where(path)
    return building.attempt(
        path, lambda: model.Upstream(name=name, endpoints=endpoints, tls=tls, where=where, **extra)
    )


def _upstream_tls(
    building: Building, targets: tuple[Target, ...], keys: schema.UpstreamKeys | None, path: Path
) -> model.ClientTls | None:
    """https endpoints have TLS, http ones have none; one upstream is all the one or all the other."""
    secure = {target.tls for target in targets}
    if len(secure) > 1:
        building.complain("upstream-tls", "has http and https endpoints", path, hint="make it two upstreams")
    written = keys.tls if keys is not None else None
    if written is not None and secure == {False}:
        hint = "write its endpoints with https://, or leave tls out"
        building.complain("upstream-tls", "has tls, and endpoints without it", (*path, "tls"), hint=hint)
    return client_tls(building, written, (*path, "tls")) or model.ClientTls() if True in secure else None


def session(building: Building, form: schema.Session, path: Path) -> model.Session | None:
    secrets = _keys(building, form, path)
    plain = given(
        idle=form.idle,
        lifetime=form.lifetime,
        attested=form.remembered,
        websockets=form.websocket_limit,
        scopes=form.scopes,
        redirect_hosts=form.redirect_hosts,
        on_issuer_outage=form.on_issuer_outage,
    )
    return building.attempt(
        path,
        lambda: model.Session(
            **_cookie(form.cookie),
            **_store(building, form.store, path),
            **secrets,
            **plain,
            redirection_url=form.redirection_url,
            redirect_http=form.redirect_http,
            post_login_path=form.post_login_path,
            post_logout_url=form.post_logout_url,
            pkce=form.pkce,
            refresh=form.refresh,
            verified_email=form.verified_email,
            password_login=form.password_login,
            login_parameters=tuple(_login_parameter(one) for one in form.login_parameters),
            logout_by_get=form.logout_by_get,
            logout_at_issuer=form.logout_at_issuer,
            revocation_url=form.revocation_url,
            forward_authorization=form.forward_authorization,
            pages=pairs(form.pages),
            page_values=pairs(form.page_values),
            where=building.where(path),
        ),
    )


def _login_parameter(form: str | schema.LoginParameter) -> model.LoginParameter:
    if isinstance(form, str):
        return model.LoginParameter(name=form)
    return model.LoginParameter(name=form.name, only=form.only, default=form.default)


def _store(building: Building, form: str | schema.Store | None, path: Path) -> dict[str, Any]:
    """Where sessions are kept: a word, or the address of a Redis."""
    if form is None:
        return {}
    store = schema.Store.model_construct(url=form) if isinstance(form, str) else form
    place: Path = (*path, "store") if isinstance(form, str) else (*path, "store", "url")
    found: dict[str, Any] = {
        "store_tls": client_tls(building, store.tls, (*path, "store", "tls")),
        "store_cluster": store.cluster,
    }
    match store.url:
        case None | "local":
            return found
        case "cookie":
            return {**found, "in_cookies": True}
        case address:
            return {**found, "store_url": building.secret(place, address, "store-url")}


def _keys(building: Building, form: schema.Session, path: Path) -> dict[str, Any]:
    """The key that seals what is kept, and those that did before."""
    found: dict[str, Any] = {}
    if form.encryption_key is not None:
        found["encryption_key"] = _key(
            building, form.encryption_key, (*path, "encryption-key"), "encryption-key"
        )
    if form.old_encryption_keys is not None:
        place: Path = (*path, "old-encryption-keys")
        alone = building.reference(place) is not None
        found["old_encryption_keys"] = tuple(
            _key(building, key, place if alone else (*place, index), old_key_name(index))
            for index, key in enumerate(form.old_encryption_keys)
        )
    return found


def old_key_name(index: int) -> str:
    """What an old key that stands in the file is called."""
    return f"old-encryption-key-{index + 1}"


def _key(building: Building, value: str, path: Path, name: str) -> model.Secret:
    if not is_key(value):
        building.complain("encryption-key", KEY_FORM, path, hint=KEY_HINT)
    return building.secret(path, value, name)


def _cookie(form: schema.Cookie | None) -> dict[str, Any]:
    if form is None:
        return {}
    return given(
        cookie_name=form.name,
        cookie_domain=form.domain,
        cookie_path=form.path,
        secure=form.secure,
        same_site=form.same_site,
        persistent=form.persistent,
    )


def endpoints(form: schema.Endpoints | None) -> model.Endpoints:
    return model.Endpoints(**given(prefix=form.prefix, health=form.health)) if form else model.Endpoints()


def limits(building: Building, form: schema.Limits | None, path: Path) -> model.Limits:
    if form is None:
        return model.Limits()
    header_kib: int | None = None
    if form.header_size is not None:
        header_kib, rest = divmod(form.header_size, 1024)
        if rest or header_kib == 0:
            message, got = "is not a whole number of KiB", f"{form.header_size} bytes"
            building.complain("size-form", message, (*path, "header-size"), got=got, hint="write it as 64KiB")
    return model.Limits(
        body_bytes=form.body,
        **given(
            header_kib=header_kib,
            headers_count=form.header_count,
            connections=form.connections,
            headers_timeout=form.header_timeout,
            idle_timeout=form.idle_timeout,
            drain=form.drain,
        ),
    )


def listener(
    building: Building,
    name: str,
    form: schema.Listener | schema.File,
    hosts: tuple[model.Host, ...],
    path: Path,
    file: schema.File,
) -> model.Listener | None:
    """A listener; `form` is `file` itself where the only one is written at its top."""
    if form.listen is None:
        return None
    make = partial(
        model.Listener,
        name=name,
        address=address(building, form.listen, (*path, "listen")) or REFUSED_ADDRESS,
        tls=server_tls(form.tls),
        redirect_to_https=form.redirect_to_https,
        proxy_protocol=form.proxy_protocol,
        forward_auth=forward_auth(building, form.forward_auth, file, (*path, "forward-auth")),
        where=building.where((*path, "listen")),
    )
    try:
        return make(hosts=hosts)
    except ConfigError as error:
        building.problems.extend(error.problems)
        refused = {problem.where for problem in error.problems}
        return make(hosts=tuple(host for host in hosts if host.where not in refused))


def forward_auth(
    building: Building, form: schema.ForwardAuth | None, file: schema.File, path: Path
) -> model.ForwardAuth | None:
    if form is None:
        return None
    only = proxies_nothing(file) if form.only is None else form.only
    if not file.trusted_proxies:
        message = "nobody is trusted to ask: every question is answered with 403"
        hint = "set trusted-proxies (--trusted-proxies, WARDGATE_TRUSTED_PROXIES) to the networks of the proxies that ask"
        building.complain("forward-auth-trust", message, path, hint=hint, severity=Severity.WARNING)
    by_headers = model.asked_by_headers(endpoints(file.endpoints))
    where = building.where(path)
    return building.attempt(
        path, lambda: model.ForwardAuth(path=form.path, by_headers=by_headers, only=only, where=where)
    )


def proxies_nothing(file: schema.File) -> bool:
    """A file without an upstream: what its listeners do beside answering other proxies has nowhere to go."""
    return file.upstream is None and not file.upstreams


REFUSED_ADDRESS = model.Address(host="0.0.0.0", port=0)  # noqa: S104 - only ever beside a problem
"""Stands in where an address was refused, so that whether the rest fits together can still be said."""


def refused_provider(name: str, number: int) -> model.Provider:
    """Stands in for a provider that was refused: routes may name it without another problem."""
    issuer = f"https://refused.invalid/{number}"
    return model.Provider(name=name, issuer=issuer, audience=model.UncheckedAudience())


def refused_upstream(name: str) -> model.Upstream:
    """Stands in for an upstream that was refused."""
    return model.Upstream(name=name, endpoints=(model.Endpoint(host="refused.invalid", port=0),))
