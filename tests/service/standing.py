"""
The service's public endpoints as Envoy would ask them, with a browser before them and an issuer of one's own behind.

    async with standing(tmp_path, issuer) as gate:
        browser = gate.browser()
        answer = await browser.log_in("/orders?page=2")

Real endpoints, real store, real issuer over HTTP; in place of Envoy are the headers that it sets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from tests.service.oidc.issuer import OidcIssuer
from wardgate.keystore import KeyStore, source_of
from wardgate.policy import Provider, Secret, Session
from wardgate.service.app import public_app
from wardgate.service.asking import Asking
from wardgate.service.keys import Refreshers
from wardgate.service.runtime import Runtime
from wardgate.service.settings import HostTerms, ServiceSettings

HOST = "https://shop.example"
PAGE = {"accept": "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
OURS = {"sec-fetch-site": "same-origin", "origin": HOST}

KEY = Secret("0123456789abcdef0123456789abcdef", "${KEY}")


class Envoy:
    """Whether it says that it refuses what ended; `asked` is how often it was."""

    def __init__(self) -> None:
        self.refuses = True
        self.asked = 0

    async def __call__(self) -> bool:
        self.asked += 1
        return self.refuses


class Browser:
    """A cookie jar that navigates. `away` is where the last answer sent it."""

    def __init__(self, app: Any, host: str = HOST, address: str = "192.0.2.7") -> None:
        told = {**PAGE, "x-forwarded-proto": urlsplit(host).scheme, "x-forwarded-for": address}
        transport = httpx.ASGITransport(app=app)
        self.http = httpx.AsyncClient(transport=transport, base_url=host, headers=told)

    async def get(self, target: str, **headers: str) -> httpx.Response:
        return await self.http.get(target, headers=_names(headers))

    async def post(self, target: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        return await self.http.post(target, data=form or {}, headers=_names(headers))

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self.http.cookies.jar}

    @property
    def session(self) -> str | None:
        return self.cookies.get("__Host-wardgate-session")

    @property
    def pending(self) -> list[str]:
        return [name for name in self.cookies if name.startswith("__Host-wardgate-login-")]


@dataclass
class Gate:
    runtime: Runtime
    issuer: OidcIssuer
    app: Any
    envoy: Envoy
    refreshers: Refreshers
    browsers: list[Browser] = field(default_factory=list)

    def browser(self, **given: Any) -> Browser:
        found = Browser(self.app, **given)
        self.browsers.append(found)
        return found

    async def started(self, browser: Browser, rd: str = "/orders", **asked: str) -> dict[str, str]:
        """The authorization request of a login that begins."""
        answer = await browser.get(f"/oauth/start?{urlencode({'rd': rd, **asked})}")
        assert answer.status_code == 303, answer.text
        return asked_of(answer)

    def answered(self, request: dict[str, str], **changes: Any) -> str:
        """The callback's path and query after a person has logged in; a change to `...` removes a parameter."""
        code = self.issuer.code(
            nonce=request["nonce"],
            challenge=request.get("code_challenge"),
            redirect_uri=request["redirect_uri"],
        )
        answer = {"code": code, "state": request["state"], "iss": self.issuer.url, **changes}
        return "/oauth/callback?" + urlencode({k: v for k, v in answer.items() if v is not ...})

    async def log_in(self, browser: Browser, rd: str = "/orders", **changes: Any) -> httpx.Response:
        """The answer of the callback."""
        return await browser.get(self.answered(await self.started(browser, rd), **changes))


def asked_of(answer: httpx.Response) -> dict[str, str]:
    """The parameters of the authorization request that an answer sends a browser to."""
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def settings_of(tmp_path: Path, *providers: Provider, session: Session, **fields: Any) -> ServiceSettings:
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "public_socket": str(tmp_path / "public"),
        "control_socket": str(tmp_path / "control"),
        "keys": str(tmp_path / "keys"),
        "state": str(state),
        "providers": providers,
        "session": session,
        "hosts": (HostTerms(names=("shop.example",)),),
    }
    return ServiceSettings(**{**given, **fields})


@asynccontextmanager
async def standing(
    tmp_path: Path,
    issuer: OidcIssuer,
    *,
    providers: tuple[Provider, ...] | None = None,
    settings: dict[str, Any] | None = None,
    **session: Any,
) -> AsyncIterator[Gate]:
    """`session` are fields of the policy's session."""
    keys = KeyStore(tmp_path / "keys")
    keys.prepare()
    refreshers, envoy = Refreshers(keys), Envoy()
    known = providers if providers is not None else (issuer.provider(),)
    refreshers.follow([source_of(provider) for provider in known])
    terms = Session(**{"encryption_key": KEY, **session})
    wanted = settings_of(tmp_path, *known, session=terms, **(settings or {}))
    runtime = Runtime.build(wanted, refreshers=refreshers, refused=lambda _: envoy)
    gate = Gate(runtime, issuer, public_app(lambda: gate.runtime), envoy, refreshers)
    try:
        yield gate
    finally:
        for browser in gate.browsers:
            await browser.http.aclose()
        await gate.runtime.close()
        await refreshers.stop()


def asking(target: str = "/orders", host: str = "shop.example", cookie: str = "", **headers: str) -> Asking:
    """A request as the resolver passes it on."""
    return Asking(
        scheme="https",
        host=host,
        target=target,
        method="GET",
        cookies=cookie.encode("latin-1"),
        headers={**PAGE, **_names(headers)},
        request_id="r-1",
        address="192.0.2.7",
    )


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


Waits = Callable[[], Awaitable[bool]]
