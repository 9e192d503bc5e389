"""`problems.md`: every code, where it comes from and what it means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.reference.markdown import anchor, code, head, page, table
from tests.reference.registries import registries
from wardgate.authn import jwt
from wardgate.envoy import replies

TITLES: Mapping[str, str] = {
    "wardgate.document": "Files: YAML and variables",
    "wardgate.cli.sources": "Files: where they come from",
    "wardgate.dialects": "Formats",
    "wardgate.dialects.native": "wardgate.yaml",
    "wardgate.dialects.gatekeeper": "Gatekeeper files",
    "wardgate.dialects.role_mapping": "role_mapping.yaml",
    "wardgate.dialects.aip": "Safety policies, and `wardgate aip-gateway`",
    "wardgate.policy": "Every format: what a policy refuses",
    "wardgate.dialects._login": "Every format: what does not fit together about a login",
    "wardgate.dialects.gateway_api": "Gateway API manifests",
    "wardgate.compiler": "Every format: what cannot be enforced",
    "wardgate.supervisor": "Starting and reloading",
    "wardgate.kubernetes": "A cluster's API server",
    "wardgate.service.issuer_http": "Asking an issuer",
    "wardgate.service.fetch": "Fetching an issuer's keys",
    "wardgate.service.keys": "Keeping an issuer's keys",
    "wardgate.service.oidc": "Logins, sessions and opaque tokens: the issuer's answers",
    "wardgate.service.resolve": "Requests whose credential is looked up",
    "wardgate.service.agents.granting": "Grants of requests of agents, where a route requires them",
    "wardgate.service.answers": "Logins, logouts and the gateway's own endpoints",
    "wardgate.verify.errors": "Tokens: explain and token",
    "wardgate.token": "wardgate token: the issuer's answer",
    "wardgate.cli.token": "wardgate token: the command line",
    "wardgate.cli.asked": "wardgate explain",
    "wardgate.cli.show": "wardgate show",
    "wardgate.cli.sessions": "wardgate sessions",
    "wardgate.cli.aip": "wardgate aip",
    "wardgate.demo.stage": "wardgate demo",
    "wardgate.idp": "wardgate idp",
}
"""The registries, in the order in which a reader meets them. One without a title comes last, under its own name."""

ANSWERS = "Answers to requests"


def text() -> str:
    """The page."""
    intro = head(
        "Problems",
        "Each problem has a code in square brackets. Codes are stable: they are safe to search for, to count and to "
        "alert on. A problem is printed as",
        "```text\nFILE:LINE: KEY: what is wrong, got VALUE [code]\n    hint: what to do\n```",
        "An error stops the configuration (exit code 2); a `warning:` is said, and the configuration is used. "
        "`wardgate check` prints all of them at once, `--output json` as data.",
    )
    lines = [*intro, *_contents(), *_answers()]
    for module, title in _ordered():
        lines += [f"## {title}", "", *table(("Code", "Meaning"), _rows(registries()[module]))]
    return page(lines)


def _ordered() -> list[tuple[str, str]]:
    known = [(module, title) for module, title in TITLES.items() if module in registries()]
    return known + [(module, module) for module in registries() if module not in TITLES]


def _rows(codes: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(code(name), meaning) for name, meaning in sorted(codes.items())]


def _contents() -> Iterator[str]:
    for title in (ANSWERS, *(title for _, title in _ordered())):
        yield f"- [{title}](#{anchor(title)})"
    yield ""


def _answers() -> Iterator[str]:
    yield from (f"## {ANSWERS}", "")
    yield from (
        "When the gateway answers by itself, it sends a problem document (RFC 9457; a plain page to browsers) with "
        "one of these as its `code`. The same codes are the `reason` in "
        "`gatekeeper_token_validation_errors_total`. A 401 carries `WWW-Authenticate: Bearer`, with the `error` of "
        "RFC 6750 where one is named here.",
        "",
    )
    rows = [(code(one.code), str(one.status), one.detail, code(one.challenge or "")) for one in answers()]
    yield from table(("Code", "Status", "What the caller reads", "`error`"), rows)
    yield from ("Where the status says it all, the code is the status' name:", "")
    yield from table(
        ("Code", "Status"), [(code(name), str(status)) for status, name in plain_codes().items()]
    )
    yield from _envoys_words()


def answers() -> list[replies.Reason]:
    """The reasons, by status."""
    return sorted(replies.REASONS.values(), key=lambda reason: reason.status)


def plain_codes() -> dict[int, str]:
    """Status -> the code of an answer that has no reason of its own."""
    return {status: title.lower().replace(" ", "-") for status, title in replies.TITLES.items()}


def _envoys_words() -> Iterator[str]:
    yield from ("The log's `why` has Envoy's own words for a refused token:", "")
    rows = [(code(words), code(name)) for words, name in jwt.REASONS.items()]
    yield from table(("After `jwt_authn_access_denied`", "Code"), rows)
