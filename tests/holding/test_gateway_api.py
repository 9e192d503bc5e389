"""Manifests at a running gateway: which route serves a request, what it changes, what closes it, and what a change does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.echo import Arrival, Echo
from tests.holding.manifests import GATEWAY, Manifests, before_app, guarded, routed
from tests.holding.running import IN_FORCE, NOT_TAKEN
from tests.holding.sessions import KEY, begun, put, tokens
from tests.parts.loopback import free_port
from tests.sending import Answer, send
from tests.service.issuer import wait_for
from wardgate import dialects, document
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-gateway-api")

ROUTES: Final = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: public}]
  hostnames: [app.test, "*.app.test"]
  rules:
    - backendRefs: [{name: app, port: 80}]
    - matches: [{path: {type: Exact, value: /exact}}, {path: {value: /posts}, method: POST}]
      filters:
        - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: "100%"}], add: [{name: Accept, value: a/b}], remove: [X-Gone]}}
        - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Told, value: here}], remove: [X-Echo]}}
      backendRefs: [{name: app, port: 80}]
    - matches: [{path: {value: /old}}]
      filters: [{type: URLRewrite, urlRewrite: {hostname: inside.test, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}}}]
      backendRefs: [{name: app, port: 80}]
    - matches: [{path: {value: /strip}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
      backendRefs: [{name: app, port: 80}]
    - matches: [{path: {value: /whole}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}}]
      backendRefs: [{name: app, port: 80}]
    - matches: [{path: {value: /moved}}]
      filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.test, port: 8443, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /there}}}]
    - matches: [{path: {value: /posted}}]
      filters: [{type: RequestRedirect, requestRedirect: {statusCode: 307, path: {type: ReplaceFullPath, replaceFullPath: /there}}}]
    - matches: [{path: {type: RegularExpression, value: "/v[0-9]+/items"}, queryParams: [{type: RegularExpression, name: page, value: "[0-9]+"}]}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: pattern}]}}]
      backendRefs: [{name: app, port: 80}]
    - matches: [{path: {value: /away}}]
      backendRefs: [{name: absent, port: 80}]
    - matches: [{path: {value: /v}, headers: [{name: X-Version, value: "2"}]}]
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Rule, value: two}]}}]
      backendRefs: [{name: app, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: closed}
spec:
  parentRefs: [{name: public}]
  hostnames: [closed.test]
  rules: [{backendRefs: [{name: app, port: 80}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: closed}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: closed}]
  basicAuth: {users: {name: users}}
"""


class Site:
    def __init__(self, gateway: Manifests, application: Echo) -> None:
        self.gateway = gateway
        self._application = application

    def ask(
        self, path: str, *headers: tuple[str, str], method: str = "GET", host: str = "app.test"
    ) -> Answer:
        return send(self.gateway.port, method, path, [("Host", host), ("Connection", "close"), *headers])

    def arrived(self, path: str, *headers: tuple[str, str], method: str = "GET") -> Arrival:
        before = len(self._application.arrivals())
        assert self.ask(path, *headers, method=method).status == 200
        (arrival,) = self._application.arrivals()[before:]
        return arrival


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Echo() as application, before_app(tmp_path, ROUTES, {"80": application.url}) as gateway:
        yield Site(gateway, application)


