"""
Requests that we make as our client, and how an issuer's answers to them are read.

Strictly: JSON that every reader reads the same way, an object, and OAuth's errors by their names (RFC 6749, 5.2). What
an issuer says in words is passed on for people only without what we sent it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from wardgate.events import complain
from wardgate.policy import Provider
from wardgate.problems import shown
from wardgate.service.issuer_http import Answer, Form, IssuerHttp, printable
from wardgate.service.oidc.client_authentication import ClientProof
from wardgate.service.oidc.refusals import IssuerAway
from wardgate.verify.strict_json import NotStrictJson, parse

TRY_AGAIN: Final = frozenset({408, 425, 429})
"""Statuses below 500 that say nothing about us or about the grant."""

TEMPORARY: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
"""Errors that say the same, whatever the status (RFC 6749, 4.1.2.1; RFC 8628, 3.5)."""

REMIND_S: Final = 60.0

_ERROR = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class OAuthError(Exception):
    """The issuer refuses what was asked (RFC 6749, 5.2): `error` is its name for it, `message` for people."""

    def __init__(self, error: str, message: str) -> None:
        self.error = error
        self.message = message
        super().__init__(message)


class ClientRequests:
    """Forms that are sent with our proof. `now`: seconds since 1970."""

    def __init__(
        self, provider: Provider, http: IssuerHttp, proof: ClientProof, now: Callable[[], float] = time.time
    ) -> None:
        self._provider = provider
        self._http = http
        self._proof = proof
        self._now = now
        self._complained = float("-inf")

    async def post(self, address: str, form: Form) -> Answer:
        """
        The answer with a status of 2xx.

        Raises OAuthError for what the issuer refuses about the request itself (`invalid_grant`, ...), IssuerAway
        for all else: `client-refused`, loudly, when it is our client that it refuses.
        """
        proof = self._proof.make(self._now())
        sent: Form = {**form, **proof.form}
        answer = await self._http.send("POST", address, form=sent, headers=proof.headers)
        if 200 <= answer.status < 300:
            return answer
        raise self._refusal(answer, sent)

    def client_refused(self, message: str) -> IssuerAway:
        """The problem of an issuer that does not take our client; said once a minute."""
        hint = (
            "check client-id, client-secret and client-authentication, and what this client may at the issuer"
        )
        if time.monotonic() - self._complained > REMIND_S:
            self._complained = time.monotonic()
            data = {"provider": self._provider.name, "code": "client-refused", "hint": hint}
            complain("the issuer refuses our client", problem=message, **data)
        return IssuerAway("client-refused", message, hint)

    def _refusal(self, answer: Answer, sent: Form) -> Exception:
        where = printable(answer.address)
        if answer.status >= 500 or answer.status in TRY_AGAIN:
            return IssuerAway("issuer-status", f"{where} answers {answer.status}")
        error, words = _error_of(answer)
        if error in TEMPORARY or (not error and answer.status not in (400, 401, 403)):
            return IssuerAway("issuer-status", f"{where} answers {answer.status}")
        message = f"{where} answers {answer.status} {error}" + _for_people(words, sent)
        if error == "invalid_grant":
            return OAuthError(error, message)
        return self.client_refused(message)


def json_object(answer: Answer) -> Mapping[str, Any]:
    """The object that an answer holds. Raises IssuerAway."""
    try:
        found = parse(answer.body)
    except NotStrictJson as error:
        message = f"{printable(answer.address)} answers what cannot be read: {error}"
        raise IssuerAway("issuer-answer", message) from error
    if not isinstance(found, dict):
        raise IssuerAway("issuer-answer", f"{printable(answer.address)} answers no JSON object")
    return found


def _error_of(answer: Answer) -> tuple[str, str]:
    try:
        found = json_object(answer)
    except IssuerAway:
        return "", ""
    error, words = found.get("error"), found.get("error_description")
    name = error if isinstance(error, str) and _ERROR.fullmatch(error) else ""
    return name, words if isinstance(words, str) else ""


def _for_people(words: str, sent: Form) -> str:
    """The issuer's words, unless they repeat something that we sent: it may be a secret."""
    values = (one for found in sent.values() for one in ([found] if isinstance(found, str) else found))
    if not words or any(len(value) > 7 and value in words for value in values):
        return ""
    return f": {shown(words, 160)}"
