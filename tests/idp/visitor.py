"""
A person with a browser that runs no scripts, and a client that is told of logouts: what a login table needs.

They speak HTTP only, so they cannot tell real Keycloak from the built-in identity provider. Keycloak's cookies are
`Secure` even over http; this browser sends them back, as Chromium does on loopback.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

from tests.idp.login_realm import APP, CLIENTS
from tests.login_page import action_of
from tests.realm import unverified_claims, unverified_header

MAX_STEPS = 5


class Page:
    """What the browser ended up with: a page, or the address of another site that it was sent to."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.headers = answer.headers
        self.text = answer.text
        self.location = answer.headers.get("location", "")

    @property
    def parameters(self) -> dict[str, str]:
        """What the address of the other site says, in its query or its fragment."""
        parts = urlsplit(self.location)
        return dict(parse_qsl(parts.query + "&" + parts.fragment, keep_blank_values=True))

    @property
    def asks(self) -> bool:
        """Whether it is the login form."""
        return self.status == 200 and 'id="kc-form-login"' in self.text

    @property
    def words(self) -> str:
        """What a person reads on it."""
        body = re.sub(r"<(script|style)\b.*?</\1>", " ", self.text, flags=re.S)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())

    @property
    def action(self) -> str:
        """Where its form leads."""
        return action_of(self.text)

    def value(self, name: str) -> str:
        """What a field of its form holds."""
        for tag in re.findall(r"<input\b[^>]*>", self.text):
            if f'name="{name}"' in tag:
                found = re.search(r'value="([^"]*)"', tag)
                return html.unescape(found[1]) if found else ""
        return ""

    @property
    def frames(self) -> list[str]:
        """The addresses of its iframes."""
        return [html.unescape(one) for one in re.findall(r'<iframe[^>]*\bsrc="([^"]+)"', self.text)]


class Visitor:
    """A browser at one issuer. `as_client` speaks for a client, without cookies."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.protocol = f"{issuer}/protocol/openid-connect"
        self.cookies: dict[str, str] = {}
        self._http = httpx.Client(timeout=30)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the browser

    def go(
        self,
        url: str,
        *,
        method: str = "GET",
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Page:
        """Ask, and follow redirects within the issuer."""
        for _ in range(MAX_STEPS):
            answer = self._send(url, method, query, form)
            onward = urljoin(url, answer.headers.get("location", "")) if answer.is_redirect else ""
            if not onward.startswith(self.issuer + "/"):
                return Page(answer)
            url, method, query, form = onward, "GET", None, None
        raise AssertionError(f"redirected without end: {url}")

    def _send(
        self, url: str, method: str, query: Mapping[str, str] | None, form: Mapping[str, str] | None
    ) -> httpx.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookies} if cookies else {}
        answer = self._http.request(method, url, params=query, data=form, headers=headers)
        self._http.cookies.clear()
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if value.strip('"') == "" or "max-age=0" in line.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    def authorize(self, client: str = "web", /, without: tuple[str, ...] = (), **asked: str) -> Page:
        """Ask to log in to a client. `without` leaves parameters out."""
        usual = {"client_id": client, "response_type": "code", "scope": "openid", "state": "st"}
        usual["redirect_uri"] = APP.get(client, APP["web"])
        query = {name: value for name, value in {**usual, **asked}.items() if name not in without}
        return self.go(f"{self.protocol}/auth", query=query)

    def submit(self, page: Page, username: str = "user", password: str = "user-password") -> Page:
        """Fill in the form of a page and send it."""
        form = {"username": username, "password": password, "credentialId": ""}
        return self.go(urljoin(self.issuer, page.action), method="POST", form=form)

    def log_in(self, client: str = "web", /, **asked: Any) -> Page:
        """Ask, and type the password where it is asked for."""
        page = self.authorize(client, **asked)
        return self.submit(page) if page.asks else page

    def code(self, client: str = "web", /, **asked: Any) -> str:
        """A code for a client."""
        page = self.log_in(client, **asked)
        assert "code" in page.parameters, (page.status, page.location, page.words)
        return page.parameters["code"]

    def log_out(self, **parameters: str) -> Page:
        return self.go(f"{self.protocol}/logout", query=parameters)

    def is_logged_in(self) -> bool:
        """Whether a client would get a code without a form."""
        page = self.authorize(prompt="none")
        assert page.parameters.get("error", "login_required") == "login_required", page.location
        return "code" in page.parameters

    # -- the client

    def as_client(self, endpoint: str, client: str = "web", /, **form: str | None) -> httpx.Response:
        """POST to an endpoint with the client's credentials; a field that is None is left out."""
        fields = {**CLIENTS.get(client, {"client_id": client}), **form}
        given = {name: value for name, value in fields.items() if value is not None}
        return self._http.post(f"{self.protocol}/{endpoint}", data=given)

    def exchange(self, code: str | None, client: str = "web", /, **form: str | None) -> httpx.Response:
        """A code for tokens."""
        usual = {"grant_type": "authorization_code", "code": code, "redirect_uri": APP.get(client)}
        return self.as_client("token", client, **{**usual, **form})

    def tokens(self, client: str = "web", /, **asked: Any) -> dict[str, Any]:
        """Log in to a client and give the answer of the token endpoint."""
        return dict(self.exchange(self.code(client, **asked), client).raise_for_status().json())

    def refresh(self, tokens: Mapping[str, Any], client: str = "web", /) -> httpx.Response:
        return self.as_client(
            "token", client, grant_type="refresh_token", refresh_token=tokens["refresh_token"]
        )

    def userinfo(self, tokens: Mapping[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return self._http.get(f"{self.protocol}/userinfo", headers=headers)


class Told:
    """A client's back-channel logout endpoint: what was posted to which path, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                told.calls.append((self.path, dict(parse_qsl(body))["logout_token"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def of(self, path: str) -> list[dict[str, Any]]:
        """Headers and claims of the tokens that came to a path: (header, claims) in one dictionary each."""
        return [
            {"header": unverified_header(token), **unverified_claims(token)}
            for called, token in self.calls
            if called == path
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
