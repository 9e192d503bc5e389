"""
What a client asks of the authorization endpoint, checked in Keycloak's order, and requests pushed ahead (RFC 9126).

Until client and redirect URI are known to belong together, an error is a page; after that the browser carries it
back. Only `response_type=code` with `response_mode=query` is done. `kc_idp_hint`, `ui_locales`, `claims` and
`acr_values` are taken and change nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from wardgate.idp.realm import Client, Realm
from wardgate.idp.redirects import allows
from wardgate.idp.refusals import OAuthRefusal, SentBack, Stopped
from wardgate.idp.scopes import read_scopes

REQUEST_URI = "urn:ietf:params:oauth:request_uri:"
PUSHED_LIFESPAN = timedelta(seconds=60)
MAX_PUSHED = 1_000

Parameters = Mapping[str, str]

# RFC 7636 4.1 and 4.2: 43 to 128 unreserved characters.
_PKCE = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_IMPLICIT = frozenset({"token", "id_token"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that may be answered. `max_age` in seconds; `challenge` "" without PKCE."""

    client: Client
    redirect_uri: str
    state: str | None
    nonce: str | None
    scopes: tuple[str, ...]
    challenge: str = ""
    challenge_method: str = ""
    prompt: frozenset[str] = frozenset()
    max_age: int | None = None
    login_hint: str = ""


def read_request(realm: Realm, parameters: Parameters, *, repeated: bool, pushed: bool = False) -> Asked:
    """The request in these parameters. Raises Stopped before the redirect URI is trusted, SentBack after."""
    client = read_client(realm, parameters)
    if any(name in parameters for name in ("request", "request_uri")):
        raise Stopped(400, "Invalid Request")
    max_age = _max_age(parameters)
    uri = parameters.get("redirect_uri", "")
    if not allows(client.login.redirect_uris, uri):
        raise Stopped(400, "Invalid parameter: redirect_uri")
    _check_response(client, parameters)
    if repeated:
        raise SentBack("invalid_request", "duplicated parameter")
    if client.login.pushed_only and not pushed:
        raise SentBack("invalid_request", "Pushed Authorization Request is only allowed.")
    scopes = _scopes(client, parameters)
    challenge, method = _challenge(client, parameters)
    return Asked(
        client=client,
        redirect_uri=uri,
        state=parameters.get("state"),
        nonce=parameters.get("nonce"),
        scopes=scopes,
        challenge=challenge,
        challenge_method=method,
        prompt=frozenset(parameters.get("prompt", "").split()),
        max_age=max_age,
        login_hint=parameters.get("login_hint", ""),
    )


def read_client(realm: Realm, parameters: Parameters) -> Client:
    """The client that a browser comes from. Raises Stopped."""
    client_id = parameters.get("client_id")
    if client_id is None:
        raise Stopped(400, "Invalid Request")
    client = realm.clients.get(client_id)
    if client is None:
        raise Stopped(400, "Client not found.")
    if not client.enabled:
        raise Stopped(400, "Client disabled.")
    if client.bearer_only:
        raise Stopped(403, "Bearer-only applications are not allowed to initiate browser login")
    return client


def _max_age(parameters: Parameters) -> int | None:
    text = parameters.get("max_age")
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise Stopped(400, "Invalid Request")
    return int(text)


def _check_response(client: Client, parameters: Parameters) -> None:
    kind = parameters.get("response_type")
    if kind is None:
        raise SentBack("invalid_request", "Missing parameter: response_type")
    words = set(kind.split())
    if not words or not words <= {"code"} | _IMPLICIT:
        raise SentBack("unsupported_response_type")
    because = "Client is not allowed to initiate browser login with given response_type. {} flow is disabled for the client."
    if words & _IMPLICIT:
        raise SentBack("unauthorized_client", because.format("Implicit"), fragment=True, status=401)
    if not client.login.allowed:
        raise SentBack("unauthorized_client", because.format("Standard"), status=401)
    if parameters.get("response_mode", "query") != "query":
        raise SentBack("invalid_request", "Invalid parameter: response_mode")


def _scopes(client: Client, parameters: Parameters) -> tuple[str, ...]:
    try:
        return read_scopes(client, parameters)
    except OAuthRefusal as refused:
        raise SentBack(refused.error, refused.description) from refused