def test_what_serves_a_request_and_what_it_changes(site: Site) -> None:
    """Hosts, paths, methods and headers choose; filters change headers and paths, and redirect; the rest is 404."""
    plain = site.arrived("/x?a=1", ("X-Gone", "stays"))
    assert (plain.path, plain.values("x-gone"), plain.values("x-rule")) == ("/x?a=1", ["stays"], [])
    edited = site.arrived("/exact", ("X-Gone", "goes"), ("X-Rule", "forged"), ("Accept", "c/d"))
    assert (edited.values("x-rule"), edited.values("x-gone")) == (["100%"], [])
    assert ",".join(edited.values("accept")).replace(" ", "") == "c/d,a/b"
    told = site.ask("/exact")
    assert (told.header("x-told"), told.header("x-echo")) == ("here", None)
    assert site.arrived("/posts/1", method="POST").values("x-rule") == ["100%"]
    assert site.arrived("/posts/1").values("x-rule") == []
    assert site.arrived("/v/1", ("X-Version", "2")).values("x-rule") == ["two"]
    assert site.arrived("/v/1", ("X-Version", "3")).values("x-rule") == []
    for asked, served in {
        "/old": "/new",
        "/old/a?b=/old": "/new/a?b=/old",
        "/older": "/older",
        "/strip": "/",
        "/strip/": "/",
        "/strip/a/b?c": "/a/b?c",
        "/whole/a?b=c": "/one?b=c",
    }.items():
        assert site.arrived(asked).path == served, asked
    assert site.arrived("/old").values("host") == ["inside.test"]
    moved = site.ask("/moved/a?b=c")
    assert (moved.status, moved.header("location")) == (301, "https://new.test:8443/there/a?b=c")
    posted = site.ask("/posted", method="POST")
    assert (posted.status, posted.header("location")) == (307, "http://app.test/there")
    for path, rule in {
        "/v12/items?page=3": ["pattern"],
        "/v12/items?a=b&page=3&c=d": ["pattern"],
        "/v12/items?page=x": [],
        "/v12/items/3?page=3": [],
        "/w?/v12/items&page=3": [],
    }.items():
        assert site.arrived(path).values("x-rule") == rule, path
    assert site.ask("/x", host="a.app.test").status == 200
    assert site.ask("/x", host="app.test.evil").status == 404
    assert site.ask("/away").status == 500


def test_a_policy_that_is_not_enforced_closes_its_routes(site: Site) -> None:
    """500 to everyone, and it is said."""
    assert site.ask("/x", host="closed.test").status == 500
    assert site.ask("/x", ("Authorization", "Basic YTpi"), host="closed.test").status == 500
    assert "spec.basicAuth" in site.gateway.errors()


def test_a_change_is_in_force_and_a_bad_one_is_not(site: Site) -> None:
    """A file of the folder changes while it runs; one whose meaning is unclear changes nothing."""
    other = ROUTES.replace("/old", "/ancient")
    site.gateway.write({"routes.yaml": other})
    wait_for(lambda: bool(site.gateway.said(IN_FORCE)), "in force", 20)
    assert site.arrived("/ancient/a").path == "/new/a"
    site.gateway.write({"routes.yaml": other.replace("hostnames: [closed.test]", "hostnames: closed.test")})
    wait_for(lambda: bool(site.gateway.said(NOT_TAKEN)), "not taken", 20)
    assert site.arrived("/ancient/a").path == "/new/a"
    assert site.ask("/x", host="closed.test").status == 500


PLACES: Final = """
jwt:
  OPTIONAL
  providers:
    - name: idp
      issuer: "ISSUER"
      remoteJWKS: {uri: "ISSUER/protocol/openid-connect/certs"}
      extractFrom: PLACES
"""
EXTRACTED: Final = {
    "elsewhere": "{headers: [{name: X-Token, valuePrefix: 'Token '}, {name: X-Bare}], cookies: [access], params: [access_token]}",
    "both": "{headers: [{name: Authorization, valuePrefix: 'Bearer '}], params: [access_token]}",
}


AGENT_PLACES: Final = {
    "agent": '{header: {name: X-Agent, prefix: "Key "}}',
    "agent-cookie": "{cookie: {name: agent}}",
    "agent-param": "{queryParameter: {name: agent}}",
}
AGENT_PLACE: Final = """
traffic:
  transformation:
    request:
      set: [{name: X-Caller, value: jwt.preferred_username}, {name: X-Text, value: "'two words'"}, {name: X-None, value: jwt.nothing}]
      remove: [X-Gone]
    response: {set: [{name: X-Told, value: '"100%"'}]}
  jwtAuthentication:
    location: LOCATION
    providers: [{issuer: "ISSUER", jwks: {remote: {jwksPath: PATH/protocol/openid-connect/certs, backendRef: {name: app, port: 90}}}}]
"""


