"""
What `wardgate token get|decode|verify` does: fetch a token, say what is in it and what is wrong, verify it.

Plain functions that return data, each with one that puts it into words; no command line here. What is wrong with
a token is asked of `wardgate.verify`, so a diagnosis is exactly what the gateway would refuse. Signatures,
secrets and passwords are never printed; a token only by `get`, which is asked for it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from wardgate.keystore import KeySource
from wardgate.policy import ClientTls
from wardgate.problems import ConfigError, Problem, TokenError, Unavailable, Where, shown
from wardgate.service.fetch import Fetched, fetch
from wardgate.service.issuer_http import printable
from wardgate.verify import (
    Discovery,
    Expectation,
    SignedClaims,
    TokenMalformed,
    UnsafeAnyAudience,
    UnverifiedToken,
    diagnose,
    read_discovery,
    read_unverified,
    verify,
)
from wardgate.verify.claims import audiences_of, time_of
from wardgate.verify.discovery import MAX_BYTES, WELL_KNOWN, address_of

TIMEOUT = timedelta(seconds=10)

TIMES = ("iat", "nbf", "exp", "auth_time")

CODES: Mapping[str, str] = {
    "token-request-refused": "The issuer's token endpoint refused the request, and said why.",
    "issuer-address": "The issuer given to a command is not an http(s) address.",
    "token-request-incomplete": "The request for a token lacks what its grant needs.",
}

HINTS: Mapping[str, str] = {
    "token-algorithm": "access tokens are signed with a published key (RS256, ES256, …); a token with HS512 is "
    "Keycloak's refresh token, which is for Keycloak only",
    "token-audience": "in Keycloak, give the client an audience mapper that adds the gateway's audience",
    "token-bound": "turn DPoP or mTLS binding off for this client, or call a service that checks the binding",
    "token-expired": "fetch a new one; if it is new, compare the clocks of the issuer and of this machine",
    "token-issuer": "the provider's issuer must be this token's iss, letter by letter; Keycloak's follows its "
    "hostname setting",
    "token-key-unknown": "the issuer may have rotated its keys, or another realm or server made the token",
    "token-lifetime": "exp is in seconds, not milliseconds; shorten the issuer's access token lifespan",
    "token-malformed": "a JWT is three parts joined by dots; copy it whole, without quotes or line breaks",
    "token-no-expiry": "set an access token lifespan at the issuer",
    "token-not-yet-valid": "the clock of the issuer, or of this machine, is wrong",
    "token-signature": "the token was changed, or another issuer's key of the same name signed it",
    "token-too-old": "log in again",
    "token-type": "send the access_token of the issuer's answer, not its id_token or refresh_token",
}
"""What a person can do about a refusal, by its code."""

_GRANT_HINTS: Mapping[str, str] = {
    "invalid_client": "check the client id; a confidential client needs its secret",
    "invalid_grant": "check the user name and the password; the account may be disabled or not set up",
    "invalid_scope": "the client has no such scope",
    "unauthorized_client": "check the secret; in Keycloak, enable direct access grants (for a password) or "
    "service accounts (for the client's own token)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The issuer's answer. `access_token` is a secret; `answer` is everything, as it came."""

    access_token: str = field(repr=False)
    answer: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the gateway would refuse a token for."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """
    What a token says, not verified, and what would be refused about it at the time `now`.

    `expect` is what it was compared with; without one its own issuer and any audience are accepted.
    """

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    findings: tuple[Finding, ...]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A token that was accepted, and the address whose keys proved it."""

    claims: SignedClaims
    keys_from: str


# -- get


def get(
    issuer: str,
    *,
    client_id: str,
    client_secret: str | None = None,
    username: str | None = None,
    password: str | None = None,
    scope: str = "openid",
    ca: Path | None = None,
) -> Answer:
    """
    A token of a user (password grant, when `username` is given), or of the client itself (client_credentials).

    `issuer` is the issuer or the address of its discovery document. The secret is sent by HTTP Basic.
    Raises ConfigError when the issuer refuses or something is missing, Unavailable when it cannot be asked.
    """
    form = _form(client_secret, username, password, scope)
    with _client(ca) as client:
        endpoint = _discovered(client, issuer).token_endpoint
        if not endpoint:
            raise Unavailable(f"the discovery document of {printable(issuer)} names no token endpoint")
        auth = (
            None if client_secret is None else httpx.BasicAuth(_escaped(client_id), _escaped(client_secret))
        )
        if auth is None:
            form["client_id"] = client_id
        return _answered(_exchange(client, "POST", endpoint, data=form, auth=auth), endpoint)


