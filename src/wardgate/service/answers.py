"""
What logins and logouts answer when it is no redirect: a page for people, a problem document (RFC 9457) for machines.

Nothing that came with a request is printed but through a template that escapes it. Every text is here or in the
templates; where a login goes on or ends is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from wardgate.envoy import names
from wardgate.policy import Provider
from wardgate.policy import Session as Terms
from wardgate.service.asking import Asking
from wardgate.service.diagnosis import Cause, causes
from wardgate.service.pages import Pages

CODES: Mapping[str, str] = {
    "login-state": "A browser came back from an issuer with a login that it had not begun, or not lately, or twice.",
    "login-issuer": "An answer to a login is not from the issuer that was asked, or does not say so (RFC 9207).",
    "login-error": "The issuer answered a login with an error.",
    "login-denied": "The person, or the issuer, refused a login (access_denied).",
    "login-answer": "The answer to a login holds no code, or something twice.",
    "login-clock": "The tokens of a login were over when they came: clocks differ, or they live for seconds.",
    "login-size": "The session of a login does not fit into cookies (`store: cookie`).",
    "login-loop": "A browser completed logins and came back without its session: it does not keep the cookie.",
    "login-provider": "A login was asked for at a provider that is not there.",
    "login-redirection-url": "A login began at an address that the configuration does not name.",
    "login-landing": "A login or a logout was to end at an address where none may end.",
    "login-fields": "A login by password has no user name or no password.",
    "login-foreign": "Another site's page tried to log somebody in by password.",
    "login-slow": "Too many wrong passwords, from one address or for one user name.",
    "password-login-off": "A login by password was tried, and is not enabled.",
    "logout-unfinished": "A session has ended, and Envoy does not say in time that it refuses it.",
    "store-away": "The session store does not answer.",
    "session-over": "There is no such session, or not any more.",
    "credential-missing": "An endpoint that tells who one is was asked without a session and without a token.",
    "credentials-two": "A request has a session and a token, or two sessions: nobody could say whose it is.",
    "endpoint-unknown": "There is no such endpoint below the gateway's prefix.",
    "endpoint-method": "An endpoint does not take this method.",
    "endpoint-body": "The body that was sent to an endpoint is too large.",
    "endpoint-fault": "A fault of the gateway itself at one of its endpoints.",
}
"""What the gateway's own endpoints answer; what the issuer was asked and said is in `oidc.CODES`."""


CHALLENGE: Mapping[str, str] = {"www-authenticate": f'Bearer realm="{names.REALM}"'}
"""For those who bring no credential, or one that is not accepted (RFC 6750, 3)."""


def problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """RFC 9457."""
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, **more}
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


