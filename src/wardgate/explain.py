"""
A decision in words: what `wardgate explain` prints.

Text only: the decision comes from `wardgate.decision`, the credential from whoever verified it. The token itself
never appears, also where the upstream would get it; the values of claims do, that is what they are looked at for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from wardgate.decision import Decision, Outcome, Request, Step
from wardgate.decision.model import ENDPOINT
from wardgate.policy import RawToken
from wardgate.principal import Anonymous, Credential, Principal, Rejected

_MEANING = {
    Outcome.ALLOW: "allowed",
    Outcome.REDIRECT: "redirected",
    Outcome.REFUSE: "refused before any rule",
    Outcome.REJECT: "rejected: no valid credential for this rule",
    Outcome.DENY: "denied: the caller lacks the right",
    Outcome.NOT_FOUND: "nothing is served here",
    Outcome.FAIL: "cannot be told now",
}


def explain(request: Request, credential: Credential, decision: Decision) -> str:
    """The decision as text of several lines: each step with its place, the answer, what the upstream gets."""
    return "\n".join(_lines(request, credential, decision)) + "\n"


def _lines(request: Request, credential: Credential, decision: Decision) -> Iterator[str]:
    yield f"{_printable(request.method)} {request.scheme}://{_printable(request.host + request.target)}"
    yield f"as {describe_credential(credential)}"
    yield ""
    for step in decision.steps:
        yield _step(step)
    yield ""
    yield f"{decision.status} {_meaning(decision)}"
    place = f" at {decision.where}" if str(decision.where) else ""
    yield f"rule {decision.rule} [{decision.reason}]{place}"
    if decision.location is not None:
        yield f"to {_printable(decision.location)}"
    if decision.login:
        yield f"to the login at {', '.join(map(_printable, decision.login))}"
    if decision.upstream is not None:
        yield from _forwarded(request, decision)


def _meaning(decision: Decision) -> str:
    if decision.login:
        return "redirected: who navigates without a session is asked to log in"
    if decision.rule == ENDPOINT and decision.outcome is Outcome.ALLOW:
        return "or whatever the gateway's own endpoint answers"
    return _MEANING[decision.outcome]


def _step(step: Step) -> str:
    mark = "yes" if step.passed else "no "
    seen = f", saw {_printable(step.seen)}" if step.seen else ""
    place = f"  ({step.where})" if str(step.where) else ""
    return f"  {mark}  {_printable(step.text)}{seen}{place}"


def _forwarded(request: Request, decision: Decision) -> Iterator[str]:
    yield f"upstream {decision.upstream}"
    if decision.body_limit is not None:
        yield f"bodies up to {decision.body_limit} bytes, else 413"
    if decision.route is not None and decision.route.require_grant:
        yield "with a grant for exactly this request (X-AIP-Authorization), which it spends, else 403"
    own = request.value("authorization")
    if decision.authorization not in (None, own):
        yield "  Authorization: Bearer [the token]"
    if own is not None and decision.authorization is None:
        yield "  Authorization is not sent: nobody has looked at it"
    identity = decision.route.identity if decision.route else ()
    tokens = {header.name for header in identity if isinstance(header.value, RawToken)}
    for name, value in decision.identity:
        yield f"  {name}: {'[the token]' if name in tokens else _printable(value)}"
    sent = {name for name, _ in decision.identity}
    for name in (header.name for header in identity if header.name not in sent):
        yield f"  {name} is not sent: no such claim"


def describe_credential(credential: Credential) -> str:
    """Who the caller is, in a line."""
    match credential:
        case Anonymous():
            return "anonymous"
        case Rejected(reason=reason, kind=kind):
            return f"a {kind} that was refused [{reason}]"
        case Principal():
            subject = credential.claim(("sub",))
            name = _printable(subject) if isinstance(subject, str) else "no subject"
            return f"{name} ({credential.kind} of {credential.provider})"
        case _:
            assert_never(credential)


def _printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters and the like are escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
