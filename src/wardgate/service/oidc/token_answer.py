"""
The answer of a token endpoint, as data (RFC 6749, 5.1; OpenID Connect Core 1.0, 3.1.3.3). What its tokens say is
judged elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wardgate.problems import shown
from wardgate.service.issuer_http import Answer, printable
from wardgate.service.oidc.refusals import IssuerAway, LoginRefused
from wardgate.service.oidc.requests import json_object

TOKEN: Final = re.compile(r"[\x21-\x7e]+")
"""What a token is made of (RFC 6749, appendix A.12): it may become a header."""

LONGEST_S: Final = 366 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """`expires_in`: seconds from when it was asked for; None when the issuer does not say."""

    access_token: str = field(repr=False)
    expires_in: float | None
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)


def read_token_answer(answer: Answer) -> TokenAnswer:
    """Raises IssuerAway for what is no answer, LoginRefused for tokens that are not for bearers."""
    content, where = json_object(answer), printable(answer.address)
    access = _token(content, "access_token", where)
    if access is None:
        raise IssuerAway("issuer-answer", f"{where} answers without an access_token")
    kind = content.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise LoginRefused("login-token-type", f"the token_type is {shown(kind)}, expected Bearer")
    return TokenAnswer(
        access_token=access,
        expires_in=_seconds(content, where),
        refresh_token=_token(content, "refresh_token", where),
        id_token=_token(content, "id_token", where),
    )


def _token(content: Mapping[str, Any], name: str, where: str) -> str | None:
    """The token of that name; absent, null and empty are one to issuers."""
    found = content.get(name)
    if found is None or found == "":
        return None
    if not isinstance(found, str) or not TOKEN.fullmatch(found):
        raise IssuerAway("issuer-answer", f"{where} answers with an {name} that is no token")
    return found


def _seconds(content: Mapping[str, Any], where: str) -> float | None:
    """`expires_in`; as text too, for some issuers write it so."""
    found = content.get("expires_in")
    if found is None:
        return None
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,9}", found):
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int | float) or found < 0:
        raise IssuerAway("issuer-answer", f"{where} answers with expires_in {shown(found)}")
    return float(min(found, LONGEST_S))
