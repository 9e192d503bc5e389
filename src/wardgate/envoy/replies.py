"""
What a caller reads when the gateway itself answers: problem documents (RFC 9457), or a plain page for a browser.

The first mapper that fits wins. A cause is known by `response.code_details`, which Envoy or RBAC sets, or by the
reason that the guard left in metadata. Text bodies are not escaped by Envoy: nothing that a client sent is put
into HTML, and a request id only when it is plain. Every dialect's bodies stand here from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from wardgate.envoy import EXTENSIONS, Json, agentgateway, aip, names, role_mapping, routes, typed
from wardgate.policy import Errors


class Words(Protocol):
    """How a product that is replaced says things (`role_mapping.py`, `agentgateway.py`)."""

    @property
    def REALM(self) -> str:
        """What its challenges call what they protect."""

    @property
    def FIRST(self) -> tuple[tuple[str, str], ...]:
        """Causes that only it tells apart: an expression in CEL, and the words."""

    def body(self, reason: str, sentence: str) -> Json: ...
    def of_status(self, status: int, title: str, /) -> str: ...
    def form(self, words: str) -> Json: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One stable reason code: its status, and the sentence that the caller reads."""

    code: str
    status: int
    detail: str
    challenge: str | None = None
    """The `error` of `WWW-Authenticate: Bearer` (RFC 6750, 3.1); "" for a challenge without one."""
    scheme: str = "Bearer"


REASONS = {
    reason.code: reason
    for reason in (
        Reason(code="no-credential", status=401, detail="This needs a bearer token.", challenge=""),
        Reason(
            code="credential-malformed",
            status=401,
            detail="The Authorization header is not of the form Bearer TOKEN.",
            challenge="invalid_request",
        ),
        Reason(code="credential-several", status=400, detail="The request carries more than one credential."),
        Reason(
            code="credential-kind",
            status=401,
            detail="This kind of credential is not accepted here.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-malformed",
            status=401,
            detail="The token is not a well-formed JWT.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-critical",
            status=401,
            detail="The token's header has members that are not accepted.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-type",
            status=401,
            detail="The token is not an access token.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-place",
            status=401,
            detail="Tokens of this issuer are not taken from where the token was.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-bound",
            status=401,
            detail="The token is bound to a key and cannot be used as a bearer token.",
            challenge="invalid_token",
        ),
        Reason(code="token-expired", status=401, detail="The token has expired.", challenge="invalid_token"),
        Reason(
            code="token-not-yet-valid",
            status=401,
            detail="The token is not valid yet.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-lifetime",
            status=401,
            detail="The token has no expiry, or is valid for too long.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-signature",
            status=401,
            detail="The token's signature does not verify.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-key-unknown",
            status=401,
            detail="The token is signed with a key that is not known.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-issuer",
            status=401,
            detail="The token comes from an issuer that is not accepted here.",
            challenge="invalid_token",
        ),
        Reason(
            code="token-audience",
            status=401,
            detail="The token was made for another audience.",
            challenge="invalid_token",
        ),
        Reason(
            code="credential-provider",
            status=401,
            detail="The credential comes from a provider, or in a way, that is not accepted here.",
            challenge="invalid_token",
        ),
        Reason(code="session-revoked", status=401, detail="The session has ended.", challenge=""),
        Reason(
            code="origin",
            status=403,
            detail="A page of another site cannot open a WebSocket with this session.",
        ),
        Reason(code="token-invalid", status=401, detail="The token is not valid.", challenge="invalid_token"),
        Reason(
            code="original-incomplete",
            status=400,
            detail=(
                "The headers do not say which request is asked about: set X-Forwarded-Method, -Proto, -Host and -Uri, "
                "or X-Original-URL (with scheme and host) and X-Original-Method."
            ),
        ),
        Reason(
            code="original-several",
            status=400,
            detail="A header that says which request is asked about is there twice, or empty.",
        ),
        Reason(
            code="original-contradiction",
            status=400,
            detail=(
                "The headers name different requests: remove those of X-Forwarded-* and X-Original-* that the asking "
                "proxy does not set itself."
            ),
        ),
        Reason(
            code="not-trusted",
            status=403,
            detail="Only trusted proxies may ask here: set trusted-proxies to the networks that they ask from.",
        ),
        Reason(code="path-unsafe", status=400, detail="The path could be read in more than one way."),
        Reason(
            code="letter-case", status=403, detail="The path is spelled in another letter case than its rule."
        ),
        Reason(
            code="route-again",
            status=403,
            detail="The claims of the caller choose a route of another policy.",
        ),
        Reason(code="guard", status=403, detail="The request could not be checked."),
        Reason(code="forbidden", status=403, detail="You may not do this."),
        Reason(code="api-key-missing", status=401, detail="This needs a client's key."),
        Reason(code="api-key-unknown", status=401, detail="The key is no client's."),
        Reason(
            code="basic-missing",
            status=401,
            detail="This needs a name and a password.",
            scheme="Basic",
            challenge="",
        ),
        Reason(
            code="basic-wrong",
            status=401,
            detail="The name and the password are not known.",
            scheme="Basic",
            challenge="",
        ),
        Reason(code="cross-site", status=403, detail="Only a page of this site may ask for this change."),
        Reason(
            code="external-unavailable",
            status=403,
            detail="The service that decides about this request does not answer.",
        ),
        Reason(code="rate-limited", status=429, detail="Too many requests; try again soon."),
        Reason(
            code="keys-unavailable", status=503, detail="The issuer's keys are not known yet; try again soon."
        ),
        Reason(
            code="body-too-large", status=413, detail="The request's body is larger than is accepted here."
        ),
        Reason(
            code="upstream-unreachable", status=502, detail="The service behind the gateway does not answer."
        ),
        Reason(
            code="upstream-timeout",
            status=504,
            detail="The service behind the gateway did not answer in time.",
        ),
        Reason(
            code="upstream-reset", status=502, detail="The service behind the gateway broke off its answer."
        ),
        Reason(
            code="session-unavailable",
            status=503,
            detail="The credential could not be looked up; try again soon.",
        ),
        Reason(code="unavailable", status=503, detail="This cannot be answered now; try again soon."),
    )
}
"""Why the gateway answered by itself: the `code` of the problem document, the `reason` of the metrics and the log."""