def _form(secret: str | None, username: str | None, password: str | None, scope: str) -> dict[str, str]:
    if username is None and secret is None:
        hint = "give the client's secret, or a user name and a password"
        raise _refused("token-request-incomplete", "a client without a secret has no token of its own", hint)
    if username is not None and password is None:
        raise _refused("token-request-incomplete", "the password is missing", "give the user's password")
    form = {"grant_type": "client_credentials"}
    if username is not None:
        form = {"grant_type": "password", "username": username, "password": password or ""}
    return form | ({"scope": scope} if scope else {})


def _answered(response: httpx.Response, endpoint: str) -> Answer:
    try:
        body = response.json()
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    if response.status_code == 200 and isinstance(body.get("access_token"), str):
        return Answer(access_token=body["access_token"], answer=body)
    if "error" not in body:
        raise Unavailable(f"{printable(endpoint)} answers {response.status_code} and no token")
    error, words = str(body["error"]), str(body.get("error_description", ""))
    message = f"the issuer refuses: {shown(words or error, 200)}"
    raise _refused("token-request-refused", message, _GRANT_HINTS.get(error, ""), got=shown(error))


def _refused(code: str, message: str, hint: str, got: str = "") -> ConfigError:
    return ConfigError([Problem(code=code, message=message, hint=hint, got=got)])


def _discovered(client: httpx.Client, issuer: str) -> Discovery:
    name = issuer.removesuffix(WELL_KNOWN)
    if urlsplit(name).scheme not in ("http", "https") or not urlsplit(name).hostname:
        hint = "give the issuer as in the token's iss: https://id.example.com/realms/shop"
        raise _refused("issuer-address", "the issuer is not an http(s) address", hint, got=shown(issuer))
    response = _exchange(client, "GET", address_of(name))
    if response.status_code != 200:
        raise Unavailable(f"{printable(address_of(name))} answers {response.status_code}")
    return read_discovery(response.content, issuer=name)


def _client(ca: Path | None) -> httpx.Client:
    """No redirects and nothing from the environment: a secret goes where it was told to go, or nowhere."""
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        problem = Problem(
            code="file-unreadable", message="is no certificate file", where=Where(file=str(ca or ""))
        )
        raise ConfigError([problem]) from error
    return httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT.total_seconds())


def _exchange(client: httpx.Client, method: str, address: str, **what: Any) -> httpx.Response:
    """One bounded exchange. Raises Unavailable."""
    try:
        with client.stream(method, address, headers={"accept": "application/json"}, **what) as response:
            body = b""
            for chunk in response.iter_bytes(16 * 1024):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise Unavailable(f"{printable(address)} answers more than {MAX_BYTES} bytes")
            return httpx.Response(response.status_code, content=body)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise Unavailable(f"{printable(address)} cannot be asked: {error or type(error).__name__}") from error


def _escaped(text: str) -> str:
    """RFC 6749 2.3.1: the parts of a Basic header are form-urlencoded first."""
    return str(httpx.QueryParams({"x": text}))[2:]


# -- decode


def decode(text: str, *, now: datetime, expect: Expectation | None = None) -> Decoded:
    """
    Take a token apart without verifying it, and say what would be refused about it.

    `text` may have `Bearer ` before it and space around it. Raises TokenMalformed, with what the text looks like.
    """
    token = _read(text)
    expected = expect or _own_expectation(token)
    errors = diagnose(token, expect=expected, now=now)
    return Decoded(
        header=token.header,
        claims=token.claims,
        findings=tuple(finding(error) for error in errors),
        now=now,
    )


def finding(error: TokenError) -> Finding:
    """A refusal in words, with what to do."""
    return Finding(code=error.code, message=str(error), hint=HINTS.get(error.code, ""))


def token_text(argument: str) -> str:
    """A token as people paste it, bare: without `Bearer ` and without space around it."""
    stripped = argument.strip()
    scheme, _, rest = stripped.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" and rest else stripped


def _read(text: str) -> UnverifiedToken:
    bare = token_text(text)
    try:
        return read_unverified(bare)
    except TokenMalformed as error:
        parts = bare.count(".") + 1
        if parts == 5:
            raise TokenMalformed(
                "it has five parts: an encrypted token (JWE), only for its audience"
            ) from error
        if parts == 1 and bare:
            raise TokenMalformed("it has no dots: an opaque token, which only its issuer can read") from error
        raise