def test_tokens_in_other_places(tmp_path: Path) -> None:
    """
    In a header, a cookie or a query parameter, one of them; what stands in Authorization is nothing there, and does not reach
    the application.
    """
    with Echo() as application, IdpServer() as idp:
        policies = {name: PLACES.replace("PLACES", places) for name, places in EXTRACTED.items()}
        routes = "".join(
            guarded(name, "SecurityPolicy", policy.replace("OPTIONAL", "optional: false"))
            for name, policy in policies.items()
        )
        maybe = policies["elsewhere"].replace("OPTIONAL", "optional: true")
        routes += guarded("maybe", "SecurityPolicy", maybe)
        agent = AGENT_PLACE.replace("PATH", urlsplit(idp.issuer).path)
        for name, location in AGENT_PLACES.items():
            routes += guarded(name, "AgentgatewayPolicy", agent.replace("LOCATION", location))
        routes = routes.replace("ISSUER", idp.issuer)
        places = {"80": application.url, "90": idp.issuer}
        with before_app(tmp_path, routes, places) as gateway:
            site, good = Site(gateway, application), idp.token("user")
            bad = good[:-8] + "AAAAAAAA"
            bearer = ("Authorization", f"Bearer {good}")
            ways: list[tuple[list[tuple[str, str]], str]] = [
                ([("X-Token", f"Token {good}")], "/x"),
                ([("X-Bare", good)], "/x"),
                ([("Cookie", f"a=b; access={good}; c=d")], "/x"),
                ([], f"/x?a=b&access_token={good}"),
            ]
            for headers, path in ways:
                for _ in range(2):  # first sight, and known
                    before = len(application.arrivals())
                    assert site.ask(path, *headers, host="elsewhere.test").status == 200, headers
                    (arrival,) = application.arrivals()[before:]
                    assert arrival.path == path and not arrival.values("authorization")
                twisted = [(name, value.replace(good, bad)) for name, value in headers]
                assert site.ask(path.replace(good, bad), *twisted, host="elsewhere.test").status == 401
                assert site.ask(path, *headers, bearer, host="elsewhere.test").status == 200
            two = [*ways[0][0], *ways[1][0]]
            assert site.ask("/x", *two, host="elsewhere.test").status == 400
            assert site.ask("/x", bearer, host="elsewhere.test").status == 401
            assert site.ask("/x", ("X-Token", good), host="elsewhere.test").status == 401
            assert site.ask("/x", ("X-Token", f"Token {good}, {good}"), host="elsewhere.test").status in (
                400,
                401,
            )
            before = len(application.arrivals())
            assert site.ask("/x", bearer, host="maybe.test").status == 200  # as nobody
            assert not application.arrivals()[before].values("authorization")
            assert site.ask("/x", ("X-Bare", bad), host="maybe.test").status == 401
            assert site.ask("/x", bearer, host="both.test").status == 200
            assert site.ask(f"/x?access_token={good}", host="both.test").status == 200
            assert site.ask(f"/x?access_token={good}", bearer, host="both.test").status == 400
            assert site.ask("/x", ("Authorization", "Basic YTpi"), host="both.test").status == 401
            before = len(application.arrivals())
            assert site.ask("/x", ("X-Agent", f"Key {good}"), host="agent.test").status == 200
            assert site.ask("/x", bearer, host="agent.test").status == 401
            (arrival,) = application.arrivals()[before:]
            assert not arrival.values("x-agent") and not arrival.values("authorization")
            _agents(site, application, good, bad)


