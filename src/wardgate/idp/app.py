"""
The development identity provider over HTTP: Keycloak's addresses and answers.

    /realms/R/.well-known/openid-configuration
    /realms/R/protocol/openid-connect/{token,token/introspect,revoke,userinfo,certs,ext/par/request}
    what browsers see: browser.py;     what tests turn (not Keycloak's, below /realms/R/-/): controls.py

all below an optional base path such as `/auth`. What is not answered is not advertised.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wardgate.idp import forms
from wardgate.idp.authorization import PushedRequests
from wardgate.idp.browser import Browser
from wardgate.idp.client_authentication import ALGORITHMS
from wardgate.idp.controls import Controls, Traffic
from wardgate.idp.provider import Provider
from wardgate.idp.refusals import OAuthRefusal
from wardgate.idp.signing_out import SigningOut

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
NO_CACHE = {"cache-control": "no-cache"}

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    provider: Provider, traffic: Traffic, signing_out: SigningOut, base_path: str = ""
) -> Starlette:
    """The ASGI application that serves one provider's realm."""
    pushed = PushedRequests(provider.realm)
    site = _Site(provider, traffic, pushed)
    browser = Browser(provider, traffic, pushed, signing_out)
    controls = Controls(provider, traffic, signing_out)
    realm = f"{base_path}/realms/{{realm}}"
    protocol = f"{realm}/protocol/openid-connect"
    table: tuple[tuple[str, Endpoint, list[str]], ...] = (
        (realm, site.about, ["GET"]),
        (f"{realm}/.well-known/openid-configuration", site.discovery, ["GET"]),
        (f"{protocol}/certs", site.certs, ["GET"]),
        (f"{protocol}/token", site.token, ["POST"]),
        (f"{protocol}/token/introspect", site.introspect, ["POST"]),
        (f"{protocol}/revoke", site.revoke, ["POST"]),
        (f"{protocol}/ext/par/request", site.push, ["POST"]),
        (f"{protocol}/userinfo", site.userinfo, ["GET", "POST"]),
        (f"{protocol}/auth", browser.authorize, ["GET", "POST"]),
        (f"{realm}/login-actions/authenticate", browser.authenticate, ["GET", "POST"]),
        (f"{protocol}/logout", browser.log_out, ["GET", "POST"]),
        (f"{protocol}/logout/logout-confirm", browser.confirm, ["POST"]),
        (f"{realm}/-/rotate", controls.rotate, ["POST"]),
        (f"{realm}/-/retire", controls.retire, ["POST"]),
        (f"{realm}/-/end-sessions", controls.end_sessions, ["POST"]),
        (f"{realm}/-/counts", controls.counts, ["GET"]),
        (f"{realm}/-/slow", controls.slow, ["POST"]),
    )
    routes = [Route(path, _guarded(provider, endpoint), methods=methods) for path, endpoint, methods in table]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error})


def _guarded(provider: Provider, endpoint: Endpoint) -> Endpoint:
    """Refuse other realms, and turn a refusal into its answer."""

    async def answer(request: Request) -> Response:
        if request.path_params["realm"] != provider.realm.name:
            return JSONResponse({"error": "Realm does not exist"}, 404)
        try:
            return await endpoint(request)
        except OAuthRefusal as refused:
            return _refusal(refused)

    return answer