def _own_expectation(token: UnverifiedToken) -> Expectation:
    """What is asked when nothing is known: nothing of the issuer and the audience, all the rest."""
    issuer = token.claims.get("iss")
    return Expectation(
        issuer=issuer if isinstance(issuer, str) and issuer else "(none)", audiences=UnsafeAnyAudience()
    )


def decoded_text(decoded: Decoded) -> str:
    """What `wardgate token decode` prints."""
    lines = ["header:", *_json_lines(decoded.header), "claims:", *_json_lines(decoded.claims)]
    lines += ["times:", *(f"  {line}" for line in _time_lines(decoded))]
    lines += [f"audience: {_audience_text(decoded.claims)}", ""]
    if decoded.findings:
        lines += ["would be refused:", *(line for one in decoded.findings for line in _finding_lines(one))]
    else:
        lines.append("nothing wrong was found")
    lines.append("The signature was not checked: anybody can write a token that looks like this.")
    return "\n".join(lines) + "\n"


def decoded_json(decoded: Decoded) -> str:
    """The same as one JSON object, for programs."""
    body = {
        "header": decoded.header,
        "claims": decoded.claims,
        "findings": [
            {"code": one.code, "message": one.message, "hint": one.hint} for one in decoded.findings
        ],
        "verified": False,
    }
    return json.dumps(body, indent=2, ensure_ascii=True) + "\n"


def _json_lines(part: Mapping[str, Any]) -> list[str]:
    # ASCII only: a claim may hold characters that rewrite what a terminal shows.
    text = json.dumps(dict(part), indent=2, ensure_ascii=True)
    return [f"  {line}" for line in text.splitlines()]


def _finding_lines(one: Finding) -> list[str]:
    lines = [f"  {one.message} [{one.code}]"]
    return [*lines, f"    hint: {one.hint}"] if one.hint else lines


def _time_lines(decoded: Decoded) -> list[str]:
    found = []
    for name in TIMES:
        try:
            moment = time_of(decoded.claims, name)
        except TokenError:
            found.append(f"{name:<9} {shown(decoded.claims[name])} is not a time")
            continue
        if moment is not None:
            found.append(f"{name:<9} {moment:%Y-%m-%d %H:%M:%S} UTC, {_distance(moment - decoded.now)}")
    return found or ["none"]


def _distance(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    span = str(timedelta(seconds=abs(seconds)))
    return "now" if seconds == 0 else f"in {span}" if seconds > 0 else f"{span} ago"


def _audience_text(claims: Mapping[str, Any]) -> str:
    try:
        return ", ".join(shown(one) for one in audiences_of(claims)) or "none"
    except TokenError as error:
        return str(error)


# -- verify


def verify_with_issuer(
    text: str, *, expect: Expectation, now: datetime, jwks_url: str | None = None, ca: Path | None = None
) -> Verified:
    """
    Verify a token with the keys that its issuer publishes now, found as the gateway finds them.

    Raises the TokenError for which it is refused, or Unavailable when the keys cannot be had.
    """
    token = token_text(text)
    _read(token)  # what is no token is said without asking anybody
    fetched = asyncio.run(fetch(_source(expect.issuer, jwks_url, ca)))
    return _verified(token, fetched, expect, now)


def _source(issuer: str, jwks_url: str | None, ca: Path | None) -> KeySource:
    return KeySource(
        provider="token",
        issuer=issuer,
        discovery=address_of(issuer),
        jwks_url=jwks_url,
        timeout_s=TIMEOUT.total_seconds(),
        tls=ClientTls(ca=None if ca is None else str(ca)),
    )


def _verified(token: str, fetched: Fetched, expect: Expectation, now: datetime) -> Verified:
    claims = verify(token, keys=fetched.keys, expect=expect, now=now)
    return Verified(claims=claims, keys_from=fetched.address)


def verified_text(verified: Verified) -> str:
    """What `wardgate token verify` prints about a good token."""
    claims = verified.claims
    lines = [
        f"valid: signed by {claims.issuer}",
        f"  key       {claims.key_id or 'without a name'}, from {verified.keys_from}",
        f"  subject   {shown(claims.subject)}",
        f"  audience  {', '.join(shown(one) for one in claims.audiences) or 'none'}",
        f"  expires   {claims.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        "claims:",
        *_json_lines(claims.claims),
    ]
    return "\n".join(lines) + "\n"


def refusal_text(error: TokenError) -> str:
    """What is printed about a token that is refused."""
    return "\n".join(["refused:", *_finding_lines(finding(error))]) + "\n"