def _agents(site: Site, application: Echo, good: str, bad: str) -> None:
    """What an AgentgatewayPolicy takes a token from, the application does not see; what it is told of the caller is verified."""
    forged = [("X-Caller", "root"), ("X-None", "root"), ("X-Gone", "1"), ("X-Text", "other")]
    for host, path, cookie in (
        ("agent-cookie.test", "/x?b=1", "a=b; agent=TOKEN; c=d"),
        ("agent-param.test", "/x?a=b&agent=TOKEN&c=d", "e=f"),
    ):
        for token, status in ((good, 200), (good, 200), (bad, 401)):
            before = len(application.arrivals())
            cookies = ("Cookie", cookie.replace("TOKEN", token))
            answer = site.ask(path.replace("TOKEN", token), cookies, *forged, host=host)
            assert answer.status == status
            if status == 200:
                (arrival,) = application.arrivals()[before:]
                whole = f"{arrival.path} {arrival.headers}"
                assert token not in whole and "agent=" not in whole
                assert arrival.values("cookie") in (["a=b; c=d"], ["e=f"])
                assert arrival.path in ("/x?b=1", "/x?a=b&c=d")
                assert arrival.values("x-caller") == ["user"] and arrival.values("x-text") == ["two words"]
                assert not arrival.values("x-none") and not arrival.values("x-gone")
                assert ("x-told", "100%") in [(name.lower(), value) for name, value in answer.headers]
        assert site.ask("/x", ("Authorization", f"Bearer {good}"), host=host).status == 401


APART: Final = """
jwt:
  providers:
    - {name: one, issuer: "ONE", remoteJWKS: {uri: "ONE/protocol/openid-connect/certs"}, extractFrom: {headers: [{name: X-Token}], params: [token]}}
    - {name: two, issuer: "TWO", remoteJWKS: {uri: "TWO/protocol/openid-connect/certs"}, extractFrom: {cookies: [token], params: [token]}}
    - {name: three, issuer: "THREE", remoteJWKS: {uri: "THREE/protocol/openid-connect/certs"}}
"""


def test_tokens_of_each_issuer_have_their_places(tmp_path: Path) -> None:
    """At first sight and later: a good token where only another issuer's may be is 401."""
    with Echo() as application, IdpServer() as one, IdpServer() as two, IdpServer() as three:
        issuers = {"ONE": one, "TWO": two, "THREE": three}
        policy = APART
        for name, idp in issuers.items():
            policy = policy.replace(f'"{name}', f'"{idp.issuer}')
        routes = guarded("apart", "SecurityPolicy", policy)
        may = {
            "header": {"ONE"},
            "cookie": {"TWO"},
            "parameter": {"ONE", "TWO"},
            "authorization": {"THREE"},
        }
        with before_app(tmp_path, routes, {"80": application.url}) as gateway:
            site = Site(gateway, application)
            for name, idp in issuers.items():
                token = idp.token("user")
                ways: dict[str, tuple[str, list[tuple[str, str]]]] = {
                    "header": ("/x", [("X-Token", token)]),
                    "cookie": ("/x", [("Cookie", f"a=b; token={token}")]),
                    "parameter": (f"/x?token={token}", []),
                    "authorization": ("/x", [("Authorization", f"Bearer {token}")]),
                }
                for _ in range(3):
                    for way, (path, headers) in ways.items():
                        status = site.ask(path, *headers, host="apart.test").status
                        assert status == (200 if name in may[way] else 401), (name, way)
            forged = ("X-Wardgate-Place", "1")
            cookie = ("Cookie", f"token={one.token('user')}")
            assert site.ask("/x", cookie, forged, host="apart.test").status == 401


IN_SESSIONS: Final = """
jwt: {providers: [{name: idp, issuer: "ISSUER", remoteJWKS: {uri: "ISSUER/protocol/openid-connect/certs"}, extractFrom: {headers: [{name: X-Token}]}}]}
oidc:
  provider: {issuer: "ISSUER"}
  clientID: demo-gateway
  clientSecret: {name: client}
  redirectURL: "http://pages.test/oauth2/callback"
  defaultRefreshTokenTTL: 24h
  forwardAccessToken: true
  passThroughAuthHeader: true
"""
CLIENT: Final = """
---
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {client-secret: demo-secret}
"""