TITLES: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

DETAILS = "response.code_details"

EXTERNAL = f"(!('{names.HOW}' in request.headers) || '{names.CLAIMS}' in request.headers)"
"""Of what ext_authz says: our own service was not asked, or has answered."""


REQUEST_ID_MARK = "~request-id~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page as it was drawn, with REQUEST_ID_MARK where the request's id belongs, and its content security policy."""

    html: str
    security_policy: str


def local_reply_config(
    token_reasons: Mapping[str, str],
    expose: bool,
    sign_in: str | None = None,
    forbidden: Page | None = None,
    errors: Errors = Errors.PROBLEM,
    *,
    described: bool = False,
) -> Json:
    """
    `token_reasons`: Envoy's words for a refused token, by our code's name (`authn.jwt.REASONS`). `described`: there are routes
    with a description as protected resources, in the words of agentgateway.

    `expose` adds the rule that denied to the problem document. `sign_in`: where browsers can start a login. `forbidden`:
    what a person reads who may not do something; None: a plain page.
    """
    causes = _causes(token_reasons)
    if errors is Errors.ROLE_MAPPING:
        words = _in_words(role_mapping, causes, challenges=True)
        return {"mappers": [_good(), _for_nginx(), *_from_service(), *words]}
    if errors is Errors.AIP:
        return {"mappers": [_good(), *_from_service(), *_in_words(aip, causes, challenges=True, gone=503)]}
    if errors is Errors.AGENTGATEWAY:
        words = _in_words(agentgateway, causes, challenges=False)
        if described:
            words = [*_of_described(causes), *words]
        return {"mappers": [_good(), _from_theirs(), *words, *_from_service()]}
    json_mappers = [
        _mapper(expression, REASONS[code], _problem(REASONS[code], expose)) for expression, code in causes
    ]
    pages = [
        _drawn(forbidden, expression)
        if code == "forbidden" and forbidden is not None
        else _mapper(expression, REASONS[code], _page(REASONS[code].status, code, sign_in), browser=True)
        for expression, code in causes
    ]
    by_status = [_status_mapper(status) for status in TITLES]
    page_by_status = [_status_mapper(status, browser=True) for status in TITLES]
    return {
        "mappers": [
            _good(),
            _for_nginx(),
            *_from_service(),
            *pages,
            *page_by_status,
            *json_mappers,
            *by_status,
        ]
    }


