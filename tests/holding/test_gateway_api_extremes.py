"""
Manifests with values at the edge of what can be, and beyond it: each hurts its own routes alone. A table of routes is one message to
Envoy, and what Envoy refuses of one route would keep every other change out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.echo import Echo
from tests.holding.manifests import Manifests, before_app, guarded, routed

pytestmark = pytest.mark.xdist_group("holding-gateway-api-extremes")

KEYS: Final = (
    '{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",'
    '"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}'
)
JWT: Final = "jwt: {providers: [{name: a, issuer: 'https://a.test', localJWKS: {inline: 'KEYS'}MORE}]}"
OIDC: Final = "oidc: {provider: {issuer: 'https://a.test'}, clientID: a, clientSecret: {name: client}, MORE}"
APP: Final = "backendRefs: [{name: app, port: 80}]"

POLICIES: Final = {
    "keys-nowhere": "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{params: ['']}]}",
    "keys-header": "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: ['X A']}]}",
    "keys-told": "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [X-K]}], forwardClientIDHeader: ':path'}",
    "basic-told": "basicAuth: {users: {name: users}, forwardUsernameHeader: 'a b'}",
    "body-of-nothing": "extAuth: {http: {backendRefs: [{name: app, port: 80}]}, bodyToExtAuth: {maxRequestBytes: 0}}",
    "body-of-all": "extAuth: {http: {backendRefs: [{name: app, port: 80}]}, bodyToExtAuth: {maxRequestBytes: 99999999999}}",
    "asked-for": "extAuth: {http: {headersToBackend: ['a b'], backendRefs: [{name: app, port: 80}]}}",
    "claim-header": JWT.replace("MORE", ", claimToHeaders: [{header: 'X A', claim: a}]"),
    "claim-host": JWT.replace("MORE", ", claimToHeaders: [{header: Host, claim: a}]"),
    "token-path": JWT.replace("MORE", ", extractFrom: {headers: [{name: ':path'}]}"),
    "token-cookie": JWT.replace("MORE", ", extractFrom: {cookies: ['a;b']}"),
    "keys-none": JWT.replace("KEYS", "[]").replace("MORE", ""),
    "logout-nowhere": OIDC.replace("MORE", "logoutPath: logout"),
    "logout-query": OIDC.replace("MORE", "logoutPath: '/a?b'"),
    "back-nowhere": OIDC.replace("MORE", "redirectURL: 'https://a.test/x y'"),
    "token-nowhere": OIDC.replace(
        "'https://a.test'", "'https://a.test', tokenEndpoint: 'https://a.test:99999/'"
    ).replace("MORE", "redirectURL: 'https://a.test/cb'"),
    "id-token-host": OIDC.replace("MORE", "forwardIDToken: {header: Host}"),
}
ROUTES: Final = {
    "header-value": '[{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: "a\\nb"}]}}], APP}]',
    "header-name": "[{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: 'X A', value: b}]}}], APP}]",
    "header-gone": "[{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [':path']}}], APP}]",
    "redirect-host": "[{filters: [{type: RequestRedirect, requestRedirect: {hostname: 'a b'}}]}]",
    "redirect-port": "[{filters: [{type: RequestRedirect, requestRedirect: {port: 99999}}]}]",
    "redirect-path": '[{filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: "a\\nb"}}}]}]',
    "rewrite-host": '[{filters: [{type: URLRewrite, urlRewrite: {hostname: "a\\nb"}}], APP}]',
    "rewrite-path": "[{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: '/a?b'}}}], APP}]",
    "mirror": "[{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: app, port: 80}, fraction: {numerator: 3000000000, denominator: 1}}}], APP}]",
}
ODD: Final = {
    "hour": "[{timeouts: {request: 99999h}, APP}]",
    "percent": "[{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-A, value: '%REQ(x)% 100%'}]}}], APP}]",
    "backslash": "[{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: '/\\9'}}}], APP}]",
    "query": "[{matches: [{path: {value: /}}, {queryParams: [{name: 'a&b', value: '=#'}]}], APP}]",
    "long": f"[{{matches: [{{path: {{value: /}}}}, {{path: {{value: /{'a' * 9000}}}}}], APP}}]",
    "many": "["
    + ", ".join(f"{{matches: [{{path: {{value: /p{n}}}}}], APP}}" for n in range(300))
    + ", {APP}]",
    "weights": "[{backendRefs: [{name: app, port: 80, weight: 1000000}, {name: app, port: 80, weight: 999999}]}]",
}
AGENTS: Final = {
    "limit": "rateLimit: {local: [{requests: 4294967295, unit: Hours, burst: 4294967295}]}",
    "answer": f"directResponse: {{status: 200, body: '{'x' * 70_000}'}}",
    "told": 'headerModifiers: {request: {set: [{name: X-A, value: "a\\r\\nb: c"}]}}',
    "external": "extAuth: {backendRef: {name: app, port: 80}, forwardBody: {maxSize: 99999999999}}",
    "described": "jwtAuthentication: {providers: [{issuer: 'https://a.test', jwks: {inline: 'KEYS'}}], mcp: {resourceMetadata: {a: BIG}}}".replace(
        "BIG", "x" * 40_000
    ),
    "pattern": "authorization: {policy: {matchExpressions: ['request.path.matches(\"(a{1,1000}){1,1000}\")']}}",
}
SECRETS: Final = """
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {red: r3d-key}
---
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {.htpasswd: "ann:{SHA}0000000000000000000000000000="}
---
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {client-secret: s3cr3t}
"""


def route(name: str, rules: str) -> str:
    return routed(name, rules.replace("APP", APP))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manifests]:
    made = [route(name, rules) for name, rules in {**ROUTES, **ODD, "good": "[{APP}]"}.items()]
    made += [
        guarded(name, "SecurityPolicy", spec.replace("KEYS", KEYS).replace("MORE", ""))
        for name, spec in POLICIES.items()
    ]
    with Echo() as application:
        folder = tmp_path_factory.mktemp("extremes")
        with before_app(folder, SECRETS + "".join(made), {"80": application.url}) as running:
            yield running


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manifests]:
    made = [
        guarded(name, "AgentgatewayPolicy", "traffic: {" + spec.replace("KEYS", KEYS) + "}")
        for name, spec in AGENTS.items()
    ]
    with Echo() as application:
        text = "".join([*made, route("good", "[{APP}]")])
        with before_app(tmp_path_factory.mktemp("agents"), text, {"80": application.url}) as running:
            yield running


def status(gateway: Manifests, name: str) -> int:
    return gateway.at(name, path="/").status


@pytest.mark.parametrize("name", [*POLICIES, *ROUTES])
def test_what_cannot_be_closes_itself(gateway: Manifests, name: str) -> None:
    assert status(gateway, name) == 500


@pytest.mark.parametrize("name", ["good", *ODD])
def test_what_is_odd_goes_on(gateway: Manifests, name: str) -> None:
    assert status(gateway, name) == 200


@pytest.mark.parametrize("name", AGENTS)
def test_what_cannot_be_of_agents_closes_itself(agents: Manifests, name: str) -> None:
    assert status(agents, name) == 500
    assert status(agents, "good") == 200