def test_a_session_is_forwarded_where_tokens_are_elsewhere(tmp_path: Path) -> None:
    """The application gets the session's token in Authorization, and nothing there of who brings one of their own."""
    with Echo() as application, IdpServer() as idp:
        routes = (
            GATEWAY + guarded("pages", "SecurityPolicy", IN_SESSIONS.replace("ISSUER", idp.issuer)) + CLIENT
        )
        reading = dialects.read(document.read_all(routes.encode(), "routes.yaml", {}), dialects.Options())
        assert reading.policy is not None and reading.policy.providers[0].login is not None
        (provider,) = reading.policy.providers
        session_id, session = begun(tokens(idp.issuer), provider=provider.name)
        places = {"default/app:80": urlsplit(application.url).netloc}
        with Manifests(tmp_path, {"routes.yaml": routes}, places, {"WARDGATE_SESSION_KEY": KEY}) as gateway:
            put(tmp_path / "state", session)
            site = Site(gateway, application)
            cookie = ("Cookie", f"{provider.login.session.cookie}={session_id}; a=b")
            for headers, arrives in (
                ([cookie], [f"Bearer {session.tokens.access_token}"]),
                ([cookie, ("Authorization", "Bearer forged")], [f"Bearer {session.tokens.access_token}"]),
                ([("X-Token", idp.token("user"))], []),
            ):
                for _ in range(2):  # first sight, and known
                    before = len(application.arrivals())
                    assert site.ask("/x", *headers, host="pages.test").status == 200
                    (arrival,) = application.arrivals()[before:]
                    assert arrival.values("authorization") == arrives
                    assert arrival.values("cookie") in ([], ["a=b"])


SHARES: Final = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: public}]
  rules:
    - backendRefs: [{name: app, port: 80, weight: 90}, {name: app, port: 81, weight: 10}, {name: app, port: 82, weight: 0}]
"""


def test_backends_get_their_share(tmp_path: Path) -> None:
    """Nine in ten, one in ten, and none for a weight of 0, whose address does not even answer."""
    with Echo() as most, Echo() as few:
        places = {"80": most.url, "81": few.url, "82": "http://127.0.0.1:9"}
        with before_app(tmp_path, SHARES, places) as gateway:
            asked = [
                send(gateway.port, "GET", "/", [("Host", "a"), ("Connection", "close")]) for _ in range(200)
            ]
        assert {answer.status for answer in asked} == {200}
        assert 165 <= len(most.arrivals()) <= 195
        assert len(few.arrivals()) == 200 - len(most.arrivals())


RULED: Final = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: agent}
spec:
  parentRefs: [{name: public}]
  hostnames: [agent.test]
  rules: [{backendRefs: [{name: app, port: 80}]}, {name: admin, matches: [{path: {value: /admin}}], backendRefs: [{name: app, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: envoy}
spec:
  parentRefs: [{name: envoy}]
  hostnames: [envoy.test]
  rules: [{backendRefs: [{name: app, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: envoy}
spec:
  gatewayClassName: any
  listeners: [{name: http, port: OTHER, protocol: HTTP}]
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: all}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: agent}]
  traffic:
    jwtAuthentication: {mode: Optional, providers: [{issuer: "ISSUER", jwks: {remote: {backendRef: {name: idp, port: 80}, jwksPath: JWKS}}}]}
    authorization: {action: Deny, policy: {matchExpressions: ['request.headers["x-blocked"] == "1"', 'jwt.preferred_username == "admin" && request.method == "DELETE"']}}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: admin}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: agent, sectionName: admin}]
  traffic:
    authorization: {policy: {matchExpressions: ['"admin" in jwt.realm_access.roles']}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: envoy}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: envoy}]
  authorization:
    rules:
      - {action: Deny, cel: '"x-no" in request.headers'}
      - {action: Allow, principal: {clientCIDRs: [127.0.0.0/8]}, operation: {methods: [GET], path: {type: PathPrefix, value: /in}}}
      - {action: Allow, principal: {headers: [{name: x-team, values: [red, blue]}]}}
---
apiVersion: v1
kind: Service
metadata: {name: idp}
"""