def _drawn(page: Page, expression: str) -> Json:
    text = page.html.replace("%", "%%").replace(REQUEST_ID_MARK, "%REQ(X-REQUEST-ID)%")
    body = {"text_format_source": {"inline_string": text}, "content_type": "text/html; charset=utf-8"}
    headers = {
        "content-security-policy": page.security_policy.replace("%", "%%"),
        "cache-control": "no-store",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    mapper = _mapper(expression, REASONS["forbidden"], body, browser=True)
    added = [{"header": {"key": k, "value": v}, "append_action": OVERWRITE} for k, v in headers.items()]
    return {**mapper, "headers_to_add": added}


OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"


def _good() -> Json:
    """Our own 200 stays as it is. First, as it is what other proxies are told most: each mapper costs a microsecond."""
    comparison = {"op": "EQ", "value": {"default_value": 200, "runtime_key": "wardgate.unset"}}
    return {"filter": {"status_code_filter": {"comparison": comparison}}}


def _for_nginx() -> Json:
    """
    nginx takes 401 and 403 for an answer to its question, and makes 500 of anything else. It does not read the body.
    """
    asked = f"'{names.DECIDES}' in request.headers && request.headers['{names.DECIDES}'] in ['as-nginx', 'unclear']"
    other = "response.code >= 300 && !(response.code in [401, 403])"
    body = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}
    return {
        "filter": _when(f"{asked} && {other}"),
        "status_code": 403,
        "body_format_override": body,
    }


def _when(expression: str) -> Json:
    kind = EXTENSIONS + "access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": {"name": "cause", "typed_config": typed(kind, expression=expression)}}


def _in_words(product: Words, causes: list[tuple[str, str]], challenges: bool, gone: int = 502) -> list[Json]:
    """
    In the words of a product that is replaced, to browsers, too. `gone`: the status where the upstream does not answer.
    """
    first = [
        {"filter": _when(expression), "body_format_override": product.form(words)}
        for expression, words in product.FIRST
    ]
    rest = []
    for expression, code in causes:
        reason = REASONS[code]
        if not challenges and reason.scheme == "Bearer":
            reason = replace(reason, challenge=None)
        if reason.status == 502:
            reason = replace(reason, status=gone)
        rest.append(_mapper(expression, reason, product.body(code, reason.detail), realm=product.REALM))
    by_status = [
        {**_status_mapper(status), "body_format_override": product.form(product.of_status(status, title))}
        for status, title in TITLES.items()
    ]
    return [*first, *rest, *by_status]


def _of_described(causes: list[tuple[str, str]]) -> list[Json]:
    """Where a route has a description as a protected resource: 401 says where (RFC 9728, 5.1)."""
    route = f"'{names.DESCRIBED_AT}' in xds.route_metadata.filter_metadata['{names.METADATA}']"
    path = f"%METADATA(ROUTE:{names.METADATA}:{names.DESCRIBED_AT})%"
    value = f'Bearer resource_metadata="{routes.ASKED_ORIGIN}{path}"'
    header = {"header": {"key": "www-authenticate", "value": value}, "append_action": OVERWRITE}
    return [
        {
            "filter": _when(f"{route} && ({expression})"),
            "status_code": 401,
            "body_format_override": agentgateway.AS_RESOURCE,
            "headers_to_add": [header],
        }
        for expression, code in causes
        if REASONS[code].status == 401
    ]


def _from_service() -> list[Json]:
    """What the service answers in our place stays as it is: a page where one was asked for, else a document."""
    answered = _when(f"{DETAILS} == 'ext_authz_denied'")
    body = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}
    page = {**body, "content_type": "text/html; charset=utf-8"}
    document = {**body, "content_type": "application/problem+json"}
    html = {"header_filter": {"header": {"name": "accept", "string_match": {"contains": "text/html"}}}}
    return [
        _from_theirs(),
        {"filter": {"and_filter": {"filters": [html, answered]}}, "body_format_override": page},
        {"filter": answered, "body_format_override": document},
    ]


