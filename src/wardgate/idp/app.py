"""
The development identity provider over HTTP: Keycloak's addresses and answers.

    /realms/R/.well-known/openid-configuration
    /realms/R/protocol/openid-connect/{token,token/introspect,userinfo,certs}
    /realms/R/-/rotate, /realms/R/-/retire       (not Keycloak's: rotate the signing key on demand)

all below an optional base path such as `/auth`. There is no login page, so discovery names no authorization
endpoint: what is not answered is not advertised.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wardgate.idp.provider import BAD_CLIENT, Provider, Refused
from wardgate.idp.realm import Client

MAX_FORM_BYTES = 128 * 1024

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
NO_CACHE = {"cache-control": "no-cache"}

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(provider: Provider, base_path: str = "") -> Starlette:
    """The ASGI application that serves one provider's realm."""
    site = _Site(provider)
    realm = f"{base_path}/realms/{{realm}}"
    protocol = f"{realm}/protocol/openid-connect"
    table: tuple[tuple[str, Endpoint, list[str]], ...] = (
        (realm, site.about, ["GET"]),
        (f"{realm}/.well-known/openid-configuration", site.discovery, ["GET"]),
        (f"{protocol}/certs", site.certs, ["GET"]),
        (f"{protocol}/token", site.token, ["POST"]),
        (f"{protocol}/token/introspect", site.introspect, ["POST"]),
        (f"{protocol}/userinfo", site.userinfo, ["GET", "POST"]),
        (f"{realm}/-/rotate", site.rotate, ["POST"]),
        (f"{realm}/-/retire", site.retire, ["POST"]),
    )
    routes = [Route(path, site.guarded(endpoint), methods=methods) for path, endpoint, methods in table]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error})


class _Site:
    """One method an address; all of them answer for one realm only."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def guarded(self, endpoint: Endpoint) -> Endpoint:
        """Refuse other realms, and turn a refusal into its answer."""

        async def answer(request: Request) -> Response:
            if request.path_params["realm"] != self.provider.realm.name:
                return JSONResponse({"error": "Realm does not exist"}, 404)
            try:
                return await endpoint(request)
            except Refused as refused:
                return _refusal(refused)

        return answer

    async def about(self, _: Request) -> Response:
        issuer = self.provider.issuer
        key = base64.b64encode(self.provider.keys.active.as_der()).decode()
        protocol = f"{issuer}/protocol/openid-connect"
        body = {"realm": self.provider.realm.name, "public_key": key, "token-service": protocol}
        return JSONResponse(body, headers=NO_CACHE)

    async def discovery(self, _: Request) -> Response:
        return JSONResponse(_discovery(self.provider), headers=NO_CACHE)

    async def certs(self, _: Request) -> Response:
        return JSONResponse(self.provider.keys.jwks(), headers=NO_CACHE)

    async def token(self, request: Request) -> Response:
        form = await _form(request)
        # Keycloak's order: what is asked, then who asks.
        if not form.get("grant_type"):
            raise Refused(400, "invalid_request", "Missing form parameter: grant_type")
        client = self._client(request, form)
        if form.repeated:
            raise Refused(400, "invalid_request", "duplicated parameter")
        address = request.client.host if request.client else "127.0.0.1"
        return JSONResponse(self.provider.token(client, form, address), headers=NO_STORE)

    async def introspect(self, request: Request) -> Response:
        form = await _form(request)
        client = self._client(request, form)
        if "token" not in form:
            raise Refused(400, "invalid_request", "Token not provided.")
        return JSONResponse(self.provider.introspect(client, form["token"]), headers=NO_CACHE)

    async def userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            form = await _form(request)
            token = form.get("access_token", "")
        challenge = f'Bearer realm="{self.provider.realm.name}"'
        if not token:
            return Response(status_code=401, headers=NO_STORE | {"www-authenticate": challenge})
        try:
            return JSONResponse(self.provider.userinfo(token.strip()), headers=NO_STORE)
        except Refused as refused:
            challenge += f', error="{refused.error}", error_description="{refused.description}"'
            return Response(status_code=refused.status, headers=NO_STORE | {"www-authenticate": challenge})

    async def rotate(self, request: Request) -> Response:
        _refuse_browsers(request)
        return JSONResponse({"kid": self.provider.keys.rotate(), "published": self._kids()})

    async def retire(self, request: Request) -> Response:
        _refuse_browsers(request)
        self.provider.keys.retire()
        return JSONResponse({"kid": self.provider.keys.kid, "published": self._kids()})

    def _kids(self) -> list[str]:
        return [str(key["kid"]) for key in self.provider.keys.jwks()["keys"] if key["use"] == "sig"]

    def _client(self, request: Request, form: Mapping[str, str]) -> Client:
        """Client authentication by Basic (RFC 6749 2.3.1) or by form fields; Basic wins, as in Keycloak."""
        basic = request.headers.get("authorization", "")
        if basic:
            client_id, secret = _basic(basic)
            if form.get("client_id", client_id) != client_id:
                raise Refused(401, "unauthorized_client", BAD_CLIENT)
            return self.provider.client(client_id, secret)
        return self.provider.client(form.get("client_id", ""), form.get("client_secret"))


class _Form(dict[str, str]):
    """Form fields; the first value of a field that is repeated."""

    repeated = False


async def _form(request: Request) -> _Form:
    """The fields of an urlencoded body; none when the body is of another kind."""
    form = _Form()
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return form
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413)
    try:
        fields = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise Refused(400, "invalid_request", "The form cannot be read") from error
    for name, value in fields:
        form.repeated = form.repeated or name in form
        form.setdefault(name, value)
    return form


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError(scheme)
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError) as error:
        raise Refused(401, "invalid_client", BAD_CLIENT) from error
    if not colon:
        raise Refused(401, "invalid_client", BAD_CLIENT)
    return unquote_plus(client_id), unquote_plus(secret)


def _refuse_browsers(request: Request) -> None:
    """A web page that someone has open must not be able to rotate keys: browsers name their origin on a POST."""
    if "origin" in request.headers:
        raise HTTPException(403)


def _refusal(refused: Refused) -> Response:
    body = {"error": refused.error, "error_description": refused.description}
    return JSONResponse(body, refused.status, headers=NO_STORE)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"error": f"HTTP {error.status_code} {error.detail}"}, error.status_code, headers=error.headers
    )


def _discovery(provider: Provider) -> dict[str, Any]:
    protocol = f"{provider.issuer}/protocol/openid-connect"
    scopes = {"openid", *provider.realm.scopes}
    return {
        "issuer": provider.issuer,
        "token_endpoint": f"{protocol}/token",
        "introspection_endpoint": f"{protocol}/token/introspect",
        "userinfo_endpoint": f"{protocol}/userinfo",
        "jwks_uri": f"{protocol}/certs",
        "grant_types_supported": ["client_credentials", "password", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": sorted(scopes),
        "claims_supported": [
            *("iss", "sub", "aud", "exp", "iat", "auth_time", "name", "given_name", "family_name"),
            *("preferred_username", "email", "acr", "azp"),
        ],
    }
