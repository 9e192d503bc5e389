"""
What has to hold after a case about logins and sessions was answered: which sessions work, where the browser ends up, how
often the issuer was asked. Each check returns what is wrong; nothing is an empty list.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl, urlsplit

from .browser import HOST, ORIGIN, SESSION_COOKIE, Browser, cookies_of, host_seen, location_of
from .http1 import Answer
from .stage import Stage, StageFailed, new_address

SOON_SECONDS = 2.0
POLL_SECONDS = 0.05


async def aftermath(stage: Stage, answers: Sequence[Answer]) -> list[str]:
    """Everything that is wrong after the answers of one turn."""
    failures = await _sessions(stage, answers)
    failures += await _states(stage, answers)
    failures += await _flow(stage, answers[0])
    return failures + _asked(stage)


async def _sessions(stage: Stage, answers: Iterable[Answer]) -> list[str]:
    """No cookie that an answer sets is a session's, by its name or by what it opens."""
    if not stage.case.must_not.session_created:
        return []
    failures = []
    for answer in answers:
        for name, value in cookies_of(answer).items():
            if value and name.endswith(SESSION_COOKIE.removeprefix("__Host-")):
                failures.append(f"the answer sets {name}")
            if value and await stage.opens(value):
                failures.append(f"the answer's cookie {name} opens a session")
    return failures


async def _states(stage: Stage, answers: Sequence[Answer]) -> list[str]:
    wanted, failures = stage.case.state, []
    if wanted.get("planted_id_invalid"):
        if not stage.planted:
            failures.append("no id was planted")
        elif await stage.opens(stage.planted):
            failures.append("the id that was planted opens a session")
        elif cookies_of(answers[0]).get(SESSION_COOKIE) == stage.planted:
            failures.append("the id that was planted is the session's")
    if "session_ended" in wanted:
        failures += await _end_of_session(stage, wanted["session_ended"])
    if wanted.get("others_logged_out"):
        failures += await _others(stage)
    if wanted.get("logged_in") or wanted.get("planted_id_invalid"):
        session = cookies_of(answers[0]).get(SESSION_COOKIE, "")
        if not session or not await stage.opens(session):
            failures.append("no session that opens anything has begun")
    return failures


async def _end_of_session(stage: Stage, wanted: bool | str) -> list[str]:
    """At once, or `soon`: within the seconds in which the end of a session has to be known everywhere."""
    deadline = time.monotonic() + (SOON_SECONDS if wanted == "soon" else 0)
    while (lives := await stage.opens(stage.victim)) and time.monotonic() < deadline:
        await asyncio.sleep(POLL_SECONDS)
    if lives is not bool(wanted):
        return []
    return [f"the session that this is about {'goes on' if lives else 'has ended'}"]


async def _others(stage: Stage) -> list[str]:
    """What one client did wrong does not keep the issuer from ending a session from elsewhere."""
    stage.address = new_address()
    try:
        lives = await stage.opens(await stage.logged_out_by_issuer())
    except StageFailed as failed:
        return [str(failed)]
    return ["a session that the issuer ended goes on"] if lives else []


async def _flow(stage: Stage, answer: Answer) -> list[str]:
    """A login that begins with this answer ends on the gateway, and no step of it leads elsewhere."""
    wanted = stage.case.flow
    if not wanted or not location_of(answer):
        return []
    try:
        ends = await _end(stage, answer)
    except StageFailed as failed:
        return [str(failed)]
    failures = []
    if host_seen(ends) != HOST and wanted.get("final_location_host") == "gateway":
        failures.append(f"the login ends at {ends!r}")
    whole = ORIGIN + ends if ends.startswith("/") else ends
    if "final_location" in wanted and whole != wanted["final_location"]:
        failures.append(f"the login ends at {ends!r}, expected {wanted['final_location']!r}")
    return failures


async def _end(stage: Stage, answer: Answer) -> str:
    """Where the browser is in the end: that of a login is walked through the issuer first."""
    leads = location_of(answer)
    if not leads.startswith(stage.target.issuer.named("")):
        return leads
    told = [value for name, value in parse_qsl(urlsplit(leads).query) if name == "redirect_uri"]
    if told != [ORIGIN + stage.target.path("{{callback}}")]:
        raise StageFailed(f"the issuer is told to send the browser to {told}")
    browser = Browser(stage.port, f"{stage.label}/stage", stage.address)
    browser.take(answer)
    back = await browser.get(await stage.through_issuer(leads, stage.plan()))
    if not location_of(back):
        raise StageFailed(f"the login that the answer begins ends with {back.said}")
    return location_of(back)


def _asked(stage: Stage) -> list[str]:
    failures = []
    for name, wanted in stage.case.idp.items():
        found = sum(getattr(grant, name) for grant in stage.grants)
        if found != wanted:
            failures.append(f"the issuer counts {found} {name}, expected {wanted}")
    return failures
