"""
What a case about logins and sessions needs before it is sent, and what has to hold after it.

Its placeholders name logins that are on their way, sessions that are in a certain state, and logout tokens. They are made
at the gateway under test by real logins, anew for each turn of a case, each of a person of its own:

  state, code, login_cookie   of a login that has come back from the issuer and was not given to the gateway yet; after a
                              colon which one: `second`, `attacker`, `other` (at another issuer), `used` (it was finished),
                              `recent` and `expired` (the case's own, begun so long ago); a cookie with `|flip` (one letter
                              differs), `|unprefixed`, `|renamed` (it has the name of the case's own login's)
  session                     what the browser holds: `user`, `admin`, `agent`, `other`, `loggedout`, `backchannel`,
                              `needs_refresh`, `demoted`; with `|flip` one letter differs
  logout_token                of a login whose session lives
  sid                         the issuer's name for a login whose session lives
  iss:NAME, planted, approval_id   the issuer of that realm; an id that nobody gave out; an id of something else

Whether a cookie opens anything is told by the application. Source: `placeholders` in the head of the shared case file.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .browser import ORIGIN, SESSION_COOKIE, Browser, cookies_of, location_of, query_of, visit
from .cases import NO_STORE, Case, Request, as_block
from .issuer import OTHER, Grant, Issuer, Plan, changed
from .tokens import AUDIENCE, IDENTITIES, Mint, flipped
from .upstream import Upstream

OPENS = {"user": "/api/v1/items", "admin": "/api/v1/admin/x"}
BRIEF_SECONDS = 4  # of a token that is to run out; the gateway takes none that ends at once
WARM_REQUESTS = 4  # connections, so that each worker of the gateway has seen a session

AGES = {"recent": 540.0, "expired": 660.0}
"""A login may take ten minutes."""

EVENT = "http://schemas.openid.net/event/backchannel-logout"

_STAGED = re.compile(
    r"\{\{(state|code|login_cookie|session|logout_token|sid|iss|planted|approval_id)(?::(\w+))?(?:\|(\w+))?\}\}"
)
_numbers = itertools.count(1)


class StageFailed(Exception):
    """What a case needs could not be made: the gateway does not do what it has to."""


class Target(Protocol):
    """What is needed of the gateway under test and its surroundings."""

    upstream: Upstream
    issuer: Issuer

    def port(self, fixture: str) -> int: ...
    def mint(self, fixture: str) -> Mint: ...
    def path(self, template: str) -> str: ...
    def aged(self, value: str, state: str, by_s: float) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """A login that has come back from the issuer: what the browser would bring to the gateway."""

    browser: Browser
    state: str
    code: str
    back: str
    grant: Grant
    cookie_name: str
    cookie_value: str

    @property
    def cookie(self) -> str:
        return f"{self.cookie_name}={self.cookie_value}"


@dataclass(slots=True)
class Stage:
    """One turn of one case."""

    target: Target
    case: Case
    label: str
    journeys: dict[str, Journey] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    planted: str = ""
    victim: str = ""
    victim_plan: Plan = field(default=Plan())
    logout_token: str = ""
    address: str = ""

    async def filled(self) -> Case:
        """The case with everything of ours in it filled in. Raises StageFailed."""
        self.address = new_address()
        self.target.upstream.answers[self.label] = self.case.application
        case = replace(self.case, request=await self._request())
        return as_block(case) if case.http2 else case

    async def _request(self) -> Request:
        request = self.case.request
        if request.raw:
            raw = request.raw.decode("latin-1") if isinstance(request.raw, bytes) else request.raw
            return replace(request, raw=(await self._fill(raw)).encode("latin-1"))
        headers = [(name, await self._fill(value)) for name, value in request.headers]
        names = {name.lower() for name, _ in headers}
        for name, value in (("X-Forwarded-Proto", "https"), ("X-Forwarded-For", self.address)):
            if name.lower() not in names and self.case.kind == "login":
                headers.append((name, value))
        assert isinstance(request.target, str)
        target, body = await self._fill(request.target), await self._fill(request.body)
        return replace(request, target=target, headers=tuple(headers), body=body)

    async def _fill(self, text: str) -> str:
        text = self.target.path(text)
        while found := _STAGED.search(text):
            value = await self._value(found[1], found[2] or "", found[3] or "")
            text = text[: found.start()] + value + text[found.end() :]
        return text

    async def _value(self, kind: str, name: str, change: str) -> str:
        match kind:
            case "state":
                return (await self._journey(name)).state
            case "code":
                return (await self._journey(name)).code
            case "login_cookie":
                return await self._login_cookie(name, change)
            case "session":
                value = await self._session(name)
                return flipped(value[0]) + value[1:] if change == "flip" else value
            case "logout_token":
                self.logout_token = self.logout_token or await self._logout_token()
                return self.logout_token
            case "iss":
                return self.target.issuer.named(name) if name else self.target.issuer.of(self.case.fixture)
            case "sid":
                await self._victim(self.plan())
                return self.victim_plan.issuer_session
            case "planted":
                self.planted = self.planted or secrets.token_urlsafe(32)
                return self.planted
            case _:
                return secrets.token_urlsafe(32)

    async def _login_cookie(self, name: str, change: str) -> str:
        cookie = (await self._journey(name)).cookie
        match change:
            case "unprefixed":
                return cookie.removeprefix("__Host-")
            case "flip":
                return cookie[:-9] + flipped(cookie[-9]) + cookie[-8:]
            case "renamed":
                return f"{(await self._journey('')).cookie_name}={cookie.partition('=')[2]}"
            case _:
                return cookie

    # --- Logins

    async def _journey(self, name: str) -> Journey:
        own = name in ("", *AGES)
        key = "" if own else name
        if key not in self.journeys:
            provider = OTHER if name == OTHER else ""
            journey = await self._travelled(self.browser(), self.plan(), provider)
            if own:
                journey = self._older(journey)
            self.journeys[key] = journey
            if name == "used":
                await _arrived(journey)
        return self.journeys[key]

    def _older(self, journey: Journey) -> Journey:
        """As if it had begun long ago, where the case says so of its state."""
        texts = [str(self.case.request.target), self.case.request.body]
        texts += [value for _, value in self.case.request.headers]
        for name, seconds in AGES.items():
            if any(f":{name}}}}}" in text for text in texts):
                older = self.target.aged(journey.cookie_value, journey.state, seconds)
                return replace(journey, cookie_value=older)
        return journey

    @property
    def port(self) -> int:
        return self.target.port(self.case.fixture)

    def browser(self) -> Browser:
        """A new one, as its person starts it: without a cookie."""
        return Browser(self.port, f"{self.label}/stage", self.address)

    def plan(self, **changes: Any) -> Plan:
        """The case's plan for somebody who has never been here."""
        values = {**self.case.plan, **changes}
        base = values.setdefault("base", "user")
        values.setdefault("subject", f"{IDENTITIES[base][0]}-{secrets.token_hex(4)}")
        values.setdefault("issuer_session", secrets.token_hex(8))
        return Plan(**values)

    async def _travelled(self, browser: Browser, plan: Plan, provider: str = "") -> Journey:
        """From the beginning of a login to the issuer and back, up to the gateway's door."""
        asked = f"&provider={provider}" if provider else ""
        begun = await browser.get(self.target.path("{{login}}?rd=/landing") + asked)
        leads = location_of(begun)
        if not leads.startswith(self.target.issuer.named("")):
            raise StageFailed(f"a login begins with {begun.said} {leads!r}")
        state = query_of(leads)["state"]
        set_now = {name: value for name, value in cookies_of(begun).items() if value}
        if len(set_now) != 1:
            raise StageFailed(f"a login begins with the cookies {sorted(set_now)}, expected one")
        back = await self.through_issuer(leads, plan)
        code = query_of(back)["code"]
        grant = self.target.issuer.grants[code]
        self.grants.append(grant)
        ((name, value),) = set_now.items()
        return Journey(
            browser=browser,
            state=state,
            code=code,
            back=back,
            grant=grant,
            cookie_name=name,
            cookie_value=value,
        )

    async def through_issuer(self, url: str, plan: Plan) -> str:
        """Sign in at the issuer: where it sends the browser, without our origin."""
        self.target.issuer.plans[query_of(url)["state"]] = plan
        answer = await visit(url)
        back = location_of(answer)
        if not back.startswith(ORIGIN + "/"):
            raise StageFailed(f"the issuer was asked to send the browser to {back!r} ({answer.said})")
        return back.removeprefix(ORIGIN)

    # --- Sessions

    async def _session(self, name: str) -> str:
        if (
            self.case.fixture == NO_STORE
        ):  # nobody can log in; the gateway cannot tell whether this is a session
            return secrets.token_urlsafe(32)
        if name not in self.sessions:
            self.sessions[name] = self.victim = await self._made(name)
            if self.case.state.get("session_ended"):
                await self._warm(self.victim, name)
        return self.sessions[name]

    async def _made(self, name: str) -> str:
        match name:
            case "loggedout":
                return await self._logged_out()
            case "backchannel":
                return await self.logged_out_by_issuer()
            case "needs_refresh":
                browser = await self.logged_in(self.plan(expires_in=BRIEF_SECONDS))
                await _run_out()
                return browser.cookies[SESSION_COOKIE]
            case "demoted":
                plan = self.plan(base="admin", expires_in=BRIEF_SECONDS, refreshed={"base": "user"})
                browser = await self.logged_in(plan)
                await self._warm(browser.cookies[SESSION_COOKIE], "admin")
                await _run_out()
                return browser.cookies[SESSION_COOKIE]
            case _:
                provider, base = (OTHER, "user") if name == OTHER else ("", name)
                browser = await self.logged_in(self.plan(base=base), provider)
                return browser.cookies[SESSION_COOKIE]

    async def logged_in(self, plan: Plan, provider: str = "") -> Browser:
        """A browser with a session. Raises StageFailed."""
        journey = await self._travelled(self.browser(), plan, provider)
        await _arrived(journey)
        return journey.browser

    async def _logged_out(self) -> str:
        browser = await self.logged_in(self.plan())
        held = browser.cookies[SESSION_COOKIE]
        await self._warm(held, "user")
        answer = await browser.post(self.target.path("{{logout}}"), {}, [("Origin", ORIGIN)])
        if answer.said not in (200, 302, 303):
            raise StageFailed(f"a logout is answered {answer.said}")
        return held

    async def logged_out_by_issuer(self) -> str:
        """A session that the issuer has ended. Raises StageFailed."""
        plan = self.plan()
        held = (await self.logged_in(plan)).cookies[SESSION_COOKIE]
        await self._warm(held, "user")
        await self._told(self._signed_logout(plan, {}))
        return held

    async def _warm(self, session: str, who: str) -> None:
        """Let the gateway see a session so often that it remembers it."""
        for _ in range(WARM_REQUESTS):
            if not await self.opens(session, OPENS[who]):
                raise StageFailed(f"a session that has just begun does not open {OPENS[who]}")

    async def opens(self, session: str, path: str = OPENS["user"]) -> bool:
        """Whether a session cookie of this value gets a request to the application."""
        label = f"{self.label}/opens-{next(_numbers)}"
        browser = Browser(self.port, label, self.address, {SESSION_COOKIE: session})
        await browser.get(path, [("Accept", "application/json")])
        return bool(self.target.upstream.of(label))

    # --- Logouts that the issuer tells of

    async def _logout_token(self) -> str:
        """The case's token, of a login that lives; a replayed one has ended another session of that login before."""
        plan = self.plan()
        wanted = json.loads(await self._fill(json.dumps(dict(self.case.logout_token))))
        replayed = wanted.pop("replay", False)
        token = self._signed_logout(plan, wanted)
        if replayed:
            await self.logged_in(plan)
            await self._told(token)
        await self._victim(plan)
        return token

    async def _victim(self, plan: Plan) -> None:
        """Who is to be logged out: their session works, and is known to the gateway where it is to end."""
        self.victim_plan, self.victim = plan, (await self.logged_in(plan)).cookies[SESSION_COOKIE]
        if self.case.state.get("session_ended"):
            await self._warm(self.victim, "user")

    def _signed_logout(self, plan: Plan, wanted: Mapping[str, Any]) -> str:
        """OpenID Connect Back-Channel Logout 1.0, 2.4; with `base` a token of another kind about the same login."""
        mint = self.target.mint(self.case.fixture)
        about = {"sub": plan.subject, "sid": plan.issuer_session}
        if "base" in wanted:
            return mint.token(changed({"claims": about}, wanted))
        claims = {**about, "aud": AUDIENCE, "typ": "Logout", "exp": "now+120", "events": {EVENT: {}}}
        plain: dict[str, Any] = {"header": {"typ": "logout+jwt"}, "claims": claims}
        plain["claims_remove"] = [*wanted.get("claims_remove", ()), "nbf", "azp", "roles", "realm_access"]
        changes = {name: value for name, value in wanted.items() if name != "claims_remove"}
        return mint.token(changed(plain, changes))

    async def _told(self, token: str) -> None:
        told = await self.browser().post(self.target.path("{{backchannel}}"), {"logout_token": token})
        if told.said != 200:
            raise StageFailed(f"a good logout token is answered {told.said}: {told.body[:200]!r}")


def is_staged(case: Case) -> bool:
    """Whether the case names what has to be made first."""
    return case.kind in ("login", "forward_auth")


def new_address() -> str:
    """Where nobody has sent anything from: what is counted by address is counted for one turn of one case."""
    number = next(_numbers)
    return f"198.51.{number // 250 % 250}.{number % 250 + 1}"


async def _arrived(journey: Journey) -> None:
    answer = await journey.browser.get(journey.back)
    if answer.said not in (302, 303) or SESSION_COOKIE not in journey.browser.cookies:
        raise StageFailed(f"a login ends with {answer.said}: {answer.body[:200]!r}")


async def _run_out() -> None:
    """Until a brief token has run out: no guess, so long it was made to hold."""
    await asyncio.sleep(BRIEF_SECONDS)