class Answers:
    """Of one session's terms. `logout` is the path where people log out of it."""

    def __init__(self, terms: Terms, pages: Pages, prefix: str, logout: str) -> None:
        self._terms = terms
        self._pages = pages
        self._prefix = prefix
        self._logout = logout

    # --- a login

    def chooser(self, asking: Asking, choices: Sequence[tuple[Provider, str]], to: str) -> Response:
        """`choices`: providers, and where each login begins; `to` is what an e-mail address is sent along with."""
        shown = [{"title": provider.title or provider.name, "url": url} for provider, url in choices]
        values: dict[str, Any] = {"providers": shown}
        if any(provider.email_domains for provider, _ in choices):
            values |= {"email_url": f"{self._prefix}/start", "email_fields": [("to", to)]}
        return self._pages.html("sign-in", request_id=asking.request_id, **values)

    def no_provider(self, asking: Asking) -> Response:
        return self.refused(asking, 400, "login-provider", "There is no such place to sign in at.")

    def no_redirection_url(self, asking: Asking) -> Response:
        cause = Cause(
            title="The gateway does not know its own address.",
            text="It has to tell where you come back to after signing in, and the address that you used is not among "
            "those that it was given.",
            remedy="Set the session's redirection-url to the address that browsers use (https://app.example.com), or "
            "name the hosts exactly.",
        )
        message = "This service is not set up for signing in at this address."
        return self._diagnosis(
            asking,
            400,
            "login-redirection-url",
            [cause],
            message=message,
            title="Signing in does not work here",
        )

    def loop(self, asking: Asking, base: str | None, again: str) -> Response:
        found = causes(self._terms, asking, base)
        return self._diagnosis(asking, 403, "login-loop", found, again_url=again)

    def lost(self, asking: Asking, base: str | None) -> Response:
        """A callback that this browser has no pending login for."""
        found = [
            *causes(self._terms, asking, base),
            Cause(
                title="It was too long ago, or it was used before.",
                text="A sign-in has to be finished within ten minutes, once, and in the browser where it began.",
            ),
        ]
        title, message = "This sign-in cannot be finished", "We do not find the sign-in that this belongs to."
        again = f"{self._prefix}/start"
        return self._diagnosis(
            asking, 400, "login-state", found, title=title, message=message, again_url=again
        )

    def tokens_over(self, asking: Asking) -> Response:
        """The issuer's access token was over when it came."""
        cause = Cause(
            title="Clocks differ, or tokens live too briefly.",
            text="What the sign-in service gave us was over when it arrived.",
            remedy="Compare the clocks of this machine and of the issuer, and let its access tokens live for minutes.",
        )
        return self._diagnosis(
            asking, 403, "login-clock", [cause], message="You were signed in, and it was over at once."
        )

    def session_too_large(self, asking: Asking) -> Response:
        cause = Cause(
            title="Your session does not fit into cookies.",
            text="What the sign-in service says about you (roles and groups, say) is more than the 12 KB that browsers "
            "are given to keep here.",
            remedy="Keep sessions in a Redis, or on this machine (session.store), where they may be of any size; or let "
            "the sign-in service put fewer roles and claims into its tokens.",
        )
        message = "You were signed in, and cannot be kept signed in."
        return self._diagnosis(
            asking, 403, "login-size", [cause], title="Your session is too large", message=message
        )

    def refused(
        self,
        asking: Asking,
        status: int,
        code: str,
        message: str,
        *,
        detail: str = "",
        again: str | None = None,
    ) -> Response:
        """`detail` is what an issuer said: it is shown, escaped, to people only."""
        if not asking.shows_pages:
            return problem(status, code, message)
        return self._pages.html(
            "error",
            status,
            request_id=asking.request_id,
            message=message,
            detail=detail,
            code=code,
            again_url=again,
        )

    def onward(self, asking: Asking, url: str) -> Response:
        return self._pages.html("onward", request_id=asking.request_id, url=url)

    def unavailable(
        self, asking: Asking, code: str, message: str = "", *, again: str | None = None
    ) -> Response:
        headers = {"retry-after": "2"}
        if not asking.shows_pages:
            return problem(503, code, message or "It cannot be told now.", headers)
        answer = self._pages.html(
            "unavailable", 503, request_id=asking.request_id, message=message, again_url=again
        )
        answer.headers.update(headers)
        return answer

    # --- a logout

    def confirm_logout(self, asking: Asking, status: int, fields: Sequence[tuple[str, str]]) -> Response:
        action, at_issuer = self._logout, self._terms.logout_at_issuer
        return self._pages.html(
            "confirm-logout",
            status,
            request_id=asking.request_id,
            action=action,
            fields=list(fields),
            at_issuer=at_issuer,
            back_url="/",
        )

    def logged_out(self, asking: Asking) -> Response:
        return self._pages.html("logged-out", request_id=asking.request_id, again_url=f"{self._prefix}/start")

    # --- parts

    def _diagnosis(
        self, asking: Asking, status: int, code: str, found: Sequence[Cause], **values: Any
    ) -> Response:
        if not asking.shows_pages:
            remedies = [cause.remedy for cause in found if cause.remedy]
            return problem(status, code, " ".join(cause.title for cause in found), remedies=remedies)
        return self._pages.html("diagnosis", status, request_id=asking.request_id, causes=found, **values)
