"""
Forms of our own pages: what a browser sends, and how it is known that a page of ours made it do so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from wardgate.service.issuer_logout import read_body
from wardgate.service.sealing import FORM, SealBroken, Sealer

MAX_FORM: Final = 16 * 1024
MAX_FIELDS: Final = 20


class FormToken:
    """What a page's form holds so that no other page can send it: for one thing to do, of one session, for a while."""

    def __init__(
        self, what: str, lives_s: float, sealer: Sealer, now: Callable[[], float] = time.time
    ) -> None:
        self._what = what
        self._lives_s = lives_s
        self._sealer = sealer
        self._now = now

    def make(self, session: str) -> str:
        return self._sealer.seal_text(FORM, str(int(self._now())).encode(), f"{self._what} {session}")

    def holds(self, token: str, session: str) -> bool:
        try:
            made = int(self._sealer.open_text(FORM, token, f"{self._what} {session}"))
        except (SealBroken, ValueError):
            return False
        return 0 <= self._now() - made <= self._lives_s


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a POST; none of what is no form, or too large."""
    if request.method != "POST":
        return {}
    body = await read_body(request, MAX_FORM) or b""
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=MAX_FIELDS))
    except ValueError:
        return {}