def test_rules_with_and_without_a_caller(tmp_path: Path) -> None:
    """What agentgateway and Envoy Gateway ask in CEL and in rules, of claims, methods, paths, headers and addresses."""
    with Echo() as application, IdpServer() as idp:
        parts = urlsplit(idp.issuer)
        other = free_port()
        texts = {
            "ISSUER": idp.issuer,
            "JWKS": f"{parts.path}/protocol/openid-connect/certs",
            "OTHER": str(other),
        }
        ruled = RULED
        for name, text in texts.items():
            ruled = ruled.replace(name, text)
        with before_app(tmp_path, ruled, {"80": application.url}, idp=idp.issuer) as gateway:

            def ask(path: str, *headers: tuple[str, str], method: str = "GET", as_: str = "") -> Answer:
                token = [("Authorization", f"Bearer {idp.token(as_)}")] if as_ else []
                return send(
                    gateway.port,
                    method,
                    path,
                    [("Host", "agent.test"), ("Connection", "close"), *token, *headers],
                )

            def envoy(path: str, *headers: tuple[str, str], method: str = "GET") -> int:
                return send(
                    other, method, path, [("Host", "envoy.test"), ("Connection", "close"), *headers]
                ).status

            assert ask("/x").status == 200
            refused = ask("/x", ("X-Blocked", "1"))
            assert (refused.status, refused.body) == (403, b"authorization failed")
            assert ask("/x", as_="admin").status == 200
            assert ask("/x", as_="admin", method="DELETE").status == 403
            assert ask("/x", as_="user", method="DELETE").status == 200
            assert ask("/admin").status == 403
            assert ask("/admin", as_="user").status == 403
            assert ask("/admin", as_="admin").status == 200
            assert ask("/admin", ("X-Blocked", "1"), as_="admin").status == 403
            assert ask("/admin", as_="admin", method="DELETE").status == 403

            assert [envoy(path) for path in ("/in", "/in/a", "/in?a", "/inside", "/", "/?/in")] == [
                200,
                200,
                200,
                403,
                403,
                403,
            ]
            assert envoy("/in", method="POST") == 403
            assert envoy("/in", ("X-No", "")) == 403
            assert envoy("/", ("X-Team", "blue")) == 200
            assert envoy("/", ("X-Team", "blue"), ("X-No", "a")) == 403
            assert envoy("/", ("X-Team", "Blue")) == 403
            # nobody believes a client that says where it comes from
            assert envoy("/in", ("X-Forwarded-For", "192.0.2.1")) == 200


CROSS: Final = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cross}
spec:
  parentRefs: [{name: public}]
  hostnames: [cross.test]
  rules:
    - {backendRefs: [{name: app, port: 80}]}
    - matches: [{path: {value: /own}}]
      filters: [{type: CORS, cors: {allowOrigins: ["https://own.test"], allowMethods: [PUT]}}]
      backendRefs: [{name: app, port: 80}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: cross}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: cross}]
  cors: {allowOrigins: ["https://*.app.test", "http://localhost:*"], allowMethods: [GET, POST], allowHeaders: [x-a], exposeHeaders: [x-b], allowCredentials: true, maxAge: 10m}
  authorization: {rules: [{action: Allow, principal: {headers: [{name: x-key, values: [k]}]}}]}