def _challenge(client: Client, parameters: Parameters) -> tuple[str, str]:
    """RFC 7636 4.3: challenge and method, both "" without."""
    challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
    if client.login.pkce and method is None:
        raise SentBack("invalid_request", "Missing parameter: code_challenge_method")
    if client.login.pkce and method != client.login.pkce:
        words = "Invalid parameter: code challenge method is not matching the configured one"
        raise SentBack("invalid_request", words)
    if challenge is None and method is None:
        return "", ""
    if method not in (None, "plain", "S256"):
        raise SentBack("invalid_request", "Invalid parameter: code_challenge_method")
    if challenge is None:
        raise SentBack("invalid_request", "Missing parameter: code_challenge")
    if not _PKCE.fullmatch(challenge):
        raise SentBack("invalid_request", "Invalid parameter: code_challenge")
    return challenge, method or "plain"


def prove(asked: Asked, verifier: str | None) -> None:
    """RFC 7636 4.6: does the verifier belong to the challenge? Raises OAuthRefusal."""
    if not asked.challenge:
        if verifier is not None:
            words = "PKCE code verifier specified but challenge not present in authorization"
            raise OAuthRefusal(400, "invalid_grant", words)
        return
    if verifier is None:
        raise OAuthRefusal(400, "invalid_grant", "PKCE code verifier not specified")
    if not _PKCE.fullmatch(verifier):
        raise OAuthRefusal(400, "invalid_grant", "PKCE verification failed: Invalid code verifier")
    hashed = (
        base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest())
        .rstrip(b"=")
        .decode("ascii")
    )
    if not hmac.compare_digest(hashed if asked.challenge_method == "S256" else verifier, asked.challenge):
        raise OAuthRefusal(400, "invalid_grant", "PKCE verification failed: Code mismatch")


@dataclass(frozen=True, slots=True)
class _Pushed:
    parameters: Parameters
    client_id: str
    until: datetime


class PushedRequests:
    """Requests that clients pushed and no browser has brought yet. Each is good once, for a minute."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._kept: dict[str, _Pushed] = {}

    def push(
        self, client: Client, parameters: Parameters, now: datetime, *, repeated: bool
    ) -> dict[str, object]:
        """Keep a client's request; the answer names it. Raises OAuthRefusal."""
        if "request_uri" in parameters:
            raise OAuthRefusal(400, "invalid_request", "It is not allowed to include request_uri to PAR.")
        own = {**parameters, "client_id": client.id}
        try:
            read_request(self._realm, own, repeated=repeated, pushed=True)
        except Stopped as stopped:
            raise OAuthRefusal(400, "invalid_request", stopped.words) from stopped
        except SentBack as sent:
            raise _as_refusal(sent) from sent
        self._kept = {name: one for name, one in self._kept.items() if one.until > now}
        if len(self._kept) >= MAX_PUSHED:
            raise OAuthRefusal(503, "temporarily_unavailable", "too many pushed requests")
        name = f"{REQUEST_URI}{uuid.uuid4()}"
        self._kept[name] = _Pushed(own, client.id, now + PUSHED_LIFESPAN)
        return {"request_uri": name, "expires_in": int(PUSHED_LIFESPAN.total_seconds())}

    def brought(self, parameters: Parameters, now: datetime) -> Parameters | None:
        """
        The parameters of the pushed request that a browser brings, None when it brings none.

        Raises Stopped when it is unknown, used, too old or another client's (whose request is then left as it is).
        """
        name = parameters.get("request_uri", "")
        if not name.startswith(REQUEST_URI):
            return None
        kept = self._kept.get(name)
        if kept is None or kept.client_id != parameters.get("client_id") or kept.until <= now:
            raise Stopped(400, "Invalid Request")
        del self._kept[name]
        return kept.parameters


def _as_refusal(sent: SentBack) -> OAuthRefusal:
    """Keycloak answers most of these as `invalid_request` when they are pushed."""
    if sent.status == 401:
        return OAuthRefusal(401, sent.error, sent.description)
    return OAuthRefusal(400, "invalid_request", sent.description or "Unsupported response type")