def _from_theirs() -> Json:
    """What a service of the user's answers stays as it is, with its own headers."""
    return {"filter": _when(f"{DETAILS} == 'ext_authz_denied' && {EXTERNAL}")}


def _causes(token_reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """Expressions in CEL and the reason code of each, in the order in which they are tried."""
    guard = [
        (f"metadata.filter_metadata['{names.METADATA}']['why'] == '{code}'", code)
        for code in (
            "path-unsafe",
            "credential-several",
            "credential-malformed",
            "credential-kind",
            "origin",
            "cross-site",
            "api-key-missing",
            "api-key-unknown",
        )
    ]
    guard += [
        (f"metadata.filter_metadata['{names.METADATA}']['why'] == '{code}'", code)
        for code in ("original-incomplete", "original-several", "original-contradiction")
    ]
    guard += [
        (f"metadata.filter_metadata['{names.METADATA}']['why'] == '{code}'", code)
        for code in ("token-malformed", "token-critical", "token-type", "token-bound", "token-issuer")
    ]
    # an attested token that does not verify is our own failure: the caller has done nothing wrong
    attested = f"{DETAILS}.startsWith('jwt_authn_access_denied') && '{names.ATTESTED}' in request.headers"
    tokens = [(attested, "session-unavailable")]
    tokens += [
        (f'{DETAILS} == "jwt_authn_access_denied{{{words}}}"', code) for words, code in token_reasons.items()
    ]
    tokens += [(f"{DETAILS}.startsWith('jwt_authn_access_denied{{Wrong_requirement_name')", "unavailable")]
    tokens += [(f"{DETAILS}.startsWith('jwt_authn_access_denied')", "token-invalid")]
    rbac = [
        (f"{DETAILS} == 'rbac_access_denied_matched_policy[reject:{code}]'", code)
        for code in (
            *("credential-kind", "token-audience", "token-type", "no-credential"),
            *("credential-provider", "session-revoked", "token-place"),
        )
    ]
    rbac += [
        (f"{DETAILS} == 'rbac_access_denied_matched_policy[{code}]'", code)
        for code in ("letter-case", "route-again", "guard", "not-trusted")
    ]
    rbac += [(f"{DETAILS}.startsWith('rbac_access_denied')", "forbidden")]
    upstream = [
        *(
            (f"{DETAILS}.startsWith('upstream_reset_before_response_started{{{how}')", "upstream-unreachable")
            for how in (
                "remote_connection_failure",
                "local_connection_failure",
                "connection_failure",
                "connection_timeout",
            )
        ),
        (f"{DETAILS}.startsWith('upstream_reset_before_response_started')", "upstream-reset"),
        (f"{DETAILS} == 'no_healthy_upstream'", "upstream-unreachable"),
        (f"{DETAILS}.startsWith('dns_resolution_failure')", "upstream-unreachable"),
        (
            f"{DETAILS} in ['response_timeout', 'upstream_per_try_timeout'] || "
            f"{DETAILS} == 'stream_idle_timeout' && response.code == 504",
            "upstream-timeout",
        ),
        (
            f"{DETAILS}.startsWith('body_size_limit') || {DETAILS} == 'request_payload_too_large'",
            "body-too-large",
        ),
        (f"{DETAILS} == 'cluster_not_found'", "keys-unavailable"),
        # without an answer of ours it is 503 already, where another service is asked 403
        (f"{DETAILS} == 'ext_authz_error' && response.code == 403", "external-unavailable"),
        (f"{DETAILS} == 'ext_authz_error'", "session-unavailable"),
    ]
    gates = [
        (f"{DETAILS} == 'invalid_credential_for_basic_auth'", "basic-wrong"),
        (f"{DETAILS}.endsWith('_for_basic_auth')", "basic-missing"),
        (f"{DETAILS} == 'csrf_origin_mismatch'", "cross-site"),
        (f"{DETAILS} == 'local_rate_limited'", "rate-limited"),
    ]
    return [*guard, *tokens, *rbac, *gates, *upstream]


def reason_of(details: str, guard: str, token_reasons: Mapping[str, str]) -> str:
    """The reason code of a refused credential, from the tags of `logs.refusals`."""
    if guard in REASONS:
        return guard
    inner = details.partition("jwt_authn_access_denied{")[2].rstrip("}")
    if inner:
        return token_reasons.get(inner, "token-invalid")
    code = details.partition("matched_policy[reject:")[2].rstrip("]")
    return code if code in REASONS else "token-invalid"


def _mapper(
    expression: str, reason: Reason, body: Json, browser: bool = False, realm: str = names.REALM
) -> Json:
    cause = _when(expression)
    mapper: Json = {
        "filter": _browser(cause) if browser else cause,
        "status_code": reason.status,
        "body_format_override": body,
    }
    if reason.challenge is not None:
        mapper["headers_to_add"] = [_challenge(reason, realm)]
    return mapper


def _challenge(reason: Reason, realm: str) -> Json:
    value = f'{reason.scheme} realm="{realm}"'
    if reason.challenge:
        value += f', error="{reason.challenge}", error_description="{reason.detail}"'
    header = {"key": "www-authenticate", "value": value}
    return {"header": header, "append_action": OVERWRITE}


def _status_mapper(status: int, browser: bool = False) -> Json:
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": "wardgate.unset"}}
    condition = {"status_code_filter": {"comparison": comparison}}
    reason = Reason(code=TITLES[status].lower().replace(" ", "-"), status=status, detail="")
    body = _page(status) if browser else _problem(reason, False)
    return {"filter": _browser(condition) if browser else condition, "body_format_override": body}


def _browser(condition: Json) -> Json:
    html = {"header_filter": {"header": {"name": "accept", "string_match": {"contains": "text/html"}}}}
    pattern = {"safe_regex": {"regex": "[0-9A-Za-z-]{1,64}"}}
    plain_id = {"header_filter": {"header": {"name": "x-request-id", "string_match": pattern}}}
    return {"and_filter": {"filters": [html, plain_id, condition]}}


def _problem(reason: Reason, expose: bool) -> Json:
    body: Json = {
        "type": "about:blank",
        "title": TITLES[reason.status],
        "status": reason.status,
        "code": reason.code,
    }
    if reason.detail:
        body["detail"] = reason.detail
    if expose and reason.code in ("forbidden", "letter-case", "route-again"):
        body["rule"] = "%ROUTE_NAME%"
    body["request_id"] = "%REQ(X-REQUEST-ID)%"
    return {"json_format": body, "content_type": "application/problem+json"}


def _page(status: int, code: str = "", sign_in: str | None = None) -> Json:
    title = TITLES[status]
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{status} {title}</title><style>:root{{color-scheme:light dark}}</style>"
        '<body style="font: 1.1rem/1.5 system-ui; margin: 4rem auto; max-width: 34rem; padding: 0 1rem">'
        f"<main><h1>{status} {title}</h1><p>{_sentence(status)}</p>{_way_in(status, code, sign_in)}"
        "<p><small>Request %REQ(X-REQUEST-ID)%</small></p></main></body></html>\n"
    )
    return {"text_format_source": {"inline_string": text}, "content_type": "text/html; charset=utf-8"}


def _way_in(status: int, code: str, sign_in: str | None) -> str:
    """A link to the login; where a session has just ended, the browser goes there by itself and comes back here."""
    if status != 401 or sign_in is None:
        return ""
    link = f'<p><a href="{sign_in}">Sign in</a></p>'
    if code != "session-revoked":
        return link
    here = "encodeURIComponent(location.pathname+location.search)"
    return f'{link}<script>location.replace("{sign_in}?rd="+{here})</script>'


def _sentence(status: int) -> str:
    match status:
        case 401:
            return "You need to sign in to see this page."
        case 403:
            return "You are signed in, but you may not see this page."
        case 404:
            return "There is nothing here."
        case 502 | 503 | 504:
            return "The service cannot answer right now. Please try again in a moment."
        case _:
            return "The request could not be answered."