"""


def test_pages_of_other_origins(tmp_path: Path) -> None:
    """A preflight is answered before anything is asked for; a rule's own filter counts more than the policy."""
    with Echo() as application, before_app(tmp_path, CROSS, {"80": application.url}) as gateway:

        def ask(path: str, origin: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
            told = [("Host", "cross.test"), ("Origin", origin), ("Connection", "close"), *headers]
            return send(gateway.port, method, path, told)

        def preflight(path: str, origin: str) -> tuple[str | None, ...]:
            answer = ask(path, origin, ("Access-Control-Request-Method", "POST"), method="OPTIONS")
            assert answer.status == 200
            names = ("allow-origin", "allow-methods", "allow-headers", "max-age", "allow-credentials")
            return tuple(answer.header(f"access-control-{name}") for name in names)

        for origin in ("https://x.app.test", "https://a.b.app.test", "http://localhost:3000"):
            assert preflight("/x", origin) == (origin, "GET,POST", "x-a", "600", "true")
        for origin in (
            "https://app.test",
            "https://x.app.test.evil",
            "https://evil/.app.test",
            "http://x.app.test",
        ):
            assert preflight("/x", origin)[0] is None, origin
        assert preflight("/own", "https://own.test")[:2] == ("https://own.test", "PUT")
        assert preflight("/own", "https://x.app.test")[0] is None
        assert not application.arrivals()
        answer = ask("/x", "https://x.app.test", ("X-Key", "k"))
        assert (answer.status, answer.header("access-control-expose-headers")) == (200, "x-b")
        refused = ask("/x", "https://x.app.test")
        assert (refused.status, refused.header("access-control-allow-origin")) == (
            403,
            "https://x.app.test",
        )


MIRRORED: Final = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: public}]
  rules:
    - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: app, port: 81}}}, {type: RequestMirror, requestMirror: {backendRef: {name: app, port: 82}, percent: 0}}]
      backendRefs: [{name: app, port: 80}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: app}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  authorization: {rules: [{action: Allow, principal: {headers: [{name: x-key, values: [k]}]}}]}
"""


def test_a_mirror_gets_copies_of_what_passes(tmp_path: Path) -> None:
    """And nothing else: not what is refused, and no more than its part."""
    with Echo() as application, Echo() as copies, Echo() as none:
        places = {"80": application.url, "81": copies.url, "82": none.url}
        with before_app(tmp_path, MIRRORED, places) as gateway:
            told = [("Host", "a"), ("Connection", "close")]
            assert send(gateway.port, "GET", "/refused", told).status == 403
            assert send(gateway.port, "POST", "/x?a=1", [*told, ("X-Key", "k")]).status == 200
            wait_for(lambda: bool(copies.arrivals()), "the copy", 10)
        assert [(one.method, one.path) for one in copies.arrivals()] == [("POST", "/x?a=1")]
        assert not none.arrivals()


SLICED: Final = """
apiVersion: v1
kind: Service
metadata: {name: two}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: SLICE, labels: {kubernetes.io/service-name: two}}
ports: [{port: PORT}]
endpoints: [{addresses: [127.0.0.1]}]
"""


def test_addresses_of_a_service_have_its_share_together(tmp_path: Path) -> None:
    """Two addresses of one Service, by EndpointSlices, get as much as the one of another."""
    with Echo() as one, Echo() as other, Echo() as alone:
        slices = [
            SLICED.replace("SLICE", name).replace("PORT", str(urlsplit(found.url).port))
            for name, found in (("one", one), ("other", other))
        ]
        routes = "---\n".join(slices) + routed(
            "a", "[{backendRefs: [{name: two, port: 80}, {name: app, port: 80}]}]"
        )
        with before_app(tmp_path, routes, {"80": alone.url}) as gateway:
            for _ in range(40):
                assert gateway.at("a").status == 200
        counts = [len(found.arrivals()) for found in (one, other, alone)]
        assert sum(counts) == 40
        assert [round(count / 10) for count in counts] == [1, 1, 2], counts