class _Site:
    """The endpoints that programs ask; one method an address."""

    def __init__(self, provider: Provider, traffic: Traffic, pushed: PushedRequests) -> None:
        self.provider = provider
        self.traffic = traffic
        self.pushed = pushed

    async def about(self, _: Request) -> Response:
        issuer = self.provider.issuer
        key = base64.b64encode(self.provider.keys.active.as_der()).decode()
        protocol = f"{issuer}/protocol/openid-connect"
        body = {"realm": self.provider.realm.name, "public_key": key, "token-service": protocol}
        return JSONResponse(body, headers=NO_CACHE)

    async def discovery(self, _: Request) -> Response:
        await self.traffic.arrived("discovery")
        return JSONResponse(_discovery(self.provider), headers=NO_CACHE)

    async def certs(self, _: Request) -> Response:
        await self.traffic.arrived("certs")
        return JSONResponse(self.provider.keys.jwks(), headers=NO_CACHE)

    async def token(self, request: Request) -> Response:
        form = await forms.form(request)
        await self.traffic.arrived("token", form.get("grant_type", ""))
        # Keycloak's order: what is asked, then who asks.
        if not form.get("grant_type"):
            raise OAuthRefusal(400, "invalid_request", "Missing form parameter: grant_type")
        client = self.provider.client(forms.credentials(request, form))
        if form.repeated:
            raise OAuthRefusal(400, "invalid_request", "duplicated parameter")
        address = request.client.host if request.client else "127.0.0.1"
        return JSONResponse(self.provider.token(client, form, address), headers=NO_STORE)

    async def introspect(self, request: Request) -> Response:
        await self.traffic.arrived("introspect")
        form = await forms.form(request)
        client = self.provider.client(forms.credentials(request, form))
        if "token" not in form:
            raise OAuthRefusal(400, "invalid_request", "Token not provided.")
        answer = self.provider.introspect(client, form["token"], form.get("token_type_hint", ""))
        return JSONResponse(answer, headers=NO_CACHE)

    async def revoke(self, request: Request) -> Response:
        await self.traffic.arrived("revoke")
        form = await forms.form(request)
        client = self.provider.client(forms.credentials(request, form))
        if "token" not in form:
            raise OAuthRefusal(400, "invalid_request", "Token not provided")
        self.provider.revoke(client, form["token"])
        return Response(headers=NO_STORE)

    async def push(self, request: Request) -> Response:
        """Pushed authorization requests (RFC 9126)."""
        await self.traffic.arrived("par")
        form = await forms.form(request)
        try:
            client = self.provider.client(forms.credentials(request, form))
        except OAuthRefusal as refused:
            raise OAuthRefusal(401, "invalid_request", "Authentication failed.") from refused
        answer = self.pushed.push(client, form, self.provider.clock(), repeated=form.repeated)
        return JSONResponse(answer, 201, headers=NO_STORE)

    async def userinfo(self, request: Request) -> Response:
        await self.traffic.arrived("userinfo")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = (await forms.form(request)).get("access_token", "")
        challenge = f'Bearer realm="{self.provider.realm.name}"'
        if not token:
            return Response(status_code=401, headers=NO_STORE | {"www-authenticate": challenge})
        try:
            return JSONResponse(self.provider.userinfo(token.strip()), headers=NO_STORE)
        except OAuthRefusal as refused:
            challenge += f', error="{refused.error}", error_description="{refused.description}"'
            return Response(status_code=refused.status, headers=NO_STORE | {"www-authenticate": challenge})


def _refusal(refused: OAuthRefusal) -> Response:
    body = {"error": refused.error} | (
        {"error_description": refused.description} if refused.description else {}
    )
    return JSONResponse(body, refused.status, headers=NO_STORE)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"error": f"HTTP {error.status_code} {error.detail}"}, error.status_code, headers=error.headers
    )


def _discovery(provider: Provider) -> dict[str, Any]:
    protocol = f"{provider.issuer}/protocol/openid-connect"
    scopes = {"openid", *provider.realm.scopes}
    methods = ["private_key_jwt", "client_secret_basic", "client_secret_post"]
    authentication = {
        f"{endpoint}_endpoint_auth_{name}": value
        for endpoint in ("token", "introspection", "revocation")
        for name, value in (
            ("methods_supported", methods),
            ("signing_alg_values_supported", list(ALGORITHMS)),
        )
    }
    return {
        "issuer": provider.issuer,
        "authorization_endpoint": f"{protocol}/auth",
        "token_endpoint": f"{protocol}/token",
        "introspection_endpoint": f"{protocol}/token/introspect",
        "userinfo_endpoint": f"{protocol}/userinfo",
        "end_session_endpoint": f"{protocol}/logout",
        "revocation_endpoint": f"{protocol}/revoke",
        "pushed_authorization_request_endpoint": f"{protocol}/ext/par/request",
        "require_pushed_authorization_requests": False,
        "jwks_uri": f"{protocol}/certs",
        "grant_types_supported": ["authorization_code", "client_credentials", "password", "refresh_token"],
        "acr_values_supported": ["0", "1"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "prompt_values_supported": ["none", "login"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "authorization_response_iss_parameter_supported": True,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "frontchannel_logout_supported": True,
        "frontchannel_logout_session_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        **authentication,
        "scopes_supported": sorted(scopes),
        "claims_supported": [
            *("iss", "sub", "aud", "exp", "iat", "auth_time", "name", "given_name", "family_name"),
            *("preferred_username", "email", "acr", "azp", "nonce"),
        ],
    }
