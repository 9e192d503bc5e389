"""
An OpenID provider of one's own, over real HTTP on loopback: right in every answer, and wrong where a test says so.

It is a server of its own making, so it can check what the client sends (PKCE, redirect URI, each client authentication
with joserfc) and lie about what it signs. `code()` begins a login as if a person had logged in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from joserfc.jwk import Key, RSAKey
from joserfc.jws import JWSRegistry

from tests.service.issuer import Server
from wardgate.policy import Audiences, Provider, Secret
from wardgate.verify.compact import encode_base64url

CLIENT, SECRET = "shop:web", "s3cret+/ with: all"
REDIRECT = "https://shop.example/oauth/callback"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Answer = tuple[int, dict[str, str], bytes]
Answering = Callable[["Seen"], Answer]


MAKING = threading.Lock()


def signing_key(kid: str) -> RSAKey:
    """The same in the whole run; two requests at once must not make two."""
    with MAKING:
        return _made(kid)


@cache
def _made(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "alg": "RS256", "use": "sig"})


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]
    connection: int


@dataclass
class Login:
    nonce: str | None = None
    challenge: str | None = None
    redirect_uri: str = REDIRECT
    sub: str = "u-1"


@dataclass
class OidcIssuer:
    """
    `answers` replaces what an endpoint does, by the last part of its path. `id_changes`, `access_changes` and
    `answer_changes` change what the token endpoint gives; a change to `...` removes. `opaque`: access tokens are no JWTs.
    `client_keys` are public keys by which `private-key-jwt` is verified. `seen` is every request.
    """

    secret: str | None = SECRET
    opaque: bool = False
    kid: str = "k1"
    published: list[str] = field(default_factory=lambda: ["k1"])
    answers: dict[str, Answering] = field(default_factory=dict)
    id_changes: dict[str, Any] = field(default_factory=dict)
    id_header: dict[str, Any] = field(default_factory=dict)
    access_changes: dict[str, Any] = field(default_factory=dict)
    answer_changes: dict[str, Any] = field(default_factory=dict)
    discovery_changes: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u-1", "email": "a@shop.example", "team": "red"}
    )
    client_keys: list[Key] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    codes: dict[str, Login] = field(default_factory=dict)
    refresh: dict[str, Login] = field(default_factory=dict)
    pushed: dict[str, dict[str, str]] = field(default_factory=dict)
    jtis: set[str] = field(default_factory=set)
    active: dict[str, dict[str, Any]] = field(default_factory=dict)
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/realms/r"

    def provider(self, **fields: Any) -> Provider:
        given = {
            "name": "own",
            "issuer": self.url,
            "audience": Audiences(any_of=("shop",)),
            "client_id": CLIENT,
            "client_secret": Secret(SECRET, "${SECRET}"),
        }
        return Provider(**{**given, **fields})

    def __enter__(self) -> OidcIssuer:
        self._server = Server(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def asked(self, last: str) -> list[Seen]:
        """The requests to an endpoint, by the last part of its path."""
        return [seen for seen in self.seen if seen.path.partition("?")[0].endswith("/" + last)]

    # -- what it says

    def code(self, **login: Any) -> str:
        code = secrets.token_urlsafe(16)
        self.codes[code] = Login(**login)
        return code

    def mint(
        self, claims: dict[str, Any], header: dict[str, Any] | None = None, key: Key | None = None
    ) -> str:
        """Exactly these claims; `header` over the usual ones, `...` removes one. `alg` none has no signature."""
        members = {"alg": "RS256", "typ": "JWT", "kid": self.kid} | (header or {})
        kept = {name: value for name, value in members.items() if value is not ...}
        text = ".".join(encode_base64url(json.dumps(part).encode()) for part in (kept, claims))
        if kept["alg"] == "none":
            return f"{text}."
        model = JWSRegistry.algorithms[str(kept["alg"])]
        return f"{text}.{encode_base64url(model.sign(text.encode(), key or signing_key(self.kid)))}"

    def access_claims(self, sub: str = "u-1", **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        good = {"iss": self.url, "aud": "shop", "sub": sub, "typ": "Bearer", "iat": now, "exp": now + 300}
        good |= {"realm_access": {"roles": ["user"]}}
        return _changed(good, {**self.access_changes, **changes})

    def id_claims(self, login: Login, access: str, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        digest = hashlib.sha256(access.encode()).digest()[:16]
        good = {"iss": self.url, "aud": CLIENT, "sub": login.sub, "typ": "ID", "iat": now, "exp": now + 300}
        good |= {"auth_time": now, "sid": "s-1", "at_hash": encode_base64url(digest)}
        good |= {"email": "a@shop.example", "email_verified": True}
        if login.nonce is not None:
            good["nonce"] = login.nonce
        return _changed(good, {**self.id_changes, **changes})

    def logout_claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        event = {"http://schemas.openid.net/event/backchannel-logout": {}}
        good = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": secrets.token_hex(8)}
        good |= {"events": event, "sub": "u-1", "sid": "s-1", "typ": "Logout"}
        return _changed(good, changes)

    # -- endpoints

    def discovery(self, _: Seen) -> Answer:
        endpoints = {
            "authorization_endpoint": "auth",
            "token_endpoint": "token",
            "jwks_uri": "certs",
            "userinfo_endpoint": "userinfo",
            "introspection_endpoint": "introspect",
            "end_session_endpoint": "logout",
            "revocation_endpoint": "revoke",
            "pushed_authorization_request_endpoint": "par",
        }
        good = {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in endpoints.items()}}
        return ok(_changed(good, self.discovery_changes))

    def certs(self, _: Seen) -> Answer:
        return ok({"keys": [signing_key(kid).as_dict(private=False) for kid in self.published]})

    def token(self, seen: Seen) -> Answer:
        if not self._client(seen):
            return refused(401, "invalid_client")
        match seen.form.get("grant_type"):
            case "authorization_code":
                login = self.codes.pop(seen.form.get("code", ""), None)
                if login is None or not _proven(login, seen.form):
                    return refused(400, "invalid_grant")
            case "refresh_token":
                login = self.refresh.pop(seen.form["refresh_token"], None)
                if login is None:
                    return refused(400, "invalid_grant")
            case "password":
                login = Login()
                if seen.form.get("password") != "right":
                    return refused(401, "invalid_grant")
            case _:
                return refused(400, "unsupported_grant_type")
        return ok(self.tokens(login))

    def tokens(self, login: Login) -> dict[str, Any]:
        access = secrets.token_urlsafe(24)
        if not self.opaque:
            access = self.mint(self.access_claims(login.sub))
        refresh = secrets.token_urlsafe(24)
        self.refresh[refresh] = login
        good = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": 300,
            "refresh_token": refresh,
            "id_token": self.mint(self.id_claims(login, access), self.id_header),
        }
        return _changed(good, self.answer_changes)

    def userinfo(self, seen: Seen) -> Answer:
        return (
            ok(self.info) if seen.headers.get("authorization", "").startswith("Bearer ") else (401, {}, b"")
        )

    def introspect(self, seen: Seen) -> Answer:
        if not self._client(seen):
            return refused(401, "invalid_client")
        return ok(self.active.get(seen.form["token"], {"active": False}))

    def revoke(self, seen: Seen) -> Answer:
        if not self._client(seen):
            return refused(401, "invalid_client")
        self.refresh.pop(seen.form["token"], None)
        return 200, {}, b""

    def par(self, seen: Seen) -> Answer:
        if not self._client(seen):
            return refused(401, "invalid_client")
        name = "urn:ietf:params:oauth:request_uri:" + secrets.token_urlsafe(16)
        self.pushed[name] = seen.form
        return 201, JSON, json.dumps({"request_uri": name, "expires_in": 60}).encode()

    def _client(self, seen: Seen) -> bool:
        """Who asks has proven to be CLIENT: by exactly one method."""
        basic, form = seen.headers.get("authorization", ""), seen.form
        if "client_assertion" in form:
            return not basic and "client_secret" not in form and self._asserted(form)
        if basic:
            name, _, secret = base64.b64decode(basic.removeprefix("Basic ")).decode().partition(":")
            return "client_secret" not in form and (unquote_plus(name), unquote_plus(secret)) == (
                CLIENT,
                self.secret,
            )
        return form.get("client_id") == CLIENT and form.get("client_secret") == self.secret

    def _asserted(self, form: dict[str, str]) -> bool:
        """RFC 7523, 3: signed by a key of the client, for us, once, for a minute."""
        for key in self.client_keys:
            name = {"RSA": "RS256", "EC": "ES256"}.get(key.key_type, "EdDSA")
            model = JWSRegistry.algorithms["Ed25519" if name == "EdDSA" else name]
            text, _, signature = form["client_assertion"].rpartition(".")
            header, payload = (json.loads(_decoded(part)) for part in text.split("."))
            now = time.time()
            if (
                header["alg"] == name
                and model.verify(text.encode(), _decoded(signature), key)
                and form["client_assertion_type"] == ASSERTION
                and (payload["iss"], payload["sub"], payload["aud"]) == (CLIENT, CLIENT, self.url)
                and now - 5 < payload["iat"] <= now + 1
                and now < payload["exp"] <= now + 61
                and payload["jti"] not in self.jtis
            ):
                self.jtis.add(payload["jti"])
                return True
        return False

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer("GET", {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                self._answer("POST", dict(parse_qsl(body, keep_blank_values=True, strict_parsing=bool(body))))

            def _answer(self, method: str, form: dict[str, str]) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(method, self.path, headers, form, self.client_address[1])
                issuer.seen.append(seen)
                last = self.path.partition("?")[0].rpartition("/")[2]
                name = "discovery" if last == "openid-configuration" else last
                answering = issuer.answers.get(name) or getattr(issuer, name)
                status, extra, content = answering(seen)
                try:
                    self.send_response(status)
                    for header, value in {"content-length": str(len(content)), **extra}.items():
                        self.send_header(header, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the client had enough

            def log_message(self, *_: object) -> None:
                pass

        return Handler


JSON = {"content-type": "application/json"}


def ok(content: Any) -> Answer:
    return 200, JSON, json.dumps(content).encode()


def refused(status: int, error: str, **more: str) -> Answer:
    return status, JSON, json.dumps({"error": error, **more}).encode()


def _changed(good: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (good | changes).items() if value is not ...}


def _proven(login: Login, form: dict[str, str]) -> bool:
    if form.get("redirect_uri") != login.redirect_uri:
        return False
    if login.challenge is None:
        return True
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    return encode_base64url(digest) == login.challenge


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


__all__ = ["CLIENT", "REDIRECT", "SECRET", "Answer", "Login", "OidcIssuer", "Seen", "ok", "refused"]
