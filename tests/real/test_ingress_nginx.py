"""
The annotations of ingress-nginx that gatekeepers are used with (S0), in the example's words: a real nginx, configured as
the controller does from them, asks `/oauth/authorize`, with tokens of real Keycloak.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from tests.echo import Echo
from tests.gateway import Gateway
from tests.parts import PROJECT
from tests.parts.loopback import free_port
from tests.parts.proxies import Proxy
from tests.realm import GATEWAY_CLIENT, OTHER_CLIENT, Realm
from tests.sending import Answer, send

pytestmark = pytest.mark.timeout(300)

EXAMPLE: Final = PROJECT / "examples" / "ingress-nginx"
PREFIX: Final = "nginx.ingress.kubernetes.io/"
PAGE: Final = (("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))

# What the controller makes of the three annotations: the question, who calls, and where people log in. Its
# $escaped_request_uri needs a module that plain nginx has not; the paths of these tests are the same escaped.
TEMPLATE: Final = """
events {{}}
http {{
  server {{
    listen 127.0.0.1:8080;
    server_name shop.example.com;
    location = /ask {{
      internal;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Forwarded-Proto "";
      proxy_set_header Host {auth_host};
      proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Sent-From "nginx-ingress-controller";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Auth-Request-Redirect $request_uri;
      proxy_buffering off;
      proxy_http_version 1.1;
      proxy_pass_request_headers on;
      proxy_pass http://127.0.0.1:8081{auth_path};
    }}
    location / {{
      set $escaped_request_uri $request_uri;
      auth_request /ask;
      {told}
      error_page 401 = @sign-in;
      proxy_set_header Host $http_host;
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_pass http://127.0.0.1:9000;
    }}
    location @sign-in {{
      internal;
      return 302 "{sign_in}";
    }}
  }}
}}
"""


def rendered() -> str:
    """nginx's configuration, from the annotations of the example's first Ingress."""
    documents = YAML(typ="safe").load_all((EXAMPLE / "ingress.yaml").read_text("utf-8"))
    annotations: dict[str, Any] = next(iter(documents))["metadata"]["annotations"]
    said = {name.removeprefix(PREFIX): str(value) for name, value in annotations.items()}
    found = re.fullmatch(r"http://([^/]+)(/.*)", said["auth-url"])
    assert found is not None
    told = []
    for number, name in enumerate(said["auth-response-headers"].split(",")):
        variable = name.lower().replace("-", "_")
        told.append(f"auth_request_set $told{number} $upstream_http_{variable};")
        told.append(f"proxy_set_header {name} $told{number};")
    return TEMPLATE.format(
        auth_host=found[1].partition(":")[0],
        auth_path=found[2],
        told="\n      ".join(told),
        sign_in=said["auth-signin"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    proxy: Proxy
    gateway: Gateway
    application: Echo

    def ask(self, path: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
        usual = [("Host", "shop.example.com"), ("Connection", "close")]
        return send(self.proxy.port, method, path, [*usual, *headers])


@pytest.fixture(scope="module")
def site(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("ingress") / "nginx"
    folder.mkdir()
    (folder / "nginx.conf").write_text(rendered(), "utf-8")
    env = {"CLIENT_SECRET": "never-used", "ENCRYPTION_KEY": "0123456789abcdef0123456789abcdef"}
    settings = {
        "discovery-url": f"{realm.issuer}/.well-known/openid-configuration",
        "client-id": GATEWAY_CLIENT,
    }
    told = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    told += ["--trusted-proxies", "127.0.0.1/32"]
    gateway = Gateway.start([EXAMPLE / "gatekeeper.yaml"], *told, env=env)
    try:
        with Echo() as application:
            behind = int(application.url.rpartition(":")[2])
            ports = {8080: free_port(), 8081: gateway.port, 9000: behind}
            with Proxy.start("nginx", folder / "nginx.conf", ports) as proxy:
                yield Site(proxy=proxy, gateway=gateway, application=application)
    finally:
        gateway.stop()


def test_who_may(site: Site, realm: Realm) -> None:
    """Callers times paths; whoever is refused never reaches the application, which is told who calls."""
    tokens = {
        "user": realm.token("user").access,
        "admin": realm.token("admin").access,
        "other audience": realm.token("admin", client=OTHER_CLIENT).access,
        "nobody": "",
    }
    expected = {
        "user": {"/public/x": 200, "/orders": 200, "/api/admin/x": 403},
        "admin": {"/public/x": 200, "/orders": 200},
        "other audience": {"/public/x": 200, "/orders": 302, "/api/admin/x": 302},
        "nobody": {"/public/x": 200, "/orders": 302, "/api/admin/x": 302},
    }
    for who, row in expected.items():
        for path, status in row.items():
            before = len(site.application.arrivals())
            headers = [("Authorization", f"Bearer {tokens[who]}")] if tokens[who] else []
            assert site.ask(path, *headers).status == status, (who, path)
            assert len(site.application.arrivals()) - before == int(status == 200), (who, path)
    forged = (("X-Auth-Request-User", "root"), ("X-Auth-Request-Groups", "root"))
    assert site.ask("/orders", ("Authorization", f"Bearer {tokens['user']}"), *forged).status == 200
    told = site.application.arrivals()[-1]
    assert told.values("x-auth-request-user") == ["user"]
    assert "root" not in told.values("x-auth-request-groups")


def test_where_people_log_in(site: Site) -> None:
    """An anonymous page goes to `auth-signin`; there, without X-Original-URL, the login begins, and is to end at the page."""
    answer = site.ask("/orders/1", *PAGE)
    assert answer.status == 302
    location = answer.header("location") or ""
    assert location == "https://login.example.com/oauth/start?rd=https://shop.example.com/orders/1"
    path = location.removeprefix("https://login.example.com")
    started = send(
        site.gateway.port, "GET", path, [("Host", "login.example.com"), ("Connection", "close"), *PAGE]
    )
    assert started.status in (302, 303)
    assert "/protocol/openid-connect/auth?" in (started.header("location") or "")


def test_a_client_does_not_say_what_is_asked(site: Site) -> None:
    """Its own X-Original-URL and X-Forwarded-Uri change nothing."""
    before = len(site.application.arrivals())
    for name in ("X-Original-URL", "X-Forwarded-Uri", "X-Original-URI"):
        assert site.ask("/api/admin/x", (name, "http://shop.example.com/public/x")).status in (302, 400, 403)
    assert len(site.application.arrivals()) == before
